"""Byte pair encoding: a text as a list of numbers, each of which stands for a run of bytes.

The runs are learnt: again and again the most frequent pair of neighbours becomes one token
(Sennrich et al. 2016), beginning with single bytes (Radford et al. 2019), so that every text can
be written.
"""

import heapq
import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import regex

from mmcourse.text.loading import read_tokenizer

TOKENIZER = "tokenizer.json"  # the file of a tokenizer in the folder of a model
FORMAT = "mmcourse-bpe"
VERSION = 1
PATTERN = regex.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)  # that of GPT-2: a word with the space before it, a number, signs, or spaces
REMEMBERED = 100_000  # pieces whose tokens are kept, so that a frequent word is merged once


def byte_letters():
    """One printable letter for each of the 256 bytes, in the order of their ids.

    A byte that prints as a letter of its own stands for itself and comes first. The others get the
    letters from number 256 on. It is the table of GPT-2: its files hold no raw bytes.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return table


LETTERS = byte_letters()
BYTES = {letter: byte for byte, letter in LETTERS.items()}


class BPETokenizer:
    """A text as ids of learnt runs of bytes, and back, without loss.

    Args:
        merges: pairs of byte strings, in the order in which they were learnt.
        special: names of special tokens, which no text is turned into, with their ids. The bytes
            and then the merges take the ids that are left, from 0 up.
    """

    def __init__(self, merges, special=None):
        self.special = dict(special or {})
        self.tokens = all_tokens(merges, self.special)  # bytes of each id; a name's for a special
        numbers = {}
        for number, token in enumerate(self.tokens):
            if number not in self.special.values():
                numbers[token] = number
        self.byte_ids = [numbers[bytes([byte])] for byte in range(256)]
        self.merges = {}  # a pair of ids: the id that replaces it; a smaller one was learnt earlier
        for left, right in merges:
            self.merges[numbers[left], numbers[right]] = numbers[left + right]
        self.remembered = {}

    def __len__(self):
        """How many ids there are."""
        return len(self.tokens)

    @classmethod
    def train(cls, texts, vocab_size, *, special=(), min_count=2):
        """Learn from ``texts``, a list of strings, until there are ``vocab_size`` ids.

        The names in ``special`` get the first ids, then come the 256 bytes in the order of
        ``byte_letters``. Of two pairs that are equally frequent the one with the smaller ids
        is learnt. It stops early when no pair comes ``min_count`` times. Raises ValueError for
        texts without a character or fewer ids than bytes.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of strings, got one string: put it into a list")
        base = 256 + len(special)
        if vocab_size < base:
            raise ValueError(
                f"vocab_size must be at least {base}, a byte or special token each, "
                f"got {vocab_size}"
            )
        pieces = Counter()
        for text in texts:
            pieces.update(PATTERN.findall(text))
        if not pieces:
            raise ValueError("texts hold no character: expected something to learn from")
        names = {name: number for number, name in enumerate(special)}
        blank = cls([], names)
        rows = {tuple(blank.bytes_of(piece)): count for piece, count in pieces.items()}
        tokens = list(blank.tokens)
        merges = []
        for left, right in learn_merges(rows, base, vocab_size - base, min_count):
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
        return cls(merges, names)

    def encode(self, text):
        """The ids of a text, a list. Special tokens are not looked for: their names are text."""
        ids = []
        for piece in PATTERN.findall(text):
            found = self.remembered.get(piece)
            if found is None:
                found = merge(self.bytes_of(piece), self.merges)
                if len(self.remembered) < REMEMBERED:
                    self.remembered[piece] = found
            ids += found
        return ids

    def decode(self, ids):
        """The text of some ids; of :meth:`encode` the text itself.

        Bytes that are no character, as where a list was cut within one, become the sign �. Raises
        ValueError for an id that there is not.
        """
        for number in ids:
            if not 0 <= number < len(self.tokens):
                raise ValueError(f"there is no id {number}: expected 0 to {len(self.tokens) - 1}")
        joined = b"".join(self.tokens[number] for number in ids)
        try:
            return joined.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return joined.decode("utf-8", "replace")

    def bytes_of(self, text):
        """The ids of the bytes of a text, before any merge.

        Half of a pair of surrogates, which a Python string may hold, is written like a character.
        """
        return [self.byte_ids[byte] for byte in text.encode("utf-8", "surrogatepass")]

    def save(self, path):
        """Write a file in JSON: the merges, in GPT-2's letters, and the special tokens."""
        pairs = [[letters(left), letters(right)] for left, right in self.learnt()]
        content = {"format": FORMAT, "version": VERSION, "special": self.special, "merges": pairs}
        text = json.dumps(content, ensure_ascii=False, indent=0)
        Path(path).write_text(text, encoding="utf-8")

    def learnt(self):
        """The merges as pairs of byte strings, in the order in which they were learnt."""
        return [(self.tokens[left], self.tokens[right]) for left, right in self.merges]

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote. ValueError for a file of another format or version."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: expected a file of BPETokenizer.save") from error
        found = (content.get("format"), content.get("version")) if type(content) is dict else None
        if found != (FORMAT, VERSION):
            raise ValueError(
                f"{path} is of {found}, expected {(FORMAT, VERSION)}: "
                "save the tokenizer again, or update mmcourse"
            )
        merges = [(raw_bytes(left), raw_bytes(right)) for left, right in content["merges"]]
        return cls(merges, content["special"])

    @classmethod
    def from_transformers(cls, name, **options):
        """Load a tokenizer of GPT-2's kind from a folder or from ``owner/name`` on the hub.

        The folder has ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``. ``options`` go to
        the download. Raises ValueError when it splits texts otherwise or numbers tokens otherwise.
        """
        merges, vocabulary, special = read_tokenizer(name, **options)
        pairs = [(raw_bytes(left), raw_bytes(right)) for left, right in merges]
        tokenizer = cls(pairs, special)
        for token, number in vocabulary.items():
            expected = token.encode() if token in special else raw_bytes(token)
            if number >= len(tokenizer) or tokenizer.tokens[number] != expected:
                raise ValueError(
                    f"{name} gives the id {number} to {token!r}, expected the bytes first, then "
                    "the merges in order: it is not of GPT-2's kind"
                )
        return tokenizer


def all_tokens(merges, special):
    """The bytes of each id, a list: special tokens where they want to be, the others in order."""
    others = [bytes([byte]) for byte in LETTERS]
    known = set(others)
    for left, right in merges:
        if left not in known or right not in known or left + right in known:
            raise ValueError(
                f"the merge of {left!r} and {right!r} does not join two tokens that were there "
                "before into a new one: the list of merges is damaged"
            )
        known.add(left + right)
        others.append(left + right)
    names = {number: name.encode() for name, number in special.items()}
    count = len(others) + len(names)
    if len(names) < len(special) or any(not 0 <= number < count for number in names):
        raise ValueError(
            f"special tokens need ids of their own from 0 to {count - 1}, got {special}"
        )
    rest = iter(others)
    return [names[number] if number in names else next(rest) for number in range(count)]


def learn_merges(rows, first, wanted, min_count):
    """The most frequent pair, again and again: at most ``wanted`` pairs of ids, a list.

    ``rows`` are tuples of ids with how often each comes. The first pair gets the id ``first``, the
    next ``first + 1``. None is rarer than ``min_count``.
    """
    pairs = Pairs(rows)
    chosen = []
    while len(chosen) < wanted:
        pair, count = pairs.most_frequent()
        if count < max(1, min_count):
            break
        pairs.join(pair, first + len(chosen))
        chosen.append(pair)
    return chosen


class Pairs:
    """How often each pair of neighbours stands in some rows of ids, kept up to date.

    ``rows`` are tuples of ids with how often each comes. Only the rows that hold a joined pair are
    counted anew.
    """

    def __init__(self, rows):
        self.words = list(rows)
        self.times = list(rows.values())
        self.counts = Counter()
        self.where = defaultdict(set)  # in which words a pair stands, or once stood
        for number in range(len(self.words)):
            self.count(number, 1)
        self.queue = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.queue)

    def count(self, number, sign):
        """Add a word's pairs to the counts, or, with the ``sign`` -1, take them away."""
        for pair in pairwise(self.words[number]):
            self.counts[pair] += sign * self.times[number]
            self.where[pair].add(number)

    def most_frequent(self):
        """The most frequent pair, of several the one with the smallest ids, and its count."""
        while self.queue:
            promised, pair = heapq.heappop(self.queue)
            count = self.counts[pair]
            if count == -promised:
                return pair, count
            heapq.heappush(self.queue, (-count, pair))  # rarer by now: it waits at its new place
        return None, 0

    def join(self, pair, new):
        """Put the id ``new`` wherever the pair stands, and count what stands beside it now."""
        beside = set()
        for number in self.where.pop(pair):
            self.count(number, -1)
            self.words[number] = replace(self.words[number], pair, new)
            self.count(number, 1)
            beside.update(now for now in pairwise(self.words[number]) if new in now)
        for now in beside:
            heapq.heappush(self.queue, (-self.counts[now], now))


def replace(word, pair, new):
    """The ids of a word, where ``pair`` stands, from left to right, with ``new`` in its place."""
    ids = []
    place = 0
    while place < len(word):
        if word[place : place + 2] == pair:
            ids.append(new)
            place += 2
        else:
            ids.append(word[place])
            place += 1
    return tuple(ids)


def merge(ids, merges):
    """Join neighbours until no pair of ``merges`` is left, the earliest learnt first: a list.

    The time grows with the length of ``ids`` and not with its square: each id knows its
    neighbours, so that joining two moves none of the others.
    """
    ids = [*ids, None]  # None at the end is a neighbour that no pair has
    before = list(range(-1, len(ids)))
    after = list(range(1, len(ids) + 1))
    places = defaultdict(list)  # of an id to be made: where its two parts stand
    for place, pair in enumerate(pairwise(ids)):
        if pair in merges:
            places[merges[pair]].append(place)
    queue = list(places)
    heapq.heapify(queue)
    while queue:
        new = heapq.heappop(queue)
        for place in sorted(places.pop(new)):
            right = after[place] if ids[place] is not None else place
            if merges.get((ids[place], ids[right])) != new:
                continue  # one of the two is a part of another token by now
            ids[place] = new
            ids[right] = None
            after[place] = after[right]
            before[after[place]] = place
            for start in (before[place], place):
                made = merges.get((ids[start], ids[after[start]])) if start >= 0 else None
                if made is None:
                    continue
                if made not in places:
                    heapq.heappush(queue, made)
                places[made].append(start)
    return [number for number in ids if number is not None]


def letters(token):
    """A byte string in the printable letters of ``byte_letters``."""
    return "".join(LETTERS[byte] for byte in token)


def raw_bytes(token):
    """The byte string that printable letters stand for. ValueError for any other letter."""
    try:
        return bytes(BYTES[letter] for letter in token)
    except KeyError as error:
        raise ValueError(
            f"{token!r} holds {error}, which stands for no byte: it is no byte-level tokenizer"
        ) from error
