"""The command line: `python -m tests.campaign`."""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import torch

from tests.campaign import child, files, folders, notebooks, numbers, report, training
from tests.campaign.report import Finding
from tests.campaign.stock import Stock

PARTS = {"files": files, "training": training, "folders": folders, "numbers": numbers, "notebooks": notebooks}


def findings(parts: Sequence[str], seed: int, share: float, only: str) -> Iterator[Finding]:
    """What became of the cases of these parts."""
    torch.set_num_threads(1)  # a process that has had more cannot fork
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        Path(folder).chmod(0o755)  # for cases under another user
        (Path(folder) / "stock").mkdir()
        stock = Stock(Path(folder, "stock"))
        child.warm_up(stock.folder, stock.use)
        for part in parts:
            yield from PARTS[part].campaign(stock, seed, share, lambda name: bool(re.search(only, name)))


def told(finding: Finding, everything: bool) -> Finding:
    """The finding, once it is shown, if it is at fault or everything is to be."""
    if finding.faults or everything:
        print("known: " if finding.awaited else "", finding, sep="", flush=True)
    return finding


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if nothing was at fault that was not known, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description="What a sceptic would try.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases of each class (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (%(default)s)")
    parser.add_argument("--only", default="", metavar="PATTERN", help="of 'class: case'; each is told")
    parser.add_argument(
        "--keep", nargs="?", type=Path, const=report.RESULTS, metavar="FILE", help="write the figures (to benchmarks/)"
    )
    options = parser.parse_args(arguments)
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    rows = {}
    found = findings(options.parts or list(PARTS), options.seed, options.share, options.only)
    for _, one_class in groupby(map(partial(told, everything=bool(options.only)), found), lambda finding: finding.kind):
        rows |= report.figures(one_class)
        if options.keep:  # class by class: whoever stops it has what was done
            report.keep(rows, options.seed, options.keep)
    print(report.table({"classes": rows}))
    return int(any(row["faults"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
