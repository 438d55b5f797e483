"""Scores networks on the hold-out and on Rain100L, beside the rainy input: the numbers of cards and README.

    python benchmarks/score.py --data DIR                          # all shipped weights on all sets
    python benchmarks/score.py srn runs/a/best.safetensors         # these weights, on what needs no data
    python benchmarks/score.py net_latest.pth:model=brn,stages=8 --sets rain100l --data DIR

With --ensemble, the table and the file call the networks `srn (ensemble)` …: four times the work is another method,
and the cards keep what the weights do in one pass.

Weights are named by shipped name or file, followed, after a colon, by options of the network; a .pth file of
the authors is converted first. The table goes to the screen and every image's scores to
benchmarks/results/scores.json, beside those of other networks and sets that are there.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import common
from torch import nn

from derainlib import evaluation, files
from derainlib.errors import WeightsError
from derainlib.inference import DTYPES
from derainlib.models import VARIANTS, weights

NEEDS_NO_DATA = [name for name in evaluation.DATASETS if name.startswith("skimage-")]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "scores", "data", "limit", "device")
    found.add_argument("weights", nargs="*", help="shipped names or files; by default everything shipped")
    found.add_argument(
        "--sets", nargs="+", choices=evaluation.DATASETS, metavar="SET", help=", ".join(evaluation.DATASETS)
    )
    found.add_argument(
        "--scores", nargs="+", default=[*evaluation.SCORES, "psnr_rgb8"], help="ssim_y8 … (derainlib.metrics)"
    )
    found.add_argument("--dtype", choices=DTYPES, default="fp32")
    found.add_argument("--tile", type=int, help="side of the tiles in pixels")
    found.add_argument("--ensemble", action="store_true", help="mean over four mirrored copies")
    found.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    found.add_argument("--update-cards", action="store_true", help="write the means into the cards of shipped weights")
    return found


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    chosen = common.parse(command_line := parser(), arguments)
    chosen.weights = chosen.weights or [name for name in weights.shipped() if weights.card(name)["model"] in VARIANTS]
    chosen.sets = chosen.sets or (list(evaluation.DATASETS) if chosen.data else NEEDS_NO_DATA)
    if chosen.update_cards and (chosen.limit or chosen.dtype != "fp32" or chosen.ensemble):
        command_line.error("--update-cards wants whole sets in fp32, without --limit and --ensemble")
    return chosen


def load(text: str) -> nn.Module:
    """A network from `name_or_path[:option=value,…]`.

    Raises:
        WeightsError: no such weights, or an option that is not written as name=value.
    """
    path, options = split(text)
    given = dict(_option(text, option) for option in options.split(",") if option)
    return weights.convert(path, **given) if path.endswith(".pth") else weights.load(path, **given)


def label(text: str) -> str:
    """What tables call a network: runs/a/best.safetensors:stages=8 is a/best:stages=8."""
    path, options = split(text)
    is_file = Path(path).suffix in (".pth", ".safetensors")
    short = "/".join(Path(path).with_suffix("").parts[-2:]) if is_file else path
    return f"{short}:{options}" if options else short


def split(text: str) -> tuple[str, str]:
    """Name or path, and the options after its colon; a colon within a path is none."""
    path, _, options = text.rpartition(":")
    return (path, options) if path and "=" in options else (text, "")


def _option(text: str, option: str) -> tuple[str, object]:
    name, equals, value = option.partition("=")
    if not equals:
        raise WeightsError(f"{text}: options are written name=value, not {option!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def update_cards(results: list[evaluation.Scores]) -> None:
    """Writes the scores of shipped weights into their cards; other sets' scores in a card stay."""
    for name in dict.fromkeys(r.model for r in results if r.model in weights.shipped()):
        card = weights.card(name)
        card["scores"] = card.get("scores", {}) | {r.dataset: r.card() for r in results if r.model == name}
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        files.write_atomically(weights.FOLDER / f"{name}.json", text.encode())


def others(path: Path, results: list[evaluation.Scores]) -> list[evaluation.Scores]:
    """What the file holds already of networks and sets that were not scored now."""
    scored = {(r.model, r.dataset) for r in results}
    found = evaluation.from_json(path.read_text()) if path.exists() else []
    return [r for r in found if (r.model, r.dataset) not in scored]


@common.command
def main(arguments: Sequence[str] | None = None):
    """Scores, prints, writes."""
    options = parse(arguments)
    method = " (ensemble)" if options.ensemble else ""
    networks = {label(text) + method: load(text) for text in options.weights}
    if not networks:
        raise WeightsError("no weights are shipped, and none were named")
    if len(networks) < len(options.weights):
        raise WeightsError(f"two of these networks share a name in the table: {', '.join(options.weights)}")
    results = evaluation.compare(
        networks,
        {name: evaluation.dataset(name, options.data) for name in options.sets},
        options.scores,
        limit=options.limit,
        tile=options.tile,
        device=options.device,
        dtype=options.dtype,
        ensemble=options.ensemble,
        progress=sys.stderr.isatty(),
    )
    if options.update_cards:
        update_cards(results)
    print(evaluation.table(results, "markdown" if options.markdown else "text"))
    results = others(options.out, results) + results
    common.write(options.out, evaluation.to_json(results, machine=common.machine(options.device), dtype=options.dtype))


if __name__ == "__main__":
    sys.exit(main())
