"""The command line.

``mmcourse caption | ask | search | draw | serve | hear | train | calibrate | evaluate | export |
data | bench``.

Each command is a module, which has ``ABOUT`` and ``EXAMPLES`` for its help,
``add_arguments(parser)``, and ``run(options)``, which returns an exit code, or None for 0. Models
and data are imported inside ``run``, so that help comes at once.

Exit codes: 0 all went well, 1 some pictures could not be captioned or some questions not be
answered, 2 bad use or bad input, 130 Ctrl-C.
"""

import argparse

import mmcourse
from mmcourse.cli import (
    ask,
    bench,
    calibrate,
    caption,
    data,
    draw,
    evaluate,
    export,
    hear,
    search,
    serve,
    train,
)
from mmcourse.cli.messages import complain

COMMANDS = {
    "caption": caption,
    "ask": ask,
    "search": search,
    "draw": draw,
    "serve": serve,
    "hear": hear,
    "train": train,
    "calibrate": calibrate,
    "evaluate": evaluate,
    "export": export,
    "data": data,
    "bench": bench,
}


def main(arguments=None):
    """Run the command line and return the exit code.

    ``arguments`` is a list of texts, by default what the process was called with.
    """
    options = command_line().parse_args(arguments)
    try:
        code = COMMANDS[options.command].run(options)
    except KeyboardInterrupt as error:
        complain(options.command, str(error) or "stopped")
        return 130
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        complain(options.command, str(error) or type(error).__name__)
        return 2
    return code or 0


def command_line():
    """The parser of all commands."""
    examples = [command.EXAMPLES.splitlines()[0] for command in COMMANDS.values()]
    parser = argparse.ArgumentParser(
        "mmcourse",
        description="Caption pictures, ask about them, find or draw them; train and judge models.",
        epilog="\n".join(["examples:", *examples, "", "mmcourse COMMAND --help says more."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mmcourse {mmcourse.__version__}")
    parsers = parser.add_subparsers(dest="command", required=True, metavar=" | ".join(COMMANDS))
    for name, command in COMMANDS.items():
        command.add_arguments(
            parsers.add_parser(
                name,
                help=command.ABOUT,
                description=command.ABOUT,
                epilog=f"examples:\n{command.EXAMPLES}",
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return parser
