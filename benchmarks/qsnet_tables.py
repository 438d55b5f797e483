"""QSNet's Tables 3, 4 and 5 with our weights: what each scale decodes, and what losses and sharing are worth.

    python benchmarks/qsnet_tables.py --data DIR

Table 3 scores the image decoded from each of C_1 … C_5 beside the result from all scales, of V4, which was trained with
Eq. 13 alone, and of the shipped QSNet, whose last steps were not. Tables 4 and 5 compare weights trained for equal
steps from equal seeds, image by image: the 95 % bootstrap interval is of the mean difference over the images of a set,
and knows nothing of other seeds. The results go to benchmarks/results/qsnet_tables.json.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence

import common
from torch import Tensor, nn

from derainlib import evaluation
from derainlib.layers import Layers
from derainlib.models import weights

SETS = ["holdout-light", "holdout-heavy", "rain100l"]
DECODED = ("qsnet-v4", "qsnet")
"""Networks of Table 3."""
COMPARED = {"Table 4": ("qsnet-v4", "qsnet-v1"), "Table 5": ("qsnet-v4", "qsnet-no-sharing")}


class OneScale(nn.Module):
    """What a QSNet decodes from C_i alone, as a network of its own."""

    def __init__(self, model: nn.Module, scale: int):
        super().__init__()
        self.model, self.scale = model, scale
        self.halo, self.stride, self.global_statistics = model.halo, model.stride, model.global_statistics

    def forward(self, rainy: Tensor) -> Layers:
        background = self.model(rainy, keep=True).extras[f"decoded_{self.scale}"]
        return Layers(background, rainy - background)


def difference(ours: evaluation.Scores, theirs: evaluation.Scores, score: str) -> dict[str, float]:
    """Mean over images of the difference of a score, and its 95 % interval."""
    found = evaluation.difference(ours.values(score), theirs.values(score))
    return {name: round(value, 4) for name, value in found.items()}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "qsnet_tables", "data", "limit")
    found.add_argument("--sets", nargs="+", default=SETS, choices=evaluation.DATASETS, metavar="SET")
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Scores, prints, writes."""
    options = common.parse(parser(), arguments)
    networks = {name: weights.load(name) for name in dict.fromkeys((*DECODED, *itertools.chain(*COMPARED.values())))}
    scales = {f"{name} C{i}": OneScale(networks[name], i) for name in DECODED for i in range(1, 6)}
    sets = {name: evaluation.dataset(name, options.data) for name in options.sets}
    found = evaluation.compare(networks | scales, sets, limit=options.limit, progress=sys.stderr.isatty())
    print(evaluation.table(found))
    of = {(scores.dataset, scores.model): scores for scores in found}
    told = {name: {key: weights.card(name)[key] for key in ("steps", "sha256")} for name in networks}
    results = {"machine": common.machine(), "weights": told}
    results["Table 3"] = {
        network: {
            name: {f"C{i}": of[name, f"{network} C{i}"].card() for i in range(1, 6)}
            | {"all scales": of[name, network].card()}
            for name in sets
        }
        for network in DECODED
    }
    for table, (ours, theirs) in COMPARED.items():
        results[table] = {"difference": f"{ours} - {theirs}"} | {
            name: {s: difference(of[name, ours], of[name, theirs], s) for s in evaluation.SCORES} for name in sets
        }
        print(table, json.dumps(results[table], indent=1))
    common.write(options.out, results)


if __name__ == "__main__":
    sys.exit(main())
