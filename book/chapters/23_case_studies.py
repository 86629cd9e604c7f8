# ---
# jupyter:
#   course: {notebook: notebooks/23_case_studies.ipynb}
# ---

# %% [markdown]
# # Case studies
#
# At the end you know five small tasks of the kind that people are paid for, what each shows, and how to read a case study without being taken in.
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - choose a split by asking who will be new
# - say how many independent items a table has
# - name what a case study does not show
#
# **Before you start:** [evaluation](13_evaluation.py). Each case names what else it uses.
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores · difficulty ●○○
# :::
# ::::

# %% tags=["remove-cell"]
import numpy as np
import torch
from myst_nb import glue

from mmcourse.book.source import show_source
from mmcourse.case_studies import bootstrap_groups
from mmcourse.evaluation import bootstrap

torch.set_num_threads(1)

# %% [markdown]
# Each page is about a quarter of an hour: a question, data whose truth is known, a baseline, a table with intervals, what goes wrong, and **what it is not**. None is a product. The methods come from the chapters before; what is new is where they break.
#
# | case | two kinds of data | truth | what it shows |
# |---|---|---|---|
# | [Customer service](case_service.py) | a spoken word, a typed line | departments of ours, synthetic voices | what a second witness is worth when he says how sure he is, and when not |
# | [Medical pictures](case_medical.py) | a picture, a note | an illness that we drew | a leak between patients flatters, and how to prove that it is the leak |
# | [Driving](case_driving.py) | a camera, a range finder | roads that we drew | a dead sensor, fog, and a cure beside a cheaper one |
# | [Recommendation](case_recommendation.py) | pictures, titles | tastes that we wrote down | new things, and what made-up people can prove |
# | [Education](case_education.py) | text, figures | the quizzes of this course | a search by words against vectors, and when to refuse |
#
# Only the last has data that nobody made for it (apart from the questions to be refused). The others are synthetic, and say so: then the truth is known, nobody's privacy is at stake, and a cause can be taken away.
#
# ## Who will be new?
#
# A model will meet something that training did not show. **The split has to keep that apart, and nothing else decides which split is right.** New patients: split by patient. New callers: by voice. New words too: by word as well. New things in a shop: hold things out whole. Where a page can show what another split would have claimed, it does; that number is the larger one.
#
# ## How many items?
#
# Five pictures of one patient are not five patients. Let a table have $n$ items in groups of $m$ that are alike: two items of a group correlate by $\rho$, two of different groups do not. Then the variance of a mean is not $\sigma^2 / n$ but larger by the **design effect** {cite}`kish1965`:
#
# $$
# \operatorname{Var}(\bar x) = \frac{\sigma^2}{n} \left(1 + (m - 1)\, \rho\right)
# $$ (eq-case_studies-effect)
#
# Here $\bar x$ is the mean of the $n$ items, $\sigma^2$ the variance of one, and the bracket is the design effect. On paper: 750 visits of 150 patients, so $m = 5$, and $\rho = 1$, each patient wholly like himself. The factor is $1 + 4 \cdot 1 = 5$: the table is worth 150 items. With $\rho = 0.5$ it is $3$, and the table is worth 250. The interval is wider by the root of the factor.
#
# Where it comes from: the variance of a sum is the sum of all covariances. Of one group there are $m$ variances $\sigma^2$ and $m (m - 1)$ covariances $\rho \sigma^2$, together $m \sigma^2 (1 + (m - 1) \rho)$; with $n / m$ groups, and divided by $n^2$, that is {eq}`eq-case_studies-effect`.
#
# We need no $\rho$: redrawing whole groups finds the right width.

# %% tags=["remove-input"]
show_source(bootstrap_groups)

# %%
m, groups, rho = 5, 150, 0.5
rng = np.random.default_rng(0)
shared = rng.normal(size=groups).repeat(m)
x = np.sqrt(rho) * shared + np.sqrt(1 - rho) * rng.normal(size=groups * m)
naive = bootstrap(np.mean, x).draws.std()
honest = bootstrap_groups(np.mean, np.arange(groups).repeat(m), x, draws=2000).draws.std()
factor = 1 + (m - 1) * rho
print(f"wider by {honest / naive:.2f}, by the formula {np.sqrt(factor):.2f}")
assert abs(honest / naive / np.sqrt(factor) - 1) < 0.25

# %% tags=["remove-cell"]
glue("cases_wider", float(honest / naive), display=False)

# %% [markdown]
# On one drawn table the spread of the draws, and with it the interval, is {glue:text}`cases_wider:.2f` times as wide when whole groups are redrawn. The main table of all five pages redraws groups; where a row takes items for independent, the page says so. The groups: patients, people, nouns with all their voices, roads with all runs, pages of the course with all their questions. What the interval does **not** cover is more: another training, other voices, other stocks, other fogs.
#
# ## How to read a case study
#
# 1. **Who is new** in the test, and is that who will be new in use?
# 2. **Which row needs nothing of the method**: the majority, the one-line rule, the other side alone, *who it is and nothing else*?
# 3. **What was put in?** Of made-up data, which result is only what the maker wrote down?
# 4. **What was taken away** to show a cause, and was it one thing?
# 5. **What does the number count?** A share hides misses; a mean hides groups; a first place hides what stood second.
# 6. **What is it not?** If the page does not say, the case is not finished.
#
# ## Further reading
#
# - {cite:t}`kapoor2023`: leaks in published work, with a list to check one's own.
# - {cite:t}`kish1965`: samples in groups, and the design effect.
# - {cite:t}`mitchell2019`: a card for a model, in which *what this is not* has a place of its own.
