"""How chapter 22 trains: scenes encoded once, batches, one loop, and arms of preferences."""

import types

import numpy as np
import pytest
import torch

from mmcourse import hub
from mmcourse.data import EmojiScenes
from mmcourse.evaluation import fact_scores
from mmcourse.recipes import stored
from mmcourse.recipes import vlm as recipe
from mmcourse.recipes import vlm_bridge_studies as bridges
from mmcourse.recipes import vlm_mixture_studies as mixture
from mmcourse.recipes import vlm_studies as studies
from mmcourse.recipes import vlm_whole_studies as whole
from mmcourse.vlm import (
    PICTURE,
    VLM,
    GatedBridge,
    Instruction,
    Projector,
    dpo_loss,
    fact_reward,
    read_box,
    sentence_log_probs,
)
from mmcourse.vqa import chair


@pytest.fixture(scope="module")
def seen():
    return recipe.see(hub.load("scenes"), "train", recipe.FIRST, 12, only=recipe.NOUNS, size=5)


@pytest.fixture(scope="module")
def tokenizer():
    return hub.load_tokenizer("gpt")


def joined(kind):
    torch.manual_seed(0)
    bridge = Projector(128, 160, merge=4) if kind == "projector" else GatedBridge(128, 160, 4)
    return VLM(None, bridge, hub.load("gpt").requires_grad_(False)).eval()


def test_what_was_seen(seen):
    captioner = hub.load("scenes")
    assert seen.cells.shape == (12, 64, 128) and seen.cells.dtype == torch.half
    scene = EmojiScenes("train", only=recipe.NOUNS)[recipe.FIRST + 7]
    assert seen.scenes[7].key == scene.key and seen.scenes[7].image is None
    with torch.no_grad():
        cells = captioner.encode(scene.image[None])
    assert (seen.cells[7].float() - cells[0]).abs().max() < 0.01
    assert len(seen.first(3).scenes) == len(seen.first(3).cells) == 3


def test_a_batch_counts_the_answer_only(seen, tokenizer):
    asked = recipe.ask(seen.scenes, recipe.TASKS, 0)
    assert len(asked) > 36
    for kind in ("projector", "gated"):
        model = joined(kind)
        ids, cells, mask, counted = recipe.batch_of(model, tokenizer, seen, asked[:3])
        assert (ids == PICTURE).sum().item() == (12 if kind == "projector" else 0)
        assert torch.equal(cells, seen.cells[[one.number for one in asked[:3]]].float())
        for row, one in enumerate(asked[:3]):
            assert tokenizer.decode(ids[row][counted[row]][:-1].tolist()).strip() == (
                one.instruction.answer
            )
            assert ids[row][counted[row]][-1] == 0
        assert mask is None or (counted & ~mask).sum() == 0


@pytest.mark.parametrize("kind", ["projector", "gated"])
def test_only_what_is_free_is_trained(kind, seen, tokenizer):
    model = joined(kind)
    asked = recipe.ask(seen.scenes, ("caption",), 0)
    frozen = {name: one.clone() for name, one in hub.load("gpt").state_dict().items()}
    losses = recipe.fit(model, tokenizer, seen, asked, 12, 3e-3, 0, batch=6)
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.05
    now = {name.replace(".layer.", "."): one for name, one in model.language.state_dict().items()}
    for name, one in frozen.items():
        assert torch.equal(now[name], one)
    few = [asked[number] for number in (5, 2, 8)]
    texts = recipe.answers(model, tokenizer, seen, few, size=2)
    assert texts == [recipe.answers(model, tokenizer, seen, [one])[0] for one in few]
    again = recipe.fit(joined(kind), tokenizer, seen, asked, 3, 3e-3, 0, batch=6)
    assert again == recipe.fit(joined(kind), tokenizer, seen, asked, 3, 3e-3, 0, batch=6)
    assert again != recipe.fit(joined(kind), tokenizer, seen, asked, 3, 3e-3, 1, batch=6)
    assert (recipe.marks(seen, asked[:3], texts) >= 0).all()


def test_a_language_model_alone_looks_at_no_picture(seen, tokenizer):
    model = recipe.TextAlone(hub.load("gpt"))
    asked = recipe.ask(seen.scenes, ("caption",), 0)
    ids, cells, mask, counted = recipe.batch_of(model, tokenizer, seen, asked)
    assert model.loss(ids, cells, mask, counted) == model.language.loss(ids, mask, counted)
    losses = recipe.fit(model, tokenizer, seen, asked, 4, 1e-3, 0, batch=6)
    assert losses[-1] < losses[0]


def test_marks(seen):
    asked = recipe.ask(seen.scenes, ("caption", "refusal"), 0)
    texts = [one.instruction.answer for one in asked]
    assert recipe.marks(seen, asked, texts).tolist() == [1.0] * len(asked)
    assert recipe.marks(seen, asked, ["" for _ in asked]).tolist() == [0.0] * len(asked)
    wrong = recipe.Asked(0, Instruction("box", "where is the car", "0 0 9 9"))
    assert recipe.marks(seen, [wrong], ["there is no car"]).tolist() == [0.0]


@pytest.mark.parametrize("arm", studies.ARMS)
def test_an_arm_trains_what_writes_and_not_what_sees(arm, seen, monkeypatch):
    monkeypatch.setattr(studies, "BATCH", 6)
    before = hub.load("scenes").state_dict()
    model = studies.tune(arm, seen, [0, 1, 2], 0, 1e-2, 3)
    changed = {
        name for name, one in model.state_dict().items() if not torch.equal(one, before[name])
    }
    writing = ("decoder.", "embedding.", "output.", "positions")
    assert changed and all(name.startswith(writing) for name in changed)


def written(captioner, scenes, shift):
    """Two sentences for each scene as ids: a caption of it, and one of another scene."""
    texts = []
    for row, scene in enumerate(scenes):
        other = scenes[(row + shift) % len(scenes)]
        texts += [scene.captions[0], other.captions[1]]
    return [[captioner.ids[word] for word in text.split()] for text in texts]


def test_rewards_and_baselines_belong_to_their_scenes(seen, monkeypatch):
    captioner = hub.load("scenes")
    chosen = [4, 1, 7]
    scenes = [seen.scenes[row] for row in chosen]
    batch = studies.Batch(captioner, seen.cells[chosen].float(), scenes, None)
    drawn = written(captioner, batch.scenes, 1)
    greedy = written(captioner, batch.scenes, 2)[1::2]
    given = {"sample": drawn, "greedy": greedy}
    monkeypatch.setattr(studies, "write", lambda model, memory, name="greedy": given[name])
    loss = 0
    for place, ids in enumerate(drawn):
        scene, row = batch.scenes[place // 2], [4, 1, 7][place // 2]
        said = [
            fact_reward(studies.as_text(captioner, one), scene) for one in (ids, greedy[place // 2])
        ]
        log_prob = sentence_log_probs(captioner, seen.cells[row : row + 1].float(), [ids])
        loss = loss - (said[0] - said[1]) * log_prob[0] / 6
    assert torch.allclose(batch.by_reward("f1"), loss, atol=1e-4)
    before = hub.load("scenes")
    torch.nn.init.normal_(before.output.bias)
    by_hand = 0
    for number, row in enumerate([4, 1, 7]):
        memory = seen.cells[row : row + 1].float()
        pair = drawn[2 * number : 2 * number + 2]  # the first is true of the scene
        new = [sentence_log_probs(captioner, memory, [one]) for one in pair]
        old = [sentence_log_probs(before, memory, [one]) for one in pair]
        by_hand = by_hand + dpo_loss(*new, *old, beta=studies.BETA) / 3
    assert torch.allclose(batch.by_pairs(before), by_hand, atol=1e-4)


def test_the_baseline_of_a_sentence_is_the_mean_of_the_others(seen, monkeypatch):
    captioner = hub.load("scenes")
    chosen = [3, 0]
    scenes = [seen.scenes[row] for row in chosen]
    batch = studies.Batch(captioner, seen.cells[chosen].float(), scenes, None)
    texts = [text for scene in scenes for text in (*scene.captions[:1], "a car", "a red dog")]
    drawn = [[captioner.ids[word] for word in text.split()] for text in texts]
    monkeypatch.setattr(studies, "write", lambda model, memory, name: drawn)
    by_hand = 0
    for place, (text, ids) in enumerate(zip(texts, drawn, strict=True)):
        row = place // 3
        others = [one for one in range(3 * row, 3 * row + 3) if one != place]
        baseline = sum(fact_reward(texts[one], scenes[row], "f0.5") for one in others) / 2
        log_prob = sentence_log_probs(captioner, batch.memory[row : row + 1], [ids])[0]
        by_hand = by_hand - (fact_reward(text, scenes[row], "f0.5") - baseline) * log_prob / 6
    assert torch.allclose(batch.by_others("f0.5", 3), by_hand, atol=1e-4)


@pytest.mark.parametrize("arm", whole.ARMS)
def test_an_arm_that_trains_the_whole_captioner(arm, monkeypatch):
    monkeypatch.setattr(whole, "BATCH", 6)
    before = hub.load("scenes").state_dict()
    model = whole.tune(arm, 0, 2)
    same = [name for name, one in model.state_dict().items() if torch.equal(one, before[name])]
    learns = {name for name, _ in model.named_parameters()}
    assert learns and not learns & set(same)
    again = whole.tune(arm, 0, 2)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
    asked = set()

    class Recorded(whole.EmojiScenes):
        def __getitem__(self, number):
            asked.add(number)
            return super().__getitem__(number)

    monkeypatch.setattr(whole, "EmojiScenes", Recorded)
    whole.tune(arm, 0, 2)
    whole.tune(arm, 1, 2)
    assert len(asked) == 24, "each scene once, and other ones for each seed"


def test_the_study_of_the_whole_captioner_keeps_the_rows_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    for name, value in {"STEPS": 1, "BATCH": 2, "JUDGED": {"val": 3, "style": 2}}.items():
        monkeypatch.setattr(whole, name, value)
    whole.main([1], ["f0.5"])
    found = whole.read()
    assert [(row["arm"], row["seed"]) for row in found["rows"]] == [("f0.5", 1)]
    whole.main([1])
    assert whole.read()["rows"][0] == found["rows"][0]
    assert [row["arm"] for row in whole.read()["rows"]] == ["f0.5", "words"]
    assert studies.unpacked(found["rows"][0]["splits"]["style"]).shape == (2, 7)


def test_a_mistyped_arm_is_refused():
    with pytest.raises(ValueError, match="unknown arms"):
        studies.main(["wrods"])


def test_what_is_judged(seen):
    captioner = hub.load("scenes")
    rows = studies.judge(captioner, seen)
    texts = studies.greedy_texts(captioner, seen)
    found = studies.shares(rows)
    precision, recall = fact_scores(texts, seen.scenes)["all"]
    assert abs(1 - found["hallucination"] - precision) < 1e-9
    assert abs(found["recall"] - recall) < 1e-9
    assert np.allclose([found["chair_i"], found["chair_s"]], chair(texts, seen.scenes))
    assert found["words"] == np.mean([len(text.split()) for text in texts])
    hard = studies.hard_scenes(captioner, seen)
    assert all(
        rows[number][0] < rows[number][1] or rows[number][2] < rows[number][3] for number in hard
    )
    assert (studies.unpacked(studies.packed(rows)) == rows).all()


def test_intervals_and_parts_by_hand():
    assert abs(studies.over_seeds([1.0, 2.0, 3.0]) - 4.303 / 3**0.5) < 1e-9
    assert abs(studies.over_seeds([1.0, 3.0]) - 12.706) < 1e-9
    before = np.array([[8, 10, 0, 0, 0, 0, 0], [10, 10, 0, 0, 0, 0, 0]])
    after = np.array([[[9, 10, 0, 0, 0, 0, 0]] * 2, [[10, 10, 0, 0, 0, 0, 0]] * 2])
    assert abs(studies.fewer_invented(after, before) - 0.5) < 1e-9


def test_the_language_model_learns_at_its_own_rate(seen, tokenizer):
    asked = recipe.ask(seen.scenes, ("caption",), 0)
    moved = {}
    for share in (1e-3, 1.0):
        model = joined("gated")
        model.language.requires_grad_(True)
        before = {name: part.detach().clone() for name, part in model.named_parameters()}
        groups = recipe.groups_of(model, share)
        free = sum(len(group["params"]) for group in groups)
        assert free == len(before) and {group["share"] for group in groups} == {1.0, share}
        recipe.fit(model, tokenizer, seen, asked, 2, 1e-2, 0, batch=4, share=share)
        for name in ("language.embedding.weight", "bridge.layers.0.attention_gate"):
            change = (dict(model.named_parameters())[name] - before[name]).abs().max().item()
            moved[share, name] = change
    small, large = (moved[share, "language.embedding.weight"] for share in (1e-3, 1.0))
    assert 0 < small < 0.01 * large
    gates = [moved[share, "bridge.layers.0.attention_gate"] for share in (1e-3, 1.0)]
    assert min(gates) > 0.001


@pytest.mark.parametrize("arm", [*bridges.RATES, *bridges.LANGUAGE_RATES])
def test_what_an_arm_of_the_bridges_trains(arm):
    model = bridges.make(arm, 0)
    free = {name for name, part in model.named_parameters() if part.requires_grad}
    own = {id(part) for part in model.bridge.parameters()}
    beside = {name for name in free if id(dict(model.named_parameters())[name]) not in own}
    assert len(free) - len(beside) == len(list(model.bridge.parameters()))
    if arm == "gated, LoRA":
        assert beside and all(name.endswith((".down", ".up")) for name in beside)
    elif arm == "gated, all":
        assert "language.embedding.weight" in beside
    else:
        assert not beside
    if arm.startswith("gated"):
        gate = model.bridge.layers[0].attention_gate.item()
        assert gate == (1.0 if arm == "gated, open" else 0.0)
    again = bridges.make(arm, 0)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_study_of_bridges_keeps_the_rows_that_it_has(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    for name, value in {
        "MANY": 6, "STEPS": 2, "TUNING_STEPS": 1, "BATCH": 2, "TESTED": 3, "TUNED": 2,
        "GLOSSES": 2, "SEEDS": (0,), "PLAN": ((3, ("gated", "gated, LoRA")),),
    }.items():  # fmt: skip
        monkeypatch.setattr(bridges, name, value)
    bridges.main()
    found = stored.read_study("vlm_bridges")
    frozen, low = found["rows"]
    assert len(frozen["f1"]) == len(frozen["other picture"]) == 3 == frozen["scenes"]
    assert frozen["bits"] == found["before"]["bits"] != low["bits"]
    rate = found["rates"]["gated"]["chosen"]
    assert rate in [[1e-3, None], [3e-3, None], [1e-2, None]]
    assert len(found["rates"]["gated"]["tried"]) == 3
    tried = [rates for rates, _ in found["rates"]["gated, LoRA"]["tried"]]
    assert tried == [[rate[0], 1e-3], [rate[0], 3e-3], [rate[0], 1e-2]]
    bridges.main()
    assert stored.read_study("vlm_bridges") == found


@pytest.fixture
def trained(monkeypatch):
    """What the studies train and ask, written down in place of being done."""
    done = types.SimpleNamespace(fits=[], asked=[])

    def fit(model, tokenizer, seen, asked, steps, rate, seed, batch, share):
        tasks = {one.instruction.task for one in asked}
        done.fits.append((tasks, len(seen.cells), steps, rate, seed, batch, share))

    def answers(model, tokenizer, seen, asked):
        done.asked.append(seen.cells)
        return ["" for _ in asked]

    monkeypatch.setattr(recipe, "fit", fit)
    monkeypatch.setattr(recipe, "answers", answers)
    return done


def test_each_arm_of_the_mixture_learns_its_tasks_and_is_shown_both(tmp_path, monkeypatch, trained):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    rates = {"gated, LoRA": {"chosen": [2e-3, 1e-3]}}
    stored.write_study("vlm_bridges", {"rates": rates})
    for name, value in {"SCENES": 6, "TESTED": 3, "STEPS": 5, "BATCH": 2, "SEEDS": (7,)}.items():
        monkeypatch.setattr(mixture, name, value)
    mixture.main()
    learned = [({task}, 5) for task in recipe.TASKS]
    learned += [(set(recipe.TASKS), 5), (set(recipe.TASKS), 20)]
    assert trained.fits == [(tasks, 6, steps, 2e-3, 7, 2, 0.5) for tasks, steps in learned]
    for own, other in zip(trained.asked[::2], trained.asked[1::2], strict=True):
        assert torch.equal(other, own.roll(1, 0)) and not torch.equal(other, own)


def test_each_bridge_learns_from_its_scenes_at_the_rate_of_the_least_loss(
    tmp_path, monkeypatch, trained
):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    for name, value in {
        "MANY": 6, "STEPS": 4, "TUNING_STEPS": 2, "BATCH": 2, "TESTED": 3, "TUNED": 2,
        "SEEDS": (0,), "PLAN": ((3, ("gated", "gated, LoRA")),),
    }.items():  # fmt: skip
        monkeypatch.setattr(bridges, name, value)
    losses = iter([3.0, 1.0, 2.0, 0.5, 3.0, 1.0, 2.0, 0.5])  # three rates and a row, twice
    monkeypatch.setattr(bridges.Study, "loss", lambda study, model: next(losses))
    monkeypatch.setattr(bridges.Study, "bits", lambda study, language: 1.0)
    bridges.main()
    caption = {"caption"}
    tried = [(caption, 6, 2, rate, 1, 2, 1.0) for rate in (1e-3, 3e-3, 1e-2)]
    low = [(caption, 6, 2, 3e-3, 1, 2, rate / 3e-3) for rate in (1e-3, 3e-3, 1e-2)]
    assert trained.fits == [
        *tried, (caption, 3, 4, 3e-3, 0, 2, 1.0), *low, (caption, 3, 4, 3e-3, 0, 2, 1.0),
    ]  # fmt: skip
    for own, other in zip(trained.asked[::2], trained.asked[1::2], strict=True):
        assert torch.equal(other, own.roll(1, 0)) and not torch.equal(other, own)


def test_what_can_be_answered_without_looking(seen):
    taught = recipe.ask(seen.scenes, recipe.TASKS, 0, recipe.NOUNS)
    texts = mixture.without_looking(seen, taught, taught)
    every_box = [box for one in taught if (box := read_box(one.instruction.answer))]
    assert len(texts) == len(taught)
    for one, text in zip(taught, texts, strict=True):
        task, prompt = one.instruction.task, one.instruction.prompt
        alike = [each.instruction.answer for each in taught if each.instruction.prompt == prompt]
        if task == "caption":
            assert text in alike and text == texts[0]
        elif task == "question":
            assert alike.count(text) == max(alike.count(each) for each in alike)
        else:
            boxes = [box for box in map(read_box, alike) if box] or every_box
            assert read_box(text) == tuple(np.median(boxes, 0).astype(int))
    captions = [one for one in taught if one.instruction.task == "caption"]
    marks = {
        text: recipe.marks(seen, captions, [text] * len(captions)).mean()
        for text in {one.instruction.answer for one in captions}
    }
    assert marks[texts[0]] == max(marks.values())


def test_a_study_of_the_mixture_keeps_the_rows_that_it_has(tmp_path, monkeypatch):
    rates = stored.read_study("vlm_bridges")["rates"]
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    stored.write_study("vlm_bridges", {"rates": rates})
    for name, value in {
        "SCENES": 6, "TESTED": 2, "STEPS": 1, "BATCH": 2, "SEEDS": (0,),
    }.items():  # fmt: skip
        monkeypatch.setattr(mixture, name, value)
    mixture.main()
    found = stored.read_study("vlm_mixture")
    names = [name for name, _, _ in mixture.plan()]
    both = [each for name in names for each in (name, f"{name}, other picture")]
    assert [row["arm"] for row in found["rows"]] == ["without looking", *both]
    assert [row["steps"] for row in found["rows"][1::2]] == [1, 1, 1, 1, 1, 4]
    for row in found["rows"]:
        assert list(row["marks"]) == list(recipe.TASKS) and len(row["marks"]["caption"]) == 2
    mixture.main()
    assert stored.read_study("vlm_mixture") == found


def test_what_is_stored_is_whole():
    found = stored.read_study("vlm_bridges")
    rows = {(row["arm"], row["scenes"], row["seed"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"])
    for count, arms in bridges.PLAN:
        for arm in arms:
            tried = found["rates"][arm]["tried"]
            assert found["rates"][arm]["chosen"] == min(tried, key=lambda one: one[1])[0]
            for seed in bridges.SEEDS:
                row = rows[arm, count, seed]
                assert len(row["f1"]) == len(row["other picture"]) == bridges.TESTED
                frozen = arm not in bridges.LANGUAGE_RATES
                assert (row["bits"] == found["before"]["bits"]) == frozen
    found = stored.read_study("vlm_mixture")
    arms = {(row["arm"], row["seed"]) for row in found["rows"]}
    assert arms >= {(arm, seed) for arm, _, _ in mixture.plan() for seed in mixture.SEEDS}
    assert len({tuple(map(len, row["marks"].values())) for row in found["rows"]}) == 1
    for row in studies.read()["rows"]:
        for split, count in studies.JUDGED.items():
            rows = studies.unpacked(row["splits"][split])
            assert rows.shape == (count, len(studies.COLUMNS))
            assert (rows[:, 0] <= rows[:, 1]).all() and (rows[:, 2] <= rows[:, 3]).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_eyes_that_learn_a_reward_invents_a_quarter_less_without_losing_recall(seed):
    (before,) = (row for row in studies.read()["rows"] if row["arm"] == "before")
    before = studies.unpacked(before["splits"]["val"])
    rows = {row["arm"]: row for row in whole.read()["rows"] if row["seed"] == seed}
    after = studies.unpacked(rows["f0.5"]["splits"]["val"])
    assert after.shape == before.shape == (1000, len(studies.COLUMNS))
    assert studies.fewer_invented(after[:, None], before) >= 0.25
    assert studies.shares(after)["recall"] >= studies.shares(before)["recall"]
    assert rows["words"]["splits"].keys() == rows["f0.5"]["splits"].keys() == studies.JUDGED.keys()


def test_a_study_of_preferences_keeps_the_rows_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    for name, value in {
        "SCENES": 12, "STEPS": 1, "BATCH": 2, "TUNING": 2, "SEEDS": (0,),
        "JUDGED": {"val": 3, "style": 2},
    }.items():  # fmt: skip
        monkeypatch.setattr(studies, name, value)
    monkeypatch.setattr(studies, "hard_scenes", lambda captioner, seen: [0, 1])
    studies.main(["words"])
    found = studies.read()
    assert [row["arm"] for row in found["rows"]] == ["before", "words"]
    assert studies.unpacked(found["rows"][1]["splits"]["val"]).shape == (3, 7)
    assert found["rates"]["words"]["chosen"] in studies.RATES
    studies.main(["words", "precision"])
    assert studies.read()["rows"][:2] == found["rows"] and len(studies.read()["rows"]) == 3
