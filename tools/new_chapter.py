"""Begin a chapter: its text, its module, its test, and its place on the pages that list chapters.

    python tools/notebooks.py new 06_audio

What is left to write is marked TODO, in every file. Nothing is written when the chapter is there.
"""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
SKELETON = Path(__file__).resolve().parent / "skeleton"
NAME = re.compile(r"(?P<number>\d\d)_(?P<name>[a-z][a-z_]*)")
# The parts of the table of contents, by the number of their last chapter.
PARTS = {
    0: "Before we start",
    2: "I Attention",
    8: "II Encoders",
    11: "III One space",
    13: "IV Training",
    19: "V The captioner",
    99: "VI Beyond",
}
LEFT = """\
What is left:
- search for TODO in the files above, and write what stands there;
- each numbered formula gets a row in book/formulas.csv, each term one in book/glossary.md,
  each work an entry in book/references.bib;
- run it: .venv/bin/python tools/notebooks.py run {file}
- look at it: make book"""


class Chapter:
    """A chapter that is begun: ``file`` is 04_gpt, ``name`` gpt, ``number`` 4, ``title`` Gpt."""

    def __init__(self, file, root=ROOT):
        match = NAME.fullmatch(file)
        if not match:
            raise SystemExit(
                f"expected two digits, _, and a name in small letters, such as 04_gpt, got {file}"
            )
        self.file = file
        self.name = match["name"]
        self.number = int(match["number"])
        self.title = self.name.replace("_", " ").capitalize()
        self.root = Path(root)

    def new_files(self):
        """What is written whole, as {path: skeleton}."""
        return {
            self.root / "book" / "chapters" / f"{self.file}.py": "text.txt",
            self.root / "mmcourse" / f"{self.name}.py": "module.txt",
            self.root / "tests" / f"test_{self.name}.py": "test.txt",
        }

    def fill(self, skeleton):
        """A skeleton with the chapter's words in it."""
        text = (SKELETON / skeleton).read_text(encoding="utf-8")
        for word in ("file", "name", "title"):
            text = text.replace(f"@{word}@", getattr(self, word))
        return text

    def others(self):
        """The chapters that are there, as pairs (number, name) in their order."""
        names = [path.stem for path in (self.root / "book" / "chapters").glob("*.py")]
        matches = filter(None, map(NAME.fullmatch, names))
        return sorted((int(match["number"]), match["name"]) for match in matches)

    def before(self):
        """The names of the chapters before this one, the nearest first."""
        return [name for number, name in reversed(self.others()) if number < self.number]

    def after(self):
        """The names of the chapters after this one, the nearest first."""
        return [name for number, name in self.others() if number > self.number]


def new(file, root=ROOT):
    """Begin a chapter. Gives the paths that were written or changed.

    Stops with a message, before anything is written, when the name is no chapter's, its number is
    taken, or one of its files is there.
    """
    chapter = Chapter(file, root)
    taken = [name for number, name in chapter.others() if number == chapter.number]
    if taken:
        raise SystemExit(f"chapter {chapter.number} is there: {', '.join(taken)}")
    there = [path for path in chapter.new_files() if path.exists()]
    if there:
        raise SystemExit(f"{', '.join(map(str, there))} is there already")
    changed = {
        chapter.root / "_toc.yml": contents,
        chapter.root / "index.md": index_row,
        chapter.root / "book" / "formulas.csv": formula_row,
        chapter.root / "book" / "formulas.md": formula_section,
        chapter.root / "book" / "api.md": package_section,
    }
    texts = {}
    for path, enter in changed.items():
        texts[path] = enter(chapter, path.read_text(encoding="utf-8"))
    for path, skeleton in chapter.new_files().items():
        texts[path] = chapter.fill(skeleton)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


# The pages that it enters ----------------------------------------------------------------------


def contents(chapter, text):
    """The table of contents with the chapter in its part, which is made when it is not there."""
    table = yaml.safe_load(text)
    parts = table["parts"]
    caption = PARTS[min(last for last in PARTS if last >= chapter.number)]
    captions = [part["caption"] for part in parts]
    if caption not in captions:
        order = list(PARTS.values())
        earlier = set(order[: order.index(caption)])
        place = sum(name in earlier for name in captions)
        parts.insert(place, {"caption": caption, "chapters": []})
    part = next(part for part in parts if part["caption"] == caption)
    names = [Path(page["file"]).name for page in part["chapters"]]
    place = sum(not NAME.fullmatch(name) or name < chapter.file for name in names)
    part["chapters"].insert(place, {"file": f"book/chapters/{chapter.file}"})
    return write_contents(table)


def write_contents(table):
    """A table of contents as text, in the form in which the file is kept."""
    lines = [f"format: {table['format']}", f"root: {table['root']}", "parts:"]
    for part in table["parts"]:
        lines += [f"  - caption: {part['caption']}", "    chapters:"]
        lines += [f"      - file: {page['file']}" for page in part["chapters"]]
    return "\n".join(lines) + "\n"


def index_row(chapter, text):
    """The first page with a row for the chapter in its map."""
    row = (
        f"| [{chapter.number} {chapter.title}](book/chapters/{chapter.file}.py) "
        "| TODO: what the reader builds | TODO: the question that it answers |"
    )
    lines = text.splitlines()
    heading = lines.index("|---|---|---|")
    place = heading + 1
    while place < len(lines) and row_number(lines[place]) in range(chapter.number):
        place += 1
    lines.insert(place, row)
    return "\n".join(lines) + "\n"


def row_number(row):
    """The chapter's number in a row of the map, or -1."""
    match = re.match(r"\| \[(\d+) ", row)
    return int(match[1]) if match else -1


def formula_row(chapter, text):
    """The table of formulas with a row for the one in the skeleton, in the order of the book."""
    row = (
        f"eq-{chapter.name}-todo,TODO: what the formula says,mmcourse.{chapter.name}.todo,"
        f"tests/test_{chapter.name}.py::test_todo_equals_an_independent_implementation"
    )
    lines = text.splitlines()
    later = tuple(f"eq-{name}-" for name in chapter.after())
    rows = [place for place, line in enumerate(lines) if line.startswith(later)] if later else []
    lines.insert(rows[0] if rows else len(lines), row)
    return "\n".join(lines) + "\n"


def formula_section(chapter, text):
    """The page of formulas with a section for the chapter."""
    section = f"## {chapter.title}\n\n```{{formulas}} {chapter.name}\n```"
    return insert_section(text, section, chapter, r"```\{{formulas\}} {name}$")


def package_section(chapter, text):
    """The page of the package with a section for the chapter's module."""
    module = f"mmcourse.{chapter.name}"
    section = f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```"
    return insert_section(text, section, chapter, r"## mmcourse\.{name}(\.|$)")


def insert_section(text, section, chapter, pattern):
    """A page with a section after that of the nearest chapter before, or before all sections.

    ``pattern`` is found in the sections of a chapter when its {name} is put in.
    """
    head, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    place = 0
    for name in chapter.before():
        theirs = [number for number, one in enumerate(sections, 1)
                  if re.search(pattern.format(name=name), one, re.MULTILINE)]  # fmt: skip
        if theirs:
            place = theirs[-1]
            break
    sections.insert(place, f"{section}\n\n")
    if place == len(sections) - 1:
        sections[place - 1] = sections[place - 1].rstrip() + "\n\n"
        sections[place] = f"{section}\n"
    return head + "".join(sections)


def main(names):
    """Begin the chapter that is named, and say what was written and what is left."""
    (file,) = names
    for path in new(file):
        print(path.relative_to(ROOT).as_posix())
    print(LEFT.format(file=file))
    return 0
