"""Put a student's answers into the teacher's notebook, wherever in the submitted file they are.

An answer's cell is found by its nbgrader name, else by the cell's id, else by the function that it
defines; an answer in words, by the question before it. Cells that the student added stay behind the
cell that they followed. Tests and texts always come from the teacher.
"""

import copy
import re

from nbformat.v4 import new_code_cell, new_markdown_cell

from tools.classroom.assignments import answers_in, is_answer, name_of
from tools.classroom.safety import harmless


def rebuild(source, released, submitted):
    """The teacher's notebook with a student's answers in it, and notes about what was unusual.

    ``source`` has the hidden tests, ``released`` is the notebook that students got, ``submitted``
    the student's or None.
    """
    found = Findings(source, released)
    if submitted:
        for cell in submitted.cells:
            found.sort_in(cell)
        found.find_texts()
        found.note_missing()
    built = copy.deepcopy(source)
    cells = []
    for number, cell in enumerate(built.cells):
        if is_answer(cell):
            cell.source = found.answers.get(name_of(cell), found.stubs[name_of(cell)])
        cells.append(cell)
        cells.extend(found.added.get(number, []))
    built.cells = cells
    return built, found.all_notes()


def plain(cell):
    return plain_text(cell.source)


def plain_text(text):
    """A text without what editors change: line ends, and spaces at the end of a line."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


class Findings:
    """What was found in a submission so far: answers, added cells, notes."""

    def __init__(self, source, released):
        self.source = source
        self.stubs = answers_in(released)
        self.answers = {}  # name: text
        self.added = {}  # number of a cell of the source: the cells that follow it
        self.notes = []
        self.renamed = []  # answers whose cells had lost their names
        self.changed = []  # cells of the teacher's that were changed
        self.numbers = {cell.id: number for number, cell in enumerate(source.cells)}
        self.texts = {}  # text of a cell: its number
        for notebook in (source, released):
            for number, cell in enumerate(notebook.cells):
                self.texts[plain(cell)] = number
        self.number = 0  # of the source's cell where we are
        self.last_answer = -1  # the largest number of an answer so far

    def sort_in(self, cell):
        """Take the next cell: an answer, a cell of the teacher's, or an added one."""
        answer = self.answer_held_by(cell)
        text = plain(cell)
        if answer:
            self.take_answer(answer, cell)
        elif name_of(cell) in self.numbers:
            self.number = self.numbers[name_of(cell)]
            if text not in self.texts:
                self.changed.append(name_of(cell))
        elif text in self.texts:
            self.number = self.numbers.get(cell.get("id"), self.texts[text])
        elif cell.cell_type in ("code", "markdown") and text:
            self.add(cell)

    def answer_held_by(self, cell):
        """The name of the answer that a cell holds, or None."""
        name = name_of(cell)
        if name in self.numbers:  # a cell of the teacher's, an answer or another
            return name if name in self.stubs else None
        if cell.get("id") in self.stubs:
            return cell.id
        if cell.cell_type != "code":
            return None
        defined = re.findall(r"^def (\w+)\(", cell.source, flags=re.MULTILINE)
        return next((name for name in self.stubs if name in defined), None)

    def take_answer(self, name, cell):
        text = harmless(cell)
        if name_of(cell) != name:
            self.renamed.append(name)
        if name in self.answers and self.answers[name] != text:
            self.notes.append(
                f"There are two cells of {name}: the last one that is not empty counts."
            )
        is_empty = plain(cell) == plain_text(self.stubs[name])
        if name not in self.answers or not is_empty:
            self.answers[name] = text
        self.number = self.numbers[name]
        if self.number < self.last_answer:
            self.notes.append("The answers were not in their order.")
        self.last_answer = max(self.number, self.last_answer)

    def add(self, cell):
        """Keep a cell of the student's own behind the cell that it follows."""
        make = new_code_cell if cell.cell_type == "code" else new_markdown_cell
        count = sum(len(cells) for cells in self.added.values())
        own = make(harmless(cell), id=f"student-{count}")
        self.added.setdefault(self.number, []).append(own)

    def find_texts(self):
        """An answer in words whose cell is lost is the first text behind its question."""
        for name in self.stubs:
            number = self.numbers[name]
            if name in self.answers or self.source.cells[number].cell_type != "markdown":
                continue
            behind = self.added.get(number - 1, [])
            texts = [cell for cell in behind if cell.cell_type == "markdown"]
            if texts:
                self.answers[name] = texts[0].source
                behind.remove(texts[0])
                self.notes.append(
                    f"The cell of {name} had lost its name; the text behind the question counts."
                )

    def all_notes(self):
        """What was unusual, each kind once."""
        notes = list(dict.fromkeys(self.notes))
        renamed = list(dict.fromkeys(self.renamed))
        if len(renamed) == 1:
            notes.append(f"The cell of {renamed[0]} had lost its name and was found again.")
        elif renamed:
            notes.append(
                f"{len(renamed)} answers had lost their names, as some programs save notebooks; "
                "they were found again."
            )
        if self.changed:
            names = ", ".join(dict.fromkeys(self.changed))
            notes.append(f"The grader used its own cells for those that were changed: {names}.")
        return notes

    def note_missing(self):
        for name in self.stubs:
            if name not in self.answers:
                self.notes.append(f"There is no cell of {name}.")
