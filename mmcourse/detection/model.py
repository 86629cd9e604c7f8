"""DETR: convolutions, an encoder, and a decoder whose queries each answer for one object or none.

Shapes: B batch, N cells of the grid, D width, H heads, Q queries, C classes, L decoder layers.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from mmcourse.detection.boxes import to_corners
from mmcourse.transformer import DecoderLayer, Encoder
from mmcourse.vision import ConvEncoder, to_pixels
from mmcourse.weights import SavedModel


class Detection(NamedTuple):
    """One thing that was found in a picture."""

    name: str  #: of its class
    score: float  #: the probability of that class
    box: tuple  #: x0 y0 x1 y1 in pixels of the picture
    query: int  #: which query found it


class DETR(SavedModel):
    """Detection as the prediction of a set (Carion et al. 2020), small.

    ``names`` are those of the classes; ``image_size`` is in pixels, ``channels`` and ``blocks`` are
    those of :class:`~mmcourse.vision.ConvEncoder`. Without ``anchors`` a query is a learned vector,
    as in the paper. With them it has a learned box besides, which says where it looks and which
    each decoder layer corrects (Liu et al. 2022, DAB-DETR).
    """

    def __init__(
        self,
        names,
        queries=16,
        width=128,
        heads=4,
        hidden=256,
        encoder_layers=1,
        decoder_layers=2,
        image_size=64,
        channels=(32, 64, 128),
        blocks=(0, 1, 2),
        anchors=True,
    ):
        super().__init__()
        self.names = list(names)
        self.image_size = image_size
        self.convolutions = ConvEncoder(width, channels, blocks)
        self.side = image_size // self.convolutions.stride  # cells along a side
        self.norm = nn.LayerNorm(width)
        self.encoder = Encoder(encoder_layers, width, heads, hidden)
        self.decoder = nn.ModuleList(
            QueryLayer(width, heads, hidden) for _ in range(decoder_layers)
        )
        self.last_norm = nn.LayerNorm(width)
        self.label_head = nn.Linear(width, len(self.names) + 1)
        self.box_head = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 4),
        )
        if anchors:
            self.anchors = nn.Parameter(spread_boxes(queries))  # (Q, 4), before the sigmoid
            self.place = nn.Linear(2 * width, width)
            nn.init.zeros_(self.box_head[-1].weight)
            nn.init.zeros_(self.box_head[-1].bias)
        else:
            self.anchors = None
            self.places = nn.Parameter(torch.randn(queries, width))

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        anchors = "anchors" in shapes
        return {
            "names": shapes["label_head.weight"][0] - 1,
            "width": shapes["label_head.weight"][1],
            "queries": shapes["anchors" if anchors else "places"][0],
            "hidden": shapes["decoder.0.feed_forward.0.weight"][0],
            "anchors": anchors,
        }

    def forward(self, images):
        """Logits (B, Q, C + 1) and boxes (B, Q, 4) of pictures, uint8 (B, H, W, 3).

        Boxes are x0 y0 x1 y1 in shares of the sides. ValueError for pictures of another size.
        """
        logits, boxes = self.decode(self.encode(self.see(images)))
        return logits[-1], boxes[-1]

    def see(self, images):
        """The features (B, N, D) that the convolutions find in pictures, uint8 (B, H, W, 3)."""
        pixels = to_pixels(images)
        side = self.image_size
        if pixels.shape[2:] != (side, side):
            raise ValueError(
                f"pictures must have {side} x {side} pixels, got {pixels.shape[2]} rows and "
                f"{pixels.shape[3]} columns: resize them first"
            )
        return self.convolutions(pixels.to(self.label_head.weight))

    def encode(self, features):
        """The memory (B, N, D) that the queries look at: features, positions, one another."""
        middles = (torch.arange(self.side, device=features.device) + 0.5) / self.side
        points = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), -1)  # (side, side, 2)
        positions = point_positions(points.flatten(0, 1), self.side, features.shape[-1])  # (N, D)
        positions = positions.to(features)
        memory = self.encoder(self.norm(features) + positions)
        return memory + positions

    def decode(self, memory, *, return_weights=False):
        """Logits (L, B, Q, C + 1) and boxes (L, B, Q, 4) after each decoder layer.

        With ``return_weights`` also the attention of the queries to the cells, (L, B, H, Q, N).
        """
        logits, boxes, maps = [], [], []
        for found, edges, weights in self.layers(memory, return_weights):
            logits.append(self.label_head(found))
            boxes.append(to_corners(edges.sigmoid()))
            maps.append(weights)
        found = torch.stack(logits), torch.stack(boxes)
        return (*found, torch.stack(maps)) if return_weights else found

    def layers(self, memory, return_weights=False):
        """After each decoder layer: what the queries found (B, Q, D), their boxes (B, Q, 4) as
        centre, width and height before the sigmoid, and the weights (B, H, Q, N), or None.
        """
        source = self.places if self.anchors is None else self.anchors
        queries = memory.new_zeros(len(memory), len(source), memory.shape[-1])  # (B, Q, D)
        reference = source.expand(len(memory), -1, -1)
        for layer in self.decoder:
            places = reference if self.anchors is None else self.places_of(reference)
            queries, weights = layer(queries, places, memory, return_weights=return_weights)
            found = self.last_norm(queries)
            edges = self.box_head(found)  # (B, Q, 4)
            if self.anchors is not None:
                edges = reference + edges
                reference = edges.detach()  # each layer answers for its own correction
            yield found, edges, weights

    def look(self, images):
        """What the queries know of pictures at last, (B, Q, D), each told where its box lies."""
        *_, (found, edges, _) = self.layers(self.encode(self.see(images)))
        return found if self.anchors is None else found + self.places_of(edges)

    def places_of(self, reference):
        """Vectors (B, Q, D) that say where boxes (B, Q, 4), before the sigmoid, lie."""
        box = reference.sigmoid()
        width = self.place.out_features
        centre = point_positions(box[..., :2], self.side, width)
        extent = point_positions(box[..., 2:], self.side, width)
        return self.place(torch.cat([centre, extent], -1).to(reference))

    @torch.no_grad()
    def find(self, image, threshold=0.5):
        """What lies in one picture, uint8 (H, W, 3): a list of :class:`Detection`, surest first."""
        logits, boxes = self(image[None])
        return found_above(logits[0], boxes[0], self.names, self.image_size, threshold)


class QueryLayer(DecoderLayer):
    """A decoder layer in which all queries see one another, and each is told its place anew."""

    def forward(self, x, places, memory, *, return_weights=False):
        """Map queries ``x`` (B, Q, D) with their ``places`` (B, Q, D), which look at ``memory``
        (B, N, D), to (B, Q, D) and the weights (B, H, Q, N), or None.
        """
        seen = self.before(self.norm1, x) + places
        x = self.after(self.norm1, x, self.attention(seen))
        seen = self.before(self.norm2, x) + places
        found = self.cross_attention(seen, memory, return_weights=return_weights)
        update, weights = found if return_weights else (found, None)
        x = self.after(self.norm2, x, update)
        update = self.feed_forward(self.before(self.norm3, x))
        return self.after(self.norm3, x, update), weights


def point_positions(points, side, width):
    """Sinusoids (..., D) of points (..., 2), x and y in shares of a picture of ``side`` cells.

    The first half is of y, the second of x. As the positions of words, with wavelengths of up to
    126 cells in place of 63,000 (a base of 20, as in DAB-DETR).
    """
    half = width // 2
    columns = torch.arange(0, half, 2, device=points.device)
    rates = 20.0 ** (-columns / half)  # (D / 4,)
    angle = (points.flip(-1)[..., None] * side - 0.5) * rates  # (..., 2, D / 4)
    pairs = torch.stack([angle.sin(), angle.cos()], -1)  # (..., 2, D / 4, 2)
    return pairs.flatten(-3)


def spread_boxes(count):
    """Boxes (count, 4) in rows over a picture: centre, width, height, before the sigmoid."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    number = torch.arange(count)
    x = (number % columns + 0.5) / columns
    y = (number // columns + 0.5) / rows
    size = torch.full((count,), 0.4)
    return torch.stack([x, y, size, size], 1).logit()


def found_above(logits, boxes, names, size, threshold):
    """The queries whose best class reaches a probability, as a list of :class:`Detection`.

    ``logits`` (Q, C + 1), ``boxes`` (Q, 4) in shares; the boxes are cut at the picture's edges.
    """
    scores, labels = logits.softmax(-1)[:, :-1].max(-1)  # (Q,) each
    found = []
    for query in scores.argsort(descending=True).tolist():
        if scores[query] < threshold:
            break
        box = tuple((boxes[query].clamp(0, 1) * size).tolist())
        found.append(Detection(names[labels[query]], scores[query].item(), box, query))
    return found
