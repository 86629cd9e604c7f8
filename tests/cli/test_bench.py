"""``mmcourse bench``: every row runs, the peers compute the same, and the table says what was measured. No times."""

import json

import pytest
import torch

from mmcourse import cli
from mmcourse.bench import Race, bench, cells, races, table
from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary


@pytest.fixture(scope="module")
def found():
    return bench(["layers", "training", "generation", "scores", "peak"], quick=True, profile=True)


@pytest.fixture
def race():
    return Race(quick=True)


def clock(monkeypatch, seconds):
    """Let every call take the seconds that are planned for it, by its name, instead of real ones."""
    monkeypatch.setattr(Race, "time", lambda self, run: run() or next(seconds[run.__name__]))


def one():
    pass


def two():
    pass


def three():
    pass


# ---- timing


def test_a_ratio_is_the_median_over_rounds_against_the_fastest_peer(race, monkeypatch):
    clock(
        monkeypatch,
        {
            "one": iter([1.0, 2.0, 4.0]),
            "two": iter([2.0, 2.0, 40.0]),
            "three": iter([9.0, 9.0, 9.0]),
        },
    )
    row = race.row("what", "sizes", {"ours": one, "slow": three, "fast": two}, 2)
    assert row["ours"] == 2000 and row["peer"] == 2000 and row["peer_name"] == "fast"
    assert (
        row["ratio"] == 2.0
        and row["spread"] == [1.0, 10.0]
        and row["rounds"] == 3
        and row["reached"] is True
    )
    assert cells(row) == [
        "what",
        "sizes",
        "2,000 ms",
        "2,000 ms",
        "2.00 (1.00 to 10.00)",
        "≥ 2",
        "yes",
    ]


def test_work_counts(race, monkeypatch):
    clock(monkeypatch, {"one": iter([2.0] * 3), "two": iter([1.0] * 3)})
    row = race.row(
        "what",
        "sizes",
        {"ours": one, "peer": two},
        0.6,
        work={"ours": 8, "peer": 8},
        unit="samples/s",
    )
    assert (row["ours"], row["peer"], row["ratio"], row["reached"]) == (4.0, 8.0, 0.5, False)
    clock(monkeypatch, {"one": iter([2.0] * 3), "two": iter([1.0] * 3)})
    row = race.row(
        "what", "sizes", {"ours": one, "peer": two}, work={"ours": 8, "peer": 2}, unit="GFLOP/s"
    )
    assert (row["ours"], row["peer"], row["ratio"], row["reached"]) == (4.0, 2.0, 2.0, None)


def test_every_round_turns_the_order(race):
    calls = []
    times = race.rounds({name: lambda name=name: calls.append(name) for name in "abc"})
    assert "".join(calls) == "abccbaabc" and {len(seconds) for seconds in times.values()} == {3}


def test_a_missing_peer_gives_a_row_that_says_so(race):
    row = race.row("what", "sizes", {"ours": one, "theirs": None}, 2)
    assert row["notes"] == ["theirs is not installed (pip install '.[test]')"]
    assert cells(row)[3:] == ["–", "–", "≥ 2", "–"]


def test_the_fastest_setting_is_taken(monkeypatch):
    module, x, seconds = (
        torch.nn.Linear(2, 2),
        torch.ones(1, 2),
        {torch.float32: 3.0, torch.bfloat16: 2.0},
    )
    monkeypatch.setattr(Race, "time", lambda self, run: seconds[run().dtype])
    for works, name in ((False, "bfloat16"), (True, "bfloat16, compiled")):

        def compiled(call, works=works):
            if not works:
                raise RuntimeError("no compiler")
            seconds[torch.float64] = 1.0
            return lambda x: call(x).double()

        monkeypatch.setattr(torch, "compile", compiled)
        setting, run = Race().fastest(module, lambda call: call(x))
        assert setting == name and run().dtype == (torch.float64 if works else torch.bfloat16)
    monkeypatch.setattr(torch, "compile", lambda call: call)  # works, and gains nothing
    seconds[torch.float32] = 1.0
    setting, run = Race().fastest(module, lambda call: call(x))
    assert setting == "float32" and run().dtype == torch.float32


# ---- rows


def test_every_row_runs_and_has_its_parts(found):
    names = [row["name"] for row in found["rows"]]
    assert sorted(set(names)) == ["generation", "layers", "peak", "scores", "training"]
    assert names.count("layers") == 2 and names.count("generation") == 4
    for row in found["rows"]:
        assert row["ours"] > 0 and row["peer"] > 0 and row["ratio"] > 0 and row["rounds"] >= 3
        assert row["spread"][0] <= row["ratio"] <= row["spread"][1]
        assert set(row["profile"]) == {"ours", row["peer_name"]}
        for kinds in row["profile"].values():
            assert all(share >= 0 for share in kinds.values()) and "Python" in kinds
    assert found["quick"] and "threads" in found["machine"]["device"]


def test_ids_and_values_are_the_same(found):
    rows = [row for row in found["rows"] if row["name"] == "generation"]
    assert len(rows) == 4 and all("the same ids in 2 of 2 captions" in row["notes"] for row in rows)
    (scores,) = (row for row in found["rows"] if row["name"] == "scores")
    assert float(scores["notes"][0].split()[-1]) < 1e-12


def test_each_profile_sees_matrix_products(found):
    (row,) = (row for row in found["rows"] if row["name"] == "peak")
    assert row["profile"]["matrix product"]["matrix products"] > 0
    assert row["profile"]["ours"]["convolutions"] > 0 and row["profile"]["ours"]["optimiser"] > 0


def test_the_peer_is_our_model_with_another_eye():
    torch.manual_seed(0)
    model = SceneCaptioner(
        vocabulary()[:60], width=24, heads=3, decoder_layers=2, image_size=32
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    peer = races.peer_captioner(model).eval()
    memory, tokens = torch.randn(3, 16, 24), torch.randint(4, 60, (3, 9))
    theirs = peer(encoder_outputs=(memory,), decoder_input_ids=tokens).logits
    torch.testing.assert_close(model.decode(memory, tokens), theirs, atol=1e-4, rtol=1e-5)
    assert peer.encoder(torch.zeros(1, 3, 32, 32))[0].shape == (1, 1 + 16, 24)
    ours, theirs = (
        sum(parameter.numel() for parameter in each.parameters()) for each in (model, peer)
    )
    assert abs(ours - theirs) < 12 * 24**2, "within one layer"
    assert (
        peer.decoder.config._attn_implementation
        == peer.encoder.config._attn_implementation
        == "sdpa"
    )


def test_both_losses_are_of_the_words(race):
    model, batch, sizes = races.captioner_and_batch(race, races.TINY, 3)
    assert sizes == f"B 3, D 16, N 64, T {batch['tokens'].shape[1] - 1}"
    peer, logits = races.peer_captioner(model), model(batch["images"], batch["tokens"][:, :-1])
    words = [
        -logits[row, place].log_softmax(-1)[batch["tokens"][row, place + 1]]
        for row in range(3)
        for place in range(logits.shape[1])
        if batch["tokens"][row, place + 1] > 0
    ]
    torch.testing.assert_close(races.word_loss(batch, model), torch.stack(words).mean())
    memory = model.encode(batch["images"])
    theirs = races.peer_loss(
        batch, lambda pixel_values, **named: peer(encoder_outputs=(memory,), **named)
    )
    torch.testing.assert_close(theirs, races.word_loss(batch, model), atol=1e-4, rtol=1e-5)


def test_a_step_updates_what_it_trains(race):
    model, batch, _ = races.captioner_and_batch(race, races.TINY, 2)
    before = model.output.weight.clone()
    module, step = races.updates(model, lambda call: races.word_loss(batch, call))
    step(module)
    assert not torch.equal(model.output.weight, before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("library", ["transformers", "pycocoevalcap"])
def test_without_a_library(monkeypatch, race, library):
    monkeypatch.setattr(races, "find_spec", lambda name: name != library or None)
    monkeypatch.setitem(__import__("sys").modules, library, None)  # an import of it fails, too
    rows = [
        row
        for name in ("layers", "training", "generation", "scores")
        for row in races.ROWS[name](race)
    ]
    missing = [row["what"] for row in rows if any("not installed" in note for note in row["notes"])]
    if library == "transformers":
        assert len(missing) == 7 and rows[0]["peer_name"] == "torch.nn.TransformerEncoderLayer"
    else:
        assert missing == ["BLEU and CIDEr-D"]


def test_learning_stops_and_says_what_was_reached(race, monkeypatch):
    scores = iter([0.5, 0.9])
    monkeypatch.setattr(races, "fact_scores", lambda captions, scenes: {"all": (next(scores), 0.0)})
    (row,) = races.learning(race)
    assert row["ratio"] == row["ours"] / row["peer"] and row["reached"] is False, (
        "ours had not reached 80 %"
    )
    assert row["notes"][1:] == ["ours: 50%", "VisionEncoderDecoderModel: 90%"]


def test_learning_stops_at_the_target_and_at_the_limit(monkeypatch):
    race, scenes = Race(quick=False), [EmojiScenes("val", only=races.WORLD)[0]]
    monkeypatch.setattr(races, "TrainingConfig", lambda *_, **__: None)
    for values, limit, expected in (([0.3, 0.79, 0.8, 1.0], 600, 0.8), ([0.3, 0.4], -1, 0.3)):

        def train(model, *_, evaluate, **__):
            while True:
                evaluate(model)

        found = iter(values)
        monkeypatch.setattr(races, "train", train)
        monkeypatch.setattr(races, "LIMIT", limit)
        monkeypatch.setattr(
            races, "fact_scores", lambda *_, found=found: {"all": (next(found), 0.0)}
        )
        model, _, _ = races.captioner_and_batch(race, races.TINY, 1)
        seconds, precision = races.learn(race, model, None, lambda: [[4, 5]], model, scenes)
        assert precision == expected and seconds > 0


@pytest.mark.parametrize("limit, expected", [(100, (30.0, 0.9)), (15, (20.0, 0.5))])
def test_the_seconds_of_learning_are_those_without_evaluation(race, monkeypatch, limit, expected):
    now, found = [0.0], iter([0.3, 0.5, 0.9])

    def train(model, *_, evaluate, **__):
        while True:
            now[0] += 10
            evaluate(model)

    def scores(*_):
        now[0] += 100
        return {"all": (next(found), 0.0)}

    model, _, _ = races.captioner_and_batch(race, races.TINY, 1)
    for name, value in (("train", train), ("fact_scores", scores), ("LIMIT", limit)):
        monkeypatch.setattr(races, name, value)
    monkeypatch.setattr(races.time, "perf_counter", lambda: now[0])
    assert races.learn(Race(), model, None, lambda: [[4, 5]], model, []) == expected


@pytest.mark.parametrize(
    "seconds, precision, reached", [(70, 0.8, True), (71, 0.8, False), (70, 0.79, False)]
)
def test_when_learning_has_reached_its_goal(race, monkeypatch, seconds, precision, reached):
    found = iter([(seconds, precision), (100, 0.9)])
    monkeypatch.setattr(races, "learn", lambda *_: next(found))
    (row,) = races.learning(race)
    assert row["reached"] is reached and row["ratio"] == seconds / 100


# ---- the command


def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys):
    file = tmp_path / "found.json"
    assert cli.main(["bench", "--quick", "--only", "scores", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    found = json.loads(file.read_text(encoding="utf-8"))
    assert text == table(found) + "\n" and [row["name"] for row in found["rows"]] == ["scores"]
    assert "BLEU and CIDEr-D" in text and "1. peer: pycocoevalcap" in text


def test_all_but_the_long_row_run_unless_told(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmcourse.bench.bench",
        lambda names, **given: seen.append((tuple(names), given)) or {"machine": {}, "rows": []},
    )
    cli.main(["bench"])
    cli.main(["bench", "--only", "learning", "peak", "--quick", "--profile", "--device", "cuda"])
    assert seen == [
        (
            ("layers", "training", "generation", "scores", "peak"),
            {"quick": False, "device": "cpu", "profile": False},
        ),
        (("learning", "peak"), {"quick": True, "device": "cuda", "profile": True}),
    ]
    assert tuple(races.ROWS) == cli.ROWS


def test_bad_use(capsys):
    with pytest.raises(ValueError, match="there is no row 'sleeping': choose of layers"):
        bench(["sleeping"])
    with pytest.raises(SystemExit):
        cli.main(["bench", "--only", "sleeping"])
    capsys.readouterr()
    assert cli.main(["bench", "--device", "nothing"]) == 2
    assert "cannot use the device 'nothing'" in capsys.readouterr().err
