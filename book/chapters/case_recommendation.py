# ---
# jupyter:
#   course: {notebook: notebooks/case_recommendation.ipynb}
# ---

# %% [markdown]
# # Case study: recommendation
#
# At the end you can recommend things that nobody has bought yet, by their pictures and words, and say which part of the result you put in yourself.
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - factorise a table of likes, and see what it knows of a new item
# - put content in the place of factors
# - tell what made-up people can prove from what they cannot
#
# **Before you start:** [contrastive learning](10_contrastive.py), [evaluation](13_evaluation.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores · difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import numpy as np
import torch
from myst_nb import glue

from mmcourse.book.plotting import show_images, use_style
from mmcourse.book.source import show_source
from mmcourse.case_studies import bootstrap_groups
from mmcourse.case_studies.recommendation import (
    WORLDS, content_scores, embed_items, factorise, label_features, make_items, make_shop, picture, popularity,
    principal, solve, split_items, taste_aucs,
)
from mmcourse.hub import load

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## The question
#
# A shop knows what its customers liked. Today it gets new things. Who might like them? Nobody has looked at one, so the table of likes has an empty column: the **cold start**. But each new thing has a picture and a title.
#
# ## The data
#
# The things (items) are 300 drawings of the course, each in a tint, with a title: *a purple cat*. **The people are made up**, 600 of them, and each has looked at three things in ten. We make two worlds:
#
# - *content*: each person likes two categories (of 16) and two colours (of 8), and every thing has a popularity of its own.
# - *hidden*: each thing has six numbers that no picture shows and no title says, each person six to match. (Price, fashion, who else has it.)
#
# The probability of a *yes* comes from the taste, so the **truth** is known: the row *the taste itself* below is what nobody can beat, luck apart.

# %% tags=["remove-input"]
show_source(make_shop)

# %% mystnb={"image": {"alt": "Six small pictures, each of one tinted thing on plain paper, with its title above."}}
items = make_items()
shown = items[:6]
show_images([picture(item) for item in shown], [item.text.replace(" ", "\n", 2) for item in shown]);

# %% [markdown]
# Some things are **new**: no look at them is used for training. There are two kinds, which need not be equally hard: a new thing of a known noun (a blue cat, when a purple one is known), and one whose noun is new as well.

# %%
new_item, new_noun = split_items(items)
old = ~(new_item | new_noun)
print(f"{len(items)} things, {old.sum()} old, {new_item.sum()} new of a known noun, "
      f"{new_noun.sum()} of a new noun")

# %% [markdown]
# ## The baseline
#
# **Popularity**: the share of *yes* among those who looked, drawn a little to the mean, the same for everybody. Of a new thing it knows nothing, and gives the mean.
#
# ## What is compared
#
# - **Collaborative filtering** {cite}`koren2009`: person $u$ and item $i$ have vectors $p_u$, $q_i$ of eight numbers, with $p_u \cdot q_i$ near what $u$ thinks of $i$ beyond its popularity. With all $q$ held, each $p_u$ is the solution of a small linear system (least squares with a penalty), and the other way round; twelve turns. An item without looks gets $q_i = 0$.
# - **Content**: the same system for each person, but the item's vector is given: what the course's shipped CLIP says of its title (*words*), of its picture, or of both, cut to the 24 directions in which the items differ most.
# - **Labels**: the same with category and colour as zeros and ones. This is what we put into the world *content*. A shop seldom has it so clean.
#
# Penalties and sizes were chosen on a shop that is not reported: other people, the same things.

# %% tags=["remove-input"]
show_source(solve)

# %%
clip = load("clip").eval()
seen, read = embed_items(items, clip)
features = {"words": principal(read), "picture": principal(seen),
            "both": principal(np.column_stack([read, seen])), "labels": label_features(items)}  # fmt: skip


def arms(shop, trained, seed):
    """The scores (people, items) of every arm, which saw the looks ``trained`` alone."""
    known = popularity(shop.liked, trained)
    people, factors = factorise(shop.liked, trained, seed=seed)
    found = {"popularity": np.broadcast_to(known, shop.liked.shape),
             "collaborative": known + people @ factors.T}  # fmt: skip
    for name, given in features.items():
        found[name] = content_scores(shop.liked, trained, given)
    return found | {"the taste itself": shop.taste}


# %% [markdown]
# The score: of a thing that a person likes and one that she does not, how often does the liked one stand higher? It is the AUC of chapter 13, of each person. One half is a coin's throw. Three shops a world, each with its own people; of old things a fifth of the looks is the test. The interval redraws people. (It does not redraw things: another stock would move all rows.)

# %%
def measure(world):
    """For each arm the score of each person in three shops, by the kind of thing."""
    table = {}
    for seed in range(3):
        shop = make_shop(items, world=world, seed=seed)
        held = np.random.default_rng(seed).random(shop.looked.shape) < 0.2
        trained = shop.looked & old & ~held
        tests = {"old": shop.looked & old & held, "new": shop.looked & new_item,
                 "new noun": shop.looked & new_noun}  # fmt: skip
        for arm, scores in arms(shop, trained, seed).items():
            for kind, test in tests.items():
                table.setdefault((arm, kind), []).append(taste_aucs(scores, shop.liked, test))
    return {key: np.concatenate(parts) for key, parts in table.items()}


def interval(values, *others):
    people = np.arange(len(values))
    return bootstrap_groups(lambda *x: np.nanmean(x[0] - sum(x[1:])), people, values, *others, draws=300)


# %% [markdown]
# ## What it reaches

# %%
KINDS = ("old", "new", "new noun")
tables = {world: measure(world) for world in WORLDS}
for world, table in tables.items():
    print(f"{'world: ' + world:18}{'old things':21}{'new, known noun':21}new noun")
    for arm in dict.fromkeys(arm for arm, _ in table):
        cells = [interval(table[arm, kind]) for kind in KINDS]
        print(f"{arm:18}" + "".join(f"{x.value:.3f} ({x.low:.3f}-{x.high:.3f})  " for x in cells).rstrip())
        for kind, x in zip(KINDS, cells, strict=True):
            glue(f"rec_{world}_{arm}_{kind}".replace(" ", "_"), float(x.value), display=False)
    print()

# %% [markdown]
# **In the world where content decides**, collaborative filtering has {glue:text}`rec_content_collaborative_old:.2f` on old things, above popularity ({glue:text}`rec_content_popularity_old:.2f`) and above CLIP's vectors ({glue:text}`rec_content_both_old:.2f`), and {glue:text}`rec_content_collaborative_new:.2f` on new ones: nothing, as it must. Content reaches {glue:text}`rec_content_both_new:.2f` on new things of known nouns and {glue:text}`rec_content_both_new_noun:.2f` on new nouns, so a purple cat teaches something about a purple lamp. The clean labels reach {glue:text}`rec_content_labels_new_noun:.2f`: what CLIP's vectors lose of category and colour is the gap between these two.
#
# **In the hidden world** content has {glue:text}`rec_hidden_both_new:.2f` on new things. The same code, the same pictures, and no use at all. On old things it even takes something from popularity ({glue:text}`rec_hidden_both_old:.2f`); our guess is that it fits chance. On old things collaborative filtering has {glue:text}`rec_hidden_collaborative_old:.2f` against {glue:text}`rec_hidden_popularity_old:.2f` of popularity: it needs no content.
#
# Is a picture worth its title? On new nouns, in the first world:

# %%
table = tables["content"]
for first, second in (("words", "picture"), ("both", "words")):
    x = interval(table[first, "new noun"], table[second, "new noun"])
    print(f"{first} less {second:8} {x.value:+.3f} ({x.low:+.3f} to {x.high:+.3f})")

# %% [markdown]
# Titles here are perfect: each names noun and colour, and nothing else. Those of a shop are not like that. That words do well against pictures is therefore a fact about our titles.
#
# ## What goes wrong
#
# A shop measures on the things that it has. Suppose the split is by look, and not by thing: a fifth of all looks is held out, new things included. Such a test shows hardly more than the column *old*, and that crowns the labels in one world and collaborative filtering in the other. **The column that the question was about does not exist in such a test.** To see the cold start, hold things out whole.
#
# There is a second trap. We take the *colour* out of the titles, and nothing else:

# %%
shop = make_shop(items, world="content", seed=0)
trained = shop.looked & old
with torch.no_grad():
    bare = clip.encode_text(clip.tokenize([f"a {item.noun}" for item in items])).numpy()
for name, given in (("a purple cat", read), ("a cat", bare)):
    scores = content_scores(shop.liked, trained, principal(given))
    x = interval(taste_aucs(scores, shop.liked, shop.looked & (new_item | new_noun)))
    print(f"titles such as {name:14} {x.value:.3f} ({x.low:.3f} to {x.high:.3f})")
    glue("rec_bare" if name == "a cat" else "rec_full", float(x.value), display=False)

# %% [markdown]
# Without the colour {glue:text}`rec_bare:.2f` is left of {glue:text}`rec_full:.2f`. So much of what looked like *a feeling for taste* is one word. Two reasons offer themselves, and we did not part them. We put more of the taste into colours, of which a person likes two in eight, than into categories, two in sixteen. And the space may know colours better than nouns: it was trained on captions full of them.
#
# ## What this is not
#
# - **No finding about people.** We wrote the taste down, and found it again. Made-up people can prove that code works, that an empty column says nothing, and how a method fails when its assumption does. They cannot prove that people choose by looks.
# - The answer was put in: in one world by category and colour, in the other by something hidden. Real shops are in between, and only their own new things tell where.
# - Looks are at random here. In a shop people look at what is shown to them, so likes are biased by the last recommender; no test above notices that. A comparison needs people drawn by lot.
# - A ranking that fits is not yet a good one: sameness, fairness to those who sell, and what is pushed on whom were not asked.
#
# ## Exercises
#
# ```{exercise-start} How many looks warm an item up?
# :label: ex-case-recommendation-warm
# ```
# *Medium, 15 minutes.* Give the new things of `shop` looks of 2, 8, 32 or 128 people for training (and keep them out of the test). From when on is collaborative filtering above content, in each world?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-recommendation-warm
# :label: so-case-recommendation-warm
# :class: dropdown
# ````
# Popularity is learnt from the looks, and helps every arm. In the world *content* the vectors of CLIP are ahead of the factors while looks are few, and behind when they are many. In the hidden world content stays behind from the first line on. (One shop and no interval: do not read the crossing to the look.)

# %%
for world in WORLDS:
    other = make_shop(items, world=world, seed=5)
    for count in (2, 8, 32, 128):
        warm = other.looked & (new_item | new_noun) & (np.arange(600)[:, None] < 4 * count)
        seen_by = (other.looked & old) | (warm & (warm.cumsum(0) <= count))
        test = other.looked & (new_item | new_noun) & (np.arange(600)[:, None] >= 512)
        found = arms(other, seen_by, 0)
        row = [f"{name} {np.nanmean(taste_aucs(found[name], other.liked, test)):.3f}"
               for name in ("popularity", "collaborative", "both")]  # fmt: skip
        print(f"{world:8} at most {count:3} looks: " + ", ".join(row))

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} By hand
# :label: ex-case-recommendation-hand
# ```
# *Easy, 10 minutes.* One person, two things with one factor each, $q_1 = 1$ and $q_2 = 2$. She thinks $0.5$ of the first beyond its popularity and has not looked at the second. The penalty is 1. What is $p$, and what is said of the second thing? Check it with `solve`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-recommendation-hand
# :label: so-case-recommendation-hand
# :class: dropdown
# ````
# $p$ minimises $(0.5 - p \cdot 1)^2 + 1 \cdot p^2$, so $p = 0.5 \cdot 1 / (1^2 + 1) = 0.25$, and the second gets $0.25 \cdot 2 = 0.5$.

# %% tags=["nbval-check-output"]
p = solve(np.array([[0.5, 0.0]]), np.array([[True, False]]), np.array([[1.0], [2.0]]), penalty=1.0)
print(p, p @ np.array([[1.0], [2.0]]).T)

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Further reading
#
# - {cite:t}`koren2009`: factors of people and things.
# - {cite:t}`vandenoord2013`: songs that nobody has heard, by their sound.
# - {cite:t}`radford2021`: where vectors of pictures and titles come from.
