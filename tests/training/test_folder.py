"""Files are whole or not there, never written through a link; one run at a time has a folder."""

import os
import re

import pytest

from mmcourse.training import LOG, write_whole
from tests.training.runs import POSIX, Broken, loss, losses, run, start, tiny, wait_for_rows


@POSIX
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_part_file_is_new_and_follows_no_link(tmp_path, link):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    link(victim, tmp_path / "data.part")
    write_whole(tmp_path / "data", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "data").read_bytes() == b"new" and not (tmp_path / "data").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "data"}


@POSIX
def test_a_file_that_appears_at_the_last_moment_is_not_written_to(tmp_path, monkeypatch):
    """Between the removal of an old part file and the making of the new one."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    real = open

    def late(path, *arguments):
        os.symlink(victim, path)
        return real(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", late)
        with pytest.raises(OSError, match="could not write .*data .File exists"):
            write_whole(tmp_path / "data", b"new")
    assert victim.read_bytes() == b"precious"


def test_a_folder_in_place_of_the_part_file(tmp_path):
    (tmp_path / "data.part").mkdir()
    with pytest.raises(OSError, match="could not write .*make room"):
        write_whole(tmp_path / "data", b"new")


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 7, "lo',
        b'{"loss": 1.0}',
        b'{"step": "abc", "loss": 1.0}',
        b'{"step": 7.5}',
        b'{"step": true}',
        b"[7]",
        b"7",
        b"",
        b"\xff\xfe",
    ],
)
def test_a_wrong_line_in_the_log_is_named(tmp_path, line):
    run(tmp_path)
    path = tmp_path / LOG
    before = path.read_bytes()
    path.write_bytes(before + line + b"\n")
    message = rf"^line 13 of {re.escape(str(path))} is cut off or .*: delete that line.*$"
    with pytest.raises(ValueError, match=message) as error:
        run(tmp_path)
    assert "\n" not in str(error.value)
    path.write_bytes(before)
    run(tmp_path)


def test_a_second_run_in_a_folder_is_refused(tmp_path):
    tried = []

    def twice(model, batch):
        if not tried:
            tried.append(True)
            message = f"another run is training in {re.escape(str(tmp_path))}: wait until"
            with pytest.raises(BlockingIOError, match=message):
                run(tmp_path)
        return loss(model, batch)

    run(tmp_path / "elsewhere", tiny(dropout=0))
    run(tmp_path, tiny(dropout=0), objective=twice)
    run(tmp_path, tiny(dropout=0))  # now it is free
    assert tried and losses(tmp_path) == losses(tmp_path / "elsewhere")


def test_the_lock_ends_with_its_run(tmp_path):
    """Also where somebody keeps the error, as a notebook does."""
    with pytest.raises(RuntimeError, match="cut off") as kept:
        run(tmp_path, dataset=Broken(4 * 7))
    run(tmp_path)
    assert kept.value.__traceback__


@POSIX
def test_the_lock_dies_with_its_process(tmp_path):
    """At once, though a worker of the killed run may live on for some seconds."""
    settings = {"steps": 400, "save_every": 0, "workers": 1}
    child = start(tmp_path, pause=0.02, **settings)
    wait_for_rows(tmp_path, 3)
    with pytest.raises(BlockingIOError, match="another run is training"):
        run(tmp_path, **settings)
    child.kill()
    child.communicate(timeout=60)
    run(tmp_path, steps=1, resume=False, warmup=0)
