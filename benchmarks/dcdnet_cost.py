"""What do T stages of DCDNet cost in time and memory, and what does activation checkpointing save?

    python benchmarks/dcdnet_cost.py                          # T = 1, 6, 12 at 512²: inference and a training step
    python benchmarks/dcdnet_cost.py --size 64 --stages 1 2 --out small.json

A training step is the forward pass, the loss of Eq. 6 and an L1 on the refined image, the backward pass, and Adam,
on one image. "outer side by side" lays the earlier estimates side by side for each outer 1x1 fusion, as Eq. 2 is
written: what it keeps for the backward pass grows with T². "all side by side" does so in Eq. 3 and 4 too. Ours adds
each map to the later fusions as it appears.

Each row is measured in a process of its own. Memory is the most that the process held above what it held before the
first call, with network and image in place: on a GPU what PyTorch had allocated, on a CPU the resident set. What a
forward pass keeps for the backward pass is also counted, in bytes a pixel, on a small image; with
checkpointing, that of one stage comes on top while it is computed again. Weights are untrained: nothing depends on
them. The results go to benchmarks/results/dcdnet_cost.json.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence

import common

ROWS = {
    "inference": (False, {}),
    "inference, all side by side": (False, {"side_by_side": "all"}),
    "training": (True, {}),
    "training, outer side by side": (True, {"side_by_side": "outer"}),
    "training, all side by side": (True, {"side_by_side": "all"}),
    "training, checkpointed": (True, {"checkpoint": True}),
}
"""What is measured by name: whether it trains, and the network's form."""


class Memory:
    """The largest memory that this process, or its GPU, has held since the object was made, in MB."""

    def __init__(self, device: str):
        import torch

        self.cuda = torch.cuda if device == "cuda" else None
        if self.cuda:
            self.cuda.synchronize()
            self.cuda.reset_peak_memory_stats()
        self.before = self._now()

    def _now(self) -> float:
        if self.cuda:
            return self.cuda.max_memory_allocated() / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

    def peak(self) -> float:
        return self._now() - self.before


def lay_side_by_side(fusion):
    """Makes a `DenseFusion` keep all maps and lay them side by side, newest first."""
    import torch

    def forward(x, maps=()):
        maps = [x, *(maps or ())]
        return (fusion.convs[len(maps) - 2](torch.cat(maps, 1)) if len(maps) > 1 else x), maps

    fusion.forward = forward


def network(stages: int, side_by_side: str = "", checkpoint: bool = False):
    """The network of a row, untrained."""
    from derainlib.models import create

    model = create("dcdnet", stages=stages, checkpoint=checkpoint)
    if side_by_side:
        lay_side_by_side(model.outer)
    if side_by_side == "all":
        lay_side_by_side(model.stage.fusion)
    return model


def kept_per_pixel(model, size: int = 32) -> float:
    """Bytes a pixel of the maps, each counted once, that a forward pass keeps for the backward pass."""
    import torch

    storages = {}

    def note(tensor):
        if tensor.shape[-2:] == (size, size):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _ = model(torch.rand(1, 3, size, size))
    return sum(storage.nbytes() for storage in storages.values()) / size**2


def work(model, size: int, device: str, training: bool):
    """What is measured: a function that cleans a photograph or takes a training step."""
    import torch

    from derainlib.layers import Pair
    from derainlib.losses import L1, MSE, Fixed

    model.to(device, memory_format=torch.channels_last)
    pair = Pair(*torch.rand(2, 1, 3, size, size, device=device))
    loss = Fixed({"mse": MSE(on="rain", stages="all", early=1.0, last=0.0), "l1": L1()}, {"mse": 1.0, "l1": 1.0})
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    @torch.inference_mode()
    def clean():
        model(pair.rainy)

    def step():
        total, _ = loss(model(pair.rainy, keep=True), pair)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step if training else clean


def measure(name: str, stages: int, options: argparse.Namespace) -> dict:
    """One row. Nothing else may have happened in this process."""
    device = common.use(options)
    training, form = ROWS[name]
    model = network(stages, **form)
    kept = round(kept_per_pixel(model)) if training else 0
    work(model, 16, device, training)()  # kernels are loaded before memory is watched
    call = work(model, options.size, device, training)
    memory = Memory(device)
    (times,) = common.take_turns({name: call}, options.rounds).values()
    row = {"stages": stages, "what": name} | common.timing(times) | {"peak_mb": round(memory.peak(), 1)}
    row |= {"kept_bytes_per_pixel": kept} if training else {}
    return {"row": row, "machine": common.machine(device)}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "dcdnet_cost", "rounds", "threads", "device", rounds=3)
    found.add_argument("--stages", nargs="+", type=int, default=[1, 6, 12])
    found.add_argument("--size", type=int, default=512, help="height and width in pixels")
    found.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, prints, writes. A child inherits its parent's peak of memory: the parent stays small, without torch."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = common.parse(parser(), arguments)
    if options.row:
        print(json.dumps(measure(options.row[0], int(options.row[1]), options)))
        return
    rows = []
    for stages in options.stages:
        for name in ROWS:
            again = [sys.executable, __file__, *arguments, "--row", name, str(stages)]
            found = json.loads(subprocess.run(again, check=True, stdout=subprocess.PIPE).stdout)
            rows.append(found["row"])
            print(found["row"], file=sys.stderr, flush=True)
    common.write(options.out, {"machine": found["machine"], "size": options.size, "measured": rows})


if __name__ == "__main__":
    sys.exit(main())
