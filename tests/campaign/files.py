"""Hostile files: nothing crashes, hangs or grows, nothing is executed, nothing is written beside the target."""

import os
import random
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from derainlib import images
from derainlib.errors import DerainError
from tests.campaign import inputs, places
from tests.campaign.child import Limits, Outcome, forked
from tests.campaign.inputs import Case
from tests.campaign.report import Finding
from tests.campaign.stock import Stock

CLASSES: dict[str, tuple[Callable[[Stock, random.Random], Iterator[Case]], int]] = {
    "images: bit flips": (partial(inputs.mutated_images, mutation=inputs.flipped), 60),
    "images: truncated": (partial(inputs.mutated_images, mutation=inputs.truncated), 36),
    "images: lying headers": (partial(inputs.mutated_images, mutation=inputs.lying), 60),
    "images: holes": (partial(inputs.mutated_images, mutation=inputs.holed), 36),
    "images: in a folder": (partial(inputs.mutated_images, mutation=inputs.flipped, surface="folder"), 36),
    "images: in pairs to score": (inputs.pairs_with_mutations, 12),
    "images: hostile by hand": (inputs.hostile_images, 100),
    "images: bombs": (inputs.bombs, 10),
    "weights: mutated": (inputs.mutated_weights, 40),
    "weights: crafted": (inputs.crafted_weights, 60),
    "pickles: weights": (inputs.pickles_as_weights, 60),
    "pickles: checkpoints": (inputs.pickles_in_checkpoints, 40),
    "recipes: values": (inputs.recipes_by_value, 60),
    "recipes: texts": (inputs.recipes_by_text, 40),
    "cards": (inputs.cards, 30),
    "lists": (inputs.lists, 40),
    "parameters": (inputs.parameters, 40),
    "runs: mutated": (inputs.mutated_runs, 30),
    "runs: other texts": (inputs.runs_with_other_texts, 40),
    "names": (places.names, 100),
    "links, devices, pipes": (places.special, 80),
    "permissions": (places.permissions, 30),
    "vanishing": (places.vanishing, 20),
}
"""By name, what draws the cases, and how many of them the long form takes at most."""


def campaign(stock: Stock, seed: int, share: float, wanted: Callable[[str], bool]) -> Iterator[Finding]:
    """What became of the cases.

    Args:
        stock: what they need.
        seed: of what is drawn.
        share: which part of each class's cases to take; at least one.
        wanted: tells by "class: case" which to run.
    """
    for name, (draw, count) in CLASSES.items():
        cases = list(islice(draw(stock, random.Random(f"{seed} {name}")), count))
        if share < 1:
            cases = random.Random(seed).sample(cases, max(1, round(share * len(cases))))
        for case in cases:
            if wanted(f"{name}: {case.name}"):
                outcome, faults = met(case, stock)
                yield Finding.of(name, case.name, outcome, faults)


def met(case: Case, stock: Stock) -> tuple[Outcome, list[str]]:
    """Meets one input in a folder of its own: what became of the call, and what is wrong with that."""
    limits = Limits(user=case.user)
    folder = Path(tempfile.mkdtemp(prefix="case-", dir=stock.folder.parent))
    folder.chmod(0o777)
    try:
        stock.give(folder, *case.needs)
        for path in folder.rglob("*"):
            path.chmod(0o777 if path.is_dir() else 0o666)
        case.put(folder)
        before = listed(folder)
        outcome = forked(case.call, limits=limits, folder=folder)
        faults = list(outcome.faults(limits, allowed=(2,) if case.refused else (0, 1, 2)))
        return outcome, faults + list(unwanted(case, outcome, folder, before))
    finally:
        shutil.rmtree(folder)


def listed(folder: Path) -> dict[str, tuple]:
    """Everything below a folder: its kind, size and time of change."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in folders + names:
            path = Path(place, name)
            status = path.lstat()
            is_folder = stat.S_ISDIR(status.st_mode)
            found[str(path.relative_to(folder))] = (
                status.st_mode,
                *(() if is_folder else (status.st_size, status.st_mtime_ns)),
            )
    return found


def unwanted(case: Case, outcome: Outcome, folder: Path, before: dict) -> Iterator[str]:
    """What the call left that it must not have left."""
    after = listed(folder)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if "EXECUTED" in changed:
        yield "executed what was in the file"
    makes = case.changes + (case.makes if outcome.status in (0, 1) else ())
    for name in changed:
        if name.split("/")[0] not in makes:
            yield f"changed {name}"
        elif "/." in f"/{name}":
            yield f"left {name} behind"
    if "out.png" in changed and outcome.status == 0 and not whole(folder / "out.png"):
        yield "the result is not whole"


def whole(path: Path) -> bool:
    try:
        return min(images.read(path).shape[1:]) >= images.MIN_SIDE
    except DerainError:
        return False
