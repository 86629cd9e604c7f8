# ---
# jupyter:
#   course: {notebook: notebooks/case_driving.ipynb}
# ---

# %% [markdown]
# # Case study: driving
#
# At the end you can join a camera and a range finder, measure what fog and a dead sensor do, and compare a cure that needs training with one that does not.
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - make a task that needs both sensors, and show that it does
# - measure a failure that is known, one that is not, and fog
# - test modality dropout against filling in the mean
#
# **Before you start:** [vision](05_vision.py), [fusion](09_fusion.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores · difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue

from mmcourse.book.plotting import ORANGE, use_style
from mmcourse.book.source import show_source
from mmcourse.case_studies import bootstrap_groups
from mmcourse.case_studies.driving import (
    ARMS, BEAMS, SOLID, WIDE, CameraAndRange, Roads, filled, fit, make_roads, predict,
)

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## The question
#
# Must the car brake? It must, when something solid stands in its lane nearer than twenty metres. A camera sees *what* stands there: a cow or a balloon. A range finder hears *how far* it is, and not what. What happens when one of them sees nothing, and does the car know?
#
# ## The data
#
# **Made-up roads**, with drawings of the course: the car's own lane and one on each side; four solid things (man, police officer, cow, motorcycle) and four light ones (balloon, leaf, envelope, umbrella). A picture has 24 × 36 pixels, the range finder 24 directions, with noise and lost echoes. Things are between 1.2 and 2.4 metres high whatever they are, and the camera nods. So size and height in the picture only hint at the distance. **The truth** is known, since we placed the things.

# %%
train, test = make_roads(2000, seed=0), make_roads(500, seed=1)
foggy = make_roads(500, seed=1, fog=0.08)  # the same roads
print(f"to brake: {train.brake.mean():.0%} in training, {test.brake.mean():.0%} in the test")
noun, metres, lane = test.things[0][-1]
print(f"{noun}, {metres:.1f} m away, {lane:+.0f} m to the side:", "brake" if test.brake[0] else "go on")

# %% [markdown]
# The nearest thing of the first road. Now four roads: the picture, the same in fog, and the metres of each direction. Our fog hides what is far, and leaves a shade of what is near. A title says what is right.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four columns. Above, small pictures of a road with a drawing or two on it; in the middle, the same greyed by fog; below, dots for the distances, lower where something stands."}}
chosen = [*np.flatnonzero(test.brake)[:2], *np.flatnonzero(~test.brake)[:2]]
figure, grid = plt.subplots(3, 4, figsize=(7.2, 4.2))
for column, row in enumerate(chosen):
    for line, roads in enumerate((test, foggy)):
        grid[line, column].imshow(roads.pictures[row].transpose(1, 2, 0))
        grid[line, column].set(xticks=[], yticks=[])
    grid[0, column].set_title("brake" if test.brake[row] else "go on")
    grid[2, column].scatter(np.arange(BEAMS) * WIDE / BEAMS, test.ranges[row], s=6, color=ORANGE)
    grid[2, column].set(ylim=(0, 64), xticks=[])
grid[2, 0].set_ylabel("metres");

# %% [markdown]
# ## The baseline
#
# Never brake. And a rule of one line that has no camera: brake when something is nearer than twenty metres in the middle of the picture.

# %%
def middle_rule(roads):
    middle = roads.ranges[:, BEAMS // 2 - 1 : BEAMS // 2 + 1]
    return middle.min(1) < 20


rule = np.mean(middle_rule(test) == test.brake)
print(f"never brake: {np.mean(~test.brake):.2f} right; the rule: {rule:.2f}")

# %% [markdown]
# ## What is compared
#
# One model, two small encoders and the concatenation of chapter 9, which has a learnt vector in the place of a side that is missing.
#
# - **camera**, **range**: the other side is always missing;
# - **both**: nothing is ever missing in training, so its two vectors for a missing side stay as they were drawn at the start;
# - **both, dropout**: *modality dropout*, in a fifth of the rows the camera is hidden, in another fifth the range {cite}`neverova2016`;
# - **both, fog seen**: as *both*, but half of the training roads are in fog.
#
# And five conditions: *clear*; *fog*, which also swallows some echoes of the range finder; the camera, or the range, is dead **and the car knows** (its vector is put in place); and the camera delivers black and **nobody noticed**. Three seeds; steps and rate are the same for all arms and were not tuned for any, so small differences say nothing. The interval, ± half its width, redraws roads.

# %% tags=["remove-input"]
show_source(CameraAndRange.forward)

# %%
haze = make_roads(1000, seed=2, fog=0.08)
half = Roads(*(part[:1000] for part in train))
mixed = Roads(*(list(a) + list(b) if isinstance(a, list) else np.concatenate([a, b])
                for a, b in zip(half, haze, strict=True)))  # fmt: skip
models = {arm: [fit(train, arm, seed) for seed in range(3)] for arm in ARMS}
models["both, fog seen"] = [fit(mixed, "both", seed) for seed in range(3)]
black = test._replace(pictures=np.zeros_like(test.pictures))
CONDITIONS = {"clear": (test, {}), "fog": (foggy, {}), "no camera": (test, {"camera": False}),
              "no range": (test, {"heard": False}), "black": (black, {})}  # fmt: skip


def right(arm, roads, **works):
    """For each road the share of the three models that are right."""
    name = arm if arm in ARMS else "both"
    said = [predict(model, roads, name, **works) > 0.5 for model in models[arm]]
    return np.mean([each == roads.brake for each in said], 0)


# %% [markdown]
# ## What it reaches

# %%
def interval(values, *others):
    groups = np.arange(len(values))
    return bootstrap_groups(lambda *x: np.mean(x[0] - sum(x[1:])), groups, values, *others, draws=500)


table = {(arm, name): right(arm, roads, **works)
         for arm in models for name, (roads, works) in CONDITIONS.items()}  # fmt: skip
print(f"{'share right':16}" + "".join(f"{name:14}" for name in CONDITIONS))
for arm in models:
    cells = [interval(table[arm, name]) for name in CONDITIONS]
    print(f"{arm:16}" + "".join(f"{x.value:.2f} ± {(x.high - x.low) / 2:.2f}   " for x in cells))

# %% tags=["remove-cell"]
for (arm, name), values in table.items():
    key = f"drive_{arm}_{name}".replace(", ", "_").replace(" ", "_")
    glue(key, float(values.mean()), display=False)
glue("drive_never", float(np.mean(~test.brake)), display=False)

# %% [markdown]
# In clear air both sensors are right on {glue:text}`drive_both_clear:.0%` of the roads, the camera alone on {glue:text}`drive_camera_clear:.0%`, the range alone on {glue:text}`drive_range_clear:.0%`; never braking has {glue:text}`drive_never:.0%`. So the task needs both. In fog the camera alone falls to {glue:text}`drive_camera_fog:.0%`, far below never braking, and both to {glue:text}`drive_both_fog:.0%`. **Two sensors are not safe because one of them still works**: nothing in training said which to believe in fog.
#
# ### The cure, and a cheaper one
#
# Against *both*, on the same roads. The second cure needs no training: where a sensor is known to be dead, put the mean of its training data in its place.

# %%
for name, side in (("no camera", "pictures"), ("no range", "ranges")):
    plain = table["both", name]
    cures = {"dropout": table["both, dropout", name], "mean": right("both", filled(test, train, side))}
    for cure, values in cures.items():
        x = interval(values, plain)
        change = f"{x.value:+.3f} ({x.low:+.3f} to {x.high:+.3f})"
        print(f"{name:10} {cure:8} {values.mean():.2f}   change {change}")
        short = f"{x.value:+.2f} ({x.low:+.2f} to {x.high:+.2f})"
        glue(f"drive_cure_{name[3:]}_{cure}", short, display=False)
    x = interval(cures["dropout"], cures["mean"])
    print(f"{'':10} dropout less mean {x.value:+.3f} ({x.low:+.3f} to {x.high:+.3f})")
price = interval(table["both, dropout", "clear"], table["both", "clear"])
fog = interval(table["both, fog seen", "fog"], table["both", "fog"])
print(f"dropout where all works: {price.value:+.3f} ({price.low:+.3f} to {price.high:+.3f})")
print(f"fog seen, in fog:        {fog.value:+.3f} ({fog.low:+.3f} to {fog.high:+.3f})")

# %% tags=["remove-cell"]
for key, x in (("price", price), ("fog", fog)):
    glue(f"drive_{key}", f"{x.value:+.2f} ({x.low:+.2f} to {x.high:+.2f})", display=False)

# %% [markdown]
# Without a camera dropout changes *both* by {glue:text}`drive_cure_camera_dropout`, the mean by {glue:text}`drive_cure_camera_mean`. Without a range it is {glue:text}`drive_cure_range_dropout` and {glue:text}`drive_cure_range_mean`. Part of this is no merit of either: *both* was handed a vector that it had never met. So the fair question is what dropout has over the mean, and the rows *dropout less mean* answer it for each sensor. **Compare a cure with the cheapest that promises the same.** Where all works, dropout changes the share by {glue:text}`drive_price`. Dropout is the arm that was told of failures in training, and that is all it was told: fog is another failure, in which it is right on {glue:text}`drive_both_dropout_fog:.0%` and *both* on {glue:text}`drive_both_fog:.0%`, and having seen it changes the share by {glue:text}`drive_fog` there. The next section says what that is worth.
#
# ## What goes wrong
#
# A share of right answers hides which ones are wrong. A **miss** is a cow that is run over, a false alarm is a stop for a balloon. We count both, and look at the failure that nobody noticed.

# %%
for arm in ("both", "both, dropout", "both, fog seen"):
    for name in ("clear", "fog", "black"):
        roads, works = CONDITIONS[name]
        said = np.mean([predict(model, roads, "both", **works) > 0.5 for model in models[arm]], 0)
        missed, stopped = 1 - said[roads.brake].mean(), said[~roads.brake].mean()
        print(f"{arm:15} {name:6} missed {missed:.2f}   false alarms {stopped:.2f}")
        key = f"{arm.removeprefix('both, ')}_{name}".replace(" ", "_")
        glue(f"drive_missed_{key}", float(missed), display=False)
        glue(f"drive_alarm_{key}", float(stopped), display=False)

# %% [markdown]
# Look at *both* on black pictures: it misses {glue:text}`drive_missed_both_black:.0%`, and stops for nothing in {glue:text}`drive_alarm_both_black:.0%`; in fog {glue:text}`drive_missed_both_fog:.0%` and {glue:text}`drive_alarm_both_fog:.0%`. Which of the two errors a sensor's silence turns into nobody chose.
#
# And *fog seen* has its higher share in fog by braking less: it misses {glue:text}`drive_missed_fog_seen_fog:.0%` of what it should stop for, and {glue:text}`drive_missed_fog_seen_clear:.0%` in clear air, where it is right on {glue:text}`drive_both_fog_seen_clear:.0%` of all roads. In as many steps, on half as many clear roads, it learnt above all to brake less. Whether more steps cure that we did not try. **A share alone would have called it a success.**
#
# All cures above need to *know* that a sensor is dead, and a black picture does not say so. A watch over the inputs (chapter 19 has one for pictures) is a part of the fusion.
#
# ## What this is not
#
# - **No driving.** No time, no speed, no other car that brakes too. Nothing here says what a vehicle should do.
# - The fog, the noise and the failures are formulas of ours. Lidar and radar fail in their own ways: rain, reflections, other people's sensors. {cite:t}`bijelic2020` recorded real fog.
# - Things of training and test are the same eight drawings by one artist. What the car has never seen was not asked.
# - Ninety percent of right answers would be a catastrophe on a road. The rare case decides there, and 500 roads have none.
#
# ## Exercises
#
# ```{exercise-start} A vote that knows its parts
# :label: ex-case-driving-vote
# ```
# *Medium, 15 minutes.* Take the mean of the probabilities of *camera* alone and *range* alone (chapter 9's vote), in clear air and where a sensor is known to be dead. When is it better than *both*?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-driving-vote
# :label: so-case-driving-vote
# :class: dropdown
# ````
# With a dead sensor the vote is the other one alone, which nothing disturbs. In clear air it lacks what the two have to say together: *near* and *solid* are a conjunction, and a mean of opinions is none.

# %%
def alone(arm, roads):
    return np.mean([predict(model, roads, arm) for model in models[arm]], 0)


vote = (alone("camera", test) + alone("range", test)) / 2
for name, said in (("clear", vote), ("no camera", alone("range", test)), ("no range", alone("camera", test))):
    print(f"{name:10} vote {np.mean((said > 0.5) == test.brake):.2f}   both {table['both', name].mean():.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What only both can know
# :label: ex-case-driving-both
# ```
# *Easy, 10 minutes.* Count the roads of the test on which something stands in the own lane nearer than twenty metres and is light. What do *range* and *both* say there?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-case-driving-both
# :label: so-case-driving-both
# :class: dropdown
# ````
# To the range finder a balloon is as near as a cow. Here the camera decides.

# %%
light = np.array([any(lane == 0 and metres < 20 and noun not in SOLID for noun, metres, lane in things)
                  for things in test.things])  # fmt: skip
print(f"{light.sum()} roads")
for arm in ("range", "both"):
    print(f"{arm:6} right on {table[arm, 'clear'][light].mean():.2f} of them")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Further reading
#
# - {cite:t}`neverova2016`: modality dropout, for gestures.
# - {cite:t}`bijelic2020`: camera, lidar, radar and more in real fog, fused by how much each can see.
# - {cite:t}`ovadia2019`: what becomes of a model's confidence when the data shift.
