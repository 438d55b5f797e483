"""Cleans every real rainy photograph: what can be counted where there is no truth to score against.

    python benchmarks/real_photographs.py FOLDER --data DIR [--model srn]

DIR holds real/. Counted is how many files were cleaned, how long a megapixel took, and how much light went; look at the
pictures in FOLDER for the rest. The figures go to benchmarks/results/real_photographs.json.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import common

from derainlib import images
from derainlib.inference import DTYPES, derain_folder


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "real_photographs", "data", "threads")
    found.add_argument("folder", type=Path, help="where the cleaned photographs go")
    found.add_argument("--model", default="srn")
    found.add_argument("--dtype", default="bf16", choices=DTYPES)
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Cleans, counts, writes."""
    options = common.parse(parser(), arguments, needs="real/")
    common.use(options)
    source = options.data / "real"
    with common.Stopwatch() as took:
        report = derain_folder(source, options.folder, options.model, dtype=options.dtype, progress=True)
    pixels, light = 0, []
    for path in report.written:
        after, before = images.read(path), images.read(next(source.glob(f"{path.stem}.*")))
        pixels += after[0].numel()
        light.append((before - after).mean().item())
    figures = {
        "machine": common.machine(),
        "model": options.model,
        "dtype": options.dtype,
        "cleaned": len(report.written),
        "failed": len(report.failed),
        "megapixels": round(pixels / 1e6, 1),
        "seconds per megapixel": round(took.wall / (pixels / 1e6), 2),
        "mean light taken away": round(statistics.fmean(light), 4),
    }
    common.write(options.out, figures)
    print(report, figures, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
