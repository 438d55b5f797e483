"""Measures every network on one photograph, side by side: seconds an image, and how many times quicker than BRN.

    python benchmarks/network_speed.py                        # 224² and 512², fp32 and bf16
    python benchmarks/network_speed.py --sizes 512 --networks qsnet brn

All networks run in one process, one after the other in each round. Recurrent networks run T = 6 stages, DCDNet its 12.
"qsnet, plain groups" is QSNet computed as it is written down, with group convolutions and shuffles, and "brn, textbook"
is BRN as it is written down (`textbook.py`); the differences to our forms are measured too. The textbook form pays for
memory that C's allocator returns after each use, as recurrent_speed.py explains; with MALLOC_MMAP_THRESHOLD_=2147483647
MALLOC_TRIM_THRESHOLD_=4294967296 in the environment it does not. The results go to
benchmarks/results/network_speed.json.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence

import common
import torch
from recurrent_speed import photograph
from textbook import PlainGroups, Textbook
from torch import Tensor, nn

from derainlib.errors import WeightsError
from derainlib.models import create, weights

PLAIN, TEXTBOOK = "qsnet, plain groups", "brn, textbook"
NETWORKS = ["qsnet", "qsnet-no-sharing", "phpnet", "menet", "dcdnet", "srn", "brn", TEXTBOOK]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OURS = {PLAIN: "qsnet", TEXTBOOK: "brn"}
"""Forms that are written down plainly, and the networks that they are forms of."""


def network(name: str) -> nn.Module:
    """Trained weights where there are some (errors depend on them, times do not), at the paper's number of stages."""
    if name == TEXTBOOK:
        return Textbook(network("brn"))
    model = create(name).eval()
    stages = {"stages": model.stages} if hasattr(model, "stages") else {}
    with contextlib.suppress(WeightsError):  # DCDNet's weights are of as many stages as they were trained with
        return weights.load(name, **stages)
    return model


def runs(names: Sequence[str], rainy: Tensor, dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    """What is compared: name → a call that gives the background."""
    models = {name: network(name).to(rainy.device) for name in names}
    if "qsnet" in models:
        models[PLAIN] = PlainGroups(models["qsnet"])
    for model in models.values():
        model.to(dtype=dtype, memory_format=torch.channels_last)
    return {name: lambda model=model: model(rainy).background for name, model in models.items()}


def measure(options: argparse.Namespace, device: str, size: int, precision: str) -> dict:
    """All networks on one photograph in one precision."""
    calls = runs(options.networks, photograph(size).to(device), PRECISIONS[precision])
    images = {name: call() for name, call in calls.items()}
    times = {name: common.timing(own) for name, own in common.take_turns(calls, options.rounds).items()}
    rows = {}
    for name, row in times.items():
        for other in ("brn", TEXTBOOK):
            if other in times:
                row[f"times quicker than {other}"] = round(times[other]["seconds"] / row["seconds"], 2)
        if (ours := OURS.get(name)) in images:
            row[f"largest difference to {ours}"] = float(f"{(images[name] - images[ours]).abs().max():.2g}")
        rows[name] = row
        print(f"{size}² {precision} {name:22s} {row}", file=sys.stderr, flush=True)
    return {"size": size, "precision": precision, "networks": rows}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "network_speed", "rounds", "threads", "device")
    found.add_argument("--sizes", nargs="+", type=int, default=[224, 512])
    found.add_argument("--networks", nargs="+", default=NETWORKS)
    return found


@common.command
@torch.inference_mode()
def main(arguments: Sequence[str] | None = None):
    """Measures, prints, writes."""
    options = common.parse(parser(), arguments)
    device = common.use(options)
    measured = [measure(options, device, size, precision) for size in options.sizes for precision in PRECISIONS]
    common.write(options.out, {"machine": common.machine(device), "measured": measured})


if __name__ == "__main__":
    sys.exit(main())
