"""Prose: roles, links and formulas in a line of MyST as plain Markdown."""

import os
import re
from pathlib import Path

from markdown_it import MarkdownIt
from myst_nb.core.variables import format_plain_text

from tools.plain import course, places, references

# What prose consists of besides words. Escaped characters and code are found so that they stay.
PIECE = re.compile(
    r"""
      (?P<escaped> \\. )
    | \{(?P<role>[\w:-]+)\} (?P<fence>`+) (?P<text>.+?) (?<!`)(?P=fence)(?!`)
    | (?P<code> (?P<ticks>`+) .+? (?<!`)(?P=ticks)(?!`) )
    | \$\$ (?P<display>.+?) \$\$ (?: [ ]* \( (?P<label>[\w-]+) \) )?
    | (?P<formula> \$ (?:\\.|[^$\\])+? \$ )
    | (?P<image>!?) \[ (?P<words>[^\[\]]*) \] \( (?P<address>[^()\s]+) \)
    """,
    re.VERBOSE | re.DOTALL,
)
TITLED = re.compile(r"(?P<title>.+?)\s*<(?P<target>[^<>]+)>", re.DOTALL)  # words <label>


def prose(page, text):
    """A piece of prose as plain Markdown. Raises ValueError for a role that is not known."""

    def plain(match):
        if match["role"]:
            return role(page, match["role"], match["text"])
        if match["display"]:
            return display_in_line(page, match)
        if match["formula"]:
            return match["formula"].replace(
                "\n", " "
            )  # in a quote, the next line would begin with >
        if match["address"]:
            return link(page, match)
        return match[0]

    return PIECE.sub(plain, text)


def display(page, formula, label):
    """A formula on a line of its own, with its number when it has a label."""
    return f"$$\n{formula.strip()}{tag(page, label)}\n$$"


def display_in_line(page, match):
    """A formula in a list or a quote, on one line, so that none of their marks is in it."""
    line = match.string.rfind("\n", 0, match.start()) + 1
    margin = match.string[line : match.start()]  # spaces or >, which begin its other lines too
    lines = [line.removeprefix(margin).strip() for line in match["display"].splitlines()]
    formula = " ".join(filter(None, lines))
    return f"$$ {formula}{tag(page, match['label'])} $$"


def tag(page, label):
    return f" \\tag{{{page.place(label).number}}}" if label else ""


def inline_html(text):
    """Plain Markdown of one line as HTML, for a summary, in which Markdown is not read."""
    formulas = []

    def keep(match):
        if not match["formula"]:
            return match[0]
        formulas.append(match["formula"].replace("<", r"\lt ").replace(">", r"\gt "))
        return f"\N{OBJECT REPLACEMENT CHARACTER}{len(formulas) - 1};"

    kept = PIECE.sub(keep, text)
    html = MarkdownIt("commonmark").renderInline(kept)
    return re.sub(
        "\N{OBJECT REPLACEMENT CHARACTER}(\\d+);", lambda match: formulas[int(match[1])], html
    )


# Links --------------------------------------------------------------------------------------


def link(page, match):
    """A link or a picture: to a chapter's notebook, to a file of the course, or out of it."""
    words = prose(page, match["words"])
    address = match["address"]
    if match["image"]:
        return f"![{words}]({file_address(page, address)})"
    if re.match(r"[a-z]+:", address):
        return f"[{words}]({address})"
    if address.startswith("#"):
        raise ValueError(f"{page.name}: refer to {address} with a role, {{ref}} or {{numref}}")
    return document_link(page, address, words)


def document_link(page, address, words=""):
    """A link to a chapter; of a page that is no notebook, the words alone."""
    target = Path(address.partition("#")[0])
    if target.stem in course.chapters():
        words = words or course.title(target.stem)
        return words if target.stem == page.name else f"[{words}]({target.stem}.ipynb)"
    if target.suffix in {"", ".md"}:
        return words or page_title(page, target)
    return f"[{words or target.name}]({file_address(page, address)})"


def page_title(page, target):
    """The title of a page without code."""
    file = file_of(page, str(target.with_suffix(".md")))
    match = re.search(r"^# (.+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    if not match:
        raise ValueError(f"{page.name}: {target} has no title")
    return match[1]


def file_of(page, address):
    """The file that an address means, seen from the chapter's text or from its notebook.

    An address that begins with / is seen from the top folder.
    """
    starts = (places.ROOT,) if address.startswith("/") else (places.TEXTS, places.NOTEBOOKS)
    for start in starts:
        file = (start / address.lstrip("/")).resolve()
        if file.exists():
            return file
    raise ValueError(f"{page.name}: there is no file {address}")


def file_address(page, address):
    """The address of a file of the course, seen from the notebook."""
    if re.match(r"[a-z]+:", address):
        return address
    return Path(os.path.relpath(file_of(page, address), places.NOTEBOOKS)).as_posix()


# Roles --------------------------------------------------------------------------------------


def role(page, name, text):
    """What a role says, in plain Markdown. Raises ValueError when it is not known."""
    if name not in ROLES:
        raise ValueError(
            f"{page.name}: unknown role {{{name}}}`{text}`; known are {', '.join(sorted(ROLES))}"
        )
    return ROLES[name](page, text)


def titled(text):
    """The two parts of ``words <target>``; words are "" where there is a target alone."""
    match = TITLED.fullmatch(text)
    return (match["title"], match["target"]) if match else ("", text)


def linked(page, place, words):
    """Words about a place: plain in its own chapter, elsewhere a link to its notebook."""
    return words if place.chapter == page.name else f"[{words}]({place.chapter}.ipynb)"


def equation(page, text):
    place = page.place(text)
    return linked(page, place, f"({place.number})")


def numbered(page, text):
    """``{numref}``: Figure 5.1, or the writer's words with %s or {number} for the number."""
    words, label = titled(text)
    place = page.place(label)
    words = words or f"{course.WORDS[place.kind]} %s"
    return linked(page, place, words.replace("%s", place.number).replace("{number}", place.number))


def reference(page, text):
    """``{ref}``: the title of what a label names, or the writer's words."""
    words, label = titled(text)
    place = page.place(label)
    words = words or prose(page, place.title) or f"{course.WORDS[place.kind]} {place.number}"
    return linked(page, place, words)


def document(page, text):
    words, target = titled(text)
    return document_link(page, target, words)


def download(page, text):
    words, target = titled(text)
    return f"[{words or Path(target).name}]({file_address(page, target)})"


def term(page, text):
    words, target = titled(text)
    return words or target


def glued(page, text):
    """A number or word of the run: ``key``, or ``key:.2f`` with a form of Python's format."""
    key, _, form = text.partition(":")
    if key not in page.glued:
        raise ValueError(f"{page.name}: nothing is glued as {key!r}: execute the notebook")
    words = format_plain_text(page.glued[key]["text/plain"], form)
    return re.sub(r"(\d)%", "\\1\N{NO-BREAK SPACE}%", words)  # as on the page


def measured(page, text):
    if text not in page.measured:
        known = ", ".join(page.measured)
        raise ValueError(f"{page.name} has no measured {text!r}, only {known}: make notebooks")
    return str(page.measured[text])


def code(page, text):
    """Something in the package as code: mmcourse.decoding.greedy; after ~ its last name alone."""
    words, target = titled(text)
    name = target.rpartition(".")[2] if target.startswith("~") else target
    return f"`{words or name}`"


def keys(text):
    return [key.strip() for key in text.split(",")]


def cited_in_sentence(page, text):
    page.cite(keys(text))
    return ", ".join(references.in_sentence(key) for key in keys(text))


def cited_in_brackets(page, text):
    page.cite(keys(text))
    return references.in_brackets(keys(text))


ROLES = {
    "cite": cited_in_brackets,
    "cite:p": cited_in_brackets,
    "cite:t": cited_in_sentence,
    "doc": document,
    "download": download,
    "eq": equation,
    "glue": glued,
    "glue:text": glued,
    "math": lambda page, text: f"${text}$",
    "measured": measured,
    "numref": numbered,
    "ref": reference,
    "term": term,
    **dict.fromkeys(("attr", "class", "func", "meth", "mod", "py:obj"), code),
}
