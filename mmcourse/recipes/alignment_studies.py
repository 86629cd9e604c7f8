"""Retrieval against the number of pairs, which takes longer than a page: measured, stored, read.

``python -m mmcourse.recipes.alignment_studies ARM ...`` makes ``measured/alignment_ARM.json``
beside this file for each of these arms (``ARMS``), with the command, the seconds and the machine in
it. The page reads them with :func:`read`, and does a small part again.

Every arm gets the same frozen features: of pictures, from the captioner of chapter 14, of captions,
from the masked language model of chapter 3, which saw no picture; both on their first principal
axes, whitened. All scenes of training are there for every arm as *unpaired* pictures and captions;
the first K of a drawn order are its pairs.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.alignment import (
    CrossModalAutoencoder,
    Discriminator,
    cca,
    energy_distance,
    fool_loss,
    judge_accuracy,
    judge_loss,
    match_moments,
    principal_axes,
    procrustes,
    refine,
    reversal_loss,
)
from mmcourse.captioning import SceneCaptioner
from mmcourse.contrastive import clip_loss, cosines, true_of
from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns
from mmcourse.recipes.stored import machine, path_of, read_study, write_study
from mmcourse.text import BPETokenizer, MaskedLanguageModel
from mmcourse.text.encoder import mean_of_tokens, pad

SHIPPED = Path(__file__).parents[1] / "shipped"
WORLD = tuple(noun.name for noun in nouns()[::8])  # 41 nouns
TRAINING, TUNING, TESTED = 4000, 300, 500  # scenes
PAIRS = (0, 10, 100, 1000, TRAINING)
SEEDS = (0, 1, 2)
AXES = 64  # principal axes of each side
CODE = 64
HIDDEN = 128  # of each network
STEPS = 500  # of training; settings are chosen with half of them
BATCH = 128
RATES = (3e-3, 1e-2)
WORD_WEIGHT = 10.0  # of the words' loss, which is about a tenth of the pictures'


def read(arm):
    """What the study of an arm found, a dict."""
    return read_study(f"alignment_{arm}")


# Features -------------------------------------------------------------------------------------


def see(scenes, captioner):
    """Features (n, 256) of pictures: mean and maximum over the captioner's cells, frozen."""
    parts = []
    for start in range(0, len(scenes), 50):
        images = np.stack([scene.image for scene in scenes[start : start + 50]])
        with torch.no_grad():
            cells = captioner.encode(images)  # (50, N, 128)
        parts.append(torch.cat([cells.mean(1), cells.amax(1)], 1))
    return torch.cat(parts)


def hear(captions, model, tokenizer):
    """Features (n, 128) of captions: the mean of the text encoder's tokens, frozen."""
    parts = []
    for start in range(0, len(captions), 100):
        rows = [torch.tensor(tokenizer.encode(text)) for text in captions[start : start + 100]]
        ids, mask = pad(rows)
        with torch.no_grad():
            parts.append(mean_of_tokens(model.encoder(ids, mask), mask))
    return torch.cat(parts)


def words_in(captions, words):
    """Which of the words each caption has: numbers 0 and 1, (n, V)."""
    table = torch.zeros(len(captions), len(words))
    number = {word: column for column, word in enumerate(words)}
    for row, caption in enumerate(captions):
        for word in caption.split():
            if word in number:
                table[row, number[word]] = 1.0
    return table


class Part:
    """Scenes of a split with their features, words (n, V), and which caption is true of which."""

    def __init__(self, split, first, count, models, words=None):
        captioner, model, tokenizer = models
        dataset = EmojiScenes(split, only=WORLD)
        self.scenes = [dataset[index] for index in range(first, first + count)]
        styles = range(first, first + count)  # one of the five captions of a scene
        pairs = zip(self.scenes, styles, strict=True)
        self.captions = [scene.captions[style % 5] for scene, style in pairs]
        self.spread = {}
        self.image = see(self.scenes, captioner)
        self.text = hear(self.captions, model, tokenizer)
        if words is None:
            words = sorted({word for caption in self.captions for word in caption.split()})
        self.word_list = words
        self.words = words_in(self.captions, words)

    def relevant(self):
        """Which caption is true of which scene, boolean (scenes, captions)."""
        return true_of(self.captions, self.scenes)


def load_models():
    """The two frozen models, and the tokenizer of the second."""
    captioner = SceneCaptioner.from_pretrained(SHIPPED / "scenes").eval().requires_grad_(False)
    model = MaskedLanguageModel.from_pretrained(SHIPPED / "text").eval().requires_grad_(False)
    return captioner, model, BPETokenizer.load(SHIPPED / "text" / "tokenizer.json")


def load_all(training=TRAINING):
    """Scenes for training, tuning and testing: a dict of :class:`Part`.

    Features are turned to the first principal axes of those of training, and whitened; ``spread``
    has the standard deviations that were taken away.
    """
    models = load_models()
    found = {"train": Part("train", 0, training, models)}
    words = found["train"].word_list
    found["test"] = Part("val", 0, TESTED, models, words)
    found["tune"] = Part("val", TESTED, TUNING, models, words)
    for side in ("image", "text"):
        turn = principal_axes(getattr(found["train"], side), AXES, whiten=True)
        spread = 1 / turn.axes.norm(dim=0)  # of each axis, before it was whitened
        for part in found.values():
            setattr(part, side, turn(getattr(part, side)))
            part.spread[side] = spread
    return found


# Arms -----------------------------------------------------------------------------------------
# An arm takes the scenes of training, the numbers of its pairs, a setting, a seed and a number of
# steps, and gives two functions, from the features of each side to codes.


def pairs_of(count, seed):
    """The numbers of the pairs that a seed is given: the first of a drawn order."""
    return torch.randperm(TRAINING, generator=torch.Generator().manual_seed(100 + seed))[:count]


def by_procrustes(train, rows, setting, seed, steps=None):
    """The best rotation of the pairs, on the first principal axes; without pairs, by moments."""
    scales = {}
    for side in ("image", "text"):
        scales[side] = torch.ones(setting["size"])
        if not setting["whiten"]:
            scales[side] = train.spread[side][: setting["size"]]

    def image(features):
        return features[:, : setting["size"]] * scales["image"]

    def text(features):
        return features[:, : setting["size"]] * scales["text"]

    x, y = image(train.image), text(train.text)
    turn = procrustes(x[rows], y[rows]) if len(rows) else match_moments(x, y)
    turn = refine(x, y, turn, setting["rounds"])
    return lambda features: image(features) @ turn, text


def by_cca(train, rows, setting, seed, steps=None):
    """Canonical correlations of the pairs; each direction weighs as much as it correlates."""
    first, second, weights = cca(
        train.image[rows], train.text[rows], setting["size"], ridge=setting["ridge"]
    )
    return lambda features: first(features) * weights, lambda features: second(features) * weights


def by_rotation(train, rows, setting, seed, steps=STEPS):
    """A rotation of the pictures that a judge takes for texts, then Procrustes among neighbours.

    After Conneau et al. 2018, much shortened. It takes no pairs.
    """
    torch.manual_seed(seed)
    turn = nn.utils.parametrizations.orthogonal(nn.Linear(AXES, AXES, bias=False))
    judge = Discriminator(AXES)
    optimizer = torch.optim.Adam(turn.parameters(), setting["rate"])
    judged = torch.optim.Adam(judge.parameters(), 5e-4, betas=(0.5, 0.999))
    for _ in range(steps):
        image = turn(train.image[torch.randint(len(train.image), (BATCH,))])
        text = train.text[torch.randint(len(train.text), (BATCH,))]
        step_judge(judge, judged, image, text)
        loss = fool_loss(judge, image, text)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mapping = turn.weight.detach().mT
    mapping = refine(train.image, train.text, mapping, setting["rounds"])
    return lambda features: features @ mapping, lambda features: features


def by_training(train, rows, setting, seed, steps=STEPS):
    """The networks: an autoencoder, with the terms that the setting asks for."""
    model, _ = trained(train, rows, setting, seed, steps)
    return model.encode_image, model.encode_text


def trained(train, rows, setting, seed, steps=STEPS):
    """An autoencoder and its judge. ``setting`` has the ``rate``, and the weights of the terms."""
    torch.manual_seed(seed)
    words = len(train.word_list)
    code = setting.get("code", CODE)
    model = CrossModalAutoencoder(AXES, AXES, AXES, words, code, HIDDEN, word_weight=WORD_WEIGHT)
    judge = Discriminator(code)
    shared = setting.get("reversal", 0.0) > 0
    learners = [*model.parameters(), *(judge.parameters() if shared else ())]
    optimizer = torch.optim.Adam(learners, setting["rate"], fused=True)
    judged = torch.optim.Adam(judge.parameters(), setting["rate"], betas=(0.5, 0.999))
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for step in range(steps):
        loss, codes = terms(model, train, rows, setting)
        if shared:
            rise = 2 / (1 + np.exp(-10 * step / steps)) - 1  # from 0 to 1, as Ganin et al. 2016
            loss = loss + reversal_loss(judge, *codes, setting["reversal"] * rise)
        elif setting.get("fool"):
            for _ in range(setting.get("judge steps", 1)):
                step_judge(judge, judged, *codes)
            loss = loss + setting["fool"] * fool_loss(judge, *codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
    return model.eval(), judge


def terms(model, train, rows, setting):
    """The loss without the adversary, and the codes of unpaired pictures and texts."""
    left = torch.randint(len(train.image), (BATCH,))
    right = torch.randint(len(train.text), (BATCH,))  # other scenes
    image = model.encode_image(train.image[left])
    text = model.encode_text(train.text[right])
    if setting.get("noise"):
        image, text = noisy(image, setting["noise"]), noisy(text, setting["noise"])
    loss = image.new_zeros(())
    if setting.get("within"):
        loss = loss + model.rebuild(image, pixels=train.image[left])
        loss = loss + model.rebuild(text, words=train.words[right])
    if len(rows):
        own = rows[torch.randperm(len(rows))[:BATCH]]
        loss = loss + terms_of_pairs(model, train, own, setting)
    return loss, (image, text)


def noisy(codes, spread):
    """Codes with normal noise."""
    return codes + spread * torch.randn_like(codes)


def terms_of_pairs(model, train, own, setting):
    """The loss of some pairs."""
    image, text = train.image[own], train.text[own]
    loss = image.new_zeros(())
    if setting.get("across"):
        loss = loss + setting["across"] * model.across(image, text, image, train.words[own])
    if setting.get("meet"):
        meet = F.mse_loss(model.encode_image(image), model.encode_text(text))
        loss = loss + setting["meet"] * meet
    if setting.get("contrast"):
        codes = model.encode_image(image), model.encode_text(text)
        loss = loss + setting["contrast"] * clip_loss(*codes, setting["scale"])
    return loss


def step_judge(judge, optimizer, image, text):
    """One step of the judge, on codes whose encoders stay as they are."""
    loss = judge_loss(judge, image.detach(), text.detach())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# Measuring ------------------------------------------------------------------------------------


@torch.no_grad()
def codes_of(maps, train, part):
    """The codes of both sides, each side's mean of training taken away."""
    sides = zip(maps, (train.image, train.text), (part.image, part.text), strict=True)
    return [one(features) - one(known).mean(0) for one, known, features in sides]


def found_right(similarity, relevant):
    """Whether each row finds a right answer first; a tie is lost."""
    right = np.where(relevant, similarity, -np.inf).max(1)
    wrong = np.where(relevant, -np.inf, similarity).max(1)
    return right > wrong


def retrieve(maps, train, part, relevant):
    """Whether each picture finds a true caption first, and each caption a picture: (2, n)."""
    table = cosines(*codes_of(maps, train, part)).numpy()
    return np.stack([found_right(table, relevant), found_right(table.T, relevant.T)])


def new_judge(maps, train, test, seed):
    """How well a judge that is trained afterwards tells the sides of new scenes apart."""
    torch.manual_seed(seed)
    known = codes_of(maps, train, train)
    spread = torch.cat(known).std()
    judge = Discriminator(known[0].shape[1])
    optimizer = torch.optim.Adam(judge.parameters(), 1e-3)
    for _ in range(300):
        batch = [side[torch.randint(len(side), (BATCH,))] / spread for side in known]
        step_judge(judge, optimizer, *batch)
    return judge_accuracy(judge, *[side / spread for side in codes_of(maps, train, test)])


def blurred(maps, setting):
    """The maps of an arm with the noise of its training, if there was any, after them."""
    spread = setting.get("noise", 0.0)
    image, text = maps
    return lambda x: noisy(image(x), spread), lambda x: noisy(text(x), spread)


def unlike(maps, train, test):
    """The energy distance of both sides' codes, as a share of the mean distance of two codes."""
    image, text = codes_of(maps, train, test)
    return (energy_distance(image, text) / torch.cdist(image, text).mean()).item()


def grid(**choices):
    """All combinations of settings: a list of dicts."""
    found = [{}]
    for name, values in choices.items():
        found = [{**setting, name: value} for setting in found for value in values]
    return found


ADVERSARIAL = {"rate": RATES, "within": (1,), "across": (1,)}
CONTRAST = {"rate": RATES, "contrast": (1,)}
ROTATION = {"size": (16, 32, 64), "whiten": (False, True)}
ARMS = {
    "procrustes": (by_procrustes, grid(**ROTATION, rounds=(0,))),
    "refined": (by_procrustes, grid(**ROTATION, rounds=(5,))),
    "cca": (by_cca, grid(size=(32, 64), ridge=(0.1, 1.0, 10.0))),
    "rotation": (by_rotation, grid(rate=(3e-4, 1e-3), rounds=(0, 5))),
    "autoencoder": (by_training, grid(rate=RATES, within=(1,), across=(1, 3))),
    "reversal": (by_training, grid(**ADVERSARIAL, reversal=(0.1, 1.0))),
    "discriminator": (by_training, grid(**ADVERSARIAL, fool=(0.1, 1.0))),
    "noisy": (
        by_training,
        grid(
            rate=RATES[:1],
            within=(1,),
            fool=(1.0, 3.0),
            noise=(0.5, 1.0),
            code=(16,),
            **{"judge steps": (3,)},
        ),
    ),
    "twin": (by_training, None),  # the discriminator's settings without its judge
    "contrastive": (by_training, grid(**CONTRAST, scale=(5.0, 14.3))),
    "contrastive_autoencoder": (by_training, grid(**CONTRAST, scale=(5.0, 14.3), within=(1,))),
    "contrastive_reversal": (
        by_training,
        grid(**CONTRAST, scale=(14.3,), within=(1,), reversal=(0.1, 1.0)),
    ),
    "across_alone": (by_training, grid(rate=RATES, across=(1, 3))),
    "meeting": (by_training, grid(rate=RATES, within=(1,), meet=(1.0, 10.0))),
}
NEED_PAIRS = ("cca", "twin", "contrastive", "contrastive_autoencoder", "contrastive_reversal")
ABLATIONS = ("across_alone", "meeting")  # with 1,000 pairs


def counts_for(arm):
    """The numbers of pairs with which an arm is measured."""
    if arm in ("rotation", "noisy"):
        return (0,)
    if arm in ABLATIONS:
        return (1000,)
    if arm in NEED_PAIRS:
        return PAIRS[1:]
    return PAIRS


def measure(arm, count, loaded, relevant):
    """The row of an arm with so many pairs: the setting that was chosen, and each seed's answers.

    With pairs, settings are chosen by retrieval among the tuning scenes. Without, nobody could do
    so: then the setting is taken whose codes a new judge tells apart least.
    """
    start = time.process_time()
    make, settings = ARMS[arm]
    if arm == "twin":
        settings = [without_judge(count)]
    train = loaded["train"]
    tried = []
    for setting in settings:
        maps = make(train, pairs_of(count, 9), setting, 9, STEPS // 2)
        flags = retrieve(maps, train, loaded["tune"], relevant["tune"])
        found = {"setting": setting, "recall": float(flags.mean())}
        if count == 0:
            found["judge"] = new_judge(blurred(maps, setting), train, loaded["tune"], 9)
        tried.append(found)
    if count == 0:
        setting = min(tried, key=lambda found: found["judge"])["setting"]
    else:
        setting = max(tried, key=lambda found: found["recall"])["setting"]
    seeds = [measure_seed(arm, count, setting, seed, loaded, relevant) for seed in SEEDS]
    shares = [unpacked(found["right"]).mean() for found in seeds]
    print(arm, count, setting, np.round(shares, 3), seeds[0].get("judge"), flush=True)
    spent = round(time.process_time() - start, 1)
    return {
        "pairs": count,
        "setting": setting,
        "tried": tried,
        "seeds": seeds,
        "cpu seconds": spent,
    }


def without_judge(count):
    """The setting of the discriminator's row with so many pairs, less the judge."""
    (row,) = [row for row in read("discriminator")["rows"] if row["pairs"] == count]
    return {name: value for name, value in row["setting"].items() if name != "fool"}


def measure_seed(arm, count, setting, seed, loaded, relevant):
    """What one seed finds on the test scenes: a dict."""
    train, test = loaded["train"], loaded["test"]
    maps = ARMS[arm][0](train, pairs_of(count, seed), setting, seed, STEPS)
    found = {"right": packed(retrieve(maps, train, test, relevant["test"]))}
    if count in (PAIRS[0], PAIRS[-1]):
        found["judge"] = new_judge(maps, train, test, seed)
        found["judge of noisy codes"] = new_judge(blurred(maps, setting), train, test, seed)
        found["unlike"] = unlike(maps, train, test)
    return found


def packed(flags):
    """Booleans as a string of hexadecimal digits."""
    return np.packbits(flags).tobytes().hex()


def unpacked(text):
    """The booleans of :func:`packed`, (2, TESTED): of pictures, then of captions."""
    flags = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    return flags[: 2 * TESTED].astype(bool).reshape(2, TESTED)


def main(arms):
    """Measure some arms and write what was found, row by row; rows that are there are kept."""
    torch.set_num_threads(1)
    loaded = load_all()
    relevant = {name: loaded[name].relevant() for name in ("tune", "test")}
    for arm in arms:
        command = f"python -m mmcourse.recipes.alignment_studies {arm}"
        found = {"command": command, "rows": []} | machine()
        if path_of(f"alignment_{arm}").exists():
            found["rows"] = read(arm)["rows"]
        done = [row["pairs"] for row in found["rows"]]
        for count in counts_for(arm):
            if count not in done:
                found["rows"].append(measure(arm, count, loaded, relevant))
                found["rows"].sort(key=lambda row: row["pairs"])
                write_study(f"alignment_{arm}", found)


if __name__ == "__main__":
    main(sys.argv[1:])
