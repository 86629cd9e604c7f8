"""The baseline that learns nothing: the nearest recording, by dynamic time warping."""

import torch

from mmcourse.audio.features import log_mel

TOGETHER = 3  # frames that are averaged: 30 ms


def dtw(first, second):
    """The distance of ``(T, M)`` and ``(S, M)`` along the best alignment, by its length's bound.

    An alignment begins at both beginnings, ends at both ends, and goes on in the first, in the
    second or in both, without slope constraint. The sum of the distances of its frames is divided
    by T + S. Sakoe and Chiba (1978) count a distance that is reached by a step in both twice, so
    that T + S is the sum of all weights; here each counts once.
    """
    costs = torch.cdist(first, second).tolist()  # T rows of S
    never = float("inf")
    above = [0.0] + [never] * len(second)
    for row in costs:
        current = [never]
        for column, value in enumerate(row, 1):
            current.append(value + min(above[column - 1], above[column], current[-1]))
        above = current
    return above[-1] / (len(first) + len(second))


def dtw_to_all(query, templates, lengths):
    """:func:`dtw` of ``(T, M)`` to each of the ``(K, S, M)``, whose ``lengths`` are (K,): (K,).

    All templates are compared at once, diagonal by diagonal: what lies on a diagonal depends only
    on the two before it.
    """
    rows, columns = len(query), templates.shape[1]
    costs = torch.cdist(query[None], templates)  # (K, T, S)
    table = costs.new_full((len(templates), rows + 1, columns + 1), float("inf"))
    table[:, 0, 0] = 0
    for diagonal in range(2, rows + columns + 1):
        row = torch.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        column = diagonal - row
        before = torch.stack(
            [table[:, row - 1, column - 1], table[:, row - 1, column], table[:, row, column - 1]]
        )
        table[:, row, column] = costs[:, row - 1, column - 1] + before.amin(0)
    ends = table[torch.arange(len(templates)), rows, lengths]
    return ends / (rows + lengths)


class NearestTemplate:
    """Says the text of the nearest of some recordings: ``(waveform, text)`` pairs."""

    def __init__(self, clips):
        features = [template_features(waveform) for waveform, _ in clips]
        self.texts = [text for _, text in clips]
        self.lengths = torch.tensor([len(each) for each in features])
        self.templates = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)

    def transcribe(self, waveform):
        """The text of the recording nearest to a waveform ``(N,)``."""
        distances = dtw_to_all(template_features(waveform), self.templates, self.lengths)
        return self.texts[int(distances.argmin())]


def template_features(waveform):
    """Log-mel of a waveform, three frames averaged, less the mean of the whole clip."""
    features = log_mel(waveform)  # (T, M)
    whole = features[: max(TOGETHER, len(features) // TOGETHER * TOGETHER)]
    parts = torch.stack([part.mean(0) for part in whole.split(TOGETHER)])
    return parts - parts.mean(0)
