"""What does λ do? Small networks, trained with several weights of a second loss beside L1, with three seeds each.

    python benchmarks/loss_sweep.py --threads 1

The sums and their values of λ stand in `derainlib.lab.sweep`: a share of 1 − SSIM, and MENET's edge loss. Each network
is SRN at the size of `contest.SMALL`, trained on three of scikit-image's photographs in heavy rain drawn anew, and
scored on two scenes that none has seen: their PSNR and SSIM, and the PSNR of the scenes *without* rain, which a network
should leave alone. The weights of each λ's first seed go to notebooks/weights, in half precision; the results to
benchmarks/results/loss_sweep.json. What is there already, at as many steps and seeds, is not trained again.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common
import torch
from torch import nn

from derainlib import metrics
from derainlib.data.synthetic import Sources
from derainlib.lab import miniature, sweep
from derainlib.layers import Pair
from derainlib.models import weights
from derainlib.recipe import Recipe
from derainlib.training import train

TESTED = ("street", "rocket")
"""The scenes that no network is trained on."""

LEARNED = tuple(name for name in miniature.SCENES if name not in TESTED)
SETTINGS = {"batch": 3, "patch": 48, "rain": "heavy", "lr": 3e-3, "schedule": "cosine", "checkpoint_every": 10**6}


def sources() -> Sources:
    """What the networks are trained on."""
    photographs = [miniature.clean(name)[0] for name in LEARNED]
    return Sources(photographs, (), f"scikit-image's {', '.join(LEARNED)} in heavy drawn rain")


def trained(recipe: Recipe, found: Sources) -> tuple[nn.Module, dict]:
    """A network and its card."""
    with tempfile.TemporaryDirectory() as folder:
        last = train(recipe, found, folder, workers=0).last
        return weights.load(last), weights.card(last)


def scores(network: nn.Module, scenes: Sequence[Pair]) -> dict[str, float]:
    """What `sweep.MEASURES` names, in the mean over the scenes."""
    with torch.inference_mode():
        both = [(network(pair.rainy).background, network(pair.clean).background, pair.clean) for pair in scenes]
    rows = [
        (metrics.psnr(wet, clean, "rgb").item(), metrics.ssim(wet, clean, "y").item(), metrics.psnr(dry, clean).item())
        for wet, dry, clean in both
    ]
    return dict(zip(sweep.MEASURES, map(statistics.mean, zip(*rows, strict=True)), strict=True))


def told(by_seed: Sequence[dict[str, float]]) -> dict[str, dict]:
    """Of each measure the mean, and every seed's."""
    rows = {measure: [round(one[measure], 4) for one in by_seed] for measure in sweep.MEASURES}
    return {measure: {"mean": round(statistics.mean(row), 4), "by_seed": row} for measure, row in rows.items()}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "loss_sweep", "threads")
    found.add_argument("--steps", type=int, default=400, help="of each training (%(default)s)")
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    found.add_argument("--weights", type=Path, default=sweep.FOLDER, help="where the networks go")
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Trains, scores, writes."""
    options = common.parse(parser(), arguments)
    common.use(options)
    found, scenes = sources(), [miniature.shower(name, "heavy") for name in TESTED]
    rainy = {"psnr": [metrics.psnr(pair.rainy, pair.clean, "rgb").item() for pair in scenes]}
    rainy["ssim"] = [metrics.ssim(pair.rainy, pair.clean, "y").item() for pair in scenes]
    means = {measure: round(statistics.mean(row), 4) for measure, row in rainy.items()}
    facts = {"steps": options.steps, "seeds": options.seeds, "learned": [*LEARNED], "tested": [*TESTED]}
    before = common.known(options.out)
    sums = before["sums"] if facts.items() <= before.items() else {name: {} for name in sweep.SUMS}
    for name, (_, values, _) in sweep.SUMS.items():
        for value in values:
            key, path = f"{value:g}", options.weights / sweep.file(name, value).name
            alone = None if value else next((rows["0"] for rows in sums.values() if "0" in rows), None)
            if key not in sums[name]:  # without the second loss, both sums are one training
                sums[name][key] = alone or told(_runs(name, value, options, found, scenes, path))
                print(f"{name}, λ = {key}:", {measure: row["by_seed"] for measure, row in sums[name][key].items()})
                common.write(options.out, {"machine": common.machine("cpu")} | facts | {"rainy": means, "sums": sums})


def _runs(name: str, value: float, options, found: Sources, scenes: Sequence[Pair], file: Path) -> list[dict]:
    """The scores of each seed's network; the first one is kept."""
    by_seed = []
    for seed in options.seeds:
        how = SETTINGS | {"steps": options.steps, "validate_every": options.steps}
        network, card = trained(sweep.recipe(name, value, seed, **how), found)
        by_seed.append(scores(network, scenes))
        if seed == options.seeds[0]:
            weights.save(network.half(), file, card)
    return by_seed


if __name__ == "__main__":
    sys.exit(main())
