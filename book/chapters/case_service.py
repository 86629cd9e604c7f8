# ---
# jupyter:
#   course: {notebook: notebooks/case_service.ipynb}
# ---

# %% [markdown]
# # Case study: customer service
#
# At the end you can send a spoken request to its department, join it with a line of text, and say how much of either to believe when the line is noisy.
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - go from sound to intent (here a department) by way of words, and without words
# - keep voices apart in the split, and words as well
# - set how far each side is believed on a voice that is not tested
#
# **Before you start:** [audio](06_audio.py), [fusion](09_fusion.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores · difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue

from mmcourse.book.plotting import BLUE, GREY, ORANGE, TEAL, use_style
from mmcourse.book.source import show_source
from mmcourse.case_studies import bootstrap_groups, wilson
from mmcourse.case_studies.service import (
    NAMES, TRUE_TEXT, by_sound, by_words, hear, in_noise, make_requests, sure_for,
)
from mmcourse.evaluation import fit_logistic, logistic
from mmcourse.data.speech import spoken_nouns, voices
from mmcourse.fusion import combine
from mmcourse.hub import load

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## The question
#
# *Please say in one word what it is about.* A caller says *lemon*, and should be put through to food and plants. A line that the caller typed before may help, or mislead. How often is the department right, for voices that nobody trained on, when the telephone is noisy?
#
# ## The data
#
# **The voices are synthetic**: chapter 6 had espeak-ng say 150 nouns in many voices. Training uses five voices of chapter 6's training, the test its four English test voices, and the voice of its validation sets numbers. **The departments are made up**, by the categories of the drawings, so the truth is known. **The text is made up** too: a line that names a thing of the right department in six cases of ten, and any thing otherwise.

# %%
train, test, tuning = make_requests("train", 5), make_requests("test"), make_requests("val")
for row in (0, 40, 80, 120):
    print(f"{test.voices[row]} says {test.words[row]!r:12} line: {test.lines[row]!r:32} "
          f"-> {NAMES[test.department[row]]}")
print(len(train.words), "requests to train on,", len(test.words), "to test")

# %% [markdown]
# ## The baseline
#
# The department that is most frequent in training, for everybody. And the line alone: look its thing up, and never listen. (`TRUE_TEXT` is the six in ten; `by_words` comes below.)

# %%
most = Counter(train.department).most_common(1)[0][0]
line = by_words(test.lines, TRUE_TEXT)
print(f"always {NAMES[most]!r}: {np.mean(test.department == most):.2f}")
print(f"the line alone: {np.mean(line.argmax(1) == test.department):.2f}")

# %% [markdown]
# ## What is compared
#
# - **words**: the course's shipped recogniser writes down what it hears; its noun is looked up. A dictionary gives what it names a probability of `sure`, here 0.9, and spreads the rest evenly over all. Where it wrote no noun, all departments are alike, and the first of the list is taken.
# - **sound**: no words. The mean of the recogniser's inner vectors, and one linear layer from there to departments (logistic regression), trained on five voices on a clean telephone. That is less than the recogniser itself had: it learnt its words from all of chapter 6's training voices, with noise of many kinds. So the two rows do not compare two methods on equal terms.
# - **words and line**: both opinions by Bayes' rule, as in chapter 9 (`combine`), which takes them for independent, given the department. Here they are: we drew the line without listening. (The rule also divides by how frequent a department is, while our opinions spread their rest evenly. That leans a little to the rare departments.)
#
# Three telephones: clean, and white noise 10 and 0 decibels below the voice. White noise, up to as loud as the voice, was a part of the recogniser's training, so the noise is not new to it; the voices are. The four voices say the same nouns, so the interval redraws nouns, with all four voices of each.

# %% tags=["remove-input"]
show_source(by_words)

# %%
model = load("speech").float().eval()
learnt, _, _ = hear(model, train)
log_prior = torch.from_numpy(np.log(np.bincount(train.department) / len(train.words)))


def join(*sides):
    """Several opinions (n, C) as one, by Bayes' rule."""
    return combine(torch.from_numpy(np.stack(sides, 1)), log_prior).numpy()


TELEPHONES = {"clean": None, "10 dB": 10, "0 dB": 0}
heard = {name: hear(model, test if noise is None else in_noise(test, noise))
         for name, noise in TELEPHONES.items()}  # fmt: skip
said = {}
for name, (vectors, texts, _) in heard.items():
    words = by_words(texts)
    said[name] = {"words": words, "sound": by_sound(learnt, train.department, vectors),
                  "line": line, "words and line": join(words, line)}  # fmt: skip

# %% [markdown]
# ## What it reaches

# %%
def right(opinion):
    return opinion.argmax(1) == test.department


def interval(values, *others):
    return bootstrap_groups(lambda x, *y: x.mean() - sum(map(np.mean, y)), test.words, values, *others)


print(f"{'right':16}" + "".join(f"{name:22}" for name in TELEPHONES))
for arm in ("line", "sound", "words", "words and line"):
    cells = [interval(right(said[name][arm])) for name in TELEPHONES]
    print(f"{arm:16}" + "".join(f"{x.value:.2f} ({x.low:.2f} to {x.high:.2f})   " for x in cells))
    for name, x in zip(TELEPHONES, cells, strict=True):
        glue(f"service_{arm}_{name}".replace(" ", "_"), float(x.value), display=False)
spelt = {name: np.mean([a == b for a, b in zip(texts, test.words, strict=True)])
         for name, (_, texts, _) in heard.items()}  # fmt: skip
print("word right:     " + "".join(f"{share:<22.2f}" for share in spelt.values()))

# %% tags=["remove-cell"]
glue("service_spelt", float(spelt["0 dB"]), display=False)

# %% [markdown]
# On a clean telephone words send {glue:text}`service_words_clean:.0%` of the calls to the right department, at 0 dB {glue:text}`service_words_0_dB:.0%`. Of the words themselves {glue:text}`service_spelt:.0%` are right there. The department cannot be right less often than the word: a pear that was heard as a lemon still goes to food. The way without words has {glue:text}`service_sound_clean:.0%` on a clean telephone. And at 0 dB *words and line* has {glue:text}`service_words_and_line_0_dB:.0%`, where **the line alone has {glue:text}`service_line_0_dB:.0%`** and words alone {glue:text}`service_words_0_dB:.0%`. Two sources should be better than the better of them. How much better, and whether at all, depends on how far each is believed; *What goes wrong* comes back to it.
#
# ### What does the sound know?
#
# All voices of the test are new, all its words are old. Does the linear layer from sound to department know what an animal is, or has it learnt 150 words by heart? We take every fifth noun out of its training, and nothing else.

# %%
new = np.isin(test.words, spoken_nouns("en")[::5])
kept = ~np.isin(train.words, spoken_nouns("en")[::5])
fewer = by_sound(learnt[kept], train.department[kept], heard["clean"][0])
words = said["clean"]["words"]
for name, chosen in (("old nouns", ~new), ("new nouns", new)):
    for arm, opinion in (("sound", fewer), ("words", words)):
        x = bootstrap_groups(np.mean, np.array(test.words)[chosen], right(opinion)[chosen])
        print(f"{name}, {arm}: {x.value:.2f} ({x.low:.2f} to {x.high:.2f})")
        glue(f"service_{arm}_{name[:3]}", float(x.value), display=False)

# %% [markdown]
# Of nouns that the linear layer never heard, it sends {glue:text}`service_sound_new:.0%` right, which with six departments cannot be told from guessing. The sound of *dog* does not say *animal*; only a word that one knows does. **A split by voice alone would have hidden that.** Words stay at {glue:text}`service_words_new:.0%`, because somebody wrote a dictionary, and because the recogniser itself was trained on these nouns. A noun that it never learnt it cannot write at all.
#
# ## What goes wrong
#
# `sure` was 0.9, a number for clean telephones. In loud noise it promises too much, and Bayes' rule believes it: a wrong word at 0.9 outvotes a right line at 0.6. (So does a right word a wrong line. Which happens more often decides whether the promise does harm.) How far a word can be believed has to be measured, on the one voice that is in neither training nor test. Two ways:
#
# - *by telephone*: how often is that voice's department right in this noise?
# - *by clearness*: how often is it right when the recogniser was so sure of its symbols? (A logistic curve on the mean log-probability of what it wrote, as in chapter 14, over all three telephones. It need not be told which one it is on.)

# %%
practice = {name: hear(model, tuning if noise is None else in_noise(tuning, noise))
            for name, noise in TELEPHONES.items()}  # fmt: skip
passed = {name: by_words(texts).argmax(1) == tuning.department for name, (_, texts, _) in practice.items()}
clear = np.concatenate([found[2] for found in practice.values()])
curve = fit_logistic(clear[:, None], np.concatenate(list(passed.values())))
joined = {"as above": {name: said[name]["words and line"] for name in TELEPHONES},
          "by telephone": {}, "by clearness": {}}  # fmt: skip
for name, (_, texts, how) in heard.items():
    shares = {"by telephone": passed[name].mean(), "by clearness": logistic(curve, how[:, None])}
    for way, share in shares.items():
        joined[way][name] = join(by_words(texts, sure_for(share)), line)

# %%
print(f"{'words and line':16}" + "".join(f"{name:22}" for name in TELEPHONES))
for way, opinions in joined.items():
    cells = [interval(right(opinion)) for opinion in opinions.values()]
    print(f"{way:16}" + "".join(f"{x.value:.2f} ({x.low:.2f} to {x.high:.2f})   " for x in cells))
    for name, x in zip(TELEPHONES, cells, strict=True):
        glue(f"service_{way}_{name}".replace(" ", "_"), float(x.value), display=False)
print("right on the voice that set it: " + ", ".join(f"{name} {x.mean():.2f}" for name, x in passed.items()))
for way in ("by telephone", "by clearness"):
    x = interval(right(joined[way]["0 dB"]), right(line))
    print(f"0 dB, {way} less the line alone: {x.value:+.2f} ({x.low:+.2f} to {x.high:+.2f})")
    glue(f"service_gain_{way[3:]}", f"{x.value:+.2f} ({x.low:+.2f} to {x.high:+.2f})", display=False)

# %% [markdown]
# By telephone the two together have {glue:text}`service_by_telephone_10_dB:.0%` at 10 dB, where they had {glue:text}`service_as_above_10_dB:.0%`, and {glue:text}`service_by_telephone_0_dB:.0%` at 0 dB, where they had {glue:text}`service_as_above_0_dB:.0%`; the difference from the line alone is {glue:text}`service_gain_telephone` there. One voice set the number. Compare how often that voice was right with the row *words* above: for the recogniser another caller is like another telephone, and a number set on a voice that is harder to hear throws away what the others say clearly.
#
# By clearness it is {glue:text}`service_by_clearness_10_dB:.0%` at 10 dB and {glue:text}`service_by_clearness_0_dB:.0%` at 0 dB (the difference from the line alone is {glue:text}`service_gain_clearness`), and {glue:text}`service_by_clearness_clean:.0%` on the clean telephone against {glue:text}`service_as_above_clean:.0%`. **Compare all three rows of a column before you call one of them a cure.** One number for a telephone must serve each of its calls alike; clearness can believe one call and doubt the next. But its curve, too, was drawn on one voice, and where that voice is unlike the test's, an unmeasured 0.9 may do as well. With one voice to set and four to test we can say that the choice matters, not which way is best for other callers. The shares by voice:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three groups of dots, one for each telephone: the share of right departments of each of four voices, by the line, by words, by both as first joined, and by both with clearness. What listens falls with noise, the line does not; voices differ."}}
axes = plt.subplots(figsize=(6.4, 2.6))[1]
who = np.array(test.voices)
for place, name in enumerate(TELEPHONES):
    arms = {"line": line, "words": said[name]["words"], "words and line": said[name]["words and line"],
            "by clearness": joined["by clearness"][name]}  # fmt: skip
    for shift, (arm, colour) in enumerate(zip(arms, (GREY, ORANGE, TEAL, BLUE), strict=True)):
        shares = [right(arms[arm])[who == voice].mean() for voice in voices("test", "en")]
        label = arm if place == 0 else None
        axes.scatter([place + 0.15 * shift] * 4, shares, s=14, color=colour, label=label)
axes.set(xticks=np.arange(3) + 0.22, xticklabels=list(TELEPHONES), ylabel="right", ylim=(0, 1.02))
axes.legend(loc="lower left", fontsize=8);

# %% [markdown]
# Four voices are four callers. The intervals above say what other *nouns* would do; what other *people* would do they do not say.
#
# ## What this is not
#
# - **No call centre.** One word of 150, spoken without hesitation, by a machine. People say sentences, correct themselves, have accents and children in the background.
# - The voices are of one synthesiser. A recogniser that was trained on its voices and is tested on its voices has learnt its way of speaking.
# - The departments are ours, and the line was drawn independent of the voice, so that the independence which Bayes' rule needs holds by construction. A customer who types *lemon* and says *lemon* is not two witnesses.
# - White noise of known loudness is the easy kind, and the recogniser was trained in it. Another voice in the background is not.
# - A wrong department costs a caller minutes, and somebody in distress more. Which errors cost what was not asked.
#
# ## Exercises
#
# ```{exercise-start} Pass it to a person
# :label: ex-case-service-person
# ```
# *Medium, 15 minutes.* Requests whose most probable department has less than a threshold go to a person. On the 0 dB telephone, by clearness: which share is answered, and which share of those is right, at thresholds of 0.5, 0.7 and 0.9?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-service-person
# :label: so-case-service-person
# :class: dropdown
# ````
# A higher threshold leaves fewer answers, and they should be right more often; look whether they are. A threshold has to be chosen on other voices than it is reported on, so this table may be shown and not chosen from. (The interval is Wilson's; it takes all calls for independent and is too narrow.)

# %%
opinion = joined["by clearness"]["0 dB"]
sure_of = np.exp(opinion.max(1))
for threshold in (0.5, 0.7, 0.9):
    answered = sure_of >= threshold
    if answered.any():
        share, low, high = wilson(right(opinion)[answered])
        print(f"{threshold}: answered {answered.mean():.2f}, right {share:.2f} ({low:.2f} to {high:.2f})")
    else:
        print(f"{threshold}: none answered")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} By hand
# :label: ex-case-service-hand
# ```
# *Easy, 10 minutes.* Two departments, equally frequent. The word says the first with 0.9, the line says the second with 0.6. What does Bayes' rule say? And with 0.55 in the place of 0.9?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-service-hand
# :label: so-case-service-hand
# :class: dropdown
# ````
# $0.9 \cdot 0.4$ against $0.1 \cdot 0.6$, so $0.36 / 0.42 = 0.86$ for the first. With 0.55: $0.22$ against $0.27$, and the second wins. How far one believes a witness decides, not only what he says.

# %% tags=["nbval-check-output"]
for word in (0.9, 0.55):
    sides = torch.tensor([[[word, 1 - word], [0.4, 0.6]]]).log()
    first, second = combine(sides, torch.tensor([0.5, 0.5]).log()).exp()[0].tolist()
    print(f"{first:.2f} {second:.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Further reading
#
# - {cite:t}`lugosch2019`: spoken commands and their intents, straight from the sound, with and without training on words first, on people's voices.
# - {cite:t}`guo2017`: why the 0.9 of a network is seldom 0.9.
