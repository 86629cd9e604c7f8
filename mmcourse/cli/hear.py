"""``mmcourse hear``: write what is said in sound files."""

import json

from mmcourse.cli.messages import complain

ABOUT = "write what is said in a sound file"
EXAMPLES = """  mmcourse hear dog.wav
  mmcourse hear one.mp3 two.flac --json"""


def add_arguments(parser):
    parser.add_argument(
        "sounds", metavar="FILE", nargs="+", help="WAV, FLAC, Ogg, Opus or MP3, of any length"
    )
    parser.add_argument(
        "--model",
        default="speech",
        help="speech (the shipped one, for synthetic voices; the default), or a folder",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a piece")


def run(options):
    """Write the text of each piece of each file. Files that are no sound are named.

    The exit code is 0 when all could be read, 1 when some could not, 2 when none could.
    """
    model = load_recogniser(options.model)
    failed = 0
    several = len(options.sounds) > 1
    for path in options.sounds:
        try:
            print_heard(model, path, options.json, several)
        except ValueError as error:
            complain("hear", error)
            failed += 1
    if failed == len(options.sounds):
        return 2
    return 1 if failed else 0


def load_recogniser(name):
    """The model of this name. ValueError for one that hears nothing."""
    from mmcourse.audio import Recogniser
    from mmcourse.hub import load

    model = load(name)
    if not isinstance(model, Recogniser):
        raise ValueError(f"{name!r} is a {type(model).__name__} and hears nothing: take speech")
    return model


def print_heard(model, path, as_json, named):
    """Print a line for each piece of a file, as it is heard; it is ``named`` where others are."""
    from mmcourse.data.speech import sound_blocks

    for heard in model.listen(sound_blocks(path)):
        if as_json:
            line = {"file": path, "start": heard.start, "end": heard.end, "text": heard.text}
            print(json.dumps(line, ensure_ascii=False), flush=True)
        else:
            text = heard.text or "(nothing)"
            name = f"{path}: " if named else ""
            print(f"{name}{heard.start:7.1f} s  {text}", flush=True)
