"""Fusion: equal to plain PyTorch with copied weights, blind to padding, order and batch."""

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import nn

from mmcourse import fusion
from mmcourse.data.language import COLOURS, INVERSE, RELATIONS
from mmcourse.fusion import (
    FUSIONS,
    KINDS,
    NAMES,
    BilinearFusion,
    BottleneckFusion,
    ConcatFusion,
    CrossAttentionFusion,
    EarlyFusion,
    Fusion,
    GatedFusion,
    LateFusion,
    MultimodalTransformer,
    QuestionAnswerer,
    TwoGroups,
    answering,
    answers,
    combine,
    drop_sides,
    fit,
    parameters,
    predict,
    shares,
    sized_fusion,
    tensors,
    tokenizer,
    vote,
)
from mmcourse.training import learning_rate_at
from tests.helpers import close, copy_attention, randomise, some

SHAPES = [(3, 5, 7, 12, 3), (1, 1, 4, 6, 1), (4, 9, 1, 20, 5)]  # B, T, N, D, heads
ALL = {
    "concat": lambda width, heads: ConcatFusion(width, 7),
    "late": lambda width, heads: LateFusion(width, 5),
    "votes": lambda width, heads: LateFusion(width, 5, learned=False),
    "early": lambda width, heads: EarlyFusion(width, heads, 9, layers=3),
    "gated": lambda width, heads: GatedFusion(width, heads, 11),
    "cross": lambda width, heads: CrossAttentionFusion(width, heads, 9, layers=3),
    "bottleneck": lambda width, heads: BottleneckFusion(width, heads, 9, bottlenecks=3, layers=2),
    "bilinear": lambda width, heads: BilinearFusion(width, 3),
}

pytestmark = pytest.mark.usefixtures("double")


def sides(batch, length, cells, width, seed=0):
    """Text, image, and masks under which every row has something."""
    torch.manual_seed(seed)
    text = torch.randn(batch, length, width)
    image = torch.randn(batch, cells, width)
    return text, image, some(batch, length), some(batch, cells)


def made(name, width=12, heads=3):
    torch.manual_seed(1)
    return randomise(ALL[name](width, heads)).eval()


def plain_mean(vectors, mask):
    """The mean of the visible vectors of each row, one row at a time."""
    return torch.stack([row[seen].mean(0) for row, seen in zip(vectors, mask, strict=True)])


# ---- against PyTorch


@pytest.mark.parametrize("shape", SHAPES)
def test_concatenation_equals_plain_layers(shape):
    *sizes, heads = shape
    text, image, text_mask, image_mask = sides(*sizes)
    model = made("concat", sizes[-1], heads)
    first, _, last = model.network
    both = torch.cat([plain_mean(text, text_mask), plain_mean(image, image_mask)], 1)
    hidden = both @ first.weight.T + first.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    close(model(text, image, text_mask, image_mask), hidden @ last.weight.T + last.bias)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_late_mixes_what_each_side_says_alone(shape, learned):
    *sizes, heads = shape
    text, image, text_mask, image_mask = sides(*sizes)
    model = made("late" if learned else "votes", sizes[-1], heads)
    means = [plain_mean(text, text_mask), plain_mean(image, image_mask)]
    opinions = [model.text_opinion(means[0]), model.image_opinion(means[1])]
    weights = torch.full((sizes[0], 2), 0.5)
    if learned:
        scores = [model.text_score(means[0]).exp(), model.image_score(means[1]).exp()]
        weights = torch.cat([score / sum(scores) for score in scores], 1)
    expected = weights[:, :1] * opinions[0] + weights[:, 1:] * opinions[1]
    close(model(text, image, text_mask, image_mask), expected)
    head = nn.Linear(sizes[-1], 4)  # a line after it mixes the logits of both sides
    logits = weights[:, :1] * head(opinions[0]) + weights[:, 1:] * head(opinions[1])
    close(head(model(text, image, text_mask, image_mask)), logits)


@pytest.mark.parametrize("shape", SHAPES)
def test_bilinear_of_full_rank_equals_torch(shape):
    *sizes, _ = shape
    width = sizes[-1]
    text, image, text_mask, image_mask = sides(*sizes)
    theirs = randomise(nn.Bilinear(width, width, width))
    ours = BilinearFusion(width, width)
    with torch.no_grad():  # W_i = W_i I: the factor of the text is W_i, of the image the unit
        ours.text_factor.weight.copy_(theirs.weight.transpose(1, 2).reshape(-1, width))
        ours.image_factor.weight.copy_(torch.eye(width).repeat(width, 1))
        ours.bias.copy_(theirs.bias)
    expected = theirs(plain_mean(text, text_mask), plain_mean(image, image_mask))
    close(ours(text, image, text_mask, image_mask), expected)


def test_bilinear_of_low_rank_is_a_sum_of_products():
    text, image, text_mask, image_mask = sides(3, 4, 5, 6)
    model = made("bilinear", 6)
    t, v = plain_mean(text, text_mask), plain_mean(image, image_mask)
    U = model.text_factor.weight.reshape(6, 3, 6)
    V = model.image_factor.weight.reshape(6, 3, 6)
    whole = torch.einsum("ikd,ike->ide", U, V)
    expected = torch.einsum("bd,ide,be->bi", t, whole, v) + model.bias
    close(model(text, image, text_mask, image_mask), expected)
    assert torch.linalg.matrix_rank(whole).tolist() == [3] * 6
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        BilinearFusion(6, 0)


def copy_layer(layer, width, heads, hidden):
    """torch.nn.TransformerEncoderLayer with the weights of ours."""
    theirs = nn.TransformerEncoderLayer(
        width, heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True
    )
    randomise(theirs)
    copy_attention(layer.attention, theirs.self_attn)
    layer.feed_forward[0].load_state_dict(theirs.linear1.state_dict())
    layer.feed_forward[3].load_state_dict(theirs.linear2.state_dict())
    layer.norm1.load_state_dict(theirs.norm1.state_dict())
    layer.norm2.load_state_dict(theirs.norm2.state_dict())
    return theirs


@pytest.mark.parametrize("shape", SHAPES)
def test_early_equals_torchs_encoder(shape):
    *sizes, heads = shape
    width = sizes[-1]
    text, image, text_mask, image_mask = sides(*sizes)
    model = made("early", width, heads)
    layers = [copy_layer(layer, width, heads, 9) for layer in model.encoder.layers]
    answer = model.answer.expand(len(text), 1, width)
    x = torch.cat([answer, text + model.text_type, image + model.image_type], 1)
    hidden = ~torch.cat([torch.ones(len(text), 1).bool(), text_mask, image_mask], 1)
    for layer in layers:
        x = layer(x, src_key_padding_mask=hidden)
    close(model(text, image, text_mask, image_mask), model.encoder.norm(x)[:, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_cross_attention_equals_torch(shape):
    *sizes, heads = shape
    width = sizes[-1]
    text, image, text_mask, image_mask = sides(*sizes)
    model = made("cross", width, heads)
    x = text
    maps = []
    for layer in model.layers:
        theirs = randomise(nn.MultiheadAttention(width, heads, batch_first=True))
        copy_attention(layer.attention, theirs)
        found, weights = theirs(
            layer.norm1(x), image, image, ~image_mask, average_attn_weights=False
        )
        x = x + found
        x = x + layer.feed_forward(layer.norm2(x))
        maps.append(weights)
    close(model(text, image, text_mask, image_mask), model.norm(plain_mean(x, text_mask)))
    both = model.complete_both(text, image, text_mask, image_mask)
    seen = text_mask[:, None, None, :, None]
    close(model.look(*both) * seen, torch.stack(maps, 1) * seen)


@pytest.mark.parametrize("shape", SHAPES)
def test_gate_equals_the_formula(shape):
    *sizes, heads = shape
    width = sizes[-1]
    text, image, text_mask, image_mask = sides(*sizes)
    model = made("gated", width, heads)
    theirs = randomise(nn.MultiheadAttention(width, heads, batch_first=True))
    copy_attention(model.attention, theirs)
    context = theirs(text, image, image, ~image_mask)[0]
    score = torch.cat([text, context], -1) @ model.gate.weight.T + model.gate.bias
    alpha = 1 / (1 + (-score).exp())
    pooled = plain_mean(alpha * text + (1 - alpha) * context, text_mask)
    expected = pooled + model.feed_forward(model.norm(pooled))
    close(model(text, image, text_mask, image_mask), expected)


def test_an_open_gate_lets_the_text_pass_and_a_closed_one_the_picture():
    text, image, _, _ = sides(2, 3, 4, 12)
    model = made("gated")
    nn.init.zeros_(model.gate.weight)
    for bias, kept, lost in ((50.0, text, image), (-50.0, image, text)):
        nn.init.constant_(model.gate.bias, bias)
        kept.requires_grad_()
        lost.requires_grad_()
        of_kept, of_lost = torch.autograd.grad(model(text, image).sum(), [kept, lost])
        assert of_kept.abs().max() > 1e-3
        if bias > 0:  # closed the other way, the words still choose where to look
            assert of_lost.abs().max() < 1e-15


@pytest.mark.parametrize("shape", SHAPES)
def test_bottleneck_equals_torchs_layers(shape):
    *sizes, heads = shape
    width = sizes[-1]
    x, y, text_mask, image_mask = sides(*sizes)
    model = made("bottleneck", width, heads)
    text, image = x, y
    middle = model.bottleneck.expand(len(x), 3, width)
    seen = torch.ones(len(x), 3).bool()
    for ours in zip(model.text_layers, model.image_layers, strict=True):
        of_text, of_image = (copy_layer(layer, width, heads, 9) for layer in ours)
        hidden = ~torch.cat([text_mask, seen], 1)
        joint = of_text(torch.cat([x, middle], 1), src_key_padding_mask=hidden)
        x, first = joint.split([x.shape[1], 3], 1)
        hidden = ~torch.cat([image_mask, seen], 1)
        joint = of_image(torch.cat([y, middle], 1), src_key_padding_mask=hidden)
        y, second = joint.split([y.shape[1], 3], 1)
        middle = 0.5 * first + 0.5 * second
    close(model(text, image, text_mask, image_mask), model.norm(middle.mean(1)))


@pytest.mark.parametrize(("layers", "across"), [(1, False), (2, True)])
def test_with_one_layer_the_bottleneck_only_adds_what_each_side_says(layers, across):
    """What the picture changes depends on the text from the second layer on."""
    text, image, *_ = sides(2, 3, 4, 12)
    model = randomise(BottleneckFusion(12, 3, 9, layers=layers))
    model.norm = nn.Identity()
    other = torch.randn_like(image)
    change = model(text, other) - model(text, image)
    changed = model(text.flip(0), other) - model(text.flip(0), image)
    assert change.abs().max() > 1e-3
    assert ((change - changed).abs().max() > 1e-6) == across


def test_bottleneck_refuses_to_be_empty():
    for arguments in ({"bottlenecks": 0}, {"layers": 0}):
        with pytest.raises(ValueError, match="bottlenecks and layers must be at least 1"):
            BottleneckFusion(12, 3, 9, **arguments)


# ---- what must not matter


@pytest.fixture(params=ALL)
def model(request):
    return made(request.param)


def test_a_row_does_not_see_its_batch(model):
    text, image, text_mask, image_mask = sides(4, 5, 6, 12)
    whole = model(text, image, text_mask, image_mask)
    assert whole.shape == (4, 12)
    for row in range(4):
        alone = slice(row, row + 1)
        close(model(text[alone], image[alone], text_mask[alone], image_mask[alone])[0], whole[row])


@pytest.mark.parametrize("rubbish", [1e3, math.nan, math.inf])
def test_padding_does_not_count(model, rubbish):
    text, image, text_mask, image_mask = sides(3, 5, 6, 12)
    plain = model(text, image, text_mask, image_mask)
    longer = torch.cat([text, torch.full((3, 4, 12), rubbish)], 1)
    wider = torch.cat([torch.full((3, 2, 12), rubbish), image], 1)
    longer_mask = torch.cat([text_mask, torch.zeros(3, 4).bool()], 1)
    wider_mask = torch.cat([torch.zeros(3, 2).bool(), image_mask], 1)
    close(model(longer, wider, longer_mask, wider_mask), plain)
    rows = [
        model(t[a][None], v[b][None])
        for t, v, a, b in zip(text, image, text_mask, image_mask, strict=True)
    ]  # cut instead of masked
    close(torch.cat(rows), plain)


def test_the_order_of_tokens_does_not_count(model):
    text, image, text_mask, image_mask = sides(3, 5, 6, 12)
    plain = model(text, image, text_mask, image_mask)
    a, b = torch.randperm(5), torch.randperm(6)
    close(model(text[:, a], image[:, b], text_mask[:, a], image_mask[:, b]), plain)


def test_both_sides_reach_the_output(model):
    text, image, text_mask, image_mask = sides(3, 5, 6, 12)
    text.requires_grad_()
    image.requires_grad_()
    out = model(text, image, text_mask, image_mask)
    for side, mask, of in zip(
        (text, image),
        (text_mask, image_mask),
        torch.autograd.grad(out.pow(2).sum(), [text, image]),
        strict=True,
    ):
        assert (of[mask].abs().sum(-1) > 0).all(), side.shape
        assert (of[~mask] == 0).all()


@pytest.mark.parametrize("which", ["text", "image", "both"])
def test_a_missing_side_is_one_learnt_vector(model, which):
    text, image, text_mask, image_mask = sides(3, 5, 6, 12)
    rows = torch.tensor([True, False, True])  # whose side is missing
    here = model(text, image, text_mask, image_mask)
    hidden_text = text_mask & ~rows[:, None] if which != "image" else text_mask
    hidden_image = image_mask & ~rows[:, None] if which != "text" else image_mask
    found = model(text, image, hidden_text, hidden_image)
    assert found.isfinite().all()
    close(found[1], here[1])
    first = text[:, :0] if which != "image" else text
    second = image[:, :0] if which != "text" else image
    none = model(
        first,
        second,
        None if which != "image" else text_mask,
        None if which != "text" else image_mask,
    )
    close(found[rows], none[rows])  # a side of length 0 is missing too
    if not isinstance(model, LateFusion):
        vector = {"text": model.no_text, "image": model.no_image}
        instead = {
            name: vector[name].expand(3, 1, -1) if which in (name, "both") else given
            for name, given in (("text", text), ("image", image))
        }
        masks = [
            None if which in (name, "both") else mask
            for name, mask in (("text", text_mask), ("image", image_mask))
        ]
        close(found[rows], model(*instead.values(), *masks)[rows])
    model.zero_grad()
    found.sum().backward()
    learnt = {"text": [model.no_text], "image": [model.no_image]}.get(
        which, [model.no_text, model.no_image]
    )
    if not isinstance(model, LateFusion) or which == "both":
        assert all(vector.grad.abs().sum() > 0 for vector in learnt)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_late_gives_a_missing_side_no_weight():
    text, image, text_mask, image_mask = sides(2, 3, 4, 12)
    for name in ("late", "votes"):
        model = made(name)
        none = torch.zeros_like(image_mask)
        out = model(text, image, text_mask, none)
        close(out, model.text_opinion(plain_mean(text, text_mask)))
        out = model(text, image, torch.zeros_like(text_mask), image_mask)
        close(out, model.image_opinion(plain_mean(image, image_mask)))


def test_no_mask_means_that_all_is_there(model):
    text, image, *_ = sides(2, 3, 4, 12)
    everything = (torch.ones(2, 3).bool(), torch.ones(2, 4).bool())
    close(model(text, image), model(text, image, *everything))


# ---- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": (2, 3, 11)}, r"text must be \(B, length, 12\), got \(2, 3, 11\)"),
        ({"image": (2, 12)}, r"image must be \(B, length, 12\), got \(2, 12\)"),
        ({"image": (3, 4, 12)}, "as many rows, got 2 and 3: give each text its picture"),
    ],
)
def test_shapes_that_do_not_fit(model, change, message):
    shapes = {"text": (2, 3, 12), "image": (2, 4, 12)} | change
    with pytest.raises(ValueError, match=message):
        model(torch.randn(shapes["text"]), torch.randn(shapes["image"]))


def test_masks_that_do_not_fit(model):
    text, image, text_mask, image_mask = sides(2, 3, 4, 12)
    with pytest.raises(TypeError, match=r"mask of the text must be a torch.bool .*got torch.int64"):
        model(text, image, text_mask.long(), image_mask)
    with pytest.raises(TypeError, match="mask of the image .* got list"):
        model(text, image, text_mask, image_mask.tolist())
    with pytest.raises(ValueError, match=r"mask of the image must be \(2, 4\), got \(2, 3\)"):
        model(text, image, text_mask, text_mask)
    with pytest.raises(NotImplementedError, match="a fusion says in fuse"):
        Fusion(12)(text, image)


# ---- modality dropout, votes, Bayes


def test_drop_sides_hides_each_side_as_often_and_never_both():
    torch.manual_seed(0)
    text, image = some(6000, 4), some(6000, 3)
    a, b = drop_sides(text, image, 0.4, torch.Generator().manual_seed(3))
    no_text, no_image = ~a.any(1), ~b.any(1)
    assert not (no_text & no_image).any()
    assert abs(no_text.float().mean() - 0.2) < 0.02
    assert abs(no_image.float().mean() - 0.2) < 0.02
    assert torch.equal(a[~no_text], text[~no_text]) and torch.equal(b[~no_image], image[~no_image])
    again = drop_sides(text, image, 0.4, torch.Generator().manual_seed(3))
    assert torch.equal(again[0], a)
    same = drop_sides(text, image, 0.0)
    assert torch.equal(same[0], text) and torch.equal(same[1], image)
    a, b = drop_sides(text, image, 1.0)
    assert (a.any(1) ^ b.any(1)).all()
    for rate in (-0.1, 1.1):
        with pytest.raises(ValueError, match="rate must be between 0 and 1"):
            drop_sides(text, image, rate)


def test_a_vote_is_the_mean_of_probabilities():
    torch.manual_seed(0)
    p = torch.randn(5, 2, 4).softmax(-1)
    close(vote(p.log()).exp(), (p[:, 0] + p[:, 1]) / 2)
    weights = torch.rand(5, 2)
    weights = weights / weights.sum(1, keepdim=True)
    mixed = weights[:, :1] * p[:, 0] + weights[:, 1:] * p[:, 1]
    close(vote(p.log(), weights).exp(), mixed)
    close(vote(p.log(), torch.tensor([1.0, 0.0])).exp(), p[:, 0])
    for wrong in ([0.5, 0.6], [1.5, -0.5]):
        with pytest.raises(ValueError, match="positive and sum to one"):
            vote(p.log(), torch.tensor(wrong))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_combine_is_exact_where_the_sides_are_independent_given_the_answer(count):
    torch.manual_seed(0)
    prior = torch.randn(4).softmax(-1)
    given = [torch.randn(4, 3).softmax(-1) for _ in range(count)]  # p(side | r)
    for seen in itertools.product(range(3), repeat=count):
        joint = prior.clone()
        alone = []
        for table, value in zip(given, seen, strict=True):
            joint = joint * table[:, value]
            alone.append(prior * table[:, value] / (prior * table[:, value]).sum())
        found = combine(torch.stack(alone)[None].log(), prior.log())
        close(found[0].exp(), joint / joint.sum())


# ---- the questions


@pytest.fixture(scope="module")
def asked():
    world = TwoGroups("val")
    return [world.ask(index) for index in range(400)]


def test_every_answer_is_true(asked):
    for scene, questions in asked:
        groups = {group.noun: group for group in scene.description.groups}
        assert [question.kind for question in questions] == list(KINDS)
        for question in questions:
            words = question.text.split()
            named = [name for name in NAMES if name in words]
            if question.kind == "colour":
                assert groups[named[0]].colour == question.answer
            elif question.kind == "count":
                assert ("one", "two").index(question.answer) + 1 == groups[named[0]].count
            elif question.kind == "presence":
                assert (named[0] in groups) == (question.answer == "yes")
            elif question.kind == "object":
                relation = next(
                    r for r in RELATIONS if f" {RELATIONS[r][1][0]} the" in question.text
                )
                assert scene.holds(("relation", question.answer, relation, named[0]))
            else:
                first, second = sorted(named, key=words.index)
                relation = next(r for r in RELATIONS if RELATIONS[r][1][0] == question.answer)
                assert scene.holds(("relation", first, relation, second))


def test_a_picture_leaves_two_answers_and_a_question_says_little(asked):
    truth = {kind: Counter() for kind in KINDS}
    first = Counter()
    for scene, questions in asked:
        one, two = scene.description.groups
        assert {one.count, two.count} == {1, 2} and one.colour != two.colour
        for question in questions:
            truth[question.kind][question.answer] += 1
            assert question.blank == f"{question.kind} ?"
            if question.kind in ("colour", "count", "object"):
                values = {
                    "colour": one.colour,
                    "object": one.noun,
                    "count": ("one", "two")[one.count - 1],
                }
                first[question.kind] += question.answer == values[question.kind]
            if question.kind == "relation":
                first["relation"] += question.answer == RELATIONS[scene.description.relation][1][0]
    first["presence"] = truth["presence"]["yes"]
    for kind in KINDS:
        assert 150 < first[kind] < 250, kind
    assert max(truth["relation"].values()) < 140
    assert max(truth["object"].values()) < 80
    assert set(truth["colour"]) == set(COLOURS)


def test_a_question_names_what_training_shows_and_splits_differ():
    train, val = TwoGroups("train"), TwoGroups("val")
    assert train.ask(3)[1] == train.ask(3)[1]
    assert train.ask(3)[1] != val.ask(3)[1]
    own = TwoGroups("train", only=NAMES[:4])
    names = {group.noun for i in range(20) for group in own.ask(i)[0].description.groups}
    assert names == set(NAMES[:4])
    absent = {q.text.split()[-2] for i in range(40) for q in own.ask(i)[1] if q.kind == "presence"}
    assert absent == set(NAMES[:4])
    assert INVERSE["above"] == "below"


def test_questions_as_tensors(asked):
    questions = [question for _, some_of in asked[:20] for question in some_of]
    data = tensors(questions)
    reader = tokenizer()
    assert len(set(reader.words)) == len(reader)
    for row, question in enumerate(questions):
        ids = data["ids"][row][data["mask"][row]].tolist()
        assert 0 not in ids  # every word is known
        assert reader.decode(ids) == question.text.removesuffix(" ?").replace(" ,", "")
        blank = data["blank_ids"][row][data["blank_mask"][row]].tolist()
        assert reader.decode(blank) == question.kind
        assert answers()[data["answer"][row]] == question.answer
        assert KINDS[data["kind"][row]] == question.kind
    assert len(set(answers())) == len(answers())


# ---- the model of the table


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions_have_equal_size(name):
    for wanted in (50_000, 90_000):  # a step of the bilinear form is 2 * 48 * 48
        found = parameters(sized_fusion(name, 48, wanted))
        assert abs(found - wanted) <= 48 * 48 and abs(found / wanted - 1) < 0.05
    with pytest.raises(ValueError, match=f"{name} of width 48 has .* parameters or more, not 10"):
        sized_fusion(name, 48, 10)


def test_unknown_fusion():
    with pytest.raises(ValueError, match="unknown fusion 'sum': choose one of concatenation, late"):
        sized_fusion("sum", 48, 1000)


def toy(seed=0, count=60):
    """Questions with random features."""
    torch.manual_seed(seed)
    length = torch.randint(2, 6, (count, 1))
    return {
        "ids": torch.randint(0, 9, (count, 5)),
        "mask": torch.arange(5) < length,
        "answer": torch.randint(0, 4, (count,)),
        "scene": torch.randint(0, 7, (count,)),
    }, torch.randn(7, 6, 10)


def small(name="cross-attention", seed=0):
    torch.manual_seed(seed)
    return QuestionAnswerer(FUSIONS[name](8, 2), 9, 4, channels=10, cells=6)


def test_the_answerer_knows_places_and_word_order():
    data, features = toy()
    model = small().eval()
    cells = features[data["scene"]]
    plain = model(data["ids"], data["mask"], cells)
    assert plain.shape == (60, 4)
    assert (model(data["ids"], data["mask"], cells.flip(1)) - plain).abs().max() > 1e-4
    full = torch.ones_like(data["mask"])
    turned = model(data["ids"].flip(1), full, cells) - model(data["ids"], full, cells)
    assert turned.abs().max() > 1e-4
    longer = torch.cat([data["ids"], torch.ones(60, 3).long()], 1)
    mask = torch.cat([data["mask"], torch.zeros(60, 3).bool()], 1)
    close(model(longer, mask, cells), plain)


@pytest.mark.parametrize("name", FUSIONS)
def test_fit_learns_and_repeats_itself(name):
    data, features = toy(count=12)
    found = [fit(small(name), data, features, steps=60, rate=1e-2, seed=5, batch=12) for _ in "ab"]
    close(*[predict(model, data, features) for model in found], 0)
    right = predict(found[0], data, features).argmax(1) == data["answer"]
    assert right.float().mean() >= 0.75 if name != "late" else right.float().mean() >= 0.5
    assert not found[0].training


def test_fit_takes_other_batches_with_another_seed_and_hides_sides():
    data, features = toy()
    runs = [
        fit(small(), data, features, steps=3, rate=1e-2, seed=seed, batch=8, dropped=dropped)
        for seed, dropped in ((0, 0.0), (1, 0.0), (0, 0.9))
    ]
    first, second, third = (predict(model, data, features) for model in runs)
    assert (first - second).abs().max() > 1e-6
    assert (first - third).abs().max() > 1e-6
    untouched = small().fusion
    close(runs[0].fusion.no_image * 0, untouched.no_image * 0)
    moved = [(run.fusion.no_image - untouched.no_image).abs().max() for run in runs]
    assert moved[2] > 10 * max(moved[0], 1e-5)


def test_hidden_sides_depend_on_the_seed_alone():
    data, features = toy()
    found = []
    for other_dice in (1, 2):
        model = small()
        torch.manual_seed(other_dice)
        fit(model, data, features, steps=3, rate=1e-2, seed=0, batch=8, dropped=0.5)
        found.append(predict(model, data, features))
    close(*found, 0)


def test_the_rate_rises_for_a_tenth_of_the_steps(monkeypatch):
    rates = {}

    def noted(step, config):
        rates[step] = learning_rate_at(step, config)
        return rates[step]

    monkeypatch.setattr(answering, "learning_rate_at", noted)
    data, features = toy()
    fit(small(), data, features, steps=30, rate=1e-2, seed=0, batch=4)
    assert rates[0] < rates[1] < rates[2] <= 1e-2 and rates[29] < rates[3]


def test_predict_hides_a_side_and_adds_noise():
    data, features = toy(count=300)
    model = small().eval()
    plain = predict(model, data, features)
    close(plain.exp().sum(1), torch.ones(300), 1e-6)
    cells = features[data["scene"]]
    expected = model(data["ids"], data["mask"], cells).log_softmax(-1)
    close(plain, expected, 1e-6)
    none = torch.zeros(300, 6).bool()
    expected = model(data["ids"], data["mask"], cells, none).log_softmax(-1)
    close(predict(model, data, features, hide=("image",)), expected, 1e-6)
    blind = predict(model, data, torch.randn_like(features), hide=("image",))
    close(blind, expected, 1e-6)
    deaf = predict(model, data | {"ids": data["ids"] * 0}, features, hide=("text",))
    close(deaf, predict(model, data, features, hide=("text",)))
    noisy = predict(model, data, features, noise=1.0)
    assert (noisy - plain).abs().max() > 1e-3
    close(noisy, predict(model, data, features, noise=1.0))
    assert (noisy - predict(model, data, features, noise=1.0, seed=1)).abs().max() > 1e-3
    constant = features.clone()
    constant[..., 1:] = 0  # a channel that never changes gets no noise
    with torch.no_grad():
        model.image.weight[:, 0] = 0
    close(predict(model, data, constant, noise=9.0), predict(model, data, constant))


def test_shares_of_a_late_fusion_follow_its_weights():
    data, features = toy()
    rows = torch.arange(20)
    model = small("late").eval()
    with torch.no_grad():
        model.fusion.text_score.bias.fill_(50.0)
    close(shares(model, data, features, rows), torch.ones(20), 1e-6)
    with torch.no_grad():
        model.fusion.text_score.bias.fill_(-50.0)
    close(shares(model, data, features, rows), torch.zeros(20), 1e-6)
    balanced = shares(small("early").eval(), data, features, rows)
    assert ((balanced > 0) & (balanced < 1)).all()


def test_shares_by_hand():
    data, features = toy()
    model = small("concatenation").eval()
    rows = torch.tensor([3, 8])
    found = shares(model, data, features, rows)
    text, image = model.encode(data["ids"][rows], data["mask"][rows], features[data["scene"][rows]])
    for number, row in enumerate(rows.tolist()):
        t = text[number : number + 1].detach().requires_grad_()
        v = image[number : number + 1].detach().requires_grad_()
        logits = model.head(model.norm(model.fusion(t, v, data["mask"][row : row + 1])))
        logits[0, data["answer"][row]].backward()
        one, two = (t * t.grad).norm(), (v * v.grad).norm()
        close(found[number], (one / (one + two)).detach(), 1e-6)


def test_votes_of_the_answerer_are_its_sides():
    data, features = toy()
    model = small("late").eval()
    cells = features[data["scene"]]
    logits, weights = model.votes(data["ids"], data["mask"], cells)
    assert logits.shape == (60, 2, 4)
    close(weights.sum(1), torch.ones(60))
    alone = model(data["ids"], data["mask"], cells, torch.zeros(60, 6).bool())
    close(logits[:, 0], alone)
    alone = model(data["ids"], torch.zeros_like(data["mask"]), cells)
    close(logits[:, 1], alone)


def test_multimodal_transformer_of_transformers():
    from transformers import BertConfig, BertModel, ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "intermediate_size": 9, "num_attention_heads": 3}
    bert = BertModel(BertConfig(hidden_size=12, vocab_size=11, **sizes))
    vit = ViTModel(ViTConfig(hidden_size=6, image_size=8, patch_size=4, **sizes))
    for given in (None, GatedFusion(10, 5, 4)):
        model = MultimodalTransformer(bert, vit, 7, given).eval()
        ids, pixels = torch.randint(1, 11, (3, 5)), torch.randn(3, 3, 8, 8)
        out = model(ids, pixels)
        assert out.shape == (3, 7)
        close(out.exp().sum(1), torch.ones(3), 1e-6)
        longer = torch.cat([ids, torch.zeros(3, 2).long()], 1)
        mask = torch.arange(7).expand(3, 7) < 5
        close(model(longer, pixels, mask), out, 1e-6)
        assert (model(ids, pixels.flip(0)) - out).abs().max() > 1e-5
        assert (model(ids.flip(0), pixels) - out).abs().max() > 1e-5


def test_multimodal_transformer_loads_folders(tmp_path):
    from transformers import BertConfig, BertModel, ViTConfig, ViTModel

    sizes = {"num_hidden_layers": 1, "intermediate_size": 9, "num_attention_heads": 3}
    bert = BertModel(BertConfig(hidden_size=12, vocab_size=11, **sizes))
    vit = ViTModel(ViTConfig(hidden_size=6, image_size=8, patch_size=4, **sizes))
    bert.save_pretrained(tmp_path / "text")
    vit.save_pretrained(tmp_path / "image")
    model = MultimodalTransformer.from_pretrained(tmp_path / "text", tmp_path / "image", 7)
    for ours, theirs in ((model.text_model, bert), (model.image_model, vit)):
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name].to(value.dtype), value)


def test_the_package_names_what_it_has():
    assert set(fusion.__all__) >= {type(make(8, 2)).__name__ for make in FUSIONS.values()}
