"""A notebook of MyST as a notebook of plain Markdown, cell by cell."""

import copy

from nbformat.v4 import new_markdown_cell

from tools.plain import course, references
from tools.plain.directives import convert, fold
from tools.plain.roles import display, prose
from tools.plain.syntax import FENCES, blocks, link_definitions

GLUE = "application/papermill.record/"
UNSEEN_CODE = {"install", "remove-cell", "remove-input", "hide-input", "hide-cell"}
UNSEEN_OUTPUT = {"remove-output", "hide-output", "hide-cell"}
PROSE = {
    "blockquote_open",
    "bullet_list_open",
    "heading_open",
    "ordered_list_open",
    "paragraph_open",
    "table_open",
}
AS_IT_IS = {"fence", "code_block", "html_block", "hr"}
UNSHOWN = {"myst_target", "myst_line_comment", "myst_block_break"}


def plain_notebook(notebook, name):
    """The notebook of a chapter in plain Markdown; the given one stays as it is.

    ``notebook`` is the executed chapter: MyST in its Markdown cells, outputs in its code cells, and
    in its metadata under ``mmcourse`` the seconds and megabytes that it took and the minutes to
    read it. ``name`` is the chapter's, "05_vision".

    Code, outputs and tags stay. Code that the page folds or leaves out is folded. A figure's
    caption stands in a cell below it. A solution's code is folded with its output.

    Raises ValueError that names a directive, a role, a label, a work, a file or a glued value that
    is not known.
    """
    page = Page(notebook, name)
    plain = copy.deepcopy(notebook)
    plain.cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            plain.cells += page.markdown_cells(cell)
        else:
            plain.cells += page.code_cells(cell)
    if page.cited:
        kinds = [cell.cell_type for cell in reversed(plain.cells)]
        after_words = len(kinds) - kinds.index("markdown")
        plain.cells.insert(after_words, page.list_of_references())
    return plain


class Page:
    """A chapter while it is converted: its places by label, its glued values, and what it cites."""

    def __init__(self, notebook, name):
        self.name = name
        self.glued = glued_values(notebook)
        self.measured = notebook.metadata.get("mmcourse", {})
        counter = course.Counter(name, course.counted_before(name))
        counted = list(counter.count(notebook))
        self.own = {label: place for label, place in counted if label}
        self.figures = iter([place for _, place in counted if place.kind == "figure"])
        self.sections = iter([place for _, place in counted if place.kind == "section"])
        self.attachments = {}  # pictures of the cell that is being made
        self.cited = set()
        self.solution = None  # the exercise whose solution is open

    def place(self, label):
        """What a label names, here or in another chapter. Raises ValueError when nothing has it."""
        if label in self.own:
            return self.own[label]
        if label in course.places():
            return course.places()[label]
        raise ValueError(f"{self.name}: no label {label!r} in any chapter")

    def cite(self, keys):
        self.cited |= set(keys)

    # Cells ----------------------------------------------------------------------------------

    def markdown_cells(self, cell):
        """The cells for a Markdown cell: one, or none when nothing in it is to be read."""
        self.attachments = {}
        text = self.cell_text(cell.source)
        if not text:
            return []
        made = new_markdown_cell(text, id=cell.id)
        if self.attachments:
            made.attachments = self.attachments
        return [made]

    def cell_text(self, source):
        """A cell's Markdown. Solutions are folded; one may go on over several cells."""
        for name in link_definitions(source):
            raise ValueError(
                f"{self.name}: write the address of a link beside it, not as [{name}]:"
            )
        shown = []
        folded = []
        begins = False
        for block in blocks(source):
            name = block.directive.name if block.directive else ""
            if name == "solution-start":
                self.solution = self.place(block.directive.argument)
                begins = True
            elif name == "solution-end":
                shown.append(self.fold_solution(folded, begins, ends=True))
                folded = []
                self.solution = None
            elif self.solution:
                folded.append(self.block(block))
            else:
                shown.append(self.block(block))
        if self.solution:
            shown.append(self.fold_solution(folded, begins, ends=False))
        return "\n\n".join(filter(None, shown))

    def fold_solution(self, folded, begins, ends):
        """The words of a solution in one fold. Its code stands below, in cells that are folded."""
        title = f"Solution to Exercise {self.solution.number}"
        if not begins:
            title += ", continued"
        text = "\n\n".join(filter(None, folded))
        if text:
            return fold(title, text)
        return "" if ends or not begins else f"**{title}:** the folded cells below."

    def code_cells(self, cell):
        """A code cell, folded as its tags say, and the caption of its figure."""
        made = copy.deepcopy(cell)
        tags = set(cell.metadata.get("tags", []))
        folds = {}
        if tags & UNSEEN_CODE or self.solution:
            folds["source_hidden"] = True
            made.metadata["cellView"] = "form"  # the same for Colab
        if tags & UNSEEN_OUTPUT or self.solution:
            folds["outputs_hidden"] = True
        if folds:
            made.metadata["jupyter"] = folds
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure is None:
            return [made]
        return [made, new_markdown_cell(self.caption(figure["caption"]), id=f"{cell.id}-caption")]

    def list_of_references(self):
        """The cell after the last words: every work that the chapter cites, in full."""
        works = [references.in_full(key) for key in sorted(self.cited, key=references.order)]
        text = "\n".join(["### References", "", *[f"- {work}" for work in works]])
        return new_markdown_cell(text, id="references")

    # Blocks ---------------------------------------------------------------------------------

    def markdown(self, text):
        """A text of MyST as plain Markdown."""
        return "\n\n".join(filter(None, map(self.block, blocks(text))))

    def block(self, block):
        if block.directive:
            return convert(self, block.directive)
        if block.kind in PROSE:
            return self.prose(block)
        if block.kind in {"math_block", "math_block_label"}:
            return display(self, block.content, block.label)
        if block.kind in AS_IT_IS:
            return block.source
        if block.kind in UNSHOWN:
            return ""
        raise ValueError(f"{self.name}: plain Markdown has no {block.kind}: {block.source[:60]}")

    def prose(self, block):
        """A paragraph, a list, a table, a quote, or a heading, which gets its number."""
        for token in block.inner:
            if token.type in FENCES and token.info.startswith("{"):
                raise ValueError(
                    f"{self.name}: move the directive {token.info} out of a list or quote"
                )
        text = prose(self, block.source)
        if block.kind != "heading_open":
            return text
        marks, title = text.split(" ", 1)
        number = next(self.sections).number
        return " ".join(filter(None, [marks, number, title]))

    def caption(self, text):
        """The next figure's caption, after its number."""
        words = self.markdown(text)
        return f"**Figure {next(self.figures).number}.** {words}"


def glued_values(notebook):
    """What a notebook glued, as {name: {MIME type: data}}."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                data = output["data"]
                found[name] = {kind.removeprefix(GLUE): value for kind, value in data.items()}
    return found
