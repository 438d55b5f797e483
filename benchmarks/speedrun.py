"""Two races for two cores: fewest minutes to 32 dB on Rain100L, and the best score of a tiny network in an hour.

    python benchmarks/speedrun.py sprint --data DIR
    python benchmarks/speedrun.py featherweight --data DIR

The clock counts the processor time of the training, its data and its own validation included, judging left out. What
trains is fixed: the photographs and rain layers of DIR's splits, and drawn rain. A run starts from random weights; its
seed, and that of the rain in which it is judged beside Rain100L, are drawn anew each time. A trick that makes training
better or cheaper shows here first; README.md in this folder has a paragraph on each record, and
benchmarks/results/speedrun.json every run's curve.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np

from derainlib import evaluation, rain
from derainlib.data import holdout
from derainlib.data.synthetic import Sources, gather
from derainlib.errors import DerainError
from derainlib.layers import Pair
from derainlib.models import weights
from derainlib.recipes import Recipe, get
from derainlib.training import train

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))  # what races trains as the shipped weights do
import train_weights

FEATHERWEIGHT = 17_305
"""Parameters of DCDNet with its twelve stages: no more may race in the second class."""


@dataclass(frozen=True)
class Race:
    """What is run for: the score, or the time until it is reached."""

    goal: float
    """PSNR in dB on Rain100L's Y at which the clock stops; infinite where the time is fixed."""
    minutes: float
    """Processor time after which nothing counts any more."""
    largest: float
    """Parameters that a network may have."""


RACES = {
    "sprint": Race(32.0, 60.0, float("inf")),
    "featherweight": Race(float("inf"), 60.0, FEATHERWEIGHT),
}

_FAST = {"batch": 8, "patch": 64, "paired": 0.0, "clip": 1.0, "precision": "bf16", "schedule": "cosine", "ema": 0.998}
_FAST |= {"validate_every": 10**6, "checkpoint_every": 10**6}
ENTRIES: dict[str, dict[str, Recipe]] = {
    "sprint": {
        "menet": get(
            "menet/edge-fixed", "quick", model="menet", rain="layers", steps=4000, lr=2e-3, **_FAST,
            losses=train_weights.NETWORKS["menet"].losses,
        ),
    },
    "featherweight": {
        "dcdnet": get(
            "dcdnet/no-VGG", "quick", rain="layers", steps=20_000, lr=2e-3, **_FAST,
            losses=train_weights.NETWORKS["dcdnet"].losses,
        ),
    },
}  # fmt: skip
"""Who has raced, by race: the recipe is all that an entry may choose."""


def judge(path: Path, data: Path, seed: int) -> dict[str, float]:
    """PSNR on Y over Rain100L, and the gain over the hold-out's photographs in light rain of another seed, in dB."""
    network = weights.load(path)
    rain100l = evaluation.score(network, evaluation.dataset("rain100l", data), ["psnr_y"]).summary("psnr_y")
    fresh = evaluation.score(network, rained(data, seed), ["psnr_rgb"]).summary("psnr_rgb")
    return {"rain100l": rain100l.mean, "fresh_gain": fresh.gain}


def rained(data: Path, seed: int) -> list[Pair]:
    """The hold-out's photographs in light rain that nobody has seen."""
    dry = holdout.holdout("dry", "bsds500", data)
    return [rain.add_rain(pair.clean, "light", [rain.generator(seed, 0, i)]) for i, pair in enumerate(dry)]


def sources_of(recipe: Recipe, data: Path, out: Path) -> Sources:
    """What may train: photographs and rain layers of the data's splits, and its pairs if the recipe takes any."""
    train_weights.write_lists(train_weights.parse([str(out), "--data", str(data), "--minutes", "1"]))
    clean, layers = out / "lists" / "clean.txt", out / "lists" / "streaks.txt"
    pairs = {"pairs_dir": data / "rain800/training", "pairs_list": data / "splits/rain800_train.txt"}
    rain_layers = {"streaks_dir": data / "streaks", "streaks_list": layers}
    return gather(data, clean, **pairs if recipe.paired else {}, rain_style=recipe.rain, **rain_layers)


def run(recipe: Recipe, rules: Race, data: Path, out: Path, looks: int) -> dict:
    """Trains until the goal is reached, the time is over or the steps are done.

    Args:
        recipe: the entry.
        rules: the race.
        data: folder as DERAIN_DATA names it.
        out: folder for the training.
        looks: how often it is judged, evenly spread over the steps.

    Returns:
        The recipe, the network's parameters, and the scores at each look.

    Raises:
        DerainError: too many parameters for this race.
    """
    recipe = recipe.replace(seed=int.from_bytes(os.urandom(3)))
    parameters = sum(p.numel() for p in recipe.build_model().parameters())
    if parameters > rules.largest:
        raise DerainError(f"{recipe.model} has {parameters:,} parameters; this race allows {rules.largest:,}")
    sources, seconds, curve = sources_of(recipe, data, out), 0.0, []
    for step in np.linspace(0, recipe.steps, looks + 1).round().astype(int)[1:].tolist():
        with common.Stopwatch() as took:
            result = train(recipe, sources, out / "run", stop_after=step)
        seconds += took.processor
        scores = judge(result.last, data, recipe.seed + 1)
        megapixels = step * recipe.batch * recipe.patch**2 / 1e6
        curve.append({"step": step, "minutes": seconds / 60, "megapixels": megapixels} | scores)
        curve[-1] = {name: round(value, 3) for name, value in curve[-1].items()}
        print(*(f"{name} {value:g}" for name, value in curve[-1].items()), flush=True)
        if scores["rain100l"] >= rules.goal or seconds > 60 * rules.minutes:
            break
    return {"recipe": json.loads(recipe.to_json()), "parameters": parameters, "curve": curve}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "speedrun", "data", "threads", threads=1)
    found.add_argument("race", choices=RACES)
    found.add_argument("--entry", help="its name in ENTRIES (the first)")
    found.add_argument("--looks", type=int, default=4, help="how often it is judged on the way (%(default)s)")
    found.add_argument("--steps", type=int, help="another number of steps, to try something")
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Runs an entry and writes it beside the others."""
    options = common.parse(parser(), arguments, needs="splits/, streaks/, rain100l/ …")
    entries = ENTRIES[options.race]
    name = options.entry or next(iter(entries))
    if name not in entries:
        raise DerainError(f"no entry of {options.race} is called {name}; there are {', '.join(entries)}")
    recipe = entries[name].replace(**({"steps": options.steps} if options.steps else {}))
    common.use(options)
    with tempfile.TemporaryDirectory() as folder:
        found = run(recipe, RACES[options.race], options.data, Path(folder), options.looks)
    results = common.known(options.out)
    results.setdefault(options.race, {})[name] = {"machine": common.machine()} | found
    common.write(options.out, results)


if __name__ == "__main__":
    sys.exit(main())
