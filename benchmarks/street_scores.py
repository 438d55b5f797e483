"""PHPNet's Table VI with our weights: what segmenters read in CamVid's test streets, clean, rainy and derained.

    python benchmarks/street_scores.py --data DIR                       # all shipped networks, all shipped judges
    python benchmarks/street_scores.py phpnet --every 8 --data DIR      # one network, every eighth street
    python benchmarks/street_scores.py --study OUT --data DIR           # what `derain study phpnet/table-3 OUT` trained

Each network is scored by PSNR and SSIM too. Judges are segmenters that no network was trained with; Φ stands beside
them by --judges, to show what it says of those that were. A study's rows are compared with its reference, seeds and
images drawn together. The results go to benchmarks/results/street_scores.json; what was not measured now stays there.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import common
import numpy as np
from torch import nn

from derainlib import evaluation, seeing, studies
from derainlib.data import scenes
from derainlib.errors import WeightsError
from derainlib.evaluation import Scores
from derainlib.layers import Pair
from derainlib.models import VARIANTS, weights
from derainlib.papers import Table
from derainlib.seeing import READS, Reading

STUDY = "phpnet/table-3"
JUDGES = ("espnet", "espnet-rain", "espnet-derained", "pspnet")


def shipped_networks() -> list[str]:
    """The deraining networks that are shipped under their own name: not the trainings of a study, as qsnet-v1 is."""
    return [name for name in weights.shipped() if name in VARIANTS and weights.card(name)["model"] == name]


def trainings(folder: Path, study: Table) -> dict[str, list[nn.Module]]:
    """The final networks of a study's rows, by label: one for each seed, in the seeds' order.

    Raises:
        WeightsError: a row without a finished training, or rows of different seeds.
    """
    found = {}
    for path in folder.glob("runs/*/recipe.json"):
        recipe = json.loads(path.read_text())
        found[recipe["name"], recipe["seed"]] = path.with_name("last.safetensors")
    seeds = sorted({seed for _, seed in found})
    missing = [f"{row.label} (seed {s})" for row in study.rows for s in seeds if (row.recipe.name, s) not in found]
    if missing or not seeds:
        raise WeightsError(f"{folder} holds no training of {', '.join(missing) or study.name}; let the study end first")
    return {row.label: [weights.load(found[row.recipe.name, seed]) for seed in seeds] for row in study.rows}


def judge_networks(judges: Mapping, names: Sequence[str], streets: Sequence[Pair], **options) -> dict:
    """Readings and scores of shipped weights, as JSON has them."""
    verdict = seeing.judge(judges, {name: weights.load(name) for name in names}, streets, **options)
    print(evaluation.table(verdict.scores), seeing.table(verdict.readings), sep="\n\n")
    steps = {name: weights.card(name)["steps"] for name in (*names, *judges)}
    readings = [entry(reading, verdict.readings) for reading in verdict.readings]
    scores = [{"model": s.model} | {name: asdict(s.summary(name)) for name in s.names} for s in verdict.scores]
    return {"images": len(streets), "steps": steps, "readings": readings, "scores": scores}


def entry(reading: Reading, readings: Sequence[Reading]) -> dict:
    """One judge's reading of one network's pictures."""
    rainy = seeing.rainy_of(reading, readings)
    found = {name: asdict(reading.summary(name, rainy)) for name in READS}
    return {"judge": reading.judge, "picture": reading.picture} | found | {"iou": reading.iou.tolist()}


def judge_study(judges: Mapping, folder: Path, streets: Sequence[Pair], **options) -> dict:
    """What each row's networks score and let each judge read, and the differences to the reference row."""
    study = studies.get(STUDY)
    rows = trainings(folder, study)
    seeds = len(rows[study.reference])
    networks = {f"{label}, {seed}": row[seed] for label, row in rows.items() for seed in range(seeds)}
    verdict = seeing.judge(judges, networks, streets, **options)
    by_name = {s.model: s for s in verdict.scores}
    scores = []
    for label in rows:
        pairs = [(by_name[f"{label}, {seed}"], by_name[f"{study.reference}, {seed}"]) for seed in range(seeds)]
        scores.append({"row": label, "seeds": seeds} | compared(pairs))
    of = {(r.judge, r.picture): r for r in verdict.readings}
    found = []
    for name in judges:
        by_row = {label: [of[name, f"{label}, {seed}"] for seed in range(seeds)] for label in rows}
        for label, readings in by_row.items():
            means = {score: sum(getattr(r, score) for r in readings) / seeds for score in READS}
            against = {score: seeing.difference(score, readings, by_row[study.reference]) for score in READS}
            found.append({"row": label, "judge": name, "seeds": seeds} | means | {"difference": against})
    print(*(json.dumps(row, ensure_ascii=False) for row in scores + found), sep="\n")
    return {"study": found, "study scores": scores, "study images": len(streets)}


def compared(pairs: Sequence[tuple[Scores, Scores]]) -> dict:
    """Means of PSNR and SSIM over seeds and images, and differences to the reference row's, one pair for each seed."""
    means, against = {}, {}
    for name in pairs[0][0].names:
        ours, theirs = (np.stack([scores.values(name) for scores in side]) for side in zip(*pairs, strict=True))
        means[name], against[name] = ours.mean(), evaluation.difference(ours, theirs)
    return means | {"difference": against}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "street_scores", "data")
    found.add_argument("weights", nargs="*", help="shipped deraining networks; by default one of each kind")
    found.add_argument("--judges", nargs="+", help="shipped segmenters (all but Φ)")
    found.add_argument("--rain", default="streets", help="preset or mix of rain (%(default)s)")
    found.add_argument("--every", type=int, default=1, help="take every so manieth street; neighbours look alike (1)")
    found.add_argument("--study", type=Path, help=f"judge the trainings of {STUDY} in this folder instead")
    return found


@common.command
def main(arguments: Sequence[str] | None = None):
    """Judges, prints, writes."""
    options = common.parse(parser(), arguments, needs="camvid/")
    labelled = scenes.read(options.data / "camvid", "test", scenes.CAMVID)[:: options.every]
    streets = scenes.RainyScenes(labelled, options.rain)
    names = options.judges or [name for name in JUDGES if name in weights.shipped()]
    judges = {name: weights.load(name) for name in names}
    how = {"set_name": "camvid", "progress": sys.stderr.isatty()}
    if options.study:
        found = judge_study(judges, options.study, streets, **how)
    else:
        found = judge_networks(judges, options.weights or shipped_networks(), streets, **how)
    facts = {"machine": common.machine(), "data": f"CamVid's test streets with {options.rain} rain"}
    common.write(options.out, common.known(options.out) | facts | found)


if __name__ == "__main__":
    sys.exit(main())
