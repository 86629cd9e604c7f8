"""Students' texts and outputs without what a browser would obey.

The Formgrader shows them in the teacher's name.
"""

import re

INVISIBLE = "\u200b"  # a space without width: <b is no longer HTML, and reads as it was written
PLAIN = {"text/plain", "image/png", "image/jpeg"}


def harmless(cell):
    """The text of a student's cell; of a text in Markdown, its HTML is shown and not obeyed."""
    if cell.cell_type == "code":
        return cell.source
    text = re.sub(r"(?<=&)(?=#|\w+;)|(?<=<)(?=[a-zA-Z/!?])", INVISIBLE, cell.source)
    return re.sub(r"(?i)javascript:", "javascript :", text)


def keep_plain(outputs):
    """Of what a student's cell displayed, leave text and pictures."""
    for output in outputs:
        kinds = output.get("data", {})
        for kind in set(kinds) - PLAIN:
            del kinds[kind]
