"""The numbers of chapters, sections, figures and formulas: those of the file names."""

import re

from docutils import nodes
from sphinx.environment.collectors.toctree import TocTreeCollector

CHAPTER = re.compile(r"book/chapters/(\d\d)_\w+")


def number_chapters(app, env):
    """Number book/chapters/05_vision as 5, its sections, figures and formulas 5.1, 5.2 ...

    Sphinx itself can only count chapters in the order of the table of contents, and a chapter's
    number is final here although some chapters before it are not written yet.
    """
    for document in env.found_docs:
        match = CHAPTER.fullmatch(document)
        if match and document in env.tocs:
            numbers = env.toc_secnumbers.setdefault(document, {})
            number_entries(env.tocs[document], (), int(match[1]) - 1, numbers)
            env.titles[document]["secnumber"] = numbers.get("")
    return TocTreeCollector().assign_figure_numbers(env)


def number_entries(entries, parent, before, numbers):
    """Give every entry in a (nested) list its section number, the first one ``before + 1``."""
    for position, entry in enumerate(entries.children, before + 1):
        number = (*parent, position)
        for child in entry.children:
            if isinstance(child, nodes.bullet_list):
                number_entries(child, number, 0, numbers)
            else:
                for reference in child.findall(nodes.reference):
                    numbers[reference["anchorname"]] = number
                    if len(number) < 3:
                        reference["secnumber"] = number


def setup(app):
    app.connect("env-get-updated", number_chapters, priority=900)  # after Sphinx's own numbering
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
