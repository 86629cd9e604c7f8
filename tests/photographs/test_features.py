"""Features on the disk: computed once, known by photograph and encoder, written whole or not at
all.
"""

import os

import pytest
import torch
from safetensors.torch import load_file

from mmcourse.data.captioned import Photograph
from mmcourse.photographs import FeatureCache, PretrainedEncoder, features, inputs_of, load_encoder
from mmcourse.photographs.encoders import PROBE
from tests.photographs.helpers import NAMES, picture, save_model, tiny


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_features_are_those_of_the_encoder(tmp_path, some, family, monkeypatch):
    save_model(family, tmp_path / "model")
    encoder, prepared = load_encoder(str(tmp_path / "model")), []
    cache = FeatureCache(tmp_path / "cache", encoder)
    assert not cache.fill(some, batch_size=4)
    for one in some:
        truth = encoder(encoder.prepare(one.path)[None])[0].detach()
        assert cache(one).dtype == torch.float32
        torch.testing.assert_close(cache(one), truth, atol=2e-3, rtol=2e-3)
    monkeypatch.setattr(type(encoder), "prepare", lambda *_: prepared.append(1))
    again = FeatureCache(tmp_path / "cache", encoder)
    assert not again.fill(some) and not prepared and again.others == again.damaged == 0
    torch.testing.assert_close(again(some[3]), cache(some[3]), atol=0, rtol=0)


def test_a_changed_or_new_photograph_is_computed_again(tmp_path, some, vit):
    cache = FeatureCache(tmp_path, load_encoder(vit))
    cache.fill(some[:4])
    before = cache(some[0])
    picture(some[0].path, seed=77)
    os.utime(some[0].path, ns=(1, 1))
    cache = FeatureCache(tmp_path, load_encoder(vit))
    cache.fill(some)
    assert (cache(some[0]) - before).abs().max() > 0.01 and cache(some[5]).shape == (16, 24)
    assert len(list(tmp_path.glob("features-*.safetensors"))) == 2


def test_a_photograph_is_known_by_its_size_and_its_time(some):
    path, keys = some[0].path, [FeatureCache.key(some[0])]
    for content in (path.read_bytes(), path.read_bytes() + b"more"):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
        keys.append(FeatureCache.key(some[0]))
    assert len(set(keys)) == 3


def test_interrupted_caching_goes_on_where_it_stopped(tmp_path, some, vit, monkeypatch):
    monkeypatch.setattr(features, "SHARD", 2)
    encoder = load_encoder(vit)
    seen, whole = [], type(encoder).prepare

    def prepare(self, path):
        if path is PROBE:
            return whole(self, path)
        seen.append(path.name)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return whole(self, path)

    monkeypatch.setattr(type(encoder), "prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path, encoder).fill(some)
    cache = FeatureCache(tmp_path, encoder)
    assert len(cache.shards) == 4
    cache.fill(some)
    assert seen == [*NAMES[:5], *NAMES[4:]] and len(cache.shards) == 6


def test_files_that_were_cut_off_are_computed_again(tmp_path, some, vit, monkeypatch):
    monkeypatch.setattr(features, "SHARD", 2)
    cache = FeatureCache(tmp_path, load_encoder(vit))
    cache.fill(some)
    truth = [cache(one) for one in some]
    first, second, _ = sorted(tmp_path.glob("features-*"))
    first.write_bytes(first.read_bytes()[:-50])
    second.write_bytes(b"")
    (tmp_path / "model.safetensors").write_bytes(b"not ours")
    again = FeatureCache(tmp_path, load_encoder(vit))
    assert (
        again.damaged == 2 and len(again.shards) == 2 and (tmp_path / "model.safetensors").exists()
    )
    assert not first.exists() and not second.exists()
    again.fill(some)
    for one, before in zip(some, truth, strict=True):
        torch.testing.assert_close(again(one), before, atol=0, rtol=0)
    assert FeatureCache(tmp_path, load_encoder(vit)).damaged == 0


def test_encoders_do_not_take_one_anothers_features(tmp_path, some, vit):
    other = load_encoder(vit)
    other = PretrainedEncoder(
        other.network, other.extract, 32, [0.0] * 3, [255.0] * 3
    )  # the wrong normalisation
    mine, theirs = FeatureCache(tmp_path, load_encoder(vit)), FeatureCache(tmp_path, other)
    mine.fill(some)
    theirs.fill(some)
    assert (mine(some[0]) - theirs(some[0])).abs().max() > 0.01
    for before in (mine, theirs):
        again = FeatureCache(tmp_path, before.encoder)
        assert again.others == 1 and len(again.shards) == 6
        torch.testing.assert_close(again(some[0]), before(some[0]), atol=0, rtol=0)


def test_a_folder_that_cannot_be_written(tmp_path, some, vit):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="or give another folder with --cache"):
        FeatureCache(tmp_path / "file" / "cache", load_encoder(vit)).fill(some)


def test_features_are_written_whole_or_not_at_all(tmp_path, some, vit, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(
        OSError, match="No space left on device.*or give another folder with --cache"
    ):
        FeatureCache(tmp_path / "cache", load_encoder(vit)).fill(some[:1])
    assert not list((tmp_path / "cache").iterdir())


def test_where_no_picture_can_be_read_no_file_is_written(tmp_path, some, vit):
    for one in some[:2]:
        one.path.write_bytes(b"broken")
    assert list(FeatureCache(tmp_path / "cache", load_encoder(vit)).fill(some[:2])) == some[:2]
    assert not (tmp_path / "cache").exists()


def test_a_broken_picture_among_others(tmp_path, some, vit):
    some[2].path.write_bytes(some[2].path.read_bytes()[:200])
    some[3].path.unlink()
    some[3].path.mkdir()
    some[4].path.write_bytes(b"")
    for fine_tune in (False, True):
        captioner = tiny(some, vit, fine_tune=fine_tune)
        to_input, unreadable, notes = inputs_of(captioner, some, tmp_path / "cache", batch_size=2)
        assert list(unreadable) == some[2:5] and "is cut off or damaged" in unreadable[some[2]]
        assert notes[0] == f"3 pictures that cannot be read: {', '.join(b.name for b in some[2:5])}"
        assert notes[1:] == [unreadable[one] for one in some[2:5]]
        assert all(str(one.path) in note for one, note in zip(some[2:5], notes[1:], strict=True))
        assert to_input(some[5]).shape == ((3, 32, 32) if fine_tune else (16, 24))


def test_many_broken_pictures_are_named_within_bounds(tmp_path, vit):
    bad = []
    for number in range(30):
        path = tmp_path / f"bad{number:02}.jpg"
        path.write_bytes(b"broken")
        bad.append(Photograph(path.name, path, ("a dog",)))
    captioner = tiny(bad, vit)
    _, unreadable, notes = inputs_of(captioner, bad, tmp_path / "cache")
    assert len(unreadable) == 30 and len(notes) == 6
    assert notes[0].endswith(", bad18.jpg, bad19.jpg and 10 more") and "bad20" not in notes[0]


def test_a_photograph_that_is_gone_does_not_stop_the_others(tmp_path, some, vit, monkeypatch):
    """Gone before its features are looked for, and between that and their writing."""
    some[1].path.unlink()
    whole = PretrainedEncoder.forward

    def forward(self, pixels):
        if len(pixels) == 5:
            some[4].path.unlink()
        return whole(self, pixels)

    encoder = load_encoder(vit)
    monkeypatch.setattr(PretrainedEncoder, "forward", forward)
    cache = FeatureCache(tmp_path / "cache", encoder)
    assert list(cache.fill(some)) == [some[1], some[4]]
    assert len(cache.shards) == 4 and cache(some[0]).shape == (16, 24)


def test_features_on_the_disk_are_in_half_precision(tmp_path, some, vit):
    cache = FeatureCache(tmp_path, load_encoder(vit))
    cache.fill(some)
    (file,) = tmp_path.glob("features-*")
    stored = load_file(file)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    numbers = sum(tensor.numel() for tensor in stored.values())
    assert numbers == 6 * 16 * 24
    assert 2 * numbers < file.stat().st_size < 2 * numbers + 2000


@pytest.mark.parametrize("kind", ["dropout", "noise", "mask"])
def test_an_encoder_that_draws_random_numbers_is_refused(tmp_path, some, kind):
    class Random(torch.nn.Conv2d):
        def forward(self, pixels):
            if kind == "mask":
                pixels = pixels * (torch.rand(len(pixels), 1, 32, 32) > 0.75)
            grid = super().forward(pixels)
            if kind == "noise":
                grid = grid + 0.01 * torch.randn_like(grid)
            if kind == "dropout":
                grid = torch.nn.functional.dropout(grid, 0.1, training=True)
            return grid

    encoder = PretrainedEncoder(
        Random(3, 8, 8, stride=8), Random.forward, 32, [127.0] * 3, [128.0] * 3
    )
    with pytest.raises(ValueError, match="Random gives other features of the same picture each ti"):
        FeatureCache(tmp_path / "cache", encoder).fill(some)
    assert not (tmp_path / "cache").exists()


def test_an_encoder_in_training_mode_is_put_out_of_it(tmp_path, some, vit):
    encoder = load_encoder(vit)
    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    truth = encoder(encoder.prepare(some[0].path)[None])[0]
    cache = FeatureCache(tmp_path, encoder.train())
    cache.fill(some)
    torch.testing.assert_close(cache(some[0]), truth, atol=2e-3, rtol=2e-3)
