# Independent answers that the hidden tests of A2 compare with, computed another way than in the solution: the tests of a
# function see them, students do not.

import numpy as np
import torch
from torch import nn


def draw(random, *shape):
    return torch.tensor(random.normal(size=shape), dtype=torch.float32)


def draw_linear(random, inputs, outputs):
    layer = nn.Linear(inputs, outputs)
    layer.weight.data, layer.bias.data = draw(random, outputs, inputs) / inputs**0.5, draw(random, outputs)
    return layer


def draw_norm(random, width):
    norm = nn.LayerNorm(width)
    norm.weight.data, norm.bias.data = draw(random, width), draw(random, width)
    return norm


def draw_attention(random, width):
    return nn.ModuleDict({name: draw_linear(random, width, width) for name in ("query", "key", "value", "output")})


def draw_block(random, width):
    norms = {f"norm{number}": draw_norm(random, width) for number in (1, 2, 3)}
    wide = nn.Sequential(draw_linear(random, width, 2 * width), nn.GELU(), draw_linear(random, 2 * width, width))
    return nn.ModuleDict({"attention": draw_attention(random, width), "cross_attention": draw_attention(random, width),
                          "feed_forward": wide, **norms})


def ref_patchify(images, patch):
    rows = [part for strip in images.split(patch, dim=1) for part in strip.split(patch, dim=2)]
    return torch.stack([part.flatten(1) for part in rows], dim=1)


def ref_embed(images, patch, projection, places):
    patches = ref_patchify((images.double() * 2 / 255 - 1).float(), patch)
    return torch.einsum("bnp,dp->bnd", patches, projection.weight) + projection.bias + places


def ref_attention(x, context, layers, heads, mask=None):
    query, key, value = layers["query"](x), layers["key"](context), layers["value"](context)
    allowed = torch.ones(x.shape[1], context.shape[1], dtype=torch.bool)
    if mask is not None:
        allowed = allowed & mask.bool()
    parts = []
    for q, k, v in zip(*(part.chunk(heads, dim=-1) for part in (query, key, value)), strict=True):
        scores = torch.einsum("btd,bsd->bts", q, k) / q.shape[-1] ** 0.5
        scores = torch.where(allowed, scores, -torch.inf)
        weights = torch.exp(scores - torch.logsumexp(scores, -1, keepdim=True))
        parts.append(torch.einsum("bts,bsd->btd", weights, v))
    return layers["output"](torch.cat(parts, dim=-1))


def ref_encoder_block(x, layers, heads):
    x = x + ref_attention(layers["norm1"](x), layers["norm1"](x), layers["attention"], heads)
    return x + layers["feed_forward"](layers["norm2"](x))


def ref_decoder_block(x, memory, layers, heads):
    normed, place = layers["norm1"](x), torch.arange(x.shape[1])
    x = x + ref_attention(normed, normed, layers["attention"], heads, place[:, None] >= place)
    x = x + ref_attention(layers["norm2"](x), memory, layers["cross_attention"], heads)
    return x + layers["feed_forward"](layers["norm3"](x))


def ref_forcing(captions, start, end, pad):
    longest = max(map(len, captions))
    rows = [[start, *caption, end] + [pad] * (longest - len(caption)) for caption in captions]
    tokens = torch.tensor(rows)
    inputs, targets = tokens[:, :-1].clone(), tokens[:, 1:].clone()
    for row, caption in enumerate(captions):
        inputs[row, len(caption) + 1 :] = pad
    return inputs, targets


def ref_loss(logits, targets, pad):
    true, counts = torch.eye(logits.shape[-1])[targets].to(logits.dtype), (targets != pad).to(logits.dtype)
    return ((logits.logsumexp(-1) - (logits * true).sum(-1)) * counts).sum() / counts.sum()


def ref_loss_gradient(logits, targets, pad):
    counts = (targets != pad)[..., None]
    return (logits.detach().softmax(-1) - torch.eye(logits.shape[-1])[targets]) * counts / counts.sum()


def ref_train(model, lessons, steps, rate):
    """AdamW by hand (Loshchilov and Hutter 2019, algorithm 2), with PyTorch's settings."""
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in model.parameters()]
    losses = []
    for step, (images, captions) in zip(range(steps), lessons, strict=False):
        inputs, targets = ref_forcing(captions, 1, 2, 0)
        loss = ref_loss(model(images, inputs), targets, 0)
        losses.append(loss.item())
        now = rate * (1 - step / steps)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for weight, gradient, (mean, square) in zip(model.parameters(), gradients, moments, strict=True):
                mean.lerp_(gradient, 0.1)
                square.lerp_(gradient**2, 0.001)
                size = (square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                weight.mul_(1 - 0.01 * now).sub_(now * mean / (1 - 0.9 ** (step + 1)) / size)
    return torch.tensor(losses)


class Small(nn.Module):
    """A captioner with three layers, for tests of the training loop."""

    def __init__(self, words):
        super().__init__()
        self.words, self.sight, self.output = nn.Embedding(words, 5), nn.Linear(12, 5), nn.Linear(5, words)
        self.double()

    def draw(self, seed):
        random = np.random.default_rng(seed)
        for weight in self.parameters():
            weight.data = torch.tensor(random.normal(size=tuple(weight.shape)))

    def forward(self, images, tokens):
        seen = self.sight(images.flatten(1).double())
        return self.output(torch.tanh(self.words(tokens).cumsum(1) + seen[:, None]))


class Teller:
    """Says words that depend on the picture and on all words so far; some labels end early, some never."""

    def __init__(self, words):
        self.words = words

    def encode(self, images):
        return images.flatten(1).long().sum(1)

    def decode(self, memory, tokens):
        places = torch.arange(1, tokens.shape[1] + 1)
        said = (tokens * places).cumsum(1) * 5 + memory[:, None] * 3 + places
        return nn.functional.one_hot(said % self.words, self.words).float()


def ref_write(model, images, longest):
    labels = torch.zeros(len(images), longest, dtype=torch.long)
    for row, image in enumerate(images):
        tokens = [1]
        while len(tokens) <= longest:
            logits = model.decode(model.encode(image[None]), torch.tensor([tokens]))[0, -1].tolist()
            word = logits.index(max(logits))
            if word == 2:
                break
            labels[row, len(tokens) - 1] = word
            tokens.append(word)
    return labels


class RefCaptioner(nn.Module):
    """The captioner of the assignment with the functions above; it takes the weights of a student's."""

    def __init__(self):
        super().__init__()
        self.projection, self.places = nn.Linear(48, 64), nn.Parameter(torch.randn(64, 64) / 2)
        self.encoder = nn.ModuleList([self.block(2), self.block(2)])
        self.words, self.order = nn.Embedding(len(ref_words()), 64), nn.Parameter(torch.randn(15, 64) / 2)
        self.decoder = nn.ModuleList([self.block(3)])
        self.norms = nn.ModuleList([nn.LayerNorm(64), nn.LayerNorm(64)])
        self.output = nn.Linear(64, len(ref_words()))

    @staticmethod
    def block(norms):
        parts = {f"norm{number}": nn.LayerNorm(64) for number in range(1, norms + 1)}
        for name in ("attention", "cross_attention")[: norms - 1]:
            parts[name] = nn.ModuleDict({part: nn.Linear(64, 64) for part in ("query", "key", "value", "output")})
        return nn.ModuleDict(parts | {"feed_forward": nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))})

    def encode(self, images):
        x = ref_embed(images, 4, self.projection, self.places)
        for part in self.encoder:
            x = ref_encoder_block(x, part, 4)
        return self.norms[0](x)

    def decode(self, memory, tokens):
        x = self.words(tokens) + self.order[: tokens.shape[1]]
        for part in self.decoder:
            x = ref_decoder_block(x, memory, part, 4)
        return self.output(self.norms[1](x))

    def forward(self, images, tokens):
        return self.decode(self.encode(images), tokens)


def ref_scenes(split, first, count):
    from mmcourse.data import EmojiScenes

    scenes = EmojiScenes(split, 32, ["tomato", "chick", "penguin", "globe"])
    return [scenes[number] for number in range(first, first + count)]


def ref_labels():
    from mmcourse.data.language import plain

    return [plain(scene.description).split() for scene in ref_scenes("train", 0, 4000)]


def ref_words(known=[]):  # noqa: B006  (found once)
    if not known:
        known += ["", "<start>", "<end>", *sorted(set().union(*ref_labels()))]
    return known


def ref_lessons():
    images = torch.from_numpy(np.stack([scene.image for scene in ref_scenes("train", 0, 4000)]))
    captions = [[ref_words().index(word) for word in label] for label in ref_labels()]
    while True:
        for rows in torch.randperm(4000).split(32):
            yield images[rows], [captions[row] for row in rows]


def ref_facts(model, first):
    """Precision and recall of all facts that a captioner states about 200 new cards."""
    from mmcourse.evaluation import fact_scores

    scenes = ref_scenes("val", first, 200)
    with torch.no_grad():
        memory = model.encode(torch.from_numpy(np.stack([scene.image for scene in scenes])))
        tokens = torch.ones(200, 1, dtype=torch.long)
        while tokens.shape[1] <= 14:
            tokens = torch.cat([tokens, model.decode(memory, tokens)[:, -1:].argmax(-1)], 1)
    rows = [[*row[1:], 2] for row in tokens.tolist()]
    return fact_scores([" ".join(ref_words()[word] for word in row[: row.index(2)]) for row in rows], scenes)["all"]


def ref_weights(captioner, train, first):
    """The captioner's weights; where it fails, those of a correct one that the student's `train` trained."""
    import inspect
    import sys

    model = RefCaptioner()
    try:
        model.load_state_dict({name: weight.clone() for name, weight in captioner.state_dict().items()})
        reached = min(ref_facts(model, first)) >= 0.7
    except Exception:  # there is none, or it is another kind of captioner
        reached = False
    if not reached:
        torch.manual_seed(0)
        model = RefCaptioner()
        space = getattr(inspect.unwrap(train), "__globals__", vars(sys.modules["__main__"]))
        space.update(teacher_forcing=ref_forcing, caption_loss=ref_loss, START=1, END=2, PAD=0)
        train(model, ref_lessons(), 700, 2e-3)
    return tuple(model.state_dict().values())


def ref_verdict(weights, first):
    """Nothing, or what a captioner with these weights does not reach."""
    model = RefCaptioner()
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))
    precision, recall = ref_facts(model, first)
    if min(precision, recall) >= 0.7:
        return ""
    return f"On other new cards: precision {precision:.2f}, recall {recall:.2f}; expected at least 0.70 of both."
