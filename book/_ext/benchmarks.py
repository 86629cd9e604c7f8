"""What ``mmcourse bench`` measured, from book/benchmarks.json: ``{benchmarks}`` and ``{profiles}``.

``{benchmarks}`` shows the races of speed, ``{benchmarks} learning`` the one that is not of speed
alone. Rows keep their numbers in all tables.
"""

import json
import re
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

from mmcourse.bench.table import cells, facts, profiles

MEASURED = Path(__file__).resolve().parent.parent / "benchmarks.json"
HEAD = [
    "| | what | sizes | ours | peer | ratio | goal | reached |",
    "|--:|---|---|--:|--:|--:|--:|---|",
]
LEARNING = "learning"


def read_measured(env):
    """What was measured; a page that shows it is built again when the file changes."""
    env.note_dependency(str(MEASURED))
    return json.loads(MEASURED.read_text(encoding="utf-8"))


class Benchmarks(SphinxDirective):
    """The machine, the table, and how each contender ran."""

    optional_arguments = 1

    def run(self):
        found = read_measured(self.env)
        learning = self.arguments == [LEARNING]
        rows = [
            (number, row)
            for number, row in enumerate(found["rows"], 1)
            if (row["race"] == LEARNING) == learning
        ]
        lines = [f"| {number} | {' | '.join(cells(row))} |" for number, row in rows]
        remarks = [f"{number}. {facts(row)}" for number, row in rows]
        text = "\n".join([*introduction(found), "", *HEAD, *lines, "", *remarks])
        text = text.replace("≥ ", "≥\N{NO-BREAK SPACE}").replace("≤ ", "≤\N{NO-BREAK SPACE}")
        return self.parse_text_to_nodes(text)


def introduction(found):
    """The machine, and whether it was only a trial."""
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    lines = [f"Measured on {machine}."]
    if found["quick"]:
        lines = ["**A trial with tiny sizes: these times mean nothing.**", "", *lines]
    return lines


class Profiles(SphinxDirective):
    """Where the time of ours and of the peer goes, in each row that was profiled."""

    def run(self):
        lines = ["| row | who | where the time goes |", "|--:|---|---|"]
        for number, row in enumerate(read_measured(self.env)["rows"], 1):
            for name, text in profiles(row).items():
                lines.append(f"| {number} | {breakable(name)} | {text} |")
        return self.parse_text_to_nodes("\n".join(lines))


def breakable(name):
    """A name of several words in one, which a phone may break between them."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "\N{ZERO WIDTH SPACE}", name)


def setup(app):
    app.add_directive("benchmarks", Benchmarks)
    app.add_directive("profiles", Profiles)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
