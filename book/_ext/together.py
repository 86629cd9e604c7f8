"""What stays on one line: 95 %, 0.1 to 0.3, a name such as BLEU-4, a formula and the full stop or bracket beside it."""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

PERCENT, RANGE = re.compile(r"(\d) ?%"), re.compile(r"(\d) to ([-+]?\d)")
NAME = re.compile(r"(\w+-(?:\d+|[A-Z])(?!\w))")
OPENING, CLOSING = re.compile(r"[(\[“]+$"), re.compile(r"^[.,;:?!)\]”’]+")
VERBATIM = (nodes.literal, nodes.math, nodes.FixedTextElement, nodes.term, addnodes.desc_signature)


class Together(SphinxPostTransform):
    """Prose only: code and its output stay as they are. Numbers from a run (glue) are prose."""

    default_priority = 900  # when glue and the titles of solutions are in place

    def run(self, **options):
        for link in self.document.findall(nodes.reference):
            spaces_before(link)
        for text in list(self.document.findall(nodes.Text)):
            if not verbatim(text):
                keep_words(text)
        for formula in list(self.document.findall(nodes.math)):
            keep_formula(formula)


def verbatim(node):
    while node is not None and not isinstance(node, VERBATIM):
        node = node.parent
    return node is not None


def on_one_line(*parts):
    return nodes.inline("", "", *parts, classes=["together"])


def spaces_before(link):
    """The title of a solution has a link that begins with a space, which would be underlined."""
    first = link[0] if len(link) else None
    if isinstance(first, nodes.Text) and first.startswith(" "):
        link.replace(first, nodes.Text(first.lstrip(" ")))
        link.parent.insert(place_of(link), nodes.Text(" "))


def keep_words(text):
    tied = RANGE.sub("\\1\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}\\2", PERCENT.sub("\\1\N{NO-BREAK SPACE}%", text))
    parts = NAME.split(tied)
    new = [on_one_line(nodes.Text(part)) if number % 2 else nodes.Text(part) for number, part in enumerate(parts)]
    if len(new) > 1 or new[0] != text:
        text.parent.replace(text, new)


def keep_formula(formula):
    parent, place = formula.parent, place_of(formula)
    around = [parent[at] if 0 <= at < len(parent) else None for at in (place - 1, place + 1)]
    left, right = (node if isinstance(node, nodes.Text) else "" for node in around)
    opening, closing = OPENING.search(left), CLOSING.search(right)
    if not (opening or closing):
        return
    cut, end = opening.start() if opening else len(left), closing.end() if closing else 0
    whole = on_one_line(nodes.Text(left[cut:]), formula.deepcopy(), nodes.Text(right[:end]))
    first, last = place - (left != ""), place + 1 + (right != "")
    parent[first:last] = [nodes.Text(left[:cut]), whole, nodes.Text(right[end:])]


def place_of(node):
    return next(place for place, other in enumerate(node.parent) if other is node)


def setup(app):
    app.add_post_transform(Together)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
