"""Alignment: maps against scipy and scikit-learn, adversaries against plain gradients, the gap."""

import copy
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
import torch
import torch.nn.functional as F
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from torch import nn

from mmcourse.alignment import (
    CrossModalAutoencoder,
    Discriminator,
    cca,
    close_gap,
    energy_distance,
    fool_loss,
    gap_vector,
    judge_accuracy,
    judge_loss,
    linear_judge,
    match_moments,
    modality_gap,
    mutual_nearest,
    principal_axes,
    procrustes,
    refine,
    reversal_loss,
    reverse_gradient,
)
from tests.helpers import close

SHAPES = [(7, 3), (11, 5), (23, 9), (5, 7)]  # rows, columns
pytestmark = pytest.mark.usefixtures("double")


def rotation(size, seed=0):
    """A random orthogonal matrix."""
    torch.manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size))[0]


def lopsided(rows, columns, seed=0):
    """A cloud whose axes differ in spread and lean to one side."""
    torch.manual_seed(seed)
    return (-torch.rand(rows, columns).log() - 1) * torch.linspace(3, 1, columns)


# Procrustes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_procrustes_equals_scipy(shape):
    x, y = torch.randn(*shape), torch.randn(*shape)
    theirs, _ = scipy.linalg.orthogonal_procrustes(x.numpy(), y.numpy())
    ours = procrustes(x, y)
    if shape[0] >= shape[1]:
        close(ours, torch.tensor(theirs))
    close(x @ ours, x @ torch.tensor(theirs))
    close(ours @ ours.mT, torch.eye(shape[1]))


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_procrustes_finds_a_rotation_and_a_mirror(shape):
    x = torch.randn(*shape)
    turn = rotation(shape[1])
    mirror = torch.diag(torch.tensor([-1.0] + [1.0] * (shape[1] - 1)))
    close(procrustes(x, x @ turn), turn)
    close(procrustes(x, x @ turn @ mirror), turn @ mirror)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_other_rotation_comes_nearer(shape):
    x, y = torch.randn(*shape), torch.randn(*shape)
    best = (x @ procrustes(x, y) - y).norm()
    for seed in range(20):
        assert best <= (x @ rotation(shape[1], seed) - y).norm() + 1e-12


def test_procrustes_turns_with_its_sides_and_ignores_scale_and_order():
    x, y, turn = torch.randn(9, 4), torch.randn(9, 4), rotation(4)
    close(procrustes(x @ turn, y), turn.mT @ procrustes(x, y))
    close(procrustes(x, y @ turn), procrustes(x, y) @ turn)
    close(procrustes(3 * x, 0.2 * y), procrustes(x, y))
    order = torch.randperm(9)
    close(procrustes(x[order], y[order]), procrustes(x, y))


# Principal axes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "size"), [((7, 3), 2), ((11, 5), 5), ((23, 9), 4), ((5, 7), 3)])
@pytest.mark.parametrize("whiten", [False, True])
def test_principal_axes_equal_sklearn(shape, size, whiten):
    x = torch.randn(*shape) @ torch.randn(shape[1], shape[1]) + 3
    new = torch.randn(4, shape[1])
    ours = principal_axes(x, size, whiten=whiten)
    theirs = PCA(size, whiten=whiten, svd_solver="full").fit(x.numpy())
    expected = torch.tensor(theirs.transform(new.numpy()))
    signs = torch.tensor(theirs.components_).mul(ours.axes.mT).sum(1).sign()
    close(ours(new), expected * signs)
    largest = ours.axes.gather(0, ours.axes.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_whitened_rows_have_variance_one_and_do_not_correlate():
    x = torch.randn(50, 6) @ torch.randn(6, 6) + 2
    found = principal_axes(x, 6, whiten=True)(x)
    close(found.mT.cov(), torch.eye(6))
    close(found.mean(0), torch.zeros(6))


# Canonical correlations -----------------------------------------------------------------------


def sides(rows, first, second):
    """Two sides that share what they have in their first columns."""
    shared = torch.randn(rows, 2)
    x = torch.cat([shared, torch.randn(rows, first - 2)], 1) @ torch.randn(first, first)
    y = torch.cat(
        [shared + torch.tensor([0.2, 0.8]) * torch.randn(rows, 2), torch.randn(rows, second - 2)], 1
    )
    return x + 1, y @ torch.randn(second, second) - 2


@pytest.mark.parametrize(("rows", "first", "second"), [(30, 3, 5), (51, 7, 4), (97, 6, 6)])
def test_cca_equals_generalised_eigenvalues(rows, first, second):
    x, y = sides(rows, first, second)
    size = min(first, second)
    image, text, found = cca(x, y, size)
    joint = np.cov(torch.cat([x, y], 1).numpy(), rowvar=False)
    off, within = joint.copy(), joint.copy()
    off[:first, :first] = off[first:, first:] = 0
    within[:first, first:] = within[first:, :first] = 0
    values, vectors = scipy.linalg.eigh(off, within)  # C w = rho diag(C) w
    order = values.argsort()[::-1][:size]
    close(found, torch.tensor(values[order].copy()))
    theirs = torch.tensor(vectors[:, order].copy()) * math.sqrt(
        2
    )  # each half has variance one half
    signs = (theirs[:first] * image.axes).sum(0).sign()
    close(image.axes, theirs[:first] * signs, 1e-7)
    close(text.axes, theirs[first:] * signs, 1e-7)


@pytest.mark.parametrize(("rows", "first", "second"), [(30, 3, 5), (51, 7, 4), (97, 6, 6)])
def test_cca_equals_sklearn(rows, first, second):
    x, y = sides(rows, first, second)
    image, text, found = cca(x, y, 2)
    model = CCA(2, scale=False, max_iter=20_000, tol=1e-14).fit(x.numpy(), y.numpy())
    theirs = [torch.tensor(part) for part in model.transform(x.numpy(), y.numpy())]
    for ours, other in zip((image(x), text(y)), theirs, strict=True):
        other = other / other.std(0)
        close(ours, other * (ours * other).sum(0).sign(), 1e-5)
    pairs = [
        np.corrcoef(*columns)[0, 1] for columns in zip(*(t.T.numpy() for t in theirs), strict=True)
    ]
    assert found.numpy() == pytest.approx(pairs, abs=1e-8)


@pytest.mark.parametrize(("rows", "first", "second"), [(30, 3, 5), (51, 7, 4), (97, 6, 6)])
def test_cca_ridge_is_a_larger_covariance(rows, first, second):
    x, y = sides(rows, first, second)
    image, text, found = cca(x, y, 2, ridge=0.3)
    cx, cy = x.mT.cov(), y.mT.cov()
    cx = cx + 0.3 * cx.trace() / first * torch.eye(first)
    cy = cy + 0.3 * cy.trace() / second * torch.eye(second)
    close(image.axes.mT @ cx @ image.axes, torch.eye(2))
    close(text.axes.mT @ cy @ text.axes, torch.eye(2))
    cxy = (x - x.mean(0)).mT @ (y - y.mean(0)) / (rows - 1)
    close(image.axes.mT @ cxy @ text.axes, torch.diag(found))
    assert (found < cca(x, y, 2)[2]).all()


def test_cca_does_not_see_linear_maps_of_its_sides():
    x, y = sides(60, 4, 5)
    image, text, found = cca(x, y, 4)
    mixed, other = torch.randn(4, 4), torch.randn(5, 5)
    again, _, correlations = cca(x @ mixed + 7, y @ other, 4)
    close(correlations, found, 1e-8)
    new = again(x @ mixed + 7)
    close(new.abs(), image(x).abs(), 1e-7)
    close(cca(y, x, 4)[2], found, 1e-8)


def test_cca_of_whitened_sides_is_procrustes_in_other_axes():
    """The text's claim: with all directions kept, both rank alike."""
    x, y = sides(60, 4, 4)
    x, y = (principal_axes(side, 4, whiten=True)(side) for side in (x, y))
    image, text, _ = cca(x, y, 4)
    close(image(x) @ text(y).mT, x @ procrustes(x, y) @ y.mT, 1e-9)


@pytest.mark.parametrize("make", [procrustes, lambda x, y: cca(x, y, 1, ridge=1.0)])
def test_sides_that_do_not_pair_are_refused(make):
    with pytest.raises(ValueError, match="row i of x belongs to row i of y, got 5 and 4 rows"):
        make(torch.randn(5, 3), torch.randn(4, 3))
    with pytest.raises(ValueError, match=r"\(n, E\) with n at least 2, got \(1, 3\)"):
        make(torch.randn(1, 3), torch.randn(1, 3))
    with pytest.raises(ValueError, match="finite"):
        make(torch.randn(4, 3), torch.full((4, 3), torch.nan))
    with pytest.raises(ValueError, match="floating point"):
        make(torch.ones(4, 3, dtype=torch.long), torch.randn(4, 3))


def test_what_has_no_answer_is_refused():
    with pytest.raises(ValueError, match="as many columns, got 3 and 4"):
        procrustes(torch.randn(9, 3), torch.randn(9, 4))
    with pytest.raises(ValueError, match="6 rows of x do not vary in all of their 8 directions"):
        cca(torch.randn(6, 8), torch.randn(6, 2), 2)
    with pytest.raises(ValueError, match="of y do not vary"):
        cca(torch.randn(9, 3), torch.randn(9, 2) @ torch.ones(2, 2), 2)
    with pytest.raises(ValueError, match="size must lie between 1 and 2, got 3"):
        cca(torch.randn(9, 3), torch.randn(9, 2), 3)
    with pytest.raises(ValueError, match="ridge must be at least 0"):
        cca(torch.randn(9, 3), torch.randn(9, 2), 2, ridge=-1)
    for size in (0, 4):
        with pytest.raises(ValueError, match=f"between 1 and 3, the rank of x, got {size}"):
            principal_axes(torch.randn(4, 6), size)


def test_half_precision_is_computed_in_single():
    x = torch.randn(9, 4, dtype=torch.float32)
    found = procrustes(x.bfloat16(), x.bfloat16())
    assert found.dtype == torch.float32
    close(found, torch.eye(4, dtype=torch.float32), 1e-4)


# Adversaries ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "width", "strength"), [(3, 5, 1.0), (7, 2, 0.3), (1, 9, 2.5)])
def test_reversed_gradient_is_the_gradient_by_hand_turned_round(batch, width, strength):
    """Against the derivative written down: of log(1 + e^(-tanh(x) w))."""
    x, weights = torch.randn(batch, width, requires_grad=True), torch.randn(width)
    w = weights.clone().requires_grad_()
    reversed_x = reverse_gradient(x.tanh(), strength)
    close(reversed_x, x.tanh())
    F.softplus(-reversed_x @ w).sum().backward()
    sure = torch.sigmoid(-x.detach().tanh() @ weights)  # (batch,)
    by_hand = -sure[:, None] * weights * (1 - x.detach().tanh() ** 2)
    close(x.grad, -strength * by_hand)
    close(w.grad, -(sure[:, None] * x.detach().tanh()).sum(0))


def test_reversal_is_reversed_twice_and_strength_0_stops_it():
    x = torch.randn(4, 3, requires_grad=True)
    twice = reverse_gradient(reverse_gradient(x, 2.0), 0.5)
    close(torch.autograd.grad(twice.square().sum(), x)[0], 2 * x.detach())
    still = reverse_gradient(x, 0.0)
    close(torch.autograd.grad(still.square().sum(), x)[0], torch.zeros(4, 3))
    with pytest.raises(ValueError, match="strength must be at least 0"):
        reverse_gradient(x, -1.0)


@pytest.mark.parametrize(("rows", "others", "width"), [(6, 6, 3), (9, 4, 5), (1, 7, 2)])
def test_one_step_of_reversal_is_two_optimisers(rows, others, width):
    """Judge down, encoders up: with SGD, one optimiser does what two do at once."""
    strength, rate = 0.7, 0.1
    encoder, judge = nn.Linear(4, width), Discriminator(width, 6)
    image, text = torch.randn(rows, 4), torch.randn(others, 4)
    ours = copy.deepcopy(encoder), copy.deepcopy(judge)
    both = torch.optim.SGD([*ours[0].parameters(), *ours[1].parameters()], rate)
    reversal_loss(ours[1], ours[0](image), ours[0](text), strength).backward()
    both.step()
    down = torch.optim.SGD(judge.parameters(), rate)
    up = torch.optim.SGD(encoder.parameters(), rate * strength, maximize=True)
    yes = F.binary_cross_entropy_with_logits(judge(encoder(image)), torch.ones(rows))
    no = F.binary_cross_entropy_with_logits(judge(encoder(text)), torch.zeros(others))
    ((yes + no) / 2).backward()
    down.step()
    up.step()
    for mine, other in zip(ours, (encoder, judge), strict=True):
        for a, b in zip(mine.parameters(), other.parameters(), strict=True):
            close(a, b)


@pytest.mark.parametrize(("rows", "others", "width"), [(6, 6, 3), (9, 4, 5), (1, 7, 2)])
def test_losses_are_cross_entropies(rows, others, width):
    judge, image, text = (
        Discriminator(width, 5),
        torch.randn(rows, width),
        torch.randn(others, width),
    )
    yes, no = torch.ones(rows), torch.zeros(others)
    entropy = F.binary_cross_entropy_with_logits
    expected = (entropy(judge(image), yes) + entropy(judge(text), no)) / 2
    close(judge_loss(judge, image, text), expected)
    close(reversal_loss(judge, image, text, 3.0), expected)
    fooled = (entropy(judge(image), 1 - yes) + entropy(judge(text), 1 - no)) / 2
    close(fool_loss(judge, image, text), fooled)
    right = ((judge(image) > 0).double().mean() + (judge(text) < 0).double().mean()) / 2
    assert judge_accuracy(judge, image, text) == pytest.approx(right.item())


def test_a_judge_that_guesses():
    guesses = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    nn.init.zeros_(guesses[0].weight)
    nn.init.zeros_(guesses[0].bias)
    image, text = torch.randn(5, 3), torch.randn(8, 3)
    close(judge_loss(guesses, image, text), torch.tensor(math.log(2)))
    close(fool_loss(guesses, image, text), torch.tensor(math.log(2)))
    assert judge_accuracy(guesses, image, text) == 0.5


def test_far_codes_give_finite_losses_and_fooling_pushes_where_reversal_no_longer_does():
    judge = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0))
    nn.init.ones_(judge[0].weight)
    image = torch.tensor([[60.0]], requires_grad=True)
    text = torch.tensor([[-60.0]])
    (weak,) = torch.autograd.grad(reversal_loss(judge, image, text), image)
    (strong,) = torch.autograd.grad(-fool_loss(judge, image, text), image)
    assert weak.abs() < 1e-20
    close(strong, torch.tensor([[-0.5]]))
    assert torch.isfinite(judge_loss(judge, 1e6 * image, 1e6 * text))


def test_discriminator_is_its_layers():
    judge = Discriminator(4, 6)
    first, second, third = (judge.layers[i] for i in (0, 2, 4))
    x = torch.randn(3, 4)
    slope = lambda z: torch.where(z > 0, z, 0.2 * z)  # noqa: E731
    hidden = slope(slope(x @ first.weight.mT + first.bias) @ second.weight.mT + second.bias)
    close(judge(x), (hidden @ third.weight.mT + third.bias)[:, 0])
    assert second.weight.shape == (6, 6)


@pytest.mark.parametrize("loss", [judge_loss, fool_loss, reversal_loss, judge_accuracy])
def test_codes_of_two_widths_are_refused(loss):
    for image, text in [((4, 3), (4, 2)), ((4,), (4,)), ((0, 3), (4, 3)), ((4, 3), (0, 3))]:
        with pytest.raises(ValueError, match="image and text must be codes"):
            loss(Discriminator(3), torch.randn(*image), torch.randn(*text))


# The autoencoder ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "sizes"), [(5, (3, 4, 6, 7)), (1, (8, 2, 3, 5)), (9, (5, 5, 5, 5))]
)
def test_autoencoder_is_its_formula(rows, sizes):
    D, T, P, V = sizes
    model = CrossModalAutoencoder(D, T, P, V, code=3, hidden=6, word_weight=2.5)
    image, text = torch.randn(rows, D), torch.randn(rows, T)
    pixels, words = torch.randn(rows, P), torch.randint(2, (rows, V)).double()

    def network(layers, x):
        hidden = x @ layers[0].weight.mT + layers[0].bias
        hidden = hidden * torch.special.ndtr(hidden)  # GELU
        return hidden @ layers[2].weight.mT + layers[2].bias

    u, v = network(model.image_encoder, image), network(model.text_encoder, text)
    close(model.encode_image(image), u)
    close(model.encode_text(text), v)

    def picture_error(code):
        return (network(model.image_decoder, code) - pixels).square().mean()

    def word_error(code):
        share = torch.sigmoid(network(model.text_decoder, code))
        return -(words * share.log() + (1 - words) * (1 - share).log()).mean()

    given = image, text, pixels, words
    close(model.within(*given), picture_error(u) + 2.5 * word_error(v))
    close(model.across(*given), picture_error(v) + 2.5 * word_error(u))
    close(model.rebuild(u, words=words), 2.5 * word_error(u))
    assert model.rebuild(u).item() == 0


def test_within_trains_no_code_on_the_other_side_and_across_does():
    model = CrossModalAutoencoder(3, 4, 5, 6)
    given = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 5), torch.ones(2, 6)
    to_words = list(model.text_decoder.parameters())
    rebuilt = model.rebuild(model.encode_image(given[0]), pixels=given[2])
    found = torch.autograd.grad(rebuilt, to_words, allow_unused=True)
    assert all(gradient is None for gradient in found)
    for loss in (model.within(*given), model.across(*given)):
        for gradient in torch.autograd.grad(loss, list(model.parameters())):
            assert gradient.abs().sum() > 0


def test_within_needs_no_pairs_and_across_does():
    model = CrossModalAutoencoder(3, 4, 5, 6)
    image, text = torch.randn(2, 3), torch.randn(7, 4)
    pixels, words = torch.randn(2, 5), torch.ones(7, 6)
    assert torch.isfinite(model.within(image, text, pixels, words))
    with pytest.raises(ValueError, match="across needs pairs, got 2 pictures, 7 texts"):
        model.across(image, text, pixels, words)
    with pytest.raises(ValueError, match=r"pixels must be \(2, 5\), got \(2, 1\)"):
        model.rebuild(model.encode_image(image), pixels=pixels[:, :1])
    with pytest.raises(ValueError, match=r"words must be \(7, 6\), got \(1, 6\)"):
        model.rebuild(model.encode_text(text), words=words[:1])


# Without pairs --------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "others", "width"), [(7, 5, 3), (4, 9, 2), (12, 12, 6)])
def test_energy_distance_is_its_formula(rows, others, width):
    x, y = torch.randn(rows, width), torch.randn(others, width) + 1
    distances = [scipy.spatial.distance.cdist(a, b).mean() for a, b in ((x, y), (x, x), (y, y))]
    expected = 2 * distances[0] - distances[1] - distances[2]
    assert energy_distance(x, y).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("rows", "others"), [(7, 5), (4, 9), (12, 12)])
def test_energy_distance_equals_scipy_on_a_line(rows, others):
    x, y = torch.randn(rows, 1), torch.randn(others, 1) + 1
    theirs = scipy.stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy())
    assert energy_distance(x, y).item() == pytest.approx(theirs**2, abs=1e-12)


def test_energy_distance_knows_no_pairs():
    x, y = torch.randn(8, 3), torch.randn(8, 3) + 1
    close(energy_distance(x[torch.randperm(8)], y), energy_distance(x, y))
    close(energy_distance(y, x), energy_distance(x, y))
    close(energy_distance(x, x.flip(0)), torch.tensor(0.0))
    turn = rotation(3)
    close(energy_distance(x @ turn, y @ turn), energy_distance(x, y))
    with pytest.raises(ValueError, match="points of 3 and 2 numbers"):
        energy_distance(x, y[:, :2])


@pytest.mark.parametrize(("rows", "width"), [(200, 3), (301, 2), (500, 5)])
def test_moments_find_a_rotation_without_pairs(rows, width):
    x, turn = lopsided(rows, width), rotation(width)
    order = torch.randperm(rows)
    close(match_moments(x, x[order] @ turn + 2), turn, 1e-8)
    found = match_moments(x, torch.randn(40, width))
    close(found @ found.mT, torch.eye(width))


def test_moments_cannot_see_a_symmetric_cloud():
    """Mirrored points have the same moments of second order, and no third ones."""
    half = torch.randn(50, 3) * torch.tensor([3.0, 2.0, 1.0])
    x = torch.cat([half, -half])
    mirrored = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    close(energy_distance(x @ -torch.eye(3), x), torch.tensor(0.0))
    assert (match_moments(x, x @ mirrored) - mirrored).abs().max() < 2.1  # a sign is a coin


def test_mutual_nearest():
    table = torch.tensor([[5.0, 6.0, 1.0], [0.0, 7.0, 2.0], [4.0, 0.0, 3.0], [9.0, 1.0, 3.5]])
    rows, columns = mutual_nearest(table)
    assert rows.tolist() == [1, 3]
    assert columns.tolist() == [1, 0]


def test_refine_repairs_a_rough_start_and_not_a_wrong_one():
    x, turn = lopsided(300, 4), rotation(4)
    y = (x @ turn)[torch.randperm(300)]
    rough = procrustes(torch.eye(4), turn + 0.15 * torch.randn(4, 4))
    assert (rough - turn).norm() > 0.1
    close(refine(x, y, rough, rounds=30), turn, 1e-6)
    far = -turn
    assert (refine(x, y, far, rounds=30) - turn).norm() > 1
    close(refine(x, y, rough, rounds=0), rough)
    once = refine(x, y, rough, rounds=1)
    table = F.normalize(x @ rough, dim=1) @ F.normalize(y, dim=1).mT
    rows = [i for i in range(300) if table[:, table[i].argmax()].argmax() == i]
    close(once, procrustes(x[rows], y[table[rows].argmax(1)]))


def test_refine_keeps_the_map_where_hardly_any_choose_one_another():
    x, y = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[3.0, 0.0], [4.0, 0.0]])
    close(refine(x, y, torch.eye(2)), torch.eye(2))


# The gap --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "others", "width"), [(7, 5, 3), (4, 9, 2), (12, 12, 6)])
def test_gap_is_its_formula(rows, others, width):
    image, text = torch.randn(rows, width) * 4 + 1, torch.randn(others, width)
    means = [
        np.mean([row / np.linalg.norm(row) for row in side.numpy()], 0) for side in (image, text)
    ]
    close(gap_vector(image, text), torch.tensor(means[0] - means[1]))
    assert modality_gap(image, text) == pytest.approx(np.linalg.norm(means[0] - means[1]))
    assert modality_gap(5 * image, text) == pytest.approx(modality_gap(image, text))
    turn = rotation(width)
    assert modality_gap(image @ turn, text @ turn) == pytest.approx(modality_gap(image, text))


def test_largest_and_smallest_gap():
    ones = torch.ones(3, 4)
    assert modality_gap(ones, -2 * ones) == pytest.approx(2)
    assert modality_gap(ones, 7 * ones) == pytest.approx(0)


@pytest.mark.parametrize(("rows", "others", "width"), [(7, 5, 3), (4, 9, 2), (12, 12, 6)])
def test_closing_moves_both_sides_half_of_the_way(rows, others, width):
    image, text = torch.randn(rows, width) + 1, torch.randn(others, width) - 1
    u, v = F.normalize(image, dim=1), F.normalize(text, dim=1)
    gap = u.mean(0) - v.mean(0)
    for share in (0.5, 1.0, -0.3):
        moved = close_gap(image, text, share)
        close(moved[0], F.normalize(u - share * gap / 2, dim=1))
        close(moved[1], F.normalize(v + share * gap / 2, dim=1))
    same = close_gap(image, text, 0.0)
    close(same[0], u)
    close(same[1], v)
    other = torch.randn(width)
    close(close_gap(image, text, 1.0, other)[1], F.normalize(v + other / 2, dim=1))
    assert modality_gap(*close_gap(image, text)) < modality_gap(image, text)
    assert modality_gap(*close_gap(image, text, -0.3)) > modality_gap(image, text)


def test_linear_judge_is_least_squares_on_held_out_rows():
    image, text = torch.randn(41, 5) + 0.4, torch.randn(30, 5)
    u, v = (F.normalize(side, dim=1) for side in (image, text))
    fitted = np.concatenate([u[::2], v[::2]])
    fitted = np.concatenate([fitted, np.ones((len(fitted), 1))], 1)
    extra = np.sqrt(1e-3 * len(fitted)) * np.eye(6)
    sides = np.concatenate([np.ones(21), -np.ones(15), np.zeros(6)])
    weights = np.linalg.lstsq(np.concatenate([fitted, extra]), sides, rcond=None)[0]
    right = [(u[1::2].numpy() @ weights[:5] + weights[5] > 0).mean()]
    right.append((v[1::2].numpy() @ weights[:5] + weights[5] < 0).mean())
    assert linear_judge(image, text) == pytest.approx(np.mean(right))


def test_linear_judge_tells_what_lies_apart_and_guesses_what_does_not():
    torch.manual_seed(1)
    x = torch.randn(4000, 4)
    assert linear_judge(x + 9, x - 9) == 1
    assert linear_judge(x[:2000], x[2000:]) == pytest.approx(0.5, abs=0.05)
    angles = torch.linspace(-0.1, 0.1, 20)
    ahead = torch.stack([angles.cos(), angles.sin()], 1)
    beside = torch.stack(
        [(angles + 1).cos(), (angles + 1).sin() * (-1) ** (torch.arange(20) // 2)], 1
    )
    assert linear_judge(ahead, beside) == 1  # a cut that does not go through zero
    with pytest.raises(ValueError, match="two rows a side"):
        linear_judge(x[:1], x)


@pytest.mark.parametrize("measure", [modality_gap, close_gap, linear_judge, gap_vector])
def test_embeddings_of_two_widths_are_refused(measure):
    with pytest.raises(ValueError, match="image and text must be codes"):
        measure(torch.randn(4, 3), torch.randn(4, 2))


# The argument of the chapter ------------------------------------------------------------------


def test_a_symmetry_fools_every_judge_and_pairs_nothing():
    """A hexagon, turned by a sixth: the same cloud for every judge, and no pair is right."""
    angles = torch.arange(6) * math.pi / 3
    y = torch.stack([angles.cos(), angles.sin()], 1)
    sixth = torch.tensor([[0.5, math.sqrt(0.75)], [-math.sqrt(0.75), 0.5]])
    x = y @ sixth
    close(energy_distance(x, y), torch.tensor(0.0))
    judge = Discriminator(2)
    close(judge_loss(judge, x, y), judge_loss(judge, x[torch.randperm(6)], x))
    assert (torch.cdist(x, y).argmin(1) != torch.arange(6)).all()
    close(procrustes(x[:2], y[:2]), sixth.mT)  # two pairs tell
