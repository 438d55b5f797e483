"""What helps a short training: shares of dry and turned samples, the rate, averages, patches, growing stages, one rain.

    python benchmarks/training_tricks.py --data DIR [--rows "dry 0" "dry 0.3" …] [--megapixels 100]

Every row is trained from random weights on equally many pixels by the recipe of `tools/train_weights.py`, with one
thing changed, and scored on the hold-outs; rows that see one kind of rain alone are the specialists that one set of
weights for all rain is held against. One seed, so differences below a few tenths of a dB say nothing. Rows that are in
benchmarks/results/training_tricks.json already are not trained again, unless they are named.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common
from speedrun import sources_of, train_weights

from derainlib import evaluation, recipes
from derainlib.models import weights
from derainlib.training import train

SETS = {
    "rain100l": "psnr_y",
    "holdout-light": "psnr_rgb",
    "holdout-heavy": "psnr_rgb",
    "holdout-side-light": "psnr_rgb",
    "holdout-wide": "psnr_rgb",
    "holdout-dry": "psnr_rgb8",
    "rain800": "psnr_rgb",
}
"""What is scored, and by which score."""


@dataclass(frozen=True)
class Phase:
    """A part of a training: its share of the pixels, and what differs from the network's usual recipe."""

    share: float
    changes: dict


def _row(network: str = "menet", **changes) -> tuple[str, tuple[Phase, ...]]:
    return network, (Phase(1.0, changes),)


_LATE = {"schedule": "cosine"}
ROWS: dict[str, tuple[str, tuple[Phase, ...]]] = {
    "menet": _row(),
    "dry 0": _row(dry=0.0),
    "dry 0.3": _row(dry=0.3),
    "upright": _row(turned=0.0),
    "no average": _row(ema=0.0),
    "half the rate": _row(lr=5e-4),
    "twice the rate": _row(lr=2e-3),
    "4 patches of 96": _row(batch=4, patch=96),
    "32 patches of 32": _row(batch=32, patch=32),
    "larger patches late": (
        "menet",
        (Phase(0.6, {"schedule": "constant"}), Phase(0.4, {"batch": 2, "patch": 128} | _LATE)),
    ),
    "no layers": _row(rain="allround-drawn"),
    "light alone": _row(rain="light", dry=0.0),
    "layers alone": _row(rain="layers", dry=0.0),
    "heavy alone": _row(rain="heavy", dry=0.0),
    "wide alone": _row(rain="wide", dry=0.0),
    "Rain800's pairs alone": _row(paired=1.0),
    "srn": _row("srn"),
    "srn, stages grow": (
        "srn",
        tuple(
            Phase(share, {"options": {"stages": stages}, "schedule": schedule})
            for share, stages, schedule in ((0.3, 1, "constant"), (0.3, 2, "constant"), (0.4, 4, "cosine"))
        ),
    ),
}
"""Rows by name: the network, and its phases."""


def recipe_of(network: str, phase: Phase, megapixels: float, start: str) -> recipes.Recipe:
    """The recipe of a phase that sees so many megapixels."""
    how = train_weights.NETWORKS[network]
    changes = train_weights.COMMON | {"losses": how.losses} | how.changes | phase.changes
    recipe = recipes.get(how.recipe, "quick", **changes, start=start, validate_every=10**6, checkpoint_every=10**6)
    return recipe.replace(steps=max(1, round(megapixels * phase.share * 1e6 / (recipe.batch * recipe.patch**2))))


def trained(name: str, data: Path, megapixels: float, out: Path) -> tuple[Path, float]:
    """The weights of a row, and the minutes of processor time that they took."""
    network, phases = ROWS[name]
    start = ""
    with common.Stopwatch() as took:
        for number, phase in enumerate(phases):
            recipe = recipe_of(network, phase, megapixels, start)
            sources = sources_of(recipe, data, out)
            start = str(train(recipe, sources, out / str(number)).last)
    return Path(start), took.processor / 60


def scored(path: Path, data: Path, limit: int | None) -> dict[str, float]:
    """Mean scores of weights over the sets, in dB."""
    network, found = weights.load(path), {}
    for name, score in SETS.items():
        result = evaluation.score(network, evaluation.dataset(name, data), [score], limit=limit)
        found[name] = round(result.summary(score).mean, 3)
    return found


def table(results: dict[str, dict]) -> str:
    """All rows, scores in dB."""
    rows = [("row", "megapixels", "min", *SETS)]
    for name, row in results.items():
        scores = (evaluation.number(score, row["scores"][one]) for one, score in SETS.items())
        rows.append((name, f"{row['megapixels']:g}", f"{row['minutes']:.1f}", *scores))
    return evaluation.lay_out(rows)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "training_tricks", "data", "limit")
    found.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", help="; ".join(ROWS))
    found.add_argument("--megapixels", type=float, default=100.0, help="that each row sees (%(default)s)")
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Trains and scores the rows that are missing."""
    options = common.parse(parser(), arguments, needs="splits/, streaks/, bsds500/ …")
    results = common.known(options.out).get("rows", {})
    for name in options.rows or [name for name in ROWS if name not in results]:
        with tempfile.TemporaryDirectory() as folder:
            path, minutes = trained(name, options.data, options.megapixels, Path(folder))
            scores = scored(path, options.data, options.limit)
        results[name] = {"megapixels": options.megapixels, "minutes": round(minutes, 2), "scores": scores}
        facts = {"machine": common.machine(), "limit": options.limit}
        common.write(options.out, facts | {"sets": SETS, "rows": results})
        print(f"{name}: {minutes:.1f} min, {scores}", flush=True)
    print(table(results))


if __name__ == "__main__":
    sys.exit(main())
