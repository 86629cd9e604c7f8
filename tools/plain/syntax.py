"""MyST as blocks: what a Markdown cell consists of, and the parts of a directive."""

import re
from dataclasses import dataclass, field
from functools import cache

import yaml
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

from tools.plain.places import ROOT

FENCES = {"fence", "colon_fence"}
DIRECTIVE = re.compile(r"\{(?P<name>[^}\s]+)\}[ \t]*(?P<argument>.*)")
OPTION = re.compile(r":(?P<name>[\w-]+):[ \t]*(?P<value>.*)")


@dataclass
class Directive:
    """A directive's name, what stands beside it, its options, and the lines in it."""

    name: str
    argument: str = ""
    options: dict = field(default_factory=dict)
    content: str = ""


@dataclass
class Block:
    """A block at the outermost level of a cell: its kind (a token's type) and its source.

    ``label`` is set for a numbered formula, ``directive`` for a fence that is one. ``inner`` are
    the tokens within.
    """

    kind: str
    source: str
    content: str = ""
    label: str | None = None
    directive: Directive | None = None
    inner: list = field(default_factory=list)


@cache
def parser():
    """The parser of the book's pages, with the extensions of ``_config.yml``."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    extensions = set(config["parse"]["myst_enable_extensions"])
    return create_md_parser(MdParserConfig(enable_extensions=extensions), RendererHTML)


def blocks(text):
    """The blocks of a Markdown text, outermost level, in order."""
    tokens = parser().parse(text)
    lines = text.splitlines()
    found = []
    for token in tokens:
        if token.level > 0:
            found[-1].inner.append(token)
        elif token.nesting >= 0:
            found.append(block(token, lines))
    return found


def link_definitions(text):
    """The names of links whose address is defined elsewhere in a text, [name]: address."""
    environment = {}
    parser().parse(text, environment)
    return list(environment.get("references", {}))


def block(token, lines):
    """The block that an outermost token opens."""
    first, last = token.map
    source = "\n".join(lines[first:last]).rstrip()
    made = Block(token.type, source, content=token.content)
    if token.type == "math_block_label":
        made.label = token.info
    if token.type in FENCES:
        made.directive = directive(token)
    return made


def directive(token):
    """The directive that a fence is, or None for a fence with code."""
    match = DIRECTIVE.match(token.info.strip())
    if not match:
        return None
    lines = token.content.splitlines()
    options = {}
    while lines and OPTION.match(lines[0]):
        option = OPTION.match(lines.pop(0))
        options[option["name"]] = option["value"].strip()
    return Directive(
        name=match["name"],
        argument=match["argument"].strip(),
        options=options,
        content="\n".join(lines).strip("\n"),
    )
