"""Cleans every real rainy photograph: `python benchmarks/real_photographs.py --data DIR --out FOLDER [--model srn]`.

DIR holds real/; there is no truth to score against, so this reports what can be counted: how many files were cleaned,
how long a megapixel took, and how much light went. Look at the pictures in FOLDER for the rest. The figures go to
benchmarks/results/real_photographs.json.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from derainlib import files, images
from derainlib.inference import derain_folder

RESULTS = Path(__file__).parent / "results" / "real_photographs.json"


def main() -> None:
    """Reads the command line, cleans, counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("DERAIN_DATA"), help="folder of real/ (DERAIN_DATA)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the cleaned photographs")
    parser.add_argument("--model", default="srn")
    parser.add_argument("--dtype", default="bf16")
    args = parser.parse_args()
    source, began = Path(args.data) / "real", time.monotonic()
    report = derain_folder(source, args.out, args.model, dtype=args.dtype, progress=True)
    seconds = time.monotonic() - began
    pixels, light = 0, []
    for path in report.written:
        after = images.read(path)
        before = images.read(next(source.glob(f"{path.stem}.*")))
        pixels += after[0].numel()
        light.append((before - after).mean().item())
    figures = {
        "model": args.model,
        "dtype": args.dtype,
        "threads": torch.get_num_threads(),
        "cleaned": len(report.written),
        "failed": len(report.failed),
        "megapixels": round(pixels / 1e6, 1),
        "seconds per megapixel": round(seconds / (pixels / 1e6), 2),
        "mean light taken away": round(sum(light) / len(light), 4),
    }
    files.write_atomically(RESULTS, (json.dumps(figures, indent=2) + "\n").encode())
    print(report, figures, sep="\n")


if __name__ == "__main__":
    main()
