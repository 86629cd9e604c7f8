"""Llama: a stack of today's blocks, and the families whose weights fit into it.

Letters are those of :mod:`mmcourse.gpt.block`.
"""

from torch import nn

from mmcourse.gpt.block import LLAMA3, LlamaLayer, RMSNorm, rotary_angles, rotary_frequencies
from mmcourse.gpt.checkpoints import count_layers, refuse
from mmcourse.gpt.gpt2 import SPREAD
from mmcourse.gpt.language_model import LanguageModel, draw_weights


class Llama(LanguageModel):
    """A causal language model with today's block (Touvron et al. 2023).

    ``vocab_size`` ids, ``layers`` of ``width`` D with ``heads`` that ask and ``kv_heads`` that
    answer, ``hidden`` inside SwiGLU, at most ``context`` tokens. ``theta`` and ``scaling`` are
    those of :func:`rotary_frequencies`, ``window`` is how many tokens a token sees, itself
    included (Mistral), ``head_width``, ``bias``, ``output_bias`` and ``normed`` those of
    :class:`GroupedQueryAttention`; ``tied`` takes the embedding for the last layer. Call it with
    ``ids`` (B, T), see :meth:`LanguageModel.forward`.
    """

    families = ("llama", "mistral", "qwen2", "qwen3")

    def __init__(
        self,
        vocab_size,
        width,
        layers,
        heads,
        kv_heads,
        hidden,
        context,
        *,
        theta=10_000.0,
        scaling=None,
        window=None,
        head_width=None,
        bias=False,
        output_bias=False,
        normed=False,
        eps=1e-6,
        tied=False,
    ):
        super().__init__()
        self.context = context
        self.window = window
        self.embedding = nn.Embedding(vocab_size, width)
        options = {
            "head_width": head_width,
            "bias": bias,
            "output_bias": output_bias,
            "normed": normed,
        }
        self.layers = nn.ModuleList(
            LlamaLayer(width, heads, kv_heads, hidden, eps, **options) for _ in range(layers)
        )
        self.norm = RMSNorm(width, eps)
        self.head = None if tied else nn.Linear(width, vocab_size, bias=False)
        self.rotary = (head_width or width // heads, theta, scaling)
        rotary_frequencies(*self.rotary)  # raises what it does not know
        self.initialise()

    @property
    def frequencies(self):
        """How fast each pair turns, (d_k / 2,), in single precision whatever the weights are in.

        In half precision, position 2049 would be position 2048.
        """
        return rotary_frequencies(*self.rotary).to(self.embedding.weight.device)

    def initialise(self, spread=SPREAD):
        """Draw the first weights by :func:`~mmcourse.gpt.draw_weights`."""
        last = []
        for layer in self.layers:
            last += [layer.attention.output, layer.feed_forward.down]
        draw_weights(self, last, spread)

    def run(self, x, positions, mask, caches):
        """As in :class:`LanguageModel`."""
        cos, sin = rotary_angles(positions, self.frequencies)  # (B, 1, T, d_k / 2) each
        cos = cos.to(x.dtype)
        sin = sin.to(x.dtype)
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, cos, sin, mask, cache=cache)
        return self.norm(x)

    # ---- weights

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        return {
            "vocab_size": shapes["embedding.weight"][0],
            "width": shapes["embedding.weight"][1],
            "layers": count_layers(shapes),
            "hidden": shapes["layers.0.feed_forward.gate.weight"][0],
            "bias": "layers.0.attention.query.bias" in shapes,
            "output_bias": "layers.0.attention.output.bias" in shapes,
            "normed": "layers.0.attention.query_norm.weight" in shapes,
            "tied": "head.weight" not in shapes,
        }

    @classmethod
    def arguments_of(cls, config):
        """The arguments of this class for a ``config.json`` of one of the families, a dict."""
        family = config["model_type"]
        refuse(config, "hidden_act", "silu")
        refuse(config, "mlp_bias", False)
        refuse(config, "use_sliding_window", False)
        for kind in config.get("layer_types") or []:
            refuse({"layer_types": kind}, "layer_types", "full_attention")
        heads = config["num_attention_heads"]
        width = config["hidden_size"]
        kv_heads = config["num_key_value_heads"] if family != "llama" else None
        kv_heads = kv_heads or config.get("num_key_value_heads") or heads
        head_width = config["head_dim"] if family == "qwen3" else config.get("head_dim")
        head_width = head_width or width // heads
        theta, scaling = rotary_settings(config)
        attention_bias = family in ("llama", "qwen3") and config.get("attention_bias", False)
        return {
            "vocab_size": config["vocab_size"],
            "width": width,
            "layers": config["num_hidden_layers"],
            "heads": heads,
            "kv_heads": kv_heads,
            "hidden": config["intermediate_size"],
            "context": config["max_position_embeddings"],
            "theta": theta,
            "scaling": scaling,
            "window": config.get("sliding_window") if family == "mistral" else None,
            "head_width": head_width,
            "bias": family == "qwen2" or attention_bias,
            "output_bias": attention_bias,
            "normed": family == "qwen3",
            "eps": config.get("rms_norm_eps", 1e-6),
            "tied": config.get("tie_word_embeddings", False),
        }

    @classmethod
    def tensors_of(cls, source, arguments):
        """Their tensors under our names, a dict.

        ``source`` is a ``mmcourse.gpt.checkpoints.Tensors``.
        """
        source.prefix("model.")
        source.ignore(".rotary_emb.inv_freq")  # a table that old checkpoints keep
        found = {
            "embedding.weight": source.take("embed_tokens.weight"),
            "norm.weight": source.take("norm.weight"),
        }
        names = tensor_names(arguments)
        for number in range(arguments["layers"]):
            for ours, theirs in names.items():
                found[f"layers.{number}.{ours}"] = source.take(f"layers.{number}.{theirs}")
        source.take_head(found, "embed_tokens.weight", arguments["tied"])
        return found


def tensor_names(arguments):
    """What a layer's tensors are called with us, and with them: a dict."""
    names = {
        "norm1.weight": "input_layernorm.weight",
        "norm2.weight": "post_attention_layernorm.weight",
    }
    for part in ("gate", "up", "down"):
        names[f"feed_forward.{part}.weight"] = f"mlp.{part}_proj.weight"
    for part in ("query", "key", "value", "output"):
        theirs = f"self_attn.{part[0]}_proj"
        names[f"attention.{part}.weight"] = f"{theirs}.weight"
        if arguments["output_bias"] if part == "output" else arguments["bias"]:
            names[f"attention.{part}.bias"] = f"{theirs}.bias"
    if arguments["normed"]:
        names["attention.query_norm.weight"] = "self_attn.q_norm.weight"
        names["attention.key_norm.weight"] = "self_attn.k_norm.weight"
    return names


def rotary_settings(config):
    """Theta and scaling of a ``config.json``, which old and new versions write differently.

    ValueError, by name, for what is not supported.
    """
    new = config.get("rope_parameters") or {}
    old = config.get("rope_scaling") or {}
    settings = old | new
    theta = settings.get("rope_theta", config.get("rope_theta", 10_000.0))
    refuse(config, "partial_rotary_factor", 1.0)
    refuse(settings, "partial_rotary_factor", 1.0)
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind == "default":
        return theta, None
    needed = {"linear": ("factor",), "llama3": LLAMA3}
    scaling = {"rope_type": kind}
    for name in needed.get(kind, ()):
        scaling[name] = settings[name]
    rotary_frequencies(2, theta, scaling)  # refuses what is not supported
    return theta, scaling
