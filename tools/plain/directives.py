"""Directives of MyST as plain Markdown: a card becomes a quote, a fold becomes ``<details>``."""

import base64

from tools.plain.roles import display, document_link, file_address, inline_html, prose


def convert(page, directive):
    """What a directive says, in plain Markdown. Raises ValueError when it is not known."""
    if directive.name not in DIRECTIVES:
        known = ", ".join(sorted(DIRECTIVES))
        raise ValueError(f"{page.name}: unknown directive {{{directive.name}}}; known are {known}")
    return DIRECTIVES[directive.name](page, directive)


def quote(text):
    """A text as a quote of Markdown.

    A formula in it becomes one line: the next would begin with >, which is part of no formula.
    """
    lines = []
    formula = None  # the lines of the formula that is open
    for line in text.splitlines():
        if line.strip() == "$$" and formula is None:
            formula = []
        elif line.strip() == "$$":
            lines.append(f"$$ {' '.join(formula)} $$")
            formula = None
        elif formula is not None:
            formula.append(line.strip())
        else:
            lines.append(line)
    return "\n".join(f"> {line}".rstrip() for line in lines)


def fold(summary, text):
    """A text that is shown when the reader opens it; ``summary`` is plain Markdown of one line."""
    return f"<details>\n<summary>{inline_html(summary)}</summary>\n\n{text}\n\n</details>"


def card(page, directive):
    title = f"**{prose(page, directive.argument)}**\n\n" if directive.argument else ""
    return quote(title + page.markdown(directive.content))


def card_footer(page, directive):
    return page.markdown(directive.content)


def dropdown(page, directive):
    return fold(prose(page, directive.argument), page.markdown(directive.content))


def margin(page, directive):
    title = f"**{prose(page, directive.argument)}** " if directive.argument else ""
    return quote(title + page.markdown(directive.content))


def admonition(page, directive):
    """A note, a warning, ...: a quote that begins with the word; ``admonition`` brings its own."""
    if directive.name == "admonition":
        title = prose(page, directive.argument)
        text = directive.content
    else:
        title = directive.name.capitalize()
        text = f"{directive.argument}\n{directive.content}".strip()
    text = page.markdown(text)
    if directive.options.get("class") == "dropdown":
        return fold(title, text)
    return quote(f"**{title}.**\n\n{text}")


def exercise_start(page, directive):
    place = page.place(directive.options.get("label"))
    return f"### Exercise {place.number} ({prose(page, directive.argument)})"


def exercise_end(page, directive):
    return ""


def formula(page, directive):
    text = f"{directive.argument}\n{directive.content}".strip()
    return display(page, text, directive.options.get("label"))


def figure(page, directive):
    """A picture from a file, with its number and caption."""
    return f"{image(page, directive)}\n\n{page.caption(directive.content)}"


def image(page, directive):
    alternative = directive.options.get("alt", "")
    return f"![{alternative}]({file_address(page, directive.argument)})"


def glued_figure(page, directive):
    """A picture that a cell further below draws. It travels in this cell, as an attachment."""
    key = directive.argument
    picture = page.glued.get(key, {})
    kind = next((kind for kind in ("image/png", "image/svg+xml") if kind in picture), None)
    if kind is None:
        raise ValueError(f"{page.name}: no picture is glued as {key!r}: execute the notebook")
    name = f"{key}.{'png' if kind == 'image/png' else 'svg'}"
    data = picture[kind]
    page.attachments[name] = {
        kind: data.strip() if kind == "image/png" else base64.b64encode(data.encode()).decode()
    }
    alternative = directive.options.get("alt", "")
    return f"![{alternative}](attachment:{name})\n\n{page.caption(directive.content)}"


def live(page, directive):
    """A live figure of another notebook, which plain Markdown cannot hold: where it is."""
    address, _ = directive.argument.split()
    link = document_link(page, address)
    return f"*A live figure of {link}: {directive.options.get('alt', '')}*"


ADMONITIONS = ("admonition", "hint", "important", "note", "seealso", "tip", "warning")
DIRECTIVES = {
    "card": card,
    "card-footer": card_footer,
    "dropdown": dropdown,
    "exercise-end": exercise_end,
    "exercise-start": exercise_start,
    "figure": figure,
    "glue:figure": glued_figure,
    "image": image,
    "live": live,
    "margin": margin,
    "math": formula,
    **dict.fromkeys(ADMONITIONS, admonition),
}
