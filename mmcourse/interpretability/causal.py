"""Does the word depend on the thing? Other drawings in the same scene, and other numbers inside.

Shapes: B batch, T words, N cells of the grid, D width, V vocabulary, S pixels along a side.
"""

from contextlib import contextmanager
from dataclasses import replace

import torch

from mmcourse.data import EmojiScenes
from mmcourse.data.language import Description, noun_table
from mmcourse.data.sprites import artwork
from mmcourse.interpretability.words import boxes_of, given_words

LAYERS = ("pixels", "features", "memory", "decoder 1", "decoder 2")  # where a number can be put


class Redrawn(EmojiScenes):
    """The scenes of a split with other drawings in the same places.

    ``drawing(noun, style)`` gives the picture of each thing, as
    :func:`mmcourse.data.sprites.artwork` does. All else is drawn by the same random numbers, so
    a scene differs from that of the split in those pixels alone.
    """

    def __init__(self, split, drawing):
        super().__init__(split)
        self.drawing = drawing

    def draw(self, name, style, rng):
        """As in :class:`~mmcourse.data.scenes.EmojiScenes`."""
        return self.drawing(name, style)


def swapped(split, index, was, becomes, drawing=artwork):
    """The scene of a split in which each thing ``was`` is now another noun, ``becomes``.

    ``drawing`` draws the new things; facts, boxes and captions are those of the new scene.
    ValueError where ``was`` is not in the scene, where ``becomes`` is there already, or where an
    artist of the old thing has not drawn the new one.
    """

    def other(name, style):
        return drawing(becomes, style) if name == was else artwork(name, style)

    scene = Redrawn(split, other)[index]
    boxes_of(scene, was)
    if becomes != was and any(thing.noun == becomes for thing in scene.objects):
        raise ValueError(f"{scene.key} has {becomes!r} already: choose a noun that is not there")
    groups = [renamed(group, was, becomes) for group in scene.description.groups]
    description = Description(
        tuple(groups), scene.description.relation, scene.description.background
    )
    objects = tuple(renamed(thing, was, becomes) for thing in scene.objects)
    return replace(scene, description=description, objects=objects)


def renamed(part, was, becomes):
    """A group or a thing, which is ``becomes`` where it ``was`` another noun."""
    return replace(part, noun=becomes) if part.noun == was else part


def first_word(noun, plural):
    """The first word of a noun as a caption says it."""
    entry = noun_table()[noun]
    return (entry.plural if plural else entry.name).split()[0]


def cells_in(boxes, side, size):
    """Which of N cells share a pixel with one of the boxes, (N,) booleans; S is ``size``."""
    step = size // side
    found = torch.zeros(side, side, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes:
        found[y0 // step : -(-y1 // step), x0 // step : -(-x1 // step)] = True
    return found.flatten()


@torch.no_grad()
def patched(model, words, place, pixels, source, layer, cells):
    """The log-probabilities (V,) of a word, with some numbers from the run on another picture.

    The model reads ``pixels`` (1, 3, S, S), but at a layer, one of ``LAYERS``, the ``cells`` (N,),
    booleans, are those of ``source`` (1, 3, S, S). In a layer of the decoder there are no cells:
    the state of the last word read is replaced, if any of the ``cells`` is. This is activation
    patching (Vig et al. 2020; Meng et al. 2022, who call it causal tracing). ValueError for a layer
    that the model does not have.
    """
    check_layer(model, layer)
    given = given_words(model, words, place)
    if layer == "pixels":
        pixels = patch_pixels(pixels, source, cells)
    features = model.convolutions(pixels)  # (1, N, D)
    if layer == "features":
        features = torch.where(cells[:, None], model.convolutions(source), features)
    memory = model.relate(features)
    other = model.relate(model.convolutions(source))
    if layer == "memory":
        memory = torch.where(cells[:, None], other, memory)
    if not layer.startswith("decoder") or not cells.any():
        return model.decode(memory, given)[0, -1].log_softmax(-1)
    part = model.decoder.layers[int(layer.split()[1]) - 1]
    kept = []
    with listening(part, kept.append):
        model.decode(other, given)
    with listening(part, lambda output: put_last(output, kept[0])):
        return model.decode(memory, given)[0, -1].log_softmax(-1)


def check_layer(model, layer):
    """ValueError unless a number can be put there."""
    count = len(model.decoder.layers)
    layers = [*LAYERS[:3], *(f"decoder {number + 1}" for number in range(count))]
    if layer not in layers:
        raise ValueError(f"the model has no layer {layer!r}: choose one of {', '.join(layers)}")


def patch_pixels(pixels, source, cells):
    """A picture (1, 3, S, S) whose ``cells`` (N,) are those of another."""
    side = int(len(cells) ** 0.5)
    cell = pixels.shape[-1] // side
    grid = cells.reshape(side, side)
    grown = grid.repeat_interleave(cell, 0).repeat_interleave(cell, 1)  # (S, S)
    return torch.where(grown, source, pixels)


def put_last(output, kept):
    """States (1, T, D) whose last is that of others."""
    return torch.cat([output[:, :-1], kept[:, -1:]], 1)


@contextmanager
def listening(part, change):
    """While it is open, ``change`` sees what a part gives, and may return what to put there."""
    handle = part.register_forward_hook(lambda part, given, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def restored(log_probs, before, after, old, new):
    """How much of the way from one picture to another a patch goes: 0 not at all, 1 all of it.

    Of three log-probabilities (V,), each after its run, the difference of the words numbered
    ``new`` and ``old`` is taken: patched, unpatched ``before`` and the other picture ``after``.
    """
    patched_by, start, end = (float(p[new] - p[old]) for p in (log_probs, before, after))
    return (patched_by - start) / (end - start)


@torch.no_grad()
def logit_lens(model, pixels, words, place):
    """What each layer of the decoder would say of a word if it were the last: (layers + 1, V).

    Log-probabilities; row 0 is before the first layer. The state of the last word read goes
    through the last norm and the output layer (nostalgebraist 2020).
    """
    memory = model.relate(model.convolutions(pixels))
    given = given_words(model, words, place)
    start = model.embedding(given) + model.positions[:, : given.shape[1]]  # (1, T, D)
    states = [start[0, -1]]
    x = start
    for layer in model.decoder.layers:
        x = layer(x, memory)
        states.append(x[0, -1])
    return model.output(model.decoder.norm(torch.stack(states))).log_softmax(-1)
