"""``mmcourse search``: find pictures in a folder by words, or by a picture."""

import json
import shlex
from pathlib import Path

from mmcourse.cli.arguments import above_zero
from mmcourse.cli.messages import complain

ABOUT = "find the pictures of a folder that fit some words, or look like a picture"
EXAMPLES = """  mmcourse search drawings "two red cars in the snow"
  mmcourse search drawings example.png --top 5
  mmcourse search drawings "a castle at night" --show found.png
  mmcourse search photographs "a dog on a beach" --model openai/clip-vit-base-patch32"""
BACKENDS = ("exact", "faiss", "usearch")


def add_arguments(parser):
    parser.add_argument(
        "folder", metavar="FOLDER", help="with pictures; those in its folders count too"
    )
    parser.add_argument(
        "query",
        metavar="QUERY",
        nargs="+",
        help="words in quotation marks, or the path of a picture",
    )
    parser.add_argument(
        "--model",
        default="clip",
        help="clip (the shipped one, for drawn scenes; the default), or for photographs a CLIP or "
        "SigLIP of transformers: its folder, or owner/name on the hub",
    )
    parser.add_argument(
        "--top",
        type=above_zero,
        default=10,
        help="how many pictures to name (default: 10), each with a score; of the scores only the "
        "order means something",
    )
    parser.add_argument(
        "--index",
        metavar="DIR",
        help="where the index is kept (default: FOLDER/.mmcourse-search)",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="exact",
        help="exact compares with every picture (the default, good for a million); faiss and "
        "usearch walk a graph, and may miss some",
    )
    parser.add_argument(
        "--show", metavar="FILE", help="draw the pictures that were found (.png, .svg or .pdf)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def run(options):
    """Bring the index up to date, search, and print a line for each picture that was found."""
    from mmcourse.contrastive.search import PictureIndex

    if options.show and Path(options.show).suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--show writes .png, .svg or .pdf, got {options.show}")
    query = one_query(options)
    model = load_model(options.model)
    index = PictureIndex(options.folder, model, options.index)
    embedding = index.embed(query)  # before the index: a bad query shows at once
    warn_of_unknown_words(model, query)
    tell(index.update(), Path(options.folder))
    hits = index.find(embedding, options.top, options.backend)
    for rank, hit in enumerate(hits, 1):
        if options.json:
            print(json.dumps({"rank": rank, "score": hit.score, "picture": str(hit.path)}))
        else:
            print(f"{rank:4}  {hit.score:6.3f}  {hit.path}")
    if options.show:
        draw(query, hits, options.show)


def one_query(options):
    """The query, one text. ValueError for several, which is what a shell makes of bare words."""
    if len(options.query) > 1:
        folder = shlex.quote(options.folder)
        words = " ".join(options.query)
        raise ValueError(f'put the words in quotation marks: mmcourse search {folder} "{words}"')
    return options.query[0]


def load_model(name):
    """A model with two towers: the course's own, or one of ``transformers``."""
    from mmcourse import hub
    from mmcourse.contrastive import CLIP, DualEncoder

    config = Path(name, "config.json")
    ours = name in hub.NAMES or (config.is_file() and '"class"' in config.read_text("utf-8"))
    if not ours:
        return CLIP.from_transformers(name)
    model = hub.load(name)
    if not isinstance(model, DualEncoder):
        raise ValueError(
            f"{name!r} is a {type(model).__name__}, which has no space for pictures and words: "
            "expected clip, or a CLIP or SigLIP of transformers"
        )
    return model


def warn_of_unknown_words(model, query):
    """Say on stderr which words of a query the course's own model does not know."""
    from mmcourse.contrastive import CLIP
    from mmcourse.contrastive.search import is_picture

    if not isinstance(model, CLIP) or is_picture(query):
        return
    _, unknown = model.split(query)
    if unknown:
        complain("search", f"words that the model does not know are left out: {', '.join(unknown)}")


def tell(report, folder):
    """Say on stderr what was encoded, and what could not be read."""
    if report.damaged:
        complain("search", f"{report.damaged} parts of the index were cut off and are made again")
    if report.encoded:
        complain("search", f"{pictures(report.encoded)} encoded, {report.kept:,} as they were")
    if report.unreadable:
        name, reason = next(iter(report.unreadable.items()))
        left_out = f"{pictures(len(report.unreadable))} left out, which cannot be read"
        reason = reason.replace(str(folder / name), "it")  # the path was said
        complain("search", f"{left_out}; the first: {name} ({reason})")


def pictures(count):
    """How many pictures, in words: ``1 picture``, ``2 pictures``."""
    return f"{count:,} picture{'s' * (count != 1)}"


def draw(query, hits, file):
    """Write a picture of what was found, the best first."""
    import matplotlib

    matplotlib.use("Agg")
    from mmcourse.book.plotting import show_images
    from mmcourse.data.pictures import load_picture

    images = [load_picture(hit.path, 160) for hit in hits]
    titles = [f"{rank}: {hit.score:.2f}\n{hit.path.name:.20}" for rank, hit in enumerate(hits, 1)]
    figure = show_images(images, titles, columns=5)
    figure.suptitle(f"{query:.70}")
    figure.savefig(file, bbox_inches="tight", dpi=150)
