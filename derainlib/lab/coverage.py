"""Every table, equation, figure and claim of the five papers: where each stands, and how far it has come.

    python -m derainlib.lab.coverage            # writes COVERAGE.md

Equations, figures and claims are listed by `derainlib.papers`; of tables, it is read off whether they have a study,
and whether the study was run. What is told is checked: names, headings, studies and tests that do not exist are faults.
"""

import importlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from derainlib import files, papers, studies
from derainlib.evaluation import lay_out
from derainlib.lab.results import FOLDER, results
from derainlib.papers.item import OF_TABLES, STATES, Item
from derainlib.papers.table import Table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "COVERAGE.md"
KINDS = {"equations": "EQUATIONS", "figures": "FIGURES", "claims": "CLAIMS"}
"""What a paper's module holds of each kind."""
OURS = {"psnr": "psnr_rgb", "ssim": "ssim_y"}
"""The measure of ours that stands beside a paper's."""
PLACES = {
    "Rain100H": ("heavy",),
    "RainHeavy*": ("heavy",),
    "Test-II": ("heavy",),
    "Rain100L": ("light", "rain100l"),
    "RainLight*": ("light", "rain100l"),
    "Test-I": ("light",),
    "Test-III": ("wide",),
    "Rain800": ("rain800",),
    "Cityscapes": ("streets",),
}
"""Words in the names of our sets whose rain is of the kind of a paper's set."""


def items() -> dict[str, dict[str, tuple[Item, ...]]]:
    """Equations, figures and claims by paper (its module's name) and kind."""
    found = {}
    for paper in papers.PAPERS:
        name = paper.__name__.rpartition(".")[2]
        found[name] = {kind: getattr(paper, attribute, ()) for kind, attribute in KINDS.items()}
    return found


# --- what is true of it --------------------------------------------------------------------------------------------


def faults() -> list[str]:
    """What the lists tell that is not so: a line each."""
    measured = [table for table in papers.TABLES.values() if table.measured]
    found = [
        f"{one.name}: no results {one.measured}" for one in measured if not (FOLDER / f"{one.measured}.json").is_file()
    ]
    for paper, kinds in items().items():
        for item in itertools.chain.from_iterable(kinds.values()):
            wrong = [place for place in item.where if not _exists(place)]
            wrong += [test for test in item.tests if not _is_test(test)]
            found += [f"{paper}, {item.label}: there is no {one}" for one in wrong]
            if item.state not in STATES:
                found.append(f"{paper}, {item.label}: {item.state!r} is none of {', '.join(STATES)}")
            if item.state in ("code", "shown", "partly") and not item.where:
                found.append(f"{paper}, {item.label}: {item.state}, but nowhere")
            if item.state in ("partly", "impossible") and not item.note:
                found.append(f"{paper}, {item.label}: {item.state}, and no word why")
        for item in kinds["figures"]:
            if item.state in ("shown", "partly") and not any(": " in place for place in item.where):
                found.append(f"{paper}, {item.label}: {item.state}, but in no notebook")
    return found


def _exists(place: str) -> bool:
    if place.startswith("derainlib."):
        return _is_object(place)
    number, colon, heading = place.partition(": ")
    return heading in _headings(number) if colon else place in studies.STUDIES


def _is_object(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        return False


@cache
def _headings(number: str) -> set[str]:
    """The headings of a notebook, by its number."""
    found = set()
    for path in (ROOT / "notebooks").glob(f"{number}_*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown").splitlines()
        found |= {line.lstrip("# ") for line in lines if line.startswith("#")}
    return found


def _is_test(name: str) -> bool:
    path, _, test = name.partition("::")
    return (ROOT / path).is_file() and f"def {test}(" in (ROOT / path).read_text()


# --- tables --------------------------------------------------------------------------------------------------------


def reports(table: Table) -> list[dict]:
    """The reports of a table's study that are kept in the repository."""
    name = f"study_{table.name.replace('/', '-')}"
    return [results(name)] if (FOLDER / f"{name}.json").is_file() else []


def state(table: Table) -> str:
    """How far a table has come, one of `OF_TABLES`."""
    if not table.reference:
        return "partly" if table.measured else "quoted"
    return "run" if reports(table) else "waits"


class Ordering(NamedTuple):
    """Two rows that a paper puts in an order on one of its sets, and what a study has of them on one of ours."""

    place: str
    """The paper's set."""
    name: str
    """Ours, of its kind of rain."""
    first: str
    second: str
    theirs: float
    """How much more the paper's first row has than its second; not zero."""
    ours: float
    """The same of our means."""

    @property
    def agrees(self) -> bool:
        """Whether ours has the rows in the paper's order, whatever the interval says."""
        return self.theirs * self.ours > 0


def orderings(report: Mapping, measure: str = "psnr") -> Iterator[Ordering]:
    """Every two rows that a paper puts in an order, beside our order on each set that is `alike`.

    Args:
        report: what `derainlib.studies` wrote.
        measure: "psnr" or "ssim", as in `OURS`.
    """
    differences = {row["row"]: row["paper_difference"] for row in report["rows"]}
    differences[report["reference"]] = {place: {measure: 0.0} for one in differences.values() for place in one}
    rows = {row["row"]: row["sets"] for row in report["rows"]}
    means = {row: {name: one[OURS[measure]]["mean"] for name, one in sets.items()} for row, sets in rows.items()}
    for place in differences[report["reference"]]:
        labels = [row for row, found in differences.items() if measure in found.get(place, {}) and row in means]
        for first, second in itertools.combinations(labels, 2):
            theirs = differences[first][place][measure] - differences[second][place][measure]
            for name in alike(place, means[first]) if theirs else ():
                yield Ordering(place, name, first, second, theirs, means[first][name] - means[second][name])


def agreement(report: Mapping, measure: str = "psnr") -> tuple[int, int]:
    """Of the `orderings` of a study's paper, how many the study confirms, and how many there are."""
    found = [one.agrees for one in orderings(report, measure)]
    return sum(found), len(found)


def alike(place: str, sets: Iterable[str]) -> list[str]:
    """Those of our sets whose rain is of the kind of a paper's set (`PLACES`); all of them where there is none."""
    words = PLACES.get(place, ())
    return [name for name in sets if any(word in name.split("-") for word in words)] or list(sets)


# --- the page ------------------------------------------------------------------------------------------------------

INTRODUCTION = """# Coverage

Every table, equation, figure and claim of the five papers, and where it stands here. This page is written by
`python -m derainlib.lab.coverage` from `derainlib/papers` and `benchmarks/results`; a test fails if it is out of date.
"""


def page() -> str:
    """The whole list as Markdown."""
    parts = [INTRODUCTION, *_legend(), "## Tables\n", lay_out(list(_tables(ours=False)), "markdown")]
    parts += ["\n## Tables of ours beside them\n", lay_out(list(_tables(ours=True)), "markdown")]
    for kind in KINDS:
        parts += [f"\n## {kind.capitalize()}\n", lay_out(list(_rows(kind)), "markdown")]
    return "\n".join(parts) + "\n"


def _legend() -> Iterator[str]:
    counted = {kind: Counter(item.state for one in items().values() for item in one[kind]) for kind in KINDS}
    tables = Counter(state(table) for table in papers.TABLES.values() if is_numbered(table))
    told = [f"{tables.total()} tables, Table I of SRN and BRN being two: {_counts(tables)}."]
    ours = Counter(state(table) for table in papers.TABLES.values() if table.ours)
    told.append(f"{ours.total()} tables of ours beside them: {_counts(ours)}.")
    told += [f"{found.total()} {kind}: {_counts(found)}." for kind, found in counted.items()]
    yield " ".join(told) + "\n"
    for what, states in (("A table", OF_TABLES), ("An equation, a figure or a claim", STATES)):
        yield f"{what} is\n\n" + "\n".join(f"- **{name}**: {meaning}" for name, meaning in states.items()) + "\n"


def _counts(found: Counter) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.most_common())


def is_numbered(table: Table) -> bool:
    """Whether it is one of the papers' numbered tables, and not a figure that can be trained, or a table of ours."""
    return "/table-" in table.name and not table.ours


def _tables(ours: bool) -> Iterator[list[str]]:
    yield ["table", "what", "state", "our figures", "seeds", "hours", "orderings of the paper confirmed", "note"]
    for table in (one for one in papers.TABLES.values() if one.ours == ours):
        for report in reports(table) or [None]:
            figures = f"study_{table.name.replace('/', '-')}" if report else table.measured
            yield [table.name, table.source.partition(": ")[2], state(table), figures, *_run(report), table.note]


def _run(report: dict | None) -> list[str]:
    """Seeds, hours and confirmed orderings of a study."""
    if report is None:
        return ["", "", ""]
    confirmed, of = agreement(report)
    share = f"{confirmed} of {of}" if of else "the paper gives none"
    return [str(len(report["budget"]["seeds"])), f"{report['seconds'] / 3600:.1f}", share]


def _rows(kind: str) -> Iterator[list[str]]:
    yield ["paper", "item", "what", "state", "where", *(["test"] if kind == "equations" else []), "note"]
    for paper, kinds in items().items():
        for item in kinds[kind]:
            where = ", ".join(f"`{one}`" if "." in one.split(":")[0] else one for one in item.where)
            tests = ", ".join(f"`{test.removeprefix('tests/')}`" for test in item.tests)
            checked = [tests] if kind == "equations" else []
            yield [paper, item.label, item.about, item.state, where, *checked, item.note]


def main() -> int:
    """Writes the page; returns 1 if the lists tell what is not so."""
    wrong = faults()
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    files.write_atomically(PAGE, page().encode())
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
