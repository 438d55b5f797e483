"""Imports run one way, from the image to the command line; whoever turns one around meets this test."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "derainlib"

ORDER = (
    ("errors",), ("discovery",), ("files",), ("layers",), ("image_formats",), ("images",),
    ("rain_styles",), ("rain_presets", "streaks"), ("rain",), ("mixtures",), ("sparsity",),
    ("metrics",), ("data", "models", "losses"), ("inference", "recipe"), ("papers",), ("recipes",), ("evaluation",),
    ("seeing", "pace", "memory"), ("training",), ("workshop",), ("studies",), ("lab", "cli"), ("__main__",),
)  # fmt: skip
"""Modules and folders of the package, lowest first; those of one group do not know each other."""
LEVELS = {name: level for level, group in enumerate(ORDER) for name in group}
PUBLIC_FACE = "__init__"


def part(path: Path) -> str:
    """The module or folder of the package that a file belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(source: str) -> set[str]:
    """The parts of the package that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the package in full"
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("derainlib.")}
    return found & set(LEVELS)


def wrong(own: str, others: set[str]) -> list[str]:
    """The parts among `others` that `own` must not know."""
    return sorted(other for other in others if other != own and LEVELS[other] >= LEVELS[own])


def test_every_part_has_its_level():
    assert {part(path) for path in ROOT.rglob("*.py")} == {*LEVELS, PUBLIC_FACE}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_what_stands_above_it(path):
    if part(path) != PUBLIC_FACE:  # imports by name, each when it is first used
        assert wrong(part(path), imported(path.read_text())) == []


@pytest.mark.parametrize(
    ("own", "line", "expected"),
    [
        ("losses", "from derainlib import rain, models", ["models"]),
        ("losses", "def f():\n    from derainlib.models import weights", ["models"]),
        ("data", "from derainlib.data import pairs\nimport derainlib.training", ["training"]),
        ("recipes", "import torch\nfrom derainlib.papers.table import Row", []),
        ("training", "from derainlib import __version__, studies as s", ["studies"]),
    ],
)
def test_wrong_ways_are_seen(own, line, expected):
    assert wrong(own, imported(line)) == expected
