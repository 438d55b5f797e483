"""Makes trained weights the shipped ones: `python benchmarks/ship.py NAME RUN [RUN …] --data "…" --notes "…"`.

The last weights of the last run are shipped, averaged where its recipe says so. Where a training had several phases,
each starting from the weights of the one before, their runs are named in order: the card lists each phase's recipe,
steps and time, and their sums. A first run that started from the shipped weights of that name goes on with their card.
The card's scores come from `benchmarks/score.py --update-cards` afterwards.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from derainlib.models import weights

LICENCE = (
    "The weights carry the code's licence (MIT). The photographs they were trained on are research data sets, "
    "whose terms allow research only: see derainlib.data.catalogue."
)


def phase(run: Path) -> dict:
    """What a run did: its recipe, its steps, the seconds they took, and its curve, validation PSNR over megapixels.

    Where it started from weights, their checksum is told too, if the run has kept it.
    """
    recipe = json.loads((run / "recipe.json").read_text())
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = records[-1]["step"]
    seconds = sum(recipe["batch"] / r["samples_per_second"] for r in records)
    started = run / "start.sha256"
    told = {"start_sha256": started.read_text().strip()} if started.exists() else {}
    pixels = recipe["batch"] * recipe["patch"] ** 2
    curve = [[round(r["step"] * pixels / 1e6, 1), r["psnr_rgb"]] for r in records if "psnr_rgb" in r]
    return {"recipe": recipe, **told, "steps": steps, "wall_seconds": round(seconds), "curve": curve}


def earlier(name: str, phases: list[dict]) -> list[dict]:
    """The phases of the shipped weights that the first run started from; none if it started from others or anew."""
    if phases[0]["recipe"]["start"] != name:
        return []
    shipped = weights.card(name)
    if phases[0].get("start_sha256", shipped["sha256"]) != shipped["sha256"]:
        raise SystemExit(f"the first run started from other weights than the shipped {name}: name its phases too")
    return [one for one in shipped["phases"] if one not in phases]


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the command line, writes weights and card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the name to ship under, as `derainlib.load` takes it")
    parser.add_argument("runs", type=Path, nargs="+", help="the folders of the training's phases, the last one last")
    parser.add_argument("--data", required=True, help="what the network was trained on, in a sentence")
    parser.add_argument("--notes", default="", help="what else a user should know")
    args = parser.parse_args(argv)
    source, phases = args.runs[-1] / "last.safetensors", [phase(run) for run in args.runs]
    phases = earlier(args.name, phases) + phases
    card = weights.card(source) | {"data": args.data, "licence": LICENCE, "notes": args.notes, "phases": phases}
    card |= {total: sum(one[total] for one in phases) for total in ("steps", "wall_seconds")}
    for told in ("recipe", "start_sha256"):  # each phase has its own
        card.pop(told, None)
    weights.save(weights.load(source), weights.FOLDER / f"{args.name}.safetensors", card)
    print(f"{args.name}: {card['steps']} steps in {card['wall_seconds'] / 60:.0f} minutes, trained on {args.data}")


if __name__ == "__main__":
    main()
