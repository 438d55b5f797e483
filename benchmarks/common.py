"""What the benchmarks share: their command line, the machine's facts, the clock, and results that are written whole.

Calls are timed in one way. Each is made once to warm up and then once a round, in turn with those that it is compared
with, so that whatever else the machine does hits all of them alike. A call's `seconds` are the median over the rounds,
its `spread` is the distance between the quartiles as a share of that median: where two calls differ by less, nothing is
said about them. Results that were timed in another way say so themselves, under "timed".

PyTorch is imported where it is used: who measures the memory of another process must stay small (`dcdnet_cost.py`).
"""

import argparse
import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

from derainlib import files
from derainlib.errors import DerainError

RESULTS = Path(__file__).resolve().parent / "results"
PEAK_SHAPES = ((32, 32), (64, 128), (96, 128))
"""Channels, in and out, of the 3x3 convolutions in which networks spend their time."""

# --- the command line -----------------------------------------------------------------------------------------------

ARGUMENTS = {
    "data": {"type": Path, "help": "folder of the research data (DERAIN_DATA)"},
    "limit": {"type": int, "help": "take at most LIMIT images of each set"},
    "threads": {"type": int, "help": "of PyTorch; by default its own choice"},
    "device": {"choices": ("cpu", "cuda"), "help": "by default the GPU if there is one"},
    "rounds": {"type": int, "default": 7, "help": "how often each call is timed, after once to warm up (%(default)s)"},
}
"""What several scripts ask for, in the same words."""


def parser(about: str, results: str, *names: str, **defaults) -> argparse.ArgumentParser:
    """A script's command line, to which it adds its own arguments.

    Args:
        about: the script's docstring.
        results: name of its results, `results/<name>.json`, where `--out` says no other.
        names: which of `ARGUMENTS` it takes.
        defaults: other values of theirs than usual.
    """
    found = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in names:
        found.add_argument(f"--{name}", **ARGUMENTS[name])
    found.add_argument("--out", type=Path, default=RESULTS / f"{results}.json", help="where the results go")
    if "data" in names:
        found.set_defaults(data=os.environ.get("DERAIN_DATA") or None)
    found.set_defaults(**defaults)
    return found


def parse(given: argparse.ArgumentParser, arguments: Sequence[str] | None, needs: str = "") -> argparse.Namespace:
    """The command line, checked. What a GPU did goes into a file of its own, unless `--out` names one.

    Args:
        given: what `parser` made.
        arguments: the words; None for those of this process.
        needs: what the folder of `--data` must hold, if the script cannot do without.
    """
    options = given.parse_args(arguments)
    if "device" in options and _device(options) == "cuda" and options.out == given.get_default("out"):
        options.out = options.out.with_stem(f"{options.out.stem}_gpu")
    if needs and options.data is None:
        given.error(f"--data (or DERAIN_DATA) must name the folder that holds {needs}")
    return options


def command(main: Callable[[Sequence[str] | None], object]) -> Callable[[Sequence[str] | None], int]:
    """A script's `main`, from the words to the exit status: what the user can mend is told in one line."""

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        try:
            return int(main(arguments) or 0)
        except DerainError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return run


# --- the machine ----------------------------------------------------------------------------------------------------


def machine(device: str | None = None) -> dict:
    """Where and with what something is measured, as results hold it under "machine".

    Args:
        device: "cpu" or "cuda"; by default the GPU if there is one.
    """
    import torch

    on_gpu = torch.cuda.is_available() and device != "cpu"
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def _cpu() -> str:
    """The processor's name, as far as the system tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def use(options: argparse.Namespace) -> str:
    """Sets PyTorch's threads where `--threads` does, and gives the device to work on."""
    import torch

    if getattr(options, "threads", None):
        torch.set_num_threads(options.threads)
    return _device(options)


def _device(options: argparse.Namespace) -> str:
    import torch

    return getattr(options, "device", None) or ("cuda" if torch.cuda.is_available() else "cpu")


# --- the clock ------------------------------------------------------------------------------------------------------


class Stopwatch:
    """What a whole work takes, in seconds: `with Stopwatch() as took: …`, then `took.wall`, `took.processor`."""

    def __enter__(self):
        synchronise()
        self.wall, self.processor = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_):
        synchronise()
        self.wall, self.processor = self.wall + time.perf_counter(), self.processor + time.process_time()


def synchronise():
    """Waits for the GPU, if there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def now() -> float:
    """Seconds; of one thread the processor's, which other work on the machine disturbs less than those of the clock."""
    import torch

    synchronise()
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    return time.process_time() if alone else time.perf_counter()


def take_turns(calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """The seconds of each call in each round; rounds that warm up are left out."""
    times = {name: [] for name in calls}
    for turn in range(-warm_up, rounds):
        for name, call in calls.items():
            began = now()
            call()
            if turn >= 0:
                times[name].append(now() - began)
    return times


def timing(times: Sequence[float]) -> dict[str, float]:
    """What results say of a call: the median and the spread of its rounds."""
    import numpy as np

    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    return {"seconds": rounded(median, 4), "spread": rounded((high - low) / median, 2)}


def rounded(value: float, digits: int = 3) -> float:
    """A number with so many digits that count."""
    return float(f"{value:.{digits}g}")


def flops(call: Callable[[], object]) -> int:
    """Multiplications and additions of a call's convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def peak(dtype, device: str, shape: tuple[int, int, int], rounds: int, backward: bool = False) -> float:
    """The machine's peak in practice: GFLOP/s of the quickest 3x3 convolution found, in its quickest round.

    Args:
        dtype, device: see torch.
        shape: images, height and width.
        rounds: how often each convolution is tried.
        backward: whether its gradients are computed too.
    """
    import torch

    best, (images, *size) = 0.0, shape
    for inputs, outputs in PEAK_SHAPES:
        x = torch.randn(images, inputs, *size, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(outputs, inputs, 3, 3, device=device, dtype=dtype)
        call = functools.partial(torch.conv2d, x, weight, padding=1)
        call = _with_gradients(call, x, weight) if backward else call
        best = max(best, flops(call) / min(take_turns({"": call}, rounds)[""]) / 1e9)
    return best


def _with_gradients(call: Callable, *leaves) -> Callable:
    """The call, and its backward pass to the leaves."""
    import torch

    for leaf in leaves:
        leaf.requires_grad_()
    ones = torch.ones_like(call())
    return lambda: torch.autograd.grad(call(), leaves, ones)


# --- results --------------------------------------------------------------------------------------------------------


def known(path: Path) -> dict:
    """The results that a file holds already; none if there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, results: dict | str):
    """Writes results, or their JSON, whole or not at all, and tells where."""
    text = results if isinstance(results, str) else json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, text.encode())
    print(f"results: {path}")
