"""BLEU-1 to 4 and CIDEr-D of captions in which one fact is wrong, against five true ones each."""

from importlib.util import find_spec

from mmcourse.data import EmojiScenes
from mmcourse.evaluation.fast import bleu, cider_d

CAPTIONS = 2000


def rows(race):
    """One row; the remark says how much the five values differ."""
    dataset = EmojiScenes("val")
    scenes = [dataset[index] for index in range(20 if race.quick else CAPTIONS)]
    captions = [false_caption(scene) for scene in scenes]
    references = [scene.captions for scene in scenes]

    def ours():
        return [*bleu(captions, references), cider_d(captions, references)]

    contenders = {"ours": ours, "pycocoevalcap": None}
    notes = []
    if find_spec("pycocoevalcap"):
        theirs = coco_scores(captions, references)
        contenders["pycocoevalcap"] = theirs
        gap = max(abs(a - b) for a, b in zip(ours(), theirs(), strict=True))
        notes.append(f"the five values differ by at most {gap:.0e}")
    yield race.row(
        "BLEU and CIDEr-D",
        f"{len(scenes):,} captions, 5 references each",
        contenders,
        3,
        notes=notes,
    )


def false_caption(scene):
    """A caption with one wrong fact; where a scene has none, a true one."""
    return scene.foils[0].false if scene.foils else scene.captions[0]


def coco_scores(captions, references):
    """A function that computes the same with COCO's own code."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider

    truth = dict(enumerate(references))
    written = {number: [caption] for number, caption in enumerate(captions)}

    def run():
        four, _ = Bleu(4).compute_score(truth, written, verbose=0)
        cider, _ = Cider().compute_score(truth, written)
        return [*four, cider]

    return run
