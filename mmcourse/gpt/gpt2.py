"""GPT-2: attention and a feed-forward network with layer norms, and learned positions.

Letters are those of :mod:`mmcourse.gpt`.
"""

from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.gpt.checkpoints import count_layers, refuse
from mmcourse.gpt.language_model import LanguageModel, draw_weights
from mmcourse.transformer import FeedForward

SPREAD = 0.02  # standard deviation of GPT-2's first weights


class GPTLayer(nn.Module):
    """Causal self-attention, then a feed-forward network, each with a norm before it.

    Radford et al. 2019, section 2.3. ``hidden`` is four times the width unless given.
    """

    def __init__(self, width, heads, hidden=None, dropout=0.0, eps=1e-5):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, eps)
        self.feed_forward = FeedForward(width, hidden or 4 * width, dropout)
        self.feed_forward[1] = nn.GELU("tanh")  # GPT-2's approximation of the GELU
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask=None, *, cache=None):
        """Map ``x`` (B, T, D) to (B, T, D); ``mask`` and ``cache`` are those of the attention."""
        found = self.attention(self.norm1(x), mask=mask, causal=True, cache=cache)
        x = x + self.dropout(found)
        return x + self.dropout(self.feed_forward(self.norm2(x)))


class GPT(LanguageModel):
    """A causal language model with GPT-2's block (Radford et al. 2019).

    ``vocab_size`` ids, ``layers`` of ``width`` D with ``heads`` that divide it, and at most
    ``context`` tokens. ``hidden`` is the width between the two layers of the feed-forward network,
    4 D unless given; ``dropout`` acts in training; ``tied`` takes the embedding for the last layer
    (Press and Wolf 2017). Call it with ``ids`` (B, T), see :meth:`LanguageModel.forward`.
    """

    families = ("gpt2",)

    def __init__(
        self,
        vocab_size,
        width,
        layers,
        heads,
        context,
        *,
        hidden=None,
        dropout=0.0,
        eps=1e-5,
        tied=True,
    ):
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            GPTLayer(width, heads, hidden, dropout, eps) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps)
        self.head = None if tied else nn.Linear(width, vocab_size, bias=False)
        self.initialise()

    def initialise(self, spread=SPREAD):
        """Draw the first weights by :func:`~mmcourse.gpt.draw_weights`."""
        last = []
        for layer in self.layers:
            last += [layer.attention.output, layer.feed_forward[-1]]
        draw_weights(self, last, spread)

    def run(self, x, positions, mask, caches):
        """As in :class:`LanguageModel`."""
        x = self.dropout(x + self.positions(positions))  # (B, T, D)
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, mask, cache=cache)
        return self.norm(x)

    # ---- weights

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        width = shapes["embedding.weight"][1]
        hidden = shapes["layers.0.feed_forward.0.weight"][0]
        sizes = {
            "vocab_size": shapes["embedding.weight"][0],
            "width": width,
            "context": shapes["positions.weight"][0],
            "layers": count_layers(shapes),
            "tied": "head.weight" not in shapes,
        }
        if hidden != 4 * width:  # which is what None stands for
            sizes["hidden"] = hidden
        return sizes

    @classmethod
    def arguments_of(cls, config):
        """The arguments of this class for a ``config.json`` of GPT-2, a dict."""
        refuse(config, "activation_function", "gelu_new", "gelu_pytorch_tanh")
        refuse(config, "scale_attn_weights", True)
        refuse(config, "scale_attn_by_inverse_layer_idx", False)
        refuse(config, "add_cross_attention", False)
        width = config["n_embd"]
        return {
            "vocab_size": config["vocab_size"],
            "width": width,
            "layers": config["n_layer"],
            "heads": config["n_head"],
            "context": config["n_positions"],
            "hidden": config.get("n_inner") or 4 * width,
            "eps": config.get("layer_norm_epsilon", 1e-5),
            "tied": config.get("tie_word_embeddings", True),
        }

    @classmethod
    def tensors_of(cls, source, arguments):
        """Their tensors under our names, a dict.

        ``source`` is a ``mmcourse.gpt.checkpoints.Tensors``. GPT-2 keeps its matrices
        transposed, those of query, key and value side by side.
        """
        source.prefix("transformer.")
        source.ignore(".attn.bias", ".attn.masked_bias")  # tables of the causal mask, no weights
        found = {
            "embedding.weight": source.take("wte.weight"),
            "positions.weight": source.take("wpe.weight"),
            "norm.weight": source.take("ln_f.weight"),
            "norm.bias": source.take("ln_f.bias"),
        }
        for number in range(arguments["layers"]):
            ours = f"layers.{number}"
            theirs = f"h.{number}"
            for norm, name in (("norm1", "ln_1"), ("norm2", "ln_2")):
                found[f"{ours}.{norm}.weight"] = source.take(f"{theirs}.{name}.weight")
                found[f"{ours}.{norm}.bias"] = source.take(f"{theirs}.{name}.bias")
            weights = source.take(f"{theirs}.attn.c_attn.weight").T.chunk(3)
            biases = source.take(f"{theirs}.attn.c_attn.bias").chunk(3)
            for place, part in enumerate(("query", "key", "value")):
                found[f"{ours}.attention.{part}.weight"] = weights[place]
                found[f"{ours}.attention.{part}.bias"] = biases[place]
            for part, name in (
                ("attention.output", "attn.c_proj"),
                ("feed_forward.0", "mlp.c_fc"),
                ("feed_forward.3", "mlp.c_proj"),
            ):
                found[f"{ours}.{part}.weight"] = source.take(f"{theirs}.{name}.weight").T
                found[f"{ours}.{part}.bias"] = source.take(f"{theirs}.{name}.bias")
        source.take_head(found, "wte.weight", arguments["tied"])
        return found
