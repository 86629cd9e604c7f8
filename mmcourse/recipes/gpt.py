"""The language model ``gpt``: glosses and captions of scenes, about half an hour of one core.

``python -m mmcourse.recipes.gpt FOLDER`` trains it: the tokenizer first, then the model.
``FOLDER/half`` then holds what :func:`mmcourse.hub.load` and ``BPETokenizer.load`` read, the
weights in half precision.
"""

import sys
from pathlib import Path
from random import Random

import torch

from mmcourse import training
from mmcourse.data import EmojiScenes, language
from mmcourse.data.glosses import lines
from mmcourse.gpt import GPT, Blocks, bits_per_byte, row_log_probs, stream
from mmcourse.recipes import ship, training_config
from mmcourse.text import TOKENIZER, BPETokenizer

SPECIAL = ("<end>",)  # stands between texts, and after the last
END = 0
VOCABULARY = 2048
SCENES = 8_000  # whose English caption is read; as many others come with a Mandarin one
SPREAD = 0.044  # standard deviation of the first weights: 0.02 times the root of 768 / width
MODEL = {"gpt": {"width": 160, "layers": 4, "heads": 5, "context": 128, "dropout": 0.1}}
TRAINING = {"gpt": {"steps": 9000, "batch_size": 8, "learning_rate": 2e-3, "weight_decay": 0.1}}


def described(split, index):
    """The description of ``EmojiScenes(split)[index]``, and its key, without its picture."""
    key = f"{split}/{index}"
    return EmojiScenes(split, 32).describe(Random(key)), key


def english(split, index):
    """One of the five English captions of a scene, always the same one."""
    description, key = described(split, index)
    captions = language.captions(description, Random(f"{key}/captions"))
    return captions[index % 5]


def mandarin(split, index):
    """The Mandarin caption of a scene."""
    description, _ = described(split, index)
    return language.caption_zh(description)


def texts(scenes):
    """What is read, in a fixed order that mixes it: glosses, and captions in two languages.

    Each language has as many ``scenes``. None comes in both, so nothing says which sentences mean
    the same.
    """
    found = lines("train")
    for index in range(scenes):
        found.append(english("train", 2 * index))
        found.append(mandarin("train", 2 * index + 1))
    Random(0).shuffle(found)
    return found


def rows_of(tokenizer, texts, context):
    """Texts as rows for :func:`~mmcourse.gpt.row_log_probs`: ids between two ``END``.

    A text that is longer than the context is left out.
    """
    rows = [[END, *tokenizer.encode(text), END] for text in texts]
    return [row for row in rows if len(row) <= context]


def evaluate(model, tokenizer, kinds):
    """Bits a byte of each kind of text, a dict of lists: a dict. The end counts as one byte."""
    scores = {}
    for kind, found in kinds.items():
        rows = rows_of(tokenizer, found, model.context)
        size = sum(len(tokenizer.decode(row[1:-1]).encode()) + 1 for row in rows)
        scores[f"bits a byte, {kind}"] = bits_per_byte(row_log_probs(model, rows), size)
    return scores


def some(texts, count):
    """``count`` of some texts, a list, at equal distances: glosses stand in the order of kinds."""
    return [texts[number * len(texts) // count] for number in range(min(count, len(texts)))]


def judged(split="val", count=300):
    """Texts to evaluate on, lists by kind: glosses and captions of a split, ``count`` of each."""
    return {
        "glosses": some(lines(split), count),
        "English": [english(split, index) for index in range(count)],
        "Mandarin": [mandarin(split, index) for index in range(count)],
    }


def train(setting, folder, *, resume=None, **changes):
    """Train ``gpt`` in ``folder``, tokenizer and model; return the log.

    ``changes`` replace numbers of the recipe's configuration. ``resume`` and errors are those of
    :func:`mmcourse.training.train`.
    """
    config = training_config(TRAINING[setting], changes)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    read = texts(SCENES)
    tokenizer = BPETokenizer.train(read, VOCABULARY, special=SPECIAL)
    tokenizer.save(folder / TOKENIZER)
    ids = stream([tokenizer.encode(text) for text in read], END)
    kinds = judged()
    torch.manual_seed(config.seed)
    model = GPT(len(tokenizer), **MODEL[setting])
    model.initialise(SPREAD)
    return training.train(
        model,
        Blocks(ids, model.context),
        GPT.loss,
        config,
        folder,
        resume=resume,
        evaluate=lambda model: evaluate(model, tokenizer, kinds),
    )


if __name__ == "__main__":
    train("gpt", sys.argv[1])
    ship(GPT, sys.argv[1], Path(sys.argv[1], "half"))
