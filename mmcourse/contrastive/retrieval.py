"""What one space is good for: finding the picture of a text, and naming by sentences.

Shapes: n pictures, m texts, C classes, E numbers of an embedding.
"""

import numpy as np

from mmcourse import evaluation
from mmcourse.contrastive.losses import cosines


def recall_at_k(similarity, k, relevant=None):
    """Share of the rows of ``similarity`` (n, m) that find a right answer among their k best.

    Row i's right answer is column i, or, with ``relevant``, boolean (n, m), any column in which it
    is True. Ties count against the model. The other way round it is that of ``similarity.T`` and
    ``relevant.T``. Errors are those of ``mmcourse.evaluation.recall_at_k``.
    """
    similarity = np.asarray(similarity)
    if relevant is None:
        if similarity.ndim != 2 or len(similarity) != len(similarity.T):
            raise ValueError(
                "without relevant, similarity must be square, row i's answer being column i, "
                f"got shape {similarity.shape}"
            )
        relevant = np.eye(len(similarity), dtype=bool)
    return evaluation.recall_at_k(similarity, relevant, k)


def zero_shot(image, prompts):
    """The number (n,) of the nearest prompt for each picture.

    ``image`` are embeddings (n, E); ``prompts`` are those of a text for each class, (C, E), or of
    several, (C, M, E), whose unit vectors are averaged (Radford et al. 2021, section 3.1.4).
    """
    if prompts.dim() == 3:
        prompts = (prompts / prompts.norm(dim=-1, keepdim=True)).mean(1)  # (C, E)
    return cosines(image, prompts).argmax(1)


def true_of(captions, scenes):
    """Which caption is true of which scene: a boolean array (scenes, captions).

    A caption is true when the scene holds every fact that it states, whichever scene it was
    written for.
    """
    from mmcourse.data.language import parse

    table = np.zeros((len(scenes), len(captions)), bool)
    stated = [parse(caption) for caption in captions]
    for row, scene in enumerate(scenes):
        nouns = {group.noun for group in scene.description.groups}
        for column, facts in enumerate(stated):
            if all(fact[1] in nouns for fact in facts if fact[0] == "object"):
                table[row, column] = all(scene.holds(fact) for fact in facts)
    return table
