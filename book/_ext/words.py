"""What stays on one line: a number and its %, a range such as 0.1 to 0.3, a name such as BLEU-4."""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

PERCENT, RANGE = re.compile(r"(\d) ?%"), re.compile(r"(\d) to ([-+]?\d)")
NAME = re.compile(r"(\w+-(?:\d+|[A-Z])(?!\w))")
VERBATIM = (nodes.literal, nodes.math, nodes.FixedTextElement, nodes.term, addnodes.desc_signature)


class Words(SphinxPostTransform):
    """Prose only: code and its output stay as they are. Numbers from a run (glue) are prose."""

    default_priority = 900  # when glue is in place

    def run(self, **options):
        for text in list(self.document.findall(nodes.Text)):
            if not verbatim(text):
                keep_together(text)


def verbatim(node):
    while node is not None and not isinstance(node, VERBATIM):
        node = node.parent
    return node is not None


def keep_together(text):
    tied = RANGE.sub(
        "\\1\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}\\2", PERCENT.sub("\\1\N{NO-BREAK SPACE}%", text)
    )
    parts = [nodes.inline("", "", nodes.Text(part), classes=["together"]) if number % 2 else nodes.Text(part)
             for number, part in enumerate(NAME.split(tied))]  # fmt: skip
    if len(parts) > 1 or tied != text:
        text.parent.replace(text, parts)


def setup(app):
    app.add_post_transform(Words)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
