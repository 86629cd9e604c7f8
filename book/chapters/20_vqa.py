# ---
# jupyter:
#   course: {notebook: notebooks/20_vqa.ipynb}
# ---

# %% [markdown]
# # Questions and dialogue
#
# At the end of this chapter you can build a model that answers questions about a picture, say how much it would get right without looking, catch it in contradictions and inventions, and test whether it looked at what it was asked about.
#
# ```{glue:figure} vqa_promise
# :name: fig-vqa-promise
# :alt: A small picture of two dice and a pink pickaxe, and beside it the same picture three times, faded but for the cells at which the model looked for one question each. Above each stands the question, below it the answer.
#
# A scene, and where the answerer of this chapter looked for each of three questions before it said the first word of the answer. For the first it looks at the pickaxe and also at a die. For the third it looks at neither thing, and is right; a section below asks how.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - write an answer word by word after a question, and compare that with choosing one from a list
# - say what a question gives away without the picture, and a picture without the question
# - find contradictions without knowing the truth
# - measure what a second turn owes to the first
# - count what a model invents, in yes-no questions and in sentences, and erase what it should have looked at
#
# **Before you start:** [captioning](14_captioning.py), whose model sees for ours, [decoding](15_decoding.py) and [fusion](09_fusion.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import math
import textwrap
from collections import Counter
from dataclasses import replace
from random import Random

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue
from torch import nn

from mmcourse.book.plotting import BLUE, GREY, ORANGE, TEAL, show_scene, use_style
from mmcourse.book.source import show_source
from mmcourse.data import EmojiScenes
from mmcourse.data.dialogues import TwoThings, dialogues
from mmcourse.evaluation import bootstrap, ece, reliability
from mmcourse.hub import load

# %% tags=["remove-cell"]
from mmcourse.recipes import vqa_studies as studies
from mmcourse.recipes.vqa import ask_in_turn
from mmcourse.vqa.consistency import OPPOSITE, absent_noun
from mmcourse.vqa.reading import named_in
from mmcourse.vqa import (
    KINDS, PAIRS, SAMPLINGS, Answerer, Grounding, Asked, Majority, answer_from, ask_about, asked_things,
    chair, check, count_nouns, elsewhere, empty, erase, hits, invented, is_right, named_things, not_looking,
    pointed_at, pope, pope_scores, probes, prompt_tokens, see_part, share_by_scene, shares_by_kind,
    without_history,
)  # fmt: skip

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## Six kinds of question
#
# A scene, the questions that our data makes of it, and what the model of this chapter says. It is shipped with the course as `vqa`. (The models of [chapter 9](09_fusion.py) chose from short lists, for ten kinds of things. Here answers are written, about all 325.)

# %%
model = load("vqa")
val = EmojiScenes("val")
scene = val[34]
for question in scene.questions:
    found = model.answer(scene.image, question.text)
    print(f"{question.kind:10} {question.text:46} {found.text:16} (true: {question.answer})")

# %% tags=["hide-input"] mystnb={"image": {"alt": "A small picture on striped paper: two dice, and to the right of them a pink pickaxe."}}
show_scene(scene.image);

# %% [markdown]
# All but one are right: it counts one die where there are two. That looks as if it had looked and understood, most of the time. How would we know? It may have guessed from the question alone. It may contradict itself in the next sentence. It may say *yes* to things that are not there. It may look elsewhere. {cite:t}`antol2015` posed the task for photographs; much of what was learned since is about such doubts. We take them one by one.
#
# The data asks six kinds of question. `see_part` encodes pictures, and returns scenes, their memory, and their questions (`asked`). On 400 scenes of `val`, which trained nothing, two readers who never see a picture answer them, much like those of [the data page](data.py). Both only count. The first knows the kind of a question and says what was most often right for that kind. The second looks the question up, word by word, among those of 4,000 training scenes.

# %%
test = see_part(model, val, 0, 400)
train = EmojiScenes("train", 32)
training_scenes = [train[index] for index in range(4000)]
seen = ask_about(training_scenes)
guesses = {"by kind": Majority(seen, by_text=False), "by question": Majority(seen)}
blind = {name: is_right(reader.answer_all(test.asked), test.asked) for name, reader in guesses.items()}
blind = {name: shares_by_kind(flags, test.asked, draws=200) for name, flags in blind.items()}
for kind in ("all", *KINDS):
    shares = {name: table[kind] for name, table in blind.items()}
    row = [f"{name} {one.value:4.0%} ({one.low:.0%} to {one.high:.0%})" for name, one in shares.items()]
    print(f"{kind:10} " + "   ".join(f"{part:28}" for part in row).rstrip())

# %% tags=["remove-cell"]
glue("vqa_blind", float(blind["by kind"]["all"].value), display=False)
glue("vqa_blind_text", float(blind["by question"]["all"].value), display=False)
glue("vqa_blind_presence", float(blind["by kind"]["presence"].value), display=False)

# %% [markdown]
# Counting answers {glue:text}`vqa_blind:.0%`. Looking the question up adds nothing, and in *count* rather less is right: most texts were seen a few times only, so we guess that such a table overfits. A network that reads might find more; a section below trains one. (*Object* has hundreds of answers, so the most frequent is hardly ever right.) The data was made so that few answers are frequent: half of the *presence* questions ask for something that is not there, and most counts of *one* are left out. In collected data that takes an effort. {cite:t}`goyal2017vqa` added to each question a similar picture with another answer, and {cite:t}`hudson2019`, who make questions from descriptions of photographs as we do, still report 42.1 % for a network that does not look. **A score means nothing without the row of who did not look.**
#
# ## The formula
#
# Let $I$ be a picture, $q$ a question and $h$ the **history**, the questions and answers before it. There are two ways to answer. A **generative** answerer writes, word by word, as the captioner does:
#
# $$
# p(a \mid I, h, q) = \prod_{j=1}^{J} p\left(a_j \mid I, h, q, a_1, \dots, a_{j-1}\right), \qquad a_J = \text{end}
# $$ (eq-vqa-words)
#
# A **classifier** has a list of $R$ answers and one score for each:
#
# $$
# p(r \mid I, h, q) = \frac{e^{z_r}}{\sum_{k=1}^{R} e^{z_k}}, \qquad z = s\, W + b
# $$ (eq-vqa-choice)
#
# | symbol | what it is | shape |
# |---|---|---|
# | $a_1, \dots, a_J$ | words of an answer, and its end | |
# | $s$ | the state of the network after the question mark | $D$ |
# | $W$, $b$ | weights and bias of the classifier, learnt | $D \times R$, $R$ |
# | $z_r$ | the score of answer $r$ of the list | $R$ numbers |
#
# ### On paper
#
# *Where is the dog, seen from the cat?* A model has two answers in mind. After the question mark it gives *to* 0.6 and *above* 0.4. After *to* comes *the* with certainty, then *left* or *right* with one half each, then *of* and the end with certainty; after *above* comes the end. By {eq}`eq-vqa-words`, *to the left of* has $0.6 \cdot 1 \cdot 0.5 \cdot 1 \cdot 1 = 0.3$, *to the right of* has $0.3$, and *above* has $0.4 \cdot 1 = 0.4$. So *above* is the best answer. A greedy writer says *to* first, since $0.6 > 0.4$, and then ends with an answer of 0.3: it cannot take back a word. (Beam search, chapter 15, could.) A classifier with the same beliefs compares 0.3, 0.3 and 0.4 and says *above*. On the other hand, its list is closed: what is not in it is never said.
#
# ### By hand, then for real
#
# What does the network read? One row of tokens. Each turn has the words of the question, a `?`, the words of the answer, and `<end>`; a second question goes on in the same row. **So a dialogue needs no part of its own:** attention looks back at what was said.

# %% tags=["nbval-check-output"]
history = [("is there a dog ?", "yes")]
prompt = prompt_tokens("what colour is it ?", history, model.ids)
print(" ".join(model.words[token] for token in prompt))

# %% [markdown]
# {eq}`eq-vqa-words` in the plainest way: one pass over prompt and answer, and at each place the probability of the word that follows.

# %%
def probability(answer, memory, prompt):
    tokens = [*prompt, *(model.ids[word] for word in answer.split()), model.ids["<end>"]]
    with torch.no_grad():
        states = model.states(memory, torch.tensor([tokens]))[0]  # (T, D)
        logits = model.output(states)  # (T, V)
    product = 1.0
    for place in range(len(prompt), len(tokens)):
        powers = [math.exp(z) for z in logits[place - 1].tolist()]
        product *= powers[tokens[place]] / sum(powers)
    return product


# %%
question = scene.questions[-1].text
memory = model.see([scene.image])
written = model.write(memory, [prompt_tokens(question, [], model.ids)])
text = model.text_of(written.tokens[0])
by_hand = probability(text, memory, prompt_tokens(question, [], model.ids))
assert math.isclose(by_hand, written.log_prob.exp().item(), rel_tol=1e-3)
print(f"{question} {text}: {by_hand:.3f}")

# %% [markdown]
# This is how the package reads; the memory is what the captioner of chapter 14 makes of the picture, a vector for each of 64 cells. The captioner stays as it is; **only what reads and answers is trained.**

# %% tags=["remove-input"]
show_source(Answerer.states)

# %% [markdown]
# Training takes whole conversations and asks for the words of the answers only. (Questions are read, never to be said.) Both heads are trained at once, on the same states:

# %% tags=["remove-input"]
show_source(Answerer.terms)

# %% [markdown]
# The shipped model was made by one command, `python -m mmcourse.recipes.vqa runs/vqa`: 12,000 scenes with their questions and extra ones about presence, and 3,000 scenes with six dialogues each; 1,300 steps of 32 scenes, about 12 minutes. It did not begin with nothing: its decoder and the vectors of its words are copies of the captioner's.
#
# ### What a softmax cannot say
#
# *Is there a dog?* The word *dog* looks for its thing. Attention gives a mean of the cells, with weights that sum to one. They do so also when no cell holds a dog. The decoder then gets a mean of other things, and has to notice by itself that none of it is a dog: how well the best cell fits is not in the weights. So before the decoder, each word is **grounded**. (From here, $s_{tn}$ with two indices is a score; the $s$ above was a state.) Let $x_t$ be the vector of word $t$ and $m_n$ that of cell $n$ (its memory after a linear map, plus a learnt vector of its place). Their score, and what is added to the word, are
#
# $$
# s_{tn} = (x_t W_x) \cdot (m_n W_m + c), \qquad
# g_t = \Big( \sum_{n} \operatorname{softmax}_n(\kappa\, s_{tn})\, m_n \Big) W_g + b_g + u\, \max_n s_{tn}
# $$ (eq-vqa-ground)
#
# | symbol | what it is | shape |
# |---|---|---|
# | $x_t$, $m_n$ | a word, a cell of the memory | $D$ each |
# | $W_x$, $W_m$, $c$ | the keys by which a word and a cell are compared, learnt; $K$ is their width | $D \times K$ twice, $K$ |
# | $\kappa$ | how sharply a word chooses among cells, learnt | one number |
# | $W_g$, $b_g$ | weights and bias for what was found, learnt | $D \times D$, $D$ |
# | $u$ | the direction in which the largest score is written, learnt | $D$ |
#
# The last term says *how well* the best cell fits, and can be small. On paper, with $\kappa = \ln 2$: a word has the scores 2, 0 and 0 with three cells. The powers are $2^2, 1, 1$, the weights $\frac46, \frac16, \frac16$, the largest score 2. With scores of 0, 0 and 0 the weights are one third each and the largest score is 0. An exercise shows what is lost without it. What the grounding is worth is measured below, on an arm that lacks it.

# %% tags=["nbval-check-output"]
scores = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)
weights = (math.log(2) * scores).softmax(0)
assert torch.allclose(weights, torch.tensor([4, 1, 1]).double() / 6)
print(weights.tolist(), scores.max().item())

# %% tags=["remove-input"]
show_source(Grounding)

# %% [markdown]
# The grounding is not learnt from nothing. On 1,000 scenes we know which noun lies in which cell. A linear map is fitted (least squares with a small penalty, solved without steps) that takes a cell to the captioner's vector for its noun, and a word that names a noun begins as that vector. So from the first step a word scores high where its thing is. The price: labels of cells go in, those with which the captioner was trained.
#
# ## Against the reference
#
# PyTorch's decoder layers with our weights, without the grounding, for odd shapes and in double precision (`tests/test_vqa.py` has the grounding too):

# %%
def torch_layer(ours, width, heads, hidden):
    """PyTorch's decoder layer with the weights of ours."""
    theirs = nn.TransformerDecoderLayer(
        width, heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True
    ).double().eval()
    for own, other in ((ours.attention, theirs.self_attn), (ours.cross_attention, theirs.multihead_attn)):
        parts = (own.query, own.key, own.value)
        with torch.no_grad():
            other.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            other.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        other.out_proj.load_state_dict(own.output.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[3].state_dict())
    for number in (1, 2, 3):
        norm = getattr(ours, f"norm{number}")
        getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())
    return theirs


# %%
def gap(B, T, N, width, heads, channels):
    ours = Answerer(["dog"], (), channels, N, width, heads, 2, 7, 0, T).double().eval()
    memory, tokens = torch.randn(B, N, channels).double(), torch.randint(5, (B, T))
    x = ours.embedding(tokens) + ours.positions
    cells, future = ours.look(memory) + ours.places, torch.ones(T, T).triu(1).bool()
    for layer in ours.decoder.layers:
        x = torch_layer(layer, width, heads, 7)(x, cells, tgt_mask=future)
    return (ours.states(memory, tokens) - ours.decoder.norm(x)).abs().max().item()


# %% tags=["nbval-check-output"]
torch.manual_seed(0)
gaps = [gap(3, 5, 7, 12, 3, 4), gap(1, 1, 4, 6, 1, 9), gap(2, 9, 1, 20, 5, 3)]
print("all closer than 1e-12:", max(gaps) < 1e-12)

# %% tags=["remove-cell"]
glue("vqa_gap", max(gaps), display=False)

# %% [markdown]
# The largest difference is {glue:text}`vqa_gap:.1e`. `tests/test_vqa.py` also checks that neither padding, nor the other rows of a batch, nor a cache, nor the words that come later change a state.
#
# ## What each part is worth
#
# The shipped model was trained once. What its parts are worth we measure on smaller runs: `python -m mmcourse.recipes.vqa_studies table` trains five answerers, each with three seeds, on {glue:text}`vqa_study_scenes` scenes and in {glue:text}`vqa_study_steps` steps, against 12,000 and 1,300 of the shipped one. Each **arm** has its own learning rate, the best of four that were tried for {glue:text}`vqa_study_tried` steps on scenes that are not reported; it was never the smallest or the largest of them. All begin as the shipped model began.
#
# | arm | what it lacks |
# |---|---|
# | answerer | nothing |
# | no grounding | {eq}`eq-vqa-ground`, and what that begins with |
# | untrained encoder | what sees has the captioner's sizes, and weights as they were drawn; they stay so |
# | does not look | in training too, zeros in place of the picture |
# | does not read | in training too, one or two words for the kind in place of the question |

# %%
def spell(share):
    """A share and its interval in words."""
    return f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%})"


def briefly(share):
    """The same in per cent, for tables."""
    return f"{100 * share.value:.0f} ({100 * share.low:.0f} to {100 * share.high:.0f})"


table = {row["arm"]: row for row in studies.read()["rows"]}
parts = studies.test_questions()


def of_seeds(arm, name, kind=None):
    """The share right of an arm in the mean of its seeds, with an interval over scenes."""
    asked = parts[name.removesuffix(" chosen")]
    flags = np.mean([studies.unpacked(seed[name]) for seed in table[arm]["seeds"]], 0)
    chosen = [row for row, each in enumerate(asked) if kind in (None, each.kind)]
    return share_by_scene(flags[chosen], [asked[row].scene for row in chosen], draws=300)


# %%
columns = {"val": ("val",), "val, presence": ("val", "presence"), "val, chosen": ("val chosen",),
           "composition": ("composition",), "second turns": ("dialogues",)}
print("in per cent".ljust(18) + "".join(f"{name:14}" for name in columns))
for arm in table:
    cells = [briefly(of_seeds(arm, *which)).ljust(14) for which in columns.values()]
    print(f"{arm:18}" + "".join(cells))
for arm, row in table.items():
    own = [studies.unpacked(seed["val"]).mean() for seed in row["seeds"]]
    seeds = ", ".join(f"{share:.1%}" for share in own)
    print(f"{arm:18}val, seed by seed: {seeds}; rate {row['rate']:.1e}")

# %% tags=["remove-cell"]
for arm in table:
    for name, which in columns.items():
        key = f"vqa_{arm}_{name}".replace(",", "").replace(" ", "_")
        glue(key, spell(of_seeds(arm, *which)), display=False)
settings = studies.read()["settings"]
glue("vqa_study_steps", settings["steps"], display=False)
glue("vqa_study_tried", settings["steps of each rate tried"], display=False)
glue("vqa_study_scenes", f"{settings['scenes'][0]:,}", display=False)

# %% [markdown]
# Cells are means of three seeds, with intervals over scenes; the last lines show how far seeds differ. All arms are far from the shipped model, since they are trained for so short a time, and what they show holds for that.
#
# **The answerer rides on its encoder.** With that of the captioner it is right in {glue:text}`vqa_answerer_val`, with an untrained one in {glue:text}`vqa_untrained_encoder_val`. It cannot learn to see by answering, since in every arm what sees stays as it is; the captioner's was trained for hours on captions that state every fact.
#
# **Without the grounding, presence stays at a coin's throw**: {glue:text}`vqa_no_grounding_val_presence` against {glue:text}`vqa_answerer_val_presence`. Of all questions it is {glue:text}`vqa_no_grounding_val`. (The arm also lacks the closed form from which the grounding begins; we did not part the two.) On second turns they are {glue:text}`vqa_answerer_second_turns` and {glue:text}`vqa_no_grounding_second_turns`.
#
# Who never looks reaches {glue:text}`vqa_does_not_look_val`: in so short a training, a network that reads finds no more in the questions than counting did. Who looks and is told only the kind of the question reaches {glue:text}`vqa_does_not_read_val`. That is much. A scene has one or two kinds of things, so to say where it is, or one of its colours or things, is often right. **Of the answerer's score in such short training, only the rest is due to reading**; the table of the shipped model shows what longer training makes of it. Written and chosen answers come from the same training, of the answerer {glue:text}`vqa_answerer_val` and {glue:text}`vqa_answerer_val_chosen`: the classifier, which begins with nothing where the writer begins with the captioner's words, is behind; by the end of the long training it is level.
#
# ## The shipped model, by kind
#
# `vqa` itself was trained longer, on more scenes. Every share below is the share of exactly right answers, with a 95 % interval that redraws scenes, since the questions about one scene stand or fall together. All rows are of one trained model: the intervals hold for it, not for another seed. (Where all or none are right, redrawing scenes gives the same number each time, which is no certainty. There, here and below, stands the exact interval of {cite:t}`clopper1934` for as many scenes, each counted once: of 100 scenes without an error, 96 % to 100 %.)
#
# One more reader is cheap. The captioner states every fact already. `answer_from` parses its caption into facts, and a rule for each kind of question takes one; nothing is trained.

# %%
splits = {"val": test, "composition": see_part(model, EmojiScenes("composition"), 0, 300),
          "style": see_part(model, EmojiScenes("style"), 0, 300)}
said, kinds = {}, {}
for name, part in splits.items():
    said[name] = model.answer_all(part.memory, part.asked)
    kinds[name] = shares_by_kind(is_right(said[name][0], part.asked), part.asked, draws=300)
chosen, _ = model.answer_all(test.memory, test.asked, choose=True)
by_rule = {}
for name, part in splits.items():
    sentences = []
    for start in range(0, len(part.scenes), 50):
        found = model.encoder.write(part.memory[start : start + 50], "greedy")
        sentences += [caption.text for caption in found]
    rules = [answer_from(sentences[each.scene], each) for each in part.asked]
    by_rule[name] = sentences, is_right(rules, part.asked)
captions = by_rule["val"][0]

# %%
kinds["val, chosen"] = shares_by_kind(is_right(chosen, test.asked), test.asked, draws=300)
for name, part in splits.items():
    kinds[f"{name}, caption"] = shares_by_kind(by_rule[name][1], part.asked, draws=300)
for head in (("val", "val, chosen", "val, caption"),
             ("composition", "composition, caption"), ("style", "style, caption")):
    print(" " * 11 + "".join(f"{name:22}" for name in head))
    for kind in ("all", *KINDS):
        print(f"{kind:10} " + "".join(spell(kinds[name][kind]).ljust(22) for name in head))

# %% tags=["remove-cell"]
for name, found in kinds.items():
    for kind in ("all", *KINDS):
        glue(f"vqa_{name}_{kind}".replace(", ", "_"), float(found[kind].value), display=False)
texts = said["val"][0]
valid = np.mean([text in model.answers for text in texts])
glue("vqa_valid", float(valid), display=False)
hidden, _ = model.answer_all(not_looking(test.memory), test.asked)
hidden = is_right(hidden, test.asked)
odd = [text for text in dict.fromkeys(texts) if text not in model.answers]
glue("vqa_odd", " and ".join(f"“{text}”" for text in sorted(odd, key=len)[-2:]), display=False)
for name, several in (("one", False), ("several", True)):
    rows = [row for row, each in enumerate(test.asked)
            if each.kind == "object" and (len(each.answer.split()) > 1) == several]
    both = [np.mean([told[row] == test.asked[row].answer for row in rows]) for told in (texts, chosen)]
    glue(f"vqa_words_{name}", f"{both[0]:.0%} written and {both[1]:.0%} chosen", display=False)
glue("vqa_hidden", float(hidden.mean()), display=False)

# %% [markdown]
# The written answers are right in {glue:text}`vqa_val_all:.1%` of the questions on `val`, those of the classifier in {glue:text}`vqa_val_chosen_all:.1%`. Of what was written, {glue:text}`vqa_valid:.1%` is an answer of the list; the rest are such things as {glue:text}`vqa_odd`. Look at *object*: written {glue:text}`vqa_val_object:.0%`, chosen {glue:text}`vqa_val_chosen_object:.0%`. Names of one word: {glue:text}`vqa_words_one`. Names of several: {glue:text}`vqa_words_several`. The writer says *face* and stops where *face with mask* stands. It cannot take back a word; the classifier weighs whole names. With zeros in place of the picture, the same model is right in {glue:text}`vqa_hidden:.0%`; but zeros are new to it, and the arm *does not look* was trained on them.
#
# **Rules on the captioner's caption, with nothing trained, get {glue:text}`vqa_val_caption_all:.1%` on `val`, more than the answerer.** On `composition` they get {glue:text}`vqa_composition_caption_all:.1%` against {glue:text}`vqa_composition_all:.1%`, which the intervals do not tell apart. Only on `style`, an artist whom neither ever saw, is the answerer better, {glue:text}`vqa_style_all:.1%` against {glue:text}`vqa_style_caption_all:.1%`, most of all in *colour* and *relation*. We guess why: there the question names the things, and a caption must find their names first. (*Count* and *presence* name them too and gain little; but to answer them one must know the thing when one sees it.) Before you train an answerer, ask what its encoder's own words can answer. These questions ask for facts that a caption should state; questions about what no caption mentions need an answerer.
#
# The weakest kind on `val` is *count*. Which numbers does it miss, and what does it say instead?

# %%
numbers = ("none", "one", "two", "three")
for name in ("val", "composition"):
    table_of = Counter()
    for each, text in zip(splits[name].asked, said[name][0], strict=True):
        if each.kind == "count":
            table_of[each.answer, text] += 1
    print(f"{name}: true number down, answer across")
    for true in numbers:
        print(f"  {true:6}" + "".join(f"{told} {table_of[true, told]:3}   " for told in numbers))

# %% tags=["remove-cell"]
counted = Counter()
for name in ("val", "composition"):
    for each, text in zip(splits[name].asked, said[name][0], strict=True):
        if each.kind == "count":
            counted[each.answer, text == each.answer] += 1
for true in numbers:
    share = counted[true, True] / (counted[true, True] + counted[true, False])
    glue(f"vqa_count_{true}", float(share), display=False)

# %% [markdown]
# Of both splits together, {glue:text}`vqa_count_none:.0%` of the true *none* are found, {glue:text}`vqa_count_one:.0%` of *one*, {glue:text}`vqa_count_two:.0%` of *two* and {glue:text}`vqa_count_three:.0%` of *three*. The same memory gives the captioner the number: rules on its caption get {glue:text}`vqa_val_caption_count:.0%` of the counts on `val`, the answerer {glue:text}`vqa_val_count:.0%`. So its counts are lost in reading, not in seeing. A section below finds where.
#
# ## Does it contradict itself?
#
# So far we needed the truth. But some answers exclude each other, whatever the picture: *Is there a dog? No. How many dogs are there? Two.* {cite:t}`ribeiro2019` test models in this way: they derive from an answer a question whose answer is then implied. We have four such pairs; the second question may hold the answer to the first:
#
# | pair | first | second | agree when |
# |---|---|---|---|
# | none and no | is there a dog? | how many dogs are there? | both deny (*no*, *none*) or both affirm |
# | there and back | where is the dog, seen from the cat? | where is the cat, seen from the dog? | opposite |
# | what and where | what is above the cat? *(X)* | where is the X, seen from the cat? | *above* |
# | what and whether | what is in the picture? *(X)* | is there an X? | *yes* |

# %%
def ask(asked, memory=test.memory):
    return model.answer_all(memory, asked)[0]


def pairs_of(answer_all):
    """For each kind of pair: whether the answers agree, and their scenes."""
    found = {pair: ([], []) for pair in PAIRS}
    for probe, first, second in check(answer_all, probes(test.scenes)):
        found[probe.kind][0].append(probe.agrees(first, second))
        found[probe.kind][1].append(probe.scene)
    return found


unseen = not_looking(test.memory)
disagree = []
for name, answer_all in (("looks", ask), ("does not", lambda asked: ask(asked, unseen))):
    for pair, (flags, rows) in pairs_of(answer_all).items():
        share = share_by_scene(flags, rows, draws=300)
        glue(f"vqa_agree_{name}_{pair}".replace(" ", "_"), float(share.value), display=False)
        disagree += [not flag for flag in flags] if name == "looks" else []
        print(f"{name:9} {pair:17} agree {spell(share)}")

# %% tags=["remove-cell"]
glue("vqa_disagree", float(np.mean(disagree)), display=False)

# %% [markdown]
# A contradiction proves an error without anybody knowing the truth: in {glue:text}`vqa_disagree:.0%` of all pairs at least one answer is wrong. Agreement proves less. Given zeros in place of the picture, the same model agrees with itself in {glue:text}`vqa_agree_does_not_none_and_no:.0%` of the pairs *none and no*: it denies everything. (In the other pairs it agrees hardly ever.) **So consistency stands beside accuracy, never in its place.**
#
# ## A second turn
#
# *What colour is it?* means nothing by itself. {cite:t}`das2017` collected dialogues of ten turns about photographs. How much do the later turns need the earlier ones? {cite:t}`agarwal2020` found that in those data the history is required for a small amount only. So we make data in which it is: each scene has two single things in two colours, and the second turn could mean either.

# %%
world = TwoThings("val")
for each in dialogues(world[1]):
    print(f"{each.kind}: {each.first.text} {each.first.answer}. {each.second.text} {each.second.answer}")

# %% [markdown]
# We ask with the history, without it, and with a false one, in which the first turn is about the other thing. (In *the other thing*, say: *is there a cat?* in place of *is there a dog?*) Last, the model's own answer to the first question stands in place of the true one, as in a real conversation.

# %%
talk = see_part(model, world, 0, 250, ask_in_turn)


def about_the_other(scene, each):
    """The history of a dialogue, with both names exchanged."""
    first, second = (group.noun for group in scene.description.groups)
    text, answer = each.history[0]
    for old, new in ((first, "#"), (second, first), ("#", second)):
        text, answer = (f" {t} ".replace(f" {old} ", f" {new} ").strip() for t in (text, answer))
    return ((text, answer),)


firsts = [Asked(e.scene, e.history[0][0], e.history[0][1], e.kind) for e in talk.asked]
own, _ = model.answer_all(talk.memory, firsts)
histories = {"true": talk.asked, "none": without_history(talk.asked), "other": [], "own": []}
for each, answer in zip(talk.asked, own, strict=True):
    false = about_the_other(talk.scenes[each.scene], each)
    histories["other"].append(Asked(each.scene, each.text, each.answer, each.kind, false))
    mine = ((each.history[0][0], answer),)
    histories["own"].append(Asked(each.scene, each.text, each.answer, each.kind, mine))

# %%
turns = {}
for name, asked in histories.items():
    texts, _ = model.answer_all(talk.memory, asked)
    turns[name] = shares_by_kind(is_right(texts, asked), asked, draws=300)
print("in per cent".ljust(26) + "".join(f"{name:18}" for name in turns))
for kind in turns["true"]:
    cells = [found[kind] for found in turns.values()]
    print(f"{kind:25} " + "".join(briefly(cell).ljust(18) for cell in cells))

# %% tags=["remove-cell"]
for name, found in turns.items():
    for kind, share in found.items():
        glue(f"vqa_turn_{name}_{kind}".replace(" ", "_"), float(share.value), display=False)

# %% [markdown]
# With the history {glue:text}`vqa_turn_true_all:.0%` of the second turns are right, without it {glue:text}`vqa_turn_none_all:.0%`. With the model's own first answers it is {glue:text}`vqa_turn_own_all:.0%`; {glue:text}`vqa_firsts:.0%` of those are true, so little could change. A history about the other thing makes the model talk about the other thing: of *its colour*, *its place* and *the other thing* nearly nothing is right then.

# %%
def retold(kind, change):
    """The questions of a kind with a changed first turn; the share that is right as before."""
    asked = []
    for each in talk.asked:
        if each.kind == kind:
            names = [group.noun for group in talk.scenes[each.scene].description.groups]
            asked.append(replace(each, history=(change(*each.history[0], names),)))
    return share_by_scene(is_right(ask(asked, talk.memory), asked), [e.scene for e in asked], draws=300)


def turned(text):
    """The text with its relation turned into the opposite."""
    return next((text.replace(old, new) for old, new in OPPOSITE.items() if old in text), text)


def another(question, answer, names):
    return question, next(name for name in names if name != answer)


# %%
tries = {
    ("the colour of the answer", "answer exchanged"): another,
    ("the colour of the answer", "relation turned"): lambda q, a, names: (turned(q), a),
    ("the other way round", "answer turned"): lambda q, a, names: (q, turned(a)),
}
for (kind, what), change in tries.items():
    found = retold(kind, change)
    print(f"{kind:25} {what:17} as before: {spell(found)}")
    glue(f"vqa_retold_{what}".replace(" ", "_"), float(found.value), display=False)

# %% tags=["remove-cell"]
pictured = [kind for kind in turns["true"] if kind not in ("all", "the other way round")]
glue("vqa_turn_five", float(np.mean([turns["true"][kind].value for kind in pictured])), display=False)
coin = [each for each in talk.asked if each.kind == "the other colour"]
again = np.mean([text == each.history[0][1] for text, each in zip(ask(coin, talk.memory), coin, strict=True)])
glue("vqa_again", float(again), display=False)
glue("vqa_firsts", float(is_right(own, firsts).mean()), display=False)

# %% [markdown]
# Two kinds keep their answers under a false history, and that should make us suspicious. In *the colour of the answer* (*What is above the cat? Dog. What colour is it?*) the false history says that the answer is the other thing. Had the model followed it, nothing would be right. It does not read it: with the answer alone exchanged, {glue:text}`vqa_retold_answer_exchanged:.0%` are as before, and with the relation turned, {glue:text}`vqa_retold_relation_turned:.0%`. The word *above* is enough to find the thing, and no name is needed.
#
# *The other way round* needs no picture: the answer is the opposite of what was just said. Told a falsehood, it turns the falsehood round, and {glue:text}`vqa_retold_answer_turned:.0%` are right. Without this kind, {glue:text}`vqa_turn_five:.0%` of the second turns are right.
#
# **Look at the kinds.** In *the other colour* (*What colour is the drum? Red. And the other one?*) only {glue:text}`vqa_turn_true_the_other_colour:.0%` are right, and in {glue:text}`vqa_again:.0%` the model repeats the colour that was just said. A coin between both colours would do as well. We do not know why; training had as many of these as of the other kinds. The mean shows neither. And without a history, *And the other one?* does not even say what is asked.
#
# ## What is not there
#
# A model that says *yes* too easily, or names what is not in the picture, **hallucinates**. Two measures are in use. The first asks. **POPE** {cite:p}`li2023pope` makes yes-no questions, half about things that are there and half about things that are not. The latter are drawn in three ways: at *random*; the most *popular*, that is, most frequent in the data; and *adversarial*, those that most often stand beside what is there. We add a fourth of our own, *look-alike*: another thing of the same category, an owl for a parrot.
#
# The second reads sentences. **CHAIR** {cite:p}`rohrbach2018` has two numbers, one for instances and one for sentences:
#
# $$
# \text{CHAIR}_i = \frac{\text{things named that are not there}}{\text{things named}}, \qquad
# \text{CHAIR}_s = \frac{\text{sentences with such a thing}}{\text{sentences}}
# $$ (eq-vqa-chair)
#
# On paper: of a dog in the snow, a captioner writes *a dog above an owl*; of a bus, *two keys*; of a key, *a key*. Four things are named and two are not there, so $\text{CHAIR}_i = 2 / 4$. Two of three sentences invent something: $\text{CHAIR}_s = 2 / 3$. Lower is better, and silence has 0.

# %% tags=["nbval-check-output"]
from types import SimpleNamespace

worlds = [SimpleNamespace(holds=lambda fact, own=own: fact[1] == own) for own in ("dog", "bus", "key")]
print(chair(["a dog above an owl", "two keys", "a key"], worlds))

# %% tags=["remove-input"]
show_source(chair)

# %% [markdown]
# The captioner answers POPE too: *yes*, if its caption names the thing. It names one or two of 325 nouns, so that it can hardly affirm what is not there. What that is worth we see when it answers with the caption of the next scene.

# %%
frequencies = count_nouns(training_scenes)


def by_caption(asked):
    """Yes where the caption of the scene names what is asked for."""
    names = [named_things(captions[each.scene]) for each in asked]
    pairs = zip(asked, names, strict=True)
    return ["yes" if named_things(each.text) <= known else "no" for each, known in pairs]


polled = {}
for sampling in SAMPLINGS:
    asked = pope(test.scenes, sampling, frequencies)
    next_one = by_caption([replace(each, scene=(each.scene + 1) % 400) for each in asked])
    for who, texts in (("answerer", ask(asked)), ("captioner", by_caption(asked)), ("next one's", next_one)):
        scores = pope_scores(texts, [each.answer for each in asked])
        false = [t == "yes" for t, each in zip(texts, asked, strict=True) if each.answer == "no"]
        rows = [each.scene for each in asked if each.answer == "no"]
        polled[who, sampling] = scores, share_by_scene(false, rows, draws=300)

# %%
for (who, sampling), (scores, false) in polled.items():
    print(f"{who:10} {sampling:11} accuracy {scores.accuracy:.3f} F1 {scores.f1:.3f} "
          f"yes {scores.yes:.2f}, to what is not there {spell(false)}")

# %% [markdown]
# Is a higher row a habit of the data? Then it should vanish when the same nouns are asked about other scenes, where they have no company:

# %%
for sampling in SAMPLINGS:
    moved = [replace(each, scene=(each.scene + 57) % 400)
             for each in pope(test.scenes, sampling, frequencies) if each.answer == "no"]
    moved = [each for each in moved if not asked_things(test.scenes[each.scene], each)]
    told = share_by_scene([text == "yes" for text in ask(moved)], [e.scene for e in moved], draws=300)
    print(f"{sampling:12} the same nouns about other scenes: yes to {spell(told)}")
    glue(f"vqa_moved_{sampling}", float(told.value), display=False)

# %%
pairs = zip(test.asked, said["val"][0], strict=True)
answers = [(each.scene, text) for each, text in pairs if each.kind == "object"]
whole = {"captioner": (captions, test.scenes),
         "answerer": ([text for _, text in answers], [test.scenes[row] for row, _ in answers])}
for who, (sentences, shown) in whole.items():
    pairs = np.array([invented(text, scene) for text, scene in zip(sentences, shown, strict=True)])
    first = bootstrap(lambda p: p[:, 1].sum() / p[:, 0].sum(), pairs, draws=300)
    second = bootstrap(lambda p: (p[:, 1] > 0).mean(), pairs, draws=300)
    glue(f"vqa_chair_{who}", float(first.value), display=False)
    print(f"{who:10} CHAIR_i {first.value:.3f} ({first.low:.3f} to {first.high:.3f})  "
          f"CHAIR_s {second.value:.3f} ({second.low:.3f} to {second.high:.3f})")

# %% tags=["remove-cell"]
for (who, sampling), (scores, false) in polled.items():
    glue(f"vqa_pope_{who}_{sampling}", float(scores.f1), display=False)
    glue(f"vqa_false_{who.split()[0]}_{sampling}", float(false.value), display=False)
most = frequencies.alone.most_common()
glue("vqa_most", most[0][1] / 4000, display=False)
glue("vqa_together", max(frequencies.together.values()), display=False)
popular = Counter(named_in(each.text)[0] for each in pope(test.scenes, "popular", frequencies) if each.answer == "no")
glue("vqa_popular", " and ".join(f"{name} ({count} times)" for name, count in popular.most_common(2)), display=False)

# %% [markdown]
# To *random* questions about what is not there the answerer says *yes* in {glue:text}`vqa_false_answerer_random:.1%`, to *popular* ones in {glue:text}`vqa_false_answerer_popular:.1%` and to *adversarial* ones in {glue:text}`vqa_false_answerer_adversarial:.1%`. It looks as if the model had learned a habit of the data. It can hardly have: our scenes draw their nouns evenly, the most frequent of 325 is in {glue:text}`vqa_most:.1%` of 4,000 training scenes, and no two stand together more than {glue:text}`vqa_together` times. And about other scenes the same nouns are affirmed in {glue:text}`vqa_moved_popular:.1%` (*popular*) and {glue:text}`vqa_moved_adversarial:.1%` (*adversarial*), and the *random* ones in {glue:text}`vqa_moved_random:.1%`. So it is the nouns and not their company. *Popular* asks nearly every scene for the same two, {glue:text}`vqa_popular`: that row says how well it knows two nouns, and the interval, which redraws scenes, does not know that.
#
# *Look-alike* is where a model of this world should fail, and it does more often than on *random* ones: {glue:text}`vqa_false_answerer_look-alike:.1%`. About other scenes the same nouns are affirmed in {glue:text}`vqa_moved_look-alike:.1%`, so a part of it may be the likeness; we did not test that difference. The captioner, asked through its caption, affirms {glue:text}`vqa_false_captioner_look-alike:.1%` there; with the caption of the next scene it would be {glue:text}`vqa_false_next_look-alike:.1%`, so this is no merit. By CHAIR, {glue:text}`vqa_chair_captioner:.1%` and {glue:text}`vqa_chair_answerer:.1%` of what they name is not there; we did not test that difference. **What a model affirms when it is asked, and what it names by itself, are two habits, and each has its measure.**
#
# ## Where it looked, and whether it mattered
#
# The decoder's attention is a weight for each of 64 cells. We know the true box of each thing, so we can ask whether the cell with the largest weight lies in a box of a thing that the question names or its answer is. This is the pointing game of [chapter 17](17_interpretability.py) {cite:p}`zhang2018`. Two baselines say what a hit is worth: the middle of the picture, and the model's own point with the boxes of another question, mostly about another scene. The attention is that at the question mark, where the first word of the answer is chosen, in the mean over layers and heads. We take the first 700 questions that are about things. And we ask the grounding too: which cell has the largest score with any word of the question?

# %%
rows = [(each, asked_things(test.scenes[each.scene], each)) for each in test.asked]
rows = [(each, [thing.box for thing in things]) for each, things in rows if things][:700]
points, words = [], []
for each, _ in rows:
    memory, prompt = test.memory[each.scene][None], prompt_tokens(each.text, each.history, model.ids)
    with torch.no_grad():
        weights = model.attention(memory, [prompt])[0].mean((0, 1))  # (N,)
        scores = model.grounded(memory, [prompt])[0].amax(0)  # (N,), the best of all words
    points.append(pointed_at(weights.numpy(), 64))
    words.append(pointed_at(scores.numpy(), 64))
hit = {"attention": [hits(point, boxes) for point, (_, boxes) in zip(points, rows, strict=True)],
       "grounding": [hits(point, boxes) for point, (_, boxes) in zip(words, rows, strict=True)],
       "the middle": [hits((32, 32), boxes) for _, boxes in rows],
       "boxes of another": [hits(point, rows[i - 7][1]) for i, point in enumerate(points)]}

# %%
asked_there = [each for each, _ in rows]
pointing = {name: shares_by_kind(flags, asked_there, draws=300) for name, flags in hit.items()}

def print_table(columns):
    """Kinds down, names across."""
    print(" " * 11 + "".join(f"{name:20}" for name in columns))
    for kind in next(iter(columns.values())):
        print(f"{kind:11}" + "".join(spell(found[kind]).ljust(20) for found in columns.values()))


print_table(pointing)

# %% tags=["remove-cell"]
for name, found in pointing.items():
    for kind, share in found.items():
        glue(f"vqa_point_{name.split()[-1]}_{kind}", float(share.value), display=False)

# %% [markdown]
# For *object* and *colour* the attention points at the thing in {glue:text}`vqa_point_attention_object:.0%` and {glue:text}`vqa_point_attention_colour:.0%`. For *presence* it does in {glue:text}`vqa_point_attention_presence:.0%` and for *relation* in {glue:text}`vqa_point_attention_relation:.0%`, less often than the middle of the picture, though the answers are right in {glue:text}`vqa_val_presence:.0%` and {glue:text}`vqa_val_relation:.0%`. So it answers without looking? It may have looked earlier: the words had been grounded by then, and the grounding, whose keys began as labels of cells, has its largest score on the thing in {glue:text}`vqa_point_grounding_presence:.0%` and {glue:text}`vqa_point_grounding_relation:.0%`. Whether the answer uses that, a map cannot say. (The question *what is in the picture?* names no thing, so *object* gives the grounding less to hold on to: {glue:text}`vqa_point_grounding_object:.0%`.) **Which map one draws decides what one believes.**
#
# A weight is not yet a cause {cite:p}`jain2019`: the encoder has already mixed what lies in the cells. So we intervene. We know the background of each scene to the pixel, since it was painted first. We **erase** the things that a question is about, those that it names and the one that is its answer, by showing the background there, and ask again. What if any retouching did the same harm? There are two controls. We erase instead the *other* thing of the scene, which the question does not name, in the same way. And we lay grey boxes, once over the things and once over as much where nothing lies.

# %%
kept, images = [], {"as it was": [], "erased": [], "grey over it": [], "grey elsewhere": []}
for each, boxes in rows:
    pictured, rng = test.scenes[each.scene], Random(f"{each.scene}/{each.text}")
    others = elsewhere(boxes, [thing.box for thing in pictured.objects], 64, rng)
    if each.kind == "relation" or others is None or len(kept) >= 200:
        continue
    background, grey = empty(val, pictured), np.full_like(pictured.image, 127)
    kept.append(Asked(len(kept), each.text, each.answer, each.kind))
    images["as it was"].append(pictured.image)
    images["erased"].append(erase(pictured.image, background, boxes))
    images["grey over it"].append(erase(pictured.image, grey, boxes, margin=0))
    images["grey elsewhere"].append(erase(pictured.image, grey, others, margin=0))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-vqa-erased", "caption": "One scene as it was, with all that the question names or its answer is erased, under grey boxes, and with as much grey elsewhere."}, "image": {"alt": "The same small picture of a few drawn things four times: as it was; only the background; grey boxes over the things; grey boxes of the same sizes where nothing lies."}}
number = next(i for i, each in enumerate(kept) if each.kind == "object" and len(each.text) > 28)
figure, places = plt.subplots(1, 4, figsize=(6.8, 2.2))
for place, (name, pictures) in zip(places, images.items(), strict=True):
    show_scene(pictures[number], axes=place, title=name)
figure.suptitle(kept[number].text.replace(" ?", "?"), fontsize=10)
plt.show()

# %%
erased = {}
for name, pictures in images.items():
    memory = torch.cat([model.see(pictures[i : i + 50]) for i in range(0, len(pictures), 50)])
    texts = ask(kept, memory)
    erased[name] = shares_by_kind(is_right(texts, kept), kept, draws=300)
print_table(erased)

# %%
two, pictures = [], {"the other erased": [], "its own erased": []}
for each, _ in rows:
    pictured, things = test.scenes[each.scene], asked_things(test.scenes[each.scene], each)
    other = [thing.box for thing in pictured.objects if thing.noun not in {t.noun for t in things}]
    if each.kind in ("count", "presence", "colour") and other and len(two) < 200:
        background = empty(val, pictured)
        two.append(each)
        pictures["the other erased"].append(erase(pictured.image, background, other))
        pictures["its own erased"].append(erase(pictured.image, background, [t.box for t in things]))
neighbour = {"as it was": shares_by_kind(is_right(ask(two), two), two, draws=300)}
for name, shown in pictures.items():
    memory = torch.cat([model.see(shown[i : i + 50]) for i in range(0, len(shown), 50)])
    texts = ask([replace(each, scene=row) for row, each in enumerate(two)], memory)
    neighbour[name] = shares_by_kind(is_right(texts, two), two, draws=300)
print_table(neighbour)

# %% tags=["remove-cell"]
for name, found in erased.items():
    for kind, share in found.items():
        glue(f"vqa_erase_{name.replace(' ', '_')}_{kind}", float(share.value), display=False)
for name, found in neighbour.items():
    for kind, share in found.items():
        glue(f"vqa_two_{name.split()[1]}_{kind}", float(share.value), display=False)
glue("vqa_erase_count", len(kept), display=False)
glue("vqa_two_count", len(two), display=False)

# %% [markdown]
# First the control without a trace. Of {glue:text}`vqa_two_count` questions about scenes with another thing, {glue:text}`vqa_two_it_all:.0%` are right as the pictures were, {glue:text}`vqa_two_other_all:.0%` with the *other* thing erased, and {glue:text}`vqa_two_own_all:.0%` with their own. **So the answer hangs on its thing.** And *count* rises from {glue:text}`vqa_two_it_count:.0%` to {glue:text}`vqa_two_other_count:.0%`: what the model miscounts, it mostly miscounts because of the neighbour.
#
# Then the grey boxes, for {glue:text}`vqa_erase_count` questions. (The first with a box. *Relation* is left out, since a place needs both things; so are those for which as much grey found no place, mostly *object*, so that large and many things are rarer here than above.) Right before: {glue:text}`vqa_erase_as_it_was_all:.0%`. Erased: {glue:text}`vqa_erase_erased_all:.0%`. Grey over the things: {glue:text}`vqa_erase_grey_over_it_all:.0%`; as much grey elsewhere: {glue:text}`vqa_erase_grey_elsewhere_all:.0%`. So this retouching alone does harm: a grey box is new to the model, and *count* falls to {glue:text}`vqa_erase_grey_elsewhere_count:.0%` with it. What remains between the two grey rows is due to the thing, also for *presence* ({glue:text}`vqa_erase_grey_over_it_presence:.0%` against {glue:text}`vqa_erase_grey_elsewhere_presence:.0%`), whose attention pointed elsewhere. (Erasing takes away what makes the old answer true. A model that sees should then say *no* and *none*: that the old answer is lost is no fault.)
#
# ## How sure is it?
#
# A user sees one answer, so its confidence must mean something (chapter 13). The model's own probability is {eq}`eq-vqa-words`. Two numbers, an offset and the weight of its log-odds, were fitted to answers about 1,000 other scenes of `val` (Platt, as in chapter 14), and make of it a probability of being right.

# %%
def ece_by_scene(confidence, flags, asked):
    """The ECE of some answers, with an interval over scenes."""
    of_scene = {}
    for row, each in enumerate(asked):
        of_scene.setdefault(each.scene, []).append(row)
    groups = [np.array(rows) for rows in of_scene.values()]

    def error(drawn):
        rows = np.concatenate([groups[number] for number in drawn])
        return ece(confidence[rows], flags[rows])

    found = bootstrap(error, np.arange(len(groups)), draws=200)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


# %%
reliable = {}
said["second turns"] = model.answer_all(talk.memory, talk.asked)
for name, part in (splits | {"second turns": talk}).items():
    texts, log_probs = said[name]
    flags = is_right(texts, part.asked)
    reliable[name] = np.array(model.confidences(log_probs)), flags
    own = np.exp(log_probs).clip(0, 1)
    fitted = ece_by_scene(reliable[name][0], flags, part.asked)
    print(f"{name:12} ECE {fitted}, of its own probability {ece_by_scene(own, flags, part.asked)}; "
          f"right {flags.mean():.1%}, confident {reliable[name][0].mean():.1%}")
    glue(f"vqa_ece_{name}".replace(" ", "_"), ece(reliable[name][0], flags), display=False)
    glue(f"vqa_own_ece_{name}".replace(" ", "_"), ece(own, flags), display=False)
of_coin = [each.kind == "the other colour" for each in talk.asked]
premise = [Asked(row, f"what colour is the {absent_noun(scene, Random(row))} ?", "", "colour")
           for row, scene in enumerate(test.scenes[:150])]
false_sure = np.array(model.confidences(model.answer_all(test.memory, premise)[1]))
print(f"the other colour: mean confidence {reliable['second turns'][0][of_coin].mean():.2f}")
print(f"colour of what is not there: mean confidence {false_sure.mean():.2f}, "
      f"below 0.5 in {(false_sure < 0.5).mean():.0%}")

# %% tags=["remove-cell"]
glue("vqa_coin_sure", float(reliable["second turns"][0][of_coin].mean()), display=False)
glue("vqa_false_sure", float(false_sure.mean()), display=False)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-vqa-reliability", "caption": "Answers in ten bins by confidence: across the confidence, upwards the share that is right. On the dotted line both are equal. The larger a dot, the more answers; bins of fewer than 20 are left out."}, "image": {"alt": "Three lines of dots, the largest at the upper right end. Those of val and composition lie about the diagonal, most of those of style below it."}}
axes = plt.subplots(figsize=(4.2, 3.4))[1]
for name, colour, mark in zip(splits, (BLUE, TEAL, ORANGE), "os^", strict=True):
    bins = reliability(*reliable[name])
    keep = np.asarray(bins.counts) >= 20
    across, up, counts = (np.asarray(x)[keep] for x in (bins.confidence, bins.accuracy, bins.counts))
    axes.plot(across, up, "-", color=colour, linewidth=1)
    axes.scatter(across, up, 4 + counts / 12, color=colour, marker=mark, label=name)
axes.plot([0, 1], [0, 1], ":", color=GREY)
axes.set(xlabel="confidence", ylabel="share right", xlim=(0, 1.03), ylim=(0, 1.03))
axes.legend();

# %% [markdown]
# On `val`, whose other scenes fitted the two numbers, confidence and truth differ by {glue:text}`vqa_ece_val:.3f` in the mean over answers, most of which lie in the last bin (the intervals draw scenes anew; noise adds to an ECE, so they lie rather too high than too low); without the two numbers it would be {glue:text}`vqa_own_ece_val:.3f`. On `composition` it is {glue:text}`vqa_ece_composition:.3f`, and there they do not help. On `style` it is {glue:text}`vqa_ece_style:.3f`, and without them {glue:text}`vqa_own_ece_style:.3f`: **before drawings of an artist whom it never saw, it is too sure**, and what was fitted to known artists makes it no better. `mmcourse ask` says so below 0.5, and then only.
#
# Second turns had no part in the fit. Over all of them the error is {glue:text}`vqa_ece_second_turns:.3f`; but the coin of *the other colour* is shown with {glue:text}`vqa_coin_sure:.2f`, and {glue:text}`vqa_turn_true_the_other_colour:.0%` are right. And the confidence is one of questions that the data would ask. *What colour is the dog?*, where there is none, is answered all the same, with {glue:text}`vqa_false_sure:.2f` in the mean. Ask first whether there is one.
#
# ## Ask it yourself
#
# `mmcourse ask scene.png "what colour is the pickaxe?"` answers. Without a question it reads one a line, and a line may go on from the one before (*what colour is it?*); a third turn that goes on from a second is refused, and so is one that goes on from what was denied. A model of 713 words must not guess at the rest: it names the words that it does not know, and the forms of questions that it was taught. It knows words and forms, not grammar. *What is in the picture?* was taught on pictures of one kind of thing; of two kinds it names one.

# %% tags=["raises-exception"]
scene = val[34]
model.answer(scene.image, "Welche Farbe hat die Spitzhacke?")

# %% tags=["raises-exception"]
model.answer(scene.image, "what color is the pickaxe?")

# %% tags=["raises-exception"]
model.answer(scene.image, "what colour is it?")

# %% [markdown]
# The last one goes on from a question that nobody asked. With a history it is fine:

# %%
first = model.answer(scene.image, "is there a pickaxe?")
second = model.answer(scene.image, "what colour is it?", [("is there a pickaxe?", first.text)])
assert (first.text, second.text) == ("yes", "pink")
print(first.text, f"{first.confidence:.2f};", second.text, f"{second.confidence:.2f}")

# %% [markdown]
# ## What came after
#
# - **Data that cannot be answered blind.** VQA v2 {cite:p}`goyal2017vqa` balances by pairs of pictures; GQA {cite:p}`hudson2019` makes questions from scene graphs, controls the distribution of answers, and scores consistency, as we do in small. CLEVR {cite:p}`johnson2017` draws its world, as ours is drawn, to know every fact.
# - **One model that writes.** For years the classifier over a few thousand frequent answers was the standard. In models such as BLIP-2 {cite:p}`li2023` and LLaVA {cite:p}`liu2023` a large language model writes the answer, fed with what a frozen image encoder sees through a trained connection. Turns, question and answer are the row of this chapter, with the loss on the answers; the vectors of the picture stand in front, in the same row, where ours are a memory that the row looks at. Chapter 22 builds such a connection.
# - **Harder polls.** {cite:t}`xie2025` find that POPE says less and less about newer models, since it draws its negatives by statistics of categories and does not look at the picture. They search for the negatives that mislead most, with the help of CLIP. Our look-alikes go a step in that direction.
#
# Of each of these you can now ask: what does it reach without looking, whom does it contradict, and what happens when the thing is erased?
#
# So far pictures went in and words came out. [Chapter 21](21_text_to_image.py) turns that round.
#
# ## What goes wrong
#
# Two rows that slip against each other are a frequent bug of multimodal code, and nothing raises an error. We give each scene the picture of the next one. And since a dialogue needs its history, we break that too: the first answer is turned into its opposite (*Is there a dog? No. What colour is it?*).

# %%
slipped = is_right(ask(test.asked, test.memory.roll(-1, 0)), test.asked)
damage = shares_by_kind(slipped, test.asked, draws=200)
print("picture of the next scene: " + "  ".join(f"{kind} {c.value:.0%}" for kind, c in damage.items()))
denied = []
for each in talk.asked:
    if each.history[0][1] == "yes":
        history = ((each.history[0][0], "no"),)
        denied.append(Asked(each.scene, each.text, each.answer, each.kind, history))
for name, asked in (("yes", [e for e in talk.asked if e.history[0][1] == "yes"]), ("no", denied)):
    found = shares_by_kind(is_right(ask(asked, talk.memory), asked), asked, draws=200)["all"]
    print(f"first answer {name:3}: {spell(found)} of the second turns right")
    glue(f"vqa_denied_{name}", float(found.value), display=False)

# %% tags=["remove-cell"]
for kind, c in damage.items():
    glue(f"vqa_slip_{kind}", float(c.value), display=False)

# %% [markdown]
# With the wrong picture {glue:text}`vqa_slip_all:.0%` are right, about what the reader got who never looks ({glue:text}`vqa_blind:.0%`), and kind by kind too: *presence*, *count* and *relation* have few answers, so some are right by luck. If a multimodal model scores like its blind baseline, look for rows that slipped before you look at the architecture.
#
# A denied first turn changes next to nothing: {glue:text}`vqa_denied_yes:.0%` and {glue:text}`vqa_denied_no:.0%`. *Is there a dog? No. What colour is it? Red.* The word of the answer plays no part, as we saw above: the history says which thing is meant, and the picture says the rest. Nothing in its training said that a denial matters: all its histories were true. `mmcourse ask` therefore refuses such a line; `answer_all`, used here, does not. A model that is to notice a false premise must have met some.
#
# ## Exercises
#
# ```{exercise-start} A list that is too short
# :label: ex-vqa-list
# ```
# *Easy, 10 minutes.* A classifier's list holds the $R$ most frequent answers of training. On our questions, what is the largest share that a perfect classifier can get right with $R = 10, 50, 200$? Use `seen` for the list and `test.asked` for the share. Which kind of question suffers?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vqa-list
# :label: so-vqa-list
# :class: dropdown
# ````
# What is not in the list is never right. The few answers of the other kinds come first, and the nouns last: *object* suffers.

# %% tags=["nbval-check-output"]
counts = Counter(each.answer for each in seen)
for size in (10, 50, 200):
    known = {answer for answer, _ in counts.most_common(size)}
    of_objects = [each.answer in known for each in test.asked if each.kind == "object"]
    of_all = [each.answer in known for each in test.asked]
    print(f"R = {size:3}: all {np.mean(of_all):.0%}, object {np.mean(of_objects):.0%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Consistent and wrong
# :label: ex-vqa-consistent
# ```
# *Easy, 10 minutes.* Write an answerer that does not look at all and agrees with itself in every pair *none and no* and *there and back*. (An answerer for `pairs_of` is a function from a list of `Asked`, with its `.text`, to a list of answers.) What does that say about consistency as a score?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vqa-consistent
# :label: so-vqa-consistent
# :class: dropdown
# ````
# It denies everything, and orders things by the alphabet: who comes first is left. Consistency is needed for truth and is not enough; it is reported beside accuracy, never in its place.

# %% tags=["nbval-check-output"]
def stubborn(asked):
    said = []
    for each in asked:
        if each.text.startswith("where"):
            first, second = each.text.split(" the ")[1:]
            said.append("to the left of" if first < second else "to the right of")
        else:
            said.append("none" if each.text.startswith("how many") else "no")
    return said


for pair, (flags, _) in pairs_of(stubborn).items():
    if pair in ("none and no", "there and back"):
        print(f"{pair:15} agree {np.mean(flags):.0%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} CHAIR and silence
# :label: ex-vqa-silence
# ```
# *Medium, 15 minutes.* A captioner that names only one thing a picture invents less. Cut each caption of the captioner after its first thing, compute $\text{CHAIR}_i$ and $\text{CHAIR}_s$ again, and a third number that shows the price: the share of the true things that are named. Use `captions`, `named_things(text)`, a set of nouns, and `chair`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vqa-silence
# :label: so-vqa-silence
# :class: dropdown
# ````
# $\text{CHAIR}_s$ can only fall when sentences are cut, and $\text{CHAIR}_i$ falls by less than its interval above is wide. What is certain is the price: recall falls. {cite:t}`rohrbach2018` report CHAIR beside the usual scores of captions.

# %%
def first_thing(text):
    words = text.split()
    for end in range(1, len(words) + 1):
        short = " ".join(words[:end])
        if named_things(short) and named_things(short) <= named_things(text):
            return short
    return text


for name, sentences in (("whole", captions), ("cut", [first_thing(text) for text in captions])):
    true = [{group.noun for group in scene.description.groups} for scene in test.scenes]
    found = sum(len(named_things(text) & own) for text, own in zip(sentences, true, strict=True))
    scores = chair(sentences, test.scenes)
    print(f"{name:6} CHAIR_i {scores.instances:.3f}  CHAIR_s {scores.sentences:.3f}  "
          f"named {found / sum(map(len, true)):.0%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A poll that yes wins
# :label: ex-vqa-yes
# ```
# *Medium, 10 minutes.* In POPE, what accuracy, precision, recall and F1 has a model that always says *yes*? One that says *yes* with probability $y$, whatever it is asked? Which of the four would you not publish alone?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vqa-yes
# :label: so-vqa-yes
# :class: dropdown
# ````
# Half of the truths are *yes*. Always *yes* has accuracy $\frac12$, precision $\frac12$, recall 1 and $F_1 = \frac23$. With probability $y$ the accuracy and the precision stay $\frac12$, the recall is $y$, and $F_1 = \frac{2 \cdot \frac12 y}{\frac12 + y} = \frac{y}{y + \frac12}$. So $F_1$ alone rewards saying *yes*, which is the very fault that is looked for; the share of *yes* must stand beside it.

# %% tags=["nbval-check-output"]
truth = ["yes", "no"] * 500
print(pope_scores(["yes"] * 1000, truth))

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What a softmax cannot say
# :label: ex-vqa-softmax
# ```
# *Hard, 20 minutes.* Show that the result of {eq}`eq-vqa-ground` without its last term does not change when the same number is added to all scores of a word. Then make two pictures of three cells, one in which the thing is there in two cells and one in which it is nowhere, for which the first term is the same and the last term differs. (You may choose $W_g$.)
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vqa-softmax
# :label: so-vqa-softmax
# :class: dropdown
# ````
# A number $d$ added to all scores multiplies every exponential by $e^{\kappa d}$, and the sum too, so it cancels. For the pictures let a cell be two numbers, what it looks like and how much of a dog it has. The score reads the second, and $W_g$ keeps the first alone. All cells look alike. Then every mean of them does, whatever the weights, and only the largest score tells two dogs from none.

# %% tags=["nbval-check-output"]
W_g = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
for dogs in ([1.0, 1.0, 0.0], [0.0, 0.0, 0.0]):
    cells = torch.stack([torch.ones(3), torch.tensor(dogs)], 1)  # (N, 2)
    scores = cells[:, 1]
    first_term = scores.softmax(0) @ cells @ W_g
    print([round(x, 3) for x in first_term.tolist()], "largest score", scores.max().item())

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** A model answers 62 % of a new set of questions about pictures. What do you ask first?
#
# :::{dropdown} Which vision encoder it has, and how large it is
# **No.** That may explain a number, but it does not say what the number is worth.
# :::
# :::{dropdown} What a model reaches that sees the questions alone
# **Yes.** If that is 60 %, the picture added next to nothing.
# :::
# :::{dropdown} Whether its answers are written or chosen from a list
# **No.** Both can be right or wrong. It matters for what can be said at all.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** A model agrees with itself in 99 % of the pairs *none and no*. What follows?
#
# :::{dropdown} It knows what is in the picture
# **No.** Who always says *no* and *none* agrees in all pairs.
# :::
# :::{dropdown} At least one of its answers is right in 99 % of the pairs
# **No.** Both can be wrong together, and agree.
# :::
# :::{dropdown} In 1 % of the pairs at least one answer is wrong
# **Yes.** A contradiction proves an error without anybody knowing the truth; agreement proves nothing.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** With the history, second turns are right in 90 %; without it, in 85 %. What does that say about the data?
#
# :::{dropdown} Most second turns can be answered without the first
# **Yes.** As {cite:t}`agarwal2020` found for collected dialogues. Look for the subset that needs it.
# :::
# :::{dropdown} The model does not understand pronouns
# **No.** It may. These data hardly ask it to.
# :::
# :::{dropdown} The history should be left out, since it makes the input longer
# **No.** Where it is needed it decides, and the mean hides that.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** In a world in which every noun is equally frequent and stands beside every other, what do POPE's *popular* and *adversarial* questions measure?
#
# :::{dropdown} The same as the *random* ones
# **No.** There is no habit to be learned, but *popular* still asks nearly every picture about the same few nouns.
# :::
# :::{dropdown} No habit of the data; how well it knows the nouns that happen to be asked
# **Yes.** *Popular* was about two nouns in ours, and about other scenes they were affirmed as often. The interval redraws scenes, not nouns.
# :::
# :::{dropdown} How well the model tells things apart that look alike
# **No.** Frequency and company say nothing about looks; for that we had to add a sampling of our own.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** The cell with the largest weight lies in the box of the asked thing in 30 % of the questions. Which finding would show that the model needs that thing to answer?
#
# :::{dropdown} That the weight in that cell is close to one
# **No.** A weight says what is read, and cells hold what others told them.
# :::
# :::{dropdown} That the middle of the picture is in the box less often
# **No.** This says that attention is about the thing, not that the answer depends on it.
# :::
# :::{dropdown} That covering the thing changes the answer, and covering as much elsewhere does not
# **Yes.** That is an intervention with its control.
# :::
# ::::::
#
# ## Take-aways
#
# - A score on questions about pictures is worth what it is above the row of who did not look. On our questions that row is {glue:text}`vqa_blind:.0%`, and the shipped model reaches {glue:text}`vqa_val_all:.0%`, on new compositions {glue:text}`vqa_composition_all:.0%`.
# - Questions, answers and history are one row of tokens; an answer is written after the question mark or chosen from a list, from the same state.
# - A contradiction proves an error without knowing the truth. Agreement proves nothing: denying everything is consistent.
# - Means hide kinds: {glue:text}`vqa_turn_true_all:.0%` of second turns are right, one kind of six is a coin's throw, and one never looks at the picture.
# - Attention at the place of the answer may point nowhere, and the answer still depend on the thing. Cover it, and cover as much elsewhere.
# - The same frozen memory gives a caption, and rules on it answer more on `val` than our answerer; only before a new artist is the answerer better.
#
# ## Further reading
#
# - {cite:t}`antol2015`: the task, for photographs and free questions.
# - {cite:t}`goyal2017vqa` and {cite:t}`hudson2019`: what the question alone can do, and two ways against it.
# - {cite:t}`ribeiro2019`: consistency by implied questions.
# - {cite:t}`das2017` and {cite:t}`agarwal2020`: dialogue, and whether its history is needed.
# - {cite:t}`rohrbach2018` and {cite:t}`li2023pope`: objects that are not there.

# %% tags=["remove-cell"]
figure, places = plt.subplots(1, 4, figsize=(7.2, 2.7))
pictured = val[34]
show_scene(pictured.image, axes=places[0], title="the scene")
shown = [each for each in pictured.questions if each.kind in ("colour", "object", "relation")]
for place, question in zip(places[1:], shown[-3:], strict=True):
    found = model.answer(pictured.image, question.text)
    weights = found.attention.mean((0, 1)).reshape(8, 8).numpy()
    show_scene(pictured.image, weights=weights, axes=place)
    wrapped = textwrap.fill(question.text.replace(" ,", ",").replace(" ?", "?"), 20)
    place.set_title(wrapped, fontsize=8)
    place.set_xlabel(found.text, fontsize=9, fontweight="bold")
glue("vqa_promise", figure, display=False)
plt.close(figure)
