"""Measures every network on one photograph, side by side: seconds an image, and how many times quicker than BRN.

    python benchmarks/network_speed.py                        # 224² and 512², fp32 and bf16
    python benchmarks/network_speed.py --sizes 512 --networks qsnet brn

All networks run in one process, one after the other in each round; a network's time is its quickest round. Recurrent
networks run T = 6 stages, DCDNet its 12. "qsnet, plain groups" is QSNet computed as it is written down, with group
convolutions and shuffles, and "brn, textbook" is BRN as it is written down (`textbook.py`); the differences to our
forms are measured too. The textbook form pays for memory that C's allocator returns after each use, as
recurrent_speed.py explains; with MALLOC_MMAP_THRESHOLD_=2147483647 MALLOC_TRIM_THRESHOLD_=4294967296 in the
environment it does not. The results go to benchmarks/results/network_speed.json.
"""

import argparse
import contextlib
import copy
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from recurrent_speed import photograph, seconds
from textbook import Textbook
from torch import Tensor, nn

from derainlib import files
from derainlib.errors import WeightsError
from derainlib.layers import Layers
from derainlib.models import create, weights
from derainlib.models.qsnet import GroupConv

RESULTS = Path(__file__).parent / "results" / "network_speed.json"
PLAIN, TEXTBOOK = "qsnet, plain groups", "brn, textbook"
NETWORKS = ["qsnet", "qsnet-no-sharing", "phpnet", "menet", "dcdnet", "srn", "brn", TEXTBOOK]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OURS = {PLAIN: "qsnet", TEXTBOOK: "brn"}
"""Forms that are written down plainly, and the networks that they are forms of."""


def network(name: str) -> nn.Module:
    """Trained weights where there are some (errors depend on them, times do not), at the paper's number of stages."""
    if name == TEXTBOOK:
        return TextbookBRN(network("brn"))
    model = create(name).eval()
    stages = {"stages": model.stages} if hasattr(model, "stages") else {}
    with contextlib.suppress(WeightsError):  # DCDNet's weights are of as many stages as they were trained with
        return weights.load(name, **stages)
    return model


class PlainGroups(nn.Module):
    """QSNet with its group convolutions as they are written down."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model)
        for layer in self.model.modules():
            if isinstance(layer, GroupConv):
                layer.forward = layer.plain

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        return self.model(rainy, keep)


class TextbookBRN(nn.Module):
    """BRN as it is written down, called like every other network."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = Textbook(model)

    def forward(self, rainy: Tensor) -> Layers:
        backgrounds, rains = self.model(rainy.to(next(self.parameters()).dtype))
        return Layers(backgrounds[-1].to(rainy.dtype), rains[-1].to(rainy.dtype))


def runs(options: argparse.Namespace, rainy: Tensor, dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    """What is compared: name → a call that gives the background."""
    models = {name: network(name).to(options.device) for name in options.networks}
    if "qsnet" in models:
        models[PLAIN] = PlainGroups(models["qsnet"])
    for model in models.values():
        model.to(dtype=dtype, memory_format=torch.channels_last)
    return {name: lambda model=model: model(rainy).background for name, model in models.items()}


def measure(options: argparse.Namespace, size: int, precision: str) -> dict:
    """All networks on one photograph in one precision."""
    rainy = photograph(size).to(options.device)
    calls = runs(options, rainy, PRECISIONS[precision])
    images = {name: call() for name, call in calls.items()}
    times = {name: float("inf") for name in calls}
    for _ in range(options.repeat):
        for name, call in calls.items():
            times[name] = min(times[name], seconds(call))
    rows = {}
    for name in calls:
        row = {"seconds": round(times[name], 4)}
        for other in ("brn", TEXTBOOK):
            if other in times:
                row[f"times quicker than {other}"] = round(times[other] / times[name], 2)
        if (ours := OURS.get(name)) in images:
            row[f"largest difference to {ours}"] = float(f"{(images[name] - images[ours]).abs().max():.2g}")
        rows[name] = row
        print(f"{size}² {precision} {name:22s} {row}", file=sys.stderr, flush=True)
    return {"size": size, "precision": precision, "networks": rows}


@torch.inference_mode()
def main(arguments: list[str]) -> int:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[224, 512])
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--repeat", type=int, default=7, help="rounds; the quickest counts")
    parser.add_argument("--threads", type=int, help="of PyTorch; by default its own choice")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    results = {"torch": torch.__version__, "machine": platform.machine(), "threads": torch.get_num_threads()}
    results["device"] = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    results["measured"] = [measure(options, size, precision) for size in options.sizes for precision in PRECISIONS]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(options.out, (json.dumps(results, indent=2) + "\n").encode())
    print(f"results: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
