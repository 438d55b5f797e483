"""What a notebook of the series must be: `problems` lists what is wrong with one."""

import ast
import base64
import re
import statistics
import symtable
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nbformat

from derainlib import evaluation
from derainlib.lab import numbers, series, tables
from derainlib.lab.curtain import LIVE
from derainlib.lab.figures import LIMIT

LONGEST, MEDIAN = 40, 12
"""Lines of a code cell: at most, and in the middle of all cells of a notebook."""

CELLS, LINES = 45, 350
"""Code cells of a notebook, and lines of code in all of them, at most."""

COMPARED = 5
"""A notebook has at least this many outputs whose text nbval compares with a second run."""

PARAMETERS = "parameters"
"""The tag of the one cell after which papermill puts its values."""

_COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}

DEMOS = {"Demo", "demo", "before_after", "upload", "zoomed", "Panel"}
"""What makes a demonstration, see `derainlib.lab.widgets` and `derainlib.lab.panel`."""

OPENING = ("**You will be able to**", "**You need**", "**Paper**", "<!-- navigation -->")
ENDING = ("## Summary", "## Exercises", "## Further reading")

_TEXTS = {"text/plain", "text/html", "text/markdown", "text/latex", "image/svg+xml"}
_ELSEWHERE = re.compile(r"(?<![\w.:/~])/(?:home|root|tmp|usr|opt|var|work|mnt|content|Users)/|\b[A-Z]:\\")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")


def problems(path: Path) -> list[str]:
    """What is wrong with a stored notebook, a line each; nothing, if it may be published.

    Args:
        path: the notebook, among its neighbours.
    """
    notebook = nbformat.read(path, as_version=4)
    entry = next((entry for entry in series.SERIES if entry.file == path.name), None)
    if entry is None:
        return ["its name is not in the series (derainlib/lab/series.py)"]
    return [*_form(notebook), *_prose(notebook, entry, path.parent), *_code(notebook, entry), *_outputs(notebook)]


def compared(notebook: nbformat.NotebookNode) -> int:
    """How many stored outputs have a text that nbval compares."""
    return sum(
        output.output_type == "stream" or bool(_TEXTS & set(output.get("data", ()))) for _, output in outputs(notebook)
    )


def outputs(notebook: nbformat.NotebookNode) -> Iterator[tuple[int, nbformat.NotebookNode]]:
    """Every output, with the number of its cell."""
    for number, cell in enumerate(notebook.cells):
        yield from ((number, output) for output in cell.get("outputs", ()))


def code(path: Path) -> list[str]:
    """The code cells of a stored notebook."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def parameters(notebook: nbformat.NotebookNode) -> dict[str, object]:
    """What papermill can change: names and values in the cell tagged `parameters`.

    Raises:
        ValueError: there is not one such cell, or more in it than names with plain values.
    """
    tagged = [cell.source for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", ())]
    if len(tagged) != 1:
        raise ValueError(f"{len(tagged)} cells are tagged '{PARAMETERS}': papermill needs one for its values")
    try:
        return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(tagged[0]).body}
    except (AttributeError, ValueError):
        raise ValueError("the parameters are more than names with plain values") from None


def _form(notebook: nbformat.NotebookNode) -> Iterator[str]:
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        yield f"not a valid notebook: {error.message}"
    if "widgets" in notebook.metadata:
        yield "metadata.widgets is stored: GitHub refuses to show the notebook"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "its kernel is not python3, the one that everybody has"


def _prose(notebook: nbformat.NotebookNode, entry: series.Entry, folder: Path) -> Iterator[str]:
    first = notebook.cells[0].source if notebook.cells and notebook.cells[0].cell_type == "markdown" else ""
    if not first.startswith(f"# {entry.heading}\n"):
        yield f"the first cell is not the title '# {entry.heading}'"
    yield from (f"the first cell lacks {part}" for part in OPENING if part not in first)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    yield from (f"there is no heading '{part}'" for part in ENDING if not re.search(f"^{part}", text, re.MULTILINE))
    if not any(_has_picture(cell) for cell in notebook.cells[:5]):
        yield "there is no picture among the first five cells"
    if not notebook.metadata.get("derainlib", {}).get("cpu_seconds"):
        yield "its CPU time was not measured"
    if series.filled(notebook, entry, series.existing(folder)):
        yield "its links or its table of contents are out of date"
    yield from numbers.wrong(notebook)


def _code(notebook: nbformat.NotebookNode, entry: series.Entry) -> Iterator[str]:
    cells = [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    lengths = [len(cell.source.splitlines()) for _, cell in cells]
    if not cells:
        yield "there is no code"
        return
    yield from (f"cell {number} is empty" for number, cell in cells if not cell.source.strip())
    if unrun := [str(number) for number, cell in cells if cell.execution_count is None]:
        yield f"cells were not run: {', '.join(unrun)}"
    for (number, _), length in zip(cells, lengths, strict=True):
        if length > LONGEST:
            yield f"cell {number} has {length} lines, more than {LONGEST}: move code into derainlib"
    lines = [line for _, cell in cells for line in cell.source.splitlines() if line.strip() and line.strip()[0] != "#"]
    if len(cells) > CELLS or len(lines) > LINES:
        yield f"{len(cells)} code cells, {len(lines)} lines of code, more than {CELLS} and {LINES}: split it"
    if statistics.median(lengths) > MEDIAN:
        yield f"the median code cell has more than {MEDIAN} lines"
    yield from (
        f"cell {number} names a path of one machine" for number, cell in cells if _ELSEWHERE.search(cell.source)
    )
    yield from (
        f"cell {number} makes a demonstration within try or with, where its error could get lost"
        for number, cell in cells
        if _is_sheltered(cell.source)
    )
    yield from _rebound(cells)
    try:
        parameters(notebook)
    except ValueError as error:
        yield str(error)


def _rebound(cells: Sequence[tuple[int, nbformat.NotebookNode]]) -> Iterator[str]:
    """Functions that read a name to which a later cell gives a new meaning: a slider moved then finds that."""
    bound: dict[str, int] = {}
    readers: dict[str, str] = {}
    for number, cell in cells:
        for name in sorted(_bound(ast.parse(cell.source))):
            if name in readers:
                yield f"cell {number} gives {name!r} a new meaning, which {readers[name]} reads: choose another name"
            bound[name] = number
        for name, function in _read(symtable.symtable(cell.source, "cell", "exec")):
            if name in bound:
                readers[name] = f"{function} of cell {number}"


def _bound(tree: ast.AST) -> set[str]:
    """The names that a cell gives a value, outside functions and comprehensions."""
    if isinstance(tree, ast.FunctionDef | ast.ClassDef):
        return {tree.name}
    if isinstance(tree, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return set()
    if isinstance(tree, ast.alias):
        return {tree.asname or tree.name}
    own = {tree.id} if isinstance(tree, ast.Name) and isinstance(tree.ctx, ast.Store) else set()
    return own.union(*map(_bound, ast.iter_child_nodes(tree)))


def _read(table: symtable.SymbolTable, function: str = "") -> Iterator[tuple[str, str]]:
    """The names from outside that functions read, with the function; comprehensions have read when their cell ends."""
    for inner in table.get_children():
        name = function or inner.get_name()
        if name in _COMPREHENSIONS:
            continue
        yield from ((symbol.get_name(), name) for symbol in inner.get_symbols() if symbol.is_global())
        yield from _read(inner, name)


def _is_sheltered(source: str) -> bool:
    """Whether a demonstration is made where its exception might not stop the cell."""
    blocks = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Try | ast.With))
    calls = (node.func for block in blocks for node in ast.walk(block) if isinstance(node, ast.Call))
    return any({getattr(call, "id", ""), getattr(call, "attr", "")} & DEMOS for call in calls)


def _outputs(notebook: nbformat.NotebookNode) -> Iterator[str]:
    if (count := compared(notebook)) < COMPARED:
        yield f"only {count} outputs have a text to compare, fewer than {COMPARED}: a test would be empty"
    for number, output in outputs(notebook):
        data = output.get("data", {})
        texts = [output.get("text", ""), *(data[kind] for kind in _TEXTS & set(data))]
        if output.output_type == "error":
            yield f"cell {number} raised {output.ename}"
        if output.get("name") == "stderr":
            yield f"cell {number} writes to stderr: {output.text.strip()[:80]}"
        if any(map(_ELSEWHERE.search, texts)):
            yield f"cell {number} shows a path of one machine"
        if any(map(_ADDRESS.search, texts)):
            yield f"cell {number} shows a memory address, different in each run"
        if any(text.count(tables.EVERY_ROW) > text.count(evaluation.RAINY) for text in texts):
            yield f"cell {number} shows a study's table without its rainy row"
        if LIVE in data or (data.get("text/plain", "").startswith("Demo(") and not _pictures(data)):
            yield f"cell {number} shows a widget without a picture: nothing is seen where no kernel runs"
        yield from (
            f"cell {number} stores a picture of {size // 1000} kB, more than {LIMIT // 1000}"
            for kind in _pictures(data)
            if (size := _size(kind, data[kind])) > LIMIT
        )


def _has_picture(cell: nbformat.NotebookNode) -> bool:
    return any(_pictures(output.get("data", {})) for output in cell.get("outputs", ()))


def _pictures(data: Mapping[str, str]) -> list[str]:
    """MIME types of the pictures among what an output holds."""
    return [kind for kind in data if kind.startswith("image/")]


def _size(kind: str, content: str) -> int:
    return len(content.encode()) if kind == "image/svg+xml" else len(base64.b64decode(content))


def main(paths: Sequence[str]) -> int:
    """`python -m derainlib.lab.gate notebooks/*.ipynb`: print what is wrong; 0 if nothing is."""
    found = [(path, problem) for path in paths for problem in problems(Path(path))]
    for path, problem in found:
        print(f"{path}: {problem}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
