# ---
# jupyter:
#   course: {notebook: notebooks/data.ipynb}
# ---

# %% [markdown]
# # Data card
#
# At the end you know what the pictures of this course are made of, what is promised about them, what a model can
# cheat with, and for what they must not be used.

# %% tags=["remove-cell"]
import time
from random import Random
from collections import Counter, defaultdict

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from matplotlib import font_manager
from myst_nb import glue
from PIL import Image, ImageDraw, ImageFont

from mmcourse.data import SPLITS, EmojiScenes, Practice, language, splits
from mmcourse.data.drawings import FOLDER, HELD_OUT_STYLE, STYLES, drawing, nouns, styles_of
from mmcourse.data.sprites import colours_in
from mmcourse.book.plotting import PALETTE, show_images, show_scene, use_style

use_style()
COUNT = 2000
sample = {split: [EmojiScenes(split)[index] for index in range(COUNT)] for split in SPLITS}

# %% mystnb={"figure": {"caption": "The first six scenes of each split, from top to bottom: train, val, composition, style.", "name": "fig-data-scenes"}, "image": {"alt": "Four rows of six small pictures: drawn animals, vehicles, people and things in one to three copies on meadows, beaches, night skies and patterned paper."}} tags=["remove-input"]
show_images([scene.image for split in SPLITS for scene in sample[split][:6]], columns=6, size=1.2);

# %% [markdown]
# ## A scene, and all that is true of it
#
# `EmojiScenes(split)[index]` is the same scene on every computer: the split and the index choose everything. A scene has
# its picture, its objects with exact boxes, five English captions, one Mandarin caption, questions, and foils. A **foil** is a
# false caption that differs from a true one in one fact; the true one comes with it.

# %% mystnb={"image": {"alt": "A small scene with a coloured box and a name around each of its drawn objects."}} tags=["remove-input"]
example = next(scene for scene in sample["val"] if len(scene.foils) >= 6 and len(scene.objects) == 3)
axes = plt.subplots(figsize=(3.2, 3.2))[1]
names = [f"{thing.colour or ''} {thing.noun}".strip() for thing in example.objects]
show_scene(example.image, boxes=[thing.box for thing in example.objects], labels=names, axes=axes);

# %% tags=["nbval-check-output"]
print(*example.captions, example.caption_zh, sep="\n")

# %% tags=["nbval-check-output"]
for question in example.questions:
    print(f"{question.text:60} {question.answer:22} {question.kind}")

# %% tags=["nbval-check-output"]
for foil in example.foils:
    print(f"{foil.kind:12} true   {foil.true}\n{'':12} false  {foil.false}")

# %% [markdown]
# ## The drawings
#
# The objects are emoji, from six sets. A **style** is one such set. The five training styles draw the scenes of `train`, `val` and
# `composition`. They come from four houses: `blob` is the first version of `noto`. OpenMoji, the sixth, comes from a fifth house and draws the
# scenes of `style` and nothing else. All follow the same list of emoji, and their artists may have looked at each other's work; how alike they are is measured below.

# %% mystnb={"figure": {"caption": "The same thing in six styles. The last row, OpenMoji, is never seen in training.", "name": "fig-data-styles"}, "image": {"alt": "A table of drawings: twelve things as columns, six drawing styles as rows; each column shows the same thing drawn differently."}} tags=["remove-input"]
shown = ("cat", "octopus", "tree", "apple", "hamburger", "bus", "castle", "guitar", "key", "robot",
         "police officer", "person surfing")


def on_white(image):
    return Image.alpha_composite(Image.new("RGBA", (64, 64), "white"), Image.fromarray(image))


figure, grid = plt.subplots(6, 12, figsize=(7.4, 3.9))
for row, style in zip(grid, (*STYLES, HELD_OUT_STYLE), strict=True):
    for axes, name in zip(row, shown, strict=True):
        axes.imshow(on_white(drawing(name, style)).resize((48, 48), Image.Resampling.BOX))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if style == STYLES[0]:
            axes.set_title(name.replace(" ", "\n"), fontsize=7)
    row[0].set_ylabel(style, rotation=0, ha="right", va="center", fontsize=8)

# %% tags=["remove-cell"]
tones = {noun.name: styles_of(noun.name) for noun in nouns()}
everywhere = sum(set(STYLES) <= set(styles) for styles in tones.values())
incomplete = [name for name, styles in tones.items() if not set(STYLES) <= set(styles)]
megabytes = sum(path.stat().st_size for path in FOLDER.glob("*.webp")) / 1e6
glue("data_nouns", len(nouns()), display=False)
glue("data_everywhere", everywhere, display=False)
glue("data_incomplete", " and ".join(incomplete), display=False)
glue("data_megabytes", float(megabytes), display=False)
glue("data_people", sum(noun.category in ("person", "action") for noun in nouns()), display=False)
glue("data_faces", sum(noun.category == "face" for noun in nouns()), display=False)
glue("data_tintable", sum(noun.tintable for noun in nouns()), display=False)

# %% [markdown]
# There are {glue:text}`data_nouns` nouns, {glue:text}`data_everywhere` of them in all five training styles (the others, {glue:text}`data_incomplete`, are in four),
# all of them in OpenMoji. {glue:text}`data_people` are people and what they do, {glue:text}`data_faces` are faces. The sheets take
# {glue:text}`data_megabytes:.1f` MB together.

# %% mystnb={"figure": {"caption": "All nouns, each in one of the training styles.", "name": "fig-data-contact"}, "image": {"alt": "A contact sheet of all drawings with their names below, ten in a row."}} tags=["remove-input"]
columns, wide, high = 10, 100, 84
sheet = Image.new("RGB", (columns * wide, -(-len(nouns()) // columns) * high), "white")
pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 12)
for index, noun in enumerate(nouns()):
    x, y = index % columns * wide, index // columns * high
    style = tones[noun.name][index % (len(tones[noun.name]) - 1)]
    image = on_white(drawing(noun.name, style)).resize((48, 48), Image.Resampling.LANCZOS)
    sheet.paste(image, (x + 26, y))
    label = noun.name
    if len(label) > 14 and " " in label:
        spaces = [i for i, letter in enumerate(label) if letter == " "]
        cut = min(spaces, key=lambda i: abs(i - len(label) / 2))
        label = label[:cut] + "\n" + label[cut + 1:]
    pen.multiline_text((x + 50, y + 50), label, "black", font, "ma", spacing=1, align="center")
display(sheet.quantize(160, dither=Image.Dither.NONE))

# %% [markdown]
# ### How far apart are the styles?
#
# If the styles were copies of each other, the `style` split would test nothing. We shrink each drawing to 16 × 16 pixels, and look for
# the nearest drawing among those of the *other* training styles. How often is it the same thing?

# %% tags=["nbval-check-output"]
def tiny(name, style):
    image = on_white(drawing(name, style)).convert("RGB")
    return np.array(image.resize((16, 16), Image.Resampling.BOX), float).ravel()


def share_found(style, others):
    """Share of a style's drawings whose nearest one among the others' shows the same thing."""
    stock = np.concatenate([pixels[other] for other in others])
    distance = (stock ** 2).sum(1) - 2 * pixels[style] @ stock.T
    nearest = np.concatenate([names[other] for other in others])[distance.argmin(1)]
    return float((nearest == names[style]).mean())


names, pixels, hits, closest = {}, {}, {}, {}
for style in (*STYLES, HELD_OUT_STYLE):
    names[style] = np.array([name for name in tones if style in tones[name]])
    pixels[style] = np.array([tiny(name, style) for name in names[style]])
for style in names:
    others = [other for other in STYLES if other != style]
    hits[style] = share_found(style, others)
    each = {other: share_found(style, [other]) for other in others}
    closest[style] = max(each, key=each.get)
    print(f"{style:10} {hits[style]:.0%}; in one style alone at most {each[closest[style]]:.0%}, "
          f"in {closest[style]}")

# %% tags=["remove-cell"]
glue("data_near", min(hits[style] for style in STYLES), display=False)
glue("data_nearest", max(hits[style] for style in STYLES), display=False)
glue("data_openmoji", hits[HELD_OUT_STYLE], display=False)
for style in ("blob", "fluent"):
    glue(f"data_{style}_noto", share_found(style, ["noto"]), display=False)
assert {closest[style] for style in hits if style != "noto"} == {"noto"}

# %% [markdown]
# Pixels alone find the thing for {glue:text}`data_near:.0%` to {glue:text}`data_nearest:.0%` of the drawings of a training style, and for {glue:text}`data_openmoji:.0%` of OpenMoji's, which have black
# outlines and few shades. So no style is a copy of another. Of the single styles, `noto` is the closest to
# all others; `blob`, its first version, finds the thing there for {glue:text}`data_blob_noto:.0%`, no more than `fluent` with {glue:text}`data_fluent_noto:.0%`. One reason why a guess is right so often: nouns were chosen, among other things, by how well the training styles agree in such pixels. For a model of single drawings, OpenMoji's share here is the baseline to beat.
#
# ## The vocabulary

# %% tags=["remove-input"]
groups = defaultdict(list)
for noun in nouns():
    phrase = f"一{noun.measure}{noun.zh}"
    groups[noun.category].append(f"{noun.article} {noun.name}, two {noun.plural}: {phrase}")
parts = [f"<details><summary><b>{category}</b> ({len(lines)})</summary><ul>"
         + "".join(f"<li>{line}</li>" for line in lines) + "</ul></details>"
         for category, lines in groups.items()]
display(HTML("".join(parts)))

# %% tags=["remove-cell"]
words = language.vocabulary()
glue("data_words", len(words), display=False)
glue("data_noun_words", len({w for noun in nouns() for w in f"{noun.name} {noun.plural}".split()}), display=False)
glue("data_backgrounds", len(language.BACKGROUNDS), display=False)
glue("data_colours", ", ".join(language.COLOURS), display=False)

# %% [markdown]
# English captions use {glue:text}`data_words` words, {glue:text}`data_noun_words` of them in the names of nouns. The rest is, most of it with synonyms: three counts, two
# sizes (what is of medium size goes without a word), the colours {glue:text}`data_colours`, four relations, and {glue:text}`data_backgrounds`
# backgrounds. A Mandarin caption puts the measure word of its noun between number and noun: 一只猫, 一条鱼, 一把雨伞.
#
# A thing is **tinted** when it is repainted in shades of one colour. Faces, people, and things whose colour is what they are
# (a tomato, a taxi) are never tinted: {glue:text}`data_tintable` nouns may be. Where one colour would turn a thing into another, that colour is denied: a green
# banana would read as a cucumber. A thing that is not tinted shows its own colours. The captions do not mention them, but
# `scene.holds(("colour", "frog", "green"))` is true of an untinted green frog.
#
# ## The splits
#
# | split | what is new in it |
# |---|---|
# | `train` | nothing: a model learns from it |
# | `val` | other scenes, made the same way |
# | `composition` | each scene has a pair of nouns, or a noun in a colour (a **binding**), that training never shows: one pair of either kind in ten is held out |
# | `style` | all is drawn by OpenMoji |

# %%
def lengths(found):
    return [len(caption.split()) for scene in found for caption in scene.captions]


def tally(found):
    return Counter(group.noun for scene in found for group in scene.description.groups)


rows = {
    "scenes": len,
    "different pictures": lambda s: len({scene.image.tobytes() for scene in s}),
    "different captions": lambda s: len({text for scene in s for text in scene.captions}),
    "words in a caption": lambda s: np.mean(lengths(s)),
    "facts in a scene": lambda s: np.mean([len(scene.facts) for scene in s]),
    "objects in a scene": lambda s: np.mean([len(scene.objects) for scene in s]),
    "scenes with a tint": lambda s: np.mean([any(t.colour for t in x.objects) for x in s]),
    "scenes with a relation": lambda s: np.mean([bool(x.description.relation) for x in s]),
    "nouns that occur": lambda s: len(tally(s)),
    "scenes with the rarest noun": lambda s: min(tally(s).values()),
}

# %% tags=["nbval-check-output"]
print(f"{'':28}" + "".join(f"{split:>13}" for split in SPLITS))
for title, measure in rows.items():
    values = [measure(sample[split]) for split in SPLITS]
    cells = [f"{v:13.2f}" if isinstance(v, float) else f"{v:13}" for v in values]
    print(f"{title:28}" + "".join(cells))

# %% mystnb={"figure": {"caption": "How large the objects are in a picture of 64 \u00d7 64 pixels, how many words its captions have, and how often each background occurs.", "name": "fig-data-statistics"}, "image": {"alt": "Three bar charts: longest side of an object with peaks near 18, 25 and 34 pixels; words in a caption; background frequencies, all about equal."}} tags=["hide-input"]
train = sample["train"]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.4, 2.6))
boxes = np.array([thing.box for scene in train for thing in scene.objects])
sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
left.hist(sides, bins=np.arange(13.5, 39), color=PALETTE[0])
left.set(xlabel="longest side of an object, pixels", ylabel="objects")
middle.hist(lengths(train), bins=np.arange(3.5, 28), color=PALETTE[1])
middle.set(xlabel="words in a caption", ylabel="captions")
backgrounds = Counter(scene.description.background for scene in train)
right.barh(list(backgrounds), list(backgrounds.values()), color=PALETTE[2])
right.tick_params(axis="y", labelsize=7)
right.set(xlabel="scenes");

# %% [markdown]
# `train` has no held-out pair of nouns and no held-out tint, and each scene of `composition` has one of them. A tint may be a colour that the thing has anyway: training shows palm trees that
# are green, untinted, and never *says* so. Such colours are no novelty, and `composition` does not ask for them. Of the held-out tints it takes those that not
# even a twentieth of a training drawing has:

# %% tags=["nbval-check-output"]
new = {split: Counter(splits.novelty(scene.description) for scene in found)
       for split, found in sample.items()}
for split, kinds in new.items():
    print(f"{split:12} new pairs {kinds['pair']:4}   new bindings {kinds['binding']:4}")
held = sum(len(splits.held_out_colours(noun.name)) for noun in nouns())
asked = sum(len(splits.new_colours(noun.name)) for noun in nouns())
print(f"held-out tints of a noun: {held}; never shown by nature either, and asked for: {asked}")
rng, shown = Random(0), []  # does Practice, which varies colours, show them all the same?
for noun in nouns():
    for style in splits.styles_for(noun.name, "train") if splits.new_colours(noun.name) else ():
        redrawn = [colours_in(Practice.draw(noun.name, style, rng), 20) for _ in range(2)]
        shown += [bool(colours & set(splits.new_colours(noun.name))) for colours in redrawn]
print(f"redrawn by Practice, a twentieth is in such a colour: {sum(shown)} of {len(shown)} drawings")

# %% tags=["remove-cell"]
glue("data_held_tints", held, display=False)
glue("data_new_tints", asked, display=False)
glue("data_practice_shows", sum(shown) / len(shown), display=False)
for split in ("val", "composition"):
    for title in ("scenes with a tint", "scenes with a relation", "words in a caption"):
        value = float(rows[title](sample[split]))
        glue(f"data_{split}_{title.split()[-1]}", value, display=False)

# %% [markdown]
# {glue:text}`data_new_tints:d` of {glue:text}`data_held_tints:d` remain. That holds for `train`. `Practice`, a harder form of `train` on which the shipped captioner trained, also varies the colours of drawings at random. So
# {glue:text}`data_practice_shows:.1%` of its redrawings of these things show such a colour, by the same measure, without a word about it. For that captioner, "never shown" is "seldom shown, and never said".
#
# The table above shows another trap. Because each scene of `composition` must have a held-out pair, its scenes are fuller than those of `val`: {glue:text}`data_composition_tint:.0%`
# have a tint (`val` {glue:text}`data_val_tint:.0%`), {glue:text}`data_composition_relation:.0%` a relation ({glue:text}`data_val_relation:.0%`), and a caption has
# {glue:text}`data_composition_caption:.1f` words ({glue:text}`data_val_caption:.1f`). A lower score than on `val` may come from that and not from what is new. Compare with scenes of
# `val` that are built alike, with two kinds of things, or with such a tint: `splits.compared_with` says which, `mmcourse evaluate` scores them apart, and [chapter 14](14_captioning.py) does it.
#
# Some chapters draw smaller worlds with the same drawings, and describe them: `TwoGroups` in [chapter 9](09_fusion.py), `TwoThings` in [chapter 20](20_vqa.py), `DrawnWorld` in [chapter 21](21_text_to_image.py).

# %% [markdown]
# ## What can be answered without looking
#
# A question set is worth little if the question gives the answer away. Two baselines are blind. One learns the most frequent answer to each
# *question* of `train`, or, for a question never seen, to its first two words. The other learns only the most frequent answer to each *kind*
# of question. How often are they right on `val`, and how often is a blind draw among the answers of that kind?

# %% tags=["nbval-check-output"]
def opening(question):
    return " ".join(question.text.split()[:2])


answers, by_kind = defaultdict(Counter), defaultdict(Counter)
for question in (question for scene in train for question in scene.questions):
    answers[question.text][question.answer] += 1
    answers[opening(question)][question.answer] += 1
    by_kind[question.kind][question.answer] += 1
right = defaultdict(list)  # of each kind: rows of (by question, by kind, chance)
for question in (question for scene in sample["val"] for question in scene.questions):
    known = question.text if question.text in answers else opening(question)
    guesses = answers[known], by_kind[question.kind]
    hits = [guess.most_common(1)[0][0] == question.answer for guess in guesses]
    right[question.kind].append([*hits, 1 / len(by_kind[question.kind])])
print(f"{'':29}by question   by kind   chance")
everything = [row for rows_of_kind in right.values() for row in rows_of_kind]
for kind, found in [*sorted(right.items()), ("all", everything)]:
    shares = np.mean(found, axis=0)
    print(f"{kind:12} {len(found):6} questions {shares[0]:10.0%} {shares[1]:9.0%} {shares[2]:8.0%}")

# %% tags=["remove-cell"]
by_question, one_answer, chance = np.mean(everything, axis=0).tolist()
assert max(by_question, one_answer) < 0.35
assert set(new["train"]) == {None} and None not in new["composition"]
glue("data_blind", by_question, display=False)
glue("data_blind_kind", one_answer, display=False)
glue("data_blind_chance", chance, display=False)
glue("data_count_kind", float(np.mean(right["count"], axis=0)[1]), display=False)
glue("data_count_question", float(np.mean(right["count"], axis=0)[0]), display=False)

# %% [markdown]
# Without a picture, {glue:text}`data_blind:.0%` of the answers are right by question and {glue:text}`data_blind_kind:.0%` by kind. Most of that is chance, which has
# {glue:text}`data_blind_chance:.0%`: a question with two answers is right half of the time. The simpler baseline is the stronger one, because of *how many*: there the most
# frequent answer of all is right in {glue:text}`data_count_kind:.0%`, and the most frequent answer to the same question, learned from a few scenes, in
# {glue:text}`data_count_question:.0%`. Compare a model for questions with the better of the two in each kind, and not with zero.
#
# The foils, by kind, in the scenes of `val` that we looked at:

# %% tags=["nbval-check-output"]
for kind, count in Counter(f.kind for scene in sample["val"] for f in scene.foils).items():
    print(f"{kind:12} {count:6}")

# %% [markdown]
# ## How fast

# %% tags=["remove-input"]
def scenes_per_second(what, count=1000):
    best = np.inf
    for repeat in range(3):
        start = time.process_time()
        for index in range(count):
            what(dataset[10**6 * (repeat + 1) + index])
        best = min(best, time.process_time() - start)
    return int(count / best)


dataset = EmojiScenes("train")
image_only = scenes_per_second(lambda scene: scene.image)
with_captions = scenes_per_second(lambda scene: scene.captions)
everything = scenes_per_second(
    lambda scene: (scene.captions, scene.caption_zh, scene.questions, scene.foils))
print("scenes a second on one core")
print(f"picture {image_only}, with captions {with_captions}, with all texts {everything}")

# %% [markdown]
# Texts are made when they are asked for, so a captioner that learns from pictures and captions does not pay for questions and foils.
# The numbers depend on the machine. Most of the time goes into many small calls of Pillow, which shrinks and tints each drawing and
# paints the background; a `DataLoader` with workers spreads them over the cores.
#
# ## Datasheet
#
# The headings are those of {cite:t}`gebru2021`.
#
# ### Motivation
#
# **For what purpose?** To teach multimodal learning with data that needs no download and whose truth is known exactly, so that every
# statement of a caption can be checked. Photographs with captions never have that: an object that a
# caption does not mention may still be there. **Who made it, who paid?** The authors of this course made it for this course. The drawings are
# the work of the artists named below.
#
# ### Composition
#
# **What is an instance?** A picture, 64 × 64 pixels unless you ask for another size, of one or two groups of one to three equal things, three
# things at most, on one of {glue:text}`data_backgrounds` backgrounds, with the texts shown above. **How many?** As many as you ask for: a scene is computed from its split
# and index. **Is anything missing?** One training style lacks {glue:text}`data_incomplete`. **Are there recommended splits?** The four above. **Errors and noise?**
# Boxes, counts, relations, sizes and tints are exact. A natural colour of an untinted drawing is computed: a colour word fits when it is the nearest to a fifth
# of the opaque pixels. Some drawings are hard to make out at 20 pixels, and no person has measured how hard. **Does it hold personal data?** No. **Anything offensive?** We left out weapons,
# tobacco, rude gestures and flags. Drinks with alcohol are in it.
#
# ### Collection
#
# **Where do the drawings come from?** From six published sets, by way of their packages on npm, with pinned versions and checksums (`tools/maintain/build_drawings.py`).
# **How were the nouns chosen?** We went through the emoji that all six sets have. We left out flags, clocks, symbols, near-duplicates and what the training styles draw as different
# things, and looked at contact sheets of the rest. From 526 candidates we kept those whose drawings agree most among the *five training styles* (by the rank of a noun's own drawing among its neighbours in another style, on 14 × 14 pixels), and some forty everyday things that agree less; of people, actions and faces, and of things hard to tell apart, we chose by hand. OpenMoji had no say in it, beyond having
# the drawing: it is the test. **English and Chinese names** began as those of the Unicode CLDR; we shortened them and mended
# what is not natural. Plurals, measure words, categories and colour rules are ours.
#
# ### Preprocessing
#
# Each drawing was rasterised, its transparent margin trimmed, what was left scaled until the longer side filled 62 of 64 pixels, and centred. It is stored without loss. In a scene it
# is shrunk, mirrored at random, and perhaps tinted. The original vector drawings are in the packages.
#
# ### Uses
#
# **For what is it good?** To learn how captioning, question answering, retrieval and detection work, to find bugs, to measure hallucination and
# generalisation exactly. **For what not?** Not as a benchmark of models of photographs: who is good here need not be good there. Not to train anything that judges real people. Not to
# conclude how a profession or a feeling looks.
#
# ### Distribution
#
# It is in the repository, under the licences below. Scenes of the split `style` contain OpenMoji and are under CC BY-SA 4.0: if you publish them, credit OpenMoji and share alike.
#
# | file | set, authors | licence |
# |---|---|---|
# | `noto.webp` | [Noto Emoji](https://github.com/googlefonts/noto-emoji), Google | Apache 2.0 |
# | `blob.webp` | Noto Emoji, first version, Google | Apache 2.0 |
# | `twemoji.webp` | [Twemoji](https://github.com/jdecked/twemoji), Twitter and other contributors | CC BY 4.0 |
# | `fluent.webp` | [Fluent Emoji](https://github.com/microsoft/fluentui-emoji), Microsoft | MIT |
# | `emojitwo.webp` | [EmojiTwo](https://github.com/EmojiTwo/emojitwo), from EmojiOne 2.3 | CC BY 4.0 |
# | `openmoji.webp` | [OpenMoji](https://openmoji.org), held out | CC BY-SA 4.0 |
# | `nouns.csv` | [emojibase](https://emojibase.dev), [Unicode CLDR](https://cldr.unicode.org), changed by us | MIT, Unicode 3.0 |
#
# All drawings were changed: rasterised, trimmed, scaled. `mmcourse/data/drawings/NOTICE` has the details, `LICENSES/` the full texts.
#
# ### Maintenance
#
# The course's authors maintain it. Tests pin the pixels of the drawings and of some scenes: a change of either shows at once and asks for
# the captioner to be trained again. To add a noun, add a row to `nouns.csv` and run `tools/maintain/build_drawings.py`.
#
# ## Limits
#
# - **The language is small.** A grammar made the captions. They have no verbs but *is*, *are* and those in names of nouns, no time, no intention, no doubt. Scores that compare words
#   come out far higher than on photographs.
# - **The world is flat.** Nothing hides anything else, no perspective, no light, no clutter. Sizes are those on paper: a big ant can stand beside a small whale.
# - **Tints look artificial**, and a tint can hide what told two things apart.
# - **People are yellow.** The sets draw faces and people in a neutral yellow. A noun without a gender, such as *police officer*, is a man in one
#   style and a woman in another; *firefighter* is drawn from the sequence for a man, because the neutral one is in too few styles. *Bride* and *princess* carry the ideas of their
#   artists, and so does *pair of dancers*, whom all styles draw with bunny ears.
# - **Emoji are not the world.** They began in Japan and were extended from the United States: a shrine gate and a mug of beer are in, much of what people elsewhere eat, wear and
#   build is not.
# - **Mandarin captions follow rules.** Measure words are chosen for each noun, but an adjective always stands before the noun (一碗大面条 instead of 一大碗面条), which a native speaker would
#   sometimes say differently.

# %% [markdown]
# ## Texts: the glosses of WordNet
#
# Chapters [3](03_text.py) and [4](04_gpt.py) learn from another kind of data: what a dictionary says of things. **WordNet** {cite}`miller1995` groups English words that mean the same, and gives each group a gloss.
# We took the nouns of eight of its files, those of things that can be seen or touched, and of each group only the words of which it is the *first* sense.

# %% tags=["nbval-check-output"]
from mmcourse.data.glosses import KINDS, glosses

stock = {split: glosses(split) for split in ("train", "val", "test")}
counts = {split: Counter(gloss.kind for gloss in found) for split, found in stock.items()}
print(f"{'':12}" + "".join(f"{split:>8}" for split in stock))
for kind in KINDS:
    print(f"{kind:12}" + "".join(f"{counts[split][kind]:8}" for split in stock))
for kind in KINDS:
    print(f"{kind:12}{next(gloss for gloss in stock['val'] if gloss.kind == kind).line[:96]}")

# %% [markdown]
# The text of a gloss decides its split, so equal texts are never in two. *Nearly* equal texts may be: many plants are *any plant of the genus* so and so. How often does a test gloss have the same words as one of `train`, in another order or in the same,
# and how often does it share four fifths of its words with one?

# %%
def bag(gloss):
    return frozenset(gloss.text.lower().split())


bags = {bag(gloss): gloss.kind for gloss in stock["train"]}
where = defaultdict(list)  # from a word to the glosses of train that have it, as numbers
listed = list(bags)
for number, words_of_one in enumerate(listed):
    for word in words_of_one:
        where[word].append(number)


def nearest(own):
    """The largest share of common words with any gloss of train (Jaccard's index)."""
    common = Counter()
    for word in sorted(own):  # a set has another order in each run, and ties are cut at 30
        if len(where[word]) < 2000:
            common.update(where[word])
    best = 0.0
    for number, _ in common.most_common(30):
        best = max(best, len(own & listed[number]) / len(own | listed[number]))
    return best


# %% tags=["nbval-check-output"]
looked_at = stock["test"][:1000]
shares = np.array([nearest(bag(gloss)) for gloss in looked_at])
print(f"same words {np.mean(shares == 1):.1%}, four fifths of the words {np.mean(shares >= 0.8):.1%}, "
      f"half {np.mean(shares >= 0.5):.1%}")

# %% tags=["remove-cell"]
glue("data_gloss_near", float(np.mean(shares >= 0.8)), display=False)
glue("data_gloss_same", float(np.mean(shares == 1)), display=False)
glue("data_gloss_count", sum(map(len, stock.values())), display=False)

# %% [markdown]
# {glue:text}`data_gloss_near:.1%` of the first thousand test glosses are nearly in `train`. A score on `test` is a little better than it would be on texts that nobody has written like that.
#
# **What was left out?** All examples of use, all other senses, and about 900 entries by a list of words: what is obscene, insults people, describes cruelty or drugs of abuse. {glue:text}`data_gloss_count:,d` glosses remain. We went through the words by which entries were dropped, and searched what is left for more
# (`tools/maintain/build_glosses.py --dropped` prints what goes). The list errs on the side of leaving out; some harmless animals and plants go too. What is left was not read line by line. **What is in it for a model to learn wrongly?** WordNet was made in the United States:
# plants and animals of North America are many. A word such as *primitive* may say more of the writer than of the thing. **Licence:** WordNet's own, which allows use, change and distribution with its notice
# (`mmcourse/data/glosses/LICENSES/`); WordNet 3.1, copyright 2011 by Princeton University.
#
# ## Photographs
#
# [Chapter 16](16_photographs.py) is about photographs: 22 of them come with the course, with five captions each that we wrote. That chapter says what so few are good for; `mmcourse/data/photographs/NOTICE` says who made each, and under which licence it is here.
