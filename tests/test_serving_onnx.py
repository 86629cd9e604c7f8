"""The captioner as ONNX graphs: the same numbers and sentences as PyTorch, and what is refused."""

import json

import numpy as np
import pytest
import torch

from mmcourse import cli
from mmcourse.captioning import SceneCaptioner
from mmcourse.captioning.confidence import nouns_of
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.hub import load, load_captioner
from mmcourse.recipes.stored import read_study
from mmcourse.serving import onnx

CLOSE = {"atol": 1e-4, "rtol": 0}
SCENES = 60
TINY = {
    "width": 8,
    "heads": 2,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "image_size": 32,
    "channels": [8, 8],
    "blocks": [1, 0],
    "max_length": 6,
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped captioner, its folder, and what ONNX Runtime makes of it."""
    captioner = load_captioner("scenes")
    folder = tmp_path_factory.mktemp("shipped")
    onnx.export(captioner, folder)
    return captioner, folder, onnx.OnnxCaptioner(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A captioner of another shape that has learnt nothing, in half precision and in training."""
    torch.manual_seed(0)
    captioner = SceneCaptioner(vocabulary(), **TINY, dropout=0.5)
    torch.nn.init.normal_(captioner.noun_embedding.weight)
    captioner.half().train()
    folder = tmp_path_factory.mktemp("tiny")
    onnx.export(captioner, folder)
    return captioner, onnx.OnnxCaptioner(folder)


@pytest.fixture(scope="module")
def images():
    split = EmojiScenes("val")
    return np.stack([split[index].image for index in range(SCENES)])


@torch.no_grad()
def compare(captioner, graphs, images, lengths):
    """All numbers of both, for words drawn at random."""
    memory, readings = graphs.see(images)
    features = captioner.convolutions(captioner.pixels_of(images))
    np.testing.assert_allclose(memory, captioner.relate(features), **CLOSE)
    np.testing.assert_allclose(readings, captioner.noun_head(features).softmax(-1), **CLOSE)
    dice = torch.Generator().manual_seed(0)
    for length in lengths:
        words = torch.randint(len(captioner.words), (len(images), length), generator=dice)
        expected = captioner.decode(torch.from_numpy(memory), words, return_weights=True)
        found = graphs.decode(memory, words.numpy())
        for numbers, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(numbers, right, **CLOSE)


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_the_graphs_compute_what_pytorch_computes(shipped, images, batch):
    captioner, _, graphs = shipped
    compare(captioner, graphs, images[:batch], lengths=(1, 2, 7, captioner.max_length))


def test_another_shape_is_exported_in_float32_and_stays_as_it_was(tiny):
    captioner, graphs = tiny
    assert captioner.training and captioner.dtype == torch.float16
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    compare(captioner.float().eval(), graphs, images, lengths=(1, 3, 6))


def test_sentences_of_scenes_are_pytorchs(shipped, images):
    captioner, _, graphs = shipped
    for strategy, count in [("greedy", SCENES), ("beam", 20)]:
        expected = captioner.caption(list(images[:count]), strategy)
        found = graphs.caption(list(images[:count]), strategy)
        assert [one.text for one in found] == [one.text for one in expected]
        for one, right in zip(found, expected, strict=True):
            assert one.tokens == right.tokens
            assert one.confidence == pytest.approx(right.confidence, abs=1e-4)
            assert one.log_prob == pytest.approx(right.log_prob, abs=1e-3)
            torch.testing.assert_close(one.attention, right.attention, **CLOSE)


def test_a_sentence_as_long_as_may_be_has_its_attention(tiny):
    captioner, graphs = tiny
    picture = np.full((20, 50, 3), 200, np.uint8)
    for strategy in ("greedy", "beam"):
        found = graphs.caption([picture, picture], strategy)
        expected = captioner.float().eval().caption(picture, strategy)
        assert [one.text for one in found] == [expected.text] * 2
        assert found[0].attention.shape == expected.attention.shape


def test_what_is_about_the_captioner_is_enough_to_read_its_sentences(shipped):
    captioner, folder, _ = shipped
    about = json.loads((folder / onnx.ABOUT).read_text(encoding="utf-8"))
    assert about["words"] == captioner.words and about["image_size"] == 64
    assert about["calibration"] == list(captioner.calibration)
    for text in ("a palm tree above two slices of cake on the grass", "one cup", "an orange car"):
        words = text.split()
        longest = max(len(phrase.split()) for phrase in about["phrases"])
        found, at = set(), 0
        while at < len(words):
            sizes = range(min(longest, len(words) - at), 0, -1)
            phrases = [" ".join(words[at : at + size]) for size in sizes]
            phrase = next((one for one in phrases if one in about["phrases"]), words[at])
            found.add(about["phrases"].get(phrase, 0))
            at += len(phrase.split())
        assert sorted(found - {0}) == nouns_of(text)


def test_what_is_written_is_the_same_every_time_and_tells_nothing_of_this_computer(
    shipped, tmp_path
):
    captioner, folder, _ = shipped
    for path in onnx.export(captioner, tmp_path / "new" / "folder"):
        content = path.read_bytes()
        assert content == (folder / path.name).read_bytes()
        assert b".py" not in content and str(folder).encode() not in content


def test_what_is_no_captioner_of_scenes_is_refused(tmp_path):
    with pytest.raises(TypeError, match="captioner of scenes, got MaskedLanguageModel"):
        onnx.export(load("text"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named(shipped, tmp_path, monkeypatch):
    captioner, folder, _ = shipped
    with pytest.raises(FileNotFoundError, match="no picture.onnx in .*mmcourse export"):
        onnx.OnnxCaptioner(tmp_path)
    for name in (onnx.PICTURE, onnx.WORDS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(FileNotFoundError, match="no captioner.json in .*mmcourse export"):
        onnx.OnnxCaptioner(tmp_path)
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'onnx and onnxscript: pip install "mmcourse\['):
        onnx.export(captioner, tmp_path)
    with pytest.raises(ModuleNotFoundError, match="ONNX Runtime is missing: pip install"):
        onnx.OnnxCaptioner(folder)


@pytest.mark.parametrize("name", [onnx.PICTURE, onnx.WORDS, onnx.ABOUT])
def test_damaged_files_are_refused(shipped, tmp_path, name):
    _, folder, _ = shipped
    for path in folder.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:1000] if path.name == name else content)
    with pytest.raises(ValueError, match="are damaged .* export them again"):
        onnx.OnnxCaptioner(tmp_path)


def test_other_strategies_are_refused(shipped, images):
    with pytest.raises(ValueError, match="unknown strategy 'sample': choose beam or greedy"):
        shipped[2].caption([images[0]], "sample")


def test_the_command_writes_and_says_what(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path / "onnx")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        str(tmp_path / "onnx" / name) for name in (onnx.PICTURE, onnx.WORDS, onnx.ABOUT)
    ]
    assert onnx.OnnxCaptioner(tmp_path / "onnx").about["start"] == 1
    assert cli.main(["export", str(tmp_path / "onnx"), "--model", "text"]) == 2
    assert "writes no captions" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["export", str(tmp_path / "file")]) == 2
    assert "mmcourse export: " in capsys.readouterr().err


@pytest.mark.parametrize("browser", ["chromium", "firefox", "webkit"])
def test_the_page_was_compared_over_500_scenes(browser):
    """The studies that tools/book/captioner_page_study.py and other_engines.py stored."""
    others = read_study("serving_page_engines")
    found = others.get(browser, read_study("serving_page"))["scenes"]
    assert found["count"] == found["same_sentences"] == 500
    assert found["pixels_that_differ"] == 0
    assert max(found["largest_difference"].values()) < 1e-4
    assert found["seconds_longest"] < 5 and found["seconds_median"] < 1


def test_options_go_to_the_strategy(shipped, images):
    with pytest.raises(ValueError, match="beams must be at least 1, got 0"):
        shipped[2].caption([images[0]], beams=0)


def test_without_a_noun_the_confidence_is_0(shipped, images):
    _, readings = shipped[2].see(images[:1])
    cells = torch.from_numpy(readings)
    assert shipped[2].confidence("something on the grass", cells) == 0


def test_what_is_about_the_captioner_has_its_doubt(shipped):
    captioner, _, graphs = shipped
    assert graphs.about["low_confidence"] == captioner.low_confidence
    assert graphs.about["confidence_is"] == captioner.confidence_is


def test_threads_are_as_many_as_were_asked_for(shipped):
    _, folder, _ = shipped
    for threads in (1, 2):
        graphs = onnx.OnnxCaptioner(folder, threads)
        for graph in (graphs.picture_graph, graphs.words_graph):
            assert graph.get_session_options().intra_op_num_threads == threads
