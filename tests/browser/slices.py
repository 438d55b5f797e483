"""What a demonstration of a stored notebook needs: the statements before it that its names lead back to."""

import ast
import symtable
from collections.abc import Iterator
from pathlib import Path

import nbformat

UPLOAD = "Demo(photograph: a file)"
"""The text of what has a file's button alone: nothing to move."""


def main_demo(path: Path) -> str | None:
    """The first demonstration of a stored notebook that has something to move, with what it needs, as one cell's code.

    Demonstrations are known by their stored text, whoever makes them; None where there are none.
    """
    before: list[ast.stmt] = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            before += ast.parse(cell.source).body
            texts = (output.get("data", {}).get("text/plain", "") for output in cell.outputs)
            if any(text.startswith("Demo(") and text != UPLOAD for text in texts):
                return "\n".join(map(ast.unparse, needed(before)))
    return None


def needed(statements: list[ast.stmt]) -> list[ast.stmt]:
    """Those of some statements, in their order, that the last one depends on: who binds or changes what it reads."""
    imported = {name for one in statements for name in _bound(one) if isinstance(one, ast.Import | ast.ImportFrom)}
    found, wanted = [statements[-1]], _read(statements[-1])
    for one in reversed(statements[:-1]):
        bound = _bound(one)
        if wanted & (bound | _changed(one) - imported):
            found.insert(0, one)
            wanted = wanted - bound | _read(one)
    return found


def _bound(one: ast.stmt) -> set[str]:
    """The names to which a statement gives a value."""
    table = symtable.symtable(ast.unparse(one), "cell", "exec")
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}


def _read(one: ast.stmt) -> set[str]:
    """The names of the notebook that a statement reads, now or in functions that it defines."""
    table = symtable.symtable(ast.unparse(one), "cell", "exec")
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    # What `x |= y` reads of x, a symbol table does not tell.
    own |= {root.id for node in ast.walk(one) if isinstance(node, ast.AugAssign) and (root := _root(node.target))}
    return own | {symbol.get_name() for inner in _inner(table) for symbol in inner.get_symbols() if symbol.is_global()}


def _inner(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for inner in table.get_children():
        yield inner
        yield from _inner(inner)


def _changed(one: ast.stmt) -> set[str]:
    """The names whose values a statement may change: by a method called for its effect, an item or an attribute."""
    calls = (
        node.value.func for node in ast.walk(one) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    )
    stores = (node for node in ast.walk(one) if isinstance(getattr(node, "ctx", None), ast.Store))
    return {root.id for part in (*calls, *stores) if not isinstance(part, ast.Name) and (root := _root(part))}


def _root(part: ast.expr) -> ast.Name | None:
    """The name that a chain of attributes, items and calls begins with."""
    while isinstance(part, ast.Attribute | ast.Subscript | ast.Call):
        part = part.func if isinstance(part, ast.Call) else part.value
    return part if isinstance(part, ast.Name) else None
