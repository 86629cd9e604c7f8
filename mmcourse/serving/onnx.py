"""The captioner of scenes as two ONNX graphs, which run where there is no PyTorch.

The first, ``picture.onnx``, turns pictures into what the decoder looks at. The second,
``words.onnx``, gives the next word after those so far, and is asked once a word. ``captioner.json``
has what a program around them needs: the words, the sizes, and the phrases that name a noun.

Shapes: B batch, S side of a picture in pixels, N cells of the grid, D width, T words, V vocabulary,
H heads.
"""

import copy
import importlib.util
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmcourse import decoding
from mmcourse.captioning import END, START, Caption, SceneCaptioner
from mmcourse.captioning.confidence import log_odds, look_for, nouns_of
from mmcourse.data.drawings import nouns
from mmcourse.data.language import phrase_book
from mmcourse.data.pictures import load_picture
from mmcourse.evaluation import logistic
from mmcourse.training import write_whole

PICTURE = "picture.onnx"
WORDS = "words.onnx"
ABOUT = "captioner.json"
OPSET = 20  # of the operators; runtimes from 2024 on have it, also those in a browser
NEEDED = ("onnx", "onnxscript")  # what PyTorch exports with
STRATEGIES = {"beam": decoding.beam_search, "greedy": decoding.greedy}


class PictureGraph(nn.Module):
    """Pictures, uint8 (B, S, S, 3), to the memory (B, N, D) and the readings (B, N, 1 + nouns).

    The readings are how probable the noun head finds each noun in each cell; number 0 is no noun.
    """

    def __init__(self, captioner):
        super().__init__()
        self.captioner = captioner

    def forward(self, images):
        features = self.captioner.convolutions(self.captioner.pixels_of(images))  # (B, N, D)
        memory = self.captioner.relate(features)
        return memory, self.captioner.noun_head(features).softmax(-1)


class WordsGraph(nn.Module):
    """Memory (B, N, D) and words (B, T) to logits (B, T, V) and attention (B, layers, H, T, N)."""

    def __init__(self, captioner):
        super().__init__()
        self.captioner = captioner

    def forward(self, memory, words):
        return self.captioner.decode(memory, words, return_weights=True)


def export(captioner, folder):
    """Write the two graphs of a :class:`~mmcourse.captioning.SceneCaptioner`, and what is about it.

    ``folder`` is made where it is missing; files of the same names are replaced. The captioner
    stays as it is; what is written computes in float32. Returns the paths of the three files.
    Raises TypeError for another model, ModuleNotFoundError, which says what to install, where
    PyTorch lacks what it exports with, OSError where nothing can be written.
    """
    if not isinstance(captioner, SceneCaptioner):
        raise TypeError(
            f"expected a captioner of scenes, got {type(captioner).__name__}: the encoder of "
            "another one is not the course's to export"
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f'PyTorch exports with {" and ".join(missing)}: pip install "mmcourse[onnx]"'
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = copy.deepcopy(captioner).to("cpu", torch.float32).eval()
    side = model.image_size
    cells, width = model.grid_positions.shape[1:]
    batch = torch.export.Dim("batch")
    length = torch.export.Dim("words", max=model.max_length)
    images = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    memory = torch.zeros(2, cells, width)
    words = torch.ones(2, min(5, model.max_length), dtype=torch.long)
    graphs = {
        PICTURE: to_onnx(
            PictureGraph(model), (images,), ["images"], ["memory", "readings"], ({0: batch},)
        ),
        WORDS: to_onnx(
            WordsGraph(model),
            (memory, words),
            ["memory", "words"],
            ["logits", "attention"],
            ({0: batch}, {0: batch, 1: length}),
        ),
    }
    about = json.dumps(describe(model), indent=1, ensure_ascii=False) + "\n"
    for name, content in (graphs | {ABOUT: about.encode()}).items():
        write_whole(folder / name, content)
    return [folder / name for name in (PICTURE, WORDS, ABOUT)]


def to_onnx(module, inputs, input_names, output_names, dynamic_shapes):
    """A module as the bytes of an ONNX graph.

    PyTorch's remarks on the way (a library that is not there, names of axes) say nothing to a user.
    """
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                inputs,
                dynamo=True,
                input_names=input_names,
                output_names=output_names,
                dynamic_shapes=dynamic_shapes,
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(before)
    for node in program.model.graph:
        node.metadata_props.clear()  # the traces of this computer's files
    return program.model_proto.SerializeToString()


def describe(captioner):
    """What a program around the graphs needs, a dict for JSON.

    ``phrases`` has the phrases that carry a fact, each with the number of its noun in the readings,
    0 for another fact: where two begin at the same word, the longer one counts.
    """
    numbers = {noun.name: 1 + place for place, noun in enumerate(nouns())}
    book, _ = phrase_book()
    return {
        "words": captioner.words,
        "start": START,
        "end": END,
        "max_length": captioner.max_length,
        "image_size": captioner.image_size,
        "calibration": captioner.calibration,
        "low_confidence": captioner.low_confidence,
        "confidence_is": captioner.confidence_is,
        "phrases": {
            " ".join(phrase): numbers[value] if kind == "object" else 0
            for phrase, (kind, value) in book.items()
        },
    }


class OnnxCaptioner:
    """The captioner in a folder that :func:`export` wrote, run by ONNX Runtime.

    ``threads`` is how many it may use. Raises ModuleNotFoundError where ONNX Runtime is missing,
    FileNotFoundError for a folder without the three files, ValueError for damaged ones.
    """

    def __init__(self, folder, threads=1):
        if importlib.util.find_spec("onnxruntime") is None:
            raise ModuleNotFoundError('ONNX Runtime is missing: pip install "mmcourse[onnx]"')
        folder = Path(folder)
        for name in (PICTURE, WORDS, ABOUT):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"there is no {name} in {folder}: `mmcourse export {folder}` writes it"
                )
        try:
            self.about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            self.picture_graph = open_graph(folder / PICTURE, threads)
            self.words_graph = open_graph(folder / WORDS, threads)
        except Exception as error:  # ONNX Runtime has its own
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"the files in {folder} are damaged ({reason}): export them again"
            ) from error

    def see(self, images):
        """Pictures, uint8 (B, S, S, 3), to memory (B, N, D) and readings (B, N, 1 + nouns)."""
        return self.picture_graph.run(None, {"images": images})

    def decode(self, memory, words):
        """Memory (B, N, D), words (B, T) to logits (B, T, V), attention (B, layers, H, T, N)."""
        return self.words_graph.run(None, {"memory": memory, "words": words})

    def caption(self, pictures, strategy="beam", **options):
        """A :class:`~mmcourse.captioning.Caption` for each of a list of pictures.

        They are what :func:`~mmcourse.data.pictures.load_picture` reads; ``strategy`` is ``beam``
        or ``greedy``, with the ``options`` of that function in :mod:`mmcourse.decoding`.
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"unknown strategy {strategy!r}: choose beam or greedy")
        side = self.about["image_size"]
        images = np.stack([load_picture(picture, side) for picture in pictures])
        memory, readings = self.see(images)
        _, mirrored = self.see(images[:, :, ::-1])
        cells = torch.from_numpy(np.stack([readings, mirrored], 1))  # (B, views, N, 1 + nouns)
        written = STRATEGIES[strategy](
            self.step(memory),
            torch.full((len(images),), START),
            end=END,
            max_length=self.about["max_length"],
            **options,
        )
        found = []
        for row, ids in enumerate(written.tokens):
            inputs = np.array([[START, *ids][: self.about["max_length"]]])
            _, attention = self.decode(memory[row : row + 1], inputs)
            words = [self.about["words"][number] for number in ids]
            text = " ".join(words)
            caption = Caption(
                text=text,
                log_prob=written.log_prob[row].item(),
                tokens=[*words, self.about["words"][END]],
                attention=torch.from_numpy(attention[0]),
                confidence=self.confidence(text, cells[row]),
            )
            found.append(caption)
        return found

    def step(self, memory):
        """What :mod:`mmcourse.decoding` calls for the next word; every call reads all words."""

        def next_logits(tokens, cache):
            if not cache:
                cache["words"] = tokens
                cache["memory"] = torch.from_numpy(memory)
            else:
                cache["words"] = torch.cat([cache["words"], tokens], 1)
            logits, _ = self.decode(cache["memory"].numpy(), cache["words"].numpy())
            return torch.from_numpy(logits[:, -1])  # (B, V)

        return next_logits

    def confidence(self, text, cells):
        """As :meth:`~mmcourse.captioning.SceneCaptioner.confidences`, of one text.

        ``cells`` are the readings (views, N, 1 + nouns) of the picture and of its mirror image.
        """
        seen, other = look_for(nouns_of(text), cells)
        if self.about["calibration"] is None or seen == 0:
            return seen
        return logistic(self.about["calibration"], log_odds(np.array([[seen, other]])))[0].item()


def open_graph(path, threads):
    """A graph that ONNX Runtime can run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
