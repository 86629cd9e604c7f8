"""The version of the course, and what CHANGELOG.md says of it: a release is made from the two.

python tools/maintain/version.py            prints the version of mmcourse/__init__.py
python tools/maintain/version.py --changes  prints the part of CHANGELOG.md about it
"""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def version():
    """The version, read without importing the package: nothing need be installed."""
    source = (ROOT / "mmcourse" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, flags=re.MULTILINE)[1]


def changes(wanted):
    """What CHANGELOG.md says under the heading of this version; ValueError if it has none."""
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for part in re.split(r"^## ", log, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        if heading.split()[0] == wanted:
            return text.strip()
    raise ValueError(f"CHANGELOG.md has no part about {wanted}: add a line '## {wanted} (date)'")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", action="store_true", help="what CHANGELOG.md says of it")
    options = parser.parse_args(arguments)
    print(changes(version()) if options.changes else version())


if __name__ == "__main__":
    main()
