"""Trains the papers' ablation tables again, the most important first, for as long as there is: `make tables MINUTES=60`.

    python tools/tables.py OUT --minutes 60 [--jobs 2] [--data DIR] [--plans brn qsnet …]
    python tools/tables.py OUT --cost           # what each plan costs on this machine, before it runs

`PLANS` says on what each study trains, how long, and in what order. The same command goes on where it was killed, on a
CPU as on a GPU. A plan that is finished leaves its reports in benchmarks/results, and the weights of each row's first
seed, in half precision, in OUT/weights.

Networks have fewer channels and stages than the papers', rather than fewer steps: unless a row stands well above the
rainy input, its place says nothing. Training and test have rain of the paper's own kind, losses are not clipped, all
rows have the same budget, and the last weights are scored, so that nothing chooses what it then judges.
"""

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from train_weights import CLEAN, write_lists

from derainlib import files, studies
from derainlib.errors import DerainError
from derainlib.models import weights
from derainlib.training import train

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
SHARED = {
    "paired": 0.0,
    "precision": "bf16",
    "schedule": "cosine",
    "ema": 0.999,
    "clip": 0.0,
    "validate_every": 100_000,
}
"""What all plans share: rain made on the fly, an average of the weights, no clipping, no choice by validation."""


VGG = "vgg16/vgg16_to_relu3_3.safetensors"
"""VGG16's weights in the research data."""


@dataclass(frozen=True)
class Plan:
    """Studies that are trained together, since they share rows."""

    studies: tuple[str, ...]
    steps: int
    rain: str
    """What falls on the photographs; empty where the rows say it themselves."""
    sets: tuple[str, ...]
    """What is scored."""
    changes: dict = field(default_factory=dict)
    """Further fields of every recipe, the network's sizes above all."""
    streets: bool = False
    """Whether labelled streets are trained on, in the place of photographs."""
    vgg: bool = False
    """Whether the rows' perceptual loss is judged by VGG16's real weights."""


HEAVY = ("holdout-heavy", "skimage-heavy")
BOTH = ("holdout-light", "holdout-heavy")
LIGHT = ("rain100l", *BOTH)
_RECURRENT = {"options": {"width": 16, "stages": 3}}
_FEW_CHANNELS = {"options": {"width": 12}}
_QSNET = {"options": {"width": 24, "scale_width": 8}, "lr": 2e-3}
_DCDNET = {"options": {"stages": 4}, "lr": 2e-3}
_STREET = {"batch": 4, "patch": 128, "lr": 1e-3}

PLANS = {
    "brn": Plan(("brn/table-1", "brn/table-3"), 5000, "heavy", HEAVY, _RECURRENT),
    "qsnet": Plan(("qsnet/table-4",), 5000, "streaks", BOTH, _QSNET),
    "dcdnet": Plan(("dcdnet/table-4",), 5000, "heavy", HEAVY, {"lr": 2e-3}, vgg=True),
    "phpnet": Plan(("phpnet/table-3",), 4000, "", ("streets",), _STREET, streets=True),
    "phpnet-network": Plan(("phpnet/table-4",), 4000, "", ("streets",), _STREET, streets=True),
    "menet": Plan(("menet/table-1",), 4000, "streaks", LIGHT),
    "srn": Plan(("srn/table-2", "brn/table-4"), 5000, "heavy", HEAVY, _RECURRENT),
    "qsnet-sharing": Plan(("qsnet/table-5",), 5000, "streaks", BOTH, _QSNET),
    "dcdnet-parts": Plan(("dcdnet/table-3",), 5000, "heavy", HEAVY, _DCDNET, vgg=True),
    "phpnet-semantics": Plan(("phpnet/table-5",), 4000, "", ("streets",), _STREET, streets=True),
    "phpnet-rain": Plan(("phpnet/table-2",), 4000, "", ("rain800",), _STREET, streets=True),
    "srn-loss": Plan(("srn/table-1",), 5000, "heavy", HEAVY, _RECURRENT),
    "menet-deep": Plan(("menet/table-2",), 4000, "streaks", LIGHT),
    "dcdnet-sizes": Plan(("dcdnet/table-2",), 5000, "heavy", HEAVY, _DCDNET, vgg=True),
    "srn-stages": Plan(("srn/figure-6",), 3000, "heavy", HEAVY, _FEW_CHANNELS),
    "brn-stages": Plan(("brn/figure-6",), 3000, "heavy", HEAVY, _FEW_CHANNELS),
    "dcdnet-stages": Plan(("dcdnet/figure-10",), 3000, "heavy", HEAVY, {"lr": 2e-3}, vgg=True),
}
"""What is trained, in the order of what the papers rest on."""


def order(name: str, options: argparse.Namespace) -> studies.Order:
    """A plan as a study is asked for."""
    plan = PLANS[name]
    photographs = {"clean_dir": str(options.data), "clean_list": str(options.out / "lists" / CLEAN)}
    data = {"scenes_dir": str(options.data / "camvid")} if plan.streets else photographs
    return studies.Order(
        plan.studies,
        str(options.out / name),
        steps=plan.steps,
        seeds=tuple(options.seeds),
        changes=SHARED | ({"rain": plan.rain} if plan.rain else {}) | plan.changes,
        data=data | ({"vgg": str(options.data / VGG)} if plan.vgg else {}),
        sets=plan.sets,
        sets_dir=str(options.data),
    )


# --- before --------------------------------------------------------------------------------------------------------

TRIED = 12
"""Steps that are timed of each training, the first four of which warm up."""


def cost(name: str, options: argparse.Namespace) -> dict:
    """What a plan takes on this machine, on one core, by a few steps of each of its trainings.

    Returns:
        "trainings" and "hours", all of them together.
    """
    trials = order(name, options).check()
    once = {trial.folder: trial for (_, _, seed), trial in trials.items() if seed == options.seeds[0]}
    torch.set_num_threads(1)
    seconds = sum(_seconds_a_step(trial) * trial.recipe.steps for trial in once.values())
    return {"trainings": len(once) * len(options.seeds), "hours": seconds * len(options.seeds) / 3600}


def _seconds_a_step(trial) -> float:
    with tempfile.TemporaryDirectory() as folder:
        train(trial.recipe, trial.gather(), folder, stop_after=TRIED)
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    rates = [found["samples_per_second"] for found in map(json.loads, lines) if "samples_per_second" in found]
    return trial.recipe.batch / statistics.median(rates[4:])


# --- the work ------------------------------------------------------------------------------------------------------


def work(name: str, options: argparse.Namespace, seconds: float) -> bool:
    """Runs a plan, for so many seconds at most; returns whether it is finished.

    What is trained when the time is over stays; trainings that were under way go on from their last checkpoint.
    """
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(name, options))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.terminate()
        process.join()
        return False
    if process.exitcode:
        raise DerainError(f"the plan {name} failed: {options.out / name} holds what became of it")
    return True


def _run(name: str, options: argparse.Namespace):
    reports = order(name, options).run(options.jobs, progress=True)
    for report in reports:
        print(studies.table(report), flush=True)
    sys.exit(int(any(report["failed"] for report in reports)))


def keep(name: str, options: argparse.Namespace):
    """The reports into benchmarks/results, and the weights of each row's first seed into OUT/weights."""
    asked = order(name, options)
    for study in asked.chosen():
        report = f"{study.name.replace('/', '-')}.json"
        files.write_atomically(options.results / f"study_{report}", (options.out / name / report).read_bytes())
        for row in study.rows:
            stem = f"{study.name}-{row.label}".replace("/", "-").replace(" ", "_")
            keep_weights(asked.trial(row, options.seeds[0]).last, options.out / "weights" / f"{stem}.safetensors")


def keep_weights(path: Path, target: Path):
    """A copy of a weights file in half precision, with its card."""
    target.parent.mkdir(parents=True, exist_ok=True)
    network = weights.load(path)
    weights.save(network.half(), target, weights.card(path))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where trainings and reports go; a plan that was killed goes on")
    parser.add_argument("--minutes", type=float, default=math.inf, help="time for all plans together (no limit)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each on one core (%(default)s)")
    parser.add_argument("--data", type=Path, default=os.environ.get("DERAIN_DATA") or None, help="(DERAIN_DATA)")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=PLANS, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="each row is trained for each (0 1)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where finished reports go (benchmarks/results)")
    parser.add_argument("--cost", action="store_true", help="only tell what each plan costs, and end")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("--data (or DERAIN_DATA) must name the folder of the research data")
    if not options.minutes > 0 or options.jobs < 1:
        parser.error("--minutes must be positive, and --jobs at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Works through the plans, or tells their cost; returns 1 if time was over before the last."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    write_lists(options)
    if options.cost:
        for name in options.plans:
            found = cost(name, options)
            print(f"{name}: {found['trainings']} trainings, {found['hours']:.1f} hours of one core", flush=True)
        return 0
    deadline = time.monotonic() + 60 * options.minutes
    for name in options.plans:
        if not work(name, options, max(1.0, deadline - time.monotonic())):
            print(f"time is over in the plan {name}; the same command goes on")
            return 1
        keep(name, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
