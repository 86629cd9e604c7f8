"""What ``mmcourse bench`` races: ours, and the same as ``torch.nn``, ``transformers`` and ``pycocoevalcap`` have it.

Each function is a row or more of the table, of a :class:`mmcourse.bench.Race`. The models of ``transformers`` have our
sizes, no dropout, fused attention, and where it says so our weights. The libraries are imported where they are needed.
"""

import tempfile
import time
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmcourse import decoding
from mmcourse.captioning import END, PAD, START, SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.evaluation import fact_scores, fast
from mmcourse.hub import load
from mmcourse.training import TrainingConfig, train
from mmcourse.transformer import DecoderLayer, EncoderLayer
from mmcourse.vision import to_pixels

TINY = {"width": 16, "heads": 2, "channels": (8, 8, 8), "blocks": (0, 0, 0)}
SMALL = {"width": 96, "channels": (24, 48, 96)}
WIDE = {"width": 256, "heads": 8, "channels": (64, 128, 256)}
PLAIN = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
WORLD = ("cat", "dog", "car", "tree", "house", "fish", "star", "apple")
TARGET, LIMIT = (
    0.80,
    600,
)  # of ``learning``: the share of true facts, and the seconds after which training stops


def layers(race):
    """Encoder and decoder layer, forward and backward: the captioner's 64 grid tokens and 20 words."""
    for width, heads, batch in [(16, 2, 2)] if race.quick else [(128, 4, 64), (256, 8, 64)]:
        grid, words = (
            torch.randn(batch, length, width, device=race.device, requires_grad=True)
            for length in (64, 20)
        )
        sizes, size = f"B {batch}, D {width}, H {heads}, ", (width, heads, 4 * width)
        eye, writer = vit(width, heads, 1), gpt2(width, heads, 1, 20, 50)
        contenders = {
            "ours": passes(EncoderLayer(width, heads), grid),
            "torch.nn.TransformerEncoderLayer": passes(
                nn.TransformerEncoderLayer(*size, **PLAIN), grid
            ),
            "transformers ViTLayer": passes(eye and eye.layers[0], grid),
        }
        yield race.row("encoder layer, forward and backward", sizes + "T 64", contenders, 1)
        hidden = nn.Transformer.generate_square_subsequent_mask(20, device=race.device)
        contenders = {
            "ours": passes(DecoderLayer(width, heads), words, memory=grid),
            "torch.nn.TransformerDecoderLayer": passes(
                nn.TransformerDecoderLayer(*size, **PLAIN),
                words,
                memory=grid,
                tgt_mask=hidden,
                tgt_is_causal=True,
            ),
            "transformers GPT2Block": passes(
                writer and writer.transformer.h[0], words, encoder_hidden_states=grid
            ),
        }
        yield race.row("decoder layer, forward and backward", sizes + "T 20, S 64", contenders, 1)


def passes(module, *inputs, **named):
    """A contender: forward, and backward to the inputs and the parameters."""
    if module is None:
        return None
    tensors = [
        *module.to(inputs[0].device).parameters(),
        *inputs,
        *(x for x in named.values() if isinstance(x, torch.Tensor) and x.requires_grad),
    ]

    def step(call):
        output = call(*inputs, **named)
        torch.autograd.grad(output, tensors, torch.ones_like(output))

    return module, step


def vit(width, heads, layers, image_size=64, patch=8):
    """The ViT of ``transformers``; None where it is missing."""
    if not find_spec("transformers"):
        return None
    from transformers import ViTConfig, ViTModel

    return ViTModel(
        ViTConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            image_size=image_size,
            patch_size=patch,
            hidden_dropout_prob=0.0,
            attn_implementation="sdpa",
        ),
        add_pooling_layer=False,
    )


def gpt2(width, heads, layers, length, words):
    """The GPT-2 of ``transformers`` with cross-attention; None where it is missing."""
    if not find_spec("transformers"):
        return None
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=words,
            n_positions=length,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            add_cross_attention=True,
            activation_function="gelu",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,
            bos_token_id=START,
            eos_token_id=END,
            pad_token_id=PAD,
            attn_implementation="sdpa",
        )
    )


def peer_captioner(model):
    """A ``VisionEncoderDecoderModel`` of the sizes of a Captioner; its decoder has the weights of ours, too.

    Its encoder is a ViT with a token for each cell of our grid and, as near as may be, our number of parameters.
    None where ``transformers`` is missing.
    """
    if not find_spec("transformers"):
        return None
    from transformers import VisionEncoderDecoderModel, logging

    logging.set_verbosity_error()  # it warns of padding, which the causal mask hides
    width, heads = model.embedding.embedding_dim, model.decoder.layers[0].attention.heads
    seeing = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.startswith(("convolutions", "grid_positions", "encoder", "noun"))
    )
    depth = max(1, round(seeing / (12 * width**2 + 13 * width)))
    peer = VisionEncoderDecoderModel(
        encoder=vit(width, heads, depth, model.image_size, model.convolutions.stride),
        decoder=gpt2(width, heads, len(model.decoder.layers), model.max_length, len(model.words)),
    )
    peer.decoder.lm_head = nn.Linear(width, len(model.words))  # with a bias, as ours
    body = peer.decoder.transformer
    pairs = [
        (model.embedding, body.wte),
        (model.output, peer.decoder.lm_head),
        (model.decoder.norm, body.ln_f),
    ]
    with torch.no_grad():
        body.wpe.weight.copy_(model.positions[0])
        for ours, theirs in zip(model.decoder.layers, body.h, strict=True):
            pairs += [
                (ours.norm1, theirs.ln_1),
                (ours.norm2, theirs.ln_cross_attn),
                (ours.norm3, theirs.ln_2),
            ]
            own, cross, feed = ours.attention, ours.cross_attention, ours.feed_forward
            for parts, other in (
                ((own.query, own.key, own.value), theirs.attn.c_attn),
                ((own.output,), theirs.attn.c_proj),
                ((cross.query,), theirs.crossattention.q_attn),
                ((cross.output,), theirs.crossattention.c_proj),
                ((cross.key, cross.value), theirs.crossattention.c_attn),
                ((feed[0],), theirs.mlp.c_fc),
                ((feed[3],), theirs.mlp.c_proj),
            ):
                other.weight.copy_(
                    torch.cat([part.weight for part in parts]).T
                )  # GPT-2 keeps the transpose
                other.bias.copy_(torch.cat([part.bias for part in parts]))
    for ours, theirs in pairs:
        theirs.load_state_dict(ours.state_dict())
    peer.generation_config.update(
        decoder_start_token_id=START,
        eos_token_id=END,
        pad_token_id=PAD,
        do_sample=False,
        max_new_tokens=model.max_length,
        use_cache=True,
    )
    return peer.to(model.device)


def captioner_and_batch(race, settings, count):
    """A fresh captioner, a batch of scenes to train on, and the sizes as a text."""
    torch.manual_seed(0)
    model, scenes = (
        SceneCaptioner(vocabulary(), **settings).to(race.device).train(),
        EmojiScenes("train"),
    )
    batch = model.collate([scenes[index] for index in range(count)])
    sizes = f"B {count}, D {model.grid_positions.shape[-1]}, N {model.grid_positions.shape[1]}, T {batch['tokens'].shape[1] - 1}"
    return model, {name: tensor.to(race.device) for name, tensor in batch.items()}, sizes


def updates(module, loss):
    """A contender: forward, backward and AdamW."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def step(call):
        loss(call).backward()
        optimizer.step()
        optimizer.zero_grad()

    return module, step


def word_loss(batch, call):
    """Mean cross-entropy of the next word, by our captioner."""
    logits = call(batch["images"], batch["tokens"][:, :-1]).float()
    return F.cross_entropy(logits.flatten(0, 1), batch["tokens"][:, 1:].flatten(), ignore_index=PAD)


def peer_loss(batch, call):
    """Mean cross-entropy of the next word, by the peer, which is spared its cache."""
    pixels, tokens = to_pixels(batch["images"]), batch["tokens"]
    logits = call(
        pixel_values=pixels, decoder_input_ids=tokens[:, :-1], use_cache=False
    ).logits.float()
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)


def training(race):
    """Training steps of a captioner on the words of 64 captions."""
    for settings, count in [(TINY, 2)] if race.quick else [({}, 64), (WIDE, 64)]:
        model, batch, sizes = captioner_and_batch(race, settings, count)
        contenders, notes = (
            {"ours": updates(model, partial(word_loss, batch)), "VisionEncoderDecoderModel": None},
            [],
        )
        if peer := peer_captioner(model):
            contenders["VisionEncoderDecoderModel"] = updates(
                peer.train(), partial(peer_loss, batch)
            )
            notes.append(
                "{:.2f} and {:.2f} million parameters".format(
                    *(
                        sum(parameter.numel() for parameter in each.parameters()) / 1e6
                        for each in (model, peer)
                    )
                )
            )
        yield race.row(
            "captioner, training step",
            sizes,
            contenders,
            1.2,
            work=dict.fromkeys(contenders, count),
            unit="samples/s",
            notes=notes,
        )


def generation(race):
    """Greedy and beam search with a cache, from pictures that are read already; the peer has the shipped weights."""
    model, scenes = load("scenes").to(race.device), EmojiScenes("val")
    with torch.no_grad():
        memory = model.encode(
            np.stack([scenes[index].image for index in range(2 if race.quick else 32)])
        )
    peer = peer_captioner(model)
    for beams in (1, 4):
        for size in (1, len(memory)):
            parts = memory.split(size)[:8]  # eight single pictures one after the other, or a batch
            contenders, notes = (
                {"ours": partial(our_ids, model, parts, beams), "generate": None},
                ["float32"],
            )
            ids = contenders["ours"]()
            if peer:
                contenders["generate"] = partial(peer_ids, peer.eval(), parts, beams)
                same = sum(
                    mine == theirs
                    for mine, theirs in zip(ids, contenders["generate"](), strict=True)
                )
                notes.append(f"the same ids in {same} of {len(ids)} captions")
            yield race.row(
                f"beam search, {beams} beams" if beams > 1 else "greedy search",
                f"B {size}, D 128, N 64",
                contenders,
                2,
                work=dict.fromkeys(contenders, sum(len(row) + 1 for row in ids)),
                unit="tokens/s",
                notes=notes,
            )


@torch.inference_mode()
def our_ids(model, memories, beams=1):
    """Ids of a caption for each row of some memories."""
    found, search = [], partial(decoding.beam_search, beams=beams) if beams > 1 else decoding.greedy
    for memory in memories:
        found += search(
            lambda tokens, cache, memory=memory: model.decode(memory, tokens, cache=cache)[:, -1],
            torch.full((len(memory),), START, device=memory.device),
            end=END,
            max_length=model.max_length,
        ).tokens
    return found


@torch.inference_mode()
def peer_ids(peer, memories, beams=1):
    """As :func:`our_ids`, by ``generate``; its beams stop as ours do, when no unfinished one can still win."""
    from transformers.modeling_outputs import BaseModelOutput

    options, found = {"num_beams": beams, "early_stopping": "never"} if beams > 1 else {}, []
    for memory in memories:
        rows = peer.generate(encoder_outputs=BaseModelOutput(memory), **options)[:, 1:].tolist()
        found += [[token for token in row if token not in (PAD, END)] for row in rows]
    return found


def scores(race):
    """BLEU-1 to 4 and CIDEr-D of captions in which one fact is wrong, against the five true ones of their scenes."""
    scenes = [EmojiScenes("val")[index] for index in range(20 if race.quick else 5000)]
    references = [scene.captions for scene in scenes]
    captions = [scene.foils[0].false if scene.foils else scene.captions[0] for scene in scenes]
    contenders = {
        "ours": lambda: [*fast.bleu(captions, references), fast.cider_d(captions, references)],
        "pycocoevalcap": None,
    }
    notes = []
    if find_spec("pycocoevalcap"):
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider

        given = (
            dict(enumerate(references)),
            {number: [caption] for number, caption in enumerate(captions)},
        )
        contenders["pycocoevalcap"] = lambda: [
            *Bleu(4).compute_score(*given, verbose=0)[0],
            Cider().compute_score(*given)[0],
        ]
        gap = max(abs(a - b) for a, b in zip(*(run() for run in contenders.values()), strict=True))
        notes.append(f"the five values differ by at most {gap:.0e}")
    yield race.row(
        "BLEU and CIDEr-D",
        f"{len(scenes):,} captions, 5 references each",
        contenders,
        3,
        notes=notes,
    )


def peak(race):
    """Floating-point operations a second in a whole training step, against those in one large matrix product."""
    for settings, count, goal in (
        [(TINY, 2, None)] if race.quick else [({}, 64, None), (WIDE, 64, 0.5)]
    ):
        model, batch, sizes = captioner_and_batch(race, settings, count)
        _, step = updates(model, partial(lambda batch, loss: loss(batch), batch))
        with FlopCounterMode(display=False) as counter:
            step(model.loss)
        side = 64 if race.quick else 2048 if race.device.type == "cpu" else 8192
        matrix = torch.randn(side, side, device=race.device)
        work = {"ours": counter.get_total_flops() / 1e9, "matrix product": 2 * side**3 / 1e9}
        yield race.row(
            "training step, share of the peak",
            sizes,
            {
                "ours": (model.loss, step),
                "matrix product": (partial(torch.mm, matrix, matrix), lambda call: call()),
            },
            goal,
            work=work,
            unit="GFLOP/s",
            notes=[f"{work['ours']:.1f} GFLOP a step"],
        )


class Enough(Exception):
    """The target is reached, or the time is over."""


def learning(race):
    """Seconds of training until captions of new scenes of eight things state facts of which 80 % are true.

    One after the other in :func:`mmcourse.training.train`, ours on its own loss and the peer on that of the words.
    """
    torch.manual_seed(0)
    model = SceneCaptioner(vocabulary(), **(TINY if race.quick else SMALL)).to(race.device)
    peer, scenes = (
        peer_captioner(model),
        [EmojiScenes("val", only=WORLD)[n] for n in range(4 if race.quick else 100)],
    )
    images = np.stack([scene.image for scene in scenes])
    seconds, precision = learn(
        race,
        model,
        SceneCaptioner.loss,
        lambda: our_ids(model, [model.encode(images)]),
        model,
        scenes,
    )
    row = {
        "what": f"training until {TARGET:.0%} of the stated facts are true",
        "sizes": f"B 32, D {model.grid_positions.shape[-1]}, N 64, {len(WORLD)} nouns",
        "unit": "s",
        "ours": seconds,
        "goal": "≤ 0.7",
        "notes": [f"at most {LIMIT} s", f"ours: {precision:.0%}"],
    }
    if peer:
        pixels = to_pixels(images).to(race.device)
        row["peer"], other = learn(
            race,
            peer,
            lambda peer, batch: peer_loss(batch, peer),
            lambda: peer_ids(peer, [peer.encoder(pixels)[0]]),
            model,
            scenes,
        )
        row |= {"peer_name": "VisionEncoderDecoderModel", "ratio": seconds / row["peer"]}
        row["reached"] = precision >= TARGET and row["ratio"] <= 0.7
        row["notes"].append(f"VisionEncoderDecoderModel: {other:.0%}")
    yield row


def learn(race, model, loss, write, captioner, scenes):
    """Train until captions that ``write`` gives are true: (seconds without evaluation, the share of true facts)."""
    start, paused = time.perf_counter(), 0.0

    def evaluate(_):
        nonlocal paused
        began = time.perf_counter()
        captions = [" ".join(captioner.words[number] for number in ids) for ids in write()]
        precision = fact_scores(captions, scenes)["all"][0]
        if race.quick or precision >= TARGET or began - start - paused > LIMIT:
            raise Enough(began - start - paused, precision)
        paused += time.perf_counter() - began
        return {"precision": precision}

    config = TrainingConfig(
        100_000, 32, 1e-3, warmup=100, evaluate_every=2 if race.quick else 50, save_every=0
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(
                model,
                EmojiScenes("train", only=WORLD),
                loss,
                config,
                folder,
                collate=captioner.collate,
                evaluate=evaluate,
            )
        except Enough as enough:
            return enough.args


#: The rows by their names. ``learning`` takes up to twenty minutes and runs only when it is asked for.
ROWS = {
    "layers": layers,
    "training": training,
    "generation": generation,
    "scores": scores,
    "peak": peak,
    "learning": learning,
}
