"""The case study of medical pictures: what is made up, the splits, and what leaks."""

import numpy as np
import pytest
import torch

from mmcourse.case_studies.medical import (
    SIDE,
    SIDES,
    SYMPTOMS,
    WORDS,
    PictureAndNote,
    fit,
    known_patients,
    make_visits,
    overlap,
    split_visits,
)
from mmcourse.evaluation import auroc


@pytest.mark.parametrize("patients, visits", [(10, 2), (15, 7), (40, 3)])
def test_visits_are_what_was_promised(patients, visits):
    found = make_visits(patients, visits, seed=patients)
    assert found.pictures.shape == (patients * visits, SIDE, SIDE)
    assert found.notes.shape == (patients * visits, len(WORDS))
    assert np.bincount(found.patient).tolist() == [visits] * patients
    by_patient = found.ill.reshape(patients, visits)
    assert (by_patient == by_patient[:, :1]).all() and by_patient[:, 0].mean() == 0.4
    again = make_visits(patients, visits, seed=patients)
    assert (again.pictures == found.pictures).all() and (again.notes == found.notes).all()


def likeness(visits):
    """The mean correlation of two pictures of one patient, and of two patients."""
    flat = visits.pictures.reshape(len(visits.pictures), -1)
    table = np.corrcoef(flat)
    same = visits.patient[:, None] == visits.patient
    return table[same & ~np.eye(len(table), dtype=bool)].mean(), table[~same].mean()


def test_patients_are_known_again_only_where_they_share_something():
    own, others = likeness(make_visits(30, 4))
    assert own > 0.2 > abs(others)
    own, others = likeness(make_visits(30, 4, shared=False))
    assert abs(own - others) < 0.1


def test_the_ill_have_more_symptoms_and_the_same_habits():
    visits = make_visits(400, 5)
    gap = visits.notes[visits.ill].mean(0) - visits.notes[~visits.ill].mean(0)
    assert (gap[: len(SYMPTOMS)] > 0.03).all() and np.abs(gap[len(SYMPTOMS) :]).mean() < 0.06
    row = int(visits.notes.sum(1).argmax())
    assert visits.note(row).count(", ") == visits.notes[row].sum() - 1


@pytest.mark.parametrize("patients, visits", [(9, 5), (20, 1)])
def test_too_few_visits_are_refused(patients, visits):
    with pytest.raises(ValueError, match="expected ten patients or more"):
        make_visits(patients, visits)


@pytest.mark.parametrize("seed", range(3))
def test_a_split_by_patient_shares_none_and_one_by_visit_nearly_all(seed):
    patient = np.repeat(np.arange(30), 5)
    test = split_visits(patient, "patient", seed)
    assert test.sum() == 50 and overlap(patient, test) == 0
    test = split_visits(patient, "visit", seed)
    assert test.sum() == 50 and overlap(patient, test) > 0.8
    with pytest.raises(ValueError, match="by visit or by patient, got 'ward'"):
        split_visits(patient, "ward", seed)


def test_knowing_the_patient_is_all_by_visit_and_nothing_by_patient():
    visits = make_visits(60, 5)
    test = split_visits(visits.patient, "visit", 0)
    assert auroc(known_patients(visits, ~test)[test], visits.ill[test]) > 0.9
    test = split_visits(visits.patient, "patient", 0)
    assert auroc(known_patients(visits, ~test)[test], visits.ill[test]) == 0.5


def test_an_arm_does_not_see_the_other_side():
    torch.manual_seed(0)
    pictures, notes = torch.randn(3, SIDE, SIDE), torch.randn(3, len(WORDS))
    for sides in SIDES:
        model = PictureAndNote(sides)
        before = model(pictures, notes)
        moved = [model(pictures + 1, notes) - before, model(pictures, notes + 1) - before]
        seen = [bool(change.abs().max() > 1e-6) for change in moved]
        assert seen == [sides != "note", sides != "picture"]
    with pytest.raises(ValueError, match="one of picture, note, both, got 'all'"):
        PictureAndNote("all")


def test_a_few_steps_learn_by_heart():
    visits = make_visits(20, 4)
    train = ~split_visits(visits.patient, "patient", 0)
    scores = fit(visits, train, "both", 0, steps=60)
    assert auroc(scores[train], visits.ill[train]) > 0.9
    assert (fit(visits, train, "both", 0, steps=60) == scores).all()
    with pytest.raises(ValueError, match="expected ill and healthy visits"):
        fit(visits, visits.ill, "both", 0)


def test_what_is_not_trained_on_is_not_seen():
    visits = make_visits(20, 4)
    train = ~split_visits(visits.patient, "patient", 0)
    scores = fit(visits, train, "both", 0, steps=5)
    other = visits._replace(ill=np.where(train, visits.ill, ~visits.ill))
    assert (fit(other, train, "both", 0, steps=5) == scores).all()
