"""What the tables' trainings cost, and what differences they could tell: the ledger in benchmarks/README.md.

    python tools/tables.py OUT --cost        # measures the hours, on this machine
    python tools/ledger.py                   # writes the ledger, from them and from the reports that there are

A table is trained only where its ledger line says that it can tell something: the half width of Student's 95 % interval
over two, three and four seeds, from the noise of seeds in this network's reports, or in all where it has none yet.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tables import COSTS, PLANS, RESULTS, Plan

from derainlib import evaluation, files
from derainlib.lab import ablations

PAGE = RESULTS.parent / "README.md"
START, END = "<!-- ledger -->", "<!-- /ledger -->"
SEEDS = (2, 3, 4)


def ledger(results: Path = RESULTS) -> str:
    """The ledger as a Markdown table, a line for each plan of `tools/tables.py`, in its order."""
    costs, known = json.loads((results / COSTS).read_text()), ablations.reports()
    noises = {name: ablations.seed_noise(report) for name, report in ablations.repeated(known).items()}
    titles = ["plan", "tables", "trainings", "hours of a core", *(f"{n} seeds tell, dB" for n in SEEDS), "run"]
    return evaluation.lay_out(
        [titles, *(_line(name, plan, costs[name], noises) for name, plan in PLANS.items())], "markdown"
    )


def _line(name: str, plan: Plan, costs: dict, noises: dict[str, float]) -> list[str]:
    noise = _noise(plan.studies[0].partition("/")[0], noises)
    told = [f"{ablations.STUDENT[seeds] * noise / math.sqrt(seeds):.2f}" for seeds in SEEDS]
    return [
        name, ", ".join(plan.studies), f"{costs['trainings']} ({costs['seeds']} seeds)", f"{costs['hours']:.1f}", *told,
        "; ".join(_spent(plan)) or "no",
    ]  # fmt: skip


def _noise(network: str, noises: dict[str, float]) -> float:
    """The noise of seeds in a network's reports; the median of all where it has none."""
    own = [noise for name, noise in noises.items() if name.startswith(f"{network}/")]
    return statistics.median(own or noises.values())


def _spent(plan: Plan) -> Iterator[str]:
    """What was spent on each of a plan's tables."""
    known = ablations.reports()
    for name in plan.studies:
        if report := known.get(name):
            seeds = len(report["rows"][0]["seeds"])
            yield f"{name}: {seeds} seed{'s' if seeds > 1 else ''}, {report['seconds'] / 3600:.1f} h"


def fill(text: str, content: str) -> str:
    """A page with what stands between its marks put anew."""
    before, rest = text.split(START)
    return f"{before}{START}\n\n{content}\n\n{END}{rest.split(END)[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    files.write_atomically(PAGE, fill(PAGE.read_text(), ledger()).encode())
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
