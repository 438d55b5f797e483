"""The core stays small: who adds to it finds something to take away."""

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1] / "derainlib"

CORE = ("models", "losses", "rain", "papers", "recipe", "training", "metrics", "inference", "layers")
"""What derains and trains: folders, and files whose names begin so. A reader can skip everything else."""
LIMIT = 5500
"""Lines of code."""


def code_lines(source: str) -> int:
    """Lines that hold code: no blanks, no comments, and no sentences about what stands above them."""
    sentences = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    silent = {getattr(tokenize, name) for name in ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER")}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for t in tokens if t.type not in silent for line in range(t.start[0], t.end[0] + 1)}
    return len(lines - sentences)


def test_the_core_is_small():
    files = [path for part in CORE for path in (*ROOT.glob(f"{part}*.py"), *ROOT.glob(f"{part}/**/*.py"))]
    counts = {str(path.relative_to(ROOT)): code_lines(path.read_text(encoding="utf-8")) for path in files}
    assert all(any(name.startswith(part) for name in counts) for part in CORE)
    assert sum(counts.values()) <= LIMIT, counts


def test_code_is_what_does_something():
    source = '''"""A title."""

x = 1  # one
"""What x is."""


def f():
    # why
    """Twice."""
    return """two

    lines"""
'''
    assert code_lines(source) == 5  # x, def, and the three lines of the string
