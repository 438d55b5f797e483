"""Run notebooks and store their outputs: `python -m derainlib.lab.publish [notebooks/07_srn_brn.ipynb …]`.

Each notebook is executed from the start by the kernel of the running environment. What changes from run to
run is left out (widget state, timings, model ids: a demonstration keeps its filmstrip and its text), the
links and the CPU time are written into its opening, the numbers that are bound to its outputs into its prose,
and the result replaces the file only if the gate finds nothing wrong with it. Then the links of its neighbours
and the README's table of contents follow.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from derainlib.errors import DerainError
from derainlib.files import write_atomically
from derainlib.lab import gate, numbers, series
from derainlib.lab.curtain import LIVE
from derainlib.models import weights

FOLDER = Path("notebooks")
"""Where the series is, from the repository's root."""


def publish(path: Path) -> list[str]:
    """Execute a notebook and replace it by the result, unless something is wrong with that.

    Args:
        path: the notebook; its neighbours lie beside it.

    Returns:
        what is wrong, a line each; the file is as it was unless this is empty.

    Raises:
        DerainError: the file is no notebook of the series.
    """
    entry = next((entry for entry in series.SERIES if entry.file == path.name), None)
    if entry is None or not path.is_file():
        raise DerainError(f"{path} is no notebook of the series: see derainlib/lab/series.py")
    notebook = nbformat.read(path, as_version=4)
    try:
        seconds = execute(notebook, path.parent)
    except CellExecutionError as error:
        return [f"a cell raised {error.ename}: {error.evalue}\n{error}"]
    settle(notebook, seconds)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{entry.number}-{number:02d}"
    series.filled(notebook, entry, series.existing(path.parent))
    numbers.refresh(notebook)
    return _replace(path, notebook)


def execute(notebook: nbformat.NotebookNode, folder: Path) -> float:
    """Run all cells in place, with `folder` as the current one; return the CPU time in seconds.

    Raises:
        CellExecutionError: a cell raised an exception.
    """
    before = _children()
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", record_timing=False, coalesce_streams=True, resources=resources
    ).execute()
    return _children() - before


def settle(notebook: nbformat.NotebookNode, seconds: float) -> None:
    """Leave out what changes from run to run, and note the CPU time."""
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({"tags": cell.metadata.tags} if cell.metadata.get("tags") else {})
        for output in cell.get("outputs", ()):
            if "data" in output:
                output.metadata = nbformat.from_dict({})
                if {"image/png", "image/jpeg"} & set(output.data):
                    output.data.pop(LIVE, None)
    known = notebook.metadata.get("derainlib", {}).get("cpu_seconds")
    # A time within half as much again is the same time: the file should not change for that.
    same = known and known / 1.5 < seconds < known * 1.5
    notebook.metadata = nbformat.from_dict(
        {
            "derainlib": {"cpu_seconds": known if same else max(1, round(seconds))},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"file_extension": ".py", "name": "python"},
        }
    )


def link(folder: Path) -> list[Path]:
    """Bring the generated parts of the notebooks and of the README above up to date; return what changed."""
    entries, changed = series.existing(folder), []
    for entry in entries:
        path = folder / entry.file
        notebook = nbformat.read(path, as_version=4)
        if series.filled(notebook, entry, entries) | numbers.refresh(notebook):
            write_atomically(path, _text(notebook))
            changed.append(path)
    readme = folder.parent / "README.md"
    if readme.is_file():
        old = readme.read_text()
        new = series.fill(numbers.written(old), series.CONTENTS, series.contents(entries, f"{folder.name}/"))
        cards = {name: weights.card(name) for name in weights.shipped()}
        new = series.fill(new, series.SCORES, series.scores(cards))
        new = series.fill(new, series.CHOICE, series.choice(cards))
        if new != old:
            write_atomically(readme, new.encode())
            changed.append(readme)
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if every notebook was published."""
    parser = argparse.ArgumentParser(
        prog="python -m derainlib.lab.publish", description="Run notebooks, store their outputs."
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of the series where left out")
    parser.add_argument("--links", action="store_true", help="run nothing, renew links, contents and numbers")
    options = parser.parse_args(arguments)
    paths = options.notebooks or [FOLDER / entry.file for entry in series.existing(FOLDER)]
    results = [] if options.links else [_reported(path) for path in paths]
    for folder in dict.fromkeys(path.parent for path in paths):
        link(folder)
    return int(not all(results))


def _reported(path: Path) -> bool:
    """Publish a notebook and print how it went; whether it went well."""
    try:
        wrong = publish(path)
    except DerainError as error:
        wrong = [str(error)]
    print(f"{path}: {'not published' if wrong else 'published'}", *wrong, sep="\n  ", flush=True)
    return not wrong


def _replace(path: Path, notebook: nbformat.NotebookNode) -> list[str]:
    """Write the notebook over the file, unless the gate finds something."""
    with tempfile.TemporaryDirectory() as folder:
        # The gate looks at a file among its neighbours; of those only the names matter.
        for neighbour in series.existing(path.parent):
            Path(folder, neighbour.file).touch()
        Path(folder, path.name).write_bytes(_text(notebook))
        wrong = gate.problems(Path(folder, path.name))
    if not wrong:
        write_atomically(path, _text(notebook))
    return wrong


def _text(notebook: nbformat.NotebookNode) -> bytes:
    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode()


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(main())
