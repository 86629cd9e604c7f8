"""A conversation as one row of tokens, and questions about scenes as such rows.

Shapes: B batch, T tokens.
"""

from dataclasses import dataclass

import torch
from torch import nn

from mmcourse.data.captioned import words_of
from mmcourse.data.language import BACKGROUNDS, COLOURS, RELATIONS, phrase_book, vocabulary
from mmcourse.data.questions import NUMBERS

PAD, START, END, ASK = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "?")
OF_QUESTIONS = (
    *("what", "where", "how", "many", "colour", "this", "the", "seen", "from"),
    *("it", "other", "yes", "no", "none"),
)
KINDS = ("background", "count", "presence", "colour", "object", "relation")


def all_words():
    """Every word of the questions and of their answers, sorted."""
    return sorted({*vocabulary(), *OF_QUESTIONS, "and"} - {","})


def all_answers():
    """Every answer that a question about a scene can have, a list without repetition."""
    where = [phrases[0] for _, phrases in BACKGROUNDS.values()]
    relations = [phrases[0] for _, phrases in RELATIONS.values()]
    book, _ = phrase_book()
    nouns = sorted({value for kind, value in book.values() if kind == "object"})
    everything = (*where, *NUMBERS, "yes", "no", *COLOURS, *relations, *nouns)
    return list(dict.fromkeys(everything))  # orange is a colour and a fruit


def turn_tokens(question, answer, ids):
    """The ids of a turn: the words of the question, ``?``, those of the answer, END.

    ``ids`` is a dict of words. KeyError for a word that it does not have.
    """
    asked = [ids[word] for word in words_of(question)]
    answered = [ids[word] for word in words_of(answer)]
    return [*asked, ASK, *answered, END]


def prompt_tokens(question, history, ids):
    """The ids of what an answerer reads: START, the turns of ``history``, and a question."""
    tokens = [START]
    for asked, answered in history:
        tokens += turn_tokens(asked, answered, ids)
    return [*tokens, *[ids[word] for word in words_of(question)], ASK]


def pad_rows(rows):
    """Rows of ids as one tensor (B, T), filled up with PAD on the right."""
    tensors = [torch.tensor(row) for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=PAD)


def belongs_to_an_answer(tokens):
    """Which of the tokens (B, T) an answerer has to say: those after ``?`` up to END, booleans."""
    asked = (tokens == ASK).cumsum(1)
    ended = ((tokens == END).cumsum(1)) - (tokens == END).long()  # END itself is still to say
    return (asked > ended) & (tokens != ASK) & (tokens != PAD)


@dataclass(frozen=True)
class Asked:
    """A question about a scene: in which row its picture is, and what came before it.

    ``history`` is a tuple of pairs, question and answer.
    """

    scene: int
    text: str
    answer: str
    kind: str
    history: tuple = ()

    @property
    def turns(self):
        """All turns, the last one with its true answer."""
        return (*self.history, (self.text, self.answer))


def ask_about(scenes):
    """The questions of some scenes, a list of :class:`Asked`."""
    return [
        Asked(row, question.text, question.answer, question.kind)
        for row, scene in enumerate(scenes)
        for question in scene.questions
    ]
