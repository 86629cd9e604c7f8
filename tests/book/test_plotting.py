"""The attention picture of a caption: a panel a word, faded by the mean over layers and heads."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from mmcourse.book.plotting import fade_patches, show_attention

IMAGE = np.zeros((12, 12, 3), np.uint8)


def test_a_panel_for_each_word():
    attention = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    words = ["one", "red", "dog", "and", "two", "cats", "<end>"]
    figure = show_attention(IMAGE, words, attention, columns=3)
    panels = figure.axes
    assert len(panels) == 9, "eight pictures in rows of three"
    titles = [panel.get_title() for panel in panels]
    assert titles == ["the picture", *words, ""]
    assert [len(panel.images) for panel in panels] == [1, *[2] * 7, 0]
    for word, panel in enumerate(panels[1:8]):
        mean = attention[:, :, word].mean((0, 1)).reshape(3, 3)
        veil = panel.images[1].get_array()
        np.testing.assert_allclose(veil[..., 3], 0.9 * (1 - mean / mean.max()), atol=1e-6)
        assert (veil[..., :3] == 1).all(), "it is white"
        assert panel.images[1].get_extent() == panel.images[0].get_extent()
    plt.close(figure)


def test_what_has_most_weight_does_not_fade():
    _, axes = plt.subplots()
    fade_patches(axes, np.array([[0.1, 0.2], [0.4, 0.0]]), (0, 2, 0, 2))
    opacity = axes.images[0].get_array()[..., 3]
    np.testing.assert_allclose(opacity, [[0.675, 0.45], [0, 0.9]])
    plt.close(axes.figure)
