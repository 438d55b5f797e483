"""`derain folder` is killed and started again: every file is whole, none is made twice, and the counts are true."""

import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from derainlib import cli
from tests.campaign.child import Limits, Outcome, die, forked, no_more_room
from tests.campaign.inputs import MODEL, TINY
from tests.campaign.report import Finding
from tests.campaign.stock import Stock

COUNTS = re.compile(r"(\d+) written, (\d+) already there, (\d+) failed")
AT_ANY_MOMENT = 12
"""Kills that a clock decides on, beside one at every change of a file."""
LIMITS = Limits(seconds=20.0)


def clean(folder: Path, *more: str, **how) -> Outcome:
    return forked(
        partial(cli.main, ["folder", "photographs", "out", *MODEL, *more]), limits=LIMITS, folder=folder, **how
    )


def results(folder: Path) -> dict[str, bytes]:
    """What results hold, by name; hidden files are none."""
    return {path.name: path.read_bytes() for path in (folder / "out").glob("[!.]*")}


def campaign(stock: Stock, seed: int, share: float, wanted: Callable[[str], bool]) -> Iterator[Finding]:
    """See `tests.campaign.files.campaign`."""
    draws = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=stock.folder.parent) as place:
        stock.give(Path(place), "photographs", TINY)
        whole = clean(Path(place))
        expected = results(Path(place))
    numbers = range(1, whole.changes + 1)
    cases = [
        ("killed at a change", f"{n} of {whole.changes}", partial(clean, at_change=partial(_at, n, die)))
        for n in numbers
    ]
    cases += [
        ("killed at any moment", f"after {after:.3f} s", partial(clean, kill_after=after))
        for after in (draws.uniform(0, whole.seconds) for _ in range(AT_ANY_MOMENT))
    ]
    cases += [
        ("disk full", f"from change {n} of {whole.changes} on", partial(clean, at_change=partial(_at, n, no_more_room)))
        for n in numbers
    ]
    if share < 1:
        cases = [
            case
            for kind in dict.fromkeys(c[0] for c in cases)
            for case in draws.sample([c for c in cases if c[0] == kind], max(1, round(share * 12)))
        ]
    for kind, name, act in cases:
        if wanted(f"folders, {kind}: {name}"):
            yield restarted(stock, f"folders, {kind}", name, act, expected)
    for name, change in CHANGES.items():
        if wanted(f"folders, sources change: {name}"):
            yield changed(stock, name, change, expected)


def _at(wanted: int, act: Callable[[], object], number: int):
    if number == wanted:
        act()


def restarted(
    stock: Stock, kind: str, name: str, act: Callable[[Path], Outcome], expected: dict[str, bytes]
) -> Finding:
    """Lets something happen to a run over the folder, starts it again, and looks."""
    with tempfile.TemporaryDirectory(dir=stock.folder.parent) as place:
        folder = Path(place)
        stock.give(folder, "photographs", TINY)
        first = act(folder)
        faults = [] if first.killed == "SIGKILL" else list(first.faults(LIMITS, (0, 1, 2)))
        faults += [f"{name} is not whole" for name, data in results(folder).items() if data != expected[name]]
        before = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("[!.]*")}
        second = clean(folder)
        faults += second.faults(LIMITS, (0,))
        if results(folder) != expected:
            faults.append("results differ from those of a run to which nothing happened")
        faults += [f"{path.name} was made twice" for path, made in before.items() if path.stat().st_mtime_ns != made]
        faults += wrong_counts(second, len(expected) - len(before), len(before), 0)
        faults += [f"left {path.name} behind" for path in (folder / "out").glob(".*")]
    return Finding(
        kind,
        name,
        "whole",
        tuple(faults),
        max(first.processor, second.processor),
        max(first.megabytes, second.megabytes),
    )


def wrong_counts(outcome: Outcome, *expected: int) -> list[str]:
    found = COUNTS.search(outcome.out)
    told = tuple(map(int, found.groups())) if found else ()
    return [] if told == expected else [f"counts {told}, not {expected}"]


# --- sources that change between two runs ---------------------------------------------------------------------------


def _replaced(folder: Path):
    """Photograph 0 is another one, a minute later."""
    shutil.copy(folder / "photographs" / "5.png", folder / "photographs" / "0.png")
    later = (folder / "out" / "0.png").stat().st_mtime + 60
    os.utime(folder / "photographs" / "0.png", (later, later))


CHANGES: dict[str, tuple[Callable[[Path], object], tuple[int, int, int], Callable[[dict, Outcome], bool]]] = {
    "a photograph goes": (
        lambda folder: (folder / "photographs" / "0.png").unlink(),
        (0, 11, 0),
        lambda now, told: True,
    ),
    "a photograph comes": (
        lambda folder: shutil.copy(folder / "photographs" / "0.png", folder / "photographs" / "new.png"),
        (1, 12, 0),
        lambda now, told: now["new.png"] == now["0.png"],
    ),
    "a result goes": (lambda folder: (folder / "out" / "0.png").unlink(), (1, 11, 0), lambda now, told: "0.png" in now),
    "a photograph is damaged": (
        lambda folder: ((folder / "out" / "0.png").unlink(), (folder / "photographs" / "0.png").write_bytes(b"rain")),
        (0, 11, 1),
        lambda now, told: "0.png" not in now and "0.png" in told.out,
    ),
    "a photograph is another": (
        _replaced,
        (0, 12, 0),
        lambda now, told: now["0.png"] != now["5.png"] and "0.png" in told.out,
    ),
}
"""What changes after a whole run; what the next one must count; and whether it did right."""


def changed(stock: Stock, name: str, change: tuple, expected: dict[str, bytes]) -> Finding:
    act, counts, right = change
    with tempfile.TemporaryDirectory(dir=stock.folder.parent) as place:
        folder = Path(place)
        stock.give(folder, "photographs", TINY)
        clean(folder)
        act(folder)
        outcome = clean(folder)
        faults = [*outcome.faults(LIMITS, (0, 1)), *wrong_counts(outcome, *counts)]
        if not right(results(folder), outcome):
            faults.append("not as it should be")
    return Finding.of("folders, sources change", name, outcome, faults)
