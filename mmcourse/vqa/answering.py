"""Answers about a picture: a decoder reads the questions so far, looks, and goes on with an answer.

Shapes: B batch, T tokens of a conversation, N cells of the memory, D width, V words, R answers,
H heads.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse import decoding
from mmcourse.data.captioned import words_of
from mmcourse.evaluation import logistic
from mmcourse.transformer import Decoder
from mmcourse.vqa.conversation import (
    ASK,
    END,
    SPECIAL,
    START,
    belongs_to_an_answer,
    prompt_tokens,
    turn_tokens,
)
from mmcourse.vqa.reading import EXAMPLES, check_follows, read_question, unknown_words
from mmcourse.weights import SavedModel

LONGEST_ANSWER = 6  # tokens, END included: "to the right of" has five
TOGETHER = 200  # questions that are answered in one batch


@dataclass(frozen=True)
class Answer:
    """What an answerer said, and how.

    ``confidence`` in [0, 1] is what ``Answerer.confidence_is`` says. ``attention`` (layers, H, N)
    is where it looked when it had read the question and chose its first word.
    """

    text: str
    confidence: float
    attention: torch.Tensor


class Grounding(nn.Module):
    """Each word first looks for itself: where its thing seems to be, and how surely it is there.

    The score of a word and a cell is the product of their keys, of ``size`` numbers. A word gets
    the mean of the cells, weighted by the softmax of ``sharpness`` times its scores, and its
    largest score. That largest score is what a softmax hides: its weights sum to one also where
    the thing is nowhere.
    """

    def __init__(self, width, size):
        super().__init__()
        self.word_key = nn.Linear(width, size, bias=False)
        self.cell_key = nn.Linear(width, size)
        self.sharpness = nn.Parameter(torch.tensor(10.0))
        self.value = nn.Linear(width, width)
        self.strength = nn.Parameter(0.3 * torch.randn(width))
        nn.init.zeros_(self.value.weight)  # a decoder that was trained without it goes on as it was
        nn.init.zeros_(self.value.bias)

    def scores(self, words, cells):
        """How well each of the ``words`` (n B, T, D) fits each of the ``cells`` (B, N, D).

        (B, n T, N), of n rows of words that share a picture.
        """
        queries = self.word_key(words).reshape(len(cells), -1, self.word_key.out_features)
        return queries @ self.cell_key(cells).mT

    def forward(self, words, cells):
        """What is added to ``words`` (n B, T, D) that look at ``cells`` (B, N, D), n rows each."""
        scores = self.scores(words, cells)  # (B, n T, N)
        weights = (self.sharpness * scores).softmax(-1)
        found = self.value(weights @ cells)  # (B, n T, D)
        sure = scores.amax(-1, keepdim=True) * self.strength  # (B, n T, D)
        return (found + sure).reshape(words.shape)


class Answerer(SavedModel):
    """Reads a conversation word by word, looks at a memory of the picture, and says what follows.

    A conversation is one row of tokens: START, then for each turn the words of the question, ``?``,
    the words of the answer, END. Two heads read the same states. ``output`` gives the next word, so
    that an answer is written; ``choice``, a classifier, gives one of ``answers`` at each ``?``.

    ``vocabulary`` is a list of words, ``answers`` a list of texts (of none there is no classifier).
    The memory has ``channels`` numbers for each of ``cells`` cells. ``heads`` divides ``width``,
    ``ground`` is the size of :class:`Grounding` (0 for none), ``max_length`` the most tokens that
    it reads and writes. ``encoder`` names the model whose memory it was trained on, see
    :meth:`attach`; ``calibration`` are the two numbers of :meth:`confidences`.
    """

    low_confidence = 0.5

    def __init__(
        self,
        vocabulary,
        answers=(),
        channels=128,
        cells=64,
        width=128,
        heads=4,
        layers=2,
        hidden=None,
        ground=64,
        max_length=64,
        encoder="scenes",
        calibration=None,
    ):
        super().__init__()
        self.words = [*SPECIAL, *vocabulary]
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.answers = list(answers)
        self.max_length = max_length
        self.encoder_name = encoder
        self.calibration = calibration
        self.look = nn.Linear(channels, width)
        self.places = nn.Parameter(torch.zeros(1, cells, width))
        self.embedding = nn.Embedding(len(self.words), width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, max_length, width))
        self.grounding = Grounding(width, ground) if ground else None
        self.decoder = Decoder(layers, width, heads, hidden)
        self.output = nn.Linear(width, len(self.words))
        self.choice = nn.Linear(width, len(self.answers)) if self.answers else None
        nn.init.normal_(self.embedding.weight, std=0.02)

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        layers = {name.split(".")[2] for name in shapes if name.startswith("decoder.layers.")}
        width, channels = shapes["look.weight"]
        return {
            "vocabulary": shapes["embedding.weight"][0] - len(SPECIAL),
            "answers": shapes.get("choice.weight", (0,))[0],
            "channels": channels,
            "cells": shapes["places"][1],
            "width": width,
            "layers": len(layers),
            "ground": shapes.get("grounding.word_key.weight", (0,))[0],
            "max_length": shapes["positions"][1],
        }

    def attach(self, encoder):
        """See with the ``prepare`` and ``encode`` of a captioner, whose weights stay its own."""
        encoder = encoder.eval().requires_grad_(False)
        object.__setattr__(self, "encoder", encoder)  # no part of this module: not saved with it
        return self

    @torch.no_grad()
    def see(self, pictures):
        """The memory (B, N, channels) of a list of pictures (path, PIL picture or uint8 array).

        RuntimeError before :meth:`attach`.
        """
        if not hasattr(self, "encoder"):
            raise RuntimeError(
                "the answerer has no encoder yet: mmcourse.hub.load gives it one, "
                f"or call attach(load({self.encoder_name!r}))"
            )
        return self.encoder.encode(self.encoder.prepare(pictures))

    def states(self, memory, tokens, *, cache=None, return_weights=False):
        """The states (n B, T, D) after each of the ``tokens`` (n B, T).

        Each row of ``memory`` (B, N, channels) is that of n rows of tokens, one after the other. A
        ``cache`` is a dict that is empty at first; then tokens go on from those before. With
        ``return_weights`` also the attention to the memory, (B, layers, H, n T, N). ValueError for
        more tokens than there are positions.
        """
        cache = {} if cache is None else cache
        past = cache.get("length", 0)
        length = past + tokens.shape[1]
        if length > self.max_length:
            raise ValueError(
                f"the answerer reads at most {self.max_length} words of a conversation, "
                f"got {length:,}: ask a shorter question, or leave out the first turns"
            )
        cache["length"] = length
        if past == 0:
            cache["cells"] = self.look(memory) + self.places  # (B, N, D)
        cells = cache["cells"]
        words = self.embedding(tokens)  # (n B, T, D)
        x = words + self.positions[:, past:length]
        if self.grounding is not None:
            x = x + self.grounding(words, cells)
        own = cache.setdefault("decoder", {})
        return self.decoder(x, cells, cache=own, return_weights=return_weights)

    def terms(self, memory, tokens, choices):
        """What training makes small: the mean cross-entropy of the words of the answers, and that
        of the choice among all answers (0 without that head).

        ``tokens`` (n B, T) are whole conversations; the words of the questions are not to be said.
        ``choices`` (n B, turns) are the numbers of the true answers, -1 where there are fewer.
        """
        states = self.states(memory, tokens[:, :-1])  # (n B, T - 1, D)
        targets = tokens[:, 1:]
        due = belongs_to_an_answer(tokens)[:, 1:]
        words = F.cross_entropy(self.output(states[due]), targets[due])
        if self.choice is None:
            return torch.stack([words, words.new_zeros(())])
        chosen = self.choice(states[tokens[:, :-1] == ASK])  # (questions, R)
        return torch.stack([words, F.cross_entropy(chosen, choices[choices >= 0])])

    # ---- answering

    @torch.no_grad()
    def answer(self, picture, question, history=()):
        """Answer a question about a picture (path, PIL picture or uint8 array): an :class:`Answer`.

        ``history`` are the turns before, pairs of question and answer. A question such as "what
        colour is it?" goes on from the last of them; for any other they are left out, since
        training has no such case. Raises ValueError for a question that it was not taught to read,
        see :func:`~mmcourse.vqa.reading.read_question`, for a second turn that goes on from
        another second, from what was denied or from what it was not taught after, and for what is
        no picture.
        """
        prompt = self.prompt(question, history)
        memory = self.see([picture])  # (1, N, channels)
        written = self.write(memory, [prompt])
        attention = self.attention(memory, [prompt])[0]
        log_prob = written.log_prob.tolist()
        return Answer(self.text_of(written.tokens[0]), self.confidences(log_prob)[0], attention)

    def prompt(self, question, history=()):
        """The ids of a user's question, and of the turn before it if it goes on from that.

        Errors are those of :meth:`answer`.
        """
        known = set(self.words[len(SPECIAL) :])
        plain, kind = read_question(question, known, first=not history)
        tokens = [START]
        if kind is None:  # a question that stands by itself needs no history
            asked, answered = history[-1]
            before, kind_before = read_question(asked, known, first=False)
            if kind_before is None:
                raise ValueError(
                    "I follow one question and one that goes on from it, not a third: name the "
                    f"thing again, as in {EXAMPLES[3]!r}"
                )
            unknown = [word for word in words_of(answered) if word not in known]
            if unknown:
                raise ValueError(unknown_words(unknown, known))
            check_follows(question, asked, kind_before, answered)
            tokens += turn_tokens(before, answered, self.ids)
        return [*tokens, *(self.ids[word] for word in plain.split()), ASK]

    def write(self, memory, prompts):
        """What follows ``prompts``, lists of ids of one length: a ``decoding.Generated``.

        ``memory`` (B, N, channels) has a row for each.
        """

        def step(tokens, cache):
            return self.output(self.states(memory, tokens, cache=cache)[:, -1])  # (B, V)

        start = torch.tensor(prompts, device=memory.device)
        return decoding.greedy(step, start, end=END, max_length=LONGEST_ANSWER)

    def attention(self, memory, prompts):
        """Where it looks (B, layers, H, N) at the last ``?`` of prompts of one length."""
        tokens = torch.tensor(prompts, device=memory.device)
        _, weights = self.states(memory, tokens, return_weights=True)
        return weights[:, :, :, -1]

    def grounded(self, memory, prompts):
        """How well each word fits each cell (B, T, N), of prompts of one length: what the grounding
        compares. ValueError where there is none.
        """
        if self.grounding is None:
            raise ValueError("this answerer has no grounding: make it with ground=64")
        cells = self.look(memory) + self.places  # (B, N, D)
        words = self.embedding(torch.tensor(prompts, device=memory.device))  # (B, T, D)
        return self.grounding.scores(words, cells)

    def text_of(self, ids):
        """The words of some ids as a text."""
        return " ".join(self.words[number] for number in ids)

    def confidences(self, log_probs):
        """How sure it is of answers with these log-probabilities: a list of numbers in [0, 1].

        The two numbers of ``calibration``, an offset and the weight of the log-odds, make a
        probability of being right of the model's own probability. Without them it is the latter.
        """
        own = torch.tensor(log_probs, dtype=torch.float64).exp()
        if self.calibration is None:
            return own.tolist()
        return logistic(self.calibration, log_odds(own)).tolist()

    @property
    def confidence_is(self):
        """What ``confidence`` is, in words for a user."""
        if self.calibration is None:
            return "the model's own probability, not calibrated"
        return "probability that the answer is right, fitted on questions without a history"

    # ---- many questions

    @torch.no_grad()
    def answer_all(self, memory, asked, choose=False):
        """The answers to a list of :class:`~mmcourse.vqa.conversation.Asked`: texts, log-probs.

        ``memory`` (scenes, N, channels) are the pictures. With ``choose`` the classifier answers.
        """
        texts = [""] * len(asked)
        log_probs = [0.0] * len(asked)
        prompts = [prompt_tokens(each.text, each.history, self.ids) for each in asked]
        for rows in rows_of_one_length(prompts):
            cells = memory[[asked[row].scene for row in rows]].to(self.places)
            answer = self.chosen if choose else self.written
            found = answer(cells, [prompts[row] for row in rows])
            for row, text, log_prob in zip(rows, *found, strict=True):
                texts[row] = text
                log_probs[row] = log_prob
        return texts, log_probs

    def written(self, memory, prompts):
        """Texts and log-probabilities of what the decoder writes after prompts of one length."""
        found = self.write(memory, prompts)
        return [self.text_of(ids) for ids in found.tokens], found.log_prob.tolist()

    def chosen(self, memory, prompts):
        """Texts and log-probabilities of what the classifier chooses after prompts of one length.

        ValueError where there is no classifier.
        """
        if self.choice is None:
            raise ValueError("this answerer has no classifier: make it with a list of answers")
        states = self.states(memory, torch.tensor(prompts, device=memory.device))[:, -1]  # (B, D)
        best = self.choice(states).log_softmax(-1).max(-1)
        return [self.answers[number] for number in best.indices.tolist()], best.values.tolist()


def rows_of_one_length(prompts):
    """The numbers of prompts in batches, in each of which all have one length."""
    by_length = {}
    for row, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(row)
    return [
        rows[start : start + TOGETHER]
        for rows in by_length.values()
        for start in range(0, len(rows), TOGETHER)
    ]


def log_odds(probabilities):
    """The evidence (B, 1) that ``mmcourse.evaluation.logistic`` weighs: log p / (1 - p)."""
    own = torch.as_tensor(probabilities, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    return (own.log() - (1 - own).log())[:, None].numpy()
