"""How long does a 24-megapixel photograph take, and how much memory? From file to file, in a process of its own.

    python benchmarks/large_photo.py [--model srn] [--dtype fp32] [--width 6000] [--height 4000] [--threads 2]

The photograph is scikit-image's astronaut, mirrored again and again. The network is untrained, with the paper's T = 6:
time and memory do not depend on its weights. Memory is the largest that the whole process ever held, with Python, torch
and the files' decoding; more than 3 GB is a failure. Results go to benchmarks/results/large_photo.json, one entry for
each model and precision.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common

LIMIT = 3.0
"""Gigabytes that the process may need."""


def draw(path: Path, width: int, height: int):
    """Writes a photograph of any size."""
    import numpy as np
    import skimage
    from PIL import Image

    corner = skimage.data.astronaut()
    field = np.pad(corner, ((0, height - len(corner)), (0, width - len(corner)), (0, 0)), mode="symmetric")
    Image.fromarray(field).save(path, compress_level=1)


def measure(source: Path, target: Path, model: str, dtype: str) -> dict:
    """Takes the rain off a file; returns what it took. Nothing else may have happened in this process."""
    from derainlib import images, inference, models

    network = models.create(model)
    with common.Stopwatch() as took:
        rainy = images.read(source)[None]
        images.write(inference.clean(network, rainy, dtype=dtype, device="cpu", progress=True), target)
    windows = inference.plan(network, *rainy.shape[-2:], None, inference.WINDOW_PIXELS)
    return {
        "megapixels": rainy[0, 0].numel() / 1e6,
        "stages": network.stages,
        "windows": len(windows),
        "window_pixels": windows[0].pixels,
        "wall_s": round(took.wall, 1),
        "processor_s": round(took.processor, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "machine": common.machine("cpu"),
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "large_photo", "threads", threads=2)
    found.add_argument("--model", default="srn", help="name of the network (%(default)s)")
    found.add_argument("--dtype", default="fp32", help="fp32 or bf16 (%(default)s)")
    found.add_argument("--width", type=int, default=6000, help="pixels (%(default)s)")
    found.add_argument("--height", type=int, default=4000, help="pixels (%(default)s)")
    found.add_argument("--step", choices=("draw", "measure"), help=argparse.SUPPRESS)
    found.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return found


@common.command
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both steps, each in a process of its own; this one stays small, for a child inherits its parent's peak."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = common.parse(parser(), arguments)
    if options.step:
        return step(options)
    with tempfile.TemporaryDirectory() as folder:
        again = [sys.executable, __file__, *arguments, "--folder", folder, "--step"]
        subprocess.run([*again, "draw"], check=True)
        found = json.loads(subprocess.run([*again, "measure"], check=True, stdout=subprocess.PIPE).stdout)
    common.write(options.out, common.known(options.out) | {f"{options.model} {options.dtype}": found})
    print(json.dumps(found, indent=1))
    if found["peak_gb"] < LIMIT:
        return 0
    print(f"needed {found['peak_gb']} GB, more than {LIMIT} GB", file=sys.stderr)
    return 1


def step(options: argparse.Namespace) -> int:
    """What a process of its own does."""
    rainy, dry = options.folder / "rainy.png", options.folder / "dry.png"
    if options.step == "draw":
        draw(rainy, options.width, options.height)
    else:
        common.use(options)
        print(json.dumps(measure(rainy, dry, options.model, options.dtype)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
