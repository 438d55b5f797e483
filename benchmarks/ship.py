"""Makes a run's best weights the shipped ones: `python benchmarks/ship.py RUN NAME --data "…" --notes "…"`.

The card keeps what the run wrote (recipe, steps, hardware, wall time) and says in words what the network was trained
on. Its scores come from `benchmarks/score.py --update-cards` afterwards.
"""

import argparse
from pathlib import Path

from derainlib.models import weights

LICENCE = (
    "The weights carry the code's licence (MIT). The photographs they were trained on are research data sets, "
    "whose terms allow research only: see derainlib.data.catalogue."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a training")
    parser.add_argument("name", help="the name to ship under, as `derainlib.load` takes it")
    parser.add_argument("--data", required=True, help="what the network was trained on, in a sentence")
    parser.add_argument("--notes", default="", help="what else a user should know")
    args = parser.parse_args()
    source = args.run / "best.safetensors"
    words = {"data": args.data, "licence": LICENCE} | ({"notes": args.notes} if args.notes else {})
    weights.save(weights.load(source), weights.FOLDER / f"{args.name}.safetensors", weights.card(source) | words)
    print(f"{args.name}: {weights.card(args.name)['steps']} steps, trained on {args.data}")


if __name__ == "__main__":
    main()
