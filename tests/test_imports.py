"""Imports run one way, from the image to the command line; whoever turns one around meets this test."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "derainlib"

ORDER = (
    ("errors",), ("discovery",), ("files",), ("layers",), ("image_profiles",), ("image_formats",), ("image_encoding",),
    ("images",), ("rain_styles",), ("rain_presets", "streaks"), ("rain",), ("mixtures",), ("sparsity",),
    ("metrics",), ("data", "models", "losses"), ("windows",), ("inference", "recipe"), ("papers", "video"),
    ("recipes",), ("evaluation",), ("seeing", "pace", "memory"), ("training",), ("workshop",), ("studies",),
    ("lab", "cli"), ("__main__",),
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


FUNCTIONS = (ast.FunctionDef, ast.Lambda)


def bound(node: ast.AST) -> str | None:
    """The name that a node binds in its scope, if any."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.ExceptHandler(name=name):
            return name
    return None


def imported_modules(scope: ast.AST) -> set[str]:
    """Modules that a scope itself imports, by the names it has for them: ours, and what other packages are known by."""
    found, inside = set(), list(ast.iter_child_nodes(scope))
    for node in inside:
        if isinstance(node, ast.Import):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = ROOT.parent.joinpath(*node.module.split("."))
            names = {alias.name: alias.asname or alias.name for alias in node.names}
            found |= {own for name, own in names.items() if (home / name).is_dir() or (home / f"{name}.py").is_file()}
        elif not isinstance(node, FUNCTIONS):
            inside += ast.iter_child_nodes(node)
    return found


def hidden(source: str) -> list[str]:
    """Where a name hides a module that the file imports; fields and methods are reached by a dot and hide nothing."""
    nodes = list(ast.walk(ast.parse(source)))
    bodies = [statement for node in nodes if isinstance(node, ast.ClassDef) for statement in node.body]
    fields = {id(part) for statement in bodies for part in (statement, getattr(statement, "target", None))}
    return sorted(
        f"line {node.lineno}: {bound(node)}"
        for scope in nodes
        if isinstance(scope, (ast.Module, *FUNCTIONS))
        for modules in [imported_modules(scope)]
        for node in ast.walk(scope)
        if bound(node) in modules and id(node) not in fields
    )


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_hides_a_module(path):
    assert hidden(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from derainlib import rain\ndef f(rain): pass", ["line 2: rain"]),
        ("from derainlib.models import weights as w\nfor w in (1, 2): pass", ["line 2: w"]),
        (
            "import torch.nn\ndef f():\n    def torch(): pass\n    return [torch for torch in ()]",
            ["line 3: torch", "line 4: torch"],
        ),
        ("from derainlib.data import pairs\nclass A:\n    pairs: int = 0\n    def f(self): self.pairs = 1", []),
        ("def f():\n    from derainlib import rain\ndef g(rain): pass", []),
        ("from derainlib.rain import street\ndef f(street): pass", []),
    ],
)
def test_hidden_modules_are_seen(source, expected):
    assert hidden(source) == expected
