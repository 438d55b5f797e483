"""The campaign's figures by class: as JSON, and as a table on the page of benchmarks."""

import json
import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from derainlib import files
from tests.campaign.child import Outcome

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "campaign.json", ROOT / "benchmarks" / "README.md"
MARKS = "<!-- campaign -->", "<!-- /campaign -->"
"""What the table stands between."""

AWAITED: dict[str, str] = {}
"""Faults that are known and whose mending is under way: what is found in their line, and what will mend them."""


@dataclass(frozen=True)
class Finding:
    """What became of one case."""

    kind: str
    """Its class."""
    name: str
    became: str
    """In a word, such as "refused"."""
    faults: Sequence[str]
    processor: float = 0.0
    megabytes: float = 0.0

    @classmethod
    def of(cls, kind: str, name: str, outcome: Outcome, faults: Sequence[str]) -> "Finding":
        became = {0: "done", 1: "named in the report", 2: "refused"}.get(outcome.status, "failed")
        return cls(kind, name, became, tuple(faults), outcome.processor, outcome.megabytes)

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {'; '.join(self.faults) or self.became}"

    @property
    def awaited(self) -> bool:
        """Whether the mending of all its faults is under way."""
        lines = [f"{self.kind}: {self.name}: {fault}" for fault in self.faults]
        return bool(lines) and all(any(re.search(known, line) for known in AWAITED) for line in lines)


def figures(findings: Iterable[Finding]) -> dict[str, dict]:
    """By class: the number of cases, what became of them, those at fault, and the most that one took."""
    classes: dict[str, list[Finding]] = {}
    for finding in findings:
        classes.setdefault(finding.kind, []).append(finding)
    return {
        kind: {
            "cases": len(found),
            "became": dict(sorted(Counter(one.became for one in found).items())),
            "seconds": round(max(one.processor for one in found), 1),
            "megabytes": round(max(one.megabytes for one in found)),
            "faults": [str(one) for one in found if one.faults and not one.awaited],
            "awaited": [str(one) for one in found if one.awaited],
        }
        for kind, found in classes.items()
    }


def keep(found: Mapping[str, dict], seed: int, path: Path):
    """Writes figures beside those of classes that were not run, and, where they are our results, the page's table."""
    known = json.loads(path.read_text())["classes"] if path.exists() else {}
    results = {
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "torch": version("torch"),
        "seed": seed,
        "classes": known | {kind: row | {"date": date.today().isoformat()} for kind, row in found.items()},
    }
    files.write_atomically(path, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    if path == RESULTS:
        files.write_atomically(PAGE, page(PAGE.read_text(), results).encode())


def page(text: str, results: dict) -> str:
    """The page with the table of these results between its marks."""
    before, _, rest = text.partition(MARKS[0])
    return before + MARKS[0] + "\n" + table(results) + MARKS[1] + rest.partition(MARKS[1])[2]


def table(results: dict) -> str:
    """A row for each class."""
    rows = [
        f"| {kind} | {row['cases']} | {', '.join(f'{count} {what}' for what, count in row['became'].items())} | "
        f"{len(row['faults'])} | {len(row['awaited'])} | {row['seconds']} | {row['megabytes']} |"
        for kind, row in results["classes"].items()
    ]
    classes = results["classes"].values()
    cases = sum(row["cases"] for row in classes)
    faults, awaited = (sum(len(row[what]) for row in classes) for what in ("faults", "awaited"))
    head = "| class | cases | what became of them | at fault | known | s, at most | MB, at most |", "|---" * 7 + "|"
    return "\n".join((*head, *rows, f"| **together** | {cases} | | {faults} | {awaited} | | |", ""))
