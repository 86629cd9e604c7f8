"""What chapter 21 reports of its models: measured once, stored, and read by the page.

``python -m mmcourse.recipes.text_to_image_studies table --out runs/t2i`` measures one study
with the models that the recipe left there. The others: ``guidance``, ``steps``,
``arms``, ``clips``, ``codes``, ``samples`` and ``novelty``.
"""

import argparse
import base64
import inspect
import io
import json
import time
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from mmcourse.captioning import SceneCaptioner
from mmcourse.data.backgrounds import paint
from mmcourse.data.splits import novelty
from mmcourse.data.world import DrawnWorld
from mmcourse.recipes.stored import machine, read_study, write_study
from mmcourse.recipes.text_to_image import (
    SHOWN,
    adamw,
    drawing,
    fit,
    flow_lessons,
    muon_and_adamw,
    scenes,
    train_flow,
    train_tokens,
)
from mmcourse.text_to_image import (
    Autoencoder,
    CentreReader,
    CodeAutoencoder,
    PictureGPT,
    TextToImage,
    codebook_use,
    fact_counts,
    frechet_distance,
    nearest,
    share,
    to_images,
)
from mmcourse.text_to_image.captions import world_vocabulary
from mmcourse.text_to_image.clips import (
    MovingThings,
    TextToClip,
    as_sheet,
    clip_caption,
    read_clip,
)
from mmcourse.vision import to_pixels

SHIPPED = Path(__file__).parents[1] / "shipped"
CAPTIONS = 100  # of each kind of held-out caption
SEEDS = (0, 1, 2)  # of sampling
STEPS, GUIDANCE = 10, 2.0
GROUPS = ("new index", "new pair", "new binding")
KINDS = ("all", "object", "count", "colour", "relation", "background")
FIRST = 500_000  # of the indices that nothing was trained or chosen on


def held_out_scenes(count=CAPTIONS, first=FIRST):
    """Scenes that were never trained on, in a dict by what is new in them.

    A *new index* is a new picture. What it shows may have been described in training: see
    :func:`measure_novelty`. A new pair or binding never was.
    """
    world = DrawnWorld("val")
    found = {"new index": [world[index] for index in range(first, first + count)]}
    world = DrawnWorld("composition")
    pairs, bindings = found["new pair"], found["new binding"] = [], []
    index = first
    while min(len(pairs), len(bindings)) < count:
        scene = world[index]
        kind = pairs if novelty(scene.description) == "pair" else bindings
        if len(kind) < count:
            kind.append(scene)
        index += 1
    return found


def caption_of(scene):
    """The caption that is drawn: the first of the five, which begins with the first thing."""
    return scene.captions[0]


def in_batches(draw, captions, seed, size=50):
    """Pictures of captions: ``draw(captions, seed)`` gets at most ``size`` of them at once."""
    images = []
    for start in range(0, len(captions), size):
        images += draw(captions[start : start + size], seed + 10_000 * (1 + start))
    return np.stack(images)


class Judges:
    """Two that read pictures: the captioner of chapter 14, and the independent one."""

    def __init__(self, independent):
        self.captioner = SceneCaptioner.from_pretrained(SHIPPED / "scenes")
        self.independent = independent

    def read(self, images, both=True):
        """What both say of pictures (n, 64, 64, 3), or the independent one alone.

        It is a dict of lists of captions.
        """
        if not both:
            return {"independent": self.independent.read(images)}
        written = []
        for start in range(0, len(images), 100):
            part = list(images[start : start + 100])
            written += [one.text for one in self.captioner.caption(part, strategy="greedy")]
        return {"captioner": written, "independent": self.independent.read(images)}

    def features(self, images):
        """Features (n, 64) of the independent judge, the mean over the cells, for distances."""
        with torch.no_grad():
            parts = [
                self.independent.features(to_pixels(images[start : start + 100])).mean((2, 3))
                for start in range(0, len(images), 100)
            ]
        return torch.cat(parts).double().numpy()


def load_models(out):
    """The models of a recipe's folder, those that are there, in the precision that is shipped."""
    classes = {
        "flow": TextToImage,
        "tokens": PictureGPT,
        "codes": CodeAutoencoder,
        "judge": CentreReader,
    }
    found = {}
    for name, kind in classes.items():
        if Path(out, name, "config.json").is_file():
            found[name] = kind.from_pretrained(Path(out, name))
    decoder = Autoencoder.from_pretrained(Path(out, "autoencoder"))
    found["flow"] = with_decoder(found["flow"], decoder)
    return {name: model.half().float() for name, model in found.items()}


def with_decoder(model, autoencoder):
    """A model that draws, with another autoencoder of the same latents."""
    config = dict(model._hub_mixin_config, autoencoder_width=autoencoder._hub_mixin_config["width"])
    whole = TextToImage(**config)
    whole.denoiser.load_state_dict(model.denoiser.state_dict())
    whole.autoencoder.load_state_dict(autoencoder.state_dict())
    return whole.eval()


def arms_of(models, known):
    """How each arm makes pictures for scenes: a dict of functions of scenes and a seed.

    ``known`` are the training pictures. The first three arms need no model that draws.
    """

    def through(decode):
        def draw(found, seed):
            true = np.stack([scene.image for scene in found])
            return as_images(decode(to_pixels(true)))

        return draw

    def by(draw):
        return lambda found, seed: in_batches(draw, [caption_of(scene) for scene in found], seed)

    flow = models["flow"]
    arms = {
        "background alone": lambda found, seed: np.stack([empty(scene) for scene in found]),
        "true pictures": lambda found, seed: np.stack([scene.image for scene in found]),
        "nearest training caption": lambda found, seed: known[most_alike(found, len(known))],
        "autoencoder": through(flow.autoencoder),
        "flow": by(lambda captions, seed: flow.draw(captions, seed, STEPS, GUIDANCE)),
    }
    # each picture is read as that of the caption after its own: what chance agrees on
    arms["flow, next caption"] = lambda found, seed: np.roll(arms["flow"](found, seed), 1, axis=0)
    if "codes" in models:
        codes = models["codes"]
        arms["codes"] = through(lambda pixels: codes.decode(codes.tokens(pixels)))
    if "tokens" in models:
        arms["GPT"] = by(models["tokens"].draw)
    return arms


def empty(scene):
    """The background of a scene without any thing, (64, 64, 3)."""
    return np.array(paint(scene.description.background, 64, Random(f"empty/{scene.key}")))


def most_alike(found, count):
    """The training scene, of the first ``count``, that shares most facts with each of ``found``.

    Most is of the facts of both together (Jaccard's index).
    """
    world = DrawnWorld()
    facts = [world.describe(Random(f"world/train/{index}")).facts for index in range(count)]
    numbers = {fact: number for number, fact in enumerate(sorted(set().union(*facts), key=str))}

    def table(rows):
        ones = np.zeros((len(rows), len(numbers)), np.float32)
        for row, stated in enumerate(rows):
            ones[row, [numbers[fact] for fact in stated if fact in numbers]] = 1
        return ones

    known, wanted = table(facts), table([scene.facts for scene in found])
    common = wanted @ known.T  # (found, count)
    sizes = np.array([len(scene.facts) for scene in found])[:, None]
    return (common / (sizes + known.sum(1) - common)).argmax(1)


def as_images(pixels):
    """Pictures (B, 3, H, W) in [-1, 1] as uint8 (B, H, W, 3) of NumPy."""
    return to_images(pixels.detach()).numpy()


def measure_table(out, only=None):
    """Fact scores of each arm, each kind of caption and each judge.

    With ``only``, a list of arms, all that is stored of the others stays.
    """
    models = load_models(out)
    judges = Judges(models["judge"])
    groups = held_out_scenes()
    known = scenes(SHOWN)[0].numpy()
    arms = arms_of(models, known)
    rows, trained = [], {}
    if only is not None:
        stored = read("table")
        rows = [row for row in stored["rows"] if row["arm"] not in only]
        trained = stored["trained_on"]
        arms = {arm: arms[arm] for arm in only}
    for arm, draw in arms.items():
        seeds = SEEDS if arm in ("flow", "GPT") else (0,)
        start = time.perf_counter()
        drawn = {}
        for group, found in groups.items():
            drawn[group] = [draw(found, seed) for seed in seeds]
        count = CAPTIONS * len(groups) * len(seeds)
        seconds = (time.perf_counter() - start) / count
        rows += table_rows(arm, drawn, groups, judges)
        rows.append(distances(arm, drawn, groups, judges, known, seconds))
        print(rows[-1], flush=True)
    if "flow" in arms:
        trained["flow"] = trained_on(Path(out, "flow"), train_flow)
    if "GPT" in arms:
        trained["GPT"] = trained_on(Path(out, "tokens"), train_tokens)
    write_study("text_to_image_table", settings() | {"trained_on": trained, "rows": rows})


def trained_on(folder, part):
    """How many pictures, counted as often as they were shown, a part trained on, by its log."""
    last = json.loads(Path(folder, "log.json").read_text(encoding="utf-8"))[-1]
    return last["step"] * inspect.signature(part).parameters["batch"].default


def settings():
    """What all studies say of themselves."""
    return machine() | {
        "captions": CAPTIONS,
        "seeds": len(SEEDS),
        "steps": STEPS,
        "guidance": GUIDANCE,
    }


def table_rows(arm, drawn, groups, judges):
    """A row for each judge, kind of caption and kind of fact; the last kind of caption is all."""
    counts = {}
    for group, found in groups.items():
        for number, images in enumerate(drawn[group]):
            # the captioner is slow: it reads the pictures of one seed
            for judge, readings in judges.read(images, both=number == 0).items():
                counts.setdefault((judge, group), []).append(fact_counts(readings, found))
    rows = []
    for judge in ("captioner", "independent"):
        both = [np.stack(counts[judge, group]) for group in groups]
        wanted = dict(zip(groups, both, strict=True)) | {"all": np.concatenate(both, 1)}
        for group, table in wanted.items():
            for kind in KINDS:
                row = {"arm": arm, "judge": judge, "group": group, "kind": kind}
                for name, recall in (("precision", False), ("recall", True)):
                    found = share(table, kind, recall)
                    row[name] = [round(found.value, 4), round(found.low, 4), round(found.high, 4)]
                rows.append(row)
    return rows


def distances(arm, drawn, groups, judges, known, seconds):
    """Fréchet distance to true pictures, and the nearest training picture: a row."""
    images = np.concatenate([drawn[group][0] for group in groups])
    world = DrawnWorld("val")
    true = np.stack([world[index].image for index in range(700_000, 700_000 + len(images))])
    gaps = nearest(images, known)[1]
    return {
        "arm": arm,
        "frechet": round(frechet_distance(judges.features(images), judges.features(true)), 4),
        "nearest": [round(float(part), 2) for part in np.percentile(gaps, [5, 50, 95])],
        "seconds": round(seconds, 4),
    }


def measure_settings(out, study, settings_tried, count=20):
    """Fact scores and the Fréchet distance of the flow with other steps or guidance."""
    models = load_models(out)
    judges = Judges(models["judge"])
    groups = held_out_scenes(count, FIRST + 10_000)
    found = [scene for part in groups.values() for scene in part]
    true = judges.features(np.stack([scene.image for scene in found]))
    captions = [caption_of(scene) for scene in found]
    rows = []
    for steps, guidance in settings_tried:
        start = time.perf_counter()
        images = in_batches(
            lambda part, first, steps=steps, guidance=guidance: models["flow"].draw(
                part, first, steps, guidance
            ),
            captions,
            0,
        )
        row = {"steps": steps, "guidance": guidance}
        row["seconds"] = round((time.perf_counter() - start) / len(images), 4)
        counts = fact_counts(judges.independent.read(images), found)
        for kind in ("all", "object"):
            one = share(counts, kind)
            row[kind] = [round(one.value, 4), round(one.low, 4), round(one.high, 4)]
        row["frechet"] = round(frechet_distance(judges.features(images), true), 4)
        # how alike pictures of one setting are: the spread of the features
        row["spread"] = round(float(judges.features(images).std(0).mean()), 4)
        rows.append(row)
        print(row, flush=True)
    write_study(f"text_to_image_{study}", machine() | {"captions": len(found), "rows": rows})


def measure_guidance(out):
    tried = (0.0, 1.0, 2.0, 5.0)
    measure_settings(out, "guidance", [(STEPS, guidance) for guidance in tried])


def measure_steps(out):
    measure_settings(out, "steps", [(steps, GUIDANCE) for steps in (1, 2, 4, 8, 16)])


class VelocityGuesser(TextToImage):
    """The same network, whose output is the velocity itself."""

    def velocity(self, x, t, condition):
        return self.guess(x, t, condition)


def forget_shift(model):
    """Take times as they are drawn, in training and in drawing."""
    model.flow.shift = 1.0


def only_adamw(rate):
    """What makes the optimizer of an arm without Muon."""
    return lambda model: [adamw(model.parameters(), rate)]


ARMS = {  # the class, a change, the optimizers
    "as shipped": (TextToImage, None, muon_and_adamw),
    "AdamW alone, rate 0.0015": (TextToImage, None, only_adamw(1.5e-3)),
    "AdamW alone, rate 0.0005": (TextToImage, None, only_adamw(5e-4)),
    "times not shifted": (TextToImage, forget_shift, muon_and_adamw),
    "velocity guessed": (VelocityGuesser, None, muon_and_adamw),
}


def measure_arms(out, steps=600, batch=64, count=20):
    """What each part of the recipe is worth after few steps, one change at a time."""
    judges = Judges(CentreReader.from_pretrained(Path(out, "judge")))
    scenes_of = held_out_scenes(count, FIRST + 20_000)
    found = [scene for part in scenes_of.values() for scene in part]
    captions = [caption_of(scene) for scene in found]
    cells = Autoencoder.from_pretrained(Path(out, "cells"))
    lessons = None
    rows = []
    for arm, (kind, change, optimizers) in ARMS.items():
        torch.manual_seed(0)
        model = kind(world_vocabulary())
        model.autoencoder.load_state_dict(cells.state_dict())
        model.autoencoder.requires_grad_(False)
        if change is not None:
            change(model)
        if lessons is None:
            lessons = flow_lessons(model)
        loss = drawing(model, *lessons, batch)
        fitted = fit(model, loss, steps, optimizers(model), Path(out, "arm"), average=0.998)
        images = in_batches(
            lambda part, seed, fitted=fitted: fitted.draw(part, seed, STEPS, GUIDANCE), captions, 0
        )
        counts = fact_counts(judges.independent.read(images), found)
        row = {"arm": arm, "loss": json.loads(Path(out, "arm", "log.json").read_text())[-1]["loss"]}
        for name, kind_of_fact, recall in (
            ("objects", "object", False),
            ("objects recalled", "object", True),
            ("facts", "all", False),
        ):
            one = share(counts, kind_of_fact, recall)
            row[name] = [round(one.value, 4), round(one.low, 4), round(one.high, 4)]
        rows.append(row)
        print(row, flush=True)
        found_so_far = {"steps": steps, "batch": batch, "captions": len(found), "rows": rows}
        write_study("text_to_image_arms", machine() | found_so_far)


QUANTIZERS = {
    "as they are": {},
    "without commitment": {"commitment": 0.0},
    "idle codes revived": {"revive": 0.5},
}


def measure_codes(out, steps=150, batch=16):
    """How many of 256 codes are used after a short training of a small model, three seeds each."""
    images, _, weights = scenes(4_000, places="grid")
    test = to_pixels(scenes(200, "val", "grid")[0])
    rows = []
    for arm, options in QUANTIZERS.items():
        for seed in SEEDS:
            torch.manual_seed(seed)
            model = CodeAutoencoder(256, 8, 24, options)

            def loss(step, model=model):
                chosen = torch.randint(len(images), (batch,))
                return model.loss(images[chosen], weights[chosen])

            fit(model, loss, steps, [adamw(model.parameters(), 2e-3)], Path(out, "study"))
            with torch.no_grad():
                tokens = model.tokens(test)
                error = (model.decode(tokens) - test).square().mean().sqrt().item() * 127.5
            used, perplexity = codebook_use(tokens, 256)
            row = {"arm": arm, "seed": seed, "used": round(used, 4)}
            row |= {"perplexity": round(perplexity, 1), "error": round(error, 2)}
            rows.append(row)
            print(row, flush=True)
    write_study("text_to_image_codes", machine() | {"steps": steps, "rows": rows})


def measure_samples(out, count=8):
    """The codes that the GPT writes for the first held-out captions, to be shown."""
    model = load_models(out)["tokens"]
    found = [scene for part in held_out_scenes(count).values() for scene in part[: count // 2]]
    captions = [caption_of(scene) for scene in found][:count]
    codes = model.write(captions, seed=0).tolist()
    rows = [{"caption": text, "codes": row} for text, row in zip(captions, codes, strict=True)]
    write_study("text_to_image_samples", machine() | {"rows": rows})


def measure_novelty(out):
    """How many held-out scenes have exactly the facts of a scene that training showed."""
    world = DrawnWorld()
    shown = set()
    for index in range(SHOWN):
        shown.add(frozenset(world.describe(Random(f"world/train/{index}")).facts))
    rows = []
    for group, found in held_out_scenes().items():
        known = [frozenset(scene.facts) in shown for scene in found]
        single = [len(scene.description.groups) == 1 for scene in found]
        both = np.logical_and(known, single)
        row = {"group": group, "captions": len(found), "shown": sum(known)}
        rows.append(row | {"of_one_group": sum(single), "shown_of_one_group": int(both.sum())})
    write_study("text_to_image_novelty", {"scenes": SHOWN, "rows": rows})


def measure_clips(out):
    """What the judge reads of clips of every noun and direction; the held-out ones as sheets."""
    model = TextToClip.from_pretrained(Path(out, "clips")).eval()
    rows = []
    for split in ("train", "composition"):
        pairs = MovingThings(split).pairs
        captions = [clip_caption(*pair) for pair in pairs]
        for seed in SEEDS:
            clips = model.film(captions, 1000 * seed, STEPS, GUIDANCE)
            for pair, frames in zip(pairs, clips, strict=True):
                noun, direction = read_clip(frames)
                right = {"noun": noun == pair[0], "direction": direction == pair[1]}
                row = {"split": split, "seed": seed, "caption": clip_caption(*pair)} | right
                if split == "composition" and seed == SEEDS[0]:
                    row["sheet"] = as_text(as_sheet(frames))
                rows.append(row)
    write_study("text_to_image_clips", settings() | {"rows": rows})


def as_text(image):
    """A picture as a PNG file in the letters of base64."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def from_text(text):
    """The picture of :func:`as_text`, uint8 (H, W, 3)."""
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))))


STUDIES = {
    "table": measure_table,
    "guidance": measure_guidance,
    "steps": measure_steps,
    "arms": measure_arms,
    "clips": measure_clips,
    "codes": measure_codes,
    "samples": measure_samples,
    "novelty": measure_novelty,
}


def read(study):
    """What a study of this chapter found, a dict."""
    return read_study(f"text_to_image_{study}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument(
        "--out", default="runs/t2i", help="folder in which the recipe left its parts"
    )
    parser.add_argument("--only", nargs="+", help="arms of the table, all others stay as stored")
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = {} if given.only is None else {"only": given.only}
    STUDIES[given.study](given.out, **options)


if __name__ == "__main__":
    main()
