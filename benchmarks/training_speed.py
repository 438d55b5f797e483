"""Measures training steps: how many a second, how near to the machine's peak, and where a step's time goes.

    python benchmarks/training_speed.py                       # every shipped network, 8 x 64², one thread and all
    python benchmarks/training_speed.py --networks srn --threads 2 --rounds 20

A step is one of `derainlib.training`: samples drawn and rained on, forward, losses, backward, Adam, the record; with
the recipe that the network's shipped weights were last trained with, on the stand-ins for photographs. Rain that wants
layers from files is drawn instead, and the weights are not averaged (the recipe's `ema`). Beside it runs
the textbook step: a plain loop in float32 and PyTorch's default layout, with the network as it is written down
(`textbook.py`) where there is such a form. The two take turns; a part's time is the median over some more steps. The
peak is that of convolutions on such a batch, forward and backward in the recipe's precision, measured before and after
the steps. Layers whose weights are zero in part count with all of their multiplications.

On a GPU our network is compiled, samples come from worker processes, and the GPU's utilisation is asked of nvidia-smi.

Results are added to benchmarks/results/training_speed.json under `--label`, one row for a network and a number of
threads: rows of other labels, networks and threads stay, so a part can be measured again, or a change beside what was.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import common
import torch
from textbook import plain

from derainlib import models, training
from derainlib.data.synthetic import Samples, Schedule, Sources, gather
from derainlib.models import weights
from derainlib.rain import wants_layers
from derainlib.recipes import Recipe

PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARMING_UP = 2
"""Steps that are not counted: the optimiser makes its state, caches fill; with a compiler it takes far longer."""


def shipped() -> list[str]:
    """The networks of the papers that come with weights, ablations aside."""
    return [name for name in weights.shipped() if name in models.VARIANTS and not models.VARIANTS[name][1]]


def recipe_of(name: str, options: argparse.Namespace) -> Recipe:
    """What the shipped weights were trained with last, from first weights, with our batch, and as both loops can do it.

    The steps are counted, since a plan for `minutes` would change the rate as it goes; no layers are at hand; and an
    average of the weights is nothing that the textbook's step has.
    """
    last = weights.card(name)["phases"][-1]["recipe"]
    rain = "allround-drawn" if wants_layers(last["rain"]) else last["rain"]
    steps = 10 * (WARMING_UP + options.rounds)
    ours = {"start": "", "batch": options.batch, "patch": options.patch, "minutes": 0.0, "steps": steps}
    return Recipe.from_json(json.dumps(last | ours | {"rain": rain, "ema": 0.0}))


# --- the two steps --------------------------------------------------------------------------------------------------


class Laps:
    """Where the steps' time goes, read at the hooks of network, loss and optimiser; it waits for a GPU at each."""

    def __init__(self, run: training.Run):
        self.laps, self.last = defaultdict(list), 0.0
        optimizer = run.optimizer.optimizer
        self.hooks = [
            run.network.register_forward_pre_hook(lambda *_: self.lap("data")),
            run.network.register_forward_hook(lambda *_: self.lap("forward")),
            run.loss.register_forward_hook(lambda *_: self.lap("loss")),
            optimizer.register_step_pre_hook(lambda *_: self.lap("backward")),
            optimizer.register_step_post_hook(lambda *_: self.lap("optimiser")),
        ]

    def lap(self, part: str):
        """What went by since the last lap was spent on `part`."""
        then, self.last = self.last, common.now()
        self.laps[part].append(self.last - then)

    def shares(self, steps: Iterator, rounds: int) -> dict[str, float]:
        """Per cent of the time of some more steps, by part."""
        self.last = common.now()
        for _ in range(rounds):
            next(steps)
            self.lap("record")
        for hook in self.hooks:
            hook.remove()
        medians = {part: statistics.median(laps) for part, laps in self.laps.items()}
        return {part: round(100 * median / sum(medians.values()), 1) for part, median in medians.items()}


def textbook_steps(recipe: Recipe, sources: Sources, device: str) -> Iterator[float]:
    """The steps of a loop without any trick; gives their losses."""
    torch.manual_seed(recipe.seed)
    network = plain(recipe.build_model()).to(device)
    loss = recipe.build_loss(network).to(device)
    optimizer = torch.optim.Adam(network.parameters(), recipe.lr)
    samples = Samples(
        sources.clean, sources.pairs, patch=recipe.patch, style=recipe.rain, paired=recipe.paired, seed=recipe.seed,
        layers=sources.layers, turned=recipe.turned, dry=recipe.dry,
    )  # fmt: skip
    for keys in Schedule(len(samples), batch=recipe.batch, first=0, last=recipe.steps, seed=recipe.seed):
        pair = samples.__getitems__(keys).to(device)
        optimizer.zero_grad()
        total, _ = loss(network(pair.rainy, keep=True), pair)
        total.backward()
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        yield total.item()


# --- measuring ------------------------------------------------------------------------------------------------------


def utilisation() -> int:
    """Per cent of the last moment in which the GPU computed."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[torch.cuda.current_device()])


def measure(name: str, options: argparse.Namespace) -> dict:
    """One network's row."""
    recipe = recipe_of(name, options)
    sources, on_gpu = gather(rain_style=recipe.rain), options.device == "cuda"
    batch = options.batch, options.patch, options.patch
    peak = partial(common.peak, PRECISIONS[recipe.precision], options.device, batch, options.rounds, backward=True)
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        run = training.Run(recipe, sources, Path(folder), workers=options.workers)
        run.start()
        ours, textbook = run.steps(recipe.steps), textbook_steps(recipe, sources, options.device)
        work = common.flops(lambda: next(ours))
        if options.compile:
            run.network.compile()
        turns = {"ours": lambda: next(ours), "textbook": lambda: next(textbook)}
        times = common.take_turns(turns, options.rounds, WARMING_UP)
        own, plainly = (common.timing(each) for each in times.values())
        busy = {"GPU utilisation per cent": _busy(ours, options.rounds)} if on_gpu else {}
        shares = Laps(run).shares(ours, options.rounds)
    step, best, found = own["seconds"], max(before, peak()), common.rounded
    return {
        "stages": recipe.options.get("stages"),
        "precision": recipe.precision,
        "steps a second": found(1 / step),
        "spread": own["spread"],
        "megapixels a second": found(options.batch * options.patch**2 / step / 1e6),
        "GFLOP a step": found(work / 1e9),
        "GFLOP/s": found(work / step / 1e9),
        "peak GFLOP/s": found(best),
        "per cent of the peak": found(100 * work / step / 1e9 / best),
        "per cent of a step": shares,
        "textbook steps a second": found(1 / plainly["seconds"]),
        "times quicker than the textbook": found(plainly["seconds"] / step),
        **busy,
    }


def _busy(steps: Iterator, rounds: int) -> int:
    for _ in range(rounds):
        next(steps)
    return utilisation()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cuda = torch.cuda.is_available()
    found = common.parser(__doc__, "training_speed", "rounds")
    found.add_argument("--networks", nargs="+", default=shipped(), choices=shipped())
    found.add_argument("--batch", type=int, default=8, help="patches a step")
    found.add_argument("--patch", type=int, default=64, help="their side in pixels")
    found.add_argument("--threads", nargs="+", type=int, default=sorted({1, torch.get_num_threads()}))
    found.add_argument("--workers", type=int, default=8 if cuda else 0, help="processes that make samples")
    found.add_argument("--compile", action=argparse.BooleanOptionalAction, default=cuda, help="through torch.compile")
    found.add_argument("--label", default="now", help="what the rows are filed under")
    found.set_defaults(device="cuda" if cuda else "cpu")
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, prints, adds to the results."""
    options = common.parse(parser(), arguments)
    results = common.known(options.out)
    for threads in options.threads:
        torch.set_num_threads(threads)
        for name in options.networks:
            row = measure(name, options)
            print(f"{options.label}, {threads} thread(s), {name}: {row}", file=sys.stderr, flush=True)
            setting = f"{options.batch} x {options.patch}², {threads} thread{'s' if threads > 1 else ''}"
            results.setdefault(options.label, {}).setdefault(setting, {})[name] = row
    common.write(options.out, results | {"machine": common.machine()})


if __name__ == "__main__":
    sys.exit(main())
