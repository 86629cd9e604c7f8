"""A small encoder, and a few photographs with captions."""

import pytest

from mmcourse.data.captioned import load_photographs
from tests.photographs.helpers import flickr8k, save_model


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    save_model("vit", folder)
    return str(folder)


@pytest.fixture
def some(tmp_path):
    found, _ = load_photographs("flickr8k", flickr8k(tmp_path / "data"))
    return sorted((one for part in found.values() for one in part), key=lambda one: one.name)
