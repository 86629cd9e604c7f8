"""Tasks as instructions: describe, answer, say where, and say that it is not there.

An instruction is a text that ends before " =", as in chapter 4; the answer comes after it.
"""

import re
from dataclasses import dataclass

from mmcourse.data.drawings import nouns

CAPTION = "picture"
TASKS = ("caption", "question", "box", "refusal")


@dataclass(frozen=True)
class Instruction:
    """What is asked of a picture, ``prompt``, and what shall be said, ``answer``."""

    task: str  #: caption, question, box or refusal
    prompt: str
    answer: str


def instructions(scene, rng, names=None):
    """One instruction of each task about a scene, a dict from task to :class:`Instruction`.

    ``rng`` is a ``random.Random``. A box is asked of a thing that stands there once, if there is
    one; refusal asks where a thing is that the scene does not have, in the same words. ``names``
    are the nouns of its world, all unless given: one from elsewhere would tell that it is absent.
    """
    question = rng.choice(scene.questions)
    found = {
        "caption": Instruction("caption", CAPTION, rng.choice(scene.captions)),
        "question": Instruction("question", question.text.removesuffix(" ?"), question.answer),
    }
    single = [thing for thing in scene.objects if count_of(scene, thing.noun) == 1]
    if single:
        thing = rng.choice(single)
        found["box"] = Instruction("box", where_is(thing.noun), box_text(thing.box))
    there = {thing.noun for thing in scene.objects}
    names = names or [noun.name for noun in nouns()]
    absent = rng.choice([name for name in names if name not in there])
    found["refusal"] = Instruction("refusal", where_is(absent), refusal(absent))
    return found


def count_of(scene, noun):
    """How many things of a noun a scene has."""
    return sum(thing.noun == noun for thing in scene.objects)


def where_is(noun):
    """The prompt that asks for a box."""
    return f"where is the {noun}"


def refusal(noun):
    """What shall be said of a thing that is not there."""
    return f"there is no {noun}"


def box_text(box):
    """A box (x0, y0, x1, y1) in pixels as text, ``x0 y0 x1 y1``."""
    return " ".join(str(int(edge)) for edge in box)


def read_box(text):
    """The box (x0, y0, x1, y1) that a text is, or None where it is none."""
    if not re.fullmatch(r"\s*\d+(\s+\d+){3}\s*", text):
        return None
    x0, y0, x1, y1 = (int(number) for number in text.split())
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def box_iou(first, second):
    """Area that two boxes (x0, y0, x1, y1) share, as a part of the area of both: in [0, 1]."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0, width) * max(0, height)
    return shared / (area(first) + area(second) - shared)


def area(box):
    """The area of a box (x0, y0, x1, y1)."""
    return (box[2] - box[0]) * (box[3] - box[1])


def is_right(instruction, text):
    """Whether a text answers an :class:`Instruction` rightly.

    A box is right with an IoU of at least 0.5, a question by its exact answer, a refusal by its
    first words. ValueError for a caption, which is right in part: take ``fact_score``.
    """
    text = text.strip()
    if instruction.task == "caption":
        raise ValueError("a caption is right in part: score it with fact_score(text, scene)")
    if instruction.task == "box":
        box = read_box(text)
        return box is not None and box_iou(box, read_box(instruction.answer)) >= 0.5
    if instruction.task == "refusal":
        return text.startswith("there is no ")
    return text == instruction.answer
