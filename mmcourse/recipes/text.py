"""The masked language model ``text``: glosses and captions of scenes, 23 minutes of one core.

``python -m mmcourse.recipes.text FOLDER`` trains it: the tokenizer first, then the model.
``FOLDER/half`` then holds what :func:`mmcourse.hub.load` and ``BPETokenizer.load`` read, the
weights in half precision.
"""

import sys
from pathlib import Path
from random import Random

import torch

from mmcourse import training
from mmcourse.data import EmojiScenes
from mmcourse.data.glosses import lines
from mmcourse.recipes import ship, training_config
from mmcourse.text import IGNORE, TOKENIZER, BPETokenizer, MaskedLanguageModel, mask_tokens, pad

SPECIAL = ("<pad>", "<mask>")
PAD, MASK = range(2)
VOCABULARY = 3000
SCENES = 1000  # whose captions are learnt from, five each
SHARE = 0.2  # of the tokens that are hidden; BERT hides 0.15 of texts many times longer
WINDOW = 32  # batches that are sorted by length together
MODEL = {"text": {"width": 128, "layers": 4, "heads": 4, "context": 64}}
TRAINING = {"text": {"steps": 5000, "batch_size": 96, "learning_rate": 2e-3, "weight_decay": 0.05}}


def texts(split):
    """What is read: the glosses of a split, and captions of scenes of ``train`` or ``val``."""
    scenes = EmojiScenes("train" if split == "train" else "val", 32)
    count = SCENES if split == "train" else SCENES // 10
    captions = [caption for number in range(count) for caption in scenes[number].captions]
    return lines(split) + captions


class Rows:
    """Tokenised texts without end: sample ``i``, a list of ids, depends on ``i`` alone.

    Each epoch has another order. Texts of about the same length come in one batch, so that little
    of it is padding.
    """

    def __init__(self, rows, batch_size):
        self.rows = rows
        self.batch_size = batch_size
        self.epoch = None
        self.order = []

    def __getitem__(self, index):
        epoch, place = divmod(index, len(self.rows))
        if epoch != self.epoch:
            self.order = self.arrange(Random(epoch))
            self.epoch = epoch
        return self.rows[self.order[place]]

    def arrange(self, rng):
        """An order of the rows: shuffled, then sorted by length within windows of batches."""
        shuffled = rng.sample(range(len(self.rows)), len(self.rows))
        size = WINDOW * self.batch_size
        order = []
        for start in range(0, len(shuffled), size):
            window = sorted(shuffled[start : start + size], key=lambda row: len(self.rows[row]))
            cuts = range(0, len(window), self.batch_size)
            batches = [window[cut : cut + self.batch_size] for cut in cuts]
            rng.shuffle(batches)
            for batch in batches:
                order += batch
        return order


def collate(rows):
    """A batch of rows of ids: the ids (B, T) and the mask (B, T)."""
    ids, mask = pad(rows, PAD)
    return {"ids": ids, "mask": mask}


def loss(model, batch):
    """The masked loss of a batch, whose hidden tokens PyTorch's random numbers choose."""
    size = len(model.bias)
    inputs, targets = mask_tokens(batch["ids"], MASK, size, special=(PAD, MASK), share=SHARE)
    return model.loss(inputs, targets, batch["mask"])


@torch.no_grad()
def evaluate(model, rows, batch_size=200):
    """Loss in nats and share of the hidden tokens guessed right, on the same hidden ones always."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    right = 0
    count = 0
    ordered = sorted(rows, key=len)
    for start in range(0, len(ordered), batch_size):
        batch = collate(ordered[start : start + batch_size])
        inputs, targets = mask_tokens(
            batch["ids"], MASK, len(model.bias), special=(PAD, MASK), generator=generator
        )
        hidden = targets != IGNORE
        logits = model.guess(model.encoder(inputs, batch["mask"])[hidden])  # (M, V)
        truth = targets[hidden]
        total += torch.nn.functional.cross_entropy(logits, truth, reduction="sum").item()
        right += (logits.argmax(-1) == truth).sum().item()
        count += len(truth)
    return {"masked loss": total / count, "masked right": right / count}


def train(setting, folder, *, resume=None, **changes):
    """Train ``text`` in ``folder``, tokenizer and model; return the log.

    ``changes`` replace numbers of the recipe's configuration. ``resume`` and errors are those of
    :func:`mmcourse.training.train`.
    """
    config = training_config(TRAINING[setting], changes)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    read = texts("train")
    tokenizer = BPETokenizer.train(read, VOCABULARY, special=SPECIAL)
    tokenizer.save(folder / TOKENIZER)
    sizes = MODEL[setting]
    context = sizes["context"]
    rows = [tokenizer.encode(text)[:context] for text in read]  # the rest of a long text is lost
    judged = [tokenizer.encode(line)[:context] for line in lines("val")]
    torch.manual_seed(config.seed)
    model = MaskedLanguageModel(len(tokenizer), **sizes)
    return training.train(
        model,
        Rows(rows, config.batch_size),
        loss,
        config,
        folder,
        collate=collate,
        resume=resume,
        evaluate=lambda model: evaluate(model, judged),
    )


if __name__ == "__main__":
    train("text", sys.argv[1])
    ship(MaskedLanguageModel, sys.argv[1], Path(sys.argv[1], "half"))
