"""The races of ``mmcourse bench``: every row runs, and the peers compute the same. No times."""

import sys

import pytest
import torch

from mmcourse.bench import bench, races
from mmcourse.bench.races import attention, learning, peers, scores, training
from mmcourse.bench.timing import Race
from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary

ORDINARY = ["attention", "training", "generation", "scores", "layers"]


@pytest.fixture(scope="module")
def found():
    return bench(ORDINARY, quick=True)


@pytest.fixture
def race():
    return Race(quick=True, say=lambda text: None)


def rows_of(found, name):
    return [row for row in found["rows"] if row["race"] == name]


def test_every_row_runs_and_has_its_parts(found):
    counts = {name: len(rows_of(found, name)) for name in ORDINARY}
    assert counts == {"attention": 4, "training": 2, "generation": 4, "scores": 1, "layers": 2}
    for row in found["rows"]:
        assert row["ours"] > 0 and row["peer"] > 0 and row["ratio"] > 0
        if row["unit"] == "MB":
            continue
        assert row["rounds"] >= 3
        assert row["spread"][0] <= row["ratio"] <= row["spread"][1]
        assert set(row["profile"]) == {"ours", row["peer_name"]}
        for kinds in row["profile"].values():
            assert all(share >= 0 for share in kinds.values()) and "Python" in kinds
    assert found["quick"] and "threads" in found["machine"]["device"]


def test_ids_and_values_are_the_same(found):
    for row in rows_of(found, "generation"):
        assert "the same ids in 2 of 2 captions" in row["notes"]
    (row,) = rows_of(found, "scores")
    assert float(row["notes"][0].split()[-1]) < 1e-12


def test_each_profile_sees_its_work(found):
    product = rows_of(found, "training")[1]["profile"]
    assert product["matrix product"]["matrix products"] > 0
    assert product["ours"]["convolutions"] > 0 and product["ours"]["optimiser"] > 0


def test_each_row_begins_with_nothing_compiled(race, monkeypatch):
    """PyTorch compiles one function for some modules only, and then runs it uncompiled."""
    calls = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: calls.append("reset"))
    assert race.settle({}) == ({}, []) and calls == ["reset"]


# ---- attention


@pytest.mark.parametrize("causal", [False, True])
def test_the_contenders_of_attention_compute_the_same(causal):
    torch.manual_seed(0)
    x = torch.randn(2, 7, attention.WIDTH, requires_grad=True)
    steps = attention.contenders(x, causal)
    ours, theirs, fused = (step.module for step in steps.values())
    own = ours.attention
    with torch.no_grad():
        parts = (own.query, own.key, own.value)
        theirs.attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.attention.out_proj.load_state_dict(own.output.state_dict())
    fused.load_state_dict(own.state_dict())
    expected = ours(x)
    torch.testing.assert_close(theirs(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused(x), expected, atol=1e-5, rtol=1e-5)
    changed = x.detach().clone()
    changed[:, -1] += 1
    same = torch.allclose(ours(changed)[:, 0], expected[:, 0])
    assert same == causal, "the first position sees the last one unless it is causal"


@pytest.mark.parametrize("ours, reached", [(1.1, "yes"), (1.11, "no")])
def test_memory_against_the_smallest(race, monkeypatch, ours, reached):
    held = iter([ours * 2**20, 3 * 2**20, 2**20])
    monkeypatch.setattr(attention, "peak_memory", lambda race, run: next(held))
    runs = dict.fromkeys(["ours", "large", "small"], lambda: None)
    row = attention.memory_row(race, "memory", "sizes", runs)
    assert (row["peer_name"], row["peer"], row["reached"]) == ("small", 1.0, reached)
    assert row["ratio"] == pytest.approx(ours)


# ---- training


def test_the_peer_is_our_model_with_another_encoder():
    torch.manual_seed(0)
    model = SceneCaptioner(
        vocabulary()[:60], width=24, heads=3, decoder_layers=2, image_size=32
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    peer = peers.peer_captioner(model).eval()
    memory = torch.randn(3, 16, 24)
    tokens = torch.randint(4, 60, (3, 9))
    theirs = peer(encoder_outputs=(memory,), decoder_input_ids=tokens).logits
    torch.testing.assert_close(model.decode(memory, tokens), theirs, atol=1e-4, rtol=1e-5)
    assert peer.encoder(torch.zeros(1, 3, 32, 32))[0].shape == (1, 1 + 16, 24)
    sizes = [sum(weights.numel() for weights in each.parameters()) for each in (model, peer)]
    assert abs(sizes[0] - sizes[1]) < 12 * 24**2, "within one layer"
    for part in (peer.decoder, peer.encoder):
        assert part.config._attn_implementation == "sdpa"


def test_both_losses_are_of_the_words(race):
    model, batch, sizes = training.captioner_and_batch(race, training.TINY, 3)
    tokens = batch["tokens"]
    assert sizes == f"B 3, D 16, N 64, T {tokens.shape[1] - 1}"
    log_probs = model(batch["images"], tokens[:, :-1]).log_softmax(-1)
    words = [
        -log_probs[row, place, tokens[row, place + 1]]
        for row in range(3)
        for place in range(tokens.shape[1] - 1)
        if tokens[row, place + 1] > 0
    ]
    expected = torch.stack(words).mean()
    torch.testing.assert_close(training.word_loss(batch, model), expected)
    memory = model.encode(batch["images"])
    peer = peers.peer_captioner(model)

    def call(pixel_values, **named):
        return peer(encoder_outputs=(memory,), **named)

    torch.testing.assert_close(training.peer_loss(batch, call), expected, atol=1e-4, rtol=1e-5)


def test_a_step_updates_what_it_trains(race):
    model, batch, _ = training.captioner_and_batch(race, training.TINY, 2)
    before = model.output.weight.clone()
    step = training.update(model, lambda call: training.word_loss(batch, call))
    step.run(step.module)
    assert not torch.equal(model.output.weight, before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_operations_are_counted():
    layer = torch.nn.Linear(30, 40)
    x = torch.ones(20, 30)
    step = training.Step(layer, lambda call: call(x))
    assert training.count_operations(step) == pytest.approx(2 * 20 * 30 * 40 / 1e9)


# ---- a library that is missing


@pytest.mark.parametrize("library", ["transformers", "pycocoevalcap"])
def test_without_a_library(monkeypatch, race, library):
    for module in (peers, scores):
        monkeypatch.setattr(module, "find_spec", lambda name: name != library or None)
    monkeypatch.setitem(sys.modules, library, None)  # an import of it fails, too
    rows = [
        row
        for name in ("layers", "training", "generation", "scores")
        for row in races.RACES[name](race)
    ]
    missing = [row["what"] for row in rows if any("not installed" in note for note in row["notes"])]
    if library == "transformers":
        assert len(missing) == 7
        assert rows[0]["peer_name"] == "torch.nn.TransformerEncoderLayer"
    else:
        assert missing == ["BLEU and CIDEr-D"]


# ---- learning


def test_learning_says_what_was_reached(race, monkeypatch):
    shares = iter([0.5, 0.9])
    monkeypatch.setattr(
        learning, "fact_scores", lambda captions, scenes: {"all": (next(shares), 0.0)}
    )
    (row,) = races.RACES["learning"](race)
    assert row["ratio"] == row["ours"] / row["peer"]
    assert row["reached"] == "no", "ours had not come to 80 %"
    assert row["notes"][1:] == ["ours: 50%", "VisionEncoderDecoderModel: 90%"]


def endless(model, *_, evaluate, **__):
    """Training that never ends by itself."""
    while True:
        evaluate(model)


@pytest.mark.parametrize(
    "values, limit, expected", [((0.3, 0.79, 0.8, 1.0), 600, 0.8), ((0.3, 0.4), -1, 0.3)]
)
def test_learning_stops_at_the_target_and_at_the_limit(monkeypatch, values, limit, expected):
    race = Race(say=lambda text: None)
    scenes = [EmojiScenes("val", only=learning.WORLD)[0]]
    shares = iter(values)
    monkeypatch.setattr(learning, "train", endless)
    monkeypatch.setattr(learning, "LIMIT", limit)
    monkeypatch.setattr(learning, "fact_scores", lambda *_: {"all": (next(shares), 0.0)})
    model, _, _ = training.captioner_and_batch(race, training.TINY, 1)
    seconds, precision = learning.learn(race, model, None, lambda: [[4, 5]], model, scenes)
    assert precision == expected and seconds > 0


@pytest.mark.parametrize("limit, expected", [(100, (30.0, 0.9)), (15, (20.0, 0.5))])
def test_the_seconds_of_learning_are_those_without_evaluation(monkeypatch, limit, expected):
    now = [0.0]
    shares = iter([0.3, 0.5, 0.9])

    def train(model, *_, evaluate, **__):
        while True:
            now[0] += 10
            evaluate(model)

    def fact_scores(*_):
        now[0] += 100
        return {"all": (next(shares), 0.0)}

    race = Race(say=lambda text: None)
    model, _, _ = training.captioner_and_batch(race, training.TINY, 1)
    monkeypatch.setattr(learning, "train", train)
    monkeypatch.setattr(learning, "fact_scores", fact_scores)
    monkeypatch.setattr(learning, "LIMIT", limit)
    monkeypatch.setattr(learning.time, "perf_counter", lambda: now[0])
    assert learning.learn(race, model, None, lambda: [[4, 5]], model, []) == expected


@pytest.mark.parametrize(
    "seconds, precision, reached", [(70, 0.8, "yes"), (71, 0.8, "no"), (70, 0.79, "no")]
)
def test_when_learning_has_reached_its_goal(race, monkeypatch, seconds, precision, reached):
    found = iter([(seconds, precision), (100, 0.9)])
    monkeypatch.setattr(learning, "learn", lambda *_: next(found))
    (row,) = races.RACES["learning"](race)
    assert row["reached"] == reached and row["ratio"] == seconds / 100
