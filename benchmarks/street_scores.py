"""PHPNet's Table VI with our weights: what segmenters read in CamVid's test streets, clean, rainy and derained.

    python benchmarks/street_scores.py --data DIR                       # all shipped networks, all shipped judges
    python benchmarks/street_scores.py phpnet --every 8 --data DIR      # one network, every eighth street
    python benchmarks/street_scores.py --study OUT --data DIR           # what `derain study phpnet/table-3 OUT` trained
    python benchmarks/street_scores.py --inside --every 20 --data DIR   # PHPNet's outputs, colours and losses there

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
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derainlib import evaluation, metrics, recipes, seeing, studies
from derainlib.data import scenes
from derainlib.errors import WeightsError
from derainlib.evaluation import Scores
from derainlib.layers import Layers, Pair
from derainlib.losses import Charbonnier, Colour, Semantic
from derainlib.losses.charbonnier import low_pass
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


# --- inside PHPNet --------------------------------------------------------------------------------------------------

LAMBDA = {loss.term + loss.options.get("on", ""): loss.weight for loss in recipes.get("phpnet").losses}
"""The weights of Eq. 5."""
KERNEL = 5
"""Of the low-pass in the first output's target."""


def look_inside(streets: Sequence[Pair]) -> dict:
    """What PHPNet's outputs are, and what its losses say of them: means over streets."""
    networks = {name: weights.load(name).requires_grad_(False) for name in ("phpnet", "srn", "phi", "espnet")}
    rows = [_inside(streets[number], **networks) for number in range(len(streets))]
    return {"inside": {"images": len(rows)} | {part: _mean([row[part] for row in rows]) for part in rows[0]}}


def _inside(pair: Pair, phpnet: nn.Module, srn: nn.Module, **readers: nn.Module) -> dict[str, dict]:
    with torch.no_grad():
        layers, theirs = phpnet(pair.rainy, keep=True), srn(pair.rainy).background
    images = {"O": pair.rainy, "coarse": layers.extras["coarse"], "background": layers.background}
    smooth = low_pass(pair.clean, KERNEL)
    decibels = {
        target: {name: metrics.psnr(image, truth).item() for name, image in images.items()}
        for target, truth in {"clean": pair.clean, "smooth": smooth}.items()
    }
    angles = {name: _angles(image, pair) for name, image in (images | {"srn": theirs}).items()}
    values = {name: _terms(images[name], pair, readers["phi"]) for name in ("O", "coarse")}
    read = {reader: _semantics(images, pair, network) for reader, network in readers.items()}
    return {"psnr": decibels, "angle": angles, "terms": values, "reader": read}


def _angles(image: Tensor, pair: Pair) -> dict[str, float]:
    """The mean angle between an image's colours and the truth's in degrees: of all pixels, wet ones, and dry ones."""
    cosine = 1 - Colour().map(Layers(image, image), Pair(pair.rainy, pair.clean))
    chart, wet = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))), pair.location > 0
    return {"all": chart.mean().item(), "wet": chart[wet].mean().item(), "dry": chart[~wet].mean().item()}


def _terms(image: Tensor, pair: Pair, phi: nn.Module) -> dict[str, float]:
    """The weighted terms of Eq. 5, were both outputs this image; and the colour's, were images in [−1, 1]."""
    layers = Layers(image, pair.rainy - image, extras={"coarse": image})
    centred = 1 - F.cosine_similarity(2 * image - 1, 2 * pair.clean - 1).mean().item()
    return {
        "coarse": LAMBDA["charbonniercoarse"] * Charbonnier(on="coarse", lowpass=KERNEL)(layers, pair).item(),
        "final": LAMBDA["charbonnierbackground"] * Charbonnier()(layers, pair).item(),
        "colour": LAMBDA["colour"] * Colour()(layers, pair).item(),
        "colour, centred": LAMBDA["colour"] * centred,
        "semantic": LAMBDA["semantic"] * Semantic(phi)(layers, pair).item(),
    }


def _semantics(images: Mapping[str, Tensor], pair: Pair, reader: nn.Module) -> dict[str, float]:
    """A reader's cross-entropy of three pictures, and what its gradient asks of the first output.

    "cosine" is that between a step of descent and the way to the truth, "pull" the weighted gradient's size beside
    that of the accuracy, "at the truth" its size there beside that at the first output.
    """
    truth, coarse = pair.clean, images["coarse"]
    (clean, there), (first, here) = (_asked(Semantic(reader), image, pair) for image in (truth, coarse))
    _, accuracy = _asked(Charbonnier(on="coarse", lowpass=KERNEL), coarse, pair)
    return {
        "clean": clean,
        "coarse": first,
        "rainy": _asked(Semantic(reader), images["O"], pair)[0],
        "cosine": F.cosine_similarity(-here.flatten(), (truth - coarse).flatten(), dim=0).item(),
        "pull": (LAMBDA["semantic"] * here.norm() / accuracy.norm()).item(),
        "at the truth": (there.norm() / here.norm()).item(),
    }


def _asked(term: nn.Module, image: Tensor, pair: Pair) -> tuple[float, Tensor]:
    """A term's value of an image in the first output's place, and its gradient there."""
    image = image.detach().requires_grad_()
    value = term(Layers(image, pair.rainy - image, extras={"coarse": image}), pair)
    return value.item(), torch.autograd.grad(value, image)[0]


def _mean(rows: Sequence) -> dict | float:
    """The mean of equal nested mappings of numbers."""
    if isinstance(rows[0], Mapping):
        return {key: _mean([row[key] for row in rows]) for key in rows[0]}
    return float(np.mean(rows))


# --- the command line -----------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = common.parser(__doc__, "street_scores", "data")
    found.add_argument("weights", nargs="*", help="shipped deraining networks; by default one of each kind")
    found.add_argument("--judges", nargs="+", help="shipped segmenters (all but Φ)")
    found.add_argument("--rain", default="streets", help="preset or mix of rain (%(default)s)")
    found.add_argument("--every", type=int, default=1, help="take every so manieth street; neighbours look alike (1)")
    instead = found.add_mutually_exclusive_group()
    instead.add_argument("--study", type=Path, help=f"judge the trainings of {STUDY} in this folder instead")
    instead.add_argument("--inside", action="store_true", help="look into the shipped phpnet instead")
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
    if options.inside:
        found = look_inside(streets)
    elif options.study:
        found = judge_study(judges, options.study, streets, **how)
    else:
        found = judge_networks(judges, options.weights or shipped_networks(), streets, **how)
    facts = {"machine": common.machine(), "data": f"CamVid's test streets with {options.rain} rain"}
    common.write(options.out, common.known(options.out) | facts | found)


if __name__ == "__main__":
    sys.exit(main())
