"""A text cut into bytes, which the merges of a tokenizer join again, one rule after the other."""

import matplotlib.pyplot as plt
from traitlets import List

from mmcourse.book.figures import Figure, script
from mmcourse.book.plotting import GREY, ORANGE
from mmcourse.text.bpe import LETTERS, PATTERN, replace

STILL = (0, 2, 5)  # the numbers of merges in the still picture; the end is added


class MergeExplorer(Figure):
    """A field to type into, and the tokens of a BPETokenizer after each merge.

    ``examples`` are texts to begin with. Special tokens are left out: the ids here are those of
    the bytes and of the merges alone.
    """

    _esm = script("merges.js")
    bytes = List().tag(sync=True)
    merges = List().tag(sync=True)
    examples = List().tag(sync=True)

    def __init__(self, tokenizer, examples):
        if not examples:
            raise ValueError("examples must be at least one text, got none")
        numbers = {bytes([byte]): number for number, byte in enumerate(LETTERS)}
        merges = []
        for left, right in tokenizer.learnt():
            merges.append([numbers[left], numbers[right]])
            numbers[left + right] = len(numbers)
        super().__init__(bytes=list(LETTERS), merges=merges, examples=list(examples))

    def history(self, text):
        """The tokens of each piece of a text after each merge: lists of rows of ids."""
        rules = {tuple(pair): 256 + number for number, pair in enumerate(self.merges)}
        number_of = {byte: number for number, byte in enumerate(self.bytes)}
        rows = [
            tuple(number_of[byte] for byte in piece.encode("utf-8", "surrogatepass"))
            for piece in PATTERN.findall(text)
        ]
        steps = [rows]
        while True:
            known = [
                rules[pair]
                for row in rows
                for pair in zip(row, row[1:], strict=False)
                if pair in rules
            ]
            if not known:
                return steps
            rule = min(known)
            pair = tuple(self.merges[rule - 256])
            rows = [replace(row, pair, rule) for row in rows]
            steps.append(rows)

    def shown(self, number):
        """How a token is shown: its text, or its bytes where they are no whole character."""
        if number < 256:
            token = bytes([self.bytes[number]])
        else:
            token = b"".join(map(self.raw, self.merges[number - 256]))
        try:
            return token.decode().replace(" ", "␣")
        except UnicodeDecodeError:
            return token.hex(" ").upper()

    def raw(self, number):
        """The bytes of an id."""
        if number < 256:
            return bytes([self.bytes[number]])
        return b"".join(map(self.raw, self.merges[number - 256]))

    def draw(self):
        """The first example after no merge, after a few, and at the end."""
        steps = self.history(self.examples[0])
        chosen = sorted({min(number, len(steps) - 1) for number in (*STILL, len(steps) - 1)})
        figure, axes = plt.subplots(figsize=(7.2, 0.5 * len(chosen) + 0.2))
        axes.set(xlim=(0, 1), ylim=(len(chosen) - 0.4, -0.6))
        axes.axis("off")
        for line, number in enumerate(chosen):
            axes.text(0, line, f"{number} merges", va="center", fontsize=8, color=GREY)
            before = {token for row in steps[max(0, number - 1)] for token in row}
            place = 0.12
            for row in steps[number]:
                for token in row:
                    place = self.draw_token(axes, place, line, token, token not in before)
                place += 0.008
        return figure

    def draw_token(self, axes, place, line, token, fresh):
        """One token in a box; returns where the next one begins."""
        text = self.shown(token)
        colour = ORANGE if fresh else GREY
        width = 0.0125 * len(text) + 0.012
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": colour}
        axes.text(place + width / 2, line, text, va="center", ha="center", fontsize=7.5, bbox=box)
        return place + width
