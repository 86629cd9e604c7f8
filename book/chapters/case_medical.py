# ---
# jupyter:
#   course: {notebook: notebooks/case_medical.ipynb}
# ---

# %% [markdown]
# # Case study: medical pictures with notes
#
# At the end you can find a leak between patients, say by how much it flatters a score, and show that it is the leak that does it.
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - split by patient, and measure what a split by visit would have claimed
# - compare a picture, a note and both, with intervals that redraw patients
# - take the cause of the leak away, and nothing else
#
# **Before you start:** [fusion](09_fusion.py), [evaluation](13_evaluation.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores · difficulty ●○○
# :::
# ::::

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue

from mmcourse.book.plotting import use_style
from mmcourse.book.source import show_source
from mmcourse.case_studies import bootstrap_groups
from mmcourse.case_studies.medical import (
    SIDES, fit, known_patients, make_visits, overlap, split_visits,
)
from mmcourse.evaluation import auroc, bootstrap

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## The question
#
# A clinic has pictures of patients, a short note with each, and knows who was ill. A model is trained on two thirds of the visits and is right on most of the rest. Will it be right for **the next patient**, whom it has never met?
#
# ## The data
#
# **All of it is made up**: 150 patients with five visits each. We chose synthetic data for two reasons: no patient's privacy is at stake, and we can take the cause of an effect away, which no hospital can. Four patients in ten are ill, and stay so.
#
# - *Picture*, 24 × 24 numbers: the patient's own slow pattern (a body, a scanner), noise, and mostly a small spot somewhere: bright in the ill, dark in the healthy.
# - *Note*: symptoms, which the ill have a little more often (a cough at 60 % of their visits, against 35 %), and habits of the patient, which have nothing to do with the illness.
#
# **The truth** is known, since we drew it. What the made-up data share with real ones is how they hang together: several visits of one patient look alike and have one label.

# %% tags=["remove-input"]
show_source(make_visits)

# %%
visits = make_visits()
for row in (0, 1, 5, 6):
    print(f"patient {visits.patient[row]}, {'ill' if visits.ill[row] else 'healthy':8} {visits.note(row)}")

# %% [markdown]
# Three visits of each of four patients, a row each:

# %% tags=["hide-input"] mystnb={"image": {"alt": "A grid of grey pictures, a row for each of four patients and three visits in each: the slow pattern of a row stays, spots come and go."}}
figure, grid = plt.subplots(4, 3, figsize=(3.9, 5.2))
for patient, line in enumerate(grid):
    for visit, axes in enumerate(line):
        axes.imshow(visits.pictures[5 * patient + visit], cmap="gray", vmin=-2, vmax=2)
        axes.set(xticks=[], yticks=[])
    line[0].set_ylabel(f"patient {patient}\n{'ill' if visits.ill[5 * patient] else 'healthy'}")

# %% [markdown]
# ## The baseline
#
# The score is the AUROC, which chapter 13 calls AUC: of an ill and a healthy visit, how often is the ill one called more ill? There are two rows that it has to beat. Who says the same of everyone has one half, a coin's throw. The second knows *who it is and nothing else*: it says what the same patient's visits in training say. **It cannot know the illness.** Where it scores, the split lets memory pass for knowledge.

# %%
for by in ("visit", "patient"):
    test = split_visits(visits.patient, by, seed=0)
    known = known_patients(visits, ~test)
    print(f"split by {by:8} {overlap(visits.patient, test):5.0%} of the test's patients were in "
          f"training; knowing them: AUROC {auroc(known[test], visits.ill[test]):.2f}")

# %% [markdown]
# ## What is compared
#
# One small model: two layers of convolution for the picture, one layer for the note, and one linear layer on both. As *picture* or *note* alone it gets zeros for the other side. All arms have the same steps and the same rate, which we did not tune. Each arm is trained under two splits, **by visit** (any third of the visits is the test) and **by patient** (a third of the patients is), three times, each time with another split and another start. The interval redraws patients; it does not train again, so what another split or start would change it does not cover.

# %%
def scored(visits, sides, by):
    """Predictions of three runs on their tests: scores, truths, runs, patients."""
    rows = []
    for seed in range(3):
        test = split_visits(visits.patient, by, seed)
        found = fit(visits, ~test, sides, seed)[test]
        rows.append((found, visits.ill[test], np.full(test.sum(), seed), visits.patient[test]))
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def mean_auroc(scores, ill, run):
    return np.mean([auroc(scores[run == one], ill[run == one]) for one in np.unique(run)])


# %%
splits = ("visit", "patient")
runs = {(sides, by): scored(visits, sides, by) for sides in SIDES for by in splits}
found = {key: bootstrap_groups(mean_auroc, run[3], *run[:3], draws=500) for key, run in runs.items()}


def spell(x):
    return f"{x.value:.2f} ({x.low:.2f} to {x.high:.2f})"


# %% [markdown]
# ## What it reaches

# %%
print(f"{'AUROC':10}{'split by visit':24}{'split by patient':24}")
for sides in SIDES:
    print(f"{sides:10}{spell(found[sides, 'visit']):24}{spell(found[sides, 'patient']):24}")

# %% tags=["remove-cell"]
for (sides, by), x in found.items():
    for name in ("value", "low", "high"):
        glue(f"medical_{sides}_{by}_{name}", float(getattr(x, name)), display=False)

# %% [markdown]
# Split by visit, both sides together have an AUROC of {glue:text}`medical_both_visit_value:.2f`. Of new patients it is {glue:text}`medical_both_patient_value:.2f` ({glue:text}`medical_both_patient_low:.2f` to {glue:text}`medical_both_patient_high:.2f`). The second number is what the next patient gets; the first is a promise that nobody will keep. Most of the leak is the picture's: {glue:text}`medical_picture_visit_value:.2f` by visit, {glue:text}`medical_picture_patient_value:.2f` by patient. A note could give away that *a teacher with a cat at home* has been here before; its two numbers are {glue:text}`medical_note_visit_value:.2f` and {glue:text}`medical_note_patient_value:.2f`, with intervals that overlap.
#
# Does the note add something to the picture? By patient, redrawn together:

# %%
first, second = runs["both", "patient"], runs["picture", "patient"]
gain = bootstrap_groups(
    lambda a, b, ill, run: mean_auroc(a, ill, run) - mean_auroc(b, ill, run),
    first[3], first[0], second[0], first[1], first[2], draws=500,
)  # fmt: skip
print(f"both less picture: {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")

# %% tags=["remove-cell"]
for name in ("value", "low", "high"):
    glue(f"medical_gain_{name}", f"{getattr(gain, name):+.3f}", display=False)

# %% [markdown]
# The gain is {glue:text}`medical_gain_value` ({glue:text}`medical_gain_low` to {glue:text}`medical_gain_high`): hardly anything. The symptoms do carry something, since we put it in, and the note alone shows it. Why so little of it arrives in *both* we did not find out.
#
# ### Is it the leak?
#
# Two splits differ in more than one way: by patient, the model also sees fewer different patients. So we take the **cause** away. In a second world pattern and habits are drawn anew at each visit; each picture still has one pattern, and spots and symptoms stay. Then nothing tells who it is, and if it was the leak, the splits must agree.

# %%
strangers = make_visits(shared=False)
for by in splits:
    run = scored(strangers, "both", by)
    x = bootstrap_groups(mean_auroc, run[3], *run[:3], draws=500)
    print(f"nobody can be recognised, split by {by:8} {spell(x)}")
    glue(f"medical_strangers_{by}", float(x.value), display=False)

# %% [markdown]
# Compare {glue:text}`medical_strangers_visit:.2f` and {glue:text}`medical_strangers_patient:.2f`: hardly anything of the first world's gap is left. (New patients are also easier here than there. Our guess is that five patterns a patient teach more about patterns than one. So compare within a world.)
#
# ## What goes wrong
#
# The leak has a smaller sister: the interval. Whoever redraws **visits** treats five looks at one patient as five patients.

# %%
scores, ill, run, patient = runs["both", "patient"]
naive = bootstrap(mean_auroc, scores, ill, run, draws=500)
print("redrawing patients:", spell(found["both", "patient"]))
print("redrawing visits:  ", spell(naive))
wide = found["both", "patient"].high - found["both", "patient"].low
print(f"the honest interval is {wide / (naive.high - naive.low):.1f} times as wide")

# %% tags=["remove-cell"]
glue("medical_wider", float(wide / (naive.high - naive.low)), display=False)

# %% [markdown]
# The honest one is {glue:text}`medical_wider:.1f` times as wide. A split by patient with an interval by visit is still too sure of itself.
#
# The names of files do not always say who is who. A patient may have two numbers; two hospitals may share a patient; a data set may be a union that holds another. {cite:t}`kapoor2023` collected leaks of many kinds from work of many fields. The row *who it is and nothing else* costs one line: ask for it.
#
# ## What this is not
#
# - **No medicine.** The illness is a brighter spot. No number here says anything about any illness, scanner or clinic.
# - The size of the leak is ours: we chose how strong a patient's pattern is. That a leak flatters is general, *by how much* is not.
# - A split by patient is not enough for another hospital, with other scanners and other notes: {cite:t}`zech2018` measured that for pneumonia in X-rays of three hospital systems: in three comparisons of five the score was lower outside than inside. That needs a split by hospital.
# - AUROC is of ranking. What to do at which score, and what a miss costs, was not asked; a score of 0.8 here is no probability that was checked.
#
# ## Exercises
#
# ```{exercise-start} More visits, more leak
# :label: ex-case-medical-visits
# ```
# *Easy, 10 minutes.* How does the row *who it is and nothing else* change under a split by visit when each patient has 2 or 10 visits in place of 5? Predict it first.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-medical-visits
# :label: so-case-medical-visits
# :class: dropdown
# ````
# It scores wherever another visit of the patient is in training. With five visits and a third held out, that fails with probability $(1/3)^4$, about 1 %. With two, a third of the tested visits have no other in training, and get the share of all.

# %%
for count in (2, 5, 10):
    other = make_visits(visits=count)
    values = []
    for seed in range(5):
        test = split_visits(other.patient, "visit", seed)
        values.append(auroc(known_patients(other, ~test)[test], other.ill[test]))
    print(f"{count:2} visits: {np.mean(values):.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A mark of the scanner
# :label: ex-case-medical-scanner
# ```
# *Medium, 15 minutes.* The ill go to a ward with its own scanner, which sets one corner of the picture, 3 × 3 pixels, to 2. Nine in ten ill patients and one in ten healthy ones are scanned there. Does the split by patient notice? What would?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-medical-scanner
# :label: so-case-medical-scanner
# :class: dropdown
# ````
# It does not: the mark is true of new patients of the same house too, and the score rises. Only a test without the mark, such as of another hospital, shows what was learnt. We move the mark to the other patients, in the test alone.

# %%
rng = np.random.default_rng(1)
ward = np.where(visits.ill[::5], rng.random(150) < 0.9, rng.random(150) < 0.1).repeat(5)
test = split_visits(visits.patient, "patient", 0)
for name, marked in (("same house", ward), ("mark on the others", np.where(test, ~ward, ward))):
    pictures = visits.pictures.copy()
    pictures[marked, :3, :3] = 2
    scores = fit(visits._replace(pictures=pictures), ~test, "picture", 0)
    print(f"{name:20} AUROC {auroc(scores[test], visits.ill[test]):.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Further reading
#
# - {cite:t}`kapoor2023`: kinds of leaks, and how often they were found.
# - {cite:t}`zech2018`: a model of chest X-rays in another hospital, and how it knew where a picture came from.
# - {cite:t}`roberts2021`: what was wrong with models for COVID-19 in chest pictures.
