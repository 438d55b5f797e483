"""How long does a 24-megapixel photograph take, and how much memory? From file to file, in a process of its own.

    python benchmarks/large_photo.py [--model srn] [--dtype fp32] [--width 6000] [--height 4000] [--threads 2]

The photograph is scikit-image's astronaut, mirrored again and again. The network is untrained, with the paper's T = 6:
time and memory do not depend on its weights. Memory is the largest that the whole process ever held, with Python, torch
and the files' decoding; more than 3 GB is a failure. Results go to benchmarks/results/large_photo.json, one entry for
each model and precision.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "large_photo.json"
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


def measure(source: Path, target: Path, model: str, dtype: str, threads: int) -> dict:
    """Takes the rain off a file; returns what it took. Nothing else may have happened in this process."""
    import torch

    from derainlib import images, inference, models

    torch.set_num_threads(threads)
    network = models.create(model)
    wall, processor = time.perf_counter(), time.process_time()
    rainy = images.read(source)[None]
    images.write(inference.clean(network, rainy, dtype=dtype, device="cpu", progress=True), target)
    windows = inference.plan(network, *rainy.shape[-2:], None, inference.WINDOW_PIXELS)
    return {
        "megapixels": rainy[0, 0].numel() / 1e6,
        "stages": network.stages,
        "windows": len(windows),
        "window_pixels": windows[0].pixels,
        "wall_s": round(time.perf_counter() - wall, 1),
        "processor_s": round(time.process_time() - processor, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="srn", help="name of the network (default srn)")
    parser.add_argument("--dtype", default="fp32", help="fp32 or bf16 (default fp32)")
    parser.add_argument("--width", type=int, default=6000, help="pixels (default 6000)")
    parser.add_argument("--height", type=int, default=4000, help="pixels (default 4000)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--step", choices=("draw", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step == "draw":
        draw(args.folder / "rainy.png", args.width, args.height)
    elif args.step == "measure":
        files = args.folder / "rainy.png", args.folder / "dry.png"
        print(json.dumps(measure(*files, args.model, args.dtype, args.threads)))
    else:
        return report(args)
    return 0


def report(args: argparse.Namespace) -> int:
    """Runs both steps, each in a process of its own; this one stays small, for a child inherits its parent's peak."""
    with tempfile.TemporaryDirectory() as folder:
        again = [sys.executable, __file__, *sys.argv[1:], "--folder", folder, "--step"]
        subprocess.run([*again, "draw"], check=True)
        found = json.loads(subprocess.run([*again, "measure"], check=True, stdout=subprocess.PIPE).stdout)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known | {f"{args.model} {args.dtype}": found}, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    if found["peak_gb"] < LIMIT:
        return 0
    print(f"needed {found['peak_gb']} GB, more than {LIMIT} GB", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
