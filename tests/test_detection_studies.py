"""The studies of chapter 8: their parts, and that what is stored says what the page says."""

import numpy as np
import pytest
import torch
from torch import nn

from mmcourse.data import EmojiScenes
from mmcourse.detection import Found, Truth, box_iou
from mmcourse.recipes import detection as recipe
from mmcourse.recipes import detection_studies as studies


def test_regions_are_neighbours_of_one_number():
    cells = [[1, 1, 0], [0, 2, 1], [2, 2, 1]]
    found = [sorted(region) for region in studies.regions_of(cells)]
    assert found == [
        [(0, 0), (0, 1)],
        [(1, 1), (2, 0), (2, 1)],
        [(1, 2), (2, 2)],
    ]


def test_cells_become_boxes():
    head = nn.Linear(3, 3, bias=False)
    head.weight.data = 9 * torch.eye(3)
    features = torch.zeros(1, 16, 3)
    features[..., 0] = 1
    features[0, [5, 6, 9]] = torch.tensor([0.0, 0, 1])  # the second noun, in a corner of three
    found = studies.cells_found(head, recipe.SeenScenes(features, []), side=4)[0]
    assert found.labels.tolist() == [1]
    assert found.boxes.tolist() == [[0.25, 0.25, 0.75, 0.75]]
    assert 0.99 < found.scores[0] < 1


def test_duplicates_are_counted_over_objects_that_were_found():
    box, far = [0, 0, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
    seen = Found(np.array([0, 0, 1, 0]), np.array([0.9, 0.8, 0.9, 0.1]), np.array([box] * 4))
    truth = Truth(np.array([0, 0]), np.array([box, far]))
    assert studies.duplicates([seen], [truth]) == 2
    far_one = Found(*(part[:1] for part in seen))._replace(boxes=np.array([[0.6, 0, 0.9, 0.3]]))
    assert studies.duplicates([far_one], [truth]) == 0
    single = studies.without_doubles([seen])[0]
    assert len(single.scores) == 1


@pytest.mark.parametrize("arm", studies.ARMS)
def test_each_arm_trains(arm):
    few = studies.few_nouns()
    assert len(few) == studies.NOUNS
    dataset = EmojiScenes("train", only=few)
    seen = recipe.look_at(dataset, range(24), recipe.load_convolutions())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "BATCH", 6)
        model = studies.train_arm(arm, seen, 1e-3, 0, 2)
    scores = studies.scores_of(model, seen)
    assert (model.anchors is None) == (arm == "no anchors")
    assert all(0 <= scores[name] <= 1 for name in scores if name.startswith("AP"))


def test_three_queries_answer_for_one_object():
    objects = [(torch.tensor([4, 2]), torch.rand(2, 4))]
    labels, boxes = studies.repeated(objects, 3)[0]
    assert labels.tolist() == [4, 2] * 3 and torch.equal(boxes[2:4], boxes[:2])


def test_a_writer_learns_from_a_memory():
    memory = torch.randn(8, 5, 128).half()
    tokens = [torch.tensor([1, 7, 8, 2])] * 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "WORD_BATCH", 4)
        model = studies.writer(memory, tokens, 3e-3, 0, 12)
    with torch.no_grad():
        after = model.word_loss(memory.float(), torch.stack(tokens))
    assert after < 2
    assert "all" in studies.facts_written(model, memory[:2], [EmojiScenes()[0], EmojiScenes()[1]])


@pytest.mark.parametrize(
    ("name", "arms"), [("parts", studies.ARMS), ("captions", studies.MEMORIES)]
)
def test_what_is_stored_is_whole(name, arms):
    found = studies.read(name)
    assert [row["arm"] for row in found["rows"]] == list(arms)
    assert found["command"].endswith(f"detection_studies {name}")
    for row in found["rows"]:
        assert [seed["seed"] for seed in row["seeds"]] == list(studies.SEEDS)
        assert row["rates"][str(row["rate"])] == max(row["rates"].values())


def seeds_of(name):
    """For each arm of the study of parts, a number of its three seeds."""
    return {row["arm"]: [seed[name] for seed in row["seeds"]] for row in studies.read()["rows"]}


def test_the_page_says_what_the_parts_are_worth():
    found = seeds_of("AP50")
    whole = min(found["all parts"])
    for arm in ("in the order of the list", "three queries for an object", "no object counts 1"):
        assert max(found[arm]) < whole
    assert max(found["no anchors"]) < whole
    assert max(found["no generalised IoU"]) > whole  # the ranges overlap
    counts = seeds_of("detections of an object")
    assert min(counts["three queries for an object"]) > 2
    assert min(counts["no anchors"]) > 2
    assert max(counts["no object counts 1"]) < 1.02
    suppressed = seeds_of("AP50 suppressed")
    assert max(suppressed["three queries for an object"]) > whole
    for arm in ("three queries for an object", "no anchors"):
        assert min(suppressed[arm]) > max(found[arm])
    tried = {row["arm"]: row["rates"].values() for row in studies.read()["rows"]}
    assert studies.read()["settings"]["steps of each rate tried"] == 60
    assert max(max(values) for values in tried.values()) < 0.25
    assert max(tried["no object counts 1"]) < 0.01
    rows = {row["arm"]: row["rate"] for row in studies.read()["rows"]}
    at_the_edge = {arm for arm, rate in rows.items() if rate == max(studies.RATES)}
    assert at_the_edge == {"in the order of the list", "no generalised IoU", "no anchors"}


def test_the_page_says_what_the_captions_are_worth():
    cells, queries = studies.read("captions")["rows"]
    assert cells["rate"] == max(studies.RATES)  # the page says so
    for split in ("val", "style"):
        for kind in ("all", "object", "count", "relation", "size", "colour", "background"):
            least = min(seed[split].get(kind, 0) for seed in cells["seeds"])
            assert least > max(seed[split].get(kind, 0) for seed in queries["seeds"])


def test_true_boxes_rounded_to_cells_mostly_fail_at_the_strict_threshold():
    found = []
    for index in range(60):
        for thing in EmojiScenes("val")[index].objects:
            box = torch.tensor([thing.box]).float()
            found.append(box_iou(box, (box / 8).round() * 8).item())
    assert np.mean(np.array(found) >= 0.75) < 0.5 < np.mean(np.array(found) >= 0.5)
