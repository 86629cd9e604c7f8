"""Video: tubelets, encoders and costs against other implementations, and what must not matter."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmcourse.data.clips import EVENTS, NOUNS, MovingScenes, as_gif
from mmcourse.transformer import Encoder, EncoderLayer
from mmcourse.video import (
    ENCODERS,
    ClipReader,
    DividedLayer,
    FrameStem,
    Scores,
    TubeletEmbedding,
    all_facts,
    attention_cost,
    backwards,
    best_facts,
    caption_scores,
    count_multiplications,
    cut_tubelets,
    encoder_cost,
    knows_direction,
    log_probability,
    one_frame,
    read_clip,
    reads_rightly,
    sample_frames,
    shuffled,
    targets_of,
    to_clips,
    weights_of_frames,
    without_frame,
)
from tests.helpers import close, randomise, some

SHAPES = [(2, 6, 3, 8, 12, (2, 4, 4)), (1, 3, 5, 6, 9, (1, 3, 3)), (3, 4, 1, 10, 5, (4, 2, 5))]


# Tubelets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("B", "F", "C", "H", "W", "tube"), SHAPES)
def test_tubelets_are_a_three_dimensional_convolution(B, F, C, H, W, tube):
    ours = randomise(TubeletEmbedding(C, tube, 7)).double()
    theirs = nn.Conv3d(C, 7, tube, stride=tube).double()
    with torch.no_grad():
        theirs.weight.copy_(ours.projection.weight.view_as(theirs.weight))
        theirs.bias.copy_(ours.projection.bias)
    clips = torch.randn(B, F, C, H, W).double()
    grid = theirs(clips.transpose(1, 2))  # (B, D, T, rows, columns)
    close(ours(clips), grid.flatten(3).permute(0, 2, 3, 1))


@pytest.mark.parametrize(("B", "F", "C", "H", "W", "tube"), SHAPES)
def test_tubelets_by_loops(B, F, C, H, W, tube):
    clips = torch.randn(B, F, C, H, W)
    t, h, w = tube
    found = cut_tubelets(clips, tube)
    for step in range(F // t):
        for row in range(H // h):
            for column in range(W // w):
                block = clips[
                    :,
                    step * t : (step + 1) * t,
                    :,
                    row * h : (row + 1) * h,
                    column * w : (column + 1) * w,
                ]
                expected = block.transpose(1, 2).flatten(1)
                assert torch.equal(found[:, step, row * (W // w) + column], expected)


def test_embedding_equals_vivit():
    from transformers import VivitConfig
    from transformers.models.vivit.modeling_vivit import VivitTubeletEmbeddings

    for frames, size, tube, width in (
        (4, 8, (2, 4, 4), 6),
        (3, 9, (3, 3, 3), 5),
        (2, 4, (1, 2, 2), 9),
    ):
        config = VivitConfig(
            image_size=size, num_frames=frames, tubelet_size=list(tube), hidden_size=width
        )
        theirs = VivitTubeletEmbeddings(config).double()
        ours = TubeletEmbedding(3, tube, width).double()
        with torch.no_grad():
            ours.projection.weight.copy_(theirs.projection.weight.flatten(1))
            ours.projection.bias.copy_(theirs.projection.bias)
        clips = torch.randn(2, frames, 3, size, size).double()
        close(ours(clips).flatten(1, 2), theirs(clips))


def test_a_tubelet_must_divide_the_clip():
    with pytest.raises(
        ValueError, match="2 frames and 4 x 4 pixels must divide.*5 frames of 8 x 8"
    ):
        cut_tubelets(torch.zeros(1, 5, 3, 8, 8), (2, 4, 4))


def test_pixels_from_minus_one_to_one():
    clips = np.array([0, 255, 51], np.uint8).reshape(1, 1, 1, 1, 3)
    assert to_clips(clips).flatten().tolist() == pytest.approx([-1, 1, -0.6])
    order = np.arange(2 * 3 * 4 * 5 * 3).astype(np.uint8).reshape(2, 3, 4, 5, 3)
    assert to_clips(order).shape == (2, 3, 3, 4, 5)
    assert (to_clips(order)[1, 2, :, 3, 4] * 127.5 + 127.5).round().tolist() == order[
        1, 2, 3, 4
    ].tolist()


def test_clips_that_cannot_be_one_batch():
    small, large = np.zeros((8, 32, 32, 3), np.uint8), np.zeros((8, 48, 48, 3), np.uint8)
    with pytest.raises(ValueError, match=r"must have one size, got \(8, 32, 32, 3\) and \(8, 48"):
        to_clips([small, large])
    with pytest.raises(ValueError, match=r"must be \(B, F, H, W, 3\).*clip\[None\]"):
        to_clips(small)
    with pytest.raises(TypeError, match="uint8"):
        to_clips(small[None].astype(float))


def test_the_stem_sees_what_moves_and_no_order():
    stem = randomise(FrameStem(8)).eval()
    clips = torch.randn(2, 5, 3, 8, 8)
    order = torch.randperm(5)
    torch.testing.assert_close(stem(clips)[:, order], stem(clips[:, order]), atol=1e-5, rtol=1e-5)
    assert stem(clips).shape == (2, 5, 8, 2, 2)
    brighter = clips.clone()
    brighter[:, 0] += 1  # changes the mean, and so the other frames
    assert not torch.allclose(stem(brighter)[:, 1], stem(clips)[:, 1])


def test_the_stem_sees_no_ground_that_stands_still():
    stem = FrameStem(8)
    seen = []
    stem.layers[0].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    clips = torch.randn(2, 1, 3, 8, 8).repeat(1, 5, 1, 1, 1)
    clips[:, 2, :, :4] += 1
    stem(clips)
    frames, moved = seen[0].unflatten(0, (2, 5)).split(3, 2)
    assert torch.equal(frames, clips)
    close(moved[:, :, :, 4:], torch.zeros(2, 5, 3, 4, 8), 1e-6)
    close(moved[:, 2, :, :4], torch.full((2, 3, 4, 8), 0.8), 1e-6)


# Encoders --------------------------------------------------------------------------------------


def by_loops(layer, x):
    """A divided layer, one step and one cell at a time, by PyTorch's attention."""

    def attend(attention, row):
        theirs = nn.MultiheadAttention(x.shape[-1], attention.heads, batch_first=True).double()
        parts = (attention.query, attention.key, attention.value)
        with torch.no_grad():
            theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.load_state_dict(attention.output.state_dict())
        return theirs(row, row, row)[0]

    x = x.clone()
    seen = layer.space_norm(x)
    for step in range(x.shape[1]):
        x[:, step] = x[:, step] + attend(layer.space, seen[:, step])
    seen = layer.time_norm(x)
    for cell in range(x.shape[2]):
        x[:, :, cell] = x[:, :, cell] + attend(layer.time, seen[:, :, cell])
    return x + layer.feed_forward(layer.norm(x))


@pytest.mark.parametrize(
    ("B", "T", "N", "D", "H"), [(2, 5, 3, 12, 3), (1, 1, 7, 4, 1), (3, 4, 1, 10, 5)]
)
def test_divided_attention_is_a_loop_and_a_mask(B, T, N, D, H):
    layer = randomise(DividedLayer(D, H)).double().eval()
    x = torch.randn(B, T, N, D).double()
    with torch.no_grad():
        found = layer(x)
        close(found, by_loops(layer, x))
        row = x.flatten(1, 2)
        step, cell = torch.arange(T).repeat_interleave(N), torch.arange(N).repeat(T)
        row = row + layer.space(layer.space_norm(row), mask=step[:, None] == step)
        row = row + layer.time(layer.time_norm(row), mask=cell[:, None] == cell)
        row = row + layer.feed_forward(layer.norm(row))
    close(found.flatten(1, 2), row)


def test_divided_layers_have_the_parameters_of_an_encoder_layer():
    def size(module):
        return sum(p.numel() for p in module.parameters())

    divided, joint = size(DividedLayer(64, 4)), size(EncoderLayer(64, 4))
    assert abs(divided - joint) / joint < 0.01


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(("T", "N", "D", "H"), [(5, 4, 12, 3), (3, 7, 8, 1), (6, 1, 10, 5)])
def test_steps_of_padding_do_not_matter(kind, T, N, D, H):
    encoder = randomise(ENCODERS[kind](T, N, D, 2, H)).double().eval()
    x = torch.randn(2, T, N, D).double()
    mask = torch.ones(2, T, dtype=torch.bool)
    mask[:, T - 2 :] = False
    other = torch.where(mask[:, :, None, None], x, torch.randn_like(x))
    with torch.no_grad():
        found, changed = encoder(x, mask), encoder(other, mask)
        short = encoder(x[:, : T - 2])
        close(encoder(x, torch.ones_like(mask)), encoder(x))
        close(encoder(x)[:1], encoder(x[:1]))  # the batch does not matter
    real = 1 if kind == "bag" else T - 2
    close(found[:, :real], changed[:, :real])
    close(found[:, :real], short)


@pytest.mark.parametrize("kind", ENCODERS)
def test_each_clip_of_a_batch_has_its_own_mask(kind):
    encoder = randomise(ENCODERS[kind](5, 4, 12, 2, 3)).double().eval()
    x = torch.randn(3, 5, 4, 12).double()
    mask = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    with torch.no_grad():
        found = encoder(x, mask)
        for row, length in enumerate((5, 2, 3)):
            alone = encoder(x[row : row + 1, :length])
            close(found[row : row + 1, : alone.shape[1]], alone)


def test_only_a_bag_does_not_see_the_order():
    order = torch.tensor([3, 0, 4, 1, 2])
    x = torch.randn(2, 5, 4, 12).double()
    for kind, encoder in ENCODERS.items():
        made = randomise(encoder(5, 4, 12, 2, 3)).double().eval()
        with torch.no_grad():
            pooled = made(x).mean((1, 2))
            mixed = made(x[:, order]).mean((1, 2))
        same = torch.allclose(pooled, mixed, atol=1e-10)
        assert same == (kind == "bag"), kind


def test_the_joint_encoder_is_an_encoder_of_all_tokens():
    encoder = randomise(ENCODERS["joint"](3, 4, 8, 2, 2)).double().eval()
    plain = Encoder(2, 8, 2).double().eval()
    plain.load_state_dict(encoder.encoder.state_dict())
    x = torch.randn(2, 3, 4, 8).double()
    row = (x + encoder.positions.space + encoder.positions.time).reshape(2, 12, 8)
    close(encoder(x).reshape(2, 12, 8), plain(row))


def test_the_factorised_encoder_by_parts():
    encoder = randomise(ENCODERS["factorised"](3, 4, 8, 2, 2)).double().eval()
    x = torch.randn(2, 3, 4, 8).double()
    vectors = [encoder.space(x[:, step] + encoder.positions.space).mean(1) for step in range(3)]
    close(encoder(x)[:, :, 0], encoder.time(torch.stack(vectors, 1) + encoder.times))


# The reader --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips():
    data = MovingScenes("val")
    return [data[number] for number in range(12)]


@pytest.fixture(scope="module")
def frames(clips):
    return np.stack([clip.frames for clip in clips])


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_reader_gives_distributions_and_weights(kind, frames):
    torch.manual_seed(0)
    model = randomise(ClipReader(kind, width=12, heads=3)).eval()
    scores = model.read(frames, batch=5)
    sizes = (len(EVENTS), len(NOUNS), len(NOUNS) + 1)
    for part, size in zip(scores[:3], sizes, strict=True):
        assert part.shape == (12, size)
        close(part.exp().sum(1), torch.ones(12), 1e-5)
    steps, cells = {"bag": (1, 16), "factorised": (8, 1)}.get(kind, (8, 16))
    assert scores.weights.shape == (12, 3, steps, cells)
    close(scores.weights.sum((2, 3)), torch.ones(12, 3), 1e-5)
    alone = model.read(frames[7:8])
    torch.testing.assert_close(scores.event[7:8], alone.event, atol=1e-4, rtol=1e-4)


def test_a_bag_says_the_same_of_a_clip_backwards(frames, clips):
    torch.manual_seed(0)
    model = randomise(ClipReader("bag", width=12, heads=3)).eval()
    forwards, turned = model.read(frames), model.read(backwards(frames))
    torch.testing.assert_close(forwards.event, turned.event, atol=1e-4, rtol=1e-4)
    facts = [(clip.event, clip.nouns) for clip in clips]
    opposites = [(one.event, one.nouns) for one in (clip.backwards() for clip in clips)]
    first = knows_direction(forwards, facts)
    second = knows_direction(forwards, opposites)
    assert (first ^ second).all()  # so its score over both is a half


def test_tubelets_of_two_frames(frames):
    model = ClipReader("joint", 2, width=12, heads=3).eval()
    assert model.read(frames[:2]).weights.shape == (2, 3, 4, 16)


def test_the_mean_of_the_stem_is_that_of_the_real_frames(frames):
    stem = FrameStem()
    pixels = to_clips(frames[:2])
    mask = torch.arange(8) < torch.tensor([3, 8])[:, None]
    found = stem(pixels, mask)
    close(found[0, :3], stem(pixels[:1, :3])[0], 1e-5)
    close(found[1], stem(pixels[1:])[0], 1e-5)
    assert stem(pixels, torch.zeros(2, 8, dtype=torch.bool)).isfinite().all()


def test_what_a_reader_refuses():
    with pytest.raises(ValueError, match="unknown encoder 'sum': choose one of bag, factorised"):
        ClipReader("sum")
    model = ClipReader(width=12, heads=3)
    for shape in ((1, 7, 3, 32, 32), (1, 8, 3, 48, 48)):
        with pytest.raises(ValueError, match=r"must be \(B, 8, 3, 32, 32\), got .* read_clip"):
            model(torch.zeros(shape))
    for none in ([], np.zeros((0, 8, 32, 32, 3), np.uint8)):
        with pytest.raises(ValueError, match="there is no clip to read: pass one or more"):
            model.captions(none)


def test_padding_in_the_reader(frames):
    model = randomise(ClipReader("joint", width=12, heads=3)).eval()
    mask = torch.ones(2, 8, dtype=torch.bool)
    pixels = to_clips(frames[:2])
    close(model(pixels, mask).event, model(pixels).event, 1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("long", [1, 2])
def test_steps_that_are_hidden_do_not_matter_to_the_reader(kind, long, frames):
    model = randomise(ClipReader(kind, long, width=12, heads=3)).eval()
    mask = torch.ones(2, 8 // long, dtype=torch.bool)
    mask[0, 4 // long :] = False
    mask[1, 6 // long :] = False
    pixels = to_clips(frames[:2])
    other = pixels.clone()
    other[0, 4:] = -other[0, 4:] + 1
    other[1, 6:] = -other[1, 6:] + 1
    found, changed = model(pixels, mask), model(other, mask)
    close(found.event, changed.event, 1e-5)
    assert not torch.allclose(model(pixels).event, model(other).event, atol=1e-4)


def test_weights_are_means_over_heads_and_sum_to_one_over_frames(frames):
    for long in (1, 2):
        model = randomise(ClipReader("joint", long, width=12, heads=3)).eval()
        scores = model.read(frames[:2])
        weights = weights_of_frames(scores, 8)
        assert weights.shape == (2, 3, 8)
        close(weights.sum(2), torch.ones(2, 3), 1e-5)
        for frame in range(8):
            close(weights[:, :, frame] * long, scores.weights[:, :, frame // long].sum(-1), 1e-6)
    kept = []
    model.readout.register_forward_hook(lambda layer, inputs, output: kept.append(output[1]))
    scores = model.read(frames[:2])
    close(scores.weights.flatten(2), kept[0].mean(1), 1e-6)


def test_saved_and_loaded(tmp_path, frames):
    model = randomise(ClipReader("divided", width=12, heads=3)).eval()
    model.save_pretrained(tmp_path)
    again = ClipReader.from_pretrained(tmp_path)
    close(again.read(frames[:2]).event, model.read(frames[:2]).event, 1e-6)


# What it says ------------------------------------------------------------------------------------


def sure(*facts):
    """Scores that are certain of facts."""
    rows = [targets_of(*fact) for fact in facts]
    parts = []
    for place, size in enumerate((len(EVENTS), len(NOUNS), len(NOUNS) + 1)):
        table = torch.full((len(facts), size), -5.0)
        for number, row in enumerate(rows):
            table[number, row[place]] = -0.1 * (place + 1)
        parts.append(table)
    return Scores(*parts, None)


def test_caption_scores_by_hand():
    fact = ("blink", ("fish", "apple"))
    scores = sure(fact)
    assert log_probability(scores, [fact]).item() == pytest.approx(-0.6)
    table = caption_scores(scores, [fact, ("blink", ("apple", "fish")), ("left", ("fish",))])
    assert table[0].tolist() == pytest.approx([-0.6, -10.1, -10.2])
    for number, one in enumerate(all_facts()[:20]):
        assert caption_scores(scores, all_facts())[0, number] == log_probability(scores, [one])


def test_the_best_caption_is_one_that_can_be_said():
    facts = [("meet", ("apple", "star")), ("up", ("tree",)), ("blink", ("star", "apple"))]
    assert best_facts(sure(*facts)) == facts
    assert reads_rightly(sure(*facts), facts).all()
    assert not reads_rightly(sure(*facts), facts[::-1])[0]
    assert knows_direction(sure(*facts), facts).all()
    turned = [("part", ("apple", "star")), ("down", ("tree",)), ("blink", ("apple", "star"))]
    assert not knows_direction(sure(*facts), turned).any()


def test_ties_are_half_right():
    flat = Scores(torch.zeros(4, 9), torch.zeros(4, 8), torch.zeros(4, 9), None)
    assert knows_direction(flat, [("left", ("fish",))] * 4).float().mean() == 0.5


# Frames and files --------------------------------------------------------------------------------


def test_frames_in_another_order(frames):
    mixed = shuffled(frames, 3)
    for one, other in zip(frames, mixed, strict=True):
        sums = sorted(one.sum((1, 2, 3)).tolist())
        assert sorted(other.sum((1, 2, 3)).tolist()) == sums
    assert not np.array_equal(mixed, frames) and np.array_equal(mixed, shuffled(frames, 3))
    numbered = (
        np.zeros((30, 8, 1, 1, 3), np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None, None]
    )
    orders = {tuple(row) for row in shuffled(numbered, 3)[:, :, 0, 0, 0].tolist()}
    assert len(orders) > 25 and all(sorted(order) == list(range(8)) for order in orders)
    assert np.array_equal(backwards(frames)[:, 0], frames[:, -1])
    single = one_frame(frames, 2)
    assert (single == frames[:, 2:3]).all()
    drawn = one_frame(frames, seed=1)
    assert all((clip == clip[0]).all() for clip in drawn)
    assert set(one_frame(numbered, seed=1)[:, 0, 0, 0, 0].tolist()) == set(range(8))


def test_a_frame_is_covered_by_its_neighbour(frames):
    covered = without_frame(frames, 3)
    assert (covered[:, 3] == frames[:, 2]).all() and (covered[:, 4] == frames[:, 4]).all()
    assert (without_frame(frames, 0)[:, 0] == frames[:, 1]).all()


@pytest.mark.parametrize(
    ("length", "expected"), [(8, range(8)), (15, range(0, 15, 2)), (2, [0] * 4 + [1] * 4)]
)
def test_sampling_of_frames(length, expected):
    clip = (
        np.zeros((length, 2, 2, 3), np.uint8)
        + np.arange(length, dtype=np.uint8)[:, None, None, None]
    )
    assert sample_frames(clip, 8)[:, 0, 0, 0].tolist() == list(expected)


def test_reading_files(tmp_path, frames):
    path = tmp_path / "clip.gif"
    as_gif(np.repeat(np.repeat(frames[0], 2, 1), 3, 2), path)  # 64 x 96 pixels
    assert read_clip(path).shape == (8, 32, 32, 3)
    assert read_clip(str(path), frames=4, size=16).shape == (4, 16, 16, 3)


def test_a_file_is_cut_to_its_middle_and_laid_on_white(tmp_path):
    path = tmp_path / "clip.png"
    wide = np.zeros((2, 8, 24, 4), np.uint8)  # transparent
    wide[:, :, 8:16] = (255, 0, 0, 255)
    wide[:, 2:4, 9:11] = 0
    wide[1, 0, 8] = (0, 0, 255, 255)  # so that the two frames differ
    first, second = (Image.fromarray(frame, "RGBA") for frame in wide)
    first.save(path, save_all=True, append_images=[second], duration=100, loop=0)
    read = read_clip(path, frames=2, size=8)
    assert (read[0, 2:4, 1:3] == 255).all()
    read[0, 2:4, 1:3] = (255, 0, 0)
    assert (read[0] == (255, 0, 0)).all()  # nothing of the sides


def test_files_that_are_refused(tmp_path, frames, monkeypatch):
    path = tmp_path / "clip.gif"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_clip(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty, 0 bytes"):
        read_clip(path)
    path.write_text("no picture at all")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        read_clip(path)
    as_gif(frames[0], path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut off|one frame"):
        read_clip(path)
    Image.fromarray(frames[0, 0]).save(path)
    with pytest.raises(ValueError, match="has one frame, and what happens needs two"):
        read_clip(path)
    as_gif(np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3), dtype=np.uint8), path)
    with pytest.raises(ValueError, match="has 12 frames, and at most 10 are read"):
        read_clip(path, most=10)
    still = Image.fromarray(np.zeros((30, 30), np.uint8))
    still.save(path, save_all=True, append_images=[still.point(lambda _: 9)])
    for most in (800, 400):  # 900 pixels are more than is harmless, or more than twice that
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(ValueError, match="too many pixels, maybe a trap"):
            read_clip(path)
    with pytest.raises(ValueError, match="two frames or more"):
        sample_frames(frames[0, :1])


# Costs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("T", "N", "D", "H"), [(5, 4, 12, 3), (3, 7, 8, 1), (8, 16, 64, 4)])
def test_costs_are_those_of_the_counter_of_torch(T, N, D, H):
    x = some(1, T, N, D).float()
    for kind, encoder in ENCODERS.items():
        made = encoder(T, N, D, 2, H)
        ours = count_multiplications(made, x)
        assert ours == encoder_cost(kind, T, N, D, 2)
        odd = count_multiplications(encoder(T, N, D, 3, H), x)
        assert odd == encoder_cost(kind, T, N, D, 3)
        with (
            FlopCounterMode(display=False) as counter,
            torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        ):
            made(x)
        assert counter.get_total_flops() == 2 * ours


def test_costs_of_attention_alone():
    assert attention_cost("joint", 8, 16, 64) == 4 * 128 * 64**2 + 2 * 128**2 * 64
    assert attention_cost("divided", 8, 16, 64) == 8 * 128 * 64**2 + 2 * 128 * 24 * 64
    with pytest.raises(ValueError, match="kind must be divided or one of joint, space, time"):
        attention_cost("all", 1, 1, 1)
    with pytest.raises(ValueError, match="encoder must be bag"):
        encoder_cost("all", 1, 1, 1, 1)
