"""Questions about a picture, and dialogues: answered, checked against each other, and looked into.

``answering`` is the model, ``conversation`` its tokens, ``reading`` what a user types, ``learning``
how it is trained. ``baselines`` do not look or do not read. ``consistency`` asks twice,
``hallucination`` asks for what is not there, ``looking`` compares attention with boxes and erases.
"""

from mmcourse.vqa.answering import Answer, Answerer, Grounding, log_odds
from mmcourse.vqa.baselines import (
    Majority,
    answer_from,
    not_looking,
    not_reading,
    without_history,
)
from mmcourse.vqa.consistency import PAIRS, Probe, check, probes
from mmcourse.vqa.conversation import (
    KINDS,
    Asked,
    all_answers,
    all_words,
    ask_about,
    belongs_to_an_answer,
    pad_rows,
    prompt_tokens,
    turn_tokens,
)
from mmcourse.vqa.hallucination import (
    SAMPLINGS,
    Chair,
    Frequencies,
    PopeScores,
    absent,
    chair,
    count_nouns,
    invented,
    named_things,
    pope,
    pope_scores,
)
from mmcourse.vqa.learning import SHARED, Lessons, fit
from mmcourse.vqa.looking import asked_things, elsewhere, empty, erase, hits, pointed_at, touch
from mmcourse.vqa.reading import kind_of, read_question
from mmcourse.vqa.scoring import Part, is_right, see_part, share_by_scene, shares_by_kind

__all__ = [
    "KINDS",
    "PAIRS",
    "SAMPLINGS",
    "SHARED",
    "Answer",
    "Answerer",
    "Asked",
    "Chair",
    "Frequencies",
    "Grounding",
    "Lessons",
    "Majority",
    "Part",
    "PopeScores",
    "Probe",
    "absent",
    "all_answers",
    "all_words",
    "answer_from",
    "ask_about",
    "asked_things",
    "belongs_to_an_answer",
    "chair",
    "check",
    "count_nouns",
    "elsewhere",
    "empty",
    "erase",
    "fit",
    "hits",
    "invented",
    "is_right",
    "kind_of",
    "log_odds",
    "named_things",
    "not_looking",
    "not_reading",
    "pad_rows",
    "pointed_at",
    "pope",
    "pope_scores",
    "probes",
    "prompt_tokens",
    "read_question",
    "see_part",
    "share_by_scene",
    "shares_by_kind",
    "touch",
    "turn_tokens",
    "without_history",
]
