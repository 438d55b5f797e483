"""Measures training steps: how many a second, how near to the machine's peak, and where a step's time goes.

    python benchmarks/training_speed.py                       # every shipped network, 8 x 64², one thread and all
    python benchmarks/training_speed.py --networks srn --threads 2 --rounds 20

A step is one of `derainlib.training`: samples drawn and rained on, forward, losses, backward, Adam, the record; with
the recipe that the network's shipped weights were last trained with, on the stand-ins for photographs. Rain that wants
layers from files is drawn instead, and the weights are not averaged (the recipe's `ema`). Beside it runs
the textbook step: a plain loop in float32 and PyTorch's default layout, with the network as it is written down
(`textbook.py`, QSNet's plain groups) where there is such a form. The two take turns; a step's time is that of its
quickest round, a part's the median over some more. The peak is the quickest 3x3 convolution at the networks' widths on
such a batch, forward and backward in the recipe's precision, measured before and after the steps. Layers whose weights
are zero in part count with all of their multiplications.

On a GPU our network is compiled, samples come from worker processes, and the GPU's utilisation is asked of nvidia-smi.

Results are added to benchmarks/results/training_speed.json under `--label`, one row for a network and a number of
threads: rows of other labels, networks and threads stay, so a part can be measured again, or a change beside what was.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from network_speed import PlainGroups
from recurrent_speed import PEAK_SHAPES
from textbook import Textbook
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from derainlib import files, models, training
from derainlib.data.synthetic import Samples, Schedule, Sources, gather
from derainlib.layers import Layers
from derainlib.models import weights
from derainlib.models.qsnet import QSNet
from derainlib.models.recurrent import BRN, SRN
from derainlib.rain import wants_layers
from derainlib.recipes import Recipe

RESULTS = Path(__file__).parent / "results" / "training_speed.json"
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


def synchronise():
    """Waits for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# --- the two steps --------------------------------------------------------------------------------------------------


class Stopwatch:
    """Where the steps' time goes, read at the hooks of network, loss and optimiser; it waits for a GPU at each."""

    def __init__(self, run: training._Run):
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
        then, self.last = self.last, now()
        self.laps[part].append(self.last - then)

    def shares(self, steps: Iterator, rounds: int) -> dict[str, float]:
        """Per cent of the time of some more steps, by part."""
        self.last = now()
        for _ in range(rounds):
            next(steps)
            self.lap("record")
        for hook in self.hooks:
            hook.remove()
        medians = {part: statistics.median(laps) for part, laps in self.laps.items()}
        return {part: round(100 * median / sum(medians.values()), 1) for part, median in medians.items()}


class PlainRecurrent(nn.Module):
    """SRN or BRN as it is written down, called like every other network."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = Textbook(model)

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        backgrounds, rains = self.model(rainy)
        rains = rains or [rainy - background for background in backgrounds]
        return Layers(backgrounds[-1], rains[-1], tuple(backgrounds), tuple(rains))


def plain(model: nn.Module) -> nn.Module:
    """The network as it is written down, where there is such a form; else as it is."""
    if isinstance(model, SRN | BRN):
        return PlainRecurrent(model)
    return PlainGroups(model) if isinstance(model, QSNet) else model


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


def now() -> float:
    """Seconds; of one thread the processor's, which other work on the machine disturbs less than those of the clock."""
    synchronise()
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.process_time() if alone else time.perf_counter()


def seconds(steps: Iterator) -> float:
    """What the next step takes."""
    began = now()
    next(steps)
    return now() - began


def peak(dtype: torch.dtype, options: argparse.Namespace) -> float:
    """GFLOP/s of the quickest 3x3 convolution, forward and backward, on a batch of the steps' size."""
    best = 0.0
    for inputs, outputs in PEAK_SHAPES:
        shape = options.batch, inputs, options.patch, options.patch
        x = torch.randn(shape, device=options.device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(outputs, inputs, 3, 3, device=options.device, dtype=dtype, requires_grad=True)
        x.requires_grad_()
        gradient = torch.ones_like(F.conv2d(x, weight, padding=1))
        calls = _forever(
            lambda x=x, weight=weight, gradient=gradient: torch.autograd.grad(
                F.conv2d(x, weight, padding=1), (x, weight), gradient
            )
        )
        best = max(best, flops(calls) / min(seconds(calls) for _ in range(options.rounds)) / 1e9)
    return best


def _forever(call) -> Iterator:
    while True:
        yield call()


def flops(steps: Iterator) -> int:
    """Multiplications and additions of the next step's convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        next(steps)
    return counter.get_total_flops()


def utilisation() -> int:
    """Per cent of the last moment in which the GPU computed."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split()[torch.cuda.current_device()])


def measure(name: str, options: argparse.Namespace) -> dict:
    """One network's row."""
    recipe = recipe_of(name, options)
    sources, on_gpu = gather(rain_style=recipe.rain), options.device == "cuda"
    before = peak(PRECISIONS[recipe.precision], options)
    with tempfile.TemporaryDirectory() as folder:
        run = training._Run(recipe, sources, Path(folder), options.workers, compiled=False, clock=time.monotonic)
        run.start()
        ours, textbook = run.steps(recipe.steps), textbook_steps(recipe, sources, options.device)
        work = flops(ours)
        if options.compile:
            run.network.compile()
        for _ in range(WARMING_UP):
            next(ours), next(textbook)
        times = [(seconds(ours), seconds(textbook)) for _ in range(options.rounds)]
        own, plainly = map(min, zip(*times, strict=True))
        busy = {"GPU utilisation per cent": _busy(ours, options.rounds)} if on_gpu else {}
        shares = Stopwatch(run).shares(ours, options.rounds)
    best = max(before, peak(PRECISIONS[recipe.precision], options))
    return {
        "stages": recipe.options.get("stages"),
        "precision": recipe.precision,
        "steps a second": _rounded(1 / own),
        "megapixels a second": _rounded(options.batch * options.patch**2 / own / 1e6),
        "GFLOP a step": _rounded(work / 1e9),
        "GFLOP/s": _rounded(work / own / 1e9),
        "peak GFLOP/s": _rounded(best),
        "per cent of the peak": _rounded(100 * work / own / 1e9 / best),
        "per cent of a step": shares,
        "textbook steps a second": _rounded(1 / plainly),
        "times quicker than the textbook": _rounded(plainly / own),
        **busy,
    }


def _busy(steps: Iterator, rounds: int) -> int:
    for _ in range(rounds):
        next(steps)
    return utilisation()


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def main(arguments: list[str]) -> int:
    """Measures, prints, adds to the results."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=shipped(), choices=shipped())
    parser.add_argument("--batch", type=int, default=8, help="patches a step")
    parser.add_argument("--patch", type=int, default=64, help="their side in pixels")
    parser.add_argument("--rounds", type=int, default=7, help="steps that are timed")
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, torch.get_num_threads()}))
    parser.add_argument("--workers", type=int, default=8 if cuda else 0, help="processes that make samples")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=cuda, help="through torch.compile")
    parser.add_argument("--label", default="now", help="what the rows are filed under")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.device = "cuda" if cuda else "cpu"
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for threads in options.threads:
        torch.set_num_threads(threads)
        for name in options.networks:
            row = measure(name, options)
            print(f"{options.label}, {threads} thread(s), {name}: {row}", file=sys.stderr, flush=True)
            setting = f"{options.batch} x {options.patch}², {threads} thread{'s' if threads > 1 else ''}"
            results.setdefault(options.label, {}).setdefault(setting, {})[name] = row
    results |= {"torch": torch.__version__, "machine": platform.machine()}
    results |= {"device": torch.cuda.get_device_name() if cuda else "cpu"}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(options.out, (json.dumps(results, indent=2) + "\n").encode())
    print(f"results: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
