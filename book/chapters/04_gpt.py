# ---
# jupyter:
#   course: {notebook: notebooks/04_gpt.ipynb}
# ---

# %% [markdown]
# # GPT
#
# At the end you can build a language model that writes, load models of GPT-2's and Llama's families into your own code and get
# their numbers, and say in one unit, bits a byte, how much any such model knows of a text.
#
# ```{glue:figure} gpt_promise
# :name: fig-gpt-promise
# :alt: Left, a bar for each model, the bits that it needs for a byte of a dictionary: a uniform guess, counted n-grams of growing order, which need fewer and fewer, and the network, which needs a little more than the last of them. Right, how the network went on after three beginnings.
#
# Left: how many bits a byte of a dictionary costs, by counting and with the network of this chapter. The shorter the bar, the better: the counted 5-gram is ahead of the network.
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
# - build today's block from four parts, load four families of weights into it, and GPT-2's into its own
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
print(start, "...")  # line[len(start):] is how it goes on

# %%
ids = torch.tensor([[END, *tokenizer.encode(start)]])
probs = shipped(ids)[0, -1].softmax(-1)  # (V,)
best = probs.topk(5)
for prob, number in zip(best.values.tolist(), best.indices.tolist(), strict=True):
    print(f"{tokenizer.decode([number])!r:10} {prob:.3f}")
print("the dictionary goes on:", line[len(start):])
assert line[len(start):].startswith(tokenizer.decode([best.indices[0].item()]))

# %% [markdown]
# Its first choice is right; the others would have been possible too. A **language model** answers with a probability for every token. (The captioner of chapter 14 does so too, but it has a picture to look at.) The encoder of [chapter 3](03_text.py) had the
# words on both sides of a hole. This model has only the words so far, and must know the language itself. **How good is such an answer, in a number that is fair to
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

# %% [markdown]
# (-100 marks a place that `F.cross_entropy` leaves out, as `IGNORE` in chapter 3.)

# %% tags=["nbval-check-output"]
ours = next_token_loss(torch.tensor([said]).log(), torch.tensor([[0, 1, 0]]))
assert abs(ours.item() - by_hand) < 1e-6
print(f"{ours.item():.3f}")

# %% [markdown]
# $e^{\mathcal{L}}$ is the **perplexity**: among how many equally probable tokens the model hesitates. But a token is not the same thing in
# two models. Whoever cuts a text into single letters hesitates among few; whoever has whole words hesitates among many. So
# we divide by what both have in common, the bytes. A text of $n$ bytes ($n$ has other meanings below) costs
#
# $$
# \text{bits a byte} = -\frac{1}{n \ln 2} \sum_{t} \log p\left(y_{t+1} \mid y_{\le t}\right)
# $$ (eq-gpt-bits)
#
# bits for each. It is also what a compressor would need that knows the model: with 8 bits, nothing is gained. On paper: two tokens of
# probabilities $\frac14$ and $\frac12$ that stand for six bytes cost $(2 + 1) / 6 = 0.5$ bits a byte. (Of a line of our dictionary every token is to be predicted: we put `END` before it, so that the first one has something before it,
# and count the `END` after it as one byte.)

# %% tags=["nbval-check-output"]
from mmcourse.gpt import bits_per_byte

print(f"{bits_per_byte(torch.tensor([1 / 4, 1 / 2]).log(), 6):.3f}")

# %% [markdown]
# ## A "simplified GPT-4", repaired line by line
#
# Some [articles on the web](articles.py) promise a "simplified GPT-4" in a few lines. The one that we correct here has an embedding, one call of PyTorch's Transformer
# with the width and the number of layers, and a linear layer. First, what is known of GPT-4. Its report {cite}`openai2023` says
# that it is a Transformer that was pre-trained to predict the next token, that it reads pictures and text, and that it was tuned
# with human feedback. It says in so many words that size, architecture, hardware, data and training are not told. That it "consists of a text
# model and an image model", as the article has it, is therefore nobody's published knowledge, and numbers of parameters that go around
# are rumours. We teach models whose weights anybody can look at.
#
# Now the code. [Chapter 2](02_transformer.py) has met the call; here we go on until the whole model is right. The call, with numbers of ours, for the article gives none: a width of 30 and 4 layers.

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
# *random* tokens, of which nobody can predict the next: no honest model has an *expected* loss below $\log V$.

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
        # PyTorch's mask is added to the scores: -inf hides, 0 shows
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
# With positions the loss is {glue:text}`gpt_with_places:.2f` nats, without {glue:text}`gpt_without_places:.2f`, after as many steps. (A longer run might narrow it: a causal mask lets a
# network count places.)
#
# **Repair 5: the labels.** Another of these articles trains by `fit(input_ids, input_ids)`, on one sentence. The label of a token is then the token itself, which the network can see:

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
# The loss of *noise* goes to zero, and the model has learnt to repeat what it is shown. (Where the shift happens is a question to each library: a model of
# `transformers` shifts inside when it is given `labels=input_ids`. There the labels that are *not* shifted are right, and shifting them yourself would be the mistake.)
#
# **The rest of that article.** It takes PyTorch's class of `transformers`, calls Keras's `compile` and `fit`, and asks greedy decoding for five sentences at once. With a small random model of that class:

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
sizes = {"vocab_size": V, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 32}
config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=None)
article = transformers.GPT2LMHeadModel(config).eval()
given = article(fresh, labels=fresh)
assert torch.allclose(given.loss, next_token_loss(given.logits, fresh))  # shifted inside
print("fit:", hasattr(article, "fit"))
for attempt in (
    lambda: article.compile(optimizer="adam", loss="mse"),
    lambda: article.generate(fresh[:1, :4], num_return_sequences=5, do_sample=False, pad_token_id=0),
):
    try:
        attempt()
    except (TypeError, ValueError) as error:
        print(f"{type(error).__name__}: {str(error)[:100]}")

# %% [markdown]
# None of the three lines runs. (A fourth, `tokenizer.decode` of a whole batch, runs only since version 5 of `transformers`; before, `batch_decode` was for that.) So the five fluent sentences below the article's code are not what this code wrote,
# and its training set is one sentence, read three times. It also says that GPT is pre-trained by
# hiding tokens, too; that is BERT ([chapter 3](03_text.py)). Now the same network as it should be.

# %%
from mmcourse.gpt import GPT, GPTLayer, LanguageModel

# %% tags=["remove-input"]
show_source(GPTLayer)

# %% [markdown]
# This is GPT-2's block {cite}`radford2019`: pre-norm, as in chapter 2, with the attention of chapter 1. Around it stand two tables, for tokens and for
# positions, and a last norm. The **tied** output layer is the token table again {cite}`press2017`. Padding and cache are handled once, for all our language models. In the function below, `tokens_so_far` joins the
# mask of the past to that of the new tokens; `positions_of` counts real tokens only, so that padding does not move a text; `looks` makes the mask for the attention, without padding and within the window if there is one; `run` sends the vectors through the layers.

# %% tags=["remove-input"]
show_source(LanguageModel.read)

# %% [markdown]
# ## Against the reference
#
# `from_transformers` reads a folder as `transformers` writes it, or the name of a model on huggingface.co, and says what does not fit: another family, a
# missing tensor, a setting that we do not have. We make a small GPT-2 of `transformers` with random weights, save it and
# load it into ours.

# %%
from mmcourse.gpt import Llama

makers = {"GPT2LMHeadModel": {"n_embd": 24, "n_layer": 3, "n_head": 6, "n_positions": 90, "vocab_size": 37}}


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
def report(name):
    """Print and check what compare finds; the largest difference."""
    (plain, padded, cached), equal = compare(name)
    print(f"{name:19} plain {plain:.0e}  padded {padded:.0e}  cache {cached:.0e}  50 tokens equal: {equal}")
    assert max(plain, padded, cached) < 1e-4 and equal
    return max(plain, padded, cached)


worst = report("GPT2LMHeadModel")

# %% tags=["remove-cell"]
glue("gpt_parity", float(worst), display=False)

# %% [markdown]
# No logit differs by more than {glue:text}`gpt_parity:.0e`: not of whole rows, not with padding on the left, and not where the text comes in three pieces with a cache.
#
# :::{admonition} Optional: real weights
# :class: tip
# `hf download openai-community/gpt2 config.json model.safetensors` fetches GPT-2's own weights, 548 MB, once. If they are on this computer, the next cell compares ours with the original; if not, it says so and goes on.
# :::

# %%
NAME = "openai-community/gpt2"
try:
    real = GPT.from_transformers(NAME, local_files_only=True)
    original = transformers.GPT2LMHeadModel.from_pretrained(NAME, local_files_only=True).eval()
except (OSError, ValueError):
    print("GPT-2's weights are not on this computer: skipped")
else:
    ids = torch.randint(50_257, (2, 60), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        print(f"largest difference {(real(ids) - original(ids).logits).abs().max():.1e}")

# %% [markdown]
# ## Pre-training, against counting
#
# `shipped` has the same class. `python -m mmcourse.recipes.gpt` made it, run once and whole on one core. It read the dictionary's
# training lines, and captions of scenes, half of them English, half Mandarin, never both of one scene.

# %%
from mmcourse.recipes import gpt as recipe
from mmcourse.recipes.gpt_studies import STUDENT, parameters

plan = recipe.TRAINING["gpt"]
sizes = {"parameters": parameters(shipped), "vocabulary": len(tokenizer), "context": shipped.context}
print(sizes, plan, sep="\n")
read_ids = [END]
for text in lines("train"):
    read_ids += [*tokenizer.encode(text), END]
some_captions = [recipe.english("train", 2 * number) for number in range(200)]
some_captions += [recipe.mandarin("train", 2 * number + 1) for number in range(200)]
captions = 2 * recipe.SCENES
caption_ids = sum(len(tokenizer.encode(text)) + 1 for text in some_captions) * captions // 400
tokens_read = plan["steps"] * plan["batch_size"] * (shipped.context - 1)
print(f"tokens: dictionary {len(read_ids):,}, {captions:,} captions about {caption_ids:,}; "
      f"read {tokens_read:,}")

# %% tags=["remove-cell"]
glue("gpt_caption_share", caption_ids / (caption_ids + len(read_ids)), display=False)
glue("gpt_readings", tokens_read / (caption_ids + len(read_ids)), display=False)

# %% [markdown]
# Is that good? The baseline is older than neural networks. An **n-gram model** counts which token came after the last $n - 1$ tokens. Most
# longer histories were never seen, so it has to pass some probability on to shorter ones. {cite:t}`kneser1995` do it with a trick, and it is called **Kneser-Ney smoothing**. This is the interpolated form that {cite:t}`chen1999` compare with many others; a refinement of theirs, three discounts for one, we leave out:
#
# $$
# p(w \mid h) = \frac{\max\left(c(hw) - d,\, 0\right)}{c(h)} + \frac{d\, N(h)}{c(h)}\, p(w \mid h')
# $$ (eq-gpt-ngram)
#
# where $w$ is a token, $h$ the history of $n - 1$ tokens, $h'$ the same without its first token, $c$ a count, $N(h)$ the number of different tokens seen after
# $h$, and $d$ a discount between 0 and 1, $n_1 / (n_1 + 2 n_2)$ with $n_k$ the number of n-grams that were counted $k$ times. Where $h$ was never seen, $p(w \mid h) = p(w \mid h')$; after the empty history comes the uniform $1/V$. Below the highest order, $c(hw)$ does not count
# how often $hw$ came, but how many *different* tokens came before it: "Francisco" is frequent, but only after "San", so elsewhere it should be improbable.
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
# On paper, token 1 after 0: of six different pairs four came once and one twice, so $d = \frac46$. The pair (0, 1) came three times of four, and two different tokens follow 0, so
# $p = \frac{3 - 2/3}{4} + \frac{2/3 \cdot 2}{4}\, p(1)$ with $p(1) = \frac16$, which is $0.639$.
#
# The counters read the dictionary's training lines. The network read the same lines, several times, and the captions besides. Both have the same tokens, and both are asked about the same 400 lines of the test split.

# %%
rows = recipe.rows_of(tokenizer, recipe.some(test, 400), shipped.context)
asked = [tokenizer.decode(row[1:-1]) for row in rows]
byte_counts = np.array([len(text.encode()) + 1 for text in asked])  # and one for the end

costs = {"GPT": -np.array(row_log_probs(shipped, rows))}  # nats of each line
counted = {}
for order in (1, 2, 3, 5):
    counted[order] = NgramModel(read_ids, order, len(tokenizer))
    costs[f"{order}-gram"] = -np.array([sum(counted[order].log_probs(row)[1:]) for row in rows])

# %%
from mmcourse.evaluation import bootstrap


def bits(costs, sizes):
    return costs.sum() / sizes.sum() / math.log(2)


tokens_asked = sum(len(row) - 1 for row in rows)
scores = {name: bits(cost, byte_counts) for name, cost in costs.items()}
for name in ("1-gram", "2-gram", "3-gram", "5-gram", "GPT"):
    drawn = bootstrap(bits, costs[name], byte_counts)
    perplexity = math.exp(costs[name].sum() / tokens_asked)
    print(f"{name:7} {scores[name]:.3f} bits a byte ({drawn.low:.3f} to {drawn.high:.3f}), "
          f"perplexity {perplexity:6.1f}")
counters = [name for name in scores if name != "GPT"]
strongest = min(counters, key=scores.get)
lead = bootstrap(lambda a, b, n: bits(a - b, n), costs[strongest], costs["GPT"], byte_counts)
print(f"{strongest} less GPT: {lead.value:.3f} ({lead.low:.3f} to {lead.high:.3f})")

# %% tags=["remove-cell"]
glue("gpt_bits", float(scores["GPT"]), display=False)
glue("gpt_bits_ngram", float(scores[strongest]), display=False)
glue("gpt_strongest", strongest, display=False)
counting_wins = scores[strongest] < scores["GPT"]
leader, other = (f"the {strongest}", "the network") if counting_wins else ("the network", f"the {strongest}")
margin = sorted(abs(number) for number in (lead.low, lead.high))
told = lead.low * lead.high > 0
verdict = f"{leader} needs {abs(lead.value):.2f} bits a byte less than {other} ({margin[0]:.2f} to {margin[1]:.2f}, the lines redrawn)"
if not told:
    verdict = "the two cannot be told apart on these lines"
surprise = "Counting wins" if told and counting_wins else "Counting loses" if told else "Counting draws level"
glue("gpt_verdict_counting", verdict, display=False)
glue("gpt_surprise", surprise, display=False)

# %% [markdown]
# {glue:text}`gpt_surprise`: the best counter, the {glue:text}`gpt_strongest`, needs {glue:text}`gpt_bits_ngram:.2f` bits a byte, the network {glue:text}`gpt_bits:.2f`; {glue:text}`gpt_verdict_counting`. There is one network of
# one seed, so this interval is about *these lines* and not about another training run. The network learnt for minutes on one core, and went through its text {glue:text}`gpt_readings:.0f` times, of which {glue:text}`gpt_caption_share:.0%` were captions. A dictionary, with its "any of several" and "a genus of", is what
# counters are best at. Any table that shows a small network beating a 1-gram should be asked for the 5-gram. But do the two know the *same*? If they do, mixing their probabilities gains next to nothing. The share of the mixture is chosen on validation lines. As a control we mix the 5-gram with the 3-gram, which knows nothing that the 5-gram has not counted:

# %%
from mmcourse.gpt import token_log_probs


def said_by_each(texts):
    """The probability of each token of each text by network, 3-gram and 5-gram: (tokens, 3) each."""
    found = []
    for row in recipe.rows_of(tokenizer, texts, shipped.context):
        ids = torch.tensor([row])
        network = token_log_probs(shipped(ids), ids)[0].exp().double().numpy()
        by_count = [np.exp(counted[order].log_probs(row)[1:]) for order in (3, 5)]
        found.append(np.stack([network, *by_count], 1))
    return found


def mixed_costs(probs, first, share):
    """Nats of each text, for ``share`` of column ``first`` and the rest of the 5-gram."""
    return np.array([-np.log(share * row[:, first] + (1 - share) * row[:, 2]).sum() for row in probs])


# %%
validation, questions = said_by_each(recipe.some(lines("val"), 100)), said_by_each(asked)
mixtures = {}
for first, name in ((0, "network"), (1, "3-gram")):
    share = min(np.linspace(0, 1, 21), key=lambda share: mixed_costs(validation, first, share).sum())
    cost = mixed_costs(questions, first, share)
    gain = bootstrap(lambda a, b, n: bits(a - b, n), costs["5-gram"], cost, byte_counts)
    mixtures[name] = share, bits(cost, byte_counts), gain
    print(f"{share:.0%} {name}, {1 - share:.0%} 5-gram: {mixtures[name][1]:.3f} bits a byte, "
          f"{gain.value:.4f} less than the 5-gram ({gain.low:.4f} to {gain.high:.4f})")

# %% tags=["remove-cell"]
share, mixed, gain = mixtures["network"]
glue("gpt_mixed", float(mixed), display=False)
glue("gpt_mixed_share", float(share), display=False)
glue("gpt_mixed_gain", float(gain.value), display=False)
glue("gpt_mixed_low", float(gain.low), display=False)
glue("gpt_mixed_high", float(gain.high), display=False)
glue("gpt_mixed_control", float(mixtures["3-gram"][2].value), display=False)
assert gain.low > 5 * abs(mixtures["3-gram"][2].value)
assert mixed < min(scores.values())

# %% [markdown]
# With {glue:text}`gpt_mixed_share:.0%` of the network the mixture needs {glue:text}`gpt_mixed:.2f`, {glue:text}`gpt_mixed_gain:.3f` less than the 5-gram alone ({glue:text}`gpt_mixed_low:.3f` to {glue:text}`gpt_mixed_high:.3f`, lines redrawn); the control gains {glue:text}`gpt_mixed_control:.4f`, so this is not mere smoothing. The network knows something of these lines that counting does not. And since the mixture is also better than the network alone, counting knows something that the network does not.
#
# Now the unit. The same kind of counter on tokens of 512 instead of 2,048 kinds:

# %%
from mmcourse.recipes.gpt_studies import small_corpus

counted.clear()  # those tables are large, and no longer needed
fine, fine_ids = small_corpus()
fine_rows = [[END, *fine.encode(text), END] for text in asked]
fine_bits = {}
for order in (3, 5):
    counter = NgramModel(fine_ids.tolist(), order, len(fine))
    cost = -sum(sum(counter.log_probs(row)[1:]) for row in fine_rows)
    fine_bits[order] = bits_per_byte([-cost], byte_counts.sum())
    perplexity = math.exp(cost / sum(len(row) - 1 for row in fine_rows))
    print(f"{order}-gram, 512 ids: {fine_bits[order]:.3f} bits a byte, perplexity {perplexity:.1f}")
    if order == 3:
        glue("gpt_fine_perplexity", float(perplexity), display=False)
letters = byte_counts.sum() / sum(len(row) - 1 for row in fine_rows)
coarse_letters = byte_counts.sum() / tokens_asked
print(f"bytes a token: {letters:.1f} of 512 ids, {coarse_letters:.1f} of 2,048")

# %% tags=["remove-cell"]
glue("gpt_coarse_perplexity", float(math.exp(costs["3-gram"].sum() / tokens_asked)), display=False)
glue("gpt_fine_bits", float(fine_bits[3]), display=False)
glue("gpt_fine_five", float(fine_bits[5]), display=False)
glue("gpt_coarse_bits", float(scores["3-gram"]), display=False)
assert fine_bits[3] > scores["3-gram"] and abs(fine_bits[5] - scores["5-gram"]) < 0.05

# %% [markdown]
# The 3-gram's perplexity is {glue:text}`gpt_fine_perplexity:.0f`, that of the other 3-gram {glue:text}`gpt_coarse_perplexity:.0f`; by that number it would win. In bits a byte it is
# {glue:text}`gpt_fine_bits:.2f` against {glue:text}`gpt_coarse_bits:.2f`: it loses. With five of the short tokens it is at {glue:text}`gpt_fine_five:.2f`, close to the other 5-gram: what it lacked was history. Never compare perplexities of two tokenizers.
#
# ## It writes
#
# A model writes by appending a token and asking again. Of each pair of lines below, the first takes the most probable token every time (**greedy**, as in chapter 2). The second draws a token at random, among the fewest tokens whose probabilities
# together reach 0.8 (`top_p`; [chapter 15](15_decoding.py) compares such ways). Prompts of different lengths are padded on the *left*, so that each
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
# The lines have the form of captions and of definitions, in either language. What a definition says about the *world* is mostly invented, here and there with invented words. A model of this size and this little reading has
# learnt how a dictionary sounds. Treat no sentence of it as knowledge.
#
# ## Today's block
#
# Llama, Mistral, Qwen and many other open models since 2023 share a block that differs from GPT-2's in a few parts. LLaMA {cite}`touvron2023` has three of them, RMSNorm, rotary positions and SwiGLU; its code has no biases either.
# Grouped queries {cite}`ainslie2023` came with the large sizes of its successor {cite}`touvron2023b` and with Mistral {cite}`jiang2023`. We take the four in turn.
#
# ### RMSNorm: no mean, no shift
#
# $$
# \operatorname{rms}(x) = \gamma \odot \frac{x}{\sqrt{\frac1D \sum_{j=1}^{D} x_j^2 + \varepsilon}}
# $$ (eq-gpt-rms)
#
# $x$ and $\gamma$ have $D$ numbers; $\varepsilon$ is $10^{-6}$ or so. {cite:t}`zhang2019rms` leave out the mean of a layer norm; the shift went too, and $\varepsilon$ comes from the code. On paper: $x = (1, 1, 3, 3)$ has mean square 5, so with $\gamma = 1$ and without $\varepsilon$ it
# becomes $x / \sqrt 5$; a layer norm gives $(-1, -1, 1, 1)$.

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
# GPT-2 adds a vector of the place to the token. {cite:t}`su2024` turn queries and keys instead. The $d_k$ numbers of a head are $d_k / 2$ pairs; at position $m$, pair $i = 0, \dots, d_k/2 - 1$ is turned by the angle $m\,\omega_i$:
#
# $$
# R_m \begin{pmatrix} x \\ y \end{pmatrix} =
# \begin{pmatrix} x \cos m\omega_i - y \sin m\omega_i \\ y \cos m\omega_i + x \sin m\omega_i \end{pmatrix},
# \qquad \omega_i = \theta^{-2i / d_k}
# $$ (eq-gpt-rotary)
#
# Here $\theta$ is a base, 10,000 in the paper and a million in some models for long texts; elsewhere in the book $\theta$ means all weights. In the next line $m$ and $n$ are the positions of query and key, and $R_m q$ turns each pair of $q$ by its own angle. Turning both by the same angle changes no dot product, so
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
    print(m, n, round((q * k).sum().item(), 3) + 0.0)  # -0.0 becomes 0.0

# %% [markdown]
# {numref}`fig-gpt-rotary` has three pairs, of which the first is the fastest. Press *Both one on*: the arrows turn and the product stays. Then move one slider alone.

# %% tags=["remove-input"] mystnb={"figure": {"caption": "A query and a key of three pairs. Each pair turns by its own angle a position; below, their product for every distance. (In print: the query at one position, the key at another; the dot in the curve is their distance.)", "name": "fig-gpt-rotary"}, "image": {"alt": "Three circles, in each an arrow for the query and one for the key, turned by their positions; below, a curve of the dot product over the distance, which swings and is highest near zero."}}
RotaryExplorer([1.0, 0.9, 0.8, 0.2, 0.3, 0.4], [0.9, 1.0, 0.7, 0.3, 0.1, 0.5],
               rotary_frequencies(6, 1000.0).tolist())

# %% [markdown]
# There is no table of positions that could be too short. That does not mean that a model *works* beyond the lengths that it was trained on; without the scalings that *What came after* names it mostly does not {cite}`chen2023`.
#
# ### SwiGLU: a gate
#
# $$
# \operatorname{swiglu}(x) = \left(\operatorname{silu}(x W_1) \odot x W_3\right) W_2, \qquad \operatorname{silu}(z) = \frac{z}{1 + e^{-z}}
# $$ (eq-gpt-swiglu)
#
# $W_1$ and $W_3$ are $D \times F$, $W_2$ is $F \times D$; $F$ is the hidden width. The first product, through silu, decides number by number how much of the second passes {cite}`shazeer2020`. Three matrices instead of two: with $F = \frac83 D$ it has as many parameters as the
# plain one with $4D$, since $3 \cdot \frac83 D^2 = 2 \cdot 4 D^2$. By hand, with all widths 1, $W_1 = 1$, $W_3 = 2$, $W_2 = 3$ and $x = 2$: $\operatorname{silu}(2) = 1.762$, the gate times $4$ is $7.05$, the output $21.14$.

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
# where $b$ is the bytes of a number. In GPT-2, $G = H$. With **grouped queries** {cite}`ainslie2023` each of $G < H$ key and value heads is read by $H / G$ query heads, and the cache is $H / G$ times smaller. By hand: $B = 1$, $L = 4$, $S = 100$, $G = 5$, $d_k = 32$
# in 4 bytes is $2 \cdot 4 \cdot 100 \cdot 5 \cdot 32 \cdot 4 = 512{,}000$ bytes, which is our shipped model after 100 tokens.

# %% tags=["nbval-check-output"]
from mmcourse.gpt import cache_bytes


def after_100(model):
    """Bytes of the cache after 100 tokens."""
    cache = {}
    with torch.no_grad():
        model(torch.ones(1, 100, dtype=torch.long), cache=cache)
    return cache_bytes(cache)


assert after_100(shipped) == 2 * 1 * 4 * 100 * 5 * 32 * 4
print(f"shipped, {len(shipped.layers)} layers: {after_100(shipped):,} bytes")
for kv_heads in (8, 2):
    model = Llama(2048, 128, layers=4, heads=8, kv_heads=kv_heads, hidden=352, context=128)
    assert after_100(model) == 2 * 1 * 4 * 100 * kv_heads * 16 * 4
    print(f"Llama, 8 heads of width 16, {kv_heads} keep keys and values: {after_100(model):,} bytes")

# %% [markdown]
# Two of eight heads need a quarter. In the attention, query head $h$ (from 0) reads keys and values number $\lfloor h / (H / G) \rfloor$; that is inside `grouped_attention`:

# %% tags=["remove-input"]
show_source(GroupedQueryAttention.forward)

# %% [markdown]
# Qwen2 adds biases to query, key and value; Qwen3 takes them away again and puts an RMSNorm on each query and key; Mistral lets a token see only the last few thousand, a **sliding window** (`window`). The loader knows all of them. The same comparison as for GPT-2:

# %%
small = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
         "intermediate_size": 40, "max_position_embeddings": 90, "vocab_size": 37}
makers |= {"LlamaForCausalLM": small, "MistralForCausalLM": small | {"sliding_window": 11},
           "Qwen2ForCausalLM": small, "Qwen3ForCausalLM": small | {"head_dim": 6}}
worst = max(report(name) for name in makers if "GPT2" not in name)

# %% tags=["remove-cell"]
glue("gpt_parity_today", float(worst), display=False)

# %% [markdown]
# No logit differs by more than {glue:text}`gpt_parity_today:.0e`. With an internet connection `Llama.from_transformers("Qwen/Qwen3-0.6B")` reads real weights in the same way, whose training cost far more than this course.
#
# ### Which block is better?
#
# We measure it at this size, on this dictionary: three layers, width 96, about as many parameters, and *as much time* for each arm, so that the number of steps of each follows from its seconds a step. Each arm has the best of several learning rates, chosen on validation lines with half of the steps, and three seeds. The decay is 0.1 for all and was not tuned. The whole table
# takes longer than a page may, so it is stored with the command that made it; below we do a small part of it again. After ± stands half of a 95 % interval. Two things vary, and their squares are added: the seed (Student $t$, {glue:text}`gpt_student:.2f` for three seeds, as in [chapter 3](03_text.py)), and the test lines, which a bootstrap draws again.

# %%
from mmcourse.recipes import gpt_studies

study = gpt_studies.read("blocks")
print(study["command"], f"({study['seconds']} s of one core)")
table = {row["arm"]: row for row in study["rows"]}
for name, row in table.items():
    value, half = gpt_studies.interval(row["bits of lines"], row["bytes of lines"])
    rates = sorted(float(rate) for rate in row["rates"])
    assert rates[0] < row["rate"] < rates[-1]  # the best rate is not at the edge
    print(f"{name:16} {row['parameters']:,} parameters, {row['steps']} steps, rate {row['rate']:g} "
          f"of {rates[0]:g} to {rates[-1]:g}: {value:.3f} ± {half:.3f} bits a byte")


def difference(first, second):
    """Bits a byte of one arm less another's on the same lines, and half the interval."""
    gaps = np.subtract(table[first]["bits of lines"], table[second]["bits of lines"])
    return gpt_studies.interval(gaps, table[first]["bytes of lines"])


for first, second in (("GPT-2", "today"), ("today", "today, all heads")):
    value, half = difference(first, second)
    print(f"{first} less {second}: {value:+.3f} ± {half:.3f}")

# %%
live = {}
for name in ("GPT-2", "today"):
    model = gpt_studies.pretrain(gpt_studies.ARMS[name], 60, table[name]["rate"], seed=5)
    live[name] = gpt_studies.gloss_bits(model, fine, "test", 100)
    print(f"{name:6} after 60 steps: {live[name]:.3f} bits a byte on 100 lines")

# %% tags=["remove-cell"]
gain, gain_half = difference("GPT-2", "today")
groups, groups_half = difference("today", "today, all heads")
glue("gpt_student", STUDENT, display=False)
glue("gpt_gain", gain, display=False)
glue("gpt_gain_half", gain_half, display=False)
glue("gpt_groups", groups, display=False)
glue("gpt_groups_half", groups_half, display=False)
if abs(gain) <= gain_half:
    verdict = "the two cannot be told apart here"
else:
    verdict = "today's block is better here" if gain > 0 else "GPT-2's block is better here"
glue("gpt_verdict", verdict, display=False)
groups_verdict = "cannot be told from nothing" if abs(groups) <= groups_half else "is more than seeds and lines explain"
glue("gpt_groups_verdict", groups_verdict, display=False)
same = (live["GPT-2"] > live["today"]) == (gain > 0)
glue("gpt_live", "the same order" if same else "the other order", display=False)

# %% [markdown]
# GPT-2's block less today's: {glue:text}`gpt_gain:.3f` ± {glue:text}`gpt_gain_half:.3f` bits a byte; {glue:text}`gpt_verdict`. Which of the four parts does it, this table does not say, but for one. The third row gives every head its own keys and values, with a narrower SwiGLU in exchange: with groups it needs {glue:text}`gpt_groups:.3f` ± {glue:text}`gpt_groups_half:.3f` more, which {glue:text}`gpt_groups_verdict`. The reason for grouped queries is the cache, not the loss. (Rates were tried three times apart, and of longer trainings the table says nothing.) The small run above, one seed and 60 steps on 100 lines, has {glue:text}`gpt_live`; it says nothing about the table, and shows that the command runs.
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
# 0 stands for tokens that are read and not counted, 1 for the answer. A character outside the merges is cut into bytes, and a part of one is shown as �.
#
# **Classification by prompt.** `a flower with petals = plant`: the answer is the most probable of eight names of kinds. The network starts once from the shipped weights, once from nothing (with first weights as wide as its width asks for, as in the study of blocks). Beside it stands the baseline of chapter 3, a bag of words with the same labels. Each has the best of several rates (the bag: of several strengths), by the loss on validation glosses.

# %%
study = gpt_studies.read("classification")
print(study["command"], f"({study['seconds']} s of one core), {study['steps']} steps")
kinds = [gloss.kind for gloss in gpt_studies.glosses("test")]
most = max(map(kinds.count, set(kinds))) / len(kinds)
unasked = np.mean(study["rows"][0]["each"])
print(f"{len(study['rows'][0]['each'])} test glosses; always the most frequent kind: {most:.2f}; "
      f"asked without training: {unasked:.2f}")
marks = {}
for row in study["rows"][1:]:
    marks.setdefault((row["start"], row["labels"]), []).append(row["each"])
    rates = sorted(float(rate) for rate in row["rates"])
    assert rates[0] < row["rate"] < rates[-1]  # the best rate is not at the edge
for (name, labels), each in marks.items():
    value, half = gpt_studies.interval(each)
    print(f"{labels:5} labels, {name:12} {value:.2f} ± {half:.2f} right")

# %%
gains = {}
for labels in (200, 1000):
    for other in ("from nothing", "bag of words"):
        gaps = np.subtract(marks["pre-trained", labels], marks[other, labels])
        gains[other, labels] = gpt_studies.interval(gaps)
        value, half = gains[other, labels]
        print(f"{labels:5} labels, pre-trained less {other}: {value:+.2f} ± {half:.2f}")

# %% tags=["remove-cell"]
def compared(value, half, better, worse, even):
    """One of three sentences."""
    return even if abs(value) <= half else better if value > 0 else worse


glue("gpt_kinds_most", float(most), display=False)
glue("gpt_kinds_unasked", float(unasked), display=False)
glue("gpt_unasked_place", "below" if unasked < most else "not below", display=False)
for name, key in (("pre-trained", "pre"), ("from nothing", "nothing"), ("bag of words", "bag")):
    glue(f"gpt_kinds_{key}", float(np.mean(marks[name, 1000])), display=False)
for other, key in (("from nothing", "nothing"), ("bag of words", "bag")):
    for labels in (200, 1000):
        value, half = gains[other, labels]
        glue(f"gpt_gain_{key}_{labels}", f"{value:+.2f} ± {half:.2f}", display=False)
glue("gpt_bag_verdict", compared(
    *gains["bag of words", 1000],
    "the network is ahead",
    "the bag is ahead, and no language model is needed for this task",
    "the two cannot be told apart, and no language model is needed for this task",
), display=False)
glue("gpt_kind_steps", study["steps"], display=False)
glue("gpt_shots", f"{175e9 / parameters(shipped):,.0f}", display=False)

# %% [markdown]
# With 1,000 labels the network is right for {glue:text}`gpt_kinds_pre:.0%` of the glosses from the shipped weights and for {glue:text}`gpt_kinds_nothing:.0%` from nothing, and a bag of words with the same labels for {glue:text}`gpt_kinds_bag:.0%`. What pre-training adds to the same network is {glue:text}`gpt_gain_nothing_200` with 200 labels and {glue:text}`gpt_gain_nothing_1000` with 1,000. The networks had {glue:text}`gpt_kind_steps:d` steps, so this is about few steps as much as about few labels. Pre-trained less bag of words is {glue:text}`gpt_gain_bag_200` and {glue:text}`gpt_gain_bag_1000`: with 1,000 labels {glue:text}`gpt_bag_verdict`. (The network has read the glosses of the labels, and many more of that dictionary, without their kinds; those of the test it never read.)
# Asked without any training the model is at {glue:text}`gpt_kinds_unasked:.0%`, {glue:text}`gpt_unasked_place` the {glue:text}`gpt_kinds_most:.0%` of always naming the most frequent kind. (Our guess: it has never seen a line of this form.) Models that answer prompts nobody trained, best with a few examples in the prompt, have billions of parameters: {cite:t}`brown2020` had 175 billion, {glue:text}`gpt_shots` times ours.
#
# **Translation.** From an English caption to the Mandarin one, with {glue:text}`gpt_taught:,` pairs to learn from. **BLEU-4** says how many runs of up to four characters the translation shares with the wanted one, from 0 to 1 ([chapter 13](13_evaluation.py) has the formula). A Mandarin noun asks for its **measure word**, 一只猫 but 一辆车; we count it where the right noun is named. Rows *val* are new scenes of the known kind. Rows *composition* are new in one of two ways: a *pair* of nouns, or a colour on a noun (*binding*), that no caption of pre-training or fine-tuning ever showed. The dictionary does name a few of these bindings, in English; scenes with one of them are left out:

# %% tags=["hide-input"]
from mmcourse.evaluation import bleu_counts, bleu_from_counts
from mmcourse.gpt import measure_words

study = gpt_studies.read("translation")
print(study["command"], f"({study['seconds']} s of one core), {study['steps']} steps")
print("left out:", ", ".join(study["in dictionary"]))
STARTS = ("pre-trained", "from nothing")
exact, shared, nouns = {}, {}, {}  # of each start and split, for each seed: a row for each scene
for row in study["rows"]:
    key = row["start"], row["split"]
    wanted = [recipe.mandarin(row["split"], number) for number in row["scenes"]]
    scenes = [recipe.described(row["split"], number)[0] for number in row["scenes"]]
    exact.setdefault(key, []).append([int(a == b) for a, b in zip(row["texts"], wanted, strict=True)])
    shared.setdefault(key, []).append(bleu_counts(*gpt_studies.spelled(row["texts"], wanted)))
    found = [measure_words(text, scene) for text, scene in zip(row["texts"], scenes, strict=True)]
    nouns.setdefault(key, []).append(np.array(found))  # (scenes, 2): named, and with measure word
    rates = sorted(float(rate) for rate in row["rates"])
    assert rates[0] < row["rate"] < rates[-1]  # the best rate is not at the edge
for (start, split), each in exact.items():
    value, half = gpt_studies.interval(each)
    score = np.mean([bleu_from_counts(counts.sum(0))[3] for counts in shared[start, split]])
    named, with_word = np.sum(nouns[start, split], (0, 1))
    print(f"{start:12} {split:11} exact {value:.2f} ± {half:.2f}, BLEU-4 {score:.2f}, "
          f"{named} nouns right, {with_word} of them with their measure word")

# %% tags=["hide-input"]
def gap(score, split, table):
    """Mean score of the seeds of the first start less that of the second, and half its interval."""
    def less(*rows):
        values = [score(row.sum(0)) for row in rows]
        return np.mean(values[:len(rows) // 2]) - np.mean(values[len(rows) // 2:])

    first, second = (table[start, split] for start in STARTS)
    seeds = [less(a, b) for a, b in zip(first, second, strict=True)]
    drawn = bootstrap(less, *first, *second, draws=300)
    half = STUDENT * np.std(seeds, ddof=1) / math.sqrt(3)
    return drawn.value, math.hypot(half, (drawn.high - drawn.low) / 2)


gaps = {}
for split in ("val", "composition"):
    first, second = (exact[start, split] for start in STARTS)
    gaps[split] = {
        "exact": gpt_studies.interval(np.subtract(first, second)),
        "BLEU-4": gap(lambda counts: bleu_from_counts(counts)[3], split, shared),
        "measure words": gap(lambda counts: counts[1] / max(counts[0], 1), split, nouns),
    }
    shown = ", ".join(f"{name} {value:+.2f} ± {half:.2f}" for name, (value, half) in gaps[split].items())
    print(f"{split:11} pre-trained less from nothing: {shown}")

# %% tags=["hide-input"]
kinds_of_scene = {}
for row in study["rows"][:2]:
    for place, (number, new) in enumerate(zip(row["scenes"], row["novelty"], strict=True)):
        things = len(recipe.described(row["split"], number)[0].groups)
        name = f"{'known' if new == 'none' else 'new ' + new}, {things} noun{'s' * (things - 1)}"
        kinds_of_scene.setdefault((row["split"], name), []).append(place)
whole = {}
for (split, name), places in sorted(kinds_of_scene.items(), key=lambda item: item[0][1]):
    shares = [np.mean(np.array(exact[start, split])[:, places]) for start in STARTS]
    whole[name] = shares
    print(f"{name:20} {len(places):3} scenes, exactly right: " + ", ".join(
        f"{start} {share:.0%}" for start, share in zip(STARTS, shares, strict=True)))

# %% tags=["remove-cell"]
for start, key in (("pre-trained", "pre"), ("from nothing", "nothing")):
    for split in ("val", "composition"):
        glue(f"gpt_exact_{split}_{key}", float(np.mean(exact[start, split])), display=False)
    named, with_word = sum(np.sum(nouns[start, split], (0, 1)) for split in ("val", "composition"))
    glue(f"gpt_named_{key}", int(named), display=False)
    glue(f"gpt_measures_{key}", float(with_word / named), display=False)
glue("gpt_groups_asked", sum(row["groups"] for row in study["rows"] if row["start"] == "pre-trained"), display=False)
glue("gpt_translation_steps", int(study["steps"]), display=False)
glue("gpt_taught", int(study["taught"]), display=False)
for split in ("val", "composition"):
    for name, key in (("exact", "exact"), ("BLEU-4", "bleu"), ("measure words", "words")):
        value, half = gaps[split][name]
        glue(f"gpt_{key}_gap_{split}", f"{value:+.2f} ± {half:.2f}", display=False)
    glue(f"gpt_verdict_{split}", compared(
        *gaps[split]["exact"], "pre-training helps", "pre-training does harm", "none that can be told"
    ), display=False)
    value, half = gaps[split]["measure words"]
    assert value > half  # the text says so
assert max(whole["known, 2 nouns"]) < 0.03 and max(whole["new pair, 2 nouns"]) < 0.03

# %% [markdown]
# After {glue:text}`gpt_translation_steps:d` steps, in new scenes of the known kind, a share of {glue:text}`gpt_exact_val_pre:.2f` of the sentences is exactly right from the shipped weights, and {glue:text}`gpt_exact_val_nothing:.2f` from nothing: a difference of {glue:text}`gpt_exact_gap_val` ({glue:text}`gpt_verdict_val`). In new compositions it is {glue:text}`gpt_exact_composition_pre:.2f` and {glue:text}`gpt_exact_composition_nothing:.2f`, {glue:text}`gpt_exact_gap_composition` ({glue:text}`gpt_verdict_composition`). But the last table shows that sentences with two nouns are never or hardly ever right, *known or new*: that no new pair is right says nothing about new pairs.
#
# What the shipped weights bring most clearly is Mandarin. Of {glue:text}`gpt_groups_asked:d` nouns in all runs of an arm, they name {glue:text}`gpt_named_pre:d` rightly, and the other arm {glue:text}`gpt_named_nothing:d`; but where the noun is right, so is its measure word for {glue:text}`gpt_measures_pre:.0%`, and from nothing for {glue:text}`gpt_measures_nothing:.0%` (differences {glue:text}`gpt_words_gap_val` and, in compositions, {glue:text}`gpt_words_gap_composition`). The network has read thousands of Mandarin captions, and never one beside its English. (BLEU-4 counts "on the grass there is" as much as the cat; the arms differ by {glue:text}`gpt_bleu_gap_val` and {glue:text}`gpt_bleu_gap_composition`.)
# This is a small grammar; it shows how a language model is made to translate, and little about translation. Here is a small part of it again, 40 steps from the shipped weights:

# %%
pairs, _ = gpt_studies.translation_pairs("train", gpt_studies.scenes("train", 1000, first=40_000))
begun = gpt_studies.starting_points()["pre-trained"](0)
tuned = gpt_studies.fit(begun, gpt_studies.pairs_batch(pairs, 0), 40, 2e-3)
numbers = gpt_studies.scenes("composition", 4)
new, _ = gpt_studies.translation_pairs("composition", numbers)
for number, text in zip(numbers, gpt_studies.translate(tuned, [prompt for prompt, _ in new]), strict=True):
    print(recipe.english("composition", number))
    print("  wrote ", text)
    print("  wanted", recipe.mandarin("composition", number))

# %% [markdown]
# None of the four says what it should. They are whole Mandarin captions, of things that the English mostly does not name: after 40 steps the model writes Mandarin when asked, and hardly looks at the English yet.
#
# ## Scaling: a line on paper, and its edges
#
# How much better does a larger model get, or one that reads more? {cite:t}`kaplan2020` found straight lines on logarithmic paper, {cite:t}`hoffmann2022` fit the sum
#
# $$
# \mathcal{L}(N, n) = E + \frac{A}{N^{\alpha}} + \frac{B}{n^{\beta}}
# $$ (eq-gpt-scaling)
#
# of what cannot be predicted ($E$, not the embeddings of chapter 3), what a small model lacks, and what few data leave open: $N$ parameters (here without the tables, as {cite:t}`kaplan2020` count), $n$ training tokens, none of them read twice (here $n$ is no order of an n-gram and no position), and five numbers to be fitted. We trained four sizes on the most tokens, and the largest size on four numbers of tokens, three seeds each. The learning rate was chosen for each size, on half of the most tokens; the decay is 0.1 for all.

# %%
study = gpt_studies.read("scaling")
print(study["command"], f"({study['seconds']} s of one core)")
largest = max(row["parameters"] for row in study["rows"])
most = max(row["tokens"] for row in study["rows"])
print(f"{study['text']:,} tokens in the text, at most {most:,} of them read")
by_size, by_tokens = {}, {}
for row in study["rows"]:
    rates = sorted(float(rate) for rate in row["rates"])
    assert rates[0] < row["rate"] < rates[-1]  # the best rate is not at the edge
    if row["tokens"] == most:
        by_size.setdefault(row["parameters"], []).append(row["bits"])
    if row["parameters"] == largest:
        by_tokens.setdefault(row["tokens"], []).append(row["bits"])
for name, found in (("parameters", by_size), ("tokens", by_tokens)):
    for amount, values in found.items():
        print(f"{amount:9,} {name:10} {np.mean(values):.3f} bits a byte, "
              f"seeds {min(values):.3f} to {max(values):.3f}")

# %%
def power(amounts, values):
    """The exponent a of y = c x^-a, by least squares of the logarithms."""
    return -np.polyfit(np.log(list(amounts)), np.log(values), 1)[0]


assert abs(power([1, 4, 16], [8.0, 4.0, 2.0]) - 0.5) < 1e-12  # 8 / sqrt(x)

fitted = {}
for name, found in (("parameters", by_size), ("tokens", by_tokens)):
    each = [power(found, values) for values in zip(*found.values(), strict=True)]  # of each seed
    fitted[name] = np.mean(each), STUDENT * np.std(each, ddof=1) / math.sqrt(3)
    print(f"exponent over {name}: {fitted[name][0]:+.4f} ± {fitted[name][1]:.4f}; above 0 the bits fall")

# %% tags=["remove-cell"]
amounts = list(by_size)
heights = [np.mean(values) for values in by_size.values()]
slope, height = np.polyfit(np.log(amounts[:3]), np.log(heights[:3]), 1)
for name, key in (("parameters", "size"), ("tokens", "tokens")):
    value, half = fitted[name]
    glue(f"gpt_exponent_{key}", f"{value:.4f} ± {half:.4f}", display=False)
    falls = compared(value, half, "the bits fall", "the bits rise", "no fall can be told from the seeds")
    glue(f"gpt_falls_{key}", falls, display=False)
glue("gpt_alpha_first", float(power(amounts[:2], heights[:2])), display=False)
glue("gpt_alpha_last", float(power(amounts[2:], heights[2:])), display=False)
glue("gpt_foretold", float(np.exp(height + slope * np.log(amounts[3]))), display=False)
glue("gpt_real", float(heights[3]), display=False)
glue("gpt_seed_spread", float(np.ptp(by_size[amounts[3]])), display=False)
glue("gpt_fold_size", float(amounts[3] / amounts[0]), display=False)
glue("gpt_fold_tokens", float(max(by_tokens) / min(by_tokens)), display=False)

# %% mystnb={"figure": {"caption": "Bits a byte over the number of parameters (left) and of training tokens (right), all axes logarithmic. Each dot is a seed; the line is the power law through the means.", "name": "fig-gpt-scaling"}, "image": {"alt": "Two panels with four groups of three dots each and a fitted line. In both, dots and line fall from left to right. On the left the dots bend: at the right end they fall more slowly than the line."}} tags=["hide-input"]
figure, panels = plt.subplots(1, 2, figsize=(6.8, 2.8), sharey=True)
laws = (("parameters", by_size), ("tokens", by_tokens))
for panel, (name, found), colour in zip(panels, laws, (BLUE, ORANGE), strict=True):
    x = np.array(list(found))
    slope, height = np.polyfit(np.log(x), np.log([np.mean(values) for values in found.values()]), 1)
    panel.plot(x, np.exp(height + slope * np.log(x)), color=GREY, linewidth=1)
    for amount, values in found.items():
        panel.plot([amount] * len(values), values, ".", color=colour)
    panel.set(xscale="log", yscale="log", xlabel=name)
    panel.set_xticks(x, [f"{value:,}" for value in found], fontsize=7)
    panel.xaxis.minorticks_off()
    panel.yaxis.set_major_formatter("{x:.2f}")
    panel.yaxis.set_minor_formatter("{x:.2f}")
panels[0].set(ylabel="bits a byte");

# %% [markdown]
# Over size ({glue:text}`gpt_fold_size:.0f` times) {glue:text}`gpt_falls_size`; over tokens ({glue:text}`gpt_fold_tokens:.0f` times) {glue:text}`gpt_falls_tokens`. The exponents, {glue:text}`gpt_exponent_size` and {glue:text}`gpt_exponent_tokens` (Student $t$ over three seeds, all on the same test lines), are those of *this* text, *this* tokenizer and these lengths of training. They are not $\alpha$ and $\beta$: a straight line has no $E$, and where $E$ is large its slope is much smaller. Four points invite a line whatever they are: between the first two sizes the exponent is {glue:text}`gpt_alpha_first:.3f`, between the last two {glue:text}`gpt_alpha_last:.3f`. The line through
# the three smaller sizes foretells {glue:text}`gpt_foretold:.3f` for the largest; it is {glue:text}`gpt_real:.3f`, and its seeds lie {glue:text}`gpt_seed_spread:.3f` apart. (The formula has room for that: with $n$ fixed, its last term stays however large $N$ is.) Three seeds can agree by luck, so do not trust the narrower of the two intervals. Both know the seeds, and nothing of a wrong formula, or of a learning rate that was chosen on fewer tokens. So a scaling law may be used to plan a run *near* those that it was fitted to. It may not be used to
# promise what a hundred times more would give, to compare two texts or tokenizers, or to foretell an ability. The five numbers of {eq}`eq-gpt-scaling` cannot be had from so few runs; even its published fit had intervals much too narrow, and other numbers when {cite:t}`besiroglu2024` fitted it again.
#
# ## Speed, beside transformers
#
# The same weights, greedy, with a cache, float32, one thread; both write the same tokens. The median of three runs in turns.

# %% tags=["hide-input"]
config = transformers.GPT2Config(vocab_size=2048, n_embd=128, n_layer=4, n_head=4, n_positions=128,
                                 bos_token_id=0, eos_token_id=None, pad_token_id=0)
their_gpt = transformers.GPT2LMHeadModel(config).eval()
with tempfile.TemporaryDirectory() as folder:
    their_gpt.save_pretrained(folder)
    our_gpt = GPT.from_transformers(folder)


def theirs(ids):
    """40 tokens for each row."""
    found = their_gpt.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40)
    return found[:, ids.shape[1]:].tolist()


def ours(ids, unused):
    """The same; ``unused`` is an id that is not written, so that nothing ends early."""
    return our_gpt.generate(ids.tolist(), end=unused, max_length=40).tokens


def seconds(run, *arguments):
    begin = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - begin


# %%
speeds = {}
threads = torch.get_num_threads()
torch.set_num_threads(1)
for batch in (1, 32):
    ids = torch.randint(1, 2048, (batch, 8), generator=torch.Generator().manual_seed(0))
    written_by_them = theirs(ids)
    unused = min(set(range(2048)) - {number for row in written_by_them for number in row})
    assert ours(ids, unused) == written_by_them
    times = {"ours": [], "theirs": []}
    for _ in range(3):
        times["ours"].append(seconds(ours, ids, unused))
        times["theirs"].append(seconds(theirs, ids))
    speeds[batch] = np.median(times["theirs"]) / np.median(times["ours"])
    print(f"batch {batch:2}: ours {batch * 40 / np.median(times['ours']):6.0f} tokens a second, "
          f"theirs {batch * 40 / np.median(times['theirs']):6.0f}, ratio {speeds[batch]:.1f}")
torch.set_num_threads(threads)

# %% tags=["remove-cell"]
glue("gpt_speed_one", float(speeds[1]), display=False)
glue("gpt_speed_many", float(speeds[32]), display=False)

# %% [markdown]
# Ours writes {glue:text}`gpt_speed_one:.1f` times as many tokens a second alone and {glue:text}`gpt_speed_many:.1f` times in a batch of 32 on the machine that made this page. The arithmetic is the same. Our guess is that a small model spends much of its time in the Python around it; then the difference would shrink as the model grows, which we have not measured.
#
# ## What came after
#
# - **Mixture of experts.** Many feed-forward networks in each layer, of which a small router picks a few for each token: Mixtral has 8 and takes 2, so that of 47 billion parameters 13 billion work on a token {cite}`jiang2024`. Parameters become cheap in time, not in memory. An exercise builds one.
# - **Long context.** Rotary frequencies are slowed down so that a position beyond the training looks like one within: all alike in position interpolation {cite}`chen2023`, the slow pairs more than the fast ones in YaRN {cite}`peng2024` and in Llama 3's rule, which `rotary_frequencies` has. Mistral 7B looks at a window instead {cite}`jiang2023`.
# - **A smaller cache.** In place of grouped queries DeepSeek-V2 keeps, in each layer, one short vector a token, from which keys and values of all heads are computed, and a small rotary key {cite}`deepseek2024`. Sparse and linear attention we leave out.
# - **Another optimiser.** Muon makes the update of each matrix nearly orthogonal; {cite:t}`liu2025` trained a model of 16 billion parameters with it.
# - **What follows pre-training.** Fine-tuning on instructions with their answers, and then on what people prefer, makes a model answer {cite}`ouyang2022`; {cite:t}`rafailov2023` do the second part without reinforcement learning. ([Chapter 15](15_decoding.py) only chooses words.) [Chapter 22](22_vlm.py) has instructions and the losses of preferences, for a model that also sees.
#
# You know now what such a model computes, token by token, and what its published parts are. What you do not know of closed models, nobody outside does. So far all our tokens were words or parts of words; [chapter 5](05_vision.py) makes them of pictures.
#
# ## What goes wrong
#
# ### The first weights
#
# GPT draws its weights with a standard deviation of 0.02 {cite}`radford2018`. GPT-2 gives the last matrix of each sub-layer, whose output is added to the stream, less, by a factor of the root of the number of such sums {cite}`radford2019`: there are $2L$, so $0.02 / \sqrt{2L}$. It did so at a width of 768 and more. We change the first weights on the network with GPT-2's block and width 96, and train 100 steps; $0.057 = 0.02 \sqrt{768 / 96}$ gives sums of 96 products the size that GPT-2's have. The last row has 0.057 too, but for its two tables, for tokens and positions: they have PyTorch's default for embeddings, 1.

# %% tags=["hide-input"]
def with_spread(spread, shrink=True, tables=None):
    """``make`` for GPT-2's block with other first weights."""
    def make(vocab_size):
        model = gpt_studies.gpt_block(vocab_size)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                last = shrink and ("attention.output" in name or "feed_forward.3" in name)
                nn.init.normal_(parameter, std=spread / math.sqrt(6) if last else spread)  # 2 L = 6
        if tables:
            nn.init.normal_(model.embedding.weight, std=tables)
            nn.init.normal_(model.positions.weight, std=tables)
        return model
    return make


# %%
ways = {"0.02, shrunk": (0.02,), "0.02, all alike": (0.02, False), "0.057, shrunk": (0.057,),
        "0.057, tables 1": (0.057, True, 1.0)}
starts = {}
batch = gpt_studies.blocks_batch(fine_ids, 0)(0)[0]
print(f"log V = {math.log(len(fine)):.2f}")
for name, way in ways.items():
    torch.manual_seed(0)
    fresh_model = with_spread(*way)(len(fine))
    with torch.no_grad():
        logits = fresh_model(batch)
    first = next_token_loss(logits, batch).item()
    model = gpt_studies.pretrain(with_spread(*way), 100, 3e-3, seed=0)
    starts[name] = first, gpt_studies.gloss_bits(model, fine, "test", 100), logits.std().item()
    print(f"{name:15} logits ± {logits.std():5.2f}, first loss {first:6.2f}, "
          f"after 100 steps {starts[name][1]:.3f} bits a byte")

# %% tags=["remove-cell"]
keys = ("right", "alike", "wide", "large")
for key, (first, reached, _) in zip(keys, starts.values(), strict=True):
    glue(f"gpt_start_{key}", float(first), display=False)
    glue(f"gpt_start_{key}_bits", float(reached), display=False)
glue("gpt_start_logits", float(starts["0.057, tables 1"][2]), display=False)
assert starts["0.057, shrunk"][1] < starts["0.02, shrunk"][1] < starts["0.057, tables 1"][1]

# %% [markdown]
# A good start says "I do not know": its first loss is $\log V$. With tables of spread 1 the tied output layer gives logits with a standard deviation of {glue:text}`gpt_start_logits:.0f`, about $\sqrt{96}$: the first loss is {glue:text}`gpt_start_large:.0f`, and 100 steps later it needs {glue:text}`gpt_start_large_bits:.2f` bits a byte, against {glue:text}`gpt_start_wide_bits:.2f` with 0.057 everywhere and {glue:text}`gpt_start_right_bits:.2f` with 0.02. (Our guess: at a small width GPT-2's number is too small, and the loss stays long on a first plateau; one seed, one rate.) The shipped model started from 0.02 times the root of 768 over its width.
# Without the shrinking of the last weights it is {glue:text}`gpt_start_alike_bits:.2f`: with three layers and one seed, nothing can be said about it. {cite:t}`radford2019` introduced it for stacks of 12 to 48 layers.
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
# *Easy, 10 minutes.* GPT-2 (small) has $V = 50{,}257$, context 1,024, $D = 768$, 12 layers, biases everywhere, a tied output layer. How many parameters? First on paper, with $12 D^2 + 13 D$ for a layer. Then count: `with torch.device("meta"):` builds a model whose tensors have shapes and no numbers, `parameters(model)` counts, and the order of arguments is `GPT(vocab_size, width, layers, heads, context)`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-gpt-count
# :label: so-gpt-count
# :class: dropdown
# ````
# Tables: $(50{,}257 + 1{,}024) \cdot 768$. Layers: $12\,(12 \cdot 768^2 + 13 \cdot 768)$. The last norm: $2 \cdot 768$. Together 124,439,808, the "124M" under which it is known. (The paper's table says 117M.)

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
# {eq}`eq-gpt-cache`: $2 \cdot 32 \cdot 8192 \cdot 8 \cdot 128 \cdot 2$ bytes, one gibibyte; 32 texts need 32, and without groups four times that, 128. A model of these layers with a width of 4,096 has about 8 billion parameters, 16 GB: both caches are more than its weights.

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
# *Medium, 20 minutes.* A rotary model was trained on 128 tokens and shall read 256. With `{"rope_type": "linear", "factor": 2.0}` which angle does position 200 get, and which position of the training had it? What does it cost two neighbours, in their angle's difference? Check it with `rotary_frequencies(16, scaling=...)`. Llama 3's rule keeps a pair that turns more than `high_freq_factor` times in `original_max_position_embeddings` tokens, makes one that turns fewer than `low_freq_factor` times `factor` times slower, and blends between. Which of the eight pairs does it keep for
# `{"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128}`?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-gpt-interpolate
# :label: so-gpt-interpolate
# :class: dropdown
# ````
# That of position 100, in every pair: all lies within what was trained. But neighbours are now half as far apart. Llama 3's rule leaves alone what turns more than four times in 128 tokens, that is $\omega > 4 \cdot 2\pi / 128$: the first two of the eight. The third is in between, the rest are halved. Fast pairs tell neighbours apart and are often trained around the whole circle.

# %% tags=["nbval-check-output"]
plain = rotary_frequencies(16)
slow = rotary_frequencies(16, scaling={"rope_type": "linear", "factor": 2.0})
assert torch.allclose(200 * slow, 100 * plain)
rule = {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128}
ratio = rotary_frequencies(16, scaling=rule) / plain
print("turns in 128 tokens:", (128 * plain / (2 * math.pi)).tolist()[:4])
print("kept share of the speed:", ratio)
assert (ratio == 1).tolist() == [True] * 2 + [False] * 6 and 0.5 < ratio[2] < 1

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A mixture of experts
# :label: ex-gpt-experts
# ```
# *Hard, 40 minutes.* Write a layer with several SwiGLUs, the experts, and a linear router that sends each token to its best two, weighted by a softmax over those two. Show: (1) with equal experts it computes what one computes; (2) a token's output does not depend on the other tokens; (3) the experts that a token did not choose get no gradient from it.
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
# **1.** On text that it never read, a language model of words has a loss of 0.01 nats a token after ten minutes of training. What do you look at first?
#
# :::{dropdown} Whether labels are shifted and the future is hidden
# **Yes.** Both mistakes let the network read the answer, and both end near zero.
# :::
# :::{dropdown} Whether the learning rate is too high
# **No.** That shows as a loss that jumps or grows.
# :::
# :::{dropdown} Nothing: the model is large enough
# **No.** Fresh text cannot be foretold to the last word by any honest model. (On its *training* text a large model can come near zero by learning it by heart.)
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
# **No.** Both are turned by the same angle more, and a dot product does not see a common turn.
# :::
# :::{dropdown} It stays
# **Yes.** It depends on the distance, and that did not change.
# :::
# :::{dropdown} It changes sign, because in three steps the fastest pair has turned by almost half a circle
# **No.** So it has, in the query and in the key: the angle between them is the same.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** A checkpoint says `tie_word_embeddings: true` and holds two different tables. What does the loader of this chapter do, and why?
#
# :::{dropdown} It takes the output table, since it was trained last
# **No.** Nobody knows which is meant.
# :::
# :::{dropdown} It takes the first and says nothing, as the setting asks
# **No.** Many loaders do. But then logits are silently wrong, if the setting is what is wrong.
# :::
# :::{dropdown} It refuses, and names both
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
# - Bits a byte compares any two models of a text. {glue:text}`gpt_surprise` here: the counted {glue:text}`gpt_strongest` reaches {glue:text}`gpt_bits_ngram:.2f`, a small network {glue:text}`gpt_bits:.2f`, and both together {glue:text}`gpt_mixed:.2f`.
# - Today's block is GPT-2's with four changes: RMSNorm, rotary positions, SwiGLU, grouped queries. Our code with others' weights gives their numbers.
# - Fine-tuning is more training on prompts with answers, where only the answer counts. Ask for the cheap baseline too: a bag of words with the same labels.
# - A fitted power law is a summary of runs near it. GPT-4's inside is not published, so nothing here is a "simplified GPT-4".
#
# ## Further reading
#
# - {cite:t}`radford2018`, {cite:t}`radford2019` and {cite:t}`brown2020`: the three GPTs that are described. (One of the articles cites the third under a title that it does not have.)
# - {cite:t}`openai2023`: what is said of the fourth, and the sentence that says what is not.
# - {cite:t}`touvron2023`: three of the four parts in one page, section 2.2.
# - {cite:t}`su2024`, {cite:t}`zhang2019rms`, {cite:t}`shazeer2020`, {cite:t}`ainslie2023`: its four parts.
# - {cite:t}`chen1999`: how to compare smoothed counters, and language models at all.
# - {cite:t}`hoffmann2022` with {cite:t}`besiroglu2024`: a scaling law, and its repair.

# %% tags=["remove-cell"]
assert told and counting_wins  # which the caption says
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
