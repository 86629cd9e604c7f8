"""The still picture of a live figure, beside it on web pages and alone elsewhere."""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

LIVE = "application/vnd.jupyter.widget-view+json"
STILL = "image/svg+xml"


class LiveAndStill(SphinxPostTransform):
    """Keep the still picture of a live figure, where myst-nb would keep the live one alone.

    The page shows one of the two (mmcourse/book/figures/figures.css): the still one where scripts
    are off, and on paper. Elsewhere than in web pages only the still one is left.
    """

    default_priority = 3  # before myst-nb chooses, at 4

    def run(self, **options):
        for bundle in list(self.document.findall(nodes.container)):
            parts = {
                part["mime_type"]: part
                for part in bundle.children
                if isinstance(part, nodes.container) and "mime_type" in part
            }
            if LIVE not in parts or STILL not in parts:
                continue
            if self.app.builder.name in {"html", "dirhtml", "singlehtml"}:
                still = nodes.container("", *parts[STILL].children, classes=["mm-still"])
                both = nodes.container("", still, *parts[LIVE].children, classes=["mm-both"])
                bundle.replace_self(both)
            else:
                bundle.remove(parts[LIVE])


def setup(app):
    app.add_post_transform(LiveAndStill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
