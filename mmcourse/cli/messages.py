"""What the command line says when something is wrong."""

import sys


def complain(command, message):
    """Say on stderr, in one line that names the command, what went wrong."""
    print(f"mmcourse {command}: {message}", file=sys.stderr)
