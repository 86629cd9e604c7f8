"""The theme's source maps are for those who work on the theme: the site does without them."""

from pathlib import Path


def remove_maps(app, error):
    """Delete them from a site that was built."""
    if error is None:
        for path in Path(app.outdir).rglob("*.map"):
            path.unlink()


def setup(app):
    app.connect("build-finished", remove_maps)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
