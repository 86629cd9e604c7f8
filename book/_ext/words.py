"""What stays on one line: 5 %, 0.1 to 0.3, BLEU-4, a formula and the marks around it."""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

PERCENT = re.compile(r"(\d) ?%")
RANGE = re.compile(r"(\d) to ([-+]?\d)")
NAME = re.compile(r"(\w+-(?:\d+|[A-Z])(?!\w))")
OPENS = re.compile(r"[(\[“‘\"]+$")
CLOSES = re.compile(r"[.,;:!?)\]”’\"]+")
SPACE = "\N{NO-BREAK SPACE}"
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
    tied = PERCENT.sub(rf"\1{SPACE}%", text)
    tied = RANGE.sub(rf"\1{SPACE}to{SPACE}\2", tied)
    parts = []
    for number, part in enumerate(NAME.split(tied)):  # every second part is a name
        node = nodes.Text(part)
        if number % 2:
            node = nodes.inline("", "", node, classes=["together"])
        parts.append(node)
    if len(parts) > 1 or tied != text:
        text.parent.replace(text, parts)


class Together(SphinxPostTransform):
    """Keep a formula on one line with the comma after it and the bracket before it.

    A browser may break a line there, as MathJax makes each formula a box of its own.
    """

    default_priority = 800  # after all that makes text

    def run(self, **options):
        for formula in list(self.document.findall(nodes.math)):
            parts = [formula.deepcopy()]
            # By places: a Text equals any other of the same letters, and replace takes the first.
            paragraph = formula.parent
            place = paragraph.index(formula)
            closes = match_beside(formula, +1, CLOSES.match)
            if closes:
                paragraph[place + 1] = nodes.Text(closes.string[closes.end() :])
                parts.append(nodes.Text(closes[0]))
            opens = match_beside(formula, -1, OPENS.search)
            if opens:
                paragraph[place - 1] = nodes.Text(opens.string[: opens.start()])
                parts.insert(0, nodes.Text(opens[0]))
            if opens or closes:
                paragraph[place] = nodes.inline("", "", *parts, classes=["together"])


def match_beside(formula, step, match):
    """What ``match`` finds in the text right after a formula (``step`` 1) or before it (-1)."""
    place = formula.parent.index(formula) + step
    if not 0 <= place < len(formula.parent):
        return None
    neighbour = formula.parent[place]
    return match(neighbour) if isinstance(neighbour, nodes.Text) else None


def setup(app):
    app.add_post_transform(Words)
    app.add_post_transform(Together)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
