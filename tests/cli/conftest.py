"""What the tests of the command line share: a tiny model, a picture, a quick recipe, stderr."""

import pytest
import torch
from PIL import Image

from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.recipes import scenes

TINY = {
    "width": 8,
    "heads": 2,
    "decoder_layers": 1,
    "channels": [8, 8, 8],
    "blocks": [0, 0, 0],
}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Folder of a captioner that has learnt nothing."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    SceneCaptioner(vocabulary(), **TINY, max_length=6).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(EmojiScenes("val")[0].image).save(tmp_path / "scene.png")
    return str(tmp_path / "scene.png")


@pytest.fixture
def quick_recipe(monkeypatch):
    """``small`` in four steps of two pictures. Captions may have the words of the longest one."""
    training = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3}
    monkeypatch.setitem(scenes.MODEL, "small", TINY | {"max_length": 28})
    monkeypatch.setitem(scenes.TRAINING, "small", training)


@pytest.fixture
def complaint(capsys):
    """``complaint()`` is what went to stderr: at most two lines, and no traceback."""

    def read():
        text = capsys.readouterr().err
        assert 1 <= len(text.strip().splitlines()) <= 2
        assert "Traceback" not in text
        return text

    return read
