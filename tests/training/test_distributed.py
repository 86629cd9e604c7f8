"""Two processes of ``accelerate launch`` have the losses of one, and stop together."""

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mmcourse.training import CHECKPOINT, read_log
from tests.training.runs import (
    LAUNCH,
    Broken,
    Sentences,
    branched,
    near,
    reader,
    run,
    saved_step,
    start,
    tiny,
    train_captioner,
    two_terms,
    wait_for_rows,
    words_and_numbers,
)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder in which two processes, started by `accelerate launch`, did the jobs."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(RuntimeError, match="cut off"):  # one process begins, two go on
        run(folder / "onward", dataset=Broken(4 * 7), accumulate=2, save_every=4)
    child = start(folder, *LAUNCH, jobs=True)
    output, error = child.communicate(timeout=600)
    assert child.returncode == 0, output + error
    return folder, [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(two, tmp_path):
    """Equal shares or not, means over samples or words; dropout as in two pieces of one process."""
    folder, facts = two
    assert [world for _, _, world in facts] == ["2", "2"]
    run(tmp_path / "plain", tiny(dropout=0), batch_size=5)
    options = dict(objective=two_terms, count=words_and_numbers, batch_size=5, clip=0.3)
    run(tmp_path / "words", reader(), Sentences(), **options)
    run(tmp_path / "dropout", batch_size=6, accumulate=2)
    run(tmp_path / "shuffled", tiny(dropout=0), [(x % 11, float(x)) for x in range(9)])
    run(tmp_path / "branches", branched())
    train_captioner(tmp_path / "captioner", accumulate=2)
    for name in ("plain", "words", "dropout", "shuffled", "branches", "captioner"):
        near(folder / name, tmp_path / name)
    never = [Path(path) / "branches" / "model.safetensors" for path in (folder, tmp_path)]
    with safe_open(never[0], "pt") as two_, safe_open(never[1], "pt") as one:
        assert torch.equal(two_.get_tensor("never.weight"), one.get_tensor("never.weight"))
        torch.testing.assert_close(two_.get_tensor("extra.weight"), one.get_tensor("extra.weight"))


@pytest.mark.slow
def test_process_0_writes_and_all_return_the_same(two):
    folder, ((said, *_), (other, *_)) = two
    assert (
        said == other
        and said["plain"] == read_log(folder / "plain")
        and said["plain"][-1]["rank"] == 0
    )
    assert len(list((folder / "plain").glob("events.out.tfevents*"))) == 1


@pytest.mark.slow
def test_from_one_process_to_two_and_back(two, tmp_path):
    folder, _ = two
    run(tmp_path / "whole", accumulate=2)
    near(folder / "onward", tmp_path / "whole")
    assert saved_step(folder / "cut") == 5
    run(folder / "cut", accumulate=2)
    near(folder / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_both_processes_say_what_went_wrong(two):
    folder, facts = two
    for _, (bad_loss, apart), _ in facts:
        assert bad_loss.startswith("FloatingPointError step 8")
        assert "lower the learning rate" in bad_loss
        assert "begin after steps [12, 0]" in apart and "on a disk that all of them share" in apart
    assert not (folder / "apart" / CHECKPOINT).exists()


@pytest.mark.slow
def test_when_one_process_wishes_to_save_both_know(two):
    """Both look first whether all losses are finite, and stop together if not."""
    folder, _ = two
    assert saved_step(folder / "hurry") == 7


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_refused_in_both_processes(tmp_path):
    child = start(tmp_path, pause=0.1, steps=200, save_every=0)
    wait_for_rows(tmp_path, 1)
    second = start(tmp_path, *LAUNCH, steps=200, save_every=0)
    _, error = second.communicate(timeout=300)
    child.kill()
    child.communicate(timeout=60)
    assert second.returncode != 0
    assert error.count(f"BlockingIOError: another run is training in {tmp_path}") == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_processes_interrupted_finish_the_step(tmp_path, number):
    child = start(tmp_path / "run", *LAUNCH, pause=0.1, steps=60, save_every=0)
    wait_for_rows(tmp_path / "run", 3)
    child.send_signal(number)
    _, error = child.communicate(timeout=300)
    step = saved_step(tmp_path / "run")
    assert 3 <= step < 60 and f"stopped after step {step} of 60" in error
    run(tmp_path / "run", steps=60, save_every=0, accumulate=2)
    run(tmp_path / "whole", steps=60, accumulate=2)
    near(tmp_path / "run", tmp_path / "whole")
