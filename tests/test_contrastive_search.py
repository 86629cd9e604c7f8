"""The index of a folder of pictures: what is encoded again, what is refused, what is found."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmcourse.contrastive import CLIP, neighbours, search
from mmcourse.contrastive.neighbours import BACKENDS, nearest
from mmcourse.contrastive.search import PictureIndex, list_pictures
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary

ROOT = Path(search.__file__).parents[2]


def tiny(seed=0, **settings):
    torch.manual_seed(seed)
    sizes = {"width": 8, "heads": 2, "channels": (8, 8, 8), "blocks": (0, 0, 0), "concepts": 3}
    sizes |= {"image_layers": 1, "text_layers": 1, "embedding": 6, "probes": 1}
    return CLIP(vocabulary(), **sizes | settings).eval()


@pytest.fixture(scope="module")
def model():
    return tiny()


def save(index, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(EmojiScenes("val")[index].image).save(path)


@pytest.fixture
def folder(tmp_path):
    """Six pictures, one of them in a folder of its own, and files that are none."""
    folder = tmp_path / "pictures"
    for index in range(5):
        save(index, folder / f"{index}.png")
    save(5, folder / "more" / "5.JPG")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"no picture either")
    return folder


def names(hits):
    return [hit.path.name for hit in hits]


def counted(model, monkeypatch):
    """How many pictures the model has encoded, as a list that grows."""
    seen = []
    encode = model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda x: seen.append(len(x)) or encode(x))
    return seen


def test_only_what_is_new_or_changed_is_encoded(folder, model, monkeypatch):
    seen = counted(model, monkeypatch)
    report = PictureIndex(folder, model).update()
    assert report[:2] == (6, 0) and sum(seen) == 6 and report.unreadable == {}
    seen.clear()
    index = PictureIndex(folder, model)
    assert index.update()[:2] == (0, 6) and seen == []
    before = dict(zip(index.pictures, index.embeddings.tolist(), strict=True))
    save(9, folder / "2.png")
    save(6, folder / "6.png")
    (folder / "0.png").unlink()
    index = PictureIndex(folder, model)
    report = index.update()
    assert report[:3] == (2, 4, 2) and sum(seen) == 2
    assert [picture.name for picture in index.pictures] == [
        *("1.png", "2.png", "3.png", "4.png", "6.png", "more/5.JPG"),
    ]
    for picture, row in zip(index.pictures, index.embeddings, strict=True):
        if picture in before:
            assert row.tolist() == before[picture]
        path = folder / picture.name
        wanted = model.image_features([path])[0].numpy()
        assert row == pytest.approx(wanted, abs=1e-3)


def test_search_is_the_largest_cosine(folder, model):
    index = PictureIndex(folder, model)
    index.update()
    text = model.text_features(["two red cars in the snow"])[0]
    image = model.image_features([folder / picture.name for picture in index.pictures])
    order = (image @ text).argsort(descending=True).tolist()
    hits = index.search("two red cars in the snow", k=4)
    assert [hit.path for hit in hits] == [folder / index.pictures[row].name for row in order[:4]]
    assert [hit.score for hit in hits] == pytest.approx(
        (image @ text)[order[:4]].tolist(), abs=1e-3
    )
    assert len(index.search("a car", k=99)) == 6
    for query in (str(folder / "3.png"), folder / "3.png", np.array(Image.open(folder / "3.png"))):
        (first, *_) = index.search(query, k=2)
        assert first.path.name == "3.png" and first.score == pytest.approx(1, abs=2e-3)


def test_what_cannot_be_read_is_named_and_left_out(folder, model):
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "empty.jpg").touch()
    cut = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(cut[: len(cut) // 2])
    os.symlink(folder / "nowhere.png", folder / "link.png")
    report = PictureIndex(folder, model).update()
    assert sorted(report.unreadable) == ["1.png", "bad.png", "empty.jpg"]
    assert "damaged" in report.unreadable["1.png"] and report.encoded == 5
    report = PictureIndex(folder, model).update()  # they are tried again, the others are not
    assert report[:2] == (0, 5) and len(report.unreadable) == 3
    (folder / "1.png").write_bytes(cut)
    assert PictureIndex(folder, model).update()[:2] == (1, 5)


def test_a_picture_that_changes_while_it_is_read(folder, model, monkeypatch):
    load = CLIP.prepare

    def meddle(self, pictures):
        found = load(self, pictures)
        if pictures[0].name == "2.png":
            save(8, pictures[0])
        if pictures[0].name == "3.png":
            pictures[0].unlink()
        return found

    monkeypatch.setattr(CLIP, "prepare", meddle)
    index = PictureIndex(folder, model)
    report = index.update()
    assert sorted(report.unreadable) == ["2.png", "3.png"] and report.encoded == 4
    assert "changed while it was read" in report.unreadable["2.png"]
    assert "2.png" not in names(index.search("a car"))
    monkeypatch.undo()
    assert PictureIndex(folder, model).update()[:2] == (1, 4)


def test_a_folder_without_pictures(tmp_path, model):
    with pytest.raises(ValueError, match="found no pictures in .*expected files that end with"):
        PictureIndex(tmp_path, model).update()
    (tmp_path / "one.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="no picture in .* can be read; the first: one.png"):
        PictureIndex(tmp_path, model).update()
    with pytest.raises(NotADirectoryError, match="expected a folder of pictures"):
        PictureIndex(tmp_path / "nowhere", model)


def test_an_index_of_another_model_is_refused_and_left_alone(folder, model, tmp_path):
    PictureIndex(folder, model).update()
    before = sorted((folder / search.WHERE).iterdir())
    with pytest.raises(ValueError, match="made with another model: give --index another folder"):
        PictureIndex(folder, tiny(seed=1))
    assert sorted((folder / search.WHERE).iterdir()) == before
    assert PictureIndex(folder, tiny(seed=1), tmp_path / "elsewhere").update().encoded == 6
    assert PictureIndex(folder, model).update().kept == 6


def test_a_shard_that_was_cut_off_is_made_again(folder, model, monkeypatch):
    monkeypatch.setattr(search, "SHARD", 2)
    PictureIndex(folder, model).update()
    shards = sorted((folder / search.WHERE).glob("shard-*"))
    assert len(shards) == 3
    shards[1].write_bytes(shards[1].read_bytes()[:40])
    report = PictureIndex(folder, model).update()
    assert report[:2] == (2, 4) and report.damaged == 1
    assert PictureIndex(folder, model).update().damaged == 0, "it was removed"


def test_a_query_of_spaces_is_empty(folder, model):
    index = PictureIndex(folder, model)
    index.update()
    for query in ("", "  "):
        with pytest.raises(ValueError, match="the query is empty"):
            index.search(query)


def test_a_shard_is_whole_or_not_there(folder, model, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="could not write .* give another folder with --index"):
        PictureIndex(folder, model).update()
    assert list((folder / search.WHERE).glob("shard-*.safetensors")) == []


@pytest.mark.parametrize("what", ["size", "time"])
def test_a_picture_changes_with_its_size_or_its_time(folder, model, what):
    PictureIndex(folder, model).update()
    file = folder / "2.png"
    state = file.stat()
    if what == "size":
        file.write_bytes(file.read_bytes() + b"more")  # what follows the picture does not matter
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    else:
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert PictureIndex(folder, model).update()[:3] == (1, 5, 1)


def test_a_graph_of_before_is_forgotten(folder, model, monkeypatch):
    """Here the graph is exact, so that no other package is needed."""
    monkeypatch.setattr(
        search, "neighbours", lambda backend, rows: lambda queries, k: nearest(rows, queries, k)
    )
    index = PictureIndex(folder, model)
    index.update()
    assert len(index.search("two red cars", backend="faiss")) == 6
    save(6, folder / "6.png")
    index.update()
    assert len(index.search("two red cars", backend="faiss")) == 7


def test_what_is_gone_is_tidied_away(folder, model, monkeypatch):
    monkeypatch.setattr(search, "SHARD", 2)
    PictureIndex(folder, model).update()
    for name in ("0.png", "1.png", "2.png", "3.png"):
        (folder / name).unlink()
    index = PictureIndex(folder, model)
    assert index.update().gone == 4
    assert len(list((folder / search.WHERE).glob("shard-*"))) == 1
    index = PictureIndex(folder, model)
    assert index.update()[:3] == (0, 2, 0)
    assert names(index.search("a car")) != []


@pytest.mark.parametrize("query", ["", "   ", "xyzzy"])
def test_a_query_without_words_is_refused(folder, model, query):
    index = PictureIndex(folder, model)
    index.update()
    with pytest.raises(ValueError, match="empty|words that the model knows"):
        index.search(query)


def test_a_picture_as_query_that_is_not_there(folder, model):
    index = PictureIndex(folder, model)
    index.update()
    with pytest.raises(FileNotFoundError, match="found no file"):
        index.search("nothing.png")


def test_hidden_folders_and_links_to_folders_are_left_out(folder, tmp_path):
    save(1, folder / ".private" / "a.png")
    save(1, tmp_path / "other" / "b.png")
    os.symlink(tmp_path / "other", folder / "linked")
    assert [picture.name for picture in list_pictures(folder)] == [
        *("0.png", "1.png", "2.png", "3.png", "4.png", "more/5.JPG"),
    ]


@pytest.mark.skipif(os.name != "posix", reason="Windows has other signals")
def test_who_is_killed_goes_on_after_the_last_whole_shard(tmp_path):
    folder = tmp_path / "pictures"
    for index in range(12):
        save(index, folder / f"{index}.png")
    tiny().save_pretrained(tmp_path / "model")
    code = f"""
import time
from mmcourse.contrastive import CLIP, search
search.SHARD = search.BATCH = 2
model = CLIP.from_pretrained({str(tmp_path / "model")!r})
write = search.PictureIndex.write
def slowly(self, rows):
    write(self, rows)
    time.sleep(0.4)
search.PictureIndex.write = slowly
search.PictureIndex({str(folder)!r}, model).update(progress=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE)
    where = folder / search.WHERE
    for _ in range(600):
        done = len(list(where.glob("shard-*.safetensors")))
        if done >= 2 or child.poll() is not None:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    _, error = child.communicate()
    assert b"pictures" in error, error  # the progress bar
    model = CLIP.from_pretrained(str(tmp_path / "model"))
    report = PictureIndex(folder, model).update()
    assert 4 <= report.kept < 12 and report.kept % 2 == 0 and report.encoded == 12 - report.kept
    assert report.damaged == 0


# ---- neighbours


@pytest.mark.parametrize("rows, width, k", [(1, 3, 5), (50, 7, 4), (333, 16, 10)])
def test_nearest_is_a_sorted_product(rows, width, k, monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", 40)  # several pieces
    generator = np.random.default_rng(rows)
    table = generator.normal(size=(rows, width)).astype(np.float16)
    queries = generator.normal(size=(3, width)).astype(np.float32)
    numbers, scores = nearest(table, queries, k)
    products = queries @ table.astype(np.float32).T
    wanted = np.argsort(-products, 1, kind="stable")[:, :k]
    assert numbers.tolist() == wanted.tolist()
    assert scores == pytest.approx(np.take_along_axis(products, wanted, 1))


def test_equal_ones_come_in_order(monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", 3)
    numbers, _ = nearest(np.ones((8, 2)), np.ones((1, 2)), 5)
    assert numbers.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_finds_nearly_the_same(backend):
    if backend != "exact":
        pytest.importorskip(backend)
    generator = np.random.default_rng(0)
    table = generator.normal(size=(3000, 32)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    find = neighbours.neighbours(backend, table.astype(np.float16))
    queries = table[:40] + 0.02 * generator.normal(size=(40, 32)).astype(np.float32)
    numbers, scores = find(queries, 10)
    exact, products = nearest(table, queries, 10)
    shared = [len(set(a) & set(b)) for a, b in zip(numbers.tolist(), exact.tolist(), strict=True)]
    assert np.mean(shared) / 10 > 0.95
    assert numbers[:, 0].tolist() == list(range(40))
    assert scores[:, 0] == pytest.approx(products[:, 0], abs=2e-3)


def test_a_backend_that_is_not_there(folder, model, monkeypatch):
    with pytest.raises(ValueError, match="unknown backend 'annoy': choose exact, faiss"):
        neighbours.neighbours("annoy", np.ones((2, 2)))
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = PictureIndex(folder, model)
    index.update()
    with pytest.raises(ValueError, match=r"pip install 'mmcourse\[search\]'"):
        index.search("a car", backend="faiss")
