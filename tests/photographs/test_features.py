"""Features on the disk: computed once, known by photograph and encoder, written whole or not at
all.
"""

import os

import pytest
import torch

from mmcourse.photographs import FeatureCache, PretrainedEncoder, features, inputs_of, load_encoder
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
    monkeypatch.setattr(PretrainedEncoder, "prepare", lambda *_: prepared.append(1))
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
    encoder, seen, whole = load_encoder(vit), [], PretrainedEncoder.prepare

    def prepare(self, path):
        seen.append(path.name)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return whole(self, path)

    monkeypatch.setattr(PretrainedEncoder, "prepare", prepare)
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
        (note,) = notes
        assert (
            note.startswith("3 pictures that cannot be read (the first: ")
            and str(some[2].path) in note
        )
        assert to_input(some[5]).shape == ((3, 32, 32) if fine_tune else (16, 24))
