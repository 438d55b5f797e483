"""Measures how much quicker our SRN and BRN run than the textbook form, and how near they come to the machine's peak.

    python benchmarks/recurrent_speed.py                      # 256² and 512², SRN and BRN, T = 6
    python benchmarks/recurrent_speed.py --sizes 512 --compile

All forms run in one process, one after the other in each round. On a CPU everything is measured twice: with C's
allocator as it is, and in a second process in which the allocator keeps memory instead of returning it
(MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_), which spares the textbook form most of its page faults. The peak is
that of convolutions on 128 x 512 pixels, which stay in the cache. The results go to
benchmarks/results/recurrent_speed.json.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import common
import torch
from textbook import Textbook
from torch import Tensor, nn

from derainlib.models import create, weights

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**31 - 1), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


def photograph(size: int) -> Tensor:
    """A rainy photograph of size x size pixels, (1, 3, size, size)."""
    from derainlib import rain
    from derainlib.data import samples

    clean = samples.photograph("astronaut")[:, :, :size, :size]
    return rain.add_rain(clean, "light", [rain.generator(0)]).rainy


def network(name: str, stages: int) -> nn.Module:
    """Trained weights where they are shipped: errors of bf16 depend on them, times do not."""
    return weights.load(name, stages=stages) if name in weights.shipped() else create(name, stages=stages).eval()


def forms(model: nn.Module, rainy: Tensor, compiled: bool) -> dict[str, Callable[[], Tensor]]:
    """The ways to compute the last background."""
    textbook, half = Textbook(model).to(rainy.device).eval(), copy.deepcopy(model).bfloat16()
    found = {
        "textbook fp32": lambda: textbook(rainy).background,
        "ours fp32": lambda: model(rainy).background,
        "ours bf16": lambda: half(rainy).background,
    }
    if compiled:
        quick = torch.compile(model)
        found["ours fp32 compiled"] = lambda: quick(rainy).background
    return found


def measure(name: str, size: int, device: str, options: argparse.Namespace) -> dict:
    """All forms of one network on one photograph: seconds, errors, GFLOP/s."""
    rainy = photograph(size).to(device)
    runs = forms(network(name, options.stages).to(device), rainy, options.compile)
    reference = runs["textbook fp32"]()
    differences = {form: (run() - reference).abs() for form, run in runs.items()}
    times = {form: common.timing(own) for form, own in common.take_turns(runs, options.rounds).items()}
    found = {"network": name, "size": size, "stages": options.stages, "forms": {}}
    for form, run in runs.items():
        flops = common.flops(runs["ours fp32"] if "compiled" in form else run)
        found["forms"][form] = times[form] | {
            "times faster": round(times["textbook fp32"]["seconds"] / times[form]["seconds"], 2),
            "largest difference": common.rounded(differences[form].max().item(), 2),
            "mean difference": common.rounded(differences[form].mean().item(), 2),
            "GFLOP/s": round(flops / times[form]["seconds"] / 1e9, 1),
        }
        print(f"{name} {size}² {form:20s} {found['forms'][form]}", file=sys.stderr, flush=True)
    return found


@torch.inference_mode()
def run(options: argparse.Namespace, device: str) -> dict:
    """Everything, under this process's allocator."""
    peaks = {
        str(dtype).removeprefix("torch."): round(common.peak(dtype, device, (1, 128, 512), 5 * options.rounds), 1)
        for dtype in (torch.float32, torch.bfloat16)
    }
    print(f"peak GFLOP/s {peaks}", file=sys.stderr, flush=True)
    found = [measure(name, size, device, options) for size in options.sizes for name in options.networks]
    return {"peak GFLOP/s": peaks, "measured": found}


def keeping_memory(arguments: Sequence[str]) -> dict:
    """The same in a process whose allocator keeps memory."""
    command = [sys.executable, __file__, *arguments, "--child"]
    answer = subprocess.run(command, env=os.environ | KEEP_MEMORY, stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "recurrent_speed", "rounds", "threads", "device", rounds=3)
    found.add_argument("--sizes", nargs="+", type=int, default=[256, 512])
    found.add_argument("--networks", nargs="+", default=["srn", "brn"])
    found.add_argument("--stages", type=int, default=6)
    found.add_argument("--compile", action="store_true", help="also through torch.compile (needs a C++ compiler)")
    found.add_argument("--allocator", choices=["as it is", "keeps memory", "both"], default="both")
    found.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, prints, writes."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = common.parse(parser(), arguments)
    device = common.use(options)
    if options.child:
        json.dump(run(options, device), sys.stdout)
        return
    results = {"machine": common.machine(device)}
    if options.allocator != "keeps memory" or device == "cuda":
        results["allocator as it is"] = run(options, device)
    if options.allocator != "as it is" and device == "cpu":
        results["allocator keeps memory"] = keeping_memory(arguments)
    common.write(options.out, results)


if __name__ == "__main__":
    sys.exit(main())
