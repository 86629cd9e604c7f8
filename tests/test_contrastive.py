"""One space: losses against transformers, gradients, bad batches, several processes, retrieval."""

import math
import multiprocessing
import os
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from mmcourse import evaluation
from mmcourse.contrastive import (
    CLIP,
    clip_loss,
    cosines,
    gather,
    gathered_clip_loss,
    gathered_siglip_loss,
    recall_at_k,
    same_text,
    siglip_loss,
    true_of,
    unit,
    zero_shot,
)
from mmcourse.contrastive.towers import (
    PAD,
    AttentionPool,
    Concepts,
    SidePool,
    SideReader,
    grid_positions,
)
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.vision import to_pixels
from tests.helpers import close

SHAPES = [(2, 3), (5, 7), (13, 4)]


def pairs(batch, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, width, generator=generator, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    ]


# ---- losses


def clip_in_plain_loops(image, text, scale):
    """The formula, cell by cell."""
    total = 0.0
    for i in range(len(image)):
        across = [scale * F.cosine_similarity(image[i], other, 0) for other in text]
        down = [scale * F.cosine_similarity(text[i], other, 0) for other in image]
        for row in (across, down):
            total += torch.stack(row).logsumexp(0) - row[i]
    return total / (2 * len(image))


def siglip_in_plain_loops(image, text, scale, bias):
    total = 0.0
    for i, one in enumerate(image):
        for j, other in enumerate(text):
            logit = scale * F.cosine_similarity(one, other, 0) + bias
            total += F.softplus(-logit if i == j else logit)
    return total / len(image)


@pytest.mark.parametrize("batch, width", SHAPES)
def test_losses_are_their_formulas_with_their_gradients(batch, width):
    image, text = pairs(batch, width)
    scale = torch.tensor(3.7, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-1.3, dtype=torch.float64, requires_grad=True)
    both = [
        (clip_loss, clip_in_plain_loops, (image, text, scale)),
        (siglip_loss, siglip_in_plain_loops, (image, text, scale, bias)),
    ]
    for ours, plain, given in both:
        found, wanted = ours(*given), plain(*given)
        close(found, wanted)
        pairs_of_gradients = zip(
            torch.autograd.grad(found, given), torch.autograd.grad(wanted, given), strict=True
        )
        for mine, theirs in pairs_of_gradients:
            close(mine, theirs)


def test_losses_do_not_see_lengths_and_order():
    image, text = pairs(6, 5)
    lengths = torch.rand(6, 1, dtype=torch.float64) + 0.1
    shuffled = torch.randperm(6)
    for loss, given in ((clip_loss, (4.0,)), (siglip_loss, (4.0, -2.0))):
        value = loss(image, text, *given)
        close(loss(lengths * image, 3 * text, *given), value)
        close(loss(image[shuffled], text[shuffled], *given), value)
        assert (loss(image, text[shuffled], *given) - value).abs() > 1e-3


def test_siglip_sums_over_texts_and_clip_does_not():
    """Twice the negatives: SigLIP's loss has twice as many terms, CLIP's one logarithm."""
    image, text = pairs(4, 8)
    zero = torch.zeros(4, 8, dtype=torch.float64)
    close(siglip_loss(zero, zero, 5.0, 0.0), torch.tensor(4 * math.log(2), dtype=torch.float64))
    close(clip_loss(zero, zero, 5.0), torch.tensor(math.log(4), dtype=torch.float64))


def test_a_batch_of_one_is_refused_without_negatives():
    image, text = pairs(1, 4)
    for loss, given in ((clip_loss, (9.0,)), (siglip_loss, (9.0, 0.0))):
        with pytest.raises(ValueError, match="a batch of 1 has no negatives"):
            loss(image, text, *given)
        assert loss(image, text, *given, negatives=-text) > 0
    for loss, given in ((gathered_clip_loss, (9.0,)), (gathered_siglip_loss, (9.0, 0.0))):
        with pytest.raises(ValueError, match="a batch of 1 has no negatives"):
            loss(image, text, *given)


@pytest.mark.parametrize(
    "image, text, negatives",
    [((3, 4), (2, 4), None), ((3, 4), (3, 5), None), ((3,), (3,), None), ((3, 4), (3, 4), (2, 5))],
)
def test_rows_that_do_not_pair_are_refused(image, text, negatives):
    extra = None if negatives is None else torch.ones(negatives)
    with pytest.raises(ValueError, match="must be"):
        clip_loss(torch.ones(image), torch.ones(text), 1.0, negatives=extra)
    with pytest.raises(ValueError, match="must be"):
        siglip_loss(torch.ones(image), torch.ones(text), 1.0, 0.0, negatives=extra)


def test_duplicates_cannot_be_told_apart_unless_the_loss_knows_them():
    """Two equal captions: the plain loss stays above log 2 / 2; with positives it reaches 0."""
    perfect = torch.eye(3, dtype=torch.float64)[[0, 0, 1, 2]]
    plain = clip_loss(perfect, perfect, 100.0)
    close(plain, torch.tensor(math.log(2) / 2, dtype=torch.float64))
    known = same_text(["a", "a", "b", "c"])
    shared = clip_loss(perfect, perfect, 100.0, positives=known)
    close(shared, plain)  # the truth has log 2 of entropy itself, but no gradient is left:
    moving = perfect.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(clip_loss(moving, perfect, 100.0, positives=known), moving)
    assert gradient.abs().max() < 1e-10
    half = siglip_loss(perfect, perfect, 100.0, -50.0)
    assert half > 20 and siglip_loss(perfect, perfect, 100.0, -50.0, positives=known) < 1e-9


def test_positives_share_out_the_truth():
    image, text = pairs(4, 3)
    positives = torch.eye(4, dtype=torch.bool)
    close(clip_loss(image, text, 2.0, positives=positives), clip_loss(image, text, 2.0))
    positives[0, 2] = True
    table = 2.0 * cosines(image, text)
    rows = table.log_softmax(1)
    columns = table.log_softmax(0)
    across = (rows[0, 0] + rows[0, 2]) / 2 + rows[1, 1] + rows[2, 2] + rows[3, 3]
    down = columns[0, 0] + columns[1, 1] + (columns[2, 2] + columns[0, 2]) / 2 + columns[3, 3]
    close(clip_loss(image, text, 2.0, positives=positives), -(across + down) / 8)


@pytest.mark.parametrize("wrong", [torch.eye(3), torch.eye(4).bool(), torch.zeros(3, 3).bool()])
def test_positives_that_are_none_are_refused(wrong):
    image, text = pairs(3, 4)
    with pytest.raises(ValueError, match="positives must be"):
        clip_loss(image, text, 1.0, positives=wrong)


def test_negatives_are_further_texts_for_the_pictures_alone():
    image, text = pairs(4, 3)
    extra = pairs(6, 3, seed=1)[0]
    rows = 2.0 * torch.cat([cosines(image, text), cosines(image, extra)], 1)
    truth = torch.arange(4)
    across = F.cross_entropy(rows, truth)
    down = F.cross_entropy(2.0 * cosines(text, image), truth)
    close(clip_loss(image, text, 2.0, negatives=extra), (across + down) / 2)
    no = F.softplus(2.0 * cosines(image, extra) - 1).sum() / 4
    plain = siglip_loss(image, text, 2.0, -1.0)
    close(siglip_loss(image, text, 2.0, -1.0, negatives=extra), plain + no)


def test_zero_vectors_and_equal_ones_give_finite_gradients():
    for image in (torch.zeros(3, 4), torch.ones(3, 4)):
        image.requires_grad_()
        text = torch.ones(3, 4, requires_grad=True)
        for loss in (clip_loss(image, text, 100.0), siglip_loss(image, text, 100.0, -10.0)):
            assert loss.isfinite()
            assert all(x.isfinite().all() for x in torch.autograd.grad(loss, (image, text)))
    close(clip_loss(torch.ones(3, 4), torch.ones(3, 4), 50.0), torch.tensor(math.log(3)), 1e-6)
    assert unit(torch.zeros(2, 3)).abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype):
    image = torch.full((2, 64), 300.0, dtype=dtype)  # its squares have no place in float16
    text = torch.stack([image[0], -image[0]])
    found = clip_loss(image, text, 100.0)
    assert found.dtype == torch.float32 and found.isfinite()
    close(found, clip_loss(image.float(), text.float(), 100.0), 1e-3)


def test_same_text():
    expected = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]]).bool()
    assert torch.equal(same_text(["a b", "a", "a b"]), expected)
    assert torch.equal(same_text(torch.tensor([[1, 2], [1, 0], [1, 2]])), expected)


# ---- several processes


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def work(rank, world, port, queue):
    """One of several processes: its share of both losses, and the gradients of its rows."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    image, text = pairs(6, 5)
    own = slice(3 * rank, 3 * rank + 3)
    found = []
    for loss, given in ((gathered_clip_loss, (7.0,)), (gathered_siglip_loss, (7.0, -2.0))):
        rows = [x[own].detach().requires_grad_() for x in (image, text)]
        value = loss(*rows, *given)
        found.append([x.tolist() for x in (value, *torch.autograd.grad(value, rows))])
    try:
        gather(torch.ones(1 + rank, 2))
        found.append("nothing")
    except ValueError as error:
        found.append(str(error))
    queue.put((rank, found))
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_have_the_loss_of_the_whole_batch():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    port = free_port()
    children = [context.Process(target=work, args=(rank, 2, port, queue)) for rank in (0, 1)]
    for child in children:
        child.start()
    found = dict(queue.get(timeout=120) for _ in children)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    image, text = pairs(6, 5)
    for number, (loss, given) in enumerate(((clip_loss, (7.0,)), (siglip_loss, (7.0, -2.0)))):
        whole = loss(image, text, *given)
        gradients = torch.autograd.grad(whole, (image, text))
        shares = [
            [torch.tensor(x, dtype=torch.float64) for x in found[rank][number]] for rank in (0, 1)
        ]
        close((shares[0][0] + shares[1][0]) / 2, whole)
        for place in (0, 1):
            joined = torch.cat([share[1 + place] for share in shares]) / 2
            close(joined, gradients[place])
    assert all("as many pairs" in found[rank][2] for rank in (0, 1))


def test_one_process_gathers_nothing():
    image, text = pairs(4, 3)
    assert gather(image) is image
    close(gathered_clip_loss(image, text, 3.0), clip_loss(image, text, 3.0))
    close(gathered_siglip_loss(image, text, 3.0, -1.0), siglip_loss(image, text, 3.0, -1.0))


# ---- retrieval and naming


def recall_by_sorting(similarity, k, relevant):
    """For each row, the worst order of equal scores; then: is a right answer among the first k?"""
    found = 0
    for row, right in zip(similarity, relevant, strict=True):
        order = sorted(range(len(row)), key=lambda column: (-row[column], right[column]))
        found += any(right[column] for column in order[:k])
    return found / len(similarity)


@pytest.mark.parametrize("rows, columns", [(7, 7), (5, 9), (12, 3)])
def test_recall_with_ties_and_several_right_answers(rows, columns):
    generator = np.random.default_rng(rows)
    similarity = generator.integers(0, 4, (rows, columns)) / 4
    relevant = generator.random((rows, columns)) < 0.3
    relevant[np.arange(rows), generator.integers(0, columns, rows)] = True
    for k in (1, 2, 5):
        wanted = recall_by_sorting(similarity.tolist(), k, relevant.tolist())
        assert recall_at_k(similarity, k, relevant) == pytest.approx(wanted)
        assert recall_at_k(torch.tensor(similarity), k, relevant) == pytest.approx(wanted)
        if rows == columns:
            diagonal = np.eye(rows, dtype=bool)
            wanted = recall_by_sorting(similarity.tolist(), k, diagonal.tolist())
            assert recall_at_k(similarity, k) == pytest.approx(wanted)


def test_recall_needs_to_know_what_is_right():
    with pytest.raises(ValueError, match="square"):
        recall_at_k(np.ones((2, 3)), 1)
    with pytest.raises(ValueError, match="square"):
        recall_at_k(np.ones(3), 1)
    assert recall_at_k(np.ones((3, 3)), 1) == 0.0


def test_zero_shot_takes_the_nearest_prompt():
    image = torch.randn(9, 5)
    prompts = torch.randn(4, 5)
    by_hand = [
        max(range(4), key=lambda c: F.cosine_similarity(one, prompts[c], 0).item()) for one in image
    ]
    assert zero_shot(image, prompts).tolist() == by_hand
    several = torch.randn(4, 3, 5)
    mean = torch.stack([F.normalize(texts, dim=-1).mean(0) for texts in several])
    assert torch.equal(zero_shot(image, several), zero_shot(image, mean))


def test_a_caption_of_another_scene_may_be_true():
    scenes = [EmojiScenes("val")[index] for index in range(30)]
    captions = [scene.captions[0] for scene in scenes]
    table = true_of(captions, scenes)
    assert table.diagonal().all() and table.sum() < 60
    easy = true_of([f"a {scenes[0].description.groups[0].noun}"], [scenes[0]])
    assert easy.shape == (1, 1)
    only_place = scenes[0].captions[0].split()[-2:]
    assert true_of([" ".join(only_place)], scenes).sum() >= 1
    swapped = [foil for scene in scenes for foil in scene.foils if foil.kind == "relation"][0]
    owner = [scene for scene in scenes if swapped in scene.foils]
    assert true_of([swapped.true, swapped.false], owner).tolist() == [[True, False]]


# ---- the model


def tiny(**settings):
    torch.manual_seed(0)
    sizes = {"width": 24, "heads": 3, "channels": (8, 8, 16), "blocks": (0, 0, 1)}
    sizes |= {"image_layers": 1, "text_layers": 1, "embedding": 10, "probes": 2, "concepts": 7}
    return CLIP(vocabulary(), **sizes | settings).eval()


@pytest.fixture(scope="module")
def model():
    return tiny()


def images(count, size=64):
    return np.stack([EmojiScenes("val", size)[index].image for index in range(count)])


@pytest.mark.parametrize("size, count, probes", [(64, 3, 1), (32, 1, 4), (72, 2, 3)])
def test_shapes_and_lengths(size, count, probes):
    model = tiny(image_size=size, probes=probes)
    image = model.encode_image(model.prepare(list(images(count, size))))
    text = model.encode_text(model.tokenize(["a red car"] * count))
    assert image.shape == text.shape == (count, 10)
    for found in (image, text):
        torch.testing.assert_close(found.norm(dim=1), torch.ones(count))
    assert model.image_tower.tokens(to_pixels(images(count, size))).shape == (
        count,
        (size // 8) ** 2,
        24,
    )


def test_padding_and_the_rest_of_the_batch_do_not_matter(model):
    long = "there are two little green cars to the left of a big red castle in the evening light"
    texts = ["a red car", long, "snow"]
    together = model.text_features(texts)
    for row, text in enumerate(texts):
        torch.testing.assert_close(model.text_features([text])[0], together[row])
    tokens = model.tokenize(texts[:1])
    padded = F.pad(tokens, (0, 9), value=PAD)
    torch.testing.assert_close(model.encode_text(padded), model.encode_text(tokens))
    pictures = list(images(5))
    together = model.image_features(pictures, batch_size=5)
    torch.testing.assert_close(model.image_features(pictures, batch_size=2), together)


def test_order_of_words_matters(model):
    first, second = model.text_features(["a cat above a dog", "a dog above a cat"])
    assert (first - second).abs().max() > 1e-4


def test_every_word_of_the_scenes_is_read_as_one(model):
    for scene in [EmojiScenes("val")[index] for index in range(60)]:
        for caption in scene.captions:
            known, unknown = model.split(caption)
            assert unknown == [] and known == caption.split()
    for word in vocabulary():
        assert model.split(word) == ([word], [])
    assert model.split("Two RED cars, in the snow!") == (
        ["two", "red", "cars", ",", "in", "the", "snow"],
        [],
    )
    assert model.split("a red helicopterish thing") == (["a", "red"], ["helicopterish", "thing"])


def test_texts_that_cannot_be_read_are_refused(model):
    for text in ("", "  ", "xyzzy"):
        with pytest.raises(ValueError, match="words that the model knows"):
            model.tokenize(["a car", text])
    with pytest.raises(TypeError, match="put it in a list"):
        model.tokenize("a car")
    assert model.tokenize(["car " * 99]).shape == (1, 32)


def test_the_scale_is_clamped_and_can_come_back(model):
    model = tiny()
    assert model.scale().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        model.log_scale.fill_(50.0)
    scale = model.scale()
    assert scale.item() == pytest.approx(100.0)
    assert model.log_scale.item() == pytest.approx(math.log(100))
    scale.backward()
    assert model.log_scale.grad.item() == pytest.approx(100.0)
    with torch.no_grad():
        model.log_scale.fill_(-1.0)
    assert model.scale().item() == pytest.approx(math.exp(-1))


def test_similarity_is_the_scaled_cosine(model):
    image, text = torch.randn(3, 10), torch.randn(4, 10)
    wanted = F.cosine_similarity(image[:, None], text[None], dim=-1) / 0.07
    torch.testing.assert_close(model.similarity(image, text), wanted)


def test_the_loss_of_the_model_is_that_of_its_towers(model):
    pictures = images(4)
    tokens = model.tokenize([EmojiScenes("val")[index].captions[0] for index in range(4)])
    image = model.encode_image(to_pixels(pictures))
    expected = clip_loss(image, model.encode_text(tokens), 1 / 0.07)
    torch.testing.assert_close(model.loss(pictures, tokens), expected)


def test_it_learns_four_pairs():
    model = tiny().train()
    pictures = images(4)
    tokens = model.tokenize([EmojiScenes("val")[index].captions[0] for index in range(4)])
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(150):
        loss = model.loss(pictures, tokens)
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    assert loss < 0.05


def test_it_is_saved_and_loaded(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = CLIP.from_pretrained(str(tmp_path))
    texts = ["a red car", "two cats at night"]
    assert torch.equal(loaded.text_features(texts), model.text_features(texts))
    assert loaded.fingerprint() == model.fingerprint() != tiny(embedding=9).fingerprint()


def test_concepts_begin_as_nothing_and_are_attention_to_a_table():
    layer = Concepts(5, 3)
    x = torch.randn(2, 4, 5)
    assert torch.equal(layer(x), x)
    torch.nn.init.normal_(layer.values.weight)
    weights = F.softmax(x @ layer.keys.weight.T + layer.keys.bias, -1)
    torch.testing.assert_close(layer(x), x + weights @ layer.values.weight.T)


def test_pooling_ignores_order_and_what_is_masked():
    torch.manual_seed(0)
    pool = AttentionPool(6, 2, 3, 4)
    tokens = torch.randn(2, 5, 6)
    found = pool(tokens)
    torch.testing.assert_close(pool(tokens[:, [3, 1, 0, 4, 2]]), found)
    mask = torch.tensor([[True] * 5 + [False] * 2] * 2)
    torch.testing.assert_close(pool(torch.cat([tokens, torch.randn(2, 2, 6)], 1), mask), found)
    assert (pool.probes[0, 0] - pool.probes[0, 1]).abs().max() > 0.1


def test_grid_positions_are_those_of_row_and_column():
    positions = grid_positions(3, 8)
    assert positions.shape == (9, 8)
    assert torch.equal(positions[1, :4], positions[2, :4])  # one row
    assert torch.equal(positions[1, 4:], positions[4, 4:])  # one column
    assert not torch.equal(positions[1], positions[3])


def test_sides_look_where_they_say():
    torch.manual_seed(0)
    pool = SidePool(4, 6, 5)
    tokens = torch.zeros(1, 16, 6)
    tokens[0, 4, 2] = 1.0  # second row, first column: left, and rather above
    with torch.no_grad():
        pool.projection.weight.copy_(torch.eye(5, 6))
        weights = (pool.score(tokens).mT + pool.near).softmax(-1)[0, :, 4]
    near = (torch.tensor([0.875, 0.125, 0.625, 0.375])) ** 3
    others = [
        [(1 - (c + 0.5) / 4) ** 3 for c in range(4)],
        [((c + 0.5) / 4) ** 3 for c in range(4)],
    ]
    total = 4 * torch.tensor([sum(others[0]), sum(others[1]), sum(others[0]), sum(others[1])])
    torch.testing.assert_close(weights, near / total)
    assert weights[0] > weights[1] and weights[2] > weights[3]
    found = pool(torch.randn(2, 16, 6))
    assert found.shape == (2, 4, 5)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 4))


def test_a_thing_looks_alike_on_every_side():
    """The same cells mirrored: what stood left stands right, with the same numbers."""
    torch.manual_seed(0)
    pool = SidePool(4, 6, 5)
    tokens = torch.randn(1, 16, 6)
    mirrored = tokens.unflatten(1, (4, 4)).flip(2).flatten(1, 2)
    torch.testing.assert_close(pool(mirrored)[:, [1, 0, 2, 3]], pool(tokens))
    turned = tokens.unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(pool(turned)[:, [2, 3, 0, 1]], pool(tokens))


def test_the_reader_of_sides_ignores_padding():
    torch.manual_seed(0)
    reader = SideReader(20, 8, 1, 2, 12, 5)
    ids = torch.randint(1, 20, (3, 6))
    found = reader(ids)
    assert found.shape == (3, 4, 5)
    torch.testing.assert_close(reader(F.pad(ids, (0, 4), value=PAD)), found)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3, 4))
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_a_cosine_with_sides_is_a_mean(weight, tmp_path):
    model = tiny(sides=3)
    torch.nn.init.constant_(model.side_weight, weight)
    pixels = to_pixels(images(2))
    ids = model.tokenize(["a red car above a dog", "two cats"])
    tokens = model.image_tower.tokens(pixels)
    whole = cosines(model.image_tower.pool(tokens), model.text_tower(ids))
    sides = cosines(model.image_sides(tokens).flatten(1), model.text_sides(ids).flatten(1))
    found = model.encode_image(pixels) @ model.encode_text(ids).T
    torch.testing.assert_close(found, (whole + weight**2 * sides) / (1 + weight**2))
    model.save_pretrained(tmp_path)
    loaded = CLIP.from_pretrained(str(tmp_path))
    torch.testing.assert_close(loaded.encode_image(pixels), model.encode_image(pixels))


def test_scores_of_evaluation_take_its_features(model):
    image = model.image_features(list(images(3)))
    text = model.text_features(["a car", "two cats", "snow"])
    score = evaluation.clip_score(image, text)
    assert score == pytest.approx(2.5 * (image * text).sum(1).clamp(min=0).numpy(), abs=1e-6)
    both = evaluation.ref_clip_score(image, text, text[:, None])
    assert both.shape == (3,) and (both >= score / 2.5).all()


def test_a_tiny_vector_has_a_direction_too():
    close(unit(torch.tensor([[3e-6, 4e-6]])), torch.tensor([[0.6, 0.8]]), 1e-6)


def test_cosines_are_exact_under_autocast():
    """Times a scale of 100, bfloat16's third digit would be a whole unit of a logit."""
    torch.manual_seed(0)
    first, second = torch.randn(5, 8), torch.randn(7, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cosines(first, second)
    close(found, cosines(first, second), 1e-6)
