# ---
# jupyter:
#   course: {notebook: notebooks/articles.ipynb}
# ---

# %% [markdown]
# # The articles, corrected
#
# Five Chinese articles share the title 多模态大模型：技术原理与实战 (*multimodal large models: principles and practice*). They promise, from the formula of attention to applications, much of what this course does. In at least fourteen places they are wrong: a formula that is not defined, a call that cannot run, a model that was built otherwise, a paper that cannot be found.
#
# At the end you can find your article and section, see the error as a number or as a message of the machine, and have the right form beside it. You also know where the article has a point: **we read each claim in the way that is kindest to it**, and say what is then left of the error. That a sentence of theirs is not listed does not mean that it is right. Three smaller faults are mended where they come up: padding that is read, in [chapter 3](03_text.py); a network without a layer that answers, in [chapter 9](09_fusion.py); and adversarial alignment taken for a network that generates, in [chapter 11](11_alignment.py).
#
# The articles have no numbers of their own. We number them, and you know them by this:
#
# | number | how you know it |
# |---|---|
# | 000 | subtitle GPT的创新点总结; code with a class `MultimodalTransformer` |
# | 001 | subtitle 多模态大模型的核心技术; takes DALL-E as its example throughout |
# | 002 | TensorFlow code with `TextEncoder`, `ImageEncoder`, `CrossModalFusion` and `MultiModalModel` |
# | 003 | §1.1 is called 多模态大模型的定义与意义; code with `GPT2LMHeadModel` |
# | 004 | calls its subject *Multimodal Big Models, MMBM*; code with a class `GPT4` |
#
# The fourteen, what is left of each when it is read at its best, and what its cells are worth. A **proof** decides the claim by itself: a message of the machine, a number, a counterexample. An **example** only shows what is meant; how a published model was built no cell can prove, and a paper has to decide it.
#
# | section | about | at its best | shown by |
# |---|---|---|---|
# | {ref}`000 §4.2 <articles-000-4-2>` | a sum of words and patches | defined for as many patches as words; balances nothing | proof: the message, and two orders of the same patches |
# | {ref}`000 §5.2 <articles-000-5-2>` | BERT beside a vision Transformer | right for two vectors; does not run as written | proof: three messages |
# | {ref}`001 §2.1 <articles-001-2-1>` | the Transformer writes word by word | true of GPT and of the whole of 2017; not of BERT, not of DETR | proof for our networks; papers for theirs |
# | {ref}`001 §3.2 <articles-001-3-2>` | DALL-E is DETR and BERT | wrong | example; the paper decides |
# | {ref}`001 §3.2.1 <articles-001-3-2-1>` | DETR learns without labels | wrong of DETR; true of others | example; the paper decides |
# | {ref}`001 §4.2.3 <articles-001-4-2-3>` | text times picture | not defined | proof for the plain product: the message; five other products by their shapes |
# | {ref}`001 §5.2 <articles-001-5-2>` | loading DALL-E | does not run | proof: the last line; whether the name exists is left open |
# | {ref}`002 §4.2 <articles-002-4-2>` | a likelihood for each modality | true of outputs that ignore the other modalities | proof: two cases |
# | {ref}`002 §4.3 <articles-002-4-3>` | two opinions, multiplied | right up to a factor, if independent and with equal priors; in its own example they are not independent | proof: the sums |
# | {ref}`003 §3.2 <articles-003-3-2>` | a masked language model for GPT | half right | proof in a sentence, example by training; papers for who was trained how |
# | {ref}`003 §5.2 <articles-003-5-2>` | fine-tuning GPT-2 | does not run; its decoding does today; its labels teach copying | proof: the messages; example: two small trainings, one run each |
# | {ref}`004 §2 and §4 <articles-004-2>` | the inside of GPT-4 | a guess, told as a fact | the report; an example of why using it does not tell |
# | {ref}`004 §5 <articles-004-5>` | a simplified GPT-4 | does not run; mended, it looks ahead and ignores order | proof: two messages, and what the outputs hear of |
# | {ref}`000 and 001, §7.3 <articles-papers>` | papers to read | of seven titles, two real, one false title of a real work, four not found | looked up |
#
# All cells run without a network. At the bottom are six errors of our own making, for you to find.

# %% tags=["remove-cell"]
import itertools
import math
import textwrap

import matplotlib.pyplot as plt
import torch
import transformers
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

# %% tags=["remove-cell"]
from mmcourse.attention import scaled_dot_product_attention
from mmcourse.book.plotting import BLUE, GREY, ORANGE, use_style
from mmcourse.data import EmojiScenes
from mmcourse.data.world import DrawnWorld
from mmcourse.fusion import ConcatFusion, GatedFusion, MultimodalTransformer, combine, vote
from mmcourse.gpt import GPT, next_token_loss
from mmcourse.hub import load
from mmcourse.text import TextEncoder
from mmcourse.text_to_image import PictureGPT, to_images
from mmcourse.transformer import Decoder, Encoder, sinusoidal_positions
from mmcourse.vision import to_pixels

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## Article 000
#
# (articles-000-4-2)=
# ### §4.2 公式推导过程: words plus patches
#
# **Claimed.** Layer $l$ fuses text $H_T$ ($n$ vectors) and picture $H_I$ ($m$ vectors) by $\operatorname{MHA}(H_T, H_I) + (1 - \alpha_l)(H_T + H_I)$, where $\alpha_l$ balances text against picture.
#
# Six words and sixteen patches:

# %% tags=["raises-exception"]
torch.manual_seed(0)
H_T, H_I = torch.randn(1, 6, 8), torch.randn(1, 16, 8)  # (B, n, D) and (B, m, D)
H_T + H_I

# %% [markdown]
# **In its favour.** If $n = m$, or if one of the sides is a single vector, which is added to all rows of the other, the sum is defined. Two faults are left. It pairs word 1 with patch 1 for no reason, so the order in which patches are listed matters, where it does not matter to the attention. And $\alpha_l$ balances nothing: text and picture have the same weight, whatever it is. It only says how much of both stays beside the attention.

# %%
attention = nn.MultiheadAttention(8, 2, batch_first=True)
patches = torch.randn(1, 6, 8)  # as many as words
turned = patches.flip(1)  # the same patches, listed from the last to the first
with torch.no_grad():
    moved = attention(H_T, patches, patches)[0] - attention(H_T, turned, turned)[0]
print(f"other order: attention moves by {moved.abs().max():.1e}, "
      f"the sum by {(patches - turned).abs().max():.1f}")
print("alpha   weights of attention, text, picture   their sum")
for alpha in (0.0, 0.5, 1.0):
    print(f"{alpha:5}   {1.0:20} {1 - alpha:5} {1 - alpha:8}   {1 + 2 * (1 - alpha):9}")

# %% [markdown]
# **Right.** What the picture adds needs a row for each word, which is what attention gives. And a gate (门控) trades: its two weights sum to one, as in {eq}`eq-fusion-gate`.

# %%
fusion = GatedFusion(8, 2, 16)
with torch.no_grad():
    text, image = fusion.complete_both(H_T, H_I)
    context, alpha = fusion.open(text, image)
    gap = (fusion(H_T, H_I) - fusion(H_T, H_I.flip(1))).abs().max()
print("context", tuple(context.shape), "gate", tuple(alpha.shape),
      "fused", tuple(fusion(H_T, H_I).shape))
print("gate of word 1:", [round(value, 2) for value in alpha[0, 0].tolist()])
print(f"with the patches in another order the result moves by {gap:.1e}")

# %% [markdown]
# **Where it lives:** [chapter 9](09_fusion.py), which also measures what the gate is worth; in layers of a language model, [chapter 22](22_vlm.py).
#
# (articles-000-5-2)=
# ### §5.2 源代码详细实现: BERT beside a vision Transformer
#
# **Claimed.** `VisionTransformer` comes from `transformers`; last states of text and output of the picture are concatenated along dimension 1; a linear layer for the sum of both widths follows, and a layer to the vocabulary is the decoder. (It calls `torch.cat` and imports `torch.nn` only, which alone would stop it; we import `torch`.)

# %% tags=["raises-exception"]
from transformers import BertModel, VisionTransformer  # noqa: F401

# %% tags=["raises-exception"]
small = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
         "intermediate_size": 64}
bert = BertModel(BertConfig(vocab_size=50, **small)).eval()
vit = ViTModel(ViTConfig(image_size=32, patch_size=8, **small)).eval()
ids, pixels = torch.ones(2, 6).long(), torch.randn(2, 3, 32, 32)
torch.cat((bert(ids).last_hidden_state, vit(pixels)), dim=1)

# %% tags=["raises-exception"]
states = torch.cat((bert(ids).last_hidden_state, vit(pixels).last_hidden_state), dim=1)
print("joined:", tuple(states.shape))
nn.Linear(48 + 48, 48)(states)

# %% [markdown]
# **In its favour.** Another library may be meant: torchvision has a class `VisionTransformer`. It returns one row of class scores for each picture, of dimension 2, which cannot be joined to states of dimension 3, and it has no `.config`. Or *vectors* may be meant, one for each text and each picture. Then dimension 1 is the features, and the linear layer fits:

# %%
vectors = torch.cat((bert(ids).pooler_output, vit(pixels).pooler_output), dim=1)
fused = nn.Linear(96, 48)(vectors)
print("two vectors, side by side:", tuple(vectors.shape), "->", tuple(fused.shape))

# %% [markdown]
# So the layer is that of an honest concatenation (拼接), and `last_hidden_state` is what spoils it. **Right** are both ways, each with its layer: vectors, side by side, and a linear map (`ConcatFusion`); or sequences, one after the other, and attention over all of them (`MultimodalTransformer` of the package, which masks padding too).

# %%
words, patches = bert(ids).last_hidden_state, vit(pixels).last_hidden_state
print("concatenated vectors:", tuple(ConcatFusion(48, 64)(words, patches).shape))
answerer = MultimodalTransformer(bert, vit, answers=10)
print("one sequence, ten answers:", tuple(answerer(ids, pixels).shape))

# %% [markdown]
# A layer from each input place to the vocabulary does not decode: it cannot write a text of another length.
#
# **Where it lives:** [chapter 9](09_fusion.py); with a decoder that writes, [chapter 22](22_vlm.py).
#
# ## Article 001
#
# (articles-001-2-1)=
# ### §2.1 核心概念概述: "Transformer" as an autoregressive network
#
# **Claimed.** The Transformer is an autoregressive network, and BERT, GPT and DETR are built on it.
#
# An autoregressive model (自回归模型) gives each element from those before it. A network that reads a whole row at once does so only if output $t$ does not depend on inputs after $t$. Ask the network. Without positions, an encoder is **permutation equivariant** (置换等变): inputs in another order give the same outputs in that order. That alone decides the question. If the first output depended on the first input only, then by equivariance every output would depend on its own input only, and no word would hear of another. Conversely, where words hear of each other, the first hears of the last.

# %%
torch.manual_seed(0)
encoder, decoder = Encoder(2, 16, 4).eval(), Decoder(2, 16, 4).eval()
x, memory = torch.randn(1, 7, 16), torch.randn(1, 5, 16)
places = sinusoidal_positions(7, 16)
order = torch.randperm(7)
other = x.clone()
other[:, -1] = torch.randn(16)  # only the last input changes
with torch.no_grad():
    gap = (encoder(x[:, order]) - encoder(x)[:, order]).abs().max()
    print(f"encoder, inputs in another order against outputs in that order: {gap:.1e}")
    readers = {"encoder": encoder, "encoder with positions": lambda x: encoder(x + places),
               "decoder": lambda x: decoder(x, memory)}
    for name, read in readers.items():
        moved = (read(other) - read(x))[0, 0].abs().max()
        print(f"{name:24} first output moves by {moved:.4f}")

# %% [markdown]
# Positions break the equivariance, and the first output still hears of the last word. Only the decoder does not. **Right:** the causal mask (因果掩码) makes a network autoregressive, whatever it is called. The *same* encoder with a causal mask:

# %%
causal = torch.ones(7, 7, dtype=torch.bool).tril()  # True = may look
with torch.no_grad():
    moved = (encoder(other + places, causal) - encoder(x + places, causal)).abs().amax(-1)[0]
print("outputs move by", [round(value, 4) for value in moved.tolist()])

# %% [markdown]
# Only the last one hears of the last input. This is how [chapter 4](04_gpt.py) builds a GPT.
#
# **In its favour.** The Transformer of 2017 as a whole writes one word after another, so *it* is autoregressive {cite}`vaswani2017`, and so is GPT. BERT is not {cite}`devlin2019`, and DETR gives all its answers at once {cite}`carion2020`: two of the sentence's three examples refute it.
#
# **Where it lives:** [chapter 2](02_transformer.py), which draws who depends on whom. Its {eq}`eq-transformer-chain` is what *autoregressive* says.
#
# (articles-001-3-2)=
# ### §3.2 算法步骤详解: DALL-E from DETR and BERT
#
# **Claimed.** DALL-E has DETR for pictures and BERT for text, joins both, and an MLP and a decoder make pixels of them, trained on the difference to the true picture.
#
# What would that learn? The article does not name its loss; we take the squared error. Let a caption have two true pictures, equally often: here a scene and its mirror image. Which single answer has the least squared error?

# %%
scene = DrawnWorld("composition")[1]  # a scene of chapter 21
true = to_pixels(scene.image[None])[0]  # (3, H, W), from -1 to 1
mirrored = true.flip(-1)
answers = {"one of the two": true, "their mean": (true + mirrored) / 2}
for name, answer in answers.items():
    error = ((answer - true).square().mean() + (answer - mirrored).square().mean()) / 2
    print(f"{name:15} expected squared error {error:.4f}")

# %% [markdown]
# The mean wins, as it always does: no single answer has a smaller squared error. And it is a picture of nothing. So a model that draws must choose. That is why such a network would draw badly. That DALL-E is not such a network no cell can show; its paper does.
#
# **Right.** DALL-E chooses token by token {cite:p}`ramesh2021`: a **discrete variational autoencoder** (离散变分自编码器) makes a grid of numbers of a picture, and a decoder-only Transformer writes words and numbers in one row, by {eq}`eq-text_to_image-gpt`. Neither DETR nor BERT is part of it. In small, with our parts:

# %%
writer = PictureGPT(["a", "cat", "dog", "red"])
for name, part in writer.named_children():
    print(f"{name:12} {sum(p.numel() for p in part.parameters()):7,d} parameters")
codes = load("picture_codes").eval()
with torch.no_grad():
    tokens = codes.tokens(true[None])  # (1, 8, 8)
    row, mask = writer.join(writer.tokenize(["a red dog"]), tokens.flatten(1))
    rebuilt = to_images(codes.decode(tokens))[0].numpy()
print("one row:", row[mask][:8].tolist(), f"... {int(mask.sum())} tokens, 3 of them words")

# %% mystnb={"figure": {"caption": "From left to right: a scene; the mean of it and its mirror image, which the squared error on pixels would teach to draw; the 64 numbers that a quantizer makes of the scene, as shades; what the decoder makes of those numbers.", "name": "fig-articles-dalle"}, "image": {"alt": "Four small pictures: a clear drawn scene; a ghostly double of it; a grid of eight by eight shades of grey; and a coarse version of the first."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 4, figsize=(7.2, 1.9))
mean = to_images((true + mirrored)[None] / 2)[0].numpy()
parts = (scene.image, mean, tokens[0].numpy(), rebuilt)
titles = ("a scene", "the best single answer", "64 tokens", "decoded")
for panel, part, title in zip(axes, parts, titles, strict=True):
    panel.imshow(part, cmap="Greys")
    panel.set(title=title, xticks=[], yticks=[])

# %% [markdown]
# **In its favour.** The article describes *some* conditional generator, under a wrong name. DALL-E 2, which may have been meant, is another thing again: one model turns a CLIP embedding of the caption into one of a picture, and diffusion draws from it {cite:p}`ramesh2022`.
#
# **Where it lives:** [chapter 21](21_text_to_image.py).
#
# (articles-001-3-2-1)=
# ### §3.2.1 预训练视觉模型: DETR, pre-trained like BERT
#
# **Claimed.** DETR works like BERT and is pre-trained without labels, on large numbers of pictures, by an autoregressive task on ImageNet.
#
# DETR {cite:p}`carion2020` is a detector and learns from boxes with labels. It gives a *set* of predictions. Training first finds which prediction stands for which object, by the cheapest one-to-one assignment (**bipartite matching**, 二分图匹配), and only then has a loss. Without labels there is nothing to match. The matcher of `transformers` says so:

# %%
predicted = {
    "logits": torch.tensor([[[2.0, 0, 0], [1.5, 1.0, 0], [0, 0, 1.0]]]),  # (1, 3, 3 kinds)
    "pred_boxes": torch.tensor(  # (1, 3, 4): middle, width and height
        [[[0.30, 0.3, 0.2, 0.2], [0.35, 0.3, 0.2, 0.2], [0.8, 0.8, 0.3, 0.3]]]),
}
true_objects = {
    "class_labels": torch.tensor([2, 1, 0]),
    "boxes": torch.tensor(
        [[0.7, 0.8, 0.3, 0.3], [0.25, 0.3, 0.2, 0.2], [0.3, 0.35, 0.2, 0.2]]),
}

# %% tags=["raises-exception"]
from transformers.loss.loss_for_object_detection import HungarianMatcher

matcher = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=0)
matcher(predicted, [{"boxes": true_objects["boxes"]}])

# %% [markdown]
# The message shows what this code needs, and no more. How DETR was trained its paper says: on pictures of COCO with their boxes.
#
# **Right.** With labels it works. The same by hand: a cost for each pair, minus the probability of the right kind plus five times the distance of the boxes (DETR adds a term for their overlap); then all six assignments of three to three, against SciPy's method, which need not try them all, and against the library:

# %%
chance = predicted["logits"][0].softmax(-1)[:, true_objects["class_labels"]]  # (3, 3)
cost = 5 * torch.cdist(predicted["pred_boxes"][0], true_objects["boxes"], p=1) - chance
print("cost of prediction (row) for object (column):")
for line in cost.tolist():
    print("  ".join(f"{value:6.2f}" for value in line))
totals = {order: sum(cost[row, column].item() for row, column in enumerate(order))
          for order in itertools.permutations(range(3))}
best = min(totals, key=totals.get)
print("cheapest of six:", best, f"{totals[best]:.3f}; dearest {max(totals.values()):.3f}")
print("SciPy:", linear_sum_assignment(cost)[1].tolist(),
      "transformers:", matcher(predicted, [true_objects])[0][1].tolist())
print("each takes what it likes best:", cost.argmin(1).tolist())

# %% [markdown]
# The last line is why matching is needed: left to themselves, two predictions take the same object. And a set has no order: list the objects in any other, and the cheapest total is the same, where a loss that takes them one by one, as an autoregressive one does, changes.

# %%
for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
    rows, columns = linear_sum_assignment(cost[:, order])
    matched = cost[:, order][rows, columns].sum()
    in_order = cost[:, order].diagonal().sum()
    print(f"objects as {order}: matched {matched:.3f}, one by one {in_order:.3f}")

# %% [markdown]
# **In its favour.** Pieces of the sentence exist elsewhere. UP-DETR {cite:p}`dai2021` does pre-train DETR's Transformer on ImageNet without labels, though by finding patches that were cut from the picture; iGPT {cite:p}`chen2020igpt` does predict pixels of ImageNet one after the other, though it is no DETR. The convolutions in front of DETR do come pre-trained from ImageNet, with its labels. And DETR and BERT both have a Transformer's encoder.
#
# **Where it lives:** the decoder without a causal mask, in [chapter 2](02_transformer.py); DETR and its matching, in [chapter 8](08_detection.py); learning without labels from pictures, in [chapter 12](12_training.py).
#
# (articles-001-4-2-3)=
# ### §4.2.3 Text-to-Image生成任务: text times picture
#
# **Claimed.** $Y = \operatorname{BERT}(T) \cdot \operatorname{Visual}(X)$, where $T$ are $N \times d$ states of the text (its $N$ counts words; our $N$ elsewhere counts patches) and $X$ is what DETR made of the picture.

# %% tags=["raises-exception"]
T = torch.randn(5, 48)  # (N, d): five words
visual = torch.randn(7, 48)  # seven patches of the same width
T @ visual

# %% [markdown]
# There is an earlier error in the line: $T$ *is* BERT's output already (the article's §4.2.2), and BERT reads the numbers of tokens, which are whole, not vectors. ($X$ goes through the picture's encoder twice in the same way.)

# %% tags=["raises-exception"]
bert(T)

# %% [markdown]
# (`bert(inputs_embeds=...)` does take vectors. Two BERTs in a row are then defined, and are not what the article's words say.)
#
# **In its favour.** The dot may stand for some product that the reader chooses. But the choices are different models, with results of different shapes, and the next line of the article, an MLP on $Y$, needs to know which:

# %%
pooled = T.mean(0), visual.mean(0)
print("scores of every pair, T V'        ", tuple((T @ visual.T).shape))
attended = scaled_dot_product_attention(T, visual, visual)
print("a word's mean of patches, attention", tuple(attended.shape))
print("number by number, of two means     ", tuple((pooled[0] * pooled[1]).shape))
print("one number, their dot product      ", tuple((pooled[0] @ pooled[1]).shape))
print("every number with every number     ", tuple(torch.outer(*pooled).shape))

# %% [markdown]
# **Right**, if each word is to find its part of the picture, is attention: $\operatorname{softmax}(T V^\top / \sqrt d)\, V$, which is {eq}`eq-attention`. The rows of its weights sum to one, those of the bare product do not:

# %%
scores = T @ visual.T / math.sqrt(48)
weights = scores.softmax(-1)  # (N, patches)
print("sums of the bare product's rows:", [round(x, 2) for x in scores.sum(-1).tolist()])
print("of the attention's weights:     ", [round(x, 2) for x in weights.sum(-1).tolist()])
print(f"by hand against the package: {(weights @ visual - attended).abs().max():.1e}")

# %% [markdown]
# **Where it lives:** [chapter 1](01_attention.py); products of two vectors as fusion, in [chapter 9](09_fusion.py).
#
# (articles-001-5-2)=
# ### §5.2 源代码详细实现: a checkpoint called `openai/dall-e`
#
# **Claimed.** `AutoModel.from_pretrained('openai/dall-e')`, then `.generate(...)`, then `image.show()`; three lines and a picture.
#
# Without a network, what does the first line say?

# %%
for name in ("openai/dall-e", "openai/no-such-model"):
    try:
        transformers.AutoModel.from_pretrained(name, local_files_only=True)
    except OSError as error:
        print(f"{name}: {str(error).split(',')[0]}")

# %% [markdown]
# That proves nothing: offline, every model that was not downloaded before is missing. With a network, `huggingface_hub.repo_exists("openai/dall-e")` answers; this page was made without one and does not say what the answer is. What an offline library *can* say is whether it has code for such a model, and whether what `AutoModel` returns could generate at all.

# %%
try:
    transformers.AutoConfig.for_model("dall-e")
except ValueError as error:
    print(str(error).split(" Should")[0])
kinds = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
print("kinds of models known:", len(kinds))
print("with 'dall' in the name:", [kind for kind in kinds if "dall" in kind])
plain, head = transformers.GPT2Model, transformers.GPT2LMHeadModel
print("what AutoModel makes of a GPT-2 can generate:", hasattr(plain, "generate"))
print("with a head for language:                    ", hasattr(head, "generate"))

# %% [markdown]
# And the last line? It fails whatever the hub may hold, for what `generate` of this library returns are numbers of tokens.

# %% tags=["raises-exception"]
image = tokens.flatten(1)[0]
print(image[:8].tolist(), "...")
image.show()

# %% [markdown]
# **Right.** The decoder of the autoencoder makes pixels of them; only then is there something to show.

# %%
with torch.no_grad():
    picture = to_images(codes.decode(image.view(1, 8, 8)))[0]
print(tuple(image.shape), image.dtype, "->", tuple(picture.shape), picture.dtype)

# %% [markdown]
# **In its favour.** Any open text-to-image model may be meant. OpenAI's public repository `openai/DALL-E` holds the discrete autoencoder only, as its own first lines say; the Transformer is not in it. *DALL·E mini* is an attempt of others to reproduce it, with code of their own.
#
# **Where it lives:** [chapter 21](21_text_to_image.py), and the command `mmcourse draw`.
#
# ## Article 002
#
# (articles-002-4-2)=
# ### §4.2 公式推导过程: one factor for each modality
#
# **Claimed.** With inputs $x_1, \dots, x_n$, one for each modality, the likelihood of the output is $P(y \mid x) = \prod_i P(y_i \mid x_i)$.
#
# **In its favour.** If $y$ has a part $y_i$ for each modality, the product *is* a distribution, but one in which part $i$ never hears of modality $j$: there is nothing multimodal in it. Let the answer be whether two bits are equal, one bit said in words, one seen in the picture. The loss is in nats, that is with the natural logarithm:

# %%
worlds = list(itertools.product((0, 1), repeat=2))  # (bit in the words, bit in the picture)
for name, sees in (("words alone", lambda words, picture: words),
                   ("picture alone", lambda words, picture: picture),
                   ("both", lambda words, picture: (words, picture))):
    loss = 0.0
    for world in worlds:
        alike = [other for other in worlds if sees(*other) == sees(*world)]
        share = sum((a == b) == (world[0] == world[1]) for a, b in alike) / len(alike)
        loss -= math.log(share) / len(worlds)
    print(f"{name:14} least loss {loss:.3f} nats")

# %% [markdown]
# Each modality alone cannot be better than $\log 2$; both together know the answer. And if $y$ is a *sequence* and $i$ counts its words, words do not hear of each other, even if each factor had all of the input. Say that a picture shows two fruits, and half of its captions are *red apple*, half *green pear*:

# %%
joint = {("red", "apple"): 0.5, ("green", "pear"): 0.5}
first = {"red": 0.5, "green": 0.5}
second = {"apple": 0.5, "pear": 0.5}
independent = {(a, b): first[a] * second[b] for a in first for b in second}
lost = sum(chance for phrase, chance in independent.items() if phrase not in joint)
for phrase, chance in independent.items():
    print(" ".join(phrase), chance)
print(f"sum {sum(independent.values())}; given to what is never said: {lost:.0%}")

# %% [markdown]
# **Right** for a sequence is the chain rule (链式法则) of probabilities, $P(y \mid x) = \prod_t P(y_t \mid y_{<t}, x)$, {eq}`eq-transformer-chain`, with all of $x$ in every factor. It assumes nothing, and it sums to one. We add up all 81 sequences of four tokens in a GPT of three, given the first token as $x$:

# %%
torch.manual_seed(0)
gpt = GPT(3, 16, 2, 2, 5).eval()
rows = torch.tensor([[0, *rest] for rest in itertools.product(range(3), repeat=4)])  # (81, 5)
with torch.no_grad():
    logs = gpt(rows)[:, :-1].log_softmax(-1)  # (81, 4, 3)
each = logs.gather(-1, rows[:, 1:, None])[..., 0].sum(-1).exp()  # (81,)
print(f"{len(rows)} sequences, least {each.min():.4f}, most {each.max():.4f}, sum {each.sum():.6f}")

# %% [markdown]
# **Where it lives:** [chapter 9](09_fusion.py) begins with a question that neither side can answer; the chain rule is in [chapter 2](02_transformer.py) and [chapter 4](04_gpt.py).
#
# (articles-002-4-3)=
# ### §4.3 案例分析与讲解: two opinions, multiplied
#
# **Claimed.** For a relation $r$ of a text $t$ and a picture $v$: $P(r \mid t, v) = P(r \mid t)\, P(r \mid v)$.
#
# Let $r$ be yes or no. The text says yes with $p$, the picture with $q$. The products are $pq$ and $(1-p)(1-q)$.

# %%
for p, q in ((0.8, 0.6), (0.5, 0.5), (0.9, 0.1), (1.0, 1.0)):
    print(f"text {p}, picture {q}: yes {p * q:.2f}, no {(1 - p) * (1 - q):.2f}, "
          f"sum {p * q + (1 - p) * (1 - q):.2f}")

# %% [markdown]
# Only where both are certain and agree is the sum 1: it is $1 - p(1-q) - q(1-p)$, and for both of these to be 0, $p$ and $q$ must both be 0 or both be 1. Elsewhere nothing is wrong with the numbers but their name: they are no probabilities of $r$.
#
# **Right.** If text and picture are independent *given the answer*, Bayes' rule gives $P(r \mid t)\, P(r \mid v) / P(r)$, divided by its sum over $r$, which is {eq}`eq-fusion-bayes`. Whoever does not want to assume that can take a vote, a form of late fusion (后期融合; the article says 晚期融合).

# %%
opinions = torch.tensor([[[0.8, 0.2], [0.6, 0.4]]]).log()  # (1, 2 sides, 2 answers)
print("vote                  ", [round(x, 3) for x in vote(opinions).exp()[0].tolist()])
for prior in ([0.5, 0.5], [0.2, 0.8], [0.8, 0.2]):
    found = combine(opinions, torch.tensor(prior).log()).exp()[0]
    print(f"Bayes, prior {prior}:", [round(x, 3) for x in found.tolist()], f"sum {found.sum():.2f}")

# %% mystnb={"figure": {"caption": "Left: the sum of the two products, which should be 1. It is so only in two corners, where both are certain and agree. Right: text 0.8, picture 0.6. The products, and what Bayes' rule says for three priors of yes.", "name": "fig-articles-product"}, "image": {"alt": "Left: a map over the unit square that is 1 at the lower left and the upper right corner, one half along the middle lines, and 0 at the other two corners. Right: four pairs of bars; the first, the products, does not fill the line at one, the three others do."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.8), width_ratios=(1, 1.2))
grid = torch.linspace(0, 1, 101)
total = torch.outer(grid, grid) + torch.outer(1 - grid, 1 - grid)
shades = axes[0].imshow(total, origin="lower", extent=(0, 1, 0, 1), cmap="Blues", vmin=0, vmax=1)
levels = [0.2, 0.4, 0.6, 0.8, 0.95]
lines = axes[0].contour(grid, grid, total, levels=levels, colors=["black"], linewidths=0.7)
axes[0].clabel(lines, fmt=lambda level: f"{level:.2g}")
axes[0].set(xlabel="the picture says yes, $q$", ylabel="the text says yes, $p$")
figure.colorbar(shades, ax=axes[0], label="sum")
bars = {"products": [0.48, 0.08]}
for prior in (0.2, 0.5, 0.8):
    log_prior = torch.tensor([prior, 1 - prior]).log()
    bars[f"prior {prior}"] = combine(opinions, log_prior).exp()[0].tolist()
for place, (yes, no) in enumerate(bars.values()):
    axes[1].bar(place, yes, color=BLUE, label="yes" if place == 0 else None)
    axes[1].bar(place, no, bottom=yes, color=ORANGE, hatch="//", label="no" if place == 0 else None)
axes[1].axhline(1, color=GREY, linewidth=1)
axes[1].set_xticks(range(4), bars)
axes[1].set(ylabel="probability", ylim=(0, 1.3))
axes[1].legend(ncols=2, loc="upper right");

# %% [markdown]
# **In its favour.** If "equal" means "proportional", if that independence holds, and if all answers are equally probable beforehand, then the article's product is this rule without its last division, and the answer that it ranks first is right. The prior is missing even so: with $(0.2, 0.8)$ in place of $(0.5, 0.5)$ a cautious *yes* of both becomes a confident one, since both sides overcame the same doubt.
#
# But the article's own example is whether a text and a picture *belong together*, and there the independence fails most: given *yes*, the one tells what the other shows. It is the question of the two bits again. Neither side alone can know, and from two that do not know the rule has nothing to make:

# %%
unsure = torch.full((1, 2, 2), 0.5).log()  # what each bit alone says about "equal"
found = combine(unsure, torch.tensor([0.5, 0.5]).log()).exp()[0]
print("Bayes' rule:", found.tolist(), "- the truth is (1, 0) or (0, 1)")

# %% [markdown]
# Whether two things match needs one score of both, as [chapter 10](10_contrastive.py) learns it.
#
# **Where it lives:** [chapter 9](09_fusion.py), with a case where even Bayes' rule fails.
#
# ## Article 003
#
# (articles-003-3-2)=
# ### §3.2 算法步骤详解: a masked language model for GPT
#
# **Claimed.** GPT is pre-trained in two ways, as an autoregressive language model and as a masked one (掩码语言模型).
#
# The first half is right {cite:p}`radford2018`; the second is BERT's {cite:p}`devlin2019`. The difference is no custom. Take a text with a hole whose answer stands *behind* it: the hidden token is the same as the next one. What stands before the hole says nothing about it, and a causal network sees nothing else. So however long it trains, its expected loss is never below $\log V$, with $V$ kinds of tokens. That is the proof; the training is an example of it.

# %%
V, T = 6, 6
HOLE = V  # one id more


def holes(dice):
    """64 rows with a hole each, the place of the hole, and what stood there."""
    ids = torch.randint(V, (64, T), generator=dice)
    rows, place = torch.arange(64), torch.randint(1, T - 1, (64,), generator=dice)
    answer = ids[rows, place + 1].clone()
    ids[rows, place] = HOLE
    return ids, place, answer


# %%
def fill(model, read, steps=400):
    """Train to fill holes; the mean loss of the last 20 steps."""
    optimizer = torch.optim.Adam(model.parameters(), 6e-3)
    dice = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(steps):
        ids, place, answer = holes(dice)
        loss = F.cross_entropy(read(ids, place), answer)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / 20


# %%
torch.manual_seed(0)
rows, end = torch.arange(64), torch.full((64, 1), HOLE)
causal, moved = GPT(V + 1, 32, 2, 4, T), GPT(V + 1, 32, 2, 4, T + 1)
both_sides = nn.ModuleDict({"encoder": TextEncoder(V + 1, 32, 2, 4, T), "head": nn.Linear(32, V)})
losses = {
    "GPT, at the hole": fill(causal, lambda ids, place: causal(ids)[rows, place, :V]),
    "encoder, at the hole": fill(both_sides, lambda ids, place: both_sides["head"](
        both_sides["encoder"](ids)[rows, place])),
    "GPT, asked at the end": fill(moved, lambda ids, place: moved(
        torch.cat([ids, end], 1))[:, -1, :V]),
}
for name, loss in losses.items():
    print(f"{name:22} loss {loss:.3f}   (log V = {math.log(V):.3f})")

# %% tags=["remove-cell"]
assert losses["GPT, at the hole"] > 0.95 * math.log(V)
assert losses["encoder, at the hole"] < 0.5 and losses["GPT, asked at the end"] < 0.5

# %% [markdown]
# **In its favour.** The third row: a GPT *can* learn to fill holes, if the question is moved behind the text, and language models are trained so on purpose {cite:p}`bavarian2022`. That is still the autoregressive loss, on rearranged text.
#
# **Right:** one task for each, the next token for GPT, holes for BERT. `transformers` has heads accordingly:

# %% tags=["nbval-check-output"]
masked = transformers.models.auto.modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
writing = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
for name in ("bert", "gpt2"):
    print(f"{name:5} masked language model: {name in masked!s:6}",
          f"causal language model: {name in writing}")

# %% [markdown]
# (It has a causal head for BERT too, for use as a decoder; BERT itself was not pre-trained so.)
#
# **Where it lives:** [chapter 3](03_text.py) for holes, [chapter 4](04_gpt.py) for GPT.
#
# (articles-003-5-2)=
# ### §5.2 源代码详细实现: `fit(input_ids, input_ids)`
#
# **Claimed.** GPT-2 is fine-tuned by Keras's `compile` and `fit`, with the input as its own label, on one sentence, for three epochs; then `generate` gives five texts, and `decode` turns the batch into words.

# %%
print("GPT2LMHeadModel has fit:", hasattr(transformers.GPT2LMHeadModel, "fit"))
sizes = {"vocab_size": 20, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=None)
theirs, given = transformers.GPT2LMHeadModel(config), torch.ones(1, 4).long()
try:
    theirs.generate(given, max_length=20, num_return_sequences=5, do_sample=False)
except ValueError as error:
    print(textwrap.fill(f"{type(error).__name__}: {error}", 90))

# %% [markdown]
# The class is PyTorch's and has no `fit`; and greedy search has one continuation, not five. Let both pass: its sister `TFGPT2LMHeadModel`, which version 5 of the library no longer has (nor `return_tensors='tf'`), was a Keras model, and `do_sample=True` gives five. The fault that makes no noise is the label. Keras's cross-entropy compares output $t$ with label $t$, which is input $t$, which the network can see. We train two GPTs on *random* tokens, of which no next one can be known:

# %%
def noise(dice):
    return torch.randint(20, (16, 16), generator=dice)


def unshifted(logits, ids):
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten())


fresh = noise(torch.Generator().manual_seed(9))
for name, loss in (("unshifted", unshifted), ("shifted", next_token_loss)):
    torch.manual_seed(0)
    model, dice = GPT(20, 32, 2, 4, 16), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        ids = noise(dice)
        value = loss(model(ids), ids)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    said = model(fresh).argmax(-1)
    copied = (said == fresh).float().mean()
    hit = (said[:, :-1] == fresh[:, 1:]).float().mean()
    print(f"{name:9} loss {value:.3f} (log V = {math.log(20):.3f}); "
          f"says what it sees {copied:4.0%}, what comes next {hit:3.0%}")

# %% [markdown]
# Unshifted, the loss of noise goes to zero, and the model has learnt to copy. **Right** is `next_token_loss`, which compares output $t$ with token $t + 1$. (PyTorch models of `transformers` shift inside when they are given `labels=input_ids`. **In its favour:** that may be what the author remembered.) And one sentence?

# %%
val = EmojiScenes("val")
captions = [[*val[index].captions[0].split(), "<end>"] for index in range(200)]
words = sorted({word for caption in captions for word in caption})
vocabulary = {word: number for number, word in enumerate(words)}
rows = [torch.tensor([[vocabulary[word] for word in caption]]) for caption in captions]
for many in (1, 100):
    torch.manual_seed(0)
    model = GPT(len(vocabulary), 32, 2, 4, 32)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(200):
        loss = next_token_loss(model(rows[step % many]), rows[step % many])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        new = sum(next_token_loss(model(row), row).item() for row in rows[100:]) / 100
    print(f"{many:3} captions: loss of the last {loss:.2f}, of 100 others {new:.2f}, "
          f"of knowing nothing {math.log(len(vocabulary)):.2f}")

# %% [markdown]
# One sentence is learnt by heart, and the others become, on average, *less* probable than if all words were equal. (One run each. The article begins with a trained model and takes three small steps; we did not measure that, and guess that it does less harm and little good.) Last, the decoding. Before version 5 of `transformers`, `decode` was for one row and `batch_decode` for a batch, so the article's line failed. Today `decode` takes both, and here the article is right again:

# %%
from tokenizers import Tokenizer, models

small_words = Tokenizer(models.WordLevel({"a": 0, "dog": 1, "cat": 2}, unk_token="a"))
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=small_words)
batch = [[0, 1], [0, 2]]
print("decode:      ", tokenizer.decode(batch), "in transformers", transformers.__version__)
print("batch_decode:", tokenizer.batch_decode(batch))

# %% [markdown]
# **Where it lives:** [chapter 4](04_gpt.py), repair 5.
#
# ## Article 004
#
# (articles-004-2)=
# ### §2 核心概念与联系 and §4: what is inside GPT-4
#
# **Claimed.** GPT-4 contains a text model and an image model, which work together.
#
# Its makers say that it is a Transformer, pre-trained to predict the next token, that it reads pictures and text, and that the report tells no more about the architecture {cite:p}`openai2023`. So it is not public. Could it be found out by using it? Not in general, for which one example is enough. Here are two networks. In one, a part for text and a part for pictures each make a vector, and these are added. The other has one matrix for both, and no parts:

# %%
torch.manual_seed(0)
text_part, image_part = nn.Linear(8, 5, bias=False), nn.Linear(6, 5, bias=False)
one_piece = nn.Linear(14, 5, bias=False)
with torch.no_grad():
    one_piece.weight.copy_(torch.cat([text_part.weight, image_part.weight], 1))
    words, picture = torch.randn(1000, 8), torch.randn(1000, 6)
    gap = (text_part(words) + image_part(picture)) - one_piece(torch.cat([words, picture], 1))
print("weights:", text_part.weight.numel() + image_part.weight.numel(), "and", one_piece.weight.numel())
print(f"on 1,000 inputs they differ by at most {gap.abs().max():.1e}")

# %% [markdown]
# **In its favour.** An encoder for pictures in front of a language model is a good guess, since open models are built so {cite:p}`liu2023`. A guess is to be called one. And the article's *other* sentence, that the core of GPT-4 is a Transformer, is what the report says. **Right** is to teach models that can be opened:

# %%
captioner = load("scenes")
for name, part in captioner.named_children():
    count = sum(parameter.numel() for parameter in part.parameters())
    print(f"{name:15} {type(part).__name__:12} {count:9,d} parameters")

# %% [markdown]
# **Where it lives:** [chapter 4](04_gpt.py); an open model of two parts, in [chapter 22](22_vlm.py).
#
# (articles-004-5)=
# ### §5 项目实践: `nn.Transformer(embed_size, num_layers)`
#
# **Claimed.** A simplified GPT-4 is an embedding, `nn.Transformer(embed_size, num_layers)` called with one argument, and a linear layer.

# %% tags=["raises-exception"]
nn.Transformer(100, 6)

# %% [markdown]
# The second argument is the number of heads. With a width that it divides, the line runs and builds something else:

# %%
torch.manual_seed(0)
options = {"dim_feedforward": 64, "dropout": 0.0, "batch_first": True}
article = nn.Transformer(64, 4, **options).eval()
layers = article.encoder.num_layers, article.decoder.num_layers
print(f"asked for 4 layers; got {article.nhead} heads, {layers[0]} and {layers[1]} layers")

# %% tags=["raises-exception"]
article(torch.randn(1, 5, 64))

# %% [markdown]
# It is an encoder and a decoder and wants two sequences. **In its favour.** Give the text as both, and it runs. Then two faults are silent. The first: no causal mask, so each token sees the next, which it shall predict. The second: no positions. Without a mask, a word is the same to it wherever it stands.

# %%
ids = torch.tensor([[3, 14, 15, 9, 26]])
later = torch.tensor([[3, 14, 15, 9, 27]])  # another last token
swapped = torch.tensor([[14, 3, 15, 9, 26]])  # the first two change places


def probe(read):
    """Does the first output hear of the last token, does the last notice an order?"""
    with torch.no_grad():
        heard = (read(later) - read(ids))[0, 0].abs().max()
        noticed = (read(swapped) - read(ids))[0, -1].abs().max()
    print(f"first output, with another last token, moves by {heard:.4f};",
          f"last, with the first two swapped, by {noticed:.1e}", sep="\n")


table = nn.Embedding(50, 64)
probe(lambda ids: article(table(ids), table(ids)))

# %% [markdown]
# The article's network hears of the future, and what it says at *bites* is the same in *dog bites man* and in *man bites dog* (what is left of the swap is rounding). A third silent fault we have mended: `batch_first=True` is not the default, and without it the texts of a batch look at each other (the second exercise below).
#
# **Right** is the package's `GPT(vocab_size, width, layers, heads, context)`: causal, with positions, and each number is what its name says.

# %%
gpt = GPT(50, 64, 4, 4, 16).eval()
print("layers:", len(gpt.layers), "· logits:", tuple(gpt(ids).shape))
probe(gpt)

# %% [markdown]
# **Where it lives:** [chapter 4](04_gpt.py) repairs this model line by line; [chapter 2](02_transformer.py) has four mistakes with `nn.Transformer`.
#
# (articles-papers)=
# ## The papers they cite
#
# 000 §7.3 and 001 §7.3 (相关论文推荐) recommend papers, and 003 recommends two (§7.3) and closes with references. We looked each title up: in a collection of web pages and documentation, among them arXiv and conference pages, and as an exact string in public repositories with their bibliographies. *Not found* means that, and no more: a work may exist where we did not look. Nothing that was not found is cited in this book.
#
# | in | cited as | found | verdict |
# |---|---|---|---|
# | 000 | *M4T: A Multi-modal Transformers for Video Question Answering*, Zou et al. | no work of this title; several with other names and authors on video questions | not found |
# | 000 | *UniMoK: Universal Modality Knowledge for Multimodal Learning*, Hu et al. | neither title nor name | not found |
# | 001 | *Attention is All You Need* | {cite:t}`vaswani2017` | real |
# | 001 | *BERT: Pre-training of Deep Bidirectional Transformers ...* | {cite:t}`devlin2019` | real, and described rightly |
# | 001 | *DEQR: Improving Image-Text Interpretation with Latent Modulation* | neither title nor name | not found |
# | 001 | *Multimodal Transformers for Natural Language Processing* | no work of this exact title | not found; without authors it cannot be told from many others |
# | 001 | *CLIP: A Simple and Scalable Contrastive Learning Method for Visual-Text Representation Learning* | {cite:t}`radford2021` | CLIP is real, the title is not: it is *Learning Transferable Visual Models From Natural Language Supervision*. The words recall SimCLR {cite:p}`chen2020simclr` |
# | 003 | *Attention is All You Need*, Vaswani et al., 2017 | {cite:t}`vaswani2017` | real |
# | 003 | *Generative Pre-trained Transformers*, Brown et al., 2020 | {cite:t}`brown2020` | authors and year of *Language Models are Few-Shot Learners*; the title is not that of any GPT paper that we know |
# | 003 | *Deep Learning*, Goodfellow et al., MIT Press, 2016 | {cite:t}`goodfellow2016` | real |
# | 003 | *Neural Networks and Deep Learning*, Bengio et al., Springer, 2015 | {cite:t}`nielsen2015`, {cite:t}`aggarwal2018` | of Bengio, not found; a book of this title and year is Michael Nielsen's, online; one of this title and publisher is Charu Aggarwal's, of 2018 |
#
# Two more, from the tools that 004 recommends in its §7: the Universal Sentence Encoder is presented as built on a multimodal model, but it encodes text and nothing else {cite:p}`cer2018`; and a book *Deep Learning* is presented as taught by Andrew Ng, where the best known book of that name is the one above.
#
# How to check a citation yourself: search for the title in quotation marks; open the paper, not a list that names it; compare authors, year and title; and find in it the sentence that you want to cite.
#
# ## Find the error
#
# Six claims of our own making, wrong or only half right, of the kinds that you have seen. Say what is wrong before you run anything. Then show it by a number.

# %% [markdown]
# ```{exercise-start} Which axis?
# :label: ex-articles-axis
# ```
# *Easy, 5 minutes.* "Attention is `softmax(Q @ K.T / sqrt(d), dim=0) @ V`: the weights are positive and sum to one." Which weights sum to one, and what does a query get?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-articles-axis
# :label: so-articles-axis
# :class: dropdown
# ````
# The columns do: each *key* shares itself out among the queries. What a query gets is no mean of values; its weights may sum to anything from 0 to the number of keys.

# %%
torch.manual_seed(0)
Q, K, V = torch.randn(2, 4), torch.randn(6, 4), torch.ones(6, 4)
scores = Q @ K.T / 2
weights = scores.softmax(0)  # (2 queries, 6 keys)
print("weights of each query, summed:", [round(x, 2) for x in weights.sum(1).tolist()])
print("a mean of ones is one; here it is", [round(x, 2) for x in (weights @ V)[:, 0].tolist()])

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} The batch that talks
# :label: ex-articles-batch
# ```
# *Medium, 10 minutes.* "`nn.MultiheadAttention(width, heads)` takes our batch `(B, T, D)`, and the output has the right shape, so all is well." What does the first text of a batch see?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-articles-batch
# :label: so-articles-batch
# :class: dropdown
# ````
# Without `batch_first=True` the first axis is time. Word 1 of a text then looks at word 1 of the *other texts*, and not at word 2 of its own.

# %%
torch.manual_seed(0)
x = torch.randn(3, 5, 8)
others = x.clone()
others[1:] += 1.0  # other texts of the batch
own = x.clone()
own[0, 1] += 1.0  # the second word of the first text
for batch_first in (False, True):
    torch.manual_seed(1)
    layer = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    with torch.no_grad():
        moves = [(layer(y, y, y)[0] - layer(x, x, x)[0])[0, 0].abs().max() for y in (others, own)]
    print(f"batch_first {batch_first!s:5}: word 1 moves by {moves[0]:.3f} with other texts, "
          f"by {moves[1]:.3f} with its word 2")

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} A softmax too many
# :label: ex-articles-twice
# ```
# *Medium, 10 minutes.* Article 000 ends its network with `nn.LogSoftmax`. "Whoever then trains with `nn.CrossEntropyLoss` has taken the logarithm of the softmax twice, and ruined the loss." True of `LogSoftmax`? Of `Softmax`?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-articles-twice
# :label: so-articles-twice
# :class: dropdown
# ````
# Not true of `LogSoftmax`: its outputs are logs of probabilities that sum to one, so taking it again subtracts $\log 1 = 0$. Wasteful, and harmless. True of `Softmax`: the loss then treats probabilities as logits. Even a perfect prediction has a loss far from 0: with $V$ answers, $\log(1 + (V - 1)/e)$.

# %%
logits, label = torch.tensor([[30.0, 0, 0, 0, 0]]), torch.tensor([0])  # very sure, and right
ends = {"logits": logits, "LogSoftmax": logits.log_softmax(-1), "Softmax": logits.softmax(-1)}
for name, given in ends.items():
    print(f"{name:10} loss {F.cross_entropy(given, label):.4f}")
print(f"the formula gives {math.log(1 + 4 / math.e):.4f}")

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} Opinions of three
# :label: ex-articles-three
# ```
# *Medium, 15 minutes.* "Three models say yes with 0.7, 0.7 and 0.7, so by Bayes' rule with even odds beforehand it is yes with $0.7^3 / (0.7^3 + 0.3^3) = 0.93$." Compute it with `combine`. What if the second and the third model are copies of the first?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-articles-three
# :label: so-articles-three
# :class: dropdown
# ````
# The arithmetic is right. The assumption decides: independent *given the answer*. Copies say nothing new, and the truth is still 0.7. In a simulation where one witness is right in 70 % of cases and two repeat it, the cases with three times *yes* are true in 70 %.

# %%
even = torch.tensor([0.5, 0.5]).log()
three = torch.tensor([[[0.7, 0.3]] * 3]).log()
print(f"combine: {combine(three, even).exp()[0, 0]:.3f}")
dice = torch.Generator().manual_seed(0)
truth = torch.rand(100_000, generator=dice) < 0.5
said = [torch.where(torch.rand(100_000, generator=dice) < 0.7, truth, ~truth) for _ in range(3)]
for name, witnesses in (("three witnesses", said), ("one and two copies", said[:1] * 3)):
    agreed = torch.stack(witnesses).all(0)
    print(f"{name:18} all say yes: true in {truth[agreed].float().mean():.3f}")

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} Greedy matching
# :label: ex-articles-greedy
# ```
# *Medium, 10 minutes.* "Matching is easy: take the cheapest pair, cross out its row and column, go on." Find a $2 \times 2$ table of costs where this is not the cheapest. How bad can it be?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-articles-greedy
# :label: so-articles-greedy
# :class: dropdown
# ````
# The cheapest pair may leave a very dear one behind. With the costs 1, 2, 2 and $c$ the greedy way takes 1 and then $c$, the best takes 2 and 2. As $c$ grows the difference has no bound.

# %%
for c in (4, 10, 100):
    table = torch.tensor([[1.0, 2], [2, c]])
    rows, columns = linear_sum_assignment(table)
    print(f"c = {c:3}: greedy {1 + c}, best {table[rows, columns].sum():.0f}")

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} Deaf to order?
# :label: ex-articles-order
# ```
# *Hard, 15 minutes.* "A GPT without positions says the same after *not all came* as after *all not came*: attention is a sum, and a sum has no order." Set the table of positions of a `GPT` to zero, swap the first two of five tokens, and look at the last output, with one layer and with two.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-articles-order
# :label: so-articles-order
# :class: dropdown
# ````
# Right for one layer only. There the last token averages over the same tokens with the same weights, whatever their order. But the causal mask has an order: token 2 saw token 1, token 1 did not see token 2. From the second layer on, the vectors that are averaged know it. It is the *encoder* without a mask that is deaf at any depth.

# %%
swapped = ids[:, [1, 0, 2, 3, 4]]
for layers in (1, 2):
    torch.manual_seed(0)
    model = GPT(50, 32, layers, 4, 8).double().eval()
    with torch.no_grad():
        model.positions.weight.zero_()
        for parameter in model.layers.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # larger weights, for an effect to see
        gap = (model(swapped) - model(ids))[0, -1].abs().max()
    print(f"{layers} layer{'s' * (layers > 1):1} last output moves by {gap:.1e}")

# %% [markdown]
# ````{solution-end}
# ````
