"""What do trained networks rely on? Cuts, changed states, silenced channels, more stages, and how far they look.

    python benchmarks/network_surgery.py                             # some ten minutes on one core

Each operation of `derainlib.lab.surgery` is done to the shipped weights, and the loss in PSNR (RGB) measured, in the
mean over sample scenes in heavy drawn rain (operations in light rain, too), parts of 64 x 96 pixels. The results go to
benchmarks/results/network_surgery.json.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Sequence

import common
from scipy.stats import spearmanr
from torch import nn

from derainlib import metrics
from derainlib.lab import insight, miniature, surgery
from derainlib.layers import Pair
from derainlib.models import weights

PART, WINDOW, SEED = (64, 96), 81, 5
"""Of the parts of the scenes in pixels; of those on which receptive fields are seen; of the rain."""

CHANNELS = {
    "qsnet": "encoder.5.expand",
    "dcdnet": "stage.convs.1",
    "srn": "network.blocks.2.first",
    "phpnet": "encoder.input",
    "menet": "blocks.3.first.norm",
}
"""A layer in the midst of a network, whose channels are silenced one by one."""

LATER = 16
"""So many stages are run where a network can go on."""

IDLE = 0.05
"""A channel whose loss costs no more decibels than this, either way, is called idle."""


def operated(network: nn.Module, pairs: Sequence[Pair]) -> dict[str, float]:
    """Operation → what it costs, in dB."""
    whole = [surgery.score(network, pair) for pair in pairs]
    return {
        title: round(statistics.mean(a - surgery.score(patient, pair) for a, pair in zip(whole, pairs, strict=True)), 2)
        for title, operate in surgery.operations(network).items()
        for patient in [operate(network)]
    }


def channels(network: nn.Module, layer: str, pairs: Sequence[Pair]) -> dict[str, float]:
    """What the channels of a layer are worth, one by one and together, and whether scenes agree about it."""
    costs = [surgery.harms(network, layer, pair) for pair in pairs]
    means = [statistics.mean(column) for column in zip(*costs, strict=True)]
    patients = {"silenced": surgery.silenced(network, layer)}
    if network.get_submodule(layer).weight.ndim > 1:  # a norm has no order of its own
        patients["permuted"] = surgery.permuted(network, layer)
    agreement = [float(spearmanr(*two).statistic) for two in itertools.combinations(costs, 2)] or [1.0]
    return {
        "layer": layer,
        "channels": len(means),
        "worst": round(max(means), 2),
        "idle": sum(abs(cost) <= IDLE for cost in means),
        "better without": sum(cost < -IDLE for cost in means),
        "rank correlation of two scenes": round(statistics.mean(agreement), 2),
        **{
            name: round(statistics.mean(surgery.harm(network, one, p) for p in pairs), 2)
            for name, one in patients.items()
        },
    }


def stages(network: nn.Module, pairs: Sequence[Pair]) -> list[float]:
    """PSNR after each stage, past T."""
    return [
        round(statistics.mean(at), 2) for at in zip(*(surgery.beyond(network, p, LATER) for p in pairs), strict=True)
    ]


def fields(name: str, scenes: Sequence[str]) -> dict[str, object]:
    """How far the middle pixel looks, trained and untrained: within which distance 90 % of the gradient lies."""
    pairs = [miniature.shower(scene, "heavy", SEED, (WINDOW, WINDOW)) for scene in scenes]
    trained = weights.load(name)
    stages = {"stages": trained.stages} if hasattr(trained, "stages") else {}
    networks = {"trained": trained, "untrained": miniature.untrained(name, SEED, **stages)}
    networks["untrained, deeper"] = miniature.untrained(name, SEED, **stages, **insight.DEEPER[name])
    found = {
        title: round(statistics.mean(insight.field(network, pair.rainy).radius(0.9) for pair in pairs), 1)
        for title, network in networks.items()
    }
    return {"halo": trained.halo} | found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "network_surgery", "threads")
    found.add_argument("--networks", nargs="+", default=["qsnet", "dcdnet", "srn", "brn", "phpnet", "menet"])
    found.add_argument("--scenes", nargs="+", default=list(miniature.SCENES))
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, prints, writes."""
    options = common.parse(parser(), arguments)
    common.use(options)
    pairs, light = ([miniature.shower(s, style, SEED, PART) for s in options.scenes] for style in ("heavy", "light"))
    rainy = statistics.mean(metrics.psnr(pair.rainy, pair.clean).item() for pair in pairs)
    found = {}
    for name in options.networks:
        network = weights.load(name)
        row = {"psnr": round(statistics.mean(surgery.score(network, pair) for pair in pairs), 2)}
        row |= {"operations": operated(network, pairs), "operations in light rain": operated(network, light)}
        row["field"] = fields(name, options.scenes)
        row |= {"stages": stages(network, pairs)} if name in ("srn", "brn") else {}
        row |= {"channels": channels(network, CHANNELS[name], pairs)} if name in CHANNELS else {}
        found[name] = row
        print(name, row, flush=True)
    facts = {"part": PART, "window": WINDOW, "rain": "heavy", "scenes": options.scenes, "rainy": round(rainy, 2)}
    common.write(options.out, facts | {"networks": found})


if __name__ == "__main__":
    sys.exit(main())
