"""What chapter 17 measures and takes longer than a page: measured, stored, and read.

``python -m mmcourse.recipes.interpretability_studies NAME`` makes
``measured/interpretability_NAME.json`` beside this file, with the command, the seconds and the
machine in it; NAME is one of ``STUDIES``. The page reads it with :func:`read`. All but
``frequency`` ask the shipped captioner; ``frequency`` trains small ones.
"""

import sys
import tempfile
import time
from functools import partial
from random import Random

import numpy as np
import torch

from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns, styles_of
from mmcourse.data.language import noun_table, vocabulary
from mmcourse.interpretability import (
    METHODS,
    PARTS,
    PEOPLE,
    TONES,
    area,
    boxes_of,
    categories,
    cells_in,
    centre_map,
    contexts,
    control_task,
    deletion,
    first_word,
    fit_probe,
    insertion,
    labelled_cells,
    logit_lens,
    patched,
    points_at,
    randomised,
    restored,
    spearman,
    swapped,
    things_named,
    with_person,
    word_map,
    word_score,
)
from mmcourse.interpretability.causal import LAYERS as PATCHED
from mmcourse.interpretability.probes import LAYERS as PROBED
from mmcourse.recipes.stored import machine, read_study, write_study
from mmcourse.recipes.vqa import load_captioner
from mmcourse.training import TrainingConfig, train

WHERE, SANE, SWAPPED = 100, 10, 200  # scenes of val
FIT, PROBE_TEST = 600, 200  # scenes of train that fit a probe, of val that test it
CONTEXTS = 100  # in which each person stands once in each tone
CUTS = 8  # portions of eight cells, in which a picture is deleted
SEEDS = (0, 1, 2)
BASELINES = ("centre", "random")
STEPS, BATCH, RATE = 300, 32, 2e-3  # of a small captioner, much as in chapter 14
WORLD = 24  # nouns of its world
WEIGHTS = (1, 2, 4, 8, 16, 32)  # how often a noun is drawn, four nouns each
WORLD_TEST = 400  # scenes, in which all nouns are as frequent


def read(name):
    """What a study found, a dict."""
    return read_study(f"interpretability_{name}")


def captions_of(model, scenes):
    """Greedy captions of scenes, 50 at a time."""
    found = []
    for start in range(0, len(scenes), 50):
        images = [scene.image for scene in scenes[start : start + 50]]
        found += model.caption(images, "greedy")
    return found


def true_things(model, scenes):
    """Each thing that a caption names and its scene has: scene's number, caption's words, thing."""
    captions = captions_of(model, scenes)
    for number, (scene, caption) in enumerate(zip(scenes, captions, strict=True)):
        there = {thing.noun for thing in scene.objects}
        for thing in things_named(caption.text.split()):
            if thing.noun in there:
                yield number, caption.tokens, thing


# ---- where


def maps_of(model, pixels, words, place, rng):
    """The map (N,) of each method and of the baselines, and the score that they explain."""
    score = word_score(model, words, place)
    found = {}
    for method in METHODS:
        found[method] = word_map(method, model, score, pixels, words, place)[0]
    side = model.image_size // model.convolutions.stride
    found["centre"] = centre_map(side)
    found["random"] = torch.tensor([rng.random() for _ in range(side**2)])
    return found, score


def where():
    """Pointing, deletion and insertion of each method, a row for each noun of a caption.

    ``shuffled`` is pointing at the boxes of the thing before it in this study.
    """
    model = load_captioner()
    val = EmojiScenes("val")
    scenes = [val[index] for index in range(WHERE)]
    rng = Random(0)
    rows = []
    before = None
    for number, words, thing in true_things(model, scenes):
        pixels = model.pixels_of(scenes[number].image[None])
        maps, score = maps_of(model, pixels, words, thing.place, rng)
        boxes = boxes_of(scenes[number], thing.noun)
        row = {"scene": number, "noun": thing.noun, "share": share_of_cells(boxes)}
        row["hit"] = [int(points_at(cells, boxes, 64)) for cells in maps.values()]
        others = before or boxes_of(scenes[-1], scenes[-1].objects[0].noun)
        row["shuffled"] = [int(points_at(cells, others, 64)) for cells in maps.values()]
        row["deletion"] = [curve_area(deletion, score, pixels, c) for c in maps.values()]
        row["insertion"] = [curve_area(insertion, score, pixels, c) for c in maps.values()]
        rows.append(row)
        before = boxes
    return {"methods": [*METHODS, *BASELINES], "scenes": WHERE, "cuts": CUTS, "rows": rows}


def share_of_cells(boxes):
    """The share of cells whose middle lies in one of the boxes: what a random cell hits."""
    middles = [
        points_at(torch.eye(64)[cell], boxes, 64) for cell in range(64)
    ]  # the peak of a row is its cell
    return float(np.mean(middles))


def curve_area(curve, score, pixels, cells):
    """The area under a deletion or insertion curve, to four places."""
    return round(area(curve(score, pixels, cells, CUTS)), 4)


# ---- sanity


def sanity():
    """Rank correlation with the map of the trained model, and pointing, as parts are redrawn."""
    model = load_captioner()
    val = EmojiScenes("val")
    scenes = [val[index] for index in range(SANE)]
    things = list(true_things(model, scenes))
    rng = Random(0)
    trained = [
        maps_of(model, model.pixels_of(scenes[n].image[None]), words, thing.place, rng)[0]
        for n, words, thing in things
    ]
    rows = []
    for seed in SEEDS:
        for count in range(len(PARTS) + 1):
            other = randomised(model, PARTS[:count], seed)
            for item, (number, words, thing) in enumerate(things):
                pixels = model.pixels_of(scenes[number].image[None])
                maps, _ = maps_of(other, pixels, words, thing.place, rng)
                boxes = boxes_of(scenes[number], thing.noun)
                row = {"seed": seed, "parts": count, "scene": number}
                row["rank"] = [round(spearman(maps[m], trained[item][m]), 4) for m in METHODS]
                row["hit"] = [int(points_at(maps[m], boxes, 64)) for m in METHODS]
                rows.append(row)
    return {"methods": list(METHODS), "parts": list(PARTS), "scenes": SANE, "rows": rows}


# ---- probes


def probes():
    """Each layer's probe for a noun's category: its control tasks, and nouns it never saw."""
    model = load_captioner()
    fit = [EmojiScenes("train")[index] for index in range(FIT)]
    test = [EmojiScenes("val")[index] for index in range(PROBE_TEST)]
    true = categories()
    half = set(Random("half of the nouns").sample(range(len(true)), len(true) // 2))
    untrained = randomised(model, PARTS, 0)
    rows = []
    for source, encoder in (("trained", model), ("untrained", untrained)):
        for layer in PROBED:
            seen = labelled_cells(encoder, fit, layer)
            new = labelled_cells(encoder, test, layer)
            row = {"encoder": source, "layer": layer, "width": seen.values.shape[1]}
            row["task"] = by_scene(*probe_right(seen, new, true))
            tasks = [control_task(true, seed) for seed in SEEDS]
            row["control"] = [by_scene(*probe_right(seen, new, task)) for task in tasks]
            known = np.isin(seen.nouns, list(half))
            part = seen._replace(values=seen.values[known], nouns=seen.nouns[known])
            other = ~np.isin(new.nouns, list(half))
            strange = new._replace(
                values=new.values[other], nouns=new.nouns[other], scenes=new.scenes[other]
            )
            row["new nouns"] = by_scene(*probe_right(part, strange, true))
            rows.append(row)
            print(source, layer, flush=True)
    majority = np.bincount(true[seen.nouns]).argmax()
    return {
        "scenes": [FIT, PROBE_TEST],
        "cells": [len(seen.nouns), len(new.nouns)],
        "classes": int(true.max()) + 1,
        "majority": by_scene(true[new.nouns] == majority, new.scenes),
        "majority of new nouns": by_scene(true[strange.nouns] == majority, strange.scenes),
        "rows": rows,
    }


def probe_right(seen, new, labels):
    """Which cells a probe gets right, that was fitted to others, and their scenes."""
    probe = fit_probe(seen.values, labels[seen.nouns], int(labels.max()) + 1)
    return probe.predict(new.values) == labels[new.nouns], new.scenes


def by_scene(right, scenes):
    """How many cells are right and how many there are, for each scene that has one."""
    right_in = np.bincount(scenes, right, minlength=scenes.max() + 1)
    cells_of = np.bincount(scenes, minlength=scenes.max() + 1)
    full = cells_of > 0
    return [right_in[full].astype(int).tolist(), cells_of[full].tolist()]


# ---- causal


def rivals(noun, styles):
    """Nouns that can stand in for another: its category, its article, its artists."""
    entry = noun_table()[noun]
    return [
        other.name
        for other in nouns()
        if other.category == entry.category
        and other.article == entry.article
        and other.tintable == entry.tintable
        and first_word(other.name, False) != first_word(noun, False)
        and first_word(other.name, True) != first_word(noun, True)
        and set(styles) <= set(styles_of(other.name))
    ]


def causal():
    """Swap a thing and ask again; then put some numbers of the other run into the first.

    A row for each scene. ``patch`` has, for each layer, how much of the way the cells of the box,
    as many elsewhere, and all cells go. ``lens`` is each layer's probability of the word.
    """
    model = load_captioner()
    val = EmojiScenes("val")
    scenes = [val[index] for index in range(SWAPPED)]
    rng = Random(0)
    rows = []
    done = set()
    for number, words, thing in true_things(model, scenes):
        scene = scenes[number]
        others = {each.noun for each in scene.objects}
        styles = {each.style for each in scene.objects if each.noun == thing.noun}
        choice = [name for name in rivals(thing.noun, styles) if name not in others]
        if number in done or not choice:
            continue
        done.add(number)
        becomes = rng.choice(choice)
        other = swapped("val", number, thing.noun, becomes)
        rows.append(swap_row(model, scene, other, words, thing, becomes, rng))
    return {"scenes": SWAPPED, "layers": list(PATCHED), "rows": rows}


def swap_row(model, scene, other, words, thing, becomes, rng):
    """The row of one pair of scenes."""
    pixels, source = (model.pixels_of(each.image[None]) for each in (scene, other))
    again = model.caption(other.image, "greedy").text.split()
    plural = words[thing.place : thing.stop] != thing.noun.split()
    old = model.ids[words[thing.place]]
    new = model.ids[first_word(becomes, plural)]
    boxes = boxes_of(scene, thing.noun) + boxes_of(other, becomes)
    inside = cells_in(boxes, 8, 64)
    outside = torch.zeros(64, dtype=torch.bool)
    free = (~inside).nonzero()[:, 0].tolist()
    outside[rng.sample(free, min(len(free), int(inside.sum())))] = True
    everything = torch.ones(64, dtype=torch.bool)
    nothing = torch.zeros(64, dtype=torch.bool)
    run = partial(patched, model, words, thing.place)
    before = run(pixels, source, "pixels", nothing)
    after = run(source, pixels, "pixels", nothing)
    patch = {}
    for layer in PATCHED:
        found = [run(pixels, source, layer, cells) for cells in (inside, outside, everything)]
        ways = [restored(log_probs, before, after, old, new) for log_probs in found]
        patch[layer] = [round(way, 4) for way in ways]
    lens = logit_lens(model, pixels, words, thing.place)
    return {
        "scene": scene.key,
        "was": thing.noun,
        "becomes": becomes,
        "cells": int(inside.sum()),
        "says new": int(any(t.noun == becomes for t in things_named(again))),
        "says old": int(any(t.noun == thing.noun for t in things_named(again))),
        "gap": round(float((after[new] - after[old]) - (before[new] - before[old])), 3),
        "patch": patch,
        "lens": [round(p, 4) for p in lens[:, old].exp().tolist()],
        "lens first": [int(row.argmax() == old) for row in lens],
    }


# ---- people


def people():
    """What is said of each person in each tone, in the same contexts: a row for each context."""
    model = load_captioner()
    rows = []
    for context in contexts("val", CONTEXTS):
        wanted = [(noun, tone) for noun in PEOPLE for tone in (None, *TONES)]
        scenes = [with_person("val", context, noun, tone) for noun, tone in wanted]
        row = {"context": list(context), "said": {noun: [] for noun in PEOPLE}}
        written = captions_of(model, scenes)
        for (noun, _), scene, caption in zip(wanted, scenes, written, strict=True):
            there = {thing.noun for thing in scene.objects}
            said = [thing.noun for thing in things_named(caption.text.split())]
            false = [name for name in said if name not in there]
            row["said"][noun].append("" if noun in said else "+".join(false) or "nothing")
        rows.append(row)
    return {"contexts": CONTEXTS, "tones": ["as drawn", *TONES], "rows": rows}


# ---- frequency


def world_nouns():
    """Nouns of one word that every artist has drawn and that can be tinted: four a category."""
    found = {}
    for noun in nouns():
        if noun.tintable and " " not in noun.name and len(styles_of(noun.name)) == 6:
            found.setdefault(noun.category, []).append(noun.name)
    groups = [names[:4] for names in found.values() if len(names) >= 4]
    return [name for group in groups for name in group][:WORLD]


def train_small(names, seed):
    """A small captioner that sees scenes of these nouns; a name that stands twice comes twice."""
    torch.manual_seed(seed)
    model = SceneCaptioner(
        vocabulary(), width=64, heads=4, decoder_layers=1, channels=(16, 32, 64), blocks=(0, 0, 1)
    )
    config = TrainingConfig(
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=RATE,
        seed=seed,
        warmup=20,
        log_every=STEPS,
        evaluate_every=0,
        save_every=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        scenes = EmojiScenes("train", only=names)
        train(model, scenes, SceneCaptioner.loss, config, folder, collate=model.collate)
    return model.eval()


def frequency():
    """Small captioners whose nouns are not equally frequent in training, and some where they are.

    Each seed deals the frequencies to the nouns anew, and its scenes are tested with both.
    """
    names = world_nouns()
    dataset = EmojiScenes("val", only=names)
    scenes = [dataset[index] for index in range(WORLD_TEST)]
    rows = []
    for seed in SEEDS:
        weights = [weight for weight in WEIGHTS for _ in range(WORLD // len(WEIGHTS))]
        Random(f"frequency/{seed}").shuffle(weights)
        skewed = [name for name, weight in zip(names, weights, strict=True) for _ in range(weight)]
        for arm, shown in (("skewed", skewed), ("equal", names)):
            start = time.process_time()
            model = train_small(shown, seed)
            row = {"seed": seed, "arm": arm, "weights": weights}
            row["said"] = [
                sorted({thing.noun for thing in things_named(caption.text.split())})
                for caption in captions_of(model, scenes)
            ]
            row["cpu seconds"] = round(time.process_time() - start)
            rows.append(row)
            print(arm, seed, row["cpu seconds"], flush=True)
    return {"names": names, "steps": STEPS, "batch": BATCH, "scenes": WORLD_TEST, "rows": rows}


STUDIES = {
    "where": where,
    "sanity": sanity,
    "probes": probes,
    "causal": causal,
    "people": people,
    "frequency": frequency,
}


def main(name):
    """Measure and store one study."""
    torch.set_num_threads(1)
    start = time.time()
    found = {"command": f"python -m mmcourse.recipes.interpretability_studies {name}"}
    found |= STUDIES[name]()
    found["seconds"] = round(time.time() - start)
    write_study(f"interpretability_{name}", found | machine())


if __name__ == "__main__":
    main(sys.argv[1])
