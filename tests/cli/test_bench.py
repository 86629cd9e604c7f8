"""``mmcourse bench``: how time is taken, what a row says, and how rows are kept. No real times."""

import json

import pytest
import torch

from mmcourse import cli
from mmcourse.bench import bench, races, results, table
from mmcourse.bench import timing as timing_module
from mmcourse.bench.profiling import kind_of, peak_memory
from mmcourse.bench.timing import Race, Step, verdict
from mmcourse.cli import bench as command


@pytest.fixture
def race():
    return Race(quick=True, say=lambda text: None)


def clock(monkeypatch, seconds):
    """Let every call take the seconds that are planned for it, by its name."""
    monkeypatch.setattr(Race, "time", lambda self, run: run() or next(seconds[run.__name__]))


def one():
    pass


def two():
    pass


def three():
    pass


# ---- timing


def test_a_ratio_is_the_median_over_rounds_against_the_fastest_peer(race, monkeypatch):
    seconds = {
        "one": iter([1.0, 2.0, 4.0, 1.0]),
        "two": iter([2.0, 2.0, 40.0, 1.0]),
        "three": iter([9.0, 9.0, 9.0, 1.0]),
    }
    clock(monkeypatch, seconds)
    row = race.row("what", "sizes", {"ours": one, "slow": three, "fast": two}, 2)
    assert (row["ours"], row["peer"], row["peer_name"]) == (2000, 2000, "fast")
    assert (row["ratio"], row["spread"], row["rounds"]) == (2.0, [1.0, 10.0], 3)
    assert set(row["profile"]) == {"ours", "fast"}
    ratio = "2.00 (1.00 to 10.00)"
    assert table.cells(row) == ["what", "sizes", "2,000 ms", "2,000 ms", ratio, "≥ 2", "draw"]
    assert "peer: fast; 3 rounds" in table.lines(row)


@pytest.mark.parametrize(
    "spread, reached", [([2, 3], "yes"), ([1.99, 3], "draw"), ([1, 2], "draw"), ([1, 1.9], "no")]
)
def test_quartiles_on_both_sides_of_the_goal_are_a_draw(spread, reached):
    assert verdict({"spread": spread}, 2) == {"goal": "≥ 2", "reached": reached}
    assert verdict({"spread": spread}, None) == {"goal": None, "reached": None}


def test_work_counts(race, monkeypatch):
    for work, expected in (
        ({"ours": 8, "peer": 8}, (4.0, 8.0, 0.5, "no")),
        ({"ours": 8, "peer": 2}, (4.0, 2.0, 2.0, "yes")),
    ):
        clock(monkeypatch, {"one": iter([2.0] * 4), "two": iter([1.0] * 4)})
        row = race.row("a", "b", {"ours": one, "peer": two}, 0.6, work=work, unit="samples/s")
        assert (row["ours"], row["peer"], row["ratio"], row["reached"]) == expected


def test_every_round_turns_the_order(race):
    calls = []
    times = race.rounds({name: lambda name=name: calls.append(name) for name in "abc"})
    assert "".join(calls) == "abccbaabc"
    assert {len(seconds) for seconds in times.values()} == {3}


def test_a_row_lasts_for_eight_rounds_and_some_seconds(monkeypatch):
    race = Race(say=lambda text: None)
    monkeypatch.setattr(timing_module, "SECONDS", 0)
    assert len(race.rounds({"ours": one})["ours"]) == 8
    monkeypatch.setattr(timing_module, "SECONDS", 0.2)
    assert len(race.rounds({"ours": one})["ours"]) > 100


def test_a_missing_peer_gives_a_row_that_says_so(race):
    row = race.row("what", "sizes", {"ours": one, "theirs": None}, 2)
    assert row["notes"] == ["theirs is not installed (pip install '.[test]')"]
    assert table.cells(row)[3:] == ["–", "–", "≥ 2", "–"]


def fake_compiler(monkeypatch, seconds, works):
    """``torch.compile`` that fails, or gives calls in float64 that take a second."""

    def compiled(call):
        if not works:
            raise RuntimeError("no compiler")
        seconds[torch.float64] = 1.0
        return lambda x: call(x).double()

    monkeypatch.setattr(Race, "time", lambda self, run: seconds[run().dtype])
    monkeypatch.setattr(torch, "compile", compiled)


@pytest.mark.parametrize(
    "works, late, name, dtype",
    [
        (False, False, "bfloat16", torch.bfloat16),
        (True, False, "bfloat16, compiled", torch.float64),
        (True, True, "bfloat16, not compiled to save time", torch.bfloat16),
    ],
)
def test_the_fastest_setting_is_taken(monkeypatch, works, late, name, dtype):
    fake_compiler(monkeypatch, {torch.float32: 3.0, torch.bfloat16: 2.0}, works)
    x = torch.ones(1, 2)
    step = Step(torch.nn.Linear(2, 2), lambda call: call(x))
    race = Race(say=lambda text: None, compile_until=0 if late else float("inf"))
    runs, notes = race.settle({"ours": step, "missing": None})
    assert notes == [f"ours: {name}"]
    assert runs["ours"]().dtype == dtype and runs["missing"] is None


def test_a_compiler_that_gains_nothing(monkeypatch):
    monkeypatch.setattr(Race, "time", lambda self, run: 1 + (run().dtype == torch.bfloat16))
    monkeypatch.setattr(torch, "compile", lambda call: call)
    x = torch.ones(1, 2)
    setting, run = Race().fastest(Step(torch.nn.Linear(2, 2), lambda call: call(x)))
    assert setting == "float32" and run().dtype == torch.float32


# ---- memory and profile


@pytest.mark.parametrize("rows", [300, 1000])
def test_peak_memory_is_what_was_held_at_once(race, rows):
    x = torch.ones(rows, 1000)

    def run():
        first = x + 1
        second = first + 1
        del first
        return (second + 1).sum()

    assert peak_memory(race, run) == pytest.approx(2 * 4 * rows * 1000, rel=0.01)


@pytest.mark.parametrize(
    "operation, kind",
    [
        ("aten::addmm", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "fused attention"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::_softmax_backward_data", "softmax"),
        ("aten::native_layer_norm", "norms"),
        ("aten::commit", "other"),
    ],
)
def test_kinds_of_work(operation, kind):
    assert kind_of(operation) == kind


# ---- results


def stored(race_name, **changes):
    row = {"race": race_name, "what": "w", "sizes": "s", "unit": "ms", "ours": 1.0, "goal": None}
    return row | {"reached": None, "notes": []} | changes


def test_rows_of_other_races_stay_in_a_file(tmp_path):
    file = tmp_path / "found.json"
    conditions = {"machine": results.machine("cpu"), "quick": False}
    old = conditions | {
        "rows": [stored("attention", ours=1.0), stored("scores"), stored("learning")]
    }
    results.write(results.merge(old, file), file)
    new = conditions | {"rows": [stored("scores", ours=5.0), stored("scores", ours=6.0)]}
    results.write(results.merge(new, file), file)
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    kept = [(row["race"], row["ours"]) for row in rows]
    assert kept == [("attention", 1.0), ("scores", 5.0), ("scores", 6.0), ("learning", 1.0)]


@pytest.mark.parametrize(
    "content, message",
    [
        ("[]", "does not hold rows of mmcourse bench"),
        ("{cut", "does not hold rows of mmcourse bench"),
        ({"quick": True}, "holds rows with the quick True, not False"),
        ({"machine": {"device": "another"}}, "holds rows with the machine {'device': 'another'}"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_the_races(tmp_path, content, message):
    file = tmp_path / "found.json"
    if isinstance(content, dict):
        found = {"machine": results.machine("cpu"), "quick": False, "rows": []}
        content = json.dumps(found | content)
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        bench(["learning"], file=file)
    assert file.read_text(encoding="utf-8") == content


# ---- the command


def test_rows_are_printed_when_they_end_and_kept(tmp_path, monkeypatch, capsys):
    file = tmp_path / "found.json"
    printed = []

    def first(race):
        race.say("begins")
        yield stored("") | {"what": "one"}
        printed.append(capsys.readouterr())
        yield stored("") | {"what": "two"}

    def second(race):
        kept = json.loads(file.read_text(encoding="utf-8"))["rows"]
        assert [row["what"] for row in kept] == ["one", "two"], "kept after each race"
        raise KeyboardInterrupt
        yield

    monkeypatch.setitem(races.RACES, "scores", first)
    monkeypatch.setitem(races.RACES, "layers", second)
    given = ["bench", "--quick", "--only", "scores", "layers", "--json", str(file)]
    assert cli.main(given) == 130
    (early,) = printed
    assert "one" in early.out and "two" not in early.out
    assert early.out.startswith("device ") and "what" in early.out.splitlines()[1]
    assert early.err == "0:00 race 1 of 2, scores: begins\n"
    assert "two" in capsys.readouterr().out


def test_all_but_the_long_race_run_unless_told(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmcourse.bench.bench", lambda names, **given: seen.append((tuple(names), given))
    )
    cli.main(["bench"])
    cli.main(["bench", "--only", "learning", "scores", "--quick", "--device", "cuda"])
    ordinary = ("attention", "training", "generation", "scores", "layers")
    assert seen == [
        (ordinary, {"quick": False, "device": "cpu", "file": None}),
        (("learning", "scores"), {"quick": True, "device": "cuda", "file": None}),
    ]
    assert tuple(races.RACES) == command.RACES


def test_bad_use(capsys):
    with pytest.raises(ValueError, match="there is no race 'sleeping': choose of attention"):
        bench(["sleeping"])
    with pytest.raises(SystemExit):
        cli.main(["bench", "--only", "sleeping"])
    capsys.readouterr()
    assert cli.main(["bench", "--device", "nothing"]) == 2
    assert "cannot use the device 'nothing'" in capsys.readouterr().err
