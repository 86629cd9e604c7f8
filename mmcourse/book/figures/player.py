"""The figure of chapter 07: a clip that plays, and how much its reader looked at each frame.

F frames of a clip, H and W rows and columns of pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
import traitlets

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.figures.encoding import decode_png, encode_png
from mmcourse.book.plotting import BLUE, GREY, show_scene
from mmcourse.video import PARTS, weights_of_frames

NAMES = {"event": "event", "first": "first thing", "second": "second thing"}


def follow(reader, clip):
    """What ClipPlayer shows of a :class:`~mmcourse.data.clips.Clip` that ``reader`` reads."""
    scores = reader.read(clip.frames[None])
    looked = weights_of_frames(scores, len(clip.frames))[0]  # (3, F)
    shown = PARTS[: 1 + len(clip.nouns)]
    return {
        "frames": clip.frames,
        "caption": reader.captions(clip.frames[None])[0],
        "truth": clip.caption,
        "when": clip.when,
        "parts": {NAMES[part]: looked[PARTS.index(part)].tolist() for part in shown},
    }


class ClipPlayer(Figure):
    """Clips to choose from, each with the weight of every frame in each part of its caption.

    ``stories`` come from :func:`follow`. It plays when asked, never by itself; where the reader's
    system asks for less motion, once and slowly. Raises ValueError for no stories, or weights that
    do not fit the frames.
    """

    _esm = script("player.js")
    stories = traitlets.List().tag(sync=True)

    def __init__(self, stories):
        if not stories:
            raise ValueError("stories must be a list with at least one story, as follow gives it")
        super().__init__(stories=[self.pack(**story) for story in stories])

    @staticmethod
    def pack(frames, caption, truth, when, parts):
        """A story as the page gets it: one picture with all frames side by side, and numbers."""
        frames = np.asarray(frames)
        packed = []
        for name, weights in parts.items():
            checked = numbers(f"the weights of {name}", weights, (len(frames),))
            packed.append([name, [round(weight, 4) for weight in checked]])
        return {
            "strip": encode_png(np.concatenate(list(frames), 1)),
            "count": len(frames),
            "size": frames.shape[1:3],
            "caption": caption,
            "truth": truth,
            "when": [int(number) for number in when],
            "parts": packed,
        }

    def draw(self):
        """The frames of the first clip, and the weights below."""
        story = self.stories[0]
        strip = decode_png(story["strip"])
        frames = np.split(strip, story["count"], axis=1)
        rows = 1 + len(story["parts"])
        size = (7.2, 0.6 + 0.9 * rows)
        figure, axes = plt.subplots(rows, story["count"], figsize=size, squeeze=False)
        for number, frame in enumerate(frames):
            mark = " *" if number in story["when"] else ""
            show_scene(frame, axes=axes[0][number], title=f"{number + 1}{mark}")
            for row, (name, weights) in zip(axes[1:], story["parts"], strict=True):
                colour = BLUE if number in story["when"] else GREY
                row[number].bar([0], [weights[number]], color=colour)
                row[number].set(ylim=(0, max(weights)), xticks=[], yticks=[])
                if number == 0:
                    row[number].set_ylabel(name, fontsize=7)
        figure.suptitle(f"read as “{story['caption']}”; it happens in the frames with a star")
        return figure
