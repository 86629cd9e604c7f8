"""The course's public address, and the cell that gets the course where it is missing."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent

FROM_ADDRESS = '''\
from importlib.util import find_spec

if not find_spec("mmcourse"):  # you are on Colab
    %pip install --quiet "mmcourse[notebooks] @ git+{address}"'''

FROM_CLONE = """\
from importlib.util import find_spec

if not find_spec("mmcourse"):
    raise ModuleNotFoundError(
        "This notebook needs the course's package, and this Python has none. "
        "In the folder of the course, run `make lab`, and open the notebook there. "
        'Without make: pip install --editable ".[notebooks]"'
    )"""


def public_address(config=ROOT / "_config.yml"):
    """The address in ``_config.yml``, or "" while OWNER in it is a placeholder."""
    address = yaml.safe_load(config.read_text(encoding="utf-8"))["repository"]["url"]
    return "" if "/OWNER/" in address else address


def install_code(address):
    """The code of the cell that installs the course, or says how to get it from a clone."""
    return FROM_ADDRESS.format(address=address) if address else FROM_CLONE


INSTALL = install_code(public_address())
