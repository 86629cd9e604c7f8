# ---
# jupyter:
#   course: {notebook: notebooks/04_gpt.ipynb}
# ---

# %% [markdown]
# # GPT
#
# At the end you can build a language model that writes, load GPT-2's and Llama's weights into your own code and get their
# numbers, and say in one unit, bits a byte, how much any such model knows of a text.
#
# ```{glue:figure} gpt_promise
# :name: fig-gpt-promise
# :alt: Left, a bar for each model, the bits that it needs for a byte of a dictionary: a uniform guess, counted n-grams of growing order, which need fewer and fewer, and the network. Right, three sentences that the network wrote.
#
# Left: how many bits a byte of a dictionary costs, by counting and with the network of this chapter; less is better.
# Right: what that network writes after the words in bold.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute the loss of a language model by hand, and shift its labels once
# - compare models whose tokens differ, in bits a byte, with a counted model as the baseline
# - repair a "simplified GPT-4" that does not run, and prove each repair
# - build today's block from four parts, and load five families of weights into it
# - fine-tune for classification and translation, and say what a scaling law may not be used for
#
# **Before you start:** [attention](01_attention.py) and [the Transformer with its cache](02_transformer.py), [tokens](03_text.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●●
# :::
# ::::

# %% tags=["remove-cell"]
import math
import tempfile
import time
import warnings
from textwrap import fill, shorten

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from myst_nb import glue
from torch import nn

from mmcourse.book.figures.rotary import RotaryExplorer
from mmcourse.book.plotting import BLUE, GREY, ORANGE, use_style
from mmcourse.book.source import show_source

use_style()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.filterwarnings("ignore", message="enable_nested_tensor")
torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## What comes next?
#
# Here is a line of a dictionary that no model of this chapter has read. It is cut off. Say the next word aloud before you
# look at the cell below.

# %%
from mmcourse.data.glosses import lines
from mmcourse.hub import load, load_tokenizer

shipped = load("gpt").requires_grad_(False)
tokenizer = load_tokenizer("gpt")
END = 0  # the id of the token that ends every text
test = lines("test")
line = next(line for line in test if "native to" in line)
start = line.split("native to")[0] + "native"
print(start, "...")

# %%
ids = torch.tensor([[END, *tokenizer.encode(start)]])
probs = shipped(ids)[0, -1].softmax(-1)  # (V,)
best = probs.topk(5)
for prob, number in zip(best.values.tolist(), best.indices.tolist(), strict=True):
    print(f"{tokenizer.decode([number])!r:10} {prob:.3f}")

# %% [markdown]
# A **language model** answers with a probability for every token. So did the captioner, but it had a picture to look at. This
# one has only the words so far, and must know the language itself. **How good is such an answer, in a number that is fair to
# two models that cut the text into different tokens? What does a network know that counting does not? And what, in the code,
# makes the difference between GPT-2 of 2019 and the open models of today?**
#
# ## The loss, and a fair unit
#
# An **autoregressive** model multiplies: the probability of a text is the product of the probabilities of its tokens, each
# given those before it. Training makes the mean of minus the logarithm small, the **causal language modelling loss** {cite}`radford2018`:
#
# $$
# \mathcal{L}(\theta) = -\frac{1}{T-1} \sum_{t=1}^{T-1} \log p_\theta\left(y_{t+1} \mid y_{\le t}\right)
# $$ (eq-gpt-loss)
#
# | symbol | what it is | size |
# |---|---|---|
# | $y_t$ | token number $t$ of a text | a number below $V$ |
# | $T$ | tokens of the text | a number |
# | $p_\theta(\cdot \mid y_{\le t})$ | softmax of the logits at token $t$ | $V$ numbers |
# | $\theta$ | the weights | |
#
# The logits *at* token $t$ are about token $t + 1$: labels are the ids, shifted by one place. On paper, a vocabulary of two words, $T = 3$, the
# text $y = (0, 1, 0)$, and a model that says $(0.1, 0.9)$ after the first token and $(0.3, 0.7)$ after the second:
#
# $$
# \mathcal{L} = -\tfrac12 \left(\log 0.9 + \log 0.3\right) = 0.655
# $$
#
# The logits at the last token are not used: nobody knows what comes after it.

# %% tags=["nbval-check-output"]
def loss_by_hand(probs, ids):
    """Mean of -log p of each token but the first; probs[t] are the probabilities at token t."""
    total = 0.0
    for t in range(len(ids) - 1):
        total -= math.log(probs[t][ids[t + 1]])
    return total / (len(ids) - 1)


said = [[0.1, 0.9], [0.3, 0.7], [0.5, 0.5]]
by_hand = loss_by_hand(said, [0, 1, 0])
print(f"{by_hand:.3f}")

# %%
from mmcourse.gpt import next_token_loss

# %% tags=["remove-input"]
show_source(next_token_loss)

# %% tags=["nbval-check-output"]
ours = next_token_loss(torch.tensor([said]).log(), torch.tensor([[0, 1, 0]]))
assert abs(ours.item() - by_hand) < 1e-6
print(f"{ours.item():.3f}")

# %% [markdown]
# $e^{\mathcal{L}}$ is the **perplexity**: among how many equally probable tokens the model hesitates. But a token is not the same thing in
# two models. Whoever cuts a text into single letters hesitates among few; whoever has whole words hesitates among many. So
# we divide by what both have in common, the bytes. A text of $n$ bytes costs
#
# $$
# \text{bits a byte} = -\frac{1}{n \ln 2} \sum_{t} \log p\left(y_{t+1} \mid y_{\le t}\right)
# $$ (eq-gpt-bits)
#
# bits for each. It is also what a compressor would need that knows the model: with 8 bits, nothing is gained. On paper: two tokens of
# probabilities $\frac14$ and $\frac12$ that stand for six bytes cost $(2 + 1) / 6 = 0.5$ bits a byte.

# %% tags=["nbval-check-output"]
from mmcourse.gpt import bits_per_byte

print(bits_per_byte(torch.tensor([1 / 4, 1 / 2]).log(), 6))

# %% [markdown]
# ## A "simplified GPT-4", repaired line by line
#
# One of the articles that this course corrects promises a simplified GPT-4: an embedding, one call of PyTorch's Transformer
# with the width and the number of layers, and a linear layer. First, what is known of GPT-4. Its report {cite}`openai2023` says
# that it is a Transformer that was pre-trained to predict the next token, that it reads pictures and text, and that it was tuned
# with human feedback. It says in so many words that size, architecture, hardware, data and training are not told. That it "consists of a text
# model and an image model", as the article has it, is therefore nobody's published knowledge, and numbers of parameters that go around
# are rumours. We teach models whose weights anybody can look at.
#
# Now the code. The call, with a width of 30 and 4 layers:

# %% tags=["raises-exception"]
nn.Transformer(30, 4)

# %% [markdown]
# **Repair 1: the argument.** The second argument of `nn.Transformer` is the number of *heads*. With a width that 4 divides, the same
# line runs, and builds something else than was meant:

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
wrong = nn.Transformer(32, 4)
layers = wrong.encoder.num_layers, wrong.decoder.num_layers
print(f"{wrong.nhead} heads; {layers[0]} encoder and {layers[1]} decoder layers")

# %% tags=["raises-exception"]
wrong(torch.randn(1, 9, 32))

# %% [markdown]
# **Repair 2: which half.** It is an encoder *and* a decoder, and wants two texts. A GPT has one text and no cross-attention, so the
# half that we need is a stack of self-attention: in PyTorch's names an encoder, to which we say `batch_first=True`, or it
# takes the batch for the time.
#
# **Repair 3: the future.** Without a causal mask each token sees the next one, which it shall predict. Nothing crashes. We train on
# *random* tokens, of which nobody can predict the next: no honest model has a loss below $\log V$.

# %%
V, T, D = 20, 16, 32


class Repaired(nn.Module):
    """The article's network after repairs 1 and 2; causal and positions are repairs 3 and 4."""

    def __init__(self, causal, positions):
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.positions = nn.Parameter(0.5 * torch.randn(T, D)) if positions else 0
        layer = nn.TransformerEncoderLayer(D, 4, 64, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(D, V)
        self.causal = causal

    def forward(self, ids):
        mask = nn.Transformer.generate_square_subsequent_mask(T) if self.causal else None
        return self.head(self.layers(self.embedding(ids) + self.positions, mask))


# %%
def teach(model, make_ids, steps=200, loss=next_token_loss, seed=0):
    """Train on fresh batches; the mean loss of the last 20 steps."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    dice = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        ids = make_ids(dice)  # (B, T)
        value = loss(model(ids), ids)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return np.mean(losses[-20:])


# %%
def noise(dice):
    return torch.randint(V, (16, T), generator=dice)


found = {}
for causal in (False, True):
    torch.manual_seed(0)
    found[causal] = teach(Repaired(causal, positions=True), noise)
print(f"log V = {math.log(V):.2f}; without the mask {found[False]:.2f}, with it {found[True]:.2f}")

# %% tags=["remove-cell"]
glue("gpt_leak", float(found[False]), display=False)
glue("gpt_honest", float(found[True]), display=False)
glue("gpt_log_v", math.log(V), display=False)

# %% [markdown]
# Without the mask the loss of noise falls to {glue:text}`gpt_leak:.2f`: the network reads the answer off the next place. With it,
# it stays at {glue:text}`gpt_honest:.2f`, where $\log V$ is {glue:text}`gpt_log_v:.2f`. A loss that is too good is a bug until it is explained.
#
# **Repair 4: positions.** The article has none. A causal mask gives some of the order away ([chapter 2](02_transformer.py)). We make
# texts in which every second token follows from the one before it *and from its place*: at places 1, 5, 9, ... it is the same token, at
# places 3, 7, 11, ... the next number. All other tokens are noise.

# %%
def by_place(dice):
    ids = torch.randint(V, (16, T), generator=dice)
    ids[:, 1::4] = ids[:, 0::4]
    ids[:, 3::4] = (ids[:, 2::4] + 1) % V
    return ids


placed = {}
for positions in (False, True):
    runs = []
    for seed in range(3):
        torch.manual_seed(seed)
        runs.append(teach(Repaired(True, positions), by_place, 300, seed=seed))
    placed[positions] = np.mean(runs)
    print(f"positions {positions!s:5}: loss {np.mean(runs):.2f}, seeds {min(runs):.2f} to {max(runs):.2f}")

# %% tags=["remove-cell"]
glue("gpt_without_places", float(placed[False]), display=False)
glue("gpt_with_places", float(placed[True]), display=False)

# %% [markdown]
# With positions the loss is {glue:text}`gpt_with_places:.2f` nats, without {glue:text}`gpt_without_places:.2f`, after as many steps. (A longer run would narrow it, since the mask alone lets
# a network count.)
#
# **Repair 5: the labels.** Another article trains by `fit(input_ids, input_ids)`, on one sentence. The label of a token is then the token itself, which the network can see:

# %%
def unshifted(logits, ids):
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten())


torch.manual_seed(0)
copier = Repaired(causal=True, positions=True)
copied = teach(copier, noise, loss=unshifted)
fresh = noise(torch.Generator().manual_seed(9))
echo = (copier(fresh).argmax(-1) == fresh).float().mean()
print(f"loss {copied:.3f}; after a token it writes the same token again: {echo:.0%}")

# %% [markdown]
# The loss of *noise* goes to zero, and the model has learnt to repeat what it is shown. That article then calls `tokenizer.decode`
# on a whole batch, which is a list of lists (`batch_decode` is for that), and shows five fluent sentences that this code cannot have
# written: one sentence, trained three times, teaches nothing. It also says that GPT is pre-trained by
# hiding tokens, too; that is BERT ([chapter 3](03_text.py)). Now the same network as it should be.

# %%
from mmcourse.gpt import GPT, GPTLayer, LanguageModel

# %% tags=["remove-input"]
show_source(GPTLayer)

# %% [markdown]
# This is GPT-2's block {cite}`radford2019`: pre-norm, as in chapter 2, with the attention of chapter 1. Around it stand two tables, for tokens and for
# positions, and a last norm. The **tied** output layer is the token table again {cite}`press2017`. Padding and cache are handled once, for all our language models:

# %% tags=["remove-input"]
show_source(LanguageModel.read)

# %% [markdown]
# ## Against the reference, with real weights' layout
#
# `from_transformers` reads a folder as `transformers` writes it, or a hub id, and names what does not fit: another family, a
# missing tensor, a setting that we do not have. Here we make small models with random weights, one of each family, save them and
# load them into ours. `Llama` is the second half of this chapter.

# %%
from mmcourse.gpt import Llama

small = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
         "intermediate_size": 40, "max_position_embeddings": 90, "vocab_size": 37}
makers = {"GPT2LMHeadModel": {"n_embd": 24, "n_layer": 3, "n_head": 6, "n_positions": 90, "vocab_size": 37},
          "LlamaForCausalLM": small, "MistralForCausalLM": small | {"sliding_window": 11},
          "Qwen2ForCausalLM": small, "Qwen3ForCausalLM": small | {"head_dim": 6}}


def their_model(name):
    """A model of transformers whose numbers are all random."""
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    config = kind.config_class(**makers[name], bos_token_id=0, eos_token_id=None)
    model = kind(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.25)
    return model


# %%
def compare(name):
    """Largest differences: plain, padded left, with a cache; and whether 50 tokens are equal."""
    theirs = their_model(name)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = (GPT if "GPT2" in name else Llama).from_transformers(folder)
    ids = torch.randint(1, 37, (3, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(20) >= torch.tensor([[0], [7], [13]])  # padding on the left
    places = (mask.cumsum(1) - 1).clamp(min=0)
    wanted = theirs(ids, attention_mask=mask.long(), position_ids=places).logits
    cache = {}
    pieces = torch.cat([ours(part, cache=cache) for part in ids.split((9, 1, 10), 1)], 1)
    gaps = [(ours(ids) - theirs(ids).logits).abs().max(), (ours(ids, mask) - wanted)[mask].abs().max(),
            (pieces - theirs(ids).logits).abs().max()]
    written = theirs.generate(ids[:1, :5], do_sample=False, max_new_tokens=50, pad_token_id=0,
                              attention_mask=torch.ones(1, 5))[0, 5:].tolist()
    unused = min(set(range(37)) - set(written))
    found = ours.generate([ids[0, :5].tolist()], end=unused, max_length=50).tokens[0]
    return [gap.item() for gap in gaps], found == written


# %%
worst = 0.0
for name in makers:
    gaps, equal = compare(name)
    worst = max(worst, *gaps)
    plain, padded, cached = gaps
    print(f"{name:19} plain {plain:.0e}  padded {padded:.0e}  cache {cached:.0e}  50 tokens equal: {equal}")
    assert max(gaps) < 1e-4 and equal

# %% tags=["remove-cell"]
glue("gpt_parity", float(worst), display=False)

# %% [markdown]
# No logit differs by more than {glue:text}`gpt_parity:.0e`. The tests have three odd configurations of each, and both sides of padding. With a network, `GPT.from_transformers("openai-community/gpt2")` or
# `Llama.from_transformers("Qwen/Qwen3-0.6B")` does the same with weights that cost more than this book.
#
# ## Pre-training, against counting
#
# `shipped` has the same class. This is how it was made: `python -m mmcourse.recipes.gpt`, run once and whole on one core, read the dictionary's
# training lines and 40,000 captions of scenes, half English, half Mandarin, never both of one scene.

# %%
from mmcourse.recipes import gpt as recipe
from mmcourse.recipes.gpt_studies import parameters

sizes = {"parameters": parameters(shipped), "vocabulary": len(tokenizer), "context": shipped.context}
print(sizes, recipe.TRAINING["gpt"])

# %% [markdown]
# Is that good? The baseline is older than neural networks. An **n-gram model** counts which token came after the last $n - 1$ tokens. Most
# longer histories were never seen, so it has to pass some probability on to shorter ones. {cite:t}`kneser1995` do it with a trick. This is the interpolated form that {cite:t}`chen1999` compare with many others; a refinement of theirs, three discounts for one, we leave out:
#
# $$
# p(w \mid h) = \frac{\max\left(c(hw) - d,\, 0\right)}{c(h)} + \frac{d\, N(h)}{c(h)}\, p(w \mid h')
# $$ (eq-gpt-ngram)
#
# where $w$ is a token, $h$ the history of $n - 1$ tokens, $h'$ the same without its first token, $c$ a count, $N(h)$ the number of different tokens seen after
# $h$, and $d$ a discount between 0 and 1, $n_1 / (n_1 + 2 n_2)$ with $n_k$ the number of n-grams that were counted $k$ times. Below the highest order, $c$ does not count
# how often $w$ came, but after how many *different* tokens: "Francisco" is frequent, but only after "San", so elsewhere it should be improbable.
#
# By hand: after $h$ we saw $a$ three times and $b$ once, so $c(h) = 4$, $N(h) = 2$. With $d = \frac12$ and $p(b \mid h') = \frac14$,
# $p(b \mid h) = \frac{1/2}{4} + \frac{1/2 \cdot 2}{4} \cdot \frac14 = \frac{3}{16}$.

# %%
from mmcourse.gpt import NgramModel, row_log_probs

# %% tags=["remove-input"]
show_source(NgramModel.probability)

# %% tags=["nbval-check-output"]
toy = NgramModel([0, 1, 0, 1, 0, 2, 3, 2, 0, 1], 2, 4)
total = sum(toy.probability((0,), token) for token in range(4))
print([round(toy.probability((0,), token), 3) for token in range(4)], f"sum {total:.3f}")

# %% [markdown]
# Both read the same lines, in the same tokens, and are asked about the same 400 lines of the test split.

# %%
rows = recipe.rows_of(tokenizer, recipe.some(test, 400), shipped.context)
asked = [tokenizer.decode(row[1:-1]) for row in rows]
byte_counts = np.array([len(text.encode()) + 1 for text in asked])  # and one for the end
read_ids = [END]
for text in lines("train"):
    read_ids += [*tokenizer.encode(text), END]

costs = {"GPT": -np.array(row_log_probs(shipped, rows))}  # nats of each line
for order in (1, 2, 3, 5):
    counted = NgramModel(read_ids, order, len(tokenizer))
    costs[f"{order}-gram"] = -np.array([sum(counted.log_probs(row)[1:]) for row in rows])

# %%
from mmcourse.evaluation import bootstrap


def bits(costs, sizes):
    return costs.sum() / sizes.sum() / math.log(2)


tokens_asked = sum(len(row) - 1 for row in rows)
scores = {name: bits(cost, byte_counts) for name, cost in costs.items()}
for name in ("1-gram", "2-gram", "3-gram", "5-gram", "GPT"):
    low, high = bootstrap(bits, costs[name], byte_counts)[1:3]
    perplexity = math.exp(costs[name].sum() / tokens_asked)
    print(f"{name:7} {scores[name]:.3f} bits a byte ({low:.3f} to {high:.3f}), perplexity {perplexity:6.1f}")
counters = [name for name in scores if name != "GPT"]
strongest = min(counters, key=scores.get)
lead = bootstrap(lambda a, b, n: bits(a - b, n), costs[strongest], costs["GPT"], byte_counts)
print(f"{strongest} less GPT: {lead.value:.3f} ({lead.low:.3f} to {lead.high:.3f})")

# %% tags=["remove-cell"]
glue("gpt_bits", float(scores["GPT"]), display=False)
glue("gpt_bits_ngram", float(scores[strongest]), display=False)
glue("gpt_strongest", strongest, display=False)
counting_wins = scores[strongest] < scores["GPT"]
glue("gpt_verdict_counting", "counting wins" if counting_wins else "the network wins", display=False)
glue("gpt_lead", float(lead.value), display=False)
glue("gpt_lead_low", float(lead.low), display=False)
glue("gpt_lead_high", float(lead.high), display=False)

# %% [markdown]
# The best counter, the {glue:text}`gpt_strongest`, needs {glue:text}`gpt_bits_ngram:.2f` bits a byte, the network {glue:text}`gpt_bits:.2f`: {glue:text}`gpt_verdict_counting`. (Counter less network: {glue:text}`gpt_lead:.2f`, {glue:text}`gpt_lead_low:.2f` to {glue:text}`gpt_lead_high:.2f`, lines redrawn; one network,
# one seed, so this interval is about *these lines* and not about another training run.) Our network read for minutes of one core, and captions for more than half of that time; a dictionary, with its "any of several" and "a genus of", is what
# counters are best at. Any table that shows a small network beating a 1-gram should be asked for the 5-gram. But do the two know the *same*? If they do, mixing their probabilities gains nothing. The share of the mixture is chosen on validation lines:

# %%
from mmcourse.gpt import token_log_probs


def both(texts):
    """The probability of each token, by the network and by the counter: (tokens, 2)."""
    found = []
    for row in recipe.rows_of(tokenizer, texts, shipped.context):
        ids = torch.tensor([row])
        network = token_log_probs(shipped(ids), ids)[0].exp()
        counter = torch.tensor(counted.log_probs(row)[1:]).exp()
        found.append(torch.stack([network, counter], 1))
    return torch.cat(found).double()


def mixed_cost(probs, share):
    return -(share * probs[:, 0] + (1 - share) * probs[:, 1]).log().sum().item()


validation = both(recipe.some(lines("val"), 100))
share = min(np.linspace(0, 1, 21), key=lambda share: mixed_cost(validation, share))
mixed = mixed_cost(both(asked), share) / byte_counts.sum() / math.log(2)
print(f"{share:.0%} network, {1 - share:.0%} 5-gram: {mixed:.3f} bits a byte")

# %% tags=["remove-cell"]
glue("gpt_mixed", float(mixed), display=False)
glue("gpt_mixed_share", float(share), display=False)
glue("gpt_mixed_gain", float(min(scores.values()) - mixed), display=False)

# %% [markdown]
# With {glue:text}`gpt_mixed_share:.0%` of the network the mixture needs {glue:text}`gpt_mixed:.2f`, which is {glue:text}`gpt_mixed_gain:.3f` less than the better of the two alone. So the network knows something of these lines that counting does not, and the other way round.
#
# Now the unit. The same kind of counter on tokens of 512 instead of 2,048 kinds:

# %%
from mmcourse.recipes.gpt_studies import small_corpus

fine, fine_ids = small_corpus()
counted = NgramModel(fine_ids.tolist(), 3, len(fine))
fine_rows = [[END, *fine.encode(text), END] for text in asked]
cost = -sum(sum(counted.log_probs(row)[1:]) for row in fine_rows)
fine_bits = bits_per_byte([-cost], sum(len(text.encode()) + 1 for text in asked))
perplexity = math.exp(cost / sum(len(row) - 1 for row in fine_rows))
print(f"3-gram, 512 ids: {fine_bits:.3f} bits a byte, perplexity {perplexity:.1f}")

# %% tags=["remove-cell"]
glue("gpt_fine_perplexity", float(perplexity), display=False)
glue("gpt_coarse_perplexity", float(math.exp(costs["3-gram"].sum() / tokens_asked)), display=False)
glue("gpt_fine_bits", float(fine_bits), display=False)
glue("gpt_coarse_bits", float(scores["3-gram"]), display=False)

# %% [markdown]
# Its perplexity is {glue:text}`gpt_fine_perplexity:.0f`, that of the other 3-gram {glue:text}`gpt_coarse_perplexity:.0f`; by that number it would win. In bits a byte it is
# {glue:text}`gpt_fine_bits:.2f` against {glue:text}`gpt_coarse_bits:.2f`: it loses, because three short tokens are a short history. Never compare perplexities of two tokenizers.
#
# ## It writes
#
# `LanguageModel.step` is what the decoders of [chapter 15](15_decoding.py) call, so all of them work. Prompts of different lengths are padded on the *left*, so that each
# row's last token is a real one.

# %%
from mmcourse import decoding

prompts = ["tulip: ", "sledge: a vehicle", "two red cars", "草地上"]
prompt_ids = [[END, *tokenizer.encode(prompt.rstrip())] for prompt in prompts]
greedily = shipped.generate(prompt_ids, end=END, max_length=40)
dice = torch.Generator().manual_seed(0)
drawn = shipped.generate(prompt_ids, end=END, max_length=40, decode=decoding.sample,
                         top_p=0.8, generator=dice)
written = {}
for number, prompt in enumerate(prompts):
    written[prompt] = tokenizer.decode(greedily.tokens[number])
    print(f"{prompt.rstrip()} |{written[prompt]}")
    print(f"{prompt.rstrip()} |{tokenizer.decode(drawn.tokens[number])}\n")

# %% [markdown]
# The captions are nearly always whole sentences, in either language; a definition has the form of one, and what it says about the *world* is mostly invented, sometimes with invented words. A model of this size and this little reading has
# learnt how a dictionary sounds. Treat no sentence of it as knowledge.
#
# ## Today's block
#
# Llama, Mistral, Qwen and many other open models since 2023 share a block that differs from GPT-2's in four parts {cite}`touvron2023`. Each is ten lines.
#
# ### RMSNorm: no mean, no shift
#
# $$
# \operatorname{rms}(x) = \gamma \odot \frac{x}{\sqrt{\frac1D \sum_{j=1}^{D} x_j^2 + \varepsilon}}
# $$ (eq-gpt-rms)
#
# $x$ and $\gamma$ have $D$ numbers; $\varepsilon$ is $10^{-6}$ or so. {cite:t}`zhang2019rms` leave out the mean and the shift of a layer norm. On paper: $x = (1, 1, 3, 3)$ has mean square 5, so its
# norm is $x / \sqrt 5$; a layer norm gives $(-1, -1, 1, 1)$.

# %%
from mmcourse.gpt import GroupedQueryAttention, RMSNorm, SwiGLU, rotary_angles, rotary_frequencies, rotate

# %% tags=["remove-input"]
show_source(RMSNorm)

# %% tags=["nbval-check-output"]
x = torch.tensor([1.0, 1.0, 3.0, 3.0])
by_hand = x / math.sqrt((1 + 1 + 9 + 9) / 4)
assert torch.allclose(RMSNorm(4)(x), by_hand, atol=1e-5)
some = torch.randn(3, 5, 24)
assert torch.allclose(RMSNorm(24, 1e-5)(some), nn.RMSNorm(24, 1e-5)(some), atol=1e-6)
print(by_hand)

# %% [markdown]
# ### Rotary positions: turn, do not add
#
# GPT-2 adds a vector of the place to the token. {cite:t}`su2024` turn queries and keys instead. The $d_k$ numbers of a head are $d_k / 2$ pairs; at position $m$, pair $i$ is turned by the angle $m\,\omega_i$:
#
# $$
# R_m \begin{pmatrix} x \\ y \end{pmatrix} =
# \begin{pmatrix} x \cos m\omega_i - y \sin m\omega_i \\ y \cos m\omega_i + x \sin m\omega_i \end{pmatrix},
# \qquad \omega_i = \theta^{-2i / d_k}
# $$ (eq-gpt-rotary)
#
# Here $\theta$ is a base, 10,000 in the paper and up to a million in models for long texts; elsewhere in the book $\theta$ means all weights. Turning both by the same angle changes no dot product, so
#
# $$
# (R_m\, q) \cdot (R_n\, k) = (R_{m - n}\, q) \cdot k
# $$ (eq-gpt-distance)
#
# depends on the distance $m - n$ alone. By hand: $q = k = (1, 0)$ and $\omega = \pi / 2$. At $m = 1$, $n = 0$ the query is $(0, 1)$ and the product 0; at $m = 2$ it is $-1$; at $m = 7$, $n = 5$ it is $-1$ again.

# %% tags=["remove-input"]
show_source(rotate)

# %% tags=["nbval-check-output"]
turn = torch.tensor([math.pi / 2])
pair = torch.tensor([[[[1.0, 0.0]]]])  # (B, H, T, d_k)
for m, n in ((1, 0), (2, 0), (7, 5)):
    q = rotate(pair, *rotary_angles(torch.tensor([[m]]), turn))
    k = rotate(pair, *rotary_angles(torch.tensor([[n]]), turn))
    print(m, n, round((q * k).sum().item(), 3) + 0.0)

# %% [markdown]
# {numref}`fig-gpt-rotary` has three pairs, of which the first is the fastest. Press *Both one on*: the arrows turn and the product stays. Then move one slider alone.

# %% tags=["remove-input"] mystnb={"figure": {"caption": "A query and a key of three pairs. Each pair turns by its own angle a position; below, their product for every distance.", "name": "fig-gpt-rotary"}, "image": {"alt": "Three circles, in each an arrow for the query and one for the key, turned by their positions; below, a curve of the dot product over the distance, which swings and is highest near zero."}}
RotaryExplorer([1.0, 0.9, 0.8, 0.2, 0.3, 0.4], [0.9, 1.0, 0.7, 0.3, 0.1, 0.5],
               rotary_frequencies(6, 1000.0).tolist())

# %% [markdown]
# There is no table of positions that could be too short. That does not mean that a model *works* beyond the lengths that it was trained on; it mostly does not without the scalings that *What came after* names.
#
# ### SwiGLU: a gate
#
# $$
# \operatorname{swiglu}(x) = \left(\operatorname{silu}(x W_1) \odot x W_3\right) W_2, \qquad \operatorname{silu}(z) = \frac{z}{1 + e^{-z}}
# $$ (eq-gpt-swiglu)
#
# $W_1$ and $W_3$ are $D \times F$, $W_2$ is $F \times D$; $F$ is the hidden width. One product opens and closes the other, number by number {cite}`shazeer2020`. Three matrices instead of two: with $F = \frac83 D$ it has as many parameters as the
# plain one with $4D$. By hand, with all widths 1, $W_1 = 1$, $W_3 = 2$, $W_2 = 3$ and $x = 2$: $\operatorname{silu}(2) = 1.762$, the gate times $4$ is $7.05$, the output $21.14$.

# %% tags=["nbval-check-output"]
gate = SwiGLU(1, 1)
for layer, weight in ((gate.gate, 1.0), (gate.up, 2.0), (gate.down, 3.0)):
    nn.init.constant_(layer.weight, weight)
print(round(gate(torch.tensor([2.0])).item(), 2))

# %% [markdown]
# ### Grouped queries: fewer keys and values
#
# When a model writes, the cache is what grows. With $L$ layers and $S$ tokens so far, each of $B$ rows keeps keys and values of $G$ heads:
#
# $$
# \text{bytes} = 2\, B\, L\, S\, G\, d_k \cdot b
# $$ (eq-gpt-cache)
#
# where $b$ is the bytes of a number. In GPT-2, $G = H$. With **grouped queries** {cite}`ainslie2023` each of $G < H$ key and value heads is read by $H / G$ query heads, and the cache is $H / G$ times smaller. By hand: $B = 1$, $L = 4$, $S = 100$, $G = 4$, $d_k = 32$
# in 4 bytes is $2 \cdot 4 \cdot 100 \cdot 4 \cdot 32 \cdot 4 = 409{,}600$ bytes, which is our shipped model after 100 tokens.

# %% tags=["nbval-check-output"]
from mmcourse.gpt import cache_bytes

grouped = Llama(2048, 128, 4, 8, 2, 352, 128)  # 2 of 8 heads keep keys and values
for name, model, kv, width in (("GPT", shipped, 4, 32), ("Llama", grouped, 2, 16)):
    cache = {}
    with torch.no_grad():
        model(torch.ones(1, 100, dtype=torch.long), cache=cache)
    formula = 2 * 1 * 4 * 100 * kv * width * 4
    assert cache_bytes(cache) == formula
    print(f"{name:5} measured {cache_bytes(cache):,} bytes, by formula {formula:,}")

# %% tags=["remove-input"]
show_source(GroupedQueryAttention.forward)

# %% [markdown]
# Qwen2 adds biases to query, key and value; Qwen3 takes them away again and puts an RMSNorm on each query and key; Mistral lets a token see only the last few thousand (`window`). The parity table above had them all.
#
# ### Which block is better?
#
# At this size, on this dictionary, we can measure it: three layers, width 96, as many parameters, *as much time* (the number of steps of each follows from its seconds a step), each arm with the best of three learning rates by the validation lines, three seeds. The whole table
# takes longer than a page may, so it is stored with the command that made it; below we do a small part of it again. The number at the end of a command is the share of the study's own steps that was taken: **where it is below 1, the runs are short, and the
# table says what holds for short runs.**

# %%
from mmcourse.recipes import gpt_studies

study = gpt_studies.read("blocks")
print(study["command"], f"({study['seconds']} s)")
table = {row["arm"]: row for row in study["rows"]}
for name, row in table.items():
    values = row["bits"]
    spread = 4.30 * np.std(values, ddof=1) / math.sqrt(3)  # 95 % of Student's t with 2 degrees
    print(f"{name:17} {row['parameters']:,} numbers, {row['steps']} steps, rate {row['rate']}: "
          f"{np.mean(values):.3f} ± {spread:.3f} bits a byte")

# %%
live = {}
for name in ("GPT-2", "today"):
    model = gpt_studies.pretrain(gpt_studies.ARMS[name], 60, table[name]["rate"], seed=5)
    live[name] = gpt_studies.gloss_bits(model, fine, "test", 100)
    print(f"{name:6} after 60 steps: {live[name]:.3f} bits a byte on 100 lines")

# %% tags=["remove-cell"]
def difference(first, second):
    """Mean difference of two arms over seeds, and half its 95 % interval."""
    gaps = np.subtract(first, second)
    return float(gaps.mean()), float(4.30 * gaps.std(ddof=1) / math.sqrt(len(gaps)))


gain, gain_spread = difference(table["GPT-2"]["bits"], table["today"]["bits"])
groups, groups_spread = difference(table["today"]["bits"], table["today, all heads"]["bits"])
glue("gpt_gain", gain, display=False)
glue("gpt_gain_spread", gain_spread, display=False)
glue("gpt_groups", groups, display=False)
glue("gpt_groups_spread", groups_spread, display=False)
told = all(np.ptp(list(row["rates"].values())) > np.std(row["bits"], ddof=1) for row in table.values())
if not told:
    verdict = ("nothing about blocks follows: the short runs that chose the learning rates differ less than seeds "
               "do, so the arms are not fairly tuned")
elif abs(gain) <= gain_spread:
    verdict = "the two cannot be told apart here"
else:
    verdict = "today's block is better here" if gain > 0 else "GPT-2's block is better here"
glue("gpt_verdict", verdict, display=False)

# %% [markdown]
# GPT-2's block less today's: {glue:text}`gpt_gain:.3f` ± {glue:text}`gpt_gain_spread:.3f` bits a byte over three seeds; {glue:text}`gpt_verdict`. Which of the four parts does it, this table does not say, but for one: giving every head its own keys and values, with a narrower SwiGLU
# in exchange, changes {glue:text}`gpt_groups:.3f` ± {glue:text}`gpt_groups_spread:.3f`. At this size that is no reason for or against grouped queries; the cache is.
#
# ## Fine-tuning
#
# A pre-trained model is trained further on prompts with their answers. Everything is text: a task is a way of writing. Our prompts end with " =", and only the answer counts in the loss.

# %%
from mmcourse.gpt import as_answer, as_prompt, collate

prompt = as_prompt(tokenizer, "a small red car on a beach", END)
answer = as_answer(tokenizer, "沙滩上有一辆红色小汽车。", END)
ids, mask, counts = collate([(prompt, answer)])
print([tokenizer.decode([number]) for number in ids[0].tolist()])
print(counts.int()[0].tolist())

# %% [markdown]
# **Classification by prompt.** `a flower with petals = plant`: the answer is the most probable of eight names of kinds. The network starts once from the shipped weights, once from nothing; both with 200 and 1,000 labels, the best of three rates each, three seeds, 200 test glosses.

# %%
study = gpt_studies.read("classification")
print(study["command"], f"({study['seconds']} s)")
kinds = [gloss.kind for gloss in gpt_studies.glosses("test")]
most = max(map(kinds.count, set(kinds))) / len(kinds)
print(f"always the most frequent kind: {most:.2f}; asked without training: {study['rows'][0]['right']:.2f}")
answers = {}
for start in ("pre-trained", "from nothing"):
    for labels in (200, 1000):
        values = [row["right"] for row in study["rows"] if (row["start"], row["labels"]) == (start, labels)]
        answers[start, labels] = np.mean(values)
        spread = 4.30 * np.std(values, ddof=1) / math.sqrt(3)
        print(f"{start:12} {labels:5} labels: {np.mean(values):.2f} ± {spread:.2f} right")

# %% tags=["remove-cell"]
glue("gpt_kinds_most", float(most), display=False)
glue("gpt_kinds_unasked", float(study["rows"][0]["right"]), display=False)
glue("gpt_kinds_pre", float(answers["pre-trained", 1000]), display=False)
glue("gpt_kinds_nothing", float(answers["from nothing", 1000]), display=False)

# %% [markdown]
# With 1,000 labels it is {glue:text}`gpt_kinds_pre:.2f` from the shipped weights and {glue:text}`gpt_kinds_nothing:.2f` from nothing, where the most frequent kind alone gives {glue:text}`gpt_kinds_most:.2f`. Asked without any training the model is at {glue:text}`gpt_kinds_unasked:.2f`: it has never seen a line of this form. Answers
# to prompts that nobody trained come with models a thousand times larger {cite}`brown2020`.
#
# **Translation.** From an English caption to the Mandarin one, 2,000 pairs, then scenes with a pair of nouns or a colour on a noun that neither pre-training nor fine-tuning ever showed (rows *composition*). BLEU-4 is that of chapter 13 on single characters. A Mandarin noun asks for its **measure word**, 一只猫 but 一辆车; we count it where the right noun is named.

# %%
study = gpt_studies.read("translation")
print(study["command"], f"({study['seconds']} s)")
translated = {}
for start in ("pre-trained", "from nothing"):
    for split in ("val", "composition"):
        runs = [row for row in study["rows"] if (row["start"], row["split"]) == (start, split)]
        exact = [row["exact"] for row in runs]
        spread = 4.30 * np.std(exact, ddof=1) / math.sqrt(3)
        keys = ("named", "measure words right", "groups")
        named, right, groups = (sum(row[key] for row in runs) for key in keys)
        score = np.mean([row["BLEU-4"] for row in runs])
        translated[start, split] = np.mean(exact), score
        print(f"{start:12} {split:11} exact {np.mean(exact):.2f} ± {spread:.2f}, BLEU-4 {score:.2f}, "
              f"{named} of {groups} nouns, {right} with their measure word")

# %%
for start in ("pre-trained", "from nothing"):
    runs = [row for row in study["rows"] if (row["start"], row["split"]) == (start, "composition")]
    for kind in ("pair", "binding"):
        marks = [[each[1] for each in row["each"] if each[0] == kind] for row in runs]
        print(f"{start:12} new {kind:8} exact {np.mean(marks):.2f} of {len(marks[0])} scenes")

# %% tags=["remove-cell"]
def total(start, key):
    """Sum of a count over all runs from a starting point."""
    return sum(row[key] for row in study["rows"] if row["start"] == start)


for start, key in (("pre-trained", "pre"), ("from nothing", "nothing")):
    glue(f"gpt_exact_{key}", float(translated[start, "composition"][0]), display=False)
    glue(f"gpt_bleu_{key}", float(translated[start, "composition"][1]), display=False)
    glue(f"gpt_named_{key}", int(total(start, "named")), display=False)
    glue(f"gpt_measures_{key}", int(total(start, "measure words right")), display=False)
glue("gpt_groups_asked", int(total("pre-trained", "groups")), display=False)
glue("gpt_translation_steps", int(study["steps"]), display=False)
new_rows = [row for row in study["rows"] if row["split"] == "composition"]
bleus = {start: [row["BLEU-4"] for row in new_rows if row["start"] == start]
         for start in ("pre-trained", "from nothing")}
ahead, ahead_spread = difference(bleus["pre-trained"], bleus["from nothing"])
glue("gpt_ahead", ahead, display=False)
glue("gpt_ahead_spread", ahead_spread, display=False)

# %% [markdown]
# After {glue:text}`gpt_translation_steps:d` steps, on new compositions: from the shipped weights {glue:text}`gpt_exact_pre:.0%` of the sentences are exactly right, from nothing {glue:text}`gpt_exact_nothing:.0%`; BLEU-4 is {glue:text}`gpt_bleu_pre:.2f` and {glue:text}`gpt_bleu_nothing:.2f`, a difference of {glue:text}`gpt_ahead:.2f` ± {glue:text}`gpt_ahead_spread:.2f` over three seeds. Of {glue:text}`gpt_groups_asked:d` nouns
# in all runs, the right one is named {glue:text}`gpt_named_pre:d` times ({glue:text}`gpt_measures_pre:d` of them with their measure word), and {glue:text}`gpt_named_nothing:d` times from nothing ({glue:text}`gpt_measures_nothing:d`). BLEU counts "on the grass there is" as much as the cat; the nouns do not, so look at both.
# This is a small grammar; it says how a language model is made to translate, and little about translation. Here is a small part of it again, 40 steps from the shipped weights:

# %%
pairs, _ = gpt_studies.translation_pairs("train", 1000, first=40_000)
begun = gpt_studies.starting_points()["pre-trained"](0)
tuned = gpt_studies.fit(begun, gpt_studies.pairs_batch(pairs, 0), 40, 2e-3)
new, _ = gpt_studies.translation_pairs("composition", 4)
for number, text in enumerate(gpt_studies.translate(tuned, [prompt for prompt, _ in new])):
    print(recipe.english("composition", number))
    print("  wrote ", text)
    print("  wanted", recipe.mandarin("composition", number))

# %% [markdown]
# ## Scaling: a line on paper, and its edges
#
# How much better does a larger model get, or one that reads more? {cite:t}`kaplan2020` found straight lines on logarithmic paper, {cite:t}`hoffmann2022` fit the sum
#
# $$
# \mathcal{L}(N, n) = E + \frac{A}{N^{\alpha}} + \frac{B}{n^{\beta}}
# $$ (eq-gpt-scaling)
#
# of what cannot be predicted, what a small model lacks, and what few data leave open: $N$ parameters (here without the tables), $n$ training tokens, and five numbers to be fitted. We trained four sizes on the most tokens, and the largest size on four numbers of tokens, three seeds each, the learning rate chosen for each size.

# %%
study = gpt_studies.read("scaling")
print(study["command"], f"({study['seconds']} s)")
largest = max(row["parameters"] for row in study["rows"])
most = max(row["tokens"] for row in study["rows"])
by_size, by_tokens = {}, {}
for row in study["rows"]:
    if row["tokens"] == most:
        by_size.setdefault(row["parameters"], []).append(row["bits"])
    if row["parameters"] == largest:
        by_tokens.setdefault(row["tokens"], []).append(row["bits"])
for name, found in (("parameters", by_size), ("tokens", by_tokens)):
    for amount, values in found.items():
        print(f"{amount:8,} {name:10} {np.mean(values):.3f} bits a byte, "
              f"seeds {min(values):.3f} to {max(values):.3f}")

# %%
def power(amounts, values):
    """The exponent a of y = c x^-a, by least squares of the logarithms."""
    return -np.polyfit(np.log(list(amounts)), np.log(values), 1)[0]


assert abs(power([1, 4, 16], [8.0, 4.0, 2.0]) - 0.5) < 1e-12  # 8 / sqrt(x)

dice = np.random.default_rng(0)
fitted = {}
for name, found in (("parameters", by_size), ("tokens", by_tokens)):
    exponent = power(found, [np.mean(values) for values in found.values()])
    redrawn = [
        power(found, [dice.choice(values, 3).mean() for values in found.values()]) for _ in range(2000)
    ]
    low, high = np.quantile(redrawn, (0.025, 0.975))
    fitted[name] = exponent, low, high
    print(f"bits fall as {name} to the power of -{exponent:.3f} ({low:.3f} to {high:.3f}, seeds redrawn)")

# %% tags=["remove-cell"]
amounts = list(by_size)
heights = [np.mean(values) for values in by_size.values()]
slope, height = np.polyfit(np.log(amounts[:3]), np.log(heights[:3]), 1)
glue("gpt_alpha", float(fitted["parameters"][0]), display=False)
glue("gpt_beta", float(fitted["tokens"][0]), display=False)
glue("gpt_alpha_first", float(power(amounts[:2], heights[:2])), display=False)
glue("gpt_alpha_last", float(power(amounts[2:], heights[2:])), display=False)
glue("gpt_foretold", float(np.exp(height + slope * np.log(amounts[3]))), display=False)
glue("gpt_real", float(heights[3]), display=False)
glue("gpt_seed_spread", float(np.ptp(by_size[amounts[3]])), display=False)
for name, key in (("parameters", "size"), ("tokens", "tokens")):
    falls = (
        "the bits fall"
        if fitted[name][1] > 0
        else "no fall can be told from the seeds: the runs are too short for a law"
    )
    glue(f"gpt_falls_{key}", falls, display=False)
glue("gpt_fold_size", float(amounts[3] / amounts[0]), display=False)
glue("gpt_fold_tokens", float(max(by_tokens) / min(by_tokens)), display=False)

# %% mystnb={"figure": {"caption": "Bits a byte over the number of parameters (left) and of training tokens (right), all axes logarithmic. Each dot is a seed; the line is the power law through the means.", "name": "fig-gpt-scaling"}, "image": {"alt": "Two panels with four groups of three dots each and a straight falling line through each."}} tags=["hide-input"]
figure, panels = plt.subplots(1, 2, figsize=(6.8, 2.8), sharey=True)
laws = (("parameters", by_size), ("tokens", by_tokens))
for panel, (name, found), colour in zip(panels, laws, (BLUE, ORANGE), strict=True):
    x = np.array(list(found))
    slope, height = np.polyfit(np.log(x), np.log([np.mean(values) for values in found.values()]), 1)
    panel.plot(x, np.exp(height + slope * np.log(x)), color=GREY, linewidth=1)
    for amount, values in found.items():
        panel.plot([amount] * len(values), values, ".", color=colour)
    panel.set(xscale="log", yscale="log", xlabel=name)
    panel.yaxis.set_major_formatter("{x:.1f}")
    panel.yaxis.set_minor_formatter("{x:.1f}")
panels[0].set(ylabel="bits a byte");

# %% [markdown]
# Over size ({glue:text}`gpt_fold_size:.0f` times) {glue:text}`gpt_falls_size`; over tokens ({glue:text}`gpt_fold_tokens:.0f` times) {glue:text}`gpt_falls_tokens`. The exponents, {glue:text}`gpt_alpha:.3f` and {glue:text}`gpt_beta:.3f`, are those of *this* text, *this* tokenizer and these lengths of training. Four points invite a line whatever they are: between the first two sizes the exponent is {glue:text}`gpt_alpha_first:.3f`, between the last two {glue:text}`gpt_alpha_last:.3f`. The line through
# the three smaller sizes foretells {glue:text}`gpt_foretold:.3f` for the largest; it is {glue:text}`gpt_real:.3f`, and its seeds lie {glue:text}`gpt_seed_spread:.3f` apart. The interval above knows the seeds and nothing of a wrong formula, or of a learning rate that was chosen on fewer tokens. So a scaling law may be used to plan a run *near* those that it was fitted to. It may not be used to
# promise what a hundred times more would give, to compare two texts or tokenizers, or to foretell an ability. The five numbers of {eq}`eq-gpt-scaling` cannot be had from so few runs; even its published fit had intervals much too narrow, and other numbers when {cite:t}`besiroglu2024` fitted it again.
#
# ## Speed, beside transformers
#
# The same weights, greedy, with a cache, float32, one thread; the median of three runs in turns.

# %%
config = transformers.GPT2Config(vocab_size=2048, n_embd=128, n_layer=4, n_head=4, n_positions=128,
                                 bos_token_id=0, eos_token_id=None, pad_token_id=0)
their_gpt = transformers.GPT2LMHeadModel(config).eval()
with tempfile.TemporaryDirectory() as folder:
    their_gpt.save_pretrained(folder)
    our_gpt = GPT.from_transformers(folder)


def seconds(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


# %%
speeds = {}
threads = torch.get_num_threads()
torch.set_num_threads(1)
for batch in (1, 32):
    ids = torch.randint(1, 2048, (batch, 8), generator=torch.Generator().manual_seed(0))
    ones = torch.ones_like(ids)
    runs = {"ours": lambda ids=ids: our_gpt.generate(ids.tolist(), end=0, max_length=40),
            "theirs": lambda ids=ids, ones=ones: their_gpt.generate(
                ids, attention_mask=ones, do_sample=False, max_new_tokens=40)}
    times = {name: [] for name in runs}
    for _ in range(3):
        for name, run in runs.items():
            times[name].append(seconds(run))
    speeds[batch] = np.median(times["theirs"]) / np.median(times["ours"])
    print(f"batch {batch:2}: ours {batch * 40 / np.median(times['ours']):6.0f} tokens a second, "
          f"theirs {batch * 40 / np.median(times['theirs']):6.0f}, ratio {speeds[batch]:.1f}")
torch.set_num_threads(threads)

# %% tags=["remove-cell"]
for batch, key in ((1, "one"), (32, "many")):
    glue(f"gpt_goal_{key}", "reached" if speeds[batch] >= 2 else "missed", display=False)
glue("gpt_speed_one", float(speeds[1]), display=False)
glue("gpt_speed_many", float(speeds[32]), display=False)

# %% [markdown]
# Ours writes {glue:text}`gpt_speed_one:.1f` times as many tokens a second alone and {glue:text}`gpt_speed_many:.1f` times in a batch of 32 on the machine that made this page. Our goal was twice as many: alone it is {glue:text}`gpt_goal_one`, in the batch {glue:text}`gpt_goal_many`. The arithmetic is the same; a small model spends much of its time in Python around it. With models of billions of parameters the difference is gone.
#
# ## What came after
#
# - **Mixture of experts.** Many feed-forward networks in each layer, of which a small router picks a few for each token: Mixtral has 8 and takes 2, so that of 47 billion parameters 13 billion work on a token {cite}`jiang2024`. Parameters become cheap in time, not in memory. An exercise builds one.
# - **Long context.** Rotary frequencies are slowed down so that a position beyond the training looks like one within: all alike in position interpolation {cite}`chen2023`, the slow pairs more than the fast ones in YaRN {cite}`peng2024` and in Llama 3's rule, which `rotary_frequencies` has. Mistral 7B looks at a window instead {cite}`jiang2023`. Grouped queries keep the cache affordable.
# - **What follows pre-training.** Instruction tuning and preferences make a model answer ([chapter 15](15_decoding.py) only chooses words). Reading pictures, joining parts and preferences come in part VI of this course.
#
# You know now what such a model computes, token by token, and what its published parts are. What you do not know of closed models, nobody outside does.
#
# ## What goes wrong
#
# ### The first weights
#
# GPT-2 draws its weights with a standard deviation of 0.02, and those that end in the residual stream with $0.02 / \sqrt{2L}$, because $2L$ of them are added up. It did so at a width of 768 and more. We change only that, on the network with GPT-2's block and width 96, and train 100 steps; $0.057 = 0.02 \sqrt{768 / 96}$ gives sums of 96 products the size that GPT-2's have.

# %%
def with_spread(spread, shrink=True):
    """``make`` for GPT-2's block with other first weights."""
    def make(vocab_size):
        model = gpt_studies.gpt_block(vocab_size)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                last = "attention.output" in name or "feed_forward.3" in name
                nn.init.normal_(parameter, std=spread / math.sqrt(6) if last and shrink else spread)
        return model
    return make


ways = (("0.02, shrunk", 0.02, True), ("0.02, all alike", 0.02, False), ("0.057, shrunk", 0.057, True),
        ("1, shrunk", 1.0, True))
starts = {}
batch = gpt_studies.blocks_batch(fine_ids, 0)(0)[0]
print(f"log V = {math.log(len(fine)):.2f}")
for name, spread, shrink in ways:
    torch.manual_seed(0)
    first = with_spread(spread, shrink)(len(fine)).loss(batch).item()
    model = gpt_studies.pretrain(with_spread(spread, shrink), 100, 3e-3, seed=0)
    starts[name] = first, gpt_studies.gloss_bits(model, fine, "test", 100)
    print(f"{name:15} first loss {first:7.2f}, after 100 steps {starts[name][1]:.3f} bits a byte")

# %% tags=["remove-cell"]
for name, key in (
    ("0.02, shrunk", "right"),
    ("0.02, all alike", "alike"),
    ("0.057, shrunk", "wide"),
    ("1, shrunk", "large"),
):
    glue(f"gpt_start_{key}", float(starts[name][0]), display=False)
    glue(f"gpt_start_{key}_bits", float(starts[name][1]), display=False)

# %% [markdown]
# A good start says "I do not know": its first loss is $\log V$. With a spread of 1 (PyTorch's default for embeddings) the tied output layer makes logits of dozens, the first loss is {glue:text}`gpt_start_large:.0f`, and 100 steps later it needs {glue:text}`gpt_start_large_bits:.2f` bits a byte, against {glue:text}`gpt_start_right_bits:.2f`. With 0.057 it is {glue:text}`gpt_start_wide_bits:.2f` (one seed each): at a small width GPT-2's number is small, and a first plateau is long. The shipped model has 0.02, as GPT-2; the recipe's setting `long` has the wider one.
# Without the shrinking of the last weights it is {glue:text}`gpt_start_alike_bits:.2f`: with three layers and one seed, nothing can be said about it. It was made for stacks of dozens.
#
# ### Padding on the wrong side
#
# Nothing crashes when prompts are padded on the right, and the last place of a short row is then padding. What the model is asked there is "what comes after nothing":

# %%
from functools import partial

from mmcourse.gpt import pad

agree = {}
texts = [english for english in (recipe.english("val", index) for index in range(60))]
starts_of = [[END, *tokenizer.encode(text)[:1 + index % 7]] for index, text in enumerate(texts)]
alone = [shipped.generate([row], end=END, max_length=20).tokens[0] for row in starts_of]
for side in ("left", "right"):
    ids, mask = pad(starts_of, side=side)
    found = decoding.greedy(partial(shipped.step, mask=mask), ids, end=END, max_length=20).tokens
    agree[side] = sum(a == b for a, b in zip(found, alone, strict=True))
    print(f"padded {side:5}: {agree[side]} of 60 sentences as when each is written alone")

# %% tags=["remove-cell"]
glue("gpt_left", int(agree["left"]), display=False)
glue("gpt_right", int(agree["right"]), display=False)

# %% [markdown]
# {glue:text}`gpt_left:d` and {glue:text}`gpt_right:d` of 60. The test for it is an invariance again: a batch of different lengths writes what each row writes alone.
#
# ## Exercises
#
# ```{exercise-start} GPT-2, counted
# :label: ex-gpt-count
# ```
# *Easy, 10 minutes.* GPT-2 (small) has $V = 50{,}257$, context 1,024, $D = 768$, 12 layers, biases everywhere, a tied output layer. How many parameters? First on paper, with $12 D^2 + 13 D$ for a layer. Then count, without allocating them, on the device `meta`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-gpt-count
# :label: so-gpt-count
# :class: dropdown
# ````
# Tables: $(50{,}257 + 1{,}024) \cdot 768$. Layers: $12\,(12 \cdot 768^2 + 13 \cdot 768)$. The last norm: $2 \cdot 768$. Together 124,439,808, the "124M" of the name.

# %% tags=["nbval-check-output"]
with torch.device("meta"):
    gpt2 = GPT(50_257, 768, 12, 12, 1024)
on_paper = (50_257 + 1024) * 768 + 12 * (12 * 768**2 + 13 * 768) + 2 * 768
assert parameters(gpt2) == on_paper
print(f"{on_paper:,}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What a cache costs
# :label: ex-gpt-cache
# ```
# *Easy, 10 minutes.* A model has 32 layers, 32 heads, 8 key and value heads of width 128, numbers of 2 bytes. How large is the cache of one text of 8,192 tokens? Of 32 such texts? How large would it be without groups?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-gpt-cache
# :label: so-gpt-cache
# :class: dropdown
# ````
# {eq}`eq-gpt-cache`: $2 \cdot 32 \cdot 8192 \cdot 8 \cdot 128 \cdot 2$ bytes, one gibibyte; 32 texts need 32, and without groups four times that, 128: more than the weights of such a model.

# %% tags=["nbval-check-output"]
def cache_size(batch, layers, tokens, groups, width, size):
    return 2 * batch * layers * tokens * groups * width * size


for batch, groups in ((1, 8), (32, 8), (32, 32)):
    print(batch, groups, cache_size(batch, 32, 8192, groups, 128, 2) / 2**30, "GiB")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The first token of a pair
# :label: ex-gpt-best
# ```
# *Medium, 15 minutes.* In `by_place` above, what is the smallest loss that any model can have? (Which tokens can be foretold?) How far from it is the network with positions?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-gpt-best
# :label: so-gpt-best
# :class: dropdown
# ````
# Places 1, 3, 5, ... follow from the token before: eight of the fifteen predicted places cost nothing. The seven places 2, 4, ..., 14 are noise and cost $\log V$ each: $\frac{7}{15} \log 20 = 1.398$.

# %%
floor = 7 / 15 * math.log(V)
print(f"smallest {floor:.3f}; with positions {placed[True]:.3f}, without {placed[False]:.3f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Slow down the clock
# :label: ex-gpt-interpolate
# ```
# *Medium, 20 minutes.* A rotary model was trained on 128 tokens and shall read 256. With `{"rope_type": "linear", "factor": 2.0}` which angle does position 200 get, and which position of the training had it? What does it cost two neighbours, in their angle's difference? Check it with `rotary_frequencies`, and see which pairs Llama 3's rule leaves alone
# for `factor` 2, `low_freq_factor` 1, `high_freq_factor` 4 and 128 tokens.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-gpt-interpolate
# :label: so-gpt-interpolate
# :class: dropdown
# ````
# That of position 100, in every pair: all lies within what was trained. But neighbours are now half as far apart. Llama 3's rule leaves alone what turns more than four times in 128 tokens, that is $\omega > 4 \cdot 2\pi / 128$: fast pairs tell neighbours apart and are often trained around the whole circle.

# %% tags=["nbval-check-output"]
plain = rotary_frequencies(16)
slow = rotary_frequencies(16, scaling={"rope_type": "linear", "factor": 2.0})
assert torch.allclose(200 * slow, 100 * plain)
rule = {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128}
ratio = rotary_frequencies(16, scaling=rule) / plain
print("turns in 128 tokens:", (128 * plain / (2 * math.pi)).tolist()[:4])
print("kept share of the speed:", ratio)

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A mixture of experts
# :label: ex-gpt-experts
# ```
# *Hard, 40 minutes.* Write a layer with $E$ SwiGLUs and a linear router that sends each token to its best two, weighted by a softmax over those two. Show: (1) with equal experts it computes what one computes; (2) a token's output does not depend on the other tokens; (3) the experts that a token did not choose get no gradient from it.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-gpt-experts
# :label: so-gpt-experts
# :class: dropdown
# ````
# The loop over experts picks out the tokens that chose it. That a router may send all tokens to one expert is the known trouble with it; an extra loss for balance is the usual cure, which we leave out.

# %% tags=["nbval-check-output"]
class Experts(nn.Module):
    def __init__(self, width, hidden, count):
        super().__init__()
        self.router = nn.Linear(width, count, bias=False)
        self.experts = nn.ModuleList(SwiGLU(width, hidden) for _ in range(count))

    def forward(self, x):  # (tokens, D)
        best = self.router(x).topk(2, -1)  # (tokens, 2)
        shares = best.values.softmax(-1)
        output = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            token, rank = (best.indices == number).nonzero(as_tuple=True)
            output[token] += shares[token, rank, None] * expert(x[token])
        return output


torch.manual_seed(0)
layer, x = Experts(12, 20, 5).double(), torch.randn(9, 12).double()
assert torch.allclose(layer(x)[3], layer(x[3:4])[0])
layer(x[:1]).sum().backward()
learning = [expert.up.weight.grad.abs().sum() > 0 for expert in layer.experts]
print("experts with a gradient:", sum(learning).item())
for expert in layer.experts:
    expert.load_state_dict(layer.experts[0].state_dict())
assert torch.allclose(layer(x), layer.experts[0](x))

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** Training reports a loss of 0.01 after ten minutes. What do you look at first?
#
# :::{dropdown} Whether labels are shifted and the future is hidden
# **Yes.** Both mistakes let the network read the answer, and both end near zero.
# :::
# :::{dropdown} Whether the learning rate is too high
# **No.** That shows as a loss that jumps or grows.
# :::
# :::{dropdown} Nothing: the model is large enough
# **No.** A text has an entropy that no model goes below, and it is far from zero.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** Model A has perplexity 12 with 500 tokens, model B 35 with 50,000. Which knows the text better?
#
# :::{dropdown} A
# **No.** Its tokens are shorter, so each is easier, and there are more of them.
# :::
# :::{dropdown} B
# **No.** It may, but these numbers do not say.
# :::
# :::{dropdown} One cannot tell without the bytes of a token
# **Yes.** Bits a byte divides by what both share.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** Query and key move three places on, both. What happens to their rotary product?
#
# :::{dropdown} It falls, since it fades with the position
# **No.** A turn changes no length.
# :::
# :::{dropdown} It stays
# **Yes.** It depends on the distance, and that did not change.
# :::
# :::{dropdown} It changes sign, because three turns of the fastest pair are more than half a circle
# **No.** Both turn by the same angle.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** A checkpoint says `tie_word_embeddings: true` and holds two different tables. What should a loader do?
#
# :::{dropdown} Take the output table, since it was trained last
# **No.** Nobody knows which is meant.
# :::
# :::{dropdown} Take the first and say nothing, as the setting asks
# **No.** Then logits are silently wrong, if the setting is what is wrong.
# :::
# :::{dropdown} Refuse, and name both
# **Yes.** File and setting contradict each other, and a person has to decide.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** What do grouped queries save?
#
# :::{dropdown} Most of the multiplications of a training step
# **No.** Scores are computed for all query heads; only two projections are smaller.
# :::
# :::{dropdown} Memory for keys and values while writing
# **Yes.** By the factor $H / G$, and the time to read them.
# :::
# :::{dropdown} Positions
# **No.** That is another part of the block.
# :::
# ::::::
#
# ## Take-aways
#
# - A GPT is a stack of causal self-attention with the next token as the label, shifted once. A loss that is too good means that it sees the answer.
# - Bits a byte compares any two models of a text. Here counting reaches {glue:text}`gpt_bits_ngram:.2f`, a network that trained for minutes {glue:text}`gpt_bits:.2f`, and both together {glue:text}`gpt_mixed:.2f`.
# - Today's block is four small changes: RMSNorm, rotary positions, SwiGLU, grouped queries. Our code with others' weights gives their numbers.
# - Fine-tuning is more training on prompts with answers, where only the answer counts.
# - A fitted power law is a summary of runs near it. GPT-4's inside is not published, so nothing here is a "simplified GPT-4".
#
# ## Further reading
#
# - {cite:t}`radford2018`, {cite:t}`radford2019` and {cite:t}`brown2020`: the three GPTs that are described. (One of the articles cites the third under a title that it does not have.)
# - {cite:t}`openai2023`: what is said of the fourth, and the sentence that says what is not.
# - {cite:t}`touvron2023`: the block of today in two pages, section 2.
# - {cite:t}`su2024`, {cite:t}`zhang2019rms`, {cite:t}`shazeer2020`, {cite:t}`ainslie2023`: its four parts.
# - {cite:t}`chen1999`: how to compare smoothed counters, and language models at all.
# - {cite:t}`hoffmann2022` with {cite:t}`besiroglu2024`: a scaling law, and its repair.

# %% tags=["remove-cell"]
figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6), width_ratios=(1, 1.5))
names = ["uniform", *counters, "GPT"]
heights = [8.0, *(scores[name] for name in counters), scores["GPT"]]
left.barh(names, heights, color=[GREY, *[BLUE] * len(counters), ORANGE])
for place, height in enumerate(heights):
    left.annotate(f"{height:.2f}", (height, place), xytext=(3, 0), textcoords="offset points", va="center",
                  fontsize=8)
left.invert_yaxis()
left.set(xlim=(0, 9.6), xlabel="bits a byte")
right.axis("off")
for place, prompt in enumerate(prompts[:3]):
    top = 0.97 - 0.34 * place
    text = fill(shorten(written[prompt], 110), 50)
    right.text(0, top, prompt.rstrip(), weight="bold", fontsize=9, va="top", transform=right.transAxes)
    right.text(0, top - 0.1, text, fontsize=9, va="top", transform=right.transAxes)
glue("gpt_promise", figure, display=False)
plt.close(figure)
