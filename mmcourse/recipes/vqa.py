"""The answerer of chapter 20, ``vqa``: questions about scenes, and dialogues of two turns.

``python -m mmcourse.recipes.vqa FOLDER`` trains it whole; ``FOLDER/half`` then holds what
:func:`mmcourse.hub.load` reads, in half precision. The captioner of chapter 14 sees for it, and
stays as it is: every picture is encoded once. The answerer's decoder begins as the captioner's.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mmcourse.captioning import SceneCaptioner
from mmcourse.captioning.scenes import cell_nouns
from mmcourse.data import EmojiScenes
from mmcourse.data.dialogues import TwoThings, dialogues
from mmcourse.data.drawings import nouns
from mmcourse.evaluation import fit_logistic
from mmcourse.recipes.scenes import CALIBRATION
from mmcourse.vqa import (
    Answerer,
    Asked,
    Lessons,
    all_answers,
    all_words,
    ask_about,
    fit,
    log_odds,
    pope,
)

CAPTIONER = Path(__file__).parents[1] / "shipped" / "scenes"
MODEL = {"layers": 2, "width": 128, "hidden": 512}
TRAINING = {"steps": 1300, "rate": 2e-3, "seed": 0}
SCENES = 12_000  # of train, with their questions
DIALOGUES = 3_000  # scenes of two things, with a dialogue of each kind
COMPARED = 1000  # scenes of train on which the grounding learns to compare, in closed form
NOUN_LENGTH = 1.8  # of a noun's vector, among the others
CALIBRATED = 1000  # scenes of val, from the index CALIBRATION on


def load_captioner():
    """The shipped captioner, which sees."""
    return SceneCaptioner.from_pretrained(CAPTIONER).eval().requires_grad_(False)


@torch.no_grad()
def encode(images, encoder):
    """The memory (scenes, 64, 128) of pictures, uint8, in half precision: it is kept for long."""
    parts = [encoder(np.stack(images[i : i + 100])).half() for i in range(0, len(images), 100)]
    return torch.cat(parts)


def ask_in_turn(scenes, first_row=0):
    """The dialogues about scenes of :class:`~mmcourse.data.dialogues.TwoThings`: their second
    turns, each an :class:`~mmcourse.vqa.Asked` with the first as its history.
    """
    found = []
    for row, scene in enumerate(scenes, first_row):
        for each in dialogues(scene):
            second = each.second
            found.append(Asked(row, second.text, second.answer, each.kind, each.history))
    return found


def lessons_of(encoder, scenes=SCENES, of_dialogues=DIALOGUES):
    """Everything that is learnt from: memory (scenes, 64, 128) and a list of questions."""
    single, two = EmojiScenes("train"), TwoThings("train")
    first = [single[index] for index in range(scenes)]
    second = [two[index] for index in range(of_dialogues)]
    memory = encode([scene.image for scene in first + second], encoder)
    more = pope(first, "random", None)  # yes and no in equal parts: the slowest kind to learn
    return memory, ask_about(first) + more + ask_in_turn(second, scenes)


def start_from(model, captioner, memory=None, cells=None):
    """Give an answerer what a captioner knows: its decoder, and vectors for the words of both.

    The name of a thing in a question begins as the vector that the captioner lays into a cell where
    it sees that thing, see :func:`noun_vectors`. Both must have the same width and layers. With a
    ``memory`` (scenes, N, D) and the nouns of its ``cells`` (scenes, N), 0 for none, the
    grounding begins as a comparison of the two, see :func:`begin_grounding`.
    """
    model.decoder.load_state_dict(captioner.decoder.state_dict())
    with torch.no_grad():
        model.look.weight.copy_(torch.eye(len(model.look.weight)))
        model.look.bias.zero_()
        for word, number in model.ids.items():
            if word in captioner.ids:
                same = captioner.ids[word]
                model.embedding.weight[number] = captioner.embedding.weight[same]
                model.output.weight[number] = captioner.output.weight[same]
                model.output.bias[number] = captioner.output.bias[same]
        for word, vector in words_of_nouns(noun_vectors(captioner)).items():
            model.embedding.weight[model.ids[word]] = NOUN_LENGTH * vector
        if memory is not None:
            begin_grounding(model.grounding, noun_vectors(captioner), memory, cells)
    return model


def noun_vectors(captioner):
    """The vector (nouns, D) of each noun, of length 1: what the captioner adds to a cell in which
    it is sure to see that noun, less the mean of all nouns.
    """
    vectors = captioner.noun_embedding.weight[:, 1:].T  # (nouns, D)
    return F.normalize(vectors - vectors.mean(0), dim=1)


def words_of_nouns(vectors):
    """For each word of a noun, singular or plural, the mean vector of the nouns that have it."""
    of_word = {}
    for noun, vector in zip(nouns(), vectors, strict=True):
        for word in {*noun.name.split(), *noun.plural.split()} - {"of", "a"}:
            of_word.setdefault(word, []).append(vector)
    return {word: torch.stack(found).mean(0) for word, found in of_word.items()}


def begin_grounding(grounding, vectors, memory, cells):
    """Let the grounding begin as a comparison of the noun that is read with the noun that is seen.

    A ridge regression maps the memory of a cell to the vector of the noun that lies there, and to
    zeros where none does. That map is the key of a cell, and the word's own vector its query, both
    on the first principal axes of the ``vectors`` (nouns, D).
    """
    rows = memory.float().flatten(0, 1)  # (cells, D)
    targets = torch.cat([torch.zeros_like(vectors[:1]), vectors])[cells.flatten()]  # (cells, D)
    mean = rows.mean(0)
    centred = rows - mean
    square = centred.T @ centred + len(rows) * 1e-3 * torch.eye(len(mean))
    seen = torch.linalg.solve(square, centred.T @ targets)  # (D, D)
    size = len(grounding.cell_key.weight)
    axes = torch.linalg.svd(vectors, full_matrices=False)[2][:size]  # (size, D)
    grounding.word_key.weight.copy_(axes / NOUN_LENGTH)
    grounding.cell_key.weight.copy_(axes @ seen.T)
    grounding.cell_key.bias.copy_(-axes @ seen.T @ mean)


def cells_of(scenes):
    """The nouns of the cells (scenes, N) of scenes, 0 for none: what the captioner learned from."""
    return torch.stack([cell_nouns(scene, 8) for scene in scenes])


def calibrate(model, memory, asked):
    """Fit the two numbers that make the answerer's own probability one of being right."""
    texts, log_probs = model.answer_all(memory, asked)
    right = [text == each.answer for text, each in zip(texts, asked, strict=True)]
    weights = fit_logistic(log_odds(np.exp(log_probs)), right)
    model.calibration = [round(weight, 4) for weight in weights.tolist()]
    return model.calibration


def main(folder, **changes):
    """Train, calibrate and save the answerer; print what it took."""
    settings = TRAINING | changes
    torch.set_num_threads(1)
    start = time.time(), time.process_time()
    captioner = load_captioner()
    memory, asked = lessons_of(captioner.encode)
    torch.manual_seed(settings["seed"])
    model = Answerer(all_words(), all_answers(), **MODEL)
    compared = [EmojiScenes("train")[index] for index in range(COMPARED)]
    start_from(model, captioner, memory[:COMPARED], cells_of(compared))
    fit(model, Lessons(asked, model), memory, **settings, log=print)
    val = EmojiScenes("val")
    scenes = [val[index] for index in range(CALIBRATION, CALIBRATION + CALIBRATED)]
    images = [scene.image for scene in scenes]
    numbers = calibrate(model, encode(images, captioner.encode), ask_about(scenes))
    place = Path(folder, "half")
    arguments = MODEL | {"calibration": numbers}
    shipped = Answerer(all_words(), all_answers(), **arguments)
    shipped.load_state_dict(model.state_dict())
    shipped.half().save_pretrained(place)
    seconds = time.time() - start[0], time.process_time() - start[1]
    print(f"{seconds[0]:.0f} s by the clock, {seconds[1]:.0f} s of one core; calibration {numbers}")


if __name__ == "__main__":
    main(sys.argv[1])
