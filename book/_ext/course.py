"""What jupyter-book adds and the course does without, and what the PDF's single page needs."""


def leave_out_thebe(app, config):
    """Leave out sphinx-thebe, which runs code on a server: its script is an error here."""
    for listeners in app.events.listeners.values():
        listeners[:] = [
            listener for listener in listeners if listener.handler.__module__ != "sphinx_thebe"
        ]
    app.registry.css_files[:] = [
        file for file in app.registry.css_files if file[0] != "sphinx-thebe.css"
    ]


def share_handlers(app):
    """Let the PDF's single page draw every node as the book's pages do.

    Sphinx forgets the handlers of ``html`` for a builder for which any extension registered one of
    its own.
    """
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = handlers["html"] | handlers.get("singlehtml", {})


def setup(app):
    app.connect("config-inited", leave_out_thebe)
    app.connect("builder-inited", share_handlers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
