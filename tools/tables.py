"""Trains the papers' ablation tables again, as long as there is time: `make tables MINUTES=60`.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from train_weights import CLEAN, write_lists

from derainlib import files, studies
from derainlib.errors import DerainError
from derainlib.models import weights
from derainlib.training import train
from derainlib.workshop import Trial, one_thread

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


COSTS = "tables_cost.json"
"""What the plans cost, beside the reports."""

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
_QSNET = {"options": {"width": 32, "scale_width": 8}, "lr": 2e-3}
_DCDNET = {"options": {"stages": 4}, "lr": 2e-3}
_STREET = {"batch": 4, "patch": 128, "lr": 1e-3}

PLANS = {
    "brn": Plan(("brn/table-1", "brn/table-3"), 5000, "heavy", HEAVY, _RECURRENT),
    "qsnet": Plan(("qsnet/table-4", "qsnet/table-5", "qsnet/table-4-more"), 5000, "streaks", BOTH, _QSNET),
    "dcdnet": Plan(("dcdnet/table-4", "dcdnet/table-4-more"), 5000, "heavy", HEAVY, {"lr": 2e-3}, vgg=True),
    "phpnet": Plan(("phpnet/table-3",), 4000, "", ("streets",), _STREET, streets=True),
    "phpnet-network": Plan(("phpnet/table-4",), 4000, "", ("streets",), _STREET, streets=True),
    "menet": Plan(("menet/table-1", "menet/table-1-more"), 4000, "streaks", LIGHT),
    "srn": Plan(("srn/table-1", "srn/table-2"), 5000, "heavy", HEAVY, _RECURRENT),
    "brn-branches": Plan(("brn/table-4",), 5000, "heavy", HEAVY, _RECURRENT),
    "dcdnet-parts": Plan(("dcdnet/table-3",), 5000, "heavy", HEAVY, _DCDNET, vgg=True),
    "phpnet-semantics": Plan(("phpnet/table-5",), 4000, "", ("streets",), _STREET, streets=True),
    "phpnet-rain": Plan(("phpnet/table-2",), 4000, "", ("rain800",), _STREET, streets=True),
    "qsnet-sharing": Plan(("qsnet/table-5-more", "qsnet/table-3-more"), 5000, "streaks", BOTH, _QSNET),
    "menet-vgg": Plan(("menet/table-4-more",), 4000, "streaks", LIGHT, vgg=True),
    "menet-deep": Plan(("menet/table-2",), 4000, "streaks", LIGHT),
    # In full precision: a CPU gets the gradient of 27 dilated channels wrong in bf16.
    "dcdnet-sizes": Plan(("dcdnet/table-2",), 5000, "heavy", HEAVY, _DCDNET | {"precision": "no"}, vgg=True),
    "srn-stages": Plan(("srn/figure-6",), 3000, "heavy", HEAVY, _FEW_CHANNELS),
    "brn-stages": Plan(("brn/figure-6",), 3000, "heavy", HEAVY, _FEW_CHANNELS),
    "dcdnet-layers": Plan(("dcdnet/dilations",), 5000, "heavy", HEAVY, _DCDNET, vgg=True),
    "srn-plain": Plan(("srn/plain",), 3000, "heavy", HEAVY, _FEW_CHANNELS),
    "dcdnet-stages": Plan(("dcdnet/figure-10",), 3000, "heavy", HEAVY, {"lr": 2e-3}, vgg=True),
    "phpnet-weights": Plan(("phpnet/weights",), 4000, "", ("streets",), _STREET, streets=True),
}
"""What is trained, in the order of what the papers rest on; last what may not converge, since a failure ends it all."""


def order(plan: Plan, folder: Path, options: argparse.Namespace) -> studies.Order:
    """A plan as a study is asked for, whose trainings go into a folder."""
    photographs = {"clean_dir": str(options.data), "clean_list": str(options.out / "lists" / CLEAN)}
    data = {"scenes_dir": str(options.data / "camvid")} if plan.streets else photographs
    return studies.Order(
        tuple(name for name in plan.studies if name in (options.tables or plan.studies)),
        str(folder),
        steps=plan.steps,
        seeds=tuple(options.seeds),
        changes=SHARED | ({"rain": plan.rain} if plan.rain else {}) | plan.changes,
        data=data | ({"vgg": str(options.data / VGG)} if plan.vgg else {}),
        sets=plan.sets,
        sets_dir=str(options.data),
    )


# --- before --------------------------------------------------------------------------------------------------------

TRIED, WARM = 12, 4
"""Steps that are timed of each training, and those of them that warm up."""


def cost(asked: studies.Order) -> tuple[int, float]:
    """How many trainings an order has, and the hours of one core that they take together, by a few steps of each."""
    trials = asked.check()
    once = {trial.folder: trial for (_, _, seed), trial in trials.items() if seed == asked.seeds[0]}
    with one_thread():
        seconds = sum(_seconds_a_step(trial) * trial.recipe.steps for trial in once.values())
    return len(once) * len(asked.seeds), seconds * len(asked.seeds) / 3600


def _seconds_a_step(trial: Trial) -> float:
    with tempfile.TemporaryDirectory() as folder:
        train(trial.recipe, trial.gather(), folder, stop_after=TRIED)
        lines = map(json.loads, (Path(folder) / "metrics.jsonl").read_text().splitlines())
        rates = [line["samples_per_second"] for line in lines if "samples_per_second" in line]
    return trial.recipe.batch / statistics.median(rates[WARM:] or rates)


# --- the work ------------------------------------------------------------------------------------------------------


def work(asked: studies.Order, jobs: int, seconds: float) -> bool:
    """Trains and scores an order, for so many seconds at most; returns whether it is finished.

    When the time is over, what is trained stays, and what was being trained goes on from its last checkpoint.

    Raises:
        DerainError: a training failed.
    """
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(asked, jobs))
    process.start()
    process.join(None if seconds == math.inf else seconds)
    if process.is_alive():
        process.terminate()
        process.join()
        return False
    if process.exitcode:
        raise DerainError(f"{', '.join(asked.studies)}: a training failed; see above, and what {asked.out_dir} holds")
    return True


def _run(asked: studies.Order, jobs: int):
    try:
        reports = asked.run(jobs, progress=True)
    except DerainError as error:
        sys.exit(f"error: {error}")
    for report in reports:
        print(studies.table(report), flush=True)
    sys.exit(int(any(report["failed"] for report in reports)))


def keep(asked: studies.Order, results: Path, weights_dir: Path):
    """Copies the reports, and the weights of each row's first seed in half precision with their cards."""
    results.mkdir(parents=True, exist_ok=True)
    for study in asked.chosen():
        name = study.name.replace("/", "-")
        report = (Path(asked.out_dir) / f"{name}.json").read_bytes()
        files.write_atomically(results / f"study_{name}.json", report)
        for row in study.rows:
            last = asked.trial(row, asked.seeds[0]).last
            small = weights.load(last).half()
            weights.save(small, weights_dir / f"{study.file(row.label)}.safetensors", weights.card(last))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where trainings and reports go; a plan that was killed goes on")
    parser.add_argument("--minutes", type=float, default=math.inf, help="time for all plans together (no limit)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each on one core (%(default)s)")
    parser.add_argument("--data", type=Path, default=os.environ.get("DERAIN_DATA") or None, help="(DERAIN_DATA)")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=PLANS, metavar="NAME")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="of the plans' tables only these, qsnet/table-4 …")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="each row is trained for each (0 1)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where finished reports go (benchmarks/results)")
    parser.add_argument("--cost", action="store_true", help="only tell what each plan costs, and end")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("--data (or DERAIN_DATA) must name the folder of the research data")
    if not options.minutes > 0 or options.jobs < 1:
        parser.error("--minutes must be positive, and --jobs at least 1")
    planned = {name: PLANS[name].studies for name in options.plans}
    if unknown := {*(options.tables or ())} - {table for tables in planned.values() for table in tables}:
        parser.error(f"none of these plans has the table {', '.join(sorted(unknown))}")
    if options.tables:
        options.plans = [name for name, tables in planned.items() if {*tables} & {*options.tables}]
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Works through the plans, or tells their cost; returns 1 if the time was over before the last one was finished."""
    options = parse(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        write_lists(options)
        orders = {name: order(PLANS[name], options.out / name, options) for name in options.plans}
        return tell_cost(orders, options.results) if options.cost else work_through(orders, options)
    except (DerainError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def tell_cost(orders: Mapping[str, studies.Order], results: Path) -> int:
    """Prints what each order costs, and keeps it for `tools/ledger.py`."""
    kept = results / COSTS
    known = json.loads(kept.read_text()) if kept.is_file() else {}
    for name, asked in orders.items():
        trainings, hours = cost(asked)
        print(f"{name}: {trainings} trainings, {hours:.1f} hours of one core", flush=True)
        known[name] = {"trainings": trainings, "seeds": len(asked.seeds), "hours": round(hours, 2)}
    files.write_atomically(kept, (json.dumps(known, indent=1) + "\n").encode())
    return 0


def work_through(orders: Mapping[str, studies.Order], options: argparse.Namespace) -> int:
    """One order after the other, until the time is over."""
    deadline = time.monotonic() + 60 * options.minutes
    for name, asked in orders.items():
        if not work(asked, options.jobs, max(0.0, deadline - time.monotonic())):
            print(f"the time was over in the plan {name}; the same command goes on")
            return 1
        keep(asked, options.results, options.out / "weights")
        print(f"finished: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
