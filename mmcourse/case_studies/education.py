"""Questions to a course: which passage answers, where it stands, and when nothing does.

The passages and the quiz questions are a snapshot of this course's own pages, which
``mmcourse.recipes.case_course`` made.
"""

import gzip
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mmcourse.contrastive import clip_loss, unit
from mmcourse.text import mean_of_tokens, pad

SNAPSHOT = Path(__file__).with_name("course.json.gz")
KINDS = ("text", "figure", "exercise", "quiz")
# words without which a question still asks the same
COMMON = frozenset(
    """
    a an and are as at be been but by can could do does for from had has have how if in into is it
    its more most no not of on one only or our so than that the their them then there these they
    this to us was we were what when where which who whose why will with would you your
    """.split()  # noqa: SIM905
)

# questions that the course does not answer, written by hand before any was tried: of other
# subjects, and of machine learning that no chapter has
OUTSIDE = {
    "far": (
        "How long should bread dough rise before it goes into the oven?",
        "Which treaty ended the Thirty Years' War, and in which towns was it signed?",
        "Why do leaves change their colour in autumn?",
        "What is the offside rule in football?",
        "How does a heat pump warm a house when it is cold outside?",
        "Which planets of the solar system have rings?",
        "When may a landlord raise the rent?",
        "How is steel hardened, and why does it become brittle?",
        "Who composed the opera about a barber in Seville?",
        "What is the difference between a virus and a bacterium?",
        "How many players does a volleyball team have on the court?",
        "Why does the moon show us the same side always?",
        "How do I remove a stain of red wine from a tablecloth?",
        "What does a central bank do against inflation?",
        "Which rivers flow through Vienna and Budapest?",
        "How deep should tulip bulbs be planted?",
        "Why is the sea salty and a lake often not?",
        "What must be on an invoice so that the tax office accepts it?",
        "How does a sailing boat move against the wind?",
        "Which vitamins does a lemon contain?",
    ),
    "near": (
        "How does a random forest choose the feature at which a tree is split?",
        "What is the kernel trick of a support vector machine?",
        "How does Q-learning update the value of a state and an action?",
        "Why does k-means depend on the first centroids?",
        "What does a graph convolution do to the features of a node?",
        "How is a Kalman filter updated when a new measurement comes?",
        "What is the Bellman equation, and when does its iteration converge?",
        "How does gradient boosting fit the residuals of earlier trees?",
        "Which prior does a Gaussian process put on functions?",
        "How does Markov chain Monte Carlo know that it has burnt in?",
        "What is a federated average, and why do clients drift?",
        "How does a Bayesian network separate two variables?",
        "What is the difference between bagging and stacking?",
        "How does a decision tree treat a value that is missing?",
        "What does Shapley value regression share among features?",
        "How does t-SNE choose the bandwidth from the perplexity?",
        "Which reward does an agent get in an inverse reinforcement problem?",
        "How is a time series made stationary before ARIMA is fitted?",
        "How does an isolation forest find an outlier?",
        "What is the elbow method for the number of clusters?",
    ),
}


class Passage(NamedTuple):
    """A piece of a page, of about eighty words at most."""

    page: str  #: the file's name, as ``13_evaluation``
    title: str  #: of the page
    section: str  #: the heading above it, "" before the first
    kind: str  #: one of ``KINDS``; a figure is its caption and its alternative text
    text: str  #: its words

    @property
    def source(self):
        """Where it stands, as one writes below an answer."""
        return f"{self.title}, {self.section}" if self.section else self.title


class QuizQuestion(NamedTuple):
    """A question of a quiz; the page that it stands on is taken for the one that answers."""

    page: str  #: the file's name
    text: str  #: without its options
    options: tuple  #: their texts, right and wrong ones


def load_course(path=None):
    """The passages and the quiz questions of a snapshot, the course's own if None: two lists.

    Raises FileNotFoundError where there is none, ValueError for a file that is cut off, damaged or
    of something else.
    """
    path = SNAPSHOT if path is None else Path(path)
    again = "python -m mmcourse.recipes.case_course book/chapters makes it from the course's texts"
    if not path.is_file():
        raise FileNotFoundError(f"expected the course's pages in {path}, found no file: {again}")
    try:
        found = json.loads(gzip.decompress(path.read_bytes()))
        passages = [Passage(*row) for row in found["passages"]]
        questions = [QuizQuestion(row[0], row[1], tuple(row[2])) for row in found["questions"]]
        odd = {passage.kind for passage in passages} - set(KINDS)
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is damaged or no snapshot of pages ({error}): {again}") from error
    if odd or not passages or not questions:
        raise ValueError(f"{path} has passages of kinds {sorted(odd) or 'none'}: {again}")
    return passages, questions


def words_of(text):
    """The words that count of a text: lower case, without the commonest, a plural s cut off."""
    found = re.findall(r"[a-z][a-z0-9]+|[0-9]+", text.lower())
    kept = [word for word in found if word not in COMMON]
    return [word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] != "s" else word
            for word in kept]  # fmt: skip


class BM25:
    """Scores of passages for a question by the words that they share (Robertson and Zaragoza 2009).

    A word counts more the fewer passages have it, less and less the more often one passage has it
    (``k1``), and less in a long passage (``b``). ``texts`` are the passages. Raises ValueError for
    none, or where no text has a word.
    """

    def __init__(self, texts, k1=1.2, b=0.75):
        if isinstance(texts, str):
            raise TypeError("texts must be a list of strings, got one string: put it into a list")
        counts = [Counter(words_of(text)) for text in texts]
        self.lengths = np.array([sum(count.values()) for count in counts], float)  # (P,)
        if not len(counts) or not self.lengths.any():
            raise ValueError(f"expected texts with words, got {len(counts)} texts without any")
        self.k1, self.b = k1, b
        self.rows = defaultdict(list)  # a word: the passages that have it, and how often
        for number, count in enumerate(counts):
            for word, times in count.items():
                self.rows[word].append((number, times))

    def idf(self, word):
        """What a word is worth: the log of how rare it is; 0 for one that no passage has."""
        n = len(self.rows.get(word, ()))
        return np.log(1 + (len(self.lengths) - n + 0.5) / (n + 0.5)) if n else 0.0

    def scores(self, question):
        """The scores (P,) of all passages; 0 where no word is shared."""
        found = np.zeros(len(self.lengths))
        room = self.k1 * (1 - self.b + self.b * self.lengths / self.lengths.mean())  # (P,)
        for word in set(words_of(question)):
            if word not in self.rows:
                continue
            numbers, times = np.array(self.rows[word]).T
            found[numbers] += self.idf(word) * times * (self.k1 + 1) / (times + room[numbers])
        return found

    def confidence(self, question):
        """How much of the question the best passage covers, from 0 on: comparable among questions.

        It is the best score divided by what all words of the question are worth; a word that no
        passage has is worth as much as the rarest that one has.
        """
        rarest = np.log(1 + (len(self.lengths) - 0.5) / 1.5)
        worth = sum(self.idf(word) or rarest for word in set(words_of(question)))
        return float(self.scores(question).max() / worth) if worth else 0.0


@torch.no_grad()
def embed(texts, encoder, tokenizer, window=64, batch=128):
    """Vectors (N, D) of length 1: the mean of the token vectors of each text, window by window.

    A text that is longer than a window is read in parts, and the parts are averaged.
    """
    parts = [tokenizer.encode(text) or [0] for text in texts]
    rows = []
    for number, ids in enumerate(parts):
        rows += [(number, ids[start : start + window]) for start in range(0, len(ids), window)]
    rows.sort(key=lambda row: len(row[1]))
    total = torch.zeros(len(texts), encoder.width)
    for start in range(0, len(rows), batch):
        owners, pieces = zip(*rows[start : start + batch], strict=True)
        ids, mask = pad(list(pieces))
        means = mean_of_tokens(encoder(ids, mask), mask)  # (B, D)
        lengths = mask.sum(1, keepdim=True)
        total.index_add_(0, torch.tensor(owners), means * lengths)
    return (total / total.norm(dim=1, keepdim=True).clamp(min=1e-9)).numpy()


class WordBag(nn.Module):
    """A vector for each token and a weight for each: a text is their sum, brought to length 1."""

    def __init__(self, tokens, width=128):
        super().__init__()
        self.vectors = nn.EmbeddingBag(tokens, width, mode="sum", padding_idx=0)
        self.weights = nn.Parameter(torch.zeros(tokens))  # logs
        nn.init.normal_(self.vectors.weight, std=0.1)

    def forward(self, rows):
        """Vectors (N, D) of N lists of ids."""
        ids, mask = pad([row or [0] for row in rows])
        weights = self.weights.exp()[ids] * mask
        return unit(self.vectors(ids, per_sample_weights=weights))


def learn_from_pages(texts, tokenizer, *, steps=100, batch=128, rate=2e-2, scale=20.0, seed=0):
    """A :class:`WordBag` that finds the passage which a sentence was taken from.

    That is the inverse cloze task (Lee et al. 2019): no question is needed. A sentence of a passage
    is the question, the rest of the passage the answer, the other passages of the batch the wrong
    ones. Raises ValueError where fewer than two texts have two sentences.
    """
    torch.manual_seed(seed)
    rng = Random(seed)
    split = [re.split(r"(?<=[.:?])\s", text) for text in texts]
    passages = [
        [tokenizer.encode(f" {part}") for part in parts] for parts in split if len(parts) > 1
    ]
    if len(passages) < 2:
        raise ValueError(f"expected texts of two sentences or more, got {len(passages)} of them")
    model = WordBag(len(tokenizer))
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        questions, answers = [], []
        for sentences in rng.sample(passages, min(batch, len(passages))):
            chosen = rng.randrange(len(sentences))
            questions.append(sentences[chosen])
            rest = sentences[:chosen] + sentences[chosen + 1 :]
            answers.append([token for sentence in rest for token in sentence])
        clip_loss(model(questions), model(answers), torch.tensor(scale)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def fuse_ranks(*scores, k=60):
    """Reciprocal rank fusion (Cormack et al. 2009): the sum of 1 / (k + rank) over the rankings.

    Each of ``scores`` is (..., P); the best has rank 1. Raises ValueError for shapes that differ.
    """
    if len({np.shape(each) for each in scores}) != 1:
        raise ValueError(f"expected scores of one shape, got {[np.shape(each) for each in scores]}")
    ranks = [np.argsort(np.argsort(-np.asarray(each), axis=-1, kind="stable"), axis=-1) + 1
             for each in scores]  # fmt: skip
    return sum(1 / (k + rank) for rank in ranks)


def rank_of_page(scores, passages, page):
    """The rank of the first passage of ``page``, among the pages in the order of their best one."""
    best = {}
    for score, passage in zip(scores, passages, strict=True):
        best[passage.page] = max(score, best.get(passage.page, -np.inf))
    if page not in best:
        raise ValueError(f"no passage of the page {page!r} is in the index: it cannot be found")
    return 1 + sum(score >= best[page] for other, score in best.items() if other != page)


def threshold_for(scores, refused=0.9):
    """The score below which a share ``refused`` of questions that have no answer falls."""
    if not 0 < refused < 1 or not len(scores):
        raise ValueError(f"expected scores and a share between 0 and 1, got {refused}")
    return float(np.quantile(scores, refused))
