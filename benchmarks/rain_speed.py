"""How many rainy patches a second? Every preset, 100 x 100 pixels, on the CPU and, where there is one, on the GPU.

    python benchmarks/rain_speed.py [--threads 1] [--batch 16] [--seconds 3] [--streaks streaks]

One thread by default, as in each worker of a data loader: two workers give twice the figures. Besides the wall clock it
reports patches per second of processor time, which other programs on the machine hardly slow down. For comparison it
times a plain 31 x 31 convolution of one channel, the usual way to smear noise into streaks.
Results go to benchmarks/results/rain_speed.json.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import common
import torch

from derainlib.data.synthetic import rain_layers
from derainlib.rain import FROM_FILES, MIXES, PRESETS, add_rain, generator, wants_layers
from derainlib.streaks import Layer


def rates(work: Callable[[int], object], batch: int, seconds: float) -> dict[str, float]:
    """Patches per second of the wall clock and of processor time, calling `work(call)` for a while."""
    work(0)
    calls, end = 0, time.perf_counter() + seconds
    with common.Stopwatch() as took:
        while not calls or time.perf_counter() < end:
            calls += 1
            work(calls)
            common.synchronise()
    done = calls * batch
    return {"per_second": round(done / took.wall), "per_processor_second": round(done / took.processor)}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "rain_speed", "threads", threads=1)
    found.add_argument("--batch", type=int, default=16, help="patches drawn together (%(default)s)")
    found.add_argument("--seconds", type=float, default=3, help="time for each measurement (%(default)s)")
    found.add_argument("--streaks", help="folder of rain layers, for the rain that wants them")
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, prints, writes."""
    options = common.parse(parser(), arguments)
    layers = rain_layers(options.streaks) if options.streaks else []
    names = [name for name in (*PRESETS, *FROM_FILES, *MIXES) if layers or not wants_layers(name)]
    common.use(options)
    result = {"machine": common.machine(), "batch": options.batch, "seconds": options.seconds, "layers": len(layers)}
    result["rates"] = {}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        clean = torch.rand(options.batch, 3, 100, 100, generator=generator(0)).to(device)
        noise, kernel = clean[:, :1], torch.rand(1, 1, 31, 31, generator=generator(1)).to(device)
        work = {name: lambda call, name=name, clean=clean: rain(clean, name, call, layers) for name in names}
        work["31 x 31 convolution"] = lambda call, x=noise, k=kernel: torch.conv2d(x, k, padding=15)
        for name, job in work.items():
            measured = rates(job, options.batch, options.seconds)
            result["rates"].setdefault(device, {})[name] = measured
            print(f"{device:5} {name:20} {measured['per_second']:>8} /s {measured['per_processor_second']:>8} /cpu-s")
    common.write(options.out, result)


def rain(clean: torch.Tensor, style: str, call: int, layers: Sequence[Layer]):
    """A batch of rainy patches with draws of its own."""
    return add_rain(clean, style, [generator(0, call, i) for i in range(len(clean))], layers)


if __name__ == "__main__":
    sys.exit(main())
