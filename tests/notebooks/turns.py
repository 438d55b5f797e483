"""Which notebooks papermill runs where it does not run them all: those that changed, and each fourth of the others."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from derainlib.lab import gate

TURNS = 4


class Turns(NamedTuple):
    """A choice among notebooks, which depends on the commit alone."""

    base: str
    """The commit with which this one is compared; nothing where there is no history."""
    changed: set[str]
    """Files of the repository that differ from that commit."""
    turn: int
    """Of the notebooks that did not change, those run whose place has this remainder."""

    @classmethod
    def of(cls, root: Path) -> "Turns":
        """The choice in a repository: compared with where it left main, and on main with the commit before."""
        head = git(root, "rev-parse", "HEAD")
        forks = (git(root, "merge-base", "HEAD", main) for main in ("origin/main", "main"))
        base = next(filter(None, forks), "")
        if base == head:
            base = git(root, "rev-parse", "--verify", "--quiet", "HEAD^")
        changed = git(root, "diff", "--name-only", base, "--") if base else ""
        return cls(base[:9], set(changed.splitlines()), int(head[:8] or "0", 16) % TURNS)

    def why_not(self, place: int, files: set[str]) -> str:
        """Why the notebook at that place of the series, made from those files, need not run; nothing if it must."""
        if not self.base or files & self.changed or place % TURNS == self.turn:
            return ""
        return f"by papermill, unchanged since {self.base}, and not its turn ({self.turn + 1} of {TURNS})"


def sources(path: Path, root: Path) -> set[str]:
    """What a notebook is made from, as paths in the repository: itself, the modules it imports, the versions pinned."""
    names = {name.replace(".", "/") for code in gate.code(path) for name in imported(code)}
    return {path.relative_to(root).as_posix(), "requirements.txt"} | {
        name + ending for name in names for ending in (".py", "/__init__.py")
    }


def imported(code: str) -> Iterator[str]:
    """Names of modules, and of what is taken from them, which may be modules."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def git(root: Path, *words: str) -> str:
    """What git answers; nothing where it cannot."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
