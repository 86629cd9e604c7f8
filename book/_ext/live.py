"""``{live}``: a figure of a notebook on a page without code, which loads no widget manager."""

import base64
import html
import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

STATE, VIEW = (
    "application/vnd.jupyter.widget-state+json",
    "application/vnd.jupyter.widget-view+json",
)
PAGE = """<div class="mm-both">
<img class="mm-still" src="data:image/svg+xml;base64,{still}" alt="{alt}">
<div class="mm-live"></div></div>
<script type="application/json" id="mm-data">{state}</script>
<script type="module">
  const state = JSON.parse(document.getElementById("mm-data").textContent);
  const style = document.createElement("style");
  style.textContent = state._css;
  document.head.append(style);
  const script = URL.createObjectURL(new Blob([state._esm], {{ type: "text/javascript" }}));
  const figure = (await import(script)).default;
  const model = {{ get: (name) => state[name], on() {{}} }};
  figure.render({{ model, el: document.querySelector(".mm-live") }});
</script>"""


class Live(SphinxDirective):
    """``{live} notebooks/14_captioning.ipynb CaptionExplorer`` with ``alt``: once a page.

    Takes what the figure was made of, and its still picture, from the executed notebook. Scripts
    off: the still one.
    """

    required_arguments = 2
    option_spec = {"alt": directives.unchanged_required}

    def run(self):
        source, name = self.arguments
        relative, path = self.env.relfn2path(source)
        self.env.note_dependency(relative)
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
        models = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
        shown = [
            output.get("data", {})
            for cell in notebook["cells"]
            for output in cell.get("outputs", [])
        ]
        stills = {
            data[VIEW]["model_id"]: "".join(data["image/svg+xml"]) for data in shown if VIEW in data
        }
        for key, model in models.items():
            if model["state"].get("_anywidget_id", "").rpartition(".")[2] == name and key in stills:
                state = json.dumps(model["state"], sort_keys=True).replace("<", "\\u003c")
                still = base64.b64encode(stills[key].encode()).decode()
                page = PAGE.format(still=still, alt=html.escape(self.options["alt"]), state=state)
                return [nodes.raw("", page, format="html")]
        raise self.error(f"{source} holds no figure {name}: execute it (make notebooks)")


def setup(app):
    app.add_directive("live", Live)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
