# ---
# jupyter:
#   course: {notebook: notebooks/case_education.ipynb}
# ---

# %% [markdown]
# # Case study: education
#
# At the end you can search a course for the passage that answers a question, show where it stands, refuse when nothing fits, and say what of that was measured.
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - rank passages by the words that they share with a question, and by vectors
# - keep the answers out of the index while you measure
# - set a threshold for refusal, and test it on questions that did not set it
#
# **Before you start:** [text](03_text.py), [contrastive learning](10_contrastive.py), [evaluation](13_evaluation.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores · difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue

from mmcourse.book.plotting import BLUE, GREY, ORANGE, use_style
from mmcourse.book.source import show_source
from mmcourse.case_studies import bootstrap_groups, wilson
from mmcourse.case_studies.education import (
    BM25, OUTSIDE, embed, fuse_ranks, learn_from_pages, load_course, rank_of_page, threshold_for, words_of,
)
from mmcourse.evaluation import auroc, bootstrap
from mmcourse.hub import load, load_tokenizer

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## The question
#
# A student asks: *how does beam search choose a sentence?* Somewhere in this course stands a passage that helps. Which? And what should a program say to *how long should bread dough rise?*
#
# A language model that writes the answer is not needed for that, and may invent. We only **retrieve**: the answer is a passage, word for word, with its source below it. What such a program says can be wrong for the question, but it is not made up.
#
# ## The data
#
# The course itself: a snapshot of its pages, cut into passages of at most 80 words. A figure is a passage too: its caption and its alternative text, so that what a picture shows can be found by words. The questions are those of the quizzes, without their options. **The truth** is the page on which a question stands.

# %%
passages, questions = load_course()
kinds = {kind: [p for p in passages if p.kind == kind] for kind in ("text", "figure", "exercise", "quiz")}
print({kind: len(found) for kind, found in kinds.items()}, "|", len(questions), "questions of",
      len({q.page for q in questions}), "pages")
print(textwrap.fill(questions[40].text, 92))
print("true page:", questions[40].page)

# %% [markdown]
# The quizzes themselves must leave the index: each question stands there with its explanation (a long one is cut, so there are more passages than questions). (*Take-aways* stay. They were written by the author of the quiz, which helps whoever searches by words.)

# %%
index = [p for p in passages if p.kind != "quiz"]


def with_titles(found):
    return [f"{p.title} {p.section} {p.text}" for p in found]


# %% [markdown]
# ## The baseline
#
# Count shared words, and do it well. {cite:t}`robertson2009` give a passage $d$, for a question $q$, the score
#
# $$
# \operatorname{BM25}(q, d) = \sum_{w \in q} \operatorname{idf}(w)\, \frac{(k_1 + 1)\, n_{wd}}{n_{wd} + k_1 \left(1 - b + b\, \ell_d / \bar\ell\right)}, \qquad
# \operatorname{idf}(w) = \ln\left(1 + \frac{P - n_w + 0.5}{n_w + 0.5}\right)
# $$
#
# where $n_{wd}$ counts word $w$ in $d$, $\ell_d$ is the length of $d$ in words and $\bar\ell$ its mean, $n_w$ of the $P$ passages have the word, and $k_1 = 1.2$, $b = 0.75$ are usual values, which we did not tune. A word counts more the fewer passages have it (*idf*, inverse document frequency), and less and less the more often one passage repeats it. (The 1 in the logarithm keeps it positive; it is a later addition.) On paper: three passages of two words each, *red cat*, *red dog*, *blue bird*, and the question *red dog*. Lengths are equal, so each fraction is $2.2 \cdot 1 / (1 + 1.2) = 1$, and *red dog* gets $\ln(1 + 1.5 / 2.5) + \ln(1 + 2.5 / 1.5) = 0.470 + 0.981$.

# %% tags=["nbval-check-output"]
small = BM25(["red cat", "red dog", "blue bird"])
print(small.scores("red dog").round(3).tolist())

# %% tags=["remove-input"]
show_source(BM25.scores)

# %% [markdown]
# ## What is compared
#
# - **BM25**, as above.
# - **Frozen vectors**: the mean of the vectors of the course's shipped text encoder, cosines of question and passage.
# - **Learnt vectors**: a vector and a weight for each token, summed. They are trained for a few seconds on the passages alone: find the passage that a sentence was cut from, with CLIP's loss. {cite:t}`lee2019` call it the inverse cloze task. No question is used in training. Three seeds. **The learning rate, though, was chosen from the four that we tried by the very questions of the table.** So this row, and *both*, are flattered, by how much we did not measure; BM25 was tuned on nothing.
# - **Both**: BM25 and the learnt vectors, by the sum of $1 / (60 + \text{rank})$ {cite}`cormack2009`.
# - **The leak**: BM25 with the quizzes left in.
#
# BM25 and the learnt vectors read each passage with its titles, the frozen vectors without, which may cost them something.
#
# The score is the share of questions whose true page comes first, or among the first three, when pages are ordered by their best passage. Questions of one page are alike, so the interval redraws pages.

# %%
texts, asked = with_titles(index), [q.text for q in questions]
search = BM25(texts)
scores = {"BM25": [np.stack([search.scores(text) for text in asked])]}
encoder, tokenizer = load("text").encoder.eval(), load_tokenizer("text")
frozen = embed([p.text for p in index], encoder, tokenizer)
scores["frozen vectors"] = [embed(asked, encoder, tokenizer) @ frozen.T]

# %%
def similarity(seed):
    model = learn_from_pages([p.text for p in index], tokenizer, seed=seed)
    with torch.no_grad():
        sides = [model([tokenizer.encode(f" {text}") for text in side]) for side in (asked, texts)]
    return (sides[0] @ sides[1].T).numpy()


scores["learnt vectors"] = [similarity(seed) for seed in range(3)]
scores["both"] = [fuse_ranks(scores["BM25"][0], learnt) for learnt in scores["learnt vectors"]]
ranks = {name: np.mean([[rank_of_page(row, index, q.page) <= k for k in (1, 3)
                         for row, q in zip(run, questions, strict=True)] for run in runs], 0)
         for name, runs in scores.items()}  # fmt: skip

# %%
leak = BM25(with_titles(passages))
ranks["BM25, quizzes left in"] = np.array(
    [rank_of_page(leak.scores(q.text), passages, q.page) <= k for k in (1, 3) for q in questions]
)
pages = [q.page for q in questions]


def spell(values):
    found = bootstrap_groups(np.mean, pages, values)
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


# %% [markdown]
# ## What it reaches

# %%
print(f"{'':24}{'first':24}among three")
for name, both in ranks.items():
    first, three = np.split(both, 2)
    print(f"{name:24}{spell(first):24}{spell(three)}")
most = max(set(pages), key=pages.count)
print(f"{'always one page':24}{np.mean([page == most for page in pages]):.2f}")
gap = bootstrap_groups(
    lambda a, b: a.mean() - b.mean(), pages, np.split(ranks["BM25"], 2)[0],
    np.split(ranks["learnt vectors"], 2)[0],
)  # fmt: skip
print(f"BM25 less learnt vectors, first: {gap.value:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})")

# %% tags=["remove-cell"]
first = {name: float(np.split(both, 2)[0].mean()) for name, both in ranks.items()}
for name, key in (("BM25", "bm"), ("frozen vectors", "frozen"), ("learnt vectors", "learnt"),
                  ("both", "both"), ("BM25, quizzes left in", "leak")):  # fmt: skip
    glue(f"education_{key}", first[name], display=False)
glue("education_three", float(np.split(ranks["BM25"], 2)[1].mean()), display=False)
glue("education_passages", len(index), display=False)
glue("education_most", float(np.mean([page == most for page in pages])), display=False)
for key, value in (("value", gap.value), ("low", gap.low), ("high", gap.high)):
    glue(f"education_gap_{key}", float(value), display=False)

# %% [markdown]
# Shared words find the page first for {glue:text}`education_bm:.0%` of the questions, and among the first three for {glue:text}`education_three:.0%`. The frozen encoder is near the row that always says one page ({glue:text}`education_frozen:.0%` against {glue:text}`education_most:.0%`): it was trained to guess hidden tokens of a dictionary, and a mean of such vectors was never asked to say what a text is about. {cite:t}`reimers2019` found means of BERT's vectors poor at this, and trained BERT for the purpose. A few seconds of training on the course's own text reach {glue:text}`education_learnt:.0%`, the mean of three seeds. Counting is ahead of that by {glue:text}`education_gap_value:.2f` ({glue:text}`education_gap_low:.2f` to {glue:text}`education_gap_high:.2f`), although the choice of the rate favours the vectors. The questions favour the words: their author had the page before him. {cite:t}`lee2019` found BM25 enough on such questions, and learnt retrieval ahead where people asked what they did not know. Whether both together are better than BM25 alone cannot be told from so few questions, in which one rate was chosen; look at both columns.
#
# **The leak flatters**: with the quizzes in the index it is {glue:text}`education_leak:.0%`, and a reader of that number would think the problem solved.
#
# ### Do the figures help?
#
# We take one kind of passage out of the index at a time, and nothing else.

# %%
full = np.split(ranks["BM25"], 2)[0]
for name in ("figure", "exercise"):
    kept = [p for p in index if p.kind != name]
    part = BM25(with_titles(kept))
    found = np.array([rank_of_page(part.scores(q.text), kept, q.page) == 1 for q in questions])
    change = bootstrap_groups(lambda a, b: a.mean() - b.mean(), pages, found, full)
    print(f"without {name:9} {spell(found)}   change {change.value:+.2f} "
          f"({change.low:+.2f} to {change.high:+.2f})")
    if name == "figure":
        glue("education_figure", float(change.value), display=False)
best = [index[row.argmax()] for row in scores["BM25"][0]]
of_figures = float(np.mean([p.kind == "figure" for p in best]))
print(f"best passage is a figure: {of_figures:.0%}")

# %% tags=["remove-cell"]
glue("education_of_figures", of_figures, display=False)

# %% [markdown]
# Without figures the score moves by {glue:text}`education_figure:+.2f`; only {glue:text}`education_of_figures:.0%` of the answers are figures. The quizzes were not written about the pictures. On these questions nothing can be said for or against the figures: a test of them needs questions about what a figure shows, and we have none.
#
# ## Refusing
#
# We wrote forty questions that the course does not answer, before we tried any: twenty of other subjects (*far*), and twenty about machine learning that no chapter has (*near*). The score of the best passage is the sign of an answer. The **threshold** is set on every second outside question, so that nine in ten of these fall below it; the table is of the others.

# %%
inside = np.array([search.scores(q.text).max() for q in questions])
outside = {name: np.array([search.scores(text).max() for text in written])
           for name, written in OUTSIDE.items()}  # fmt: skip
threshold = threshold_for(np.concatenate([found[::2] for found in outside.values()]))
print(f"threshold {threshold:.1f}")
rows = {"of the quizzes": inside[1::2]} | {name: found[1::2] for name, found in outside.items()}
for name, found in rows.items():
    share, low, high = wilson(found < threshold)
    print(f"{name:15} refused {share:.2f} ({low:.2f} to {high:.2f}) of {len(found)}")
answered = rows["of the quizzes"] >= threshold
share, low, high = wilson(full[1::2][answered])
print(f"of those answered, the page is right: {share:.2f} ({low:.2f} to {high:.2f})")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows of dots along the score of the best passage: questions of the quizzes lie mostly to the right of a dashed threshold, questions about other subjects and other machine learning mostly to its left."}}
axes = plt.subplots(figsize=(6.4, 1.9))[1]
shown = {"quizzes": inside, "near": outside["near"], "far": outside["far"]}
for height, (found, colour) in enumerate(zip(shown.values(), (BLUE, ORANGE, GREY), strict=True)):
    axes.scatter(found, height + np.linspace(-0.2, 0.2, len(found)), s=9, color=colour)
axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
axes.set(yticks=range(3), yticklabels=list(shown), xlabel="score of the best passage");

# %% [markdown]
# Few questions give wide intervals: of ten refusals in ten the true share may be as low as 0.72 (Wilson's interval, since a bootstrap of equal items is empty). It takes all questions for independent; those of the quizzes come several from a page, so their two rows are less sure than they look. And the share of quiz questions that is answered depends on a threshold which twenty questions set. Answers as the student sees them:

# %%
def answer(question):
    found = search.scores(question)
    if found.max() < threshold:
        return "I found nothing in the course about that."
    passage = index[found.argmax()]
    return textwrap.fill(f"{passage.text[:260]} ...", 92) + f"\n-- {passage.source}"


for question in ("How does beam search choose a sentence?",
                 "Why are the scores of attention divided by the square root of d_k?",
                 OUTSIDE["far"][0], OUTSIDE["far"][3]):  # fmt: skip
    print(f"> {question}\n{answer(question)}\n")

# %% [markdown]
# The first is what we hoped for. The second is sure and wrong: *square root* is rare, and a figure about something else has both words. The third should have been refused; it was among the questions that set the threshold, and is one of the tenth that we let pass. **Each comes with its source, so the student can see that it does not fit.** That is what the source is for.
#
# ## What goes wrong
#
# Is the score a sign of an answer, or of something cheaper? The questions of the quizzes are longer than the ones that we wrote. We look at the length alone.

# %%
everything = [*asked, *OUTSIDE["far"], *OUTSIDE["near"]]
is_inside = np.arange(len(everything)) < len(asked)
length = np.array([len(set(words_of(text))) for text in everything])
signs = {"score of the best passage": np.concatenate([inside, outside["far"], outside["near"]]),
         "length of the question": length,
         "share of it that is covered": np.array([search.confidence(q) for q in everything])}  # fmt: skip
for name, sign in signs.items():
    scaled = sign / sign.max()
    found = bootstrap(lambda x, y: auroc(x, y.astype(bool)), scaled, is_inside, draws=500)
    print(f"{name:28} AUROC {found.value:.2f} ({found.low:.2f} to {found.high:.2f})")
    glue(f"education_auroc_{name[:5].strip()}", found.value, display=False)

# %% [markdown]
# Length alone tells the two kinds apart with an AUROC of {glue:text}`education_auroc_lengt:.2f` (the AUC of chapter 13; one half is a coin's throw), and a sum over words grows with their number. So part of what looks like knowledge of the course may be the habit of who wrote the questions; how large a part these rows do not say. The share of the question that the best passage covers is no sum that grows with length, and has {glue:text}`education_auroc_share:.2f`. (These intervals redraw questions, not pages, and are a little too narrow.) Before you believe a threshold for refusal, give it inside and outside questions of the same length and the same author.
#
# ## What this is not
#
# - **No tutor.** It finds a page. Whether a student understands more was not asked.
# - The questions are by the author of the pages, in the same words. Students ask in theirs, with errors and in other languages. Expect less, above all of a search by words.
# - The truth is *the page of the quiz*. Another page may answer as well and counts as wrong; the right page with a useless passage counts as right. Nobody has judged the passages.
# - Forty outside questions by one hand give wide intervals and no promise about what people will ask.
# - The snapshot is of one day. A course that changes needs its index made again (`python -m mmcourse.recipes.case_course book/chapters`), and the threshold set again.
#
# ## Exercises
#
# ```{exercise-start} The options leak
# :label: ex-case-education-options
# ```
# *Easy, 10 minutes.* Search with the question and its options (`q.options`) together. What happens to BM25's first place, and may one publish that?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-education-options
# :label: so-case-education-options
# :class: dropdown
# ````
# The options hold the words of the right page, also in the wrong options. It is honest for a program that answers quizzes, and dishonest for one that students ask: their questions come without options.

# %%
with_options = np.array([
    rank_of_page(search.scores(" ".join([q.text, *q.options])), index, q.page) == 1 for q in questions
])
print("question alone", spell(full), "| with options", spell(with_options))

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Twice the word
# :label: ex-case-education-twice
# ```
# *Medium, 10 minutes.* A passage of mean length has a word of the question once, another of the same length has it 100 times. By which factor do their BM25 scores differ at most, with $k_1 = 1.2$? Check it.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-education-twice
# :label: so-case-education-twice
# :class: dropdown
# ````
# The fraction is $(k_1 + 1)\, n / (n + k_1)$: 1 for $n = 1$, and never more than $k_1 + 1 = 2.2$. Who repeats a word a hundred times gains little more than a factor of two.

# %% tags=["nbval-check-output"]
filler = " ".join(f"word{number}" for number in range(99))
one, hundred, _ = BM25([f"dog {filler}", " ".join(["dog"] * 100), f"cat {filler}"]).scores("dog")
print(f"{hundred / one:.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Further reading
#
# - {cite:t}`robertson2009`: where BM25 comes from, by those who made it.
# - {cite:t}`karpukhin2020`: when learnt vectors win over BM25, once they are trained on questions whose passages are known, and on which set of questions they do not.
# - {cite:t}`lewis2020`: a language model that writes from the passages found.
