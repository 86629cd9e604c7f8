"""What a detector lacks without one of its parts, and what a decoder can say of what it sees.

``python -m mmcourse.recipes.detection_studies NAME`` makes ``measured/detection_NAME.json`` beside
this file, with the command, the seconds and the machine in it; NAME is ``parts`` or ``captions``.
The page reads it with :func:`read`. All arms of a study have the same scenes, batches and steps;
each has its own rate, chosen with fewer steps on scenes that are not reported. Each arm is stored
as soon as it is measured.
"""

import sys
import time

import numpy as np
import torch

from mmcourse.captioning import SceneCaptioner
from mmcourse.captioning.scenes import chosen_caption
from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns
from mmcourse.data.language import vocabulary
from mmcourse.data.splits import styles_for
from mmcourse.detection import DETR, Found, Weights, average_precision, box_iou
from mmcourse.detection.boxes import suppress
from mmcourse.evaluation import fact_scores
from mmcourse.recipes.detection import (
    CAPTIONER,
    begin,
    collate,
    detect,
    load_convolutions,
    look_at,
    terms,
)
from mmcourse.recipes.stored import machine, read_study, write_study
from mmcourse.training import TrainingConfig, learning_rate_at, parameter_groups

SEEDS = (0, 1, 2)
RATES = (1e-3, 2e-3, 4e-3)

# The parts of the loss, in a world of few nouns
NOUNS = 40  # how many, of those that every training style draws
TRAINING, TESTED, TUNED = 3000, 400, 150  # scenes
STEPS, TRIED_STEPS, BATCH = 200, 60, 32
ARMS = {
    "all parts": {},
    "in the order of the list": {"assign": "listed"},
    "three queries for an object": {"repeat": 3},
    "no object counts 1": {"no_object": 1.0},
    "no generalised IoU": {"weights": Weights(overlap=0.0)},
    "no anchors": {"anchors": False},
}

# What a caption can be written from
SEEN, WRITTEN = 4000, 200  # scenes for training, and of each split that is reported
WORD_STEPS, TRIED_WORD_STEPS, WORD_BATCH = 300, 80, 48
MEMORIES = ("cells", "queries")


def read(name="parts"):
    """What a study found, a dict."""
    return read_study(f"detection_{name}")


def fit(model, make_loss, count, steps, batch, rate, seed):
    """Train in place: ``make_loss(rows)`` is the loss of a batch of rows out of ``count``."""
    config = TrainingConfig(steps=steps, batch_size=batch, learning_rate=rate, warmup=steps // 20)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.01), lr=rate, fused=True)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        rows = torch.randint(count, (batch,), generator=generator).tolist()
        make_loss(rows).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


# The parts of the loss ------------------------------------------------------------------------


def few_nouns():
    """The first nouns that every style of training draws, a list of names."""
    whole = [noun.name for noun in nouns() if len(styles_for(noun.name, "train")) == 5]
    return whole[:NOUNS]


def listed(cost):
    """No matching: the first object goes to the first query, and so on."""
    return list(range(len(cost)))


def repeated(objects, times):
    """Objects as if each stood there several times, so that several queries answer for it."""
    return [(labels.repeat(times), boxes.repeat(times, 1)) for labels, boxes in objects]


def train_arm(arm, seen, rate, seed, steps):
    """A DETR, trained as an arm on what a backbone has seen."""
    options = dict(ARMS[arm])
    anchors = options.pop("anchors", True)
    times = options.pop("repeat", 1)
    if options.get("assign") == "listed":
        options["assign"] = listed
    torch.manual_seed(seed)
    model = begin(anchors=anchors)
    model.convolutions.requires_grad_(False)

    def make_loss(rows):
        batch = collate([seen[row] for row in rows])
        batch["objects"] = repeated(batch["objects"], times)
        return terms(model, batch, **options).sum()

    return fit(model, make_loss, len(seen), steps, BATCH, rate, seed)


def duplicates(found, truths, threshold=0.3):
    """Detections above the threshold on an object and of its label, a mean over objects that have
    one. 1 is ideal.
    """
    counts = []
    for seen, truth in zip(found, truths, strict=True):
        overlaps = box_iou(torch.tensor(seen.boxes), torch.tensor(truth.boxes)).numpy()  # (Q, M)
        same = seen.labels[:, None] == truth.labels[None]
        here = (overlaps >= 0.5) & same & (seen.scores >= threshold)[:, None]
        counts += here.sum(0).tolist()
    counts = [count for count in counts if count]
    return float(np.mean(counts)) if counts else 0.0


def without_doubles(found):
    """Detections after non-maximum suppression."""
    kept = []
    for seen in found:
        rows = suppress(torch.tensor(seen.boxes), torch.tensor(seen.scores)).numpy()
        kept.append(type(seen)(*(part[rows] for part in seen)))
    return kept


def scores_of(model, seen):
    """What the parts' study reports of a model, a dict."""
    found, truths = detect(model, seen)
    single = without_doubles(found)
    return {
        "AP50": average_precision(found, truths, 0.5),
        "AP75": average_precision(found, truths, 0.75),
        "AP50 suppressed": average_precision(single, truths, 0.5),
        "AP75 suppressed": average_precision(single, truths, 0.75),
        "detections of an object": duplicates(found, truths),
    }


def measure_arm(arm, parts):
    """The row of an arm: the rates that were tried, and what each seed reached."""
    start = time.process_time()
    rates = {}
    for rate in RATES:
        model = train_arm(arm, parts["train"], rate, 9, TRIED_STEPS)
        rates[rate] = average_precision(*detect(model, parts["tune"]))
    rate = max(rates, key=rates.get)
    row = {"arm": arm, "rate": rate, "rates": {str(each): rates[each] for each in rates}}
    row["seeds"] = []
    for seed in SEEDS:
        model = train_arm(arm, parts["train"], rate, seed, STEPS)
        row["seeds"].append({"seed": seed} | scores_of(model, parts["val"]))
    row["cpu seconds"] = round(time.process_time() - start)
    print(arm, rates, row["seeds"], row["cpu seconds"], flush=True)
    return row


def parts_study():
    """The settings of the study of the parts, and its rows, one by one."""
    convolutions = load_convolutions()
    few = few_nouns()
    train = look_at(EmojiScenes("train", only=few), range(TRAINING), convolutions, restyled=True)
    val = EmojiScenes("val", only=few)
    parts = {
        "train": train,
        "val": look_at(val, range(TESTED), convolutions),
        "tune": look_at(val, range(2000, 2000 + TUNED), convolutions),
    }
    settings = {
        "nouns": NOUNS,
        "scenes": [TRAINING, TUNED, TESTED],
        "steps": STEPS,
        "steps of each rate tried": TRIED_STEPS,
        "pictures of a batch": BATCH,
    }
    return settings, (measure_arm(arm, parts) for arm in ARMS)


# Boxes without a detector ----------------------------------------------------------------------


@torch.no_grad()
def cells_found(noun_head, seen, side=8):
    """What the captioner's grid says of :class:`~mmcourse.recipes.detection.SeenScenes`.

    A Found of each picture: neighbouring cells in which ``noun_head`` sees the same noun are one
    thing. Its box is that of its cells, its score their mean probability.
    """
    found = []
    for features in seen.features:
        probabilities, cells = noun_head(features.float()).softmax(-1).max(-1)  # (N,) each
        regions = regions_of(cells.view(side, side).tolist())
        boxes, labels, scores = [], [], []
        for region in regions:
            rows = [row for row, _ in region]
            columns = [column for _, column in region]
            numbers = [side * row + column for row, column in region]
            box = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
            boxes.append([edge / side for edge in box])
            labels.append(int(cells[numbers[0]]) - 1)  # 0 is no noun
            scores.append(probabilities[numbers].mean().item())
        found.append(Found(np.array(labels), np.array(scores), np.array(boxes).reshape(-1, 4)))
    return found


def regions_of(cells):
    """Groups of neighbouring cells with the same number above 0: lists of (row, column)."""
    left = {
        (row, column)
        for row, numbers in enumerate(cells)
        for column, number in enumerate(numbers)
        if number > 0
    }
    regions = []
    while left:
        region, edge = [], [min(left)]
        left.remove(edge[0])
        while edge:
            row, column = edge.pop()
            region.append((row, column))
            for near in (
                (row - 1, column),
                (row + 1, column),
                (row, column - 1),
                (row, column + 1),
            ):
                if near in left and cells[near[0]][near[1]] == cells[row][column]:
                    left.remove(near)
                    edge.append(near)
        regions.append(region)
    return regions


# What a caption can be written from -----------------------------------------------------------


@torch.no_grad()
def memories_of(scenes, captioner, detector):
    """What two frozen models see of scenes, (scenes, cells or queries, 128), in half precision.

    The ``cells`` are the captioner's memory, which was trained with a decoder that reads it; the
    ``queries`` what DETR's last layer knows of each, with the place of its box.
    """
    found = {name: [] for name in MEMORIES}
    for start in range(0, len(scenes), 100):
        images = np.stack([scene.image for scene in scenes[start : start + 100]])
        found["cells"].append(captioner.encode(images).half())
        found["queries"].append(detector.look(images).half())
    return {name: torch.cat(parts) for name, parts in found.items()}


def writer(memory, tokens, rate, seed, steps):
    """A captioner whose decoder learned to write from a memory (scenes, n, D) that stays."""
    torch.manual_seed(seed)
    model = SceneCaptioner(vocabulary())
    for part in (model.convolutions, model.encoder, model.noun_head, model.noun_embedding):
        part.requires_grad_(False)
    model.grid_positions.requires_grad_(False)
    padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)

    def make_loss(rows):
        return model.word_loss(memory[rows].float(), padded[rows])

    return fit(model, make_loss, len(memory), steps, WORD_BATCH, rate, seed)


def facts_written(model, memory, scenes):
    """F1 of each kind of fact in what a model writes greedily from a memory, a dict."""
    texts = []
    for part in memory.split(100):
        texts += [caption.text for caption in model.write(part.float(), "greedy")]
    found = {}
    for kind, (precision, recall) in fact_scores(texts, scenes).items():
        found[kind] = 2 * precision * recall / max(1e-9, precision + recall)
    return found


def measure_memory(name, parts, tokens):
    """The row of a memory: the rates that were tried, and what each seed reached."""
    start = time.process_time()
    rates = {}
    for rate in RATES:
        model = writer(parts["train"][1][name], tokens, rate, 9, TRIED_WORD_STEPS)
        rates[rate] = facts_written(model, parts["tune"][1][name], parts["tune"][0])["all"]
    rate = max(rates, key=rates.get)
    row = {"arm": name, "rate": rate, "rates": {str(each): rates[each] for each in rates}}
    row["seeds"] = []
    for seed in SEEDS:
        model = writer(parts["train"][1][name], tokens, rate, seed, WORD_STEPS)
        scores = {"seed": seed}
        for split in ("val", "style"):
            scores[split] = facts_written(model, parts[split][1][name], parts[split][0])
        row["seeds"].append(scores)
    row["cpu seconds"] = round(time.process_time() - start)
    print(name, rates, [seed["val"] for seed in row["seeds"]], row["cpu seconds"], flush=True)
    return row


def captions_study():
    """The settings of the study of captions, and its rows, one by one."""
    captioner = SceneCaptioner.from_pretrained(CAPTIONER)
    detector = DETR.from_pretrained(CAPTIONER.with_name("detection"))
    parts = {}
    for name, split, first, count in (
        ("train", "train", 0, SEEN),
        ("tune", "val", 2000, 100),
        ("val", "val", 0, WRITTEN),
        ("style", "style", 0, WRITTEN),
    ):
        dataset = EmojiScenes(split)
        scenes = [dataset[index] for index in range(first, first + count)]
        parts[name] = scenes, memories_of(scenes, captioner, detector)
    tokens = [torch.tensor(captioner.tokenize(chosen_caption(s))) for s in parts["train"][0]]
    settings = {
        "scenes": [SEEN, WRITTEN],
        "steps": WORD_STEPS,
        "steps of each rate tried": TRIED_WORD_STEPS,
        "pictures of a batch": WORD_BATCH,
    }
    return settings, (measure_memory(name, parts, tokens) for name in MEMORIES)


def main(name):
    """Measure all arms of a study; write what was found after each of them."""
    torch.set_num_threads(1)
    start = time.time(), time.process_time()
    settings, rows = {"parts": parts_study, "captions": captions_study}[name]()
    found = {
        "command": f"python -m mmcourse.recipes.detection_studies {name}",
        "settings": settings,
        "rows": [],
    }
    for row in rows:
        found["rows"].append(row)
        found["seconds"] = round(time.time() - start[0])
        found["cpu seconds"] = round(time.process_time() - start[1])
        write_study(f"detection_{name}", found | machine())


if __name__ == "__main__":
    main(sys.argv[1])
