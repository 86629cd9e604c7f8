"""What all captioners have: words, an encoder over the cells of a grid, and a decoder.

Shapes: B batch, T words, N cells of the grid, D width, H heads, V vocabulary.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse import decoding
from mmcourse.data.pictures import load_picture
from mmcourse.transformer import Decoder, Encoder, sinusoidal_positions
from mmcourse.weights import SavedModel

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ["<pad>", "<start>", "<end>", "<unknown>"]
STRATEGIES = {
    "beam": decoding.beam_search,
    "greedy": decoding.greedy,
    "sample": decoding.sample,
}
SET_BY_THE_CAPTIONER = ("step", "start", "end", "max_length")  # options of these that are not free


@dataclass(frozen=True)
class Caption:
    """A sentence that a captioner wrote, and how.

    ``attention`` (layers, H, T, N) is where the decoder looked for each of the ``tokens``, which
    are the words and the end. ``log_prob`` is the log-probability of the whole sentence.
    ``confidence`` in [0, 1] is what :meth:`Captioner.confidences` says; None for a sentence of
    :meth:`Captioner.write`, which has not seen the picture.
    """

    text: str
    log_prob: float
    tokens: list[str]
    attention: torch.Tensor
    confidence: float | None = None


class Captioner(SavedModel):
    """A Transformer encoder relates the cells of a grid, a decoder writes (after Xu et al. 2015).

    A subclass adds what turns a picture into the cells, and the methods :meth:`prepare` and
    :meth:`encode`, which use it. It calls :meth:`initialise` when all its layers are there.

    ``vocabulary`` is a list of words, ``side`` the number of cells along each side of the grid,
    ``width`` a multiple of 4 that ``heads`` divides, ``max_length`` the most words that it writes
    or reads.
    """

    low_confidence = 0.25  #: below it a caption comes with a warning
    #: What ``confidence`` is, in words for a user.
    confidence_is = "geometric mean of the words' probabilities, not calibrated"

    def __init__(
        self,
        vocabulary,
        side,
        width,
        heads,
        encoder_layers,
        decoder_layers,
        dropout,
        max_length,
    ):
        super().__init__()
        self.words = SPECIAL + list(vocabulary)
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.max_length = max_length
        self.grid_positions = nn.Parameter(grid_positions(side, width)[None])  # (1, N, D)
        self.encoder = Encoder(encoder_layers, width, heads, dropout=dropout)
        self.embedding = nn.Embedding(len(self.words), width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, max_length, width))  # of words
        self.decoder = Decoder(decoder_layers, width, heads, dropout=dropout)
        self.output = nn.Linear(width, len(self.words))

    def initialise(self):
        """Draw the words' vectors small, so that they do not drown their positions."""
        nn.init.normal_(self.embedding.weight, std=0.02)

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        return {
            "vocabulary": shapes["embedding.weight"][0] - len(SPECIAL),
            "width": shapes["embedding.weight"][1],
            "max_length": shapes["positions"][1],
            "encoder_layers": count_layers(shapes, "encoder.layers."),
            "decoder_layers": count_layers(shapes, "decoder.layers."),
        }

    @property
    def device(self):
        """Where its numbers are, as a ``torch.device``."""
        return self.embedding.weight.device

    @property
    def dtype(self):
        """What kind of numbers it computes with, as a ``torch.dtype``."""
        return self.embedding.weight.dtype

    def prepare(self, pictures):
        """A list of pictures (path, PIL picture or uint8 array) as one batch for :meth:`encode`."""
        raise NotImplementedError("a captioner says in prepare what it takes for a picture")

    def view(self, picture):
        """What the grid covers of a picture, uint8 (S, S, 3), to lay attention over."""
        return load_picture(picture, self.image_size)

    def encode(self, inputs):
        """Turn what :meth:`prepare` gives into the memory (B, N, D) that the decoder looks at."""
        raise NotImplementedError("a captioner says in encode how a picture becomes a memory")

    def decode(self, memory, tokens, *, cache=None, return_weights=False):
        """Logits (B, T, V) for the word after each of the ``tokens`` (B, T).

        They continue those in the ``cache``, a dict that is empty at first. With ``return_weights``
        also return the attention to the memory, (B, layers, H, T, N). ValueError for more tokens
        than the model has positions.
        """
        past = 0
        decoder_cache = None
        if cache is not None:
            past = cache.get("length", 0)
            decoder_cache = cache.setdefault("decoder", {})
            cache["length"] = past + tokens.shape[1]
        if past + tokens.shape[1] > self.max_length:
            raise ValueError(
                f"the captioner reads at most {self.max_length} tokens, "
                f"got {past + tokens.shape[1]}: cut them"
            )
        positions = self.positions[:, past : past + tokens.shape[1]]  # (1, T, D)
        x = self.embedding(tokens) + positions  # (B, T, D)
        if return_weights:
            x, weights = self.decoder(x, memory, cache=decoder_cache, return_weights=True)
            return self.output(x), weights
        x = self.decoder(x, memory, cache=decoder_cache)  # (B, T, D)
        return self.output(x)  # (B, T, V)

    def forward(self, inputs, tokens):
        """Teacher forcing: the true words so far (B, T) give logits (B, T, V).

        ``inputs`` are what :meth:`encode` takes.
        """
        return self.decode(self.encode(inputs), tokens)

    # ---- training

    def tokenize(self, text):
        """Ids of a caption's words, between START and END.

        A longer caption than the model can write is cut.
        """
        words = text.split()[: self.max_length - 1]
        return [START, *(self.ids.get(word, UNKNOWN) for word in words), END]

    def tokenize_all(self, texts):
        """Ids (B, T) of several captions, filled up with PAD."""
        rows = [torch.tensor(self.tokenize(text)) for text in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    def collate(self, samples):
        """A training batch of pairs: what :meth:`encode` takes for one picture, and its caption.

        In place of one caption there may be a list of them; ``captions`` (B) says how many.
        """
        inputs = [picture for picture, _ in samples]
        captions = [[text] if isinstance(text, str) else text for _, text in samples]
        return {
            "inputs": torch.stack(inputs),
            "tokens": self.tokenize_all([text for texts in captions for text in texts]),
            "captions": torch.tensor([len(texts) for texts in captions]),
        }

    def loss(self, batch):
        """The sum of the :meth:`terms`."""
        return self.terms(batch).sum()

    def terms(self, batch):
        """What training makes small, each a mean: here one term, :meth:`word_loss`."""
        memory = self.encode(batch["inputs"])  # a picture is encoded once for all its captions
        return self.word_loss(memory, batch["tokens"], batch.get("captions"))[None]

    def counts(self, batch):
        """Over how much each of the :meth:`terms` is a mean: here over how many words."""
        return (next_words(batch["tokens"]) != PAD).sum()[None]

    def word_loss(self, memory, tokens, captions=None):
        """Mean cross-entropy of the next word. ``captions`` (B) are the captions a picture has.

        A word outside the vocabulary is read, but never to be written.
        """
        cache = None
        if captions is not None:
            counts = set(captions.tolist())
            if len(counts) > 1:
                memory = memory.repeat_interleave(captions.to(memory.device), 0)
            elif counts != {1}:
                cache = {}  # with a cache, rows of a picture share its keys and values
        logits = self.decode(memory, tokens[:, :-1], cache=cache)  # (B, T, V)
        targets = next_words(tokens)  # (B, T)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)

    # ---- writing

    @torch.no_grad()
    def caption(self, image, strategy="beam", beams=4, **options):
        """Describe a picture (path, PIL picture or uint8 array): a Caption. Of a list, a list.

        ``strategy`` is ``beam``, ``greedy`` or ``sample``; ``options`` go to the function of that
        name in :mod:`mmcourse.decoding`. Raises ValueError for another strategy or for what is not
        a picture, TypeError for an option that the captioner sets itself.
        """
        many = isinstance(image, list)
        if many and not image:
            return []
        pictures = image if many else [image]
        inputs = self.prepare(pictures)
        memory = self.encode(inputs)
        written = self.write(memory, strategy, beams, **options)
        sentences = [[self.ids[word] for word in one.tokens[:-1]] for one in written]
        confidences = self.confidences(inputs, memory, sentences)
        captions = [
            replace(one, confidence=confidence)
            for one, confidence in zip(written, confidences, strict=True)
        ]
        return captions if many else captions[0]

    @torch.no_grad()
    def write(self, memory, strategy="beam", beams=4, **options):
        """A Caption for each row of a memory (B, N, D).

        The other arguments, and the errors, are those of :meth:`caption`.
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"unknown strategy {strategy!r}: choose beam, greedy or sample")
        for name in SET_BY_THE_CAPTIONER:
            if name in options:
                raise TypeError(
                    f"{name} is no option of a caption: the captioner sets it "
                    f"(it writes at most {self.max_length} words)"
                )
        if strategy == "beam":
            options = options | {"beams": beams}

        def step(tokens, cache):
            return self.decode(memory, tokens, cache=cache)[:, -1]  # (B, V)

        start = torch.full((len(memory),), START, device=memory.device)
        generate = STRATEGIES[strategy]
        written = generate(step, start, end=END, max_length=self.max_length, **options)
        return self.explain(memory, written.tokens, written.log_prob.tolist())

    def explain(self, memory, sentences, log_probs):
        """The Captions of ``sentences``, a list of ids for each row of the memory (B, N, D).

        One pass over all words gives the attention, for which writing has no need.
        """
        tokens = self.inputs_of(sentences)  # (B, T)
        _, weights = self.decode(memory, tokens.to(memory.device), return_weights=True)
        captions = []
        for row, ids in enumerate(sentences):
            words = [self.words[number] for number in ids]
            length = min(1 + len(ids), self.max_length)
            caption = Caption(
                text=" ".join(words),
                log_prob=log_probs[row],
                tokens=[*words, SPECIAL[END]],
                attention=weights[row, :, :, :length].cpu().clone(),
            )
            captions.append(caption)
        return captions

    def inputs_of(self, sentences):
        """What the decoder reads (B, T) to give the words of ``sentences``, lists of ids."""
        rows = [torch.tensor([START, *ids])[: self.max_length] for ids in sentences]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    @torch.no_grad()
    def confidences(self, inputs, memory, sentences):
        """How sure it is of ``sentences``, a list of ids for each picture: numbers in [0, 1].

        ``inputs`` are the pictures, as :meth:`prepare` gives them, ``memory`` what :meth:`encode`
        makes of them. A confidence depends on picture and sentence alone, not on how the sentence
        was found. Here it is the geometric mean of the probabilities of the words and the end.
        """
        logits = self.decode(memory, self.inputs_of(sentences).to(memory.device))  # (B, T, V)
        found = []
        for log_probs, ids in zip(logits.log_softmax(-1), sentences, strict=True):
            targets = [*ids, END][: self.max_length]
            chosen = log_probs[range(len(targets)), targets]
            found.append(chosen.mean().exp().item())
        return found


def next_words(tokens):
    """The targets (B, T) of tokens (B, T + 1): the word after each.

    PAD stands for what is not to be learnt: fillings, and words outside the vocabulary.
    """
    targets = tokens[:, 1:]
    return targets.masked_fill(targets == UNKNOWN, PAD)


def grid_positions(side, width):
    """A table (side * side, width): sinusoids of row and column for each cell of a grid.

    It is learned further. They are as strong as what is seen, else nothing learns left from right.
    """
    table = sinusoidal_positions(side, width // 2)  # (side, D / 2)
    rows = table.repeat_interleave(side, 0)  # (N, D / 2)
    columns = table.repeat(side, 1)  # (N, D / 2)
    return torch.cat([rows, columns], -1)  # (N, D)


def count_layers(shapes, prefix):
    """How many numbered layers the names of tensors have after a prefix, as ``decoder.layers.``."""
    rests = [name.removeprefix(prefix) for name in shapes if name.startswith(prefix)]
    return len({rest.split(".")[0] for rest in rests})
