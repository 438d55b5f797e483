"""How large the house is, and what stands in it twice: `python tests/house.py [--at REV]` prints the tables.

A code line is a line that holds part of a statement: blank lines, comments, docstrings and other strings that stand
alone do not count. Of a notebook the code cells count, one after the other; lines for the shell or IPython (`!`, `%`)
are comments. Blocks are compared line by line without their indentation and imports.
"""

import argparse
import ast
import io
import json
import subprocess
import tarfile
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {
    "package": ("derainlib",),
    "notebooks' code cells": ("notebooks",),
    "benchmarks and tools": ("benchmarks", "tools", "data"),
    "tests": ("tests",),
}
"""Folders, by what the table calls them."""
CORE = (
    "models",
    "losses",
    "rain",
    "rain_styles",
    "rain_presets",
    "streaks",
    "papers",
    "recipe",
    "training",
    "metrics",
    "inference",
    "layers",
)
"""The parts of the package, modules or folders, that one must read to know how it works."""
BLOCK = 10
"""Lines from which a block that stands twice is one too many."""

_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


class Source(NamedTuple):
    """The Python of a file."""

    text: str
    cells: int = 0
    """Code cells of a notebook."""

    def lines(self, imports: bool = True) -> dict[int, str]:
        """Its code lines, stripped, by their number from 1; those of imports, too, unless told otherwise."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        rows = {row for t in tokens if t.type not in _NO_CODE for row in range(t.start[0], t.end[0] + 1)}
        for node in ast.walk(ast.parse(self.text)):
            if is_alone(node) or (not imports and isinstance(node, ast.Import | ast.ImportFrom)):
                rows -= set(range(node.lineno, node.end_lineno + 1))
        every = self.text.split("\n")
        return {row: " ".join(every[row - 1].split()) for row in sorted(rows)}


def is_alone(node: ast.AST) -> bool:
    """Whether it is a string that stands alone: a docstring, of whatever it may be."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def source(path: str, content: bytes) -> Source:
    """What counts of a file."""
    text = content.decode()
    if not path.endswith(".ipynb"):
        return Source(text)
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join(cells).split("\n")
    return Source("\n".join("#" if line.startswith(("!", "%")) else line for line in lines), len(cells))


def sources(revision: str = "") -> dict[str, Source]:
    """All Python files and notebooks by their path, of the working tree or of a revision that git knows."""
    found = archived(revision) if revision else present()
    return {path: source(path, content) for path, content in sorted(found)}


def present() -> Iterator[tuple[str, bytes]]:
    """What lies in the folders."""
    for folder in (folder for group in GROUPS.values() for folder in group):
        for ending in ("*.py", "*.ipynb"):
            paths = (ROOT / folder).rglob(ending)
            yield from (
                (path.relative_to(ROOT).as_posix(), path.read_bytes())
                for path in paths
                if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
            )


def archived(revision: str) -> Iterator[tuple[str, bytes]]:
    """What lay in the folders."""
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    folders = tuple(f"{folder}/" for group in GROUPS.values() for folder in group)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            if member.name.startswith(folders) and member.name.endswith((".py", ".ipynb")):
                yield member.name, tar.extractfile(member).read()


def is_core(path: str) -> bool:
    """Whether a file belongs to the `CORE`."""
    package, _, rest = path.partition("/")
    return package == "derainlib" and rest.removesuffix(".py").split("/")[0] in CORE


def counted(found: Mapping[str, Source]) -> dict[str, int]:
    """Code lines by group, with those of the core."""
    lines = {path: len(one.lines()) for path, one in found.items()}
    groups = {
        name: sum(count for path, count in lines.items() if path.split("/")[0] in folders)
        for name, folders in GROUPS.items()
    }
    return groups | {"all": sum(lines.values()), "core": sum(count for path, count in lines.items() if is_core(path))}


class Twice(NamedTuple):
    """A block that stands in two places: how many lines, and where each begins."""

    lines: int
    first: tuple[str, int]
    second: tuple[str, int]

    def __str__(self) -> str:
        return f"{self.lines} lines: {' and '.join(f'{path}:{row}' for path, row in (self.first, self.second))}"


def twice(found: Mapping[str, Source], length: int = BLOCK) -> list[Twice]:
    """The blocks of at least so many code lines that stand in two places; each place is told with the first one."""
    code = {path: list(one.lines(imports=False).items()) for path, one in found.items()}
    places = defaultdict(list)
    for path, lines in code.items():
        for start in range(len(lines) - length + 1):
            places[tuple(line for _, line in lines[start : start + length])].append((path, start))
    pairs = {(first, other) for first, *others in places.values() for other in others if is_apart(first, other, length)}
    blocks = []
    for (path, start), (other, place) in sorted(pairs):
        if ((path, start - 1), (other, place - 1)) in pairs:
            continue  # the middle of a longer block
        more = 0
        while ((path, start + more + 1), (other, place + more + 1)) in pairs:
            more += 1
        blocks.append(Twice(length + more, (path, code[path][start][0]), (other, code[other][place][0])))
    return blocks


def is_apart(first: tuple[str, int], second: tuple[str, int], length: int) -> bool:
    """Whether two places do not overlap."""
    return first[0] != second[0] or abs(first[1] - second[1]) >= length


def main():
    """Prints the numbers, beside those of a revision if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", metavar="REV", help="a revision to compare with")
    revision = parser.parse_args().at
    trees = ({revision: sources(revision)} if revision else {}) | {"now": sources()}
    numbers = {name: counted(tree) for name, tree in trees.items()}
    print(f"{'code lines':24}" + "".join(f"{name:>12}" for name in trees))
    for group in numbers["now"]:
        print(f"{group:24}" + "".join(f"{found[group]:>12,}" for found in numbers.values()))
    print(f"\n{'notebook':36}{'lines':>8}{'cells':>8}")
    for path, one in trees["now"].items():
        if one.cells:
            print(f"{Path(path).stem:36}{len(one.lines()):>8}{one.cells:>8}")
    for name, tree in trees.items():
        print(f"\nblocks of {BLOCK} lines or more that stand twice, {name}:", *twice(tree) or ["none"], sep="\n")


if __name__ == "__main__":
    main()
