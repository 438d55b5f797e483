"""Scores the authors' public SRN and BRN weights, through our converter, on Rain100L: do we run their networks?

    python benchmarks/authors_weights.py --data DIR

DIR holds authors/srn_rain100l.pth, authors/brn_rain100l.pth and rain100l/. The scores go to
benchmarks/results/authors_weights.json, under every protocol, over all images and over the first 40. Known from the
authors' own code: over the first 40 pairs, truncated to 8 bits and SSIM without downsampling (here "y-truncated"), SRN
reaches 37.68 dB / 0.980, BRN 38.43 / 0.982 with T = 8 and 37.85 / 0.981 with T = 6. The paper's Table V: 38.16 / 0.982.
"""

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Sequence

import common
import torch

from derainlib import evaluation, inference, metrics
from derainlib.models import weights

FIRST = 40
PROTOCOLS = (
    *metrics.PROTOCOLS.values(),
    metrics.Protocol("y-truncated", "Truncated to 8 bits, float luma, SSIM at full size.", quantise="truncate"),
)
NETWORKS = {
    "SRN T=6": ("srn_rain100l.pth", "srn", 6),
    "BRN T=8": ("brn_rain100l.pth", "brn", 8),
    "BRN T=6": ("brn_rain100l.pth", "brn", 6),
}


def scores(image: torch.Tensor, clean: torch.Tensor) -> dict[str, float]:
    """Every measure under every protocol, by name."""
    measures = {"psnr": metrics.psnr, "ssim": metrics.ssim}
    return {f"{m}_{p.name}": f(image, clean, p).item() for m, f in measures.items() for p in PROTOCOLS}


def mean(records: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each score over images."""
    return {name: round(statistics.fmean(r[name] for r in records), 4) for name in records[0]}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return common.parser(__doc__, "authors_weights", "data", "limit")


@common.command
def main(arguments: Sequence[str] | None = None):
    """Scores, prints, writes."""
    options = common.parse(parser(), arguments, needs="authors/ and rain100l/")
    pairs = evaluation.dataset("rain100l", options.data)
    count = min(len(pairs), options.limit or len(pairs))
    networks = {
        name: weights.convert(options.data / "authors" / file, model, stages=stages)
        for name, (file, model, stages) in NETWORKS.items()
    }
    records = {name: [] for name in ("rainy input", *networks)}
    for i in range(count):
        pair = pairs[i]
        records["rainy input"].append(scores(pair.rainy, pair.clean))
        for name, network in networks.items():
            records[name].append(scores(inference.clean(network, pair.rainy), pair.clean))
        told = {name: evaluation.number("psnr", found[-1]["psnr_y-truncated"]) for name, found in records.items()}
        print(f"{i + 1}/{count}", told, flush=True)
    results = {
        "dataset": "Rain100L, 100 test pairs",
        "precision": "fp32",
        "machine": common.machine(),
        "protocols": {p.name: p.about for p in PROTOCOLS},
        "all": {"images": count, **{name: mean(r) for name, r in records.items()}},
        f"first {FIRST}": {name: mean(r[:FIRST]) for name, r in records.items()},
    }
    common.write(options.out, results)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main())
