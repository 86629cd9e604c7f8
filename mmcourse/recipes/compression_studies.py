"""What compression costs, which takes longer than a page: measured, stored, and read by it.

``python -m mmcourse.recipes.compression_studies NAME FOLDER`` makes ``measured/compression_NAME``
beside this file; NAME is ``layers``, ``table``, ``teacher`` or ``speed``, and ``FOLDER`` has the
students of :mod:`mmcourse.recipes.compression`. Each row is stored as soon as it is measured, and
those that are stored already are not measured again. With ``ship`` for NAME, ``FOLDER`` gets the
captioner ``scenes_small``, see :func:`ship`.
"""

import copy
import sys
import time
from pathlib import Path

import numpy as np
import torch

from mmcourse.captioning import SceneCaptioner
from mmcourse.compression.calibration import (
    mixed_plan,
    quantise_static,
    record_ranges,
    sensitivity,
)
from mmcourse.compression.captioner import QuantisedSceneCaptioner, weight_bytes
from mmcourse.compression.layers import keep_floats, quantisable, quantise_model
from mmcourse.compression.lowrank import factorise
from mmcourse.compression.measure import (
    compare_speed,
    divergence,
    fact_counts,
    paired_change,
    write_one_by_one,
)
from mmcourse.compression.prune import (
    apply_masks,
    feed_forwards,
    heads_of,
    magnitude_prune,
    masked_bytes,
    prune_neurons,
    silence_heads,
)
from mmcourse.compression.speculative import ModelDraft, NGramDraft, speculate
from mmcourse.data import EmojiScenes
from mmcourse.recipes import compression as recipe
from mmcourse.recipes.compression import FIRST
from mmcourse.recipes.stored import machine, path_of, read_study, write_study

SPLITS = ("val", "composition", "style")
SCENES = 1000  # of each split, from the first on
CALIBRATED = (4300, 60)  # of val: the first scene to calibrate with, and how many
TIMED = (5000, 24)  # of val: to time with
MIXED = (0.005, 0.01)  # nats a word that the layers with 4 bits may cost together
SEEDS = (0, 1, 2)
RATES = (1e-3, 3e-3)
ARMS = {"taught": 0.9, "not taught": 0.0}  # the share of the teacher in the loss
LESSONS, STEPS, TRIED = 4000, 300, 100
DRAFT_SCENES = 1000  # of train: what the captioner wrote of them is what the n-grams count


def read(name):
    """What a study found, a dict."""
    return read_study(f"compression_{name}")


def scenes_of(split, first, count):
    """Scenes of a split, a list."""
    dataset = EmojiScenes(split)
    return [dataset[index] for index in range(first, first + count)]


def images_of(scenes):
    """The pictures of scenes, uint8 (B, H, W, 3)."""
    return np.stack([scene.image for scene in scenes])


def packed(counts):
    """Counts (n, 4) below 16 as a text of hexadecimal digits."""
    return "".join(f"{int(number):x}" for number in np.asarray(counts).flatten())


def unpacked(text):
    """The counts (n, 4) of :func:`packed`."""
    return np.array([int(letter, 16) for letter in text]).reshape(-1, 4)


# ---- the models of the table


def without_first(bits):
    """All layers of the captioner with so many bits, and the first convolution with 8."""
    return dict.fromkeys(quantisable(recipe.load_teacher()), bits) | {FIRST: 8}


def quantised(model, bits, per_channel=True):
    """A quantised copy, which holds its floats; and its bytes."""
    small = QuantisedSceneCaptioner.of(model, bits, per_channel=per_channel)
    return keep_floats(small), weight_bytes(small)


def dynamic(model):
    """With 8 bits, linear layers with quantised inputs; its bytes."""
    small = keep_floats(quantise_model(copy.deepcopy(model), 8, dynamic=True))
    return small, weight_bytes(small)


def static(model, images, any_kind=False):
    """With 8 bits, linear layers with inputs in fixed ranges; its bytes."""
    ranges = record_ranges(model, images, any_kind=any_kind)
    small = quantise_static(copy.deepcopy(model), ranges)
    small = keep_floats(quantise_model(small, 8))
    return small, weight_bytes(small)


def rounded(model, dtype):
    """A copy whose weights were rounded to another kind of float, and its bytes."""
    return copy.deepcopy(model).to(dtype).float(), weight_bytes(model)


def pruned(model, share, spare=()):
    """A copy without the smallest weights of each layer but those to ``spare``, and its bytes."""
    small = copy.deepcopy(model)
    masks = magnitude_prune(small, share)
    for name in spare:
        layer = small.get_submodule(name)
        layer.weight.data.copy_(model.get_submodule(name).weight.data)
        masks[name][:] = True
    dense = sum(2 * mask.numel() for mask in masks.values())
    return small, weight_bytes(small) - dense + masked_bytes(masks)


def retrained(folder):
    """The pruned captioner that went on learning with its masks, and its bytes."""
    small = student(folder, "pruned")
    masks = recipe.pruned_masks(recipe.load_teacher())
    apply_masks(small, masks)
    dense = sum(2 * mask.numel() for mask in masks.values())
    return small, weight_bytes(small) - dense + masked_bytes(masks)


def low_rank(model, share):
    """A copy with factored linear layers, and its bytes."""
    small = factorise(copy.deepcopy(model), share)
    return small, weight_bytes(small)


def fewer_neurons(model, share):
    """A copy with fewer hidden neurons in each feed-forward network, and its bytes."""
    small = copy.deepcopy(model)
    for layer in feed_forwards(small).values():
        prune_neurons(layer, share)
    return small, weight_bytes(small)


def plain(model):
    """A model as it is, and its bytes."""
    return model, weight_bytes(model)


def student(folder, kind):
    """A trained student."""
    return SceneCaptioner.from_pretrained(Path(folder, kind)).eval()


def variants(folder):
    """All rows of the table, a dict of names and functions that give a model and its bytes."""
    whole = recipe.load_teacher()
    scenes = scenes_of("val", *CALIBRATED)
    images = images_of(scenes)
    grey = np.full_like(images, 128)
    costs = read("layers")["costs"]
    plans = [mixed_plan(whole, costs, most) for most in MIXED]
    return {
        "original": lambda: plain(whole),
        "bfloat16": lambda: rounded(whole, torch.bfloat16),
        "8 bits": lambda: quantised(whole, 8),
        "8 bits, one scale": lambda: quantised(whole, 8, False),
        "8 bits, inputs too": lambda: dynamic(whole),
        "8 bits, fixed ranges": lambda: static(whole, images),
        "ranges of grey pictures": lambda: static(whole, grey, True),
        "6 bits": lambda: quantised(whole, 6),
        "5 bits": lambda: quantised(whole, 5),
        "4 bits": lambda: quantised(whole, 4),
        "4 bits, one scale": lambda: quantised(whole, 4, False),
        "4 bits, first layer 8": lambda: quantised(whole, without_first(4)),
        "4 and 8 bits, careful": lambda: quantised(whole, plans[0]),
        "4 and 8 bits": lambda: quantised(whole, plans[1]),
        "3 bits, first layer 8": lambda: quantised(whole, without_first(3)),
        "pruned 30 %": lambda: pruned(whole, 0.3),
        "pruned 30 %, first spared": lambda: pruned(whole, 0.3, [FIRST]),
        "pruned 50 %, first spared": lambda: pruned(whole, 0.5, [FIRST]),
        "low rank, 75 %": lambda: low_rank(whole, 0.75),
        "low rank, 50 %": lambda: low_rank(whole, 0.5),
        "neurons, 25 % gone": lambda: fewer_neurons(whole, 0.25),
        "pruned 50 %, retrained": lambda: retrained(folder),
        "shallow, untrained": lambda: plain(recipe.student("shallow").eval()),
        "shallow student": lambda: plain(student(folder, "shallow")),
        "shallow student, 8 bits": lambda: quantised(student(folder, "shallow"), 8),
        "narrow student": lambda: plain(student(folder, "narrow")),
        "narrow student, 8 bits": lambda: quantised(student(folder, "narrow"), 8),
    }


# ---- the studies


@torch.no_grad()
def captions_of(model, images, piece=100):
    """What a captioner writes greedily of pictures: a list of texts."""
    written = []
    for first in range(0, len(images), piece):
        memory = model.encode(images[first : first + piece])
        written += [caption.text for caption in model.write(memory, "greedy")]
    return written


def table(folder, stored):
    """A row for each model: its bytes, and the counts of facts of each scene of each split."""
    scenes = {split: scenes_of(split, 0, SCENES) for split in SPLITS}
    images = {split: images_of(scenes[split]) for split in SPLITS}
    first = captions_of(recipe.load_teacher(), images["val"])
    for name, make in variants(folder).items():
        if name in stored:
            continue
        try:
            model, size = make()
        except (OSError, ValueError) as error:
            print(name, "is left out:", error, flush=True)
            continue
        row = {"name": name, "bytes": size}
        for split in SPLITS:
            written = captions_of(model.eval(), images[split])
            row[split] = packed(fact_counts(written, scenes[split]))
            if split == "val":
                row["same"] = sum(a == b for a, b in zip(written, first, strict=True))
        yield name, row


def layers(folder, stored):
    """What each layer costs alone at 4 bits, and each head that is silenced."""
    whole = recipe.load_teacher()
    images = images_of(scenes_of("val", *CALIBRATED))
    costs = sensitivity(whole, images)
    written = whole.write(whole.encode(images), "greedy")
    sentences = [[whole.ids[word] for word in one.tokens[:-1]] for one in written]
    heads = []
    for name, head in heads_of(whole):
        small = copy.deepcopy(whole)
        silence_heads(small.get_submodule(name), [head])
        heads.append([name, head, divergence(small, whole, images, sentences)])
    yield "", {"costs": costs, "heads": heads}


def teacher(folder, stored):
    """Narrow students with and without a teacher: same lessons, steps and seeds, own rates."""
    told = recipe.corpus(recipe.load_teacher(), LESSONS)
    test = scenes_of("val", 0, 400)
    images = images_of(test)
    for arm, share in ARMS.items():
        rates = {}
        for rate in RATES:
            settings = {"steps": TRIED, "learning_rate": rate, "seed": 9}
            rates[rate] = arm_loss(folder, told, share, settings)
        best = min(rates, key=rates.get)
        for seed in SEEDS:
            name = f"{arm}, seed {seed}"
            if name in stored:
                continue
            model = arm_model(
                folder, told, share, {"steps": STEPS, "learning_rate": best, "seed": seed}
            )
            row = {"name": name, "arm": arm, "seed": seed, "rate": best}
            row["rates"] = {str(rate): loss for rate, loss in rates.items()}
            row["loss"] = true_loss(model)
            row["val"] = packed(fact_counts(captions_of(model, images), test))
            yield name, row


def arm_model(folder, told, share, settings):
    """A narrow student of an arm, trained in a folder that is thrown away."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as place:
        recipe.train("narrow", place, told, share=share, **settings)
        return SceneCaptioner.from_pretrained(place)


def arm_loss(folder, told, share, settings):
    """The loss by which an arm's rate is chosen, see :func:`true_loss`."""
    return true_loss(arm_model(folder, told, share, settings))


@torch.no_grad()
def true_loss(model):
    """The cross-entropy of true words and true cells on scenes that report nothing."""
    scenes = scenes_of("val", 4400, 200)
    return model.loss(model.collate(scenes)).item()


def speed(folder, stored):
    """Each model beside the original, one picture at a time on one core, in one run."""
    whole = recipe.load_teacher()
    images = images_of(scenes_of("val", *TIMED))
    drafted = captions_of(whole, images_of(scenes_of("train", 0, DRAFT_SCENES)))
    grams = NGramDraft([whole.tokenize(text)[1:-1] for text in drafted], sure=0.3)
    eight = QuantisedSceneCaptioner.of(whole, 8)
    held = keep_floats(QuantisedSceneCaptioner.of(whole, 8))
    own, _ = dynamic(whole)
    half = copy.deepcopy(whole).to(torch.bfloat16)
    shallow, narrow = student(folder, "shallow"), student(folder, "narrow")
    tasks = {"original": lambda: write_one_by_one(whole, images)}
    models = {
        "8 bits, unpacked each time": eight,
        "8 bits, floats held": held,
        "8 bits, inputs too (ours)": own,
        "8 bits, inputs too (PyTorch)": pytorch_dynamic(whole),
        "bfloat16": half,
        "low rank, 50 %": low_rank(whole, 0.5)[0],
        "pruned 50 % (zeros)": pruned(whole, 0.5)[0],
        "shallow student": shallow,
        "narrow student": narrow,
    }
    for name, model in models.items():
        tasks[name] = lambda model=model: write_one_by_one(model, images)
    tasks["no cache"] = lambda: without_cache(whole, images)
    tasks["speculation, none ahead"] = lambda: speculated(whole, images, lambda _: grams, 0)
    for ahead in (1, 2, 4):
        tasks[f"speculation, n-grams, {ahead}"] = lambda ahead=ahead: speculated(
            whole, images, lambda _: grams, ahead
        )

    def narrow_draft(image):
        return ModelDraft(narrow, narrow.encode(image[None]))

    tasks["speculation, narrow student, 4"] = lambda: speculated(whole, images, narrow_draft, 4)
    plain_words = write_one_by_one(whole, images)
    equal, passes = {}, {}
    for name, task in tasks.items():
        if name.startswith("speculation"):
            found = task()
            equal[name] = [one.tokens for one in found] == plain_words
            passes[name] = [[one.passes, one.proposed, one.accepted] for one in found]
    ratios = compare_speed(tasks)
    yield (
        "",
        {"ratios": ratios, "equal": equal, "passes": passes, "compiled": compiled(whole, images)},
    )


@torch.no_grad()
def without_cache(model, images):
    """Greedy search that reads the whole sentence anew for each word."""
    from mmcourse.captioning import END, START

    found = []
    for image in images:
        memory = model.encode(image[None])
        tokens = [START]
        while tokens[-1] != END and len(tokens) <= model.max_length:
            logits = model.decode(memory, torch.tensor([tokens]))
            tokens.append(int(logits[0, -1].argmax()))
        found.append([token for token in tokens[1:] if token != END])
    return found


@torch.no_grad()
def speculated(model, images, draft_of, ahead):
    """What speculation writes of pictures, one at a time."""
    return [speculate(model, model.encode(one[None]), draft_of(one), ahead) for one in images]


def pytorch_dynamic(model):
    """PyTorch's own dynamic quantisation of the linear layers, which has kernels for integers."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import quantize_dynamic

        return quantize_dynamic(copy.deepcopy(model), {torch.nn.Linear}, dtype=torch.qint8)


@torch.no_grad()
def compiled(model, images):
    """What ``torch.compile`` gives the encoder: seconds to compile and a ratio, or why not."""
    pixels = model.pixels_of(images[:1])
    try:
        quick = torch.compile(model.convolutions)
        start = time.perf_counter()
        quick(pixels)
        seconds = time.perf_counter() - start
    except Exception as error:  # those of a compiler that is not there
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    gap = (quick(pixels) - model.convolutions(pixels)).abs().max().item()

    def repeat(function):
        return lambda: [function(pixels) for _ in range(20)]

    ratios = compare_speed({"plain": repeat(model.convolutions), "compiled": repeat(quick)})
    return {"seconds": seconds, "ratio": ratios["compiled"], "gap": gap}


def ship(place):
    """Store ``scenes_small``: of 8 bits and the careful plan of 4 and 8, the smaller one that
    stays within a point. Returns the name of its row.
    """
    rows = {row["name"]: row for row in read("table")["rows"]}
    whole = unpacked(rows["original"]["val"])
    candidates = {"4 and 8 bits, careful": MIXED[0], "8 bits": 0.0}
    for name, most in candidates.items():
        changes = [paired_change(unpacked(rows[name]["val"]), whole, which) for which in (0, 1)]
        if all(change.low >= -0.01 and change.high <= 0.01 for change in changes):
            captioner = recipe.load_teacher()
            recipe.ship_small(place, mixed_plan(captioner, read("layers")["costs"], most))
            return name
    raise ValueError(f"none of {', '.join(candidates)} stays within a point")


STUDIES = {"layers": layers, "table": table, "teacher": teacher, "speed": speed}


def main(name, folder):
    """Measure, and store after each row."""
    torch.set_num_threads(1)
    start = time.time(), time.process_time()
    found = {"command": f"python -m mmcourse.recipes.compression_studies {name} {folder}"}
    found |= machine() | {"seconds": 0, "cpu seconds": 0}
    rows = {}
    if path_of(f"compression_{name}").exists():
        before = read(name)
        found |= {key: before[key] for key in ("seconds", "cpu seconds")}
        rows = {row["name"]: row for row in before.get("rows", [])}
    spent = found["seconds"], found["cpu seconds"]
    for key, row in STUDIES[name](folder, rows):
        found["seconds"] = spent[0] + round(time.time() - start[0])
        found["cpu seconds"] = spent[1] + round(time.process_time() - start[1])
        if key:
            rows[key] = row
            write_study(f"compression_{name}", found | {"rows": list(rows.values())})
        else:
            write_study(f"compression_{name}", found | row)
        print(key or name, found["seconds"], flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "ship":
        print(ship(sys.argv[2]))
    else:
        main(sys.argv[1], sys.argv[2])
