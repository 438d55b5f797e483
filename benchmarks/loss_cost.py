"""What does a loss cost in a training step: MENET's edges and textures, and the VGG of its Table IV?

    python benchmarks/loss_cost.py
    python benchmarks/loss_cost.py --patch 224 --batch 4 --rounds 10

The paper says that a VGG "requires more physical resources (more than twice as much as the edge-aware loss network)".
A step is the forward pass of MENET's network without attention, the losses, the backward pass and Adam. Each row has a
network of its own and takes a step in each round; beside its seconds stands what it adds to those of L_p alone, and
what autograd keeps of it for the way back. The VGG is VGG16 up to relu3_3 with weights drawn at random, which cost what
trained ones do. The results go to benchmarks/results/loss_cost.json.
"""

import statistics
import sys
from collections.abc import Sequence

import common
import torch
from balance_cost import step

from derainlib import recipes
from derainlib.layers import Pair

ROWS = {
    "L_p": "menet/MSE",
    "L_p L_e": "menet/edge-fixed",
    "L_p L_e L_t": "menet/texture-LB",
    "L_p VGG16": "menet/VGG16-untrained",
}
"""Losses, and the recipe that has them."""
BARE = "L_p"


def kept(run) -> int:
    """Bytes that autograd keeps for the backward pass in a step, each storage once."""
    sizes = {}

    def keep(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(sizes.values())


def measure(chosen: dict[str, recipes.Recipe], rounds: int, device: str) -> dict:
    """Seconds and bytes of a step of each recipe, and what it adds to the bare one."""
    recipe = chosen[BARE]
    images = torch.rand(2, recipe.batch, 3, recipe.patch, recipe.patch, generator=torch.Generator().manual_seed(0))
    pair = Pair(*(image.to(device).contiguous(memory_format=torch.channels_last) for image in images))
    steps = {name: step(recipe, "fixed", pair) for name, recipe in chosen.items()}
    sizes = {name: kept(run) for name, run in steps.items()}
    times = common.take_turns(steps, rounds)
    found = {}
    for name, own in times.items():
        added = statistics.median(a - b for a, b in zip(own, times[BARE], strict=True))
        found[name] = common.timing(own) | {
            "added seconds": round(added, 5),
            "kept MB": round(sizes[name] / 1e6, 1),
            "added MB": round((sizes[name] - sizes[BARE]) / 1e6, 1),
        }
    return found


def parser():
    """The command line."""
    found = common.parser(__doc__, "loss_cost", "rounds", "threads", "device", rounds=30, threads=1)
    found.add_argument("--patch", type=int, default=64)
    found.add_argument("--batch", type=int, default=8)
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, writes, prints."""
    options = common.parse(parser(), arguments)
    device = common.use(options)
    sizes = {"patch": options.patch, "batch": options.batch, "precision": "no"}
    found = measure({row: recipes.get(name, "quick", **sizes) for row, name in ROWS.items()}, options.rounds, device)
    facts = {"machine": common.machine(device), "rounds": options.rounds} | sizes
    common.write(options.out, facts | {"recipes": ROWS, "losses": found})
    for name, row in found.items():
        seconds, added = (1000 * row[key] for key in ("seconds", "added seconds"))
        print(f"{name:14} {seconds:7.1f} ms  {added:+7.1f}  {row['kept MB']:7.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
