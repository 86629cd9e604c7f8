"""The snapshot of the course's pages that the case study of education searches.

``python -m mmcourse.recipes.case_course book/chapters`` reads the texts in a folder and writes
``mmcourse/case_studies/course.json.gz``. The case study itself is not read: it quotes questions.
"""

import ast
import gzip
import json
import re
import sys
from pathlib import Path

from mmcourse.case_studies.education import SNAPSHOT
from mmcourse.training import write_whole

LONGEST = 80  # words of a passage
LEFT_OUT = ("case_", "23_")  # texts: they quote questions
NO_ANSWER = "Further reading"  # a section that names works and says little
SECTIONS = {"Exercises": "exercise", "Quiz": "quiz"}


def cells(source):
    """The cells of a text in the percent format, as pairs: the line that begins it, and its text.

    A Markdown cell comes without the signs of comments.
    """
    for part in re.split(r"^(?=# %%)", source, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        yield head, body


def figure_of(head):
    """The caption and the alternative text in the head of a cell that draws; "" without any."""
    found = [re.search(rf'"{key}": ("(?:[^"\\]|\\.)*")', head) for key in ("caption", "alt")]
    return " ".join(ast.literal_eval(match[1]) for match in found if match)


def plain(text):
    """The words of MyST: roles, links and directives become what a reader sees, or nothing."""
    text = re.sub(r"\{(?:glue:text|measured|cite[:\w]*|eq|numref|ref|doc)\}`[^`]*`", " ", text)
    text = re.sub(r"\{[\w:]+\}`([^`<]*)[^`]*`", r"\1", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^(?:[`:]{3,}.*|:[\w-]+:.*|\([\w-]+\)=|[|: -]+|%.*)$", "", text, flags=re.M)
    return re.sub(r"[ \t]+", " ", re.sub(r"[*`\[\]|#]", " ", text)).strip()


def figures_in(text):
    """The captions of figures that stand in Markdown, with their alternative texts."""
    blocks = re.findall(r"^(`{3,}|:{3,})\{(?:glue:)?figure\}.*?\n(.*?)^\1$", text, re.M | re.S)
    for _, block in blocks:
        alt = re.search(r"^:alt: (.*)$", block, re.M)
        yield plain(f"{plain(block)} {alt[1] if alt else ''}")


def pack(paragraphs):
    """Paragraphs joined to passages of at most ``LONGEST`` words, a longer one cut."""
    packed = []
    for paragraph in paragraphs:
        words = paragraph.split()
        for start in range(0, len(words), LONGEST):
            piece = words[start : start + LONGEST]
            if packed and len(packed[-1]) + len(piece) <= LONGEST:
                packed[-1] += piece
            else:
                packed.append(piece)
    return [" ".join(words) for words in packed]


def quiz_in(text):
    """The questions of a quiz, as (question, [options])."""
    for card in text.split(":class-card: quiz")[1:]:
        stem = re.search(r"\*\*\d+\.\*\*(.*?)^:::", card, re.M | re.S)
        if stem:
            yield plain(stem[1]), [plain(each) for each in re.findall(r"\{dropdown\} (.+)", card)]


def read_text(path):
    """The passages and the questions of one text, as rows of the snapshot."""
    page = path.stem
    title, section = "", ""
    passages, questions, held = [], [], []

    def flush():
        kind = SECTIONS.get(section, "text")
        if section != NO_ANSWER:
            passages.extend([page, title, section, kind, text] for text in pack(held))
        held.clear()

    for head, body in cells(path.read_text(encoding="utf-8")):
        if "[markdown]" not in head:
            text = figure_of(head)
            passages += [[page, title, section, "figure", text]] if text else []
            continue
        body = re.sub(r"^(`{3,})\w+$.*?^\1$", "", body, flags=re.M | re.S)  # code
        for part in re.split(r"^(?=##? )", body, flags=re.MULTILINE):
            heading = re.match(r"(##?) (.*)\n?", part)
            if heading:
                flush()
                title, section = (title, heading[2]) if heading[1] == "##" else (heading[2], "")
                part = part[heading.end() :]
            passages += [[page, title, section, "figure", text] for text in figures_in(part)]
            part = re.sub(r"^(`{3,})\{(?:glue:)?figure\}.*?^\1$", "", part, flags=re.M | re.S)
            questions += [[page, stem, options] for stem, options in quiz_in(part)]
            held += [text for text in map(plain, re.split(r"\n\s*\n", part)) if text]
    flush()
    return passages, questions


def read_folder(folder):
    """The snapshot of all texts in a folder: a dict. ValueError where no text has a quiz."""
    texts = [path for path in sorted(Path(folder).glob("*.py"))
             if not path.stem.startswith(LEFT_OUT)]  # fmt: skip
    found = {"passages": [], "questions": []}
    for path in texts:
        passages, questions = read_text(path)
        found["passages"] += passages
        found["questions"] += questions
    if not found["questions"]:
        raise ValueError(
            f"expected texts of chapters with a quiz in {folder}, found {len(texts)} texts and no "
            "question: give the folder book/chapters"
        )
    return found


def write(folder, path=SNAPSHOT):
    """Write the snapshot of a folder of texts, whole or not at all."""
    content = json.dumps(read_folder(folder), ensure_ascii=False, indent=0)
    write_whole(Path(path), gzip.compress(content.encode(), mtime=0))


if __name__ == "__main__":
    write(sys.argv[1])
