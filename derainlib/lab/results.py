"""What the benchmarks measured, for notebooks: no figure is typed twice."""

import json
from pathlib import Path

from derainlib.errors import DerainError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def results(name: str) -> dict:
    """A benchmark's last results, `benchmarks/results/<name>.json`.

    Raises:
        DerainError: there is no such file; they come with the repository, not with the installed package.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise DerainError(f"{path} is missing: the benchmarks' results come with the repository; clone it")
    return json.loads(path.read_text(encoding="utf-8"))
