"""Text to image: the quantizer, the flow and its sampler, the network, the GPT over codes."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.data.world import DrawnWorld
from mmcourse.text_to_image import (
    Autoencoder,
    CentreReader,
    CodeAutoencoder,
    Denoiser,
    PictureGPT,
    RectifiedFlow,
    TextToImage,
    VectorQuantizer,
    between,
    codebook_use,
    guided,
    shifted,
    straight_through,
    to_images,
    velocity_to,
    world_vocabulary,
)
from mmcourse.text_to_image.autoencoder import cut_into_cells, distance
from mmcourse.text_to_image.captions import MAX_WORDS, NONE, PAD
from mmcourse.text_to_image.denoiser import (
    TimedLayer,
    cut_into_patches,
    join_patches,
    time_features,
)
from mmcourse.vision import to_pixels
from mmcourse.weights import change_config
from tests.helpers import close

pytestmark = pytest.mark.usefixtures("double")
SHAPES = [(7, 3, 5), (2, 11, 4), (1, 1, 2)]  # batch, places, channels


def steady(model, seed=0):
    """The model with weights that are nowhere zero."""
    torch.manual_seed(seed)
    for part in model.parameters():
        nn.init.normal_(part, std=0.2)
    return model.eval()


# The quantizer --------------------------------------------------------------------------------


class PlainQuantizer:
    """Van den Oord et al. 2017, appendix A.1, in loops over NumPy."""

    def __init__(self, codebook, decay, commitment):
        self.codebook = codebook.copy()
        self.counts = np.ones(len(codebook))
        self.sums = codebook.copy()
        self.decay = decay
        self.commitment = commitment

    def nearest(self, vector):
        return min(
            range(len(self.codebook)), key=lambda k: ((vector - self.codebook[k]) ** 2).sum()
        )

    def step(self, vectors):
        chosen = [self.nearest(vector) for vector in vectors]
        for k in range(len(self.codebook)):
            mine = [vector for vector, other in zip(vectors, chosen, strict=True) if other == k]
            self.counts[k] = self.decay * self.counts[k] + (1 - self.decay) * len(mine)
            total = np.sum(mine, 0) if mine else np.zeros(vectors.shape[1])
            self.sums[k] = self.decay * self.sums[k] + (1 - self.decay) * total
            self.codebook[k] = self.sums[k] / self.counts[k]
        loss = self.commitment * ((vectors - self.codebook[chosen]) ** 2).mean()
        return chosen, loss


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decay", [0.2, 0.5, 0.99])
def test_the_quantizer_equals_a_plain_one(shape, decay):
    torch.manual_seed(1)
    ours = VectorQuantizer(6, shape[-1], decay=decay, commitment=0.3)

    plain = PlainQuantizer(ours.codebook.numpy(), decay, 0.3)
    for _ in range(3):
        z = torch.randn(*shape)
        codes, tokens, loss = ours(z)
        chosen, expected = plain.step(z.reshape(-1, shape[-1]).numpy())
        assert tokens.flatten().tolist() == chosen and tokens.shape == shape[:-1]
        close(codes, torch.tensor(plain.codebook[chosen]).view(shape))
        close(loss, torch.tensor(expected))
    close(ours.codebook, torch.tensor(plain.codebook))


def test_straight_through_has_the_value_of_one_and_the_slope_of_the_other():
    z = torch.tensor([0.4, 2.7], requires_grad=True)
    out = straight_through(z, z.round())
    close(out, torch.tensor([0.0, 3.0]))
    (out * torch.tensor([5.0, -2.0])).sum().backward()
    close(z.grad, torch.tensor([5.0, -2.0]))


def test_the_encoder_gets_the_gradient_of_the_codes_and_of_commitment():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(5, 3, commitment=0.25).eval()
    z = torch.randn(4, 3, requires_grad=True)
    weights = torch.randn(4, 3)
    codes, tokens, loss = quantizer(z)
    ((codes * weights).sum() + loss).backward()
    commitment = 0.25 * 2 * (z.detach() - quantizer.codebook[tokens]) / z.numel()
    close(z.grad, weights + commitment)


def test_without_decay_codes_are_the_means_of_the_last_batch():
    quantizer = VectorQuantizer(2, 1, decay=0)
    quantizer.codebook.copy_(torch.tensor([[0.0], [4.0]]))
    quantizer(torch.tensor([[1.0], [-2.0], [3.0]]))
    close(quantizer.codebook, torch.tensor([[-0.5], [3.0]]))


def test_a_code_at_the_limit_is_not_idle():
    quantizer = VectorQuantizer(2, 1, decay=0.5, revive=0.5)
    quantizer.codebook.copy_(torch.tensor([[0.0], [50.0]]))
    quantizer.sums.copy_(quantizer.codebook)
    quantizer(torch.zeros(4, 1))
    assert quantizer.counts[1] == 0.5 and quantizer.codebook[1] == 50
    quantizer(torch.zeros(4, 1))  # a quarter now
    assert quantizer.codebook[1] == 0


def test_what_a_quantizer_is_unless_told_otherwise():
    quantizer = VectorQuantizer(3, 2)
    found = (quantizer.decay, quantizer.commitment, quantizer.revive)
    assert found == (0.99, 0.25, 0)  # nothing is revived


def test_codes_move_in_training_only():
    quantizer = VectorQuantizer(5, 3)
    before = quantizer.codebook.clone()
    quantizer.eval()(torch.randn(9, 3))
    close(quantizer.codebook, before)
    quantizer.train()(torch.randn(9, 3))
    assert not torch.equal(quantizer.codebook, before)
    assert not any(parameter.requires_grad for parameter in quantizer.parameters())


def test_idle_codes_are_put_on_vectors_of_the_batch():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(4, 2, decay=0.5, revive=0.3)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [50.0, 50.0], [60.0, 60.0], [1.0, 1.0]]))
    quantizer.sums.copy_(quantizer.codebook)
    z = torch.tensor([[0.1, 0.0], [0.9, 1.0], [0.2, 0.1]])
    quantizer(z)
    close(quantizer.codebook[1:3], torch.tensor([[50.0, 50.0], [60.0, 60.0]]))  # counts of 0.5
    for _ in range(2):
        quantizer(z)
    assert (torch.cdist(quantizer.codebook, z).min(1).values < 0.6).all()
    asleep = VectorQuantizer(4, 2, decay=0.5)
    asleep.codebook.copy_(torch.tensor([[0.0, 0.0], [50.0, 50.0], [60.0, 60.0], [1.0, 1.0]]))
    asleep.sums.copy_(asleep.codebook)
    for _ in range(3):
        asleep(z)
    assert (asleep.codebook[1:3] > 40).all()


def test_a_code_that_is_never_chosen_stays_where_it_is():
    quantizer = VectorQuantizer(2, 1, decay=0.9)
    quantizer.codebook.copy_(torch.tensor([[0.0], [4.0]]))
    quantizer.sums.copy_(quantizer.codebook)
    for _ in range(400):  # 0.9^400 is nothing
        quantizer(torch.tensor([[0.1], [-0.1], [0.3]]))
    close(quantizer.codebook, torch.tensor([[0.1], [4.0]]), 1e-6)


def test_how_much_of_a_codebook_is_used():
    assert codebook_use(torch.tensor([[0, 1], [2, 3]]), 4) == (1.0, pytest.approx(4))
    assert codebook_use(torch.tensor([2, 2, 2]), 8) == (1 / 8, pytest.approx(1))
    share, perplexity = codebook_use(torch.tensor([0, 0, 0, 1]), 4)
    assert share == 0.5
    assert perplexity == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_what_a_quantizer_refuses():
    with pytest.raises(ValueError, match=r"^a quantizer needs two codes or more .*got 1 codes"):
        VectorQuantizer(1, 3)
    with pytest.raises(ValueError, match="decay from 0 up to 1"):
        VectorQuantizer(4, 3, decay=1.0)
    with pytest.raises(ValueError, match="vectors of 3 numbers in the last axis"):
        VectorQuantizer(4, 3)(torch.randn(2, 3, 8))


# The flow -------------------------------------------------------------------------------------


def gaussian_velocity(mean, spread):
    """The velocity between N(0, 1) and N(mean, spread^2), by hand: E[data - noise | x]."""

    def velocity(x, t, condition=None):
        t = t.view(-1, *[1] * (x.dim() - 1))
        variance = (1 - t) ** 2 + (t * spread) ** 2
        slope = (t * spread**2 - (1 - t)) / variance
        return mean + slope * (x - t * mean)

    return velocity


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_one_point_is_reached_exactly_in_any_number_of_steps(steps):
    flow = RectifiedFlow(gaussian_velocity(3.0, 0.0))
    noise = torch.randn(50, 2)
    path = flow.path(noise, steps=steps)
    assert len(path) == steps + 1
    close(path[-1], torch.full((50, 2), 3.0))
    for step, x in enumerate(path):
        t = step / steps
        close(x, (1 - t) * noise + t * 3.0)


@pytest.mark.parametrize(("mean", "spread"), [(2.0, 0.5), (-1.0, 2.0), (0.0, 1.0)])
def test_the_sampler_solves_a_gaussian(mean, spread):
    """The known solution: x(t) = t m + root((1 - t)^2 + t^2 s^2) x(0)."""
    flow = RectifiedFlow(gaussian_velocity(mean, spread))
    noise = torch.randn(40, 3)
    exact = mean + spread * noise
    errors = [(flow.sample(noise, steps=steps) - exact).abs().max() for steps in (100, 200, 3200)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)  # Euler: half the step, half the gap
    assert errors[2] < 3e-3


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4, 5), (5, 1)])
def test_between_is_a_straight_line(shape):
    noise, data = torch.randn(*shape), torch.randn(*shape)
    t = torch.rand(shape[0])
    found = between(noise, data, t)
    for row in range(shape[0]):
        close(found[row], (1 - t[row]) * noise[row] + t[row] * data[row])
    close(between(noise, data, torch.zeros(shape[0])), noise)
    close(between(noise, data, torch.ones(shape[0])), data)


def test_the_loss_is_the_squared_error_of_the_velocity():
    data, noise, t = torch.randn(6, 3), torch.randn(6, 3), torch.rand(6)
    seen = {}

    def velocity(x, times, condition):
        seen.update(x=x, t=times, condition=condition)
        return 2 * x

    loss = RectifiedFlow(velocity).loss(data, "words", noise, t)
    x = t[:, None] * data + (1 - t[:, None]) * noise
    close(loss, ((2 * x - (data - noise)) ** 2).mean())
    close(seen["x"], x)
    assert seen["condition"] == "words" and seen["t"] is t


def test_times_are_between_0_and_1_and_seldom_near_the_ends():
    torch.manual_seed(0)
    times = []
    flow = RectifiedFlow(lambda x, t, condition: times.append(t) or x)
    flow.loss(torch.zeros(20_000, 1))
    t = times[0]
    close(t.mean(), torch.tensor(0.5), 0.01)
    assert t.min() > 0 and t.max() < 1
    inside = ((t > 0.25) & (t < 0.75)).double().mean()
    assert inside == pytest.approx(math.erf(math.log(3) / math.sqrt(2)), abs=0.02)


@pytest.mark.parametrize("shift", [0.5, 1.0, 6.0])
def test_shifted_times_are_those_of_a_logistic_curve_moved(shift):
    t = torch.linspace(0.01, 0.99, 25)
    close(shifted(t, shift), (t.logit() - math.log(shift)).sigmoid())
    assert shifted(0.0, shift) == 0 and shifted(1.0, shift) == 1


def test_a_shift_moves_the_times_of_training_and_of_the_steps():
    seen = {"loss": [], "path": []}
    part = "loss"

    def velocity(x, t, condition):
        seen[part].append(t.clone())
        return torch.ones_like(x)

    flow = RectifiedFlow(velocity, shift=3.0)
    torch.manual_seed(0)
    flow.loss(torch.zeros(20_000, 1))
    close(seen["loss"][0].median(), torch.tensor(0.25), 0.01)
    part = "path"
    path = flow.path(torch.zeros(1, 1), steps=4)
    times = [0, 0.25 / 2.5, 0.5 / 2, 0.75 / 1.5, 1]
    close(torch.cat(seen["path"]), torch.tensor(times[:-1]))
    close(torch.cat(path).flatten(), torch.tensor(times))  # of velocity 1


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4, 5), (5, 1)])
def test_the_velocity_to_a_point_leads_there(shape):
    data, x, t = torch.randn(*shape), torch.randn(*shape), 0.9 * torch.rand(shape[0])
    left = (1 - t).view(-1, *[1] * (len(shape) - 1))
    close(x + left * velocity_to(data, x, t), data)
    noise = torch.randn(*shape)
    close(velocity_to(data, between(noise, data, t), t), data - noise)
    end = torch.ones(shape[0])
    close(velocity_to(data, x, end), (data - x) / 0.05)  # finite at the end


def test_the_true_velocity_has_the_least_loss():
    torch.manual_seed(0)
    data = 2 + 0.5 * torch.randn(40_000, 1)
    noise, t = torch.randn_like(data), torch.rand(len(data))
    losses = {}
    for mean, spread in ((2.0, 0.5), (1.7, 0.5), (2.0, 0.8)):
        flow = RectifiedFlow(gaussian_velocity(mean, spread))
        losses[mean, spread] = flow.loss(data, None, noise, t)
    assert min(losses, key=losses.get) == (2.0, 0.5)


# Guidance -------------------------------------------------------------------------------------


def test_guidance_by_hand():
    conditional, unconditional = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0])
    close(guided(conditional, unconditional, 3), torch.tensor([4.0, -2.0]))
    close(guided(conditional, unconditional, 0.5), torch.tensor([1.5, 0.5]))


def counted():
    """A velocity that depends on the condition, and the list of conditions it was asked for."""
    asked = []

    def velocity(x, t, condition):
        asked.append(condition)
        return x * 0.3 + (0.1 if condition is None else condition)

    return velocity, asked


def test_guidance_1_is_conditional_and_0_unconditional_exactly():
    velocity, asked = counted()
    flow = RectifiedFlow(velocity)
    noise = torch.randn(5, 2)
    alone = RectifiedFlow(lambda x, t, condition: velocity(x, t, 0.7)).sample(noise, None, 4)
    free = flow.sample(noise, None, 4)
    asked.clear()
    assert torch.equal(flow.sample(noise, 0.7, 4, guidance=1), alone)
    assert asked == [0.7] * 4
    asked.clear()
    assert torch.equal(flow.sample(noise, 0.7, 4, guidance=0), free)
    assert asked == [None] * 4
    asked.clear()
    more = flow.sample(noise, 0.7, 4, guidance=2.5)
    assert asked == [0.7, None] * 4
    assert (more > alone).all()


def test_without_a_condition_guidance_does_nothing():
    velocity, asked = counted()
    flow = RectifiedFlow(velocity)
    noise = torch.randn(3, 2)
    close(flow.sample(noise, None, 3, guidance=7.0), flow.sample(noise, None, 3))
    assert asked == [None] * 6  # one pass for each step


def test_twenty_steps_and_no_guidance_unless_asked():
    velocity, asked = counted()
    flow = RectifiedFlow(velocity)
    noise = torch.randn(3, 2)
    found = flow.sample(noise, 0.7)
    assert asked == [0.7] * 20
    close(found, flow.path(noise, 0.7, steps=20, guidance=1)[-1])


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least one step, got 0"):
        RectifiedFlow(gaussian_velocity(0, 1)).path(torch.zeros(1, 1), steps=0)


# The network ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "width", "heads"), [(5, 8, 2), (9, 12, 3), (2, 4, 1)])
def test_a_timed_layer_by_hand(words, width, heads):
    torch.manual_seed(0)
    layer = steady(TimedLayer(width, heads))
    x, time = torch.randn(3, words, width), torch.randn(3, 6, width)
    found = layer(x, time)
    s1, c1, g1, s2, c2, g2 = ((layer.table + time)[:, k : k + 1] for k in range(6))
    seen = F.layer_norm(x, (width,)) * (1 + c1) + s1
    middle = x + g1 * layer.attention(seen)
    seen = F.layer_norm(middle, (width,)) * (1 + c2) + s2
    close(found, middle + g2 * layer.feed_forward(seen))


def small_denoiser(**changes):
    options = {"words": 12, "channels": 3, "side": 4, "width": 8, "layers": 2, "heads": 2}
    return steady(Denoiser(**(options | changes)))


def test_a_fresh_denoiser_says_zero_and_has_the_shape_of_the_latents():
    fresh = Denoiser(12, 3, 4, 2, 8, 2, 2)
    out = fresh(torch.randn(5, 3, 4, 4), torch.rand(5), torch.ones(5, 6, dtype=torch.long))
    assert out.shape == (5, 3, 4, 4) and (out == 0).all()


@pytest.mark.parametrize(("patch", "side", "channels"), [(2, 4, 3), (3, 6, 2), (1, 2, 5)])
def test_the_network_step_by_step(patch, side, channels):
    model = small_denoiser(patch=patch, side=side, channels=channels)
    latents, t = torch.randn(2, channels, side, side), torch.rand(2)
    ids = torch.tensor([[2, 5, 7], [3, 4, 4]])
    words = model.word_embedding.weight[ids]
    time = model.summary(t, words, torch.ones(2, 3, dtype=torch.bool))
    patches = model.patch_projection(cut_into_patches(latents, patch)) + model.patch_positions
    x = torch.cat([words + model.word_positions[:, :3], patches], 1)
    for layer in model.layers:
        x = layer(x, time)
    close(model(latents, t, ids), join_patches(model.output(model.norm(x[:, 3:])), patch, side))


def test_what_a_denoiser_is_unless_told_otherwise():
    torch.manual_seed(0)
    model = Denoiser(3000)
    assert model.patch_projection.weight.shape == (192, 48 * 2 * 2)
    assert model.output.weight.shape == (48 * 2 * 2, 192)
    assert model.patch_positions.shape == (1, 4 * 4, 192) and model.side == 8
    assert model.word_positions.shape == (1, 24, 192)
    assert [layer.attention.heads for layer in model.layers] == [4] * 6
    close(model.word_embedding.weight.std(), torch.tensor(0.5), 0.01)
    close(model.word_positions.std(), torch.tensor(0.02), 0.002)
    tables = torch.stack([layer.table for layer in model.layers])
    close(tables.std(), torch.tensor(1 / 192**0.5), 0.01)


def test_padding_and_the_other_rows_change_nothing():
    model = small_denoiser()
    x, t = torch.randn(3, 3, 4, 4), torch.rand(3)
    ids = torch.tensor([[2, 5, 7], [3, 3, 4], [9, 2, 2]])
    found = model(x, t, ids)
    padded = torch.cat([ids, torch.full((3, 2), PAD)], 1)
    close(model(x, t, padded), found)
    for row in range(3):
        close(model(x[row : row + 1], t[row : row + 1], ids[row : row + 1])[0], found[row])
    order = torch.tensor([2, 0, 1])
    close(model(x[order], t[order], ids[order]), found[order])


def test_words_their_order_the_time_and_every_cell_count():
    model = small_denoiser()
    x, t, ids = torch.randn(1, 3, 4, 4), torch.tensor([0.3]), torch.tensor([[2, 5, 7]])
    found = model(x, t, ids)
    for other in (
        model(x, t, torch.tensor([[2, 5, 8]])),
        model(x, t, torch.tensor([[5, 2, 7]])),
        model(x, t + 0.2, ids),
    ):
        assert (other - found).abs().max() > 1e-4
    moved = x.clone()
    moved[0, 0, 3, 1] += 1
    assert ((model(moved, t, ids) - found).abs().amax(1) > 1e-9).all()


@pytest.mark.parametrize(("channels", "patch", "side"), [(3, 2, 4), (1, 3, 9), (5, 1, 2)])
def test_patches_are_cut_row_by_row_and_joined_again(channels, patch, side):
    latents = torch.randn(2, channels, side, side)
    patches = cut_into_patches(latents, patch)
    many = side // patch
    assert patches.shape == (2, many**2, channels * patch**2)
    for row in range(many):
        for column in range(many):
            part = latents[:, :, row * patch : (row + 1) * patch, column * patch :][..., :patch]
            close(patches[:, row * many + column], part.flatten(1))
    close(join_patches(patches, patch, side), latents)


def test_a_patch_has_its_position():
    model = small_denoiser(layers=0)
    x = torch.randn(2, 3, 4, 4)
    found = model(x, torch.rand(2), torch.tensor([[2], [3]]))
    position = model.patch_positions[0, 2]  # second row, first column
    patch = x[1, :, 2:, :2].reshape(-1)
    said = model.output(model.norm(model.patch_projection(patch) + position))
    close(found[1, :, 2:, :2], said.view(3, 2, 2))


def test_the_norms_are_told_the_time_and_all_words_but_no_padding():
    model = small_denoiser()
    words, t = torch.randn(2, 3, 8), torch.tensor([0.2, 0.7])
    real = torch.tensor([[True, True, False], [True, True, True]])
    found = model.summary(t, words, real)
    pooled = torch.stack([words[0, :2].sum(0) / 2**0.5, words[1].sum(0) / 3**0.5])
    vector = model.time_vector(time_features(t)) + model.caption_vector(pooled)
    close(found, model.layer_parts(vector).view(2, 6, 8))


def test_the_model_follows_the_network_to_its_guess():
    model = steady(TextToImage(world_vocabulary(), 3, 24, width=8, layers=1, heads=2))
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 0.6])
    ids = model.tokenize(["a dog", "two red cars"])
    data = x + (1 - t)[:, None, None, None] * model.velocity(x, t, ids)
    close(data, model.denoiser(x, t, ids))
    none = torch.full((2, 1), NONE)
    close(model.velocity(x, t, None), model.velocity(x, t, none))
    assert model.flow.shift > 1


def test_times_are_told_apart():
    features = time_features(torch.tensor([0.0, 0.5, 0.501]), 4)
    assert features.shape == (3, 8)
    close(features[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    assert time_features(torch.tensor([0.5]).float()).dtype == torch.float32
    close(features[1, 0], torch.tensor(math.sin(0.5)))
    close(features[1, 3], torch.tensor(math.sin(500)))
    assert (features[2] - features[1]).abs().max() > 0.5


# The autoencoders -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures():
    world = DrawnWorld("val")
    return np.stack([world[index].image for index in range(24)])


def test_cells_are_principal_components(pictures):
    weights = torch.rand(24, 64) + 0.1
    model = Autoencoder(10, 24).fit_cells(pictures, weights)
    cells = cut_into_cells(to_pixels(pictures).double()).reshape(-1, 192)
    rooted = weights.flatten().sqrt()[:, None] * cells
    _, sizes, directions = torch.linalg.svd(rooted, full_matrices=False)  # an independent way
    kept = directions[:10]  # (C, 192)
    pixels = to_pixels(pictures).double()
    back = cut_into_cells(model.decode(model.encode(pixels))).reshape(-1, 192)
    close(back, cells @ kept.T @ kept, 1e-4)
    latents = model.encode(pixels).movedim(1, -1).reshape(-1, 10)
    square = (weights.flatten()[:, None] * latents.square()).sum(0) / weights.sum()
    spread = sizes[:10] / weights.sum().sqrt()
    close(square / square.sum(), spread / spread.sum(), 1e-4)
    close(square.mean(), torch.tensor(1.0), 1e-4)


def test_all_components_give_the_picture_back(pictures):
    model = Autoencoder(192, 24).fit_cells(pictures, torch.ones(24, 64)).eval()
    found = to_images(model(to_pixels(pictures).double())).numpy()
    assert np.abs(found.astype(int) - pictures).max() <= 1


def test_the_weighted_error():
    found, pixels = torch.randn(2, 3, 16, 8), torch.randn(2, 3, 16, 8)
    weights = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
    total = 0.0
    for row, cell, weight in ((0, 0, 1.0), (1, 0, 0.5), (1, 1, 2.0)):
        gap = (found - pixels)[row, :, 8 * cell : 8 * cell + 8]
        total += weight * (gap.abs() + gap**2).mean()
    close(distance(found, pixels, weights), total / 3.5)


def test_noise_on_the_latents_in_training_only(pictures):
    pixels = to_pixels(pictures[:2]).double()
    model = steady(Autoencoder(6, 24, noise=0.5))
    close(model(pixels), model.decode(model.encode(pixels)))
    assert not torch.equal(model.train()(pixels), model(pixels))


def test_the_noise_is_gaussian_and_as_strong_as_asked():
    torch.manual_seed(0)
    model = Autoencoder(6, 24, noise=0.5)
    model.decoder = nn.Identity()
    pixels = torch.randn(400, 3, 16, 16)
    noise = model(pixels) - model.encode(pixels)
    close(noise.mean(), torch.tensor(0.0), 0.03)
    close(noise.std(), torch.tensor(0.5), 0.03)
    assert noise.abs().max() < 0.5 * 6


def test_the_loss_is_the_distance_of_what_comes_back(pictures):
    images = torch.from_numpy(pictures[:3])
    weights = torch.rand(3, 64).float()
    model = steady(Autoencoder(6, 24)).float()
    pixels = to_pixels(images)
    close(model.loss(images, weights), distance(model(pixels), pixels, weights), 0)


def test_only_the_decoder_of_the_linear_cells_is_trained():
    model = Autoencoder(6, 24)
    free = {name.split(".")[0] for name, part in model.named_parameters() if part.requires_grad}
    assert free == {"decoder"}


def test_what_autoencoders_are_unless_told_otherwise():
    model = Autoencoder()
    assert (len(model.encoder.weight), model.decoder.correction[0].out_channels) == (48, 96)
    assert model.noise == 0.1
    codes = CodeAutoencoder()
    assert codes.quantizer.codebook.shape == (512, 16)
    assert codes.encoder[0].out_channels == 48
    assert CodeAutoencoder(4, 4, 24, {"decay": 0.5}).quantizer.decay == 0.5
    assert not list(codes.encoder[-1].parameters())  # a norm that only normalises


@pytest.mark.parametrize(
    ("model", "sizes"),
    [(Autoencoder(6, 24), ("channels", "width")),
     (CodeAutoencoder(7, 4, 24), ("codes", "channels", "width")),
     (CentreReader(16, 1), ("width",)),
     (TextToImage(["a"], 6, 24, 16, 1, 2), ("channels", "autoencoder_width", "width")),
     (PictureGPT(["a"], 9, 4, 24, 16, 1, 2), ("codes",))],
)  # fmt: skip
def test_weights_of_another_size_are_refused_by_name(model, sizes, tmp_path):
    model.float().save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    for name in sizes:
        right = json.loads((tmp_path / "config.json").read_text())[name]
        change_config(tmp_path, **{name: right + 1})
        with pytest.raises(
            ValueError, match=f"^config.json says {name} {right + 1}, .* with {right}:"
        ):
            type(model).from_pretrained(tmp_path)
        change_config(tmp_path, **{name: right})


@pytest.mark.parametrize("shape", [(2, 3, 64, 60), (2, 3, 60, 64), (2, 1, 64, 64), (3, 64, 64)])
def test_other_pictures_are_refused(shape):
    for model in (Autoencoder(4, 24), CodeAutoencoder(4, 4, 24)):
        with pytest.raises(ValueError, match="sides that are multiples of 8"):
            (model.encode if hasattr(model, "encode") else model.tokens)(torch.zeros(shape))


def test_pictures_as_tokens_and_back(pictures):
    model = steady(CodeAutoencoder(7, 4, 24))
    pixels = to_pixels(pictures[:3]).double()
    tokens = model.tokens(pixels)
    assert tokens.shape == (3, 8, 8) and int(tokens.max()) < 7
    found, same, commitment = model(pixels)
    assert torch.equal(tokens, same) and commitment > 0
    close(model.decode(tokens), found)
    images = torch.from_numpy(pictures[:3])
    weights = torch.rand(3, 64)
    single = model.float().loss(images, weights.float())
    close(single.double(), distance(found, pixels, weights) + commitment, 1e-5)


def test_values_outside_are_cut():
    pixels = torch.tensor([-3.0, -1.0, 0.0, 1.0, 9.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_images(pixels)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


# The models -----------------------------------------------------------------------------------


@pytest.fixture
def drawer(double):
    torch.set_default_dtype(torch.float32)
    return steady(TextToImage(world_vocabulary(), 6, 24, width=16, layers=1, heads=2))


CAPTIONS = ["two red cars in the snow", "a dog to the left of a blue owl at night"]


def test_a_picture_depends_on_its_seed_and_words_alone(drawer):
    first, second = drawer.draw(CAPTIONS, seed=3, steps=2)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert np.abs(drawer.draw(CAPTIONS[0], seed=3, steps=2).astype(int) - first).max() <= 1
    assert np.abs(drawer.draw(CAPTIONS[1], seed=4, steps=2).astype(int) - second).max() <= 1
    assert (drawer.draw(CAPTIONS[0], seed=4, steps=2) != first).any()
    assert drawer.draw([]) == []


def test_the_steps_end_in_the_picture(drawer):
    steps = drawer.steps_of(CAPTIONS[0], seed=1, steps=3)
    assert steps.shape == (4, 64, 64, 3)
    assert (steps[-1] == drawer.draw(CAPTIONS[0], seed=1, steps=3)).all()


def test_guidance_0_ignores_the_words(drawer):
    free = [drawer.draw(text, seed=1, steps=2, guidance=0) for text in CAPTIONS]
    assert (free[0] == free[1]).all()
    led = [drawer.draw(text, seed=1, steps=2, guidance=1) for text in CAPTIONS]
    assert (led[0] != led[1]).any()


def test_one_caption_in_ten_is_dropped(drawer, monkeypatch):
    seen = []
    monkeypatch.setattr(drawer.flow, "loss", lambda *parts: seen.extend(parts))
    ids = drawer.tokenize(CAPTIONS)[:1].repeat(4000, 1)
    torch.manual_seed(0)
    latents = torch.randn(4000, 6, 1, 1)
    drawer.loss(latents, ids)
    assert seen[0] is latents
    seen = seen[1:]
    dropped = seen[0][:, 0] == NONE
    assert dropped.double().mean() == pytest.approx(0.1, abs=0.02)
    assert (seen[0][dropped][:, 1:] == PAD).all()
    assert torch.equal(seen[0][~dropped], ids[~dropped])
    assert (ids[:, 0] != NONE).all()


def test_a_caption_as_ids(drawer):
    ids = drawer.tokenize(["a dog", "Two Cats, in winter."])
    words = [[drawer.words[number] for number in row] for row in ids.tolist()]
    assert words[0] == ["a", "dog", *["<pad>"] * 3]
    assert words[1] == ["two", "cats", ",", "in", "winter"]


def test_what_a_model_is_unless_told_otherwise():
    model = TextToImage(["a", "dog"])
    assert len(model.autoencoder.encoder.weight) == 48 and model.shape == (48, 8, 8)
    assert model.autoencoder.decoder.correction[0].out_channels == 96
    assert model.denoiser.word_embedding.weight.shape == (len(model.words), 192)
    assert model.denoiser.word_positions.shape == (1, MAX_WORDS, 192)
    assert [layer.attention.heads for layer in model.denoiser.layers] == [4] * 6


def test_saved_and_loaded(drawer, tmp_path):
    drawer.save_pretrained(tmp_path)
    again = TextToImage.from_pretrained(tmp_path)
    assert (again.draw(CAPTIONS[0], steps=1) == drawer.draw(CAPTIONS[0], steps=1)).all()
    change_config(tmp_path, vocabulary=drawer.words)
    with pytest.raises(ValueError, match="^config.json says vocabulary"):
        TextToImage.from_pretrained(tmp_path)


# The GPT --------------------------------------------------------------------------------------


@pytest.fixture
def gpt(double):
    model = PictureGPT(
        world_vocabulary(), codes=9, channels=4, autoencoder_width=24, width=16, layers=2, heads=2
    )
    return steady(model)


def test_words_stand_before_codes(gpt):
    words = gpt.tokenize(CAPTIONS)
    assert words.shape == (2, MAX_WORDS)
    assert [gpt.words[number] for number in words[0, -6:]] == CAPTIONS[0].split()
    assert (words[0, :-6] == PAD).all()
    codes = torch.randint(9, (2, 64))
    ids, mask = gpt.join(words, codes)
    assert torch.equal(ids[:, MAX_WORDS:], codes + len(gpt.words))
    assert torch.equal(mask, ids != PAD)


def test_the_gpts_loss_is_one_part_text_and_seven_parts_picture(gpt):
    torch.manual_seed(0)
    words, codes = gpt.tokenize(CAPTIONS), torch.randint(9, (2, 64))
    ids, _ = gpt.join(words, codes)
    text, picture = [], []
    for row, caption in enumerate(CAPTIONS):
        count = len(caption.split())
        own = ids[row, MAX_WORDS - count :][None]  # without padding
        log_probs = gpt.gpt(own).log_softmax(-1)[0, :-1]
        gained = -log_probs[range(own.shape[1] - 1), own[0, 1:]]
        text.append(gained[: count - 1])
        picture.append(gained[count - 1 :])
    expected = torch.cat(text).mean() / 8 + 7 / 8 * torch.cat(picture).mean()
    close(gpt.loss(words, codes), expected)


def test_what_is_written_is_what_is_probable(gpt):
    codes = gpt.write(CAPTIONS, top_k=1)
    assert codes.shape == (2, 64) and int(codes.max()) < 9
    words = gpt.tokenize(CAPTIONS)
    ids, mask = gpt.join(words, codes)
    logits = gpt.gpt(ids, mask)[:, MAX_WORDS - 1 : -1, len(gpt.words) :]
    assert torch.equal(logits.argmax(-1), codes)
    assert torch.equal(gpt.write(CAPTIONS, seed=5), gpt.write(CAPTIONS, seed=5))
    assert not torch.equal(gpt.write(CAPTIONS, seed=5), gpt.write(CAPTIONS, seed=6))


def test_what_a_gpt_over_codes_is_unless_told_otherwise():
    model = PictureGPT(["a", "dog"])
    assert model.autoencoder.quantizer.codebook.shape == (512, 16)
    assert model.autoencoder.encoder[0].out_channels == 48
    assert model.gpt.embedding.weight.shape == (len(model.words) + 512, 144)
    assert [layer.attention.heads for layer in model.gpt.layers] == [4] * 5
    small = PictureGPT(["a", "dog"], 9, 4, 24, 16, 1, 2)
    assert small.autoencoder.quantizer.codebook.shape == (9, 4)
    assert small.autoencoder.encoder[0].out_channels == 24


def test_the_gpt_draws(gpt, tmp_path):
    images = gpt.float().draw(CAPTIONS, top_k=1)
    torch.set_default_dtype(torch.float32)
    assert len(images) == 2 and images[0].shape == (64, 64, 3)
    gpt.save_pretrained(tmp_path)
    again = PictureGPT.from_pretrained(tmp_path).draw(CAPTIONS[0], top_k=1)
    assert again.shape == (64, 64, 3)
