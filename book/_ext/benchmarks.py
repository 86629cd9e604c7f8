"""What ``mmcourse bench`` measured, from book/benchmarks.json: ``{benchmarks}`` and ``{profiles}``."""

import json
import re
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

from mmcourse.bench import cells

MEASURED = Path(__file__).resolve().parent.parent / "benchmarks.json"


class Benchmarks(SphinxDirective):
    """The machine, the table, and how each contender ran."""

    def run(self):
        self.env.note_dependency(str(MEASURED))
        found = json.loads(MEASURED.read_text(encoding="utf-8"))
        quick = (
            ["**A trial with tiny sizes: these times mean nothing.**", ""] if found["quick"] else []
        )
        machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
        lines = [
            *quick,
            f"Measured on {machine}.",
            "",
            "| | what | sizes | ours | peer | ratio | goal | reached |",
            "|--:|---|---|--:|--:|--:|--:|---|",
        ]
        lines += [
            f"| {number} | {' | '.join(cells(row))} |"
            for number, row in enumerate(found["rows"], 1)
        ]
        lines += ["", *(f"{number}. peer: {'; '.join([row.get('peer_name', 'none'), *row['notes']])}"
                        for number, row in enumerate(found["rows"], 1))]  # fmt: skip
        return self.parse_text_to_nodes("\n".join(lines).replace("≥ ", "≥\N{NO-BREAK SPACE}"))


class Profiles(SphinxDirective):
    """Where the time of ours and of the peer goes, in each row that was profiled."""

    def run(self):
        self.env.note_dependency(str(MEASURED))
        rows = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
        lines = ["| row | who | where the time goes |", "|--:|---|---|"]
        for number, row in enumerate(rows, 1):
            for name, kinds in row.get("profile", {}).items():
                text = ", ".join(
                    f"{kind} {share:.0%}" for kind, share in kinds.items() if share >= 0.02
                )
                breakable = re.sub(
                    "(?<=[a-z])(?=[A-Z])", "\N{ZERO WIDTH SPACE}", name
                )  # on a phone
                lines.append(f"| {number} | {breakable} | {text} |")
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    app.add_directive("benchmarks", Benchmarks)
    app.add_directive("profiles", Profiles)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
