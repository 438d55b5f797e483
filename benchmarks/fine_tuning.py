"""What does fine-tuning on fifty pairs of one's own bring, and what is forgotten? README's command, tried.

    python benchmarks/fine_tuning.py --data DIR                  # menet and qsnet, 500 steps
    python benchmarks/fine_tuning.py --networks srn --steps 2000 --data DIR

Every other pair of Rain100L stands for somebody's own; the rest of it judges, and two hold-outs tell what of other rain
is forgotten. Weights that saw half of a test set are no candidates for its table: they are scored here and thrown away.
Batch normalisation keeps its statistics; a network that has it is trained once more with statistics that move.
The results go to benchmarks/results/fine_tuning.json.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import common
from torch import nn

from derainlib import cli, evaluation
from derainlib.errors import DerainError
from derainlib.layers import Pair
from derainlib.models import weights

OWN = "rain100l, the other half"
SETS = ("holdout-light", "holdout-heavy")
SCORES = ("psnr_rgb", "psnr_y", "ssim_y")


def words(name: str, out: Path, own: Path, listed: Path, options: argparse.Namespace, *, frozen: bool) -> list[str]:
    """README's command line."""
    data = ["--start", name, "--pairs-dir", str(own), "--pairs-list", str(listed), "--steps", str(options.steps)]
    how = [f"lr={options.rate}", "schedule=cosine", "ema=0.99", f"frozen_statistics={json.dumps(frozen)}"]
    return ["train", name, str(out), *data, "--set", *how]


def measure(name: str, sets: Mapping[str, Sequence[Pair]], line: list[str], limit: int | None) -> dict:
    """Trains as the words say, into a folder that they name third; scores before and after.

    Raises:
        DerainError: the training failed.
    """
    if cli.main(line):
        raise DerainError(f"{name} could not be trained")
    last = Path(line[2]) / "last.safetensors"
    networks = {"before": weights.load(name), "after": weights.load(last)}
    found = evaluation.compare(networks, sets, SCORES, limit=limit)
    scores = {one: {} for one in sets}
    for one in found:
        means = {score: common.rounded(one.summary(score).mean, 5) for score in SCORES}
        rainy = {score: common.rounded(one.summary(score).rainy, 5) for score in SCORES}
        scores[one.dataset] |= {"rainy input": rainy, one.model: means}
    card = weights.card(last)
    return {"steps": card["steps"], "seconds": card["wall_seconds"], "sets": scores}


def ways(name: str) -> dict[str, bool]:
    """How a network is trained, and whether its statistics are frozen then."""
    normalised = any(isinstance(layer, nn.BatchNorm2d) for layer in weights.load(name).modules())
    return {name: True} | ({f"{name}, moving statistics": False} if normalised else {})


def table(results: Mapping) -> str:
    """The results as text."""
    rows = [["network", "s", "set", "rainy", "before", "after"]]
    for name, found in results["networks"].items():
        for one, scores in found["sets"].items():
            cells = [f"{scores[which]['psnr_rgb']:.2f}" for which in ("rainy input", "before", "after")]
            rows.append([name, str(found["seconds"]), one, *cells])
    return evaluation.aligned(rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "fine_tuning", "data", "limit", "threads")
    found.add_argument("--networks", nargs="+", default=["menet", "qsnet"], choices=weights.shipped(), metavar="NAME")
    found.add_argument("--steps", type=int, default=500, help="of each training (%(default)s)")
    found.add_argument("--rate", type=float, default=2e-4, help="the rate that it begins with (%(default)s)")
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Trains, scores, writes and prints."""
    options = common.parse(parser(), arguments, needs="rain100l/, bsds500/ and splits/")
    common.use(options)
    own = evaluation.dataset("rain100l", options.data)
    sets = {OWN: own[1::2]} | {name: evaluation.dataset(name, options.data) for name in SETS}
    results = {
        "machine": common.machine("cpu"),
        "rate": options.rate,
        "pairs": len(own[::2]),
        "networks": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "own.txt"
        listed.write_text("".join(f"{name}\n" for name in own[::2].names))
        for name in options.networks:
            for title, frozen in ways(name).items():
                line = words(name, Path(folder) / title, options.data / "rain100l", listed, options, frozen=frozen)
                results["networks"][title] = measure(name, sets, line, options.limit)
    common.write(options.out, results)
    print(table(results))


if __name__ == "__main__":
    sys.exit(main())
