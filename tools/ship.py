"""Makes trained weights the shipped ones: `python tools/ship.py NAME RUN [RUN …] --data "…" --notes "…"`.

The last weights of the last run are shipped, averaged where its recipe says so. Where a training had several phases,
each starting from the weights of the one before, their runs are named in order: the card lists each phase's recipe,
steps and time, and their sums. A first run that started from the shipped weights of that name goes on with their card.
`--free` says in the licence that no research data set's terms bind the weights, and refuses runs of which that is not
so: photographs of cc0 and drawn rain alone may have trained them, in every phase.
The card's scores come from `benchmarks/score.py --update-cards` afterwards.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from derainlib.models import weights
from derainlib.rain import wants_layers

LICENCE = (
    "The weights carry the code's licence (MIT). The photographs they were trained on are research data sets, "
    "whose terms allow research only: see derainlib.data.catalogue."
)


FREE_LICENCE = (
    "The weights carry the code's licence (MIT). They were trained on CC0 photographs and drawn rain alone, so no "
    "research data set's terms bind them."
)
FREE_NOTE = re.compile(r"\d+ clean photographs of cc0( \([^)]*\))? with \S+ rain|\d+ held back for validation")
"""What each part of a run's note on its data may say where the weights are free."""


def phase(run: Path) -> dict:
    """What a run did: recipe, hardware, steps, the seconds they took, and its curve, validation PSNR over megapixels.

    Where it started from weights, their checksum is told too, if the run has kept it. Of files the recipe has the names
    alone: where they lay is nobody's business.
    """
    recipe = _without_folders(json.loads((run / "recipe.json").read_text()))
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = records[-1]["step"]
    seconds = sum(recipe["batch"] / r["samples_per_second"] for r in records)
    started = run / "start.sha256"
    told = {"start_sha256": started.read_text().strip()} if started.exists() else {}
    told["hardware"] = weights.card(run / "last.safetensors")["hardware"]
    curve = [[megapixels(recipe, r["step"]), r["psnr_rgb"]] for r in records if "psnr_rgb" in r]
    return {"recipe": recipe, **told, "steps": steps, "wall_seconds": round(seconds), "curve": curve}


def megapixels(recipe: dict, steps: int) -> float:
    """What a training saw, in 10⁶ pixels."""
    return round(steps * recipe["batch"] * recipe["patch"] ** 2 / 1e6, 1)


def _without_folders(recipe: dict) -> dict:
    """The recipe with the names of its files of weights: what it starts from, and what its losses judge by."""
    losses = [loss | {"options": {k: _name(v) for k, v in loss["options"].items()}} for loss in recipe["losses"]]
    return recipe | {"start": _name(recipe["start"]), "losses": losses}


def _name(value: object) -> object:
    """A path's last part; shipped names, and what is no text, stay as they are."""
    return Path(value).name if isinstance(value, str) else value


def require_free(name: str, runs: Sequence[Path], phases: Sequence[dict]) -> None:
    """Refuses runs of which not all, nor what they started from, saw CC0 photographs and drawn rain alone.

    Args:
        name: what they are shipped as.
        runs: their folders.
        phases: the `phase` of each.

    Raises:
        SystemExit: rain from files, other data, a loss that judges by a trained network, or a start from weights that
            are not free.
    """
    cards = map(weights.card, weights.shipped())
    free = {card["sha256"] for card in cards if card.get("licence") == FREE_LICENCE}
    for run, done in zip(runs, phases, strict=True):
        last, recipe = run / "last.safetensors", done["recipe"]
        data, judges = weights.card(last)["data"], [loss["term"] for loss in recipe["losses"] if _judges(loss)]
        problems = [part for part in data.split("; ") if not FREE_NOTE.fullmatch(part)]
        problems += [f"{recipe['rain']} rain is laid on from files"] if wants_layers(recipe["rain"]) else []
        problems += [f"{term} judges by a network that was trained on other data" for term in judges]
        if recipe["start"] and done.get("start_sha256") not in free:
            problems += [f"{recipe['start']}, which it started from, is neither shipped as free nor of a run before"]
        if problems:
            raise SystemExit(f"{name} is not free, since of {run}: {'; '.join(problems)}")
        free.add(weights.header(last)["sha256"])


def _judges(loss: dict) -> bool:
    return any(option in loss["options"] for option in ("network", "weights"))


def earlier(name: str, phases: list[dict]) -> list[dict]:
    """The phases of the shipped weights that the first run started from; none if it started from others or anew."""
    if phases[0]["recipe"]["start"] != name:
        return []
    shipped = weights.card(name)
    if phases[0].get("start_sha256", shipped["sha256"]) != shipped["sha256"]:
        raise SystemExit(f"the first run started from other weights than the shipped {name}: name its phases too")
    told = {"hardware": shipped["hardware"]}  # cards of before have it once for all phases
    return [one for one in (told | before for before in shipped["phases"]) if one not in phases]


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the command line, writes weights and card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the name to ship under, as `derainlib.load` takes it")
    parser.add_argument("runs", type=Path, nargs="+", help="the folders of the training's phases, the last one last")
    parser.add_argument("--data", required=True, help="what the network was trained on, in a sentence")
    parser.add_argument("--notes", default="", help="what else a user should know")
    parser.add_argument("--free", action="store_true", help="CC0 photographs and drawn rain alone trained them: check")
    args = parser.parse_args(argv)
    source, phases = args.runs[-1] / "last.safetensors", [phase(run) for run in args.runs]
    if args.free:
        require_free(args.name, args.runs, phases)
    phases = earlier(args.name, phases) + phases
    licence = FREE_LICENCE if args.free else LICENCE
    card = weights.card(source) | {"data": args.data, "licence": licence, "notes": args.notes, "phases": phases}
    card |= {total: sum(one[total] for one in phases) for total in ("steps", "wall_seconds")}
    card["megapixels"] = round(sum(megapixels(one["recipe"], one["steps"]) for one in phases), 1)
    card["hardware"] = ", then ".join(dict.fromkeys(one["hardware"] for one in phases))
    for told in ("recipe", "start_sha256"):  # each phase has its own
        card.pop(told, None)
    weights.save(weights.load(source), weights.FOLDER / f"{args.name}.safetensors", card)
    print(f"{args.name}: {card['steps']} steps in {card['wall_seconds'] / 60:.0f} minutes, trained on {args.data}")


if __name__ == "__main__":
    main()
