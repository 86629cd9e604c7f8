"""The minutes to read a chapter."""

import math
import re

WORDS_A_MINUTE = 200
LINES_A_MINUTE = 20
NOT_READ = {"Do you need this page?", "Exercises", "Quiz"}  # sections that are work, not reading
HIDDEN = {"remove-cell", "remove-input", "hide-input", "hide-cell"}  # tags of code that is folded


def reading_minutes(cells):
    """The minutes to read a chapter without its exercises, its quiz and folded code."""
    words = 0
    lines = 0
    section = ""
    for cell in cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                heading = re.match(r"## (.*)", line)
                if heading:
                    section = heading[1]
                if section not in NOT_READ:
                    words += len(line.split())
        elif section not in NOT_READ and not HIDDEN & set(cell.metadata.get("tags", [])):
            lines += len(cell.source.splitlines())
    return math.ceil(words / WORDS_A_MINUTE + lines / LINES_A_MINUTE)
