"""Measures how much quicker our SRN and BRN run than the textbook form, and how near they come to the machine's peak.

    python benchmarks/recurrent_speed.py                      # 256² and 512², SRN and BRN, T = 6
    python benchmarks/recurrent_speed.py --sizes 512 --compile

All forms run in one process, one after the other in each round; a form's time is its quickest round. On a CPU
everything is measured twice: with C's allocator as it is, and in a second process in which the allocator keeps memory
instead of returning it (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_), which spares the textbook form most of its
page faults. The peak is the quickest 3x3 convolution found at the networks' widths. The results go to
benchmarks/results/recurrent_speed.json.
"""

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from textbook import Textbook
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from derainlib import files
from derainlib.models import create, weights

RESULTS = Path(__file__).parent / "results" / "recurrent_speed.json"
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**31 - 1), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
PEAK_SHAPES = [(32, 32), (64, 128), (96, 128)]


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
        "textbook fp32": lambda: textbook(rainy)[0][-1],
        "ours fp32": lambda: model(rainy).background,
        "ours bf16": lambda: half(rainy).background,
    }
    if compiled:
        quick = torch.compile(model)
        found["ours fp32 compiled"] = lambda: quick(rainy).background
    return found


def seconds(run: Callable[[], Tensor]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def convolution_flops(run: Callable[[], Tensor]) -> int:
    """Multiplications and additions of its convolutions."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def peak(dtype: torch.dtype, device: str, repeat: int) -> float:
    """GFLOP/s of the quickest 3x3 convolution at the networks' widths, on 128 x 512 pixels that stay in the cache."""
    best = 0.0
    for inputs, outputs in PEAK_SHAPES:
        x = torch.randn(1, inputs, 128, 512, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(outputs, inputs, 3, 3, device=device, dtype=dtype)
        run = lambda x=x, weight=weight: F.conv2d(x, weight, padding=1)  # noqa: E731
        run()
        best = max(best, convolution_flops(run) / min(seconds(run) for _ in range(5 * repeat)) / 1e9)
    return best


def measure(name: str, size: int, options: argparse.Namespace) -> dict:
    """All forms of one network on one photograph: seconds, errors, GFLOP/s."""
    rainy = photograph(size).to(options.device)
    runs = forms(network(name, options.stages).to(options.device), rainy, options.compile)
    reference = runs["textbook fp32"]()
    differences = {form: (run() - reference).abs() for form, run in runs.items()}
    times = {form: float("inf") for form in runs}
    for _ in range(options.repeat):
        for form, run in runs.items():
            times[form] = min(times[form], seconds(run))
    found = {"network": name, "size": size, "stages": options.stages, "forms": {}}
    for form, run in runs.items():
        flops = convolution_flops(runs["ours fp32"] if "compiled" in form else run)
        found["forms"][form] = {
            "seconds": round(times[form], 4),
            "times faster": round(times["textbook fp32"] / times[form], 2),
            "largest difference": float(f"{differences[form].max():.2g}"),
            "mean difference": float(f"{differences[form].mean():.2g}"),
            "GFLOP/s": round(flops / times[form] / 1e9, 1),
        }
        print(f"{name} {size}² {form:20s} {found['forms'][form]}", file=sys.stderr, flush=True)
    return found


@torch.inference_mode()
def run(options: argparse.Namespace) -> dict:
    """Everything, under this process's allocator."""
    peaks = {
        str(dtype).removeprefix("torch."): round(peak(dtype, options.device, options.repeat), 1)
        for dtype in (torch.float32, torch.bfloat16)
    }
    print(f"peak GFLOP/s {peaks}", file=sys.stderr, flush=True)
    found = [measure(name, size, options) for size in options.sizes for name in options.networks]
    return {"peak GFLOP/s": peaks, "measured": found}


def keeping_memory(arguments: list[str]) -> dict:
    """The same in a process whose allocator keeps memory."""
    command = [sys.executable, __file__, *arguments, "--child"]
    answer = subprocess.run(command, env=os.environ | KEEP_MEMORY, stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout)


def main(arguments: list[str]) -> int:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--networks", nargs="+", default=["srn", "brn"])
    parser.add_argument("--stages", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the quickest counts")
    parser.add_argument("--threads", type=int, help="of PyTorch; by default its own choice")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="also through torch.compile (needs a C++ compiler)")
    parser.add_argument("--allocator", choices=["as it is", "keeps memory", "both"], default="both")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.child:
        json.dump(run(options), sys.stdout)
        return 0
    results = {"torch": torch.__version__, "machine": platform.machine(), "threads": torch.get_num_threads()}
    results["device"] = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    if options.allocator != "keeps memory" or options.device == "cuda":
        results["allocator as it is"] = run(options)
    if options.allocator != "as it is" and options.device == "cpu":
        results["allocator keeps memory"] = keeping_memory(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(options.out, (json.dumps(results, indent=2) + "\n").encode())
    print(f"results: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
