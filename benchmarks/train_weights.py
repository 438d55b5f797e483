"""Trains the shipped networks further, for as long as there is: `make weights MINUTES=60`.

    python benchmarks/train_weights.py OUT --minutes 60 [--data DIR] [--networks srn brn …] [--jobs 2] [--scale full]

Each network goes on from its shipped weights (`Shipped` says with which losses and what share of the time), on all
training data of DIR: BSDS500's, Urban100's and the CC0 photographs of its splits, Rain800's training pairs, rain
layers, CamVid's streets for PHPNet. The same command does it on a CPU and on a GPU: on two cores `--jobs 2` trains
two networks side by side, each on a thread of its own; on a GPU one job at a time fills it. Called again with the
same OUT, it goes on where it was killed; networks that are finished stay. OUT/weights.tar then holds weights, cards
and curves of all, and a line for each says what it gained; `benchmarks/ship.py` makes them the shipped ones.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from derainlib import evaluation, files
from derainlib.errors import DerainError
from derainlib.models import weights

SETS = ("skimage-light", "skimage-heavy", "skimage-side-light", "skimage-dry")
"""What the gains are told on: sets that every machine has, and that train and choose nothing."""
KEPT = ("last.safetensors", "last.json", "recipe.json", "metrics.jsonl", "plan.jsonl", "start.sha256")
"""Files of a run that are worth taking home."""

CLEAN = {"bsds500": "bsds500_train.txt", "urban100": "urban100_train.txt", "cc0": "cc0_train.txt"}
STREAKS = {"streaks/garg": None, "streaks/raintrainh": "raintrainh_train.txt"}
"""Folders of the data, and the list in splits/ that says what may train; None: all."""

COMMON = {
    "rain": "allround",
    "paired": 0.1,
    "dry": 0.1,
    "turned": 0.35,
    "ema": 0.999,
    "schedule": "cosine",
    "clip": 1.0,
    "precision": "bf16",
}
"""What all of them share, in the papers' place: rain of every kind and from any side, a tenth of it dry."""


@dataclass(frozen=True)
class Shipped:
    """How a network's weights are trained: a paper's recipe, with the losses that the card names."""

    recipe: str
    losses: tuple[dict, ...]
    share: float
    """Of the time, in proportion to the others."""
    streets: bool = False
    """Whether CamVid's streets train it too."""
    free: bool = False
    """Whether it sees CC0 photographs and drawn rain alone, so that no research data set's terms bind its weights."""
    changes: dict = field(default_factory=dict)
    """Further fields of the recipe."""


def _psnr(weight: float) -> dict:
    """Negative PSNR beside the paper's losses: light rain counts as much as heavy; beyond 40 dB nothing is gained."""
    return {"term": "psnr", "weight": weight, "options": {"ceiling": 40.0}}


def _charbonnier(**options) -> dict:
    return {"term": "charbonnier", "options": options}


# Larger patches where they cost less a pixel: 12 % for DCDNet and PHPNet, 40 % for MENET (8 of 96² against 8 of 64²).
NETWORKS = {
    "srn": Shipped("srn", ({"term": "ssim"}, _psnr(0.03)), 6, changes={"lr": 8e-4}),
    "brn": Shipped("brn", ({"term": "ssim"}, _psnr(0.03)), 6, changes={"lr": 8e-4}),
    "qsnet": Shipped(
        "qsnet",
        (
            {"term": "l1"},
            {"term": "quasi_sparsity", "weight": 1e-3},
            {"term": "detail", "weight": 1e-4},
            {"term": "auxiliary", "weight": 2.55},  # 0.01 for images in 0..255: every scale derains by itself
            _psnr(0.02),
        ),
        5,
        changes={"lr": 2e-3},
    ),
    "dcdnet": Shipped(
        "dcdnet/no-VGG",
        (
            {"term": "mse", "options": {"on": "rain", "stages": "all", "early": 1.0, "last": 0.0}},
            {"term": "l1"},
            _psnr(0.02),
        ),
        2.3,
        changes={"lr": 2e-3, "patch": 96},
    ),
    "phpnet": Shipped(
        "phpnet",
        (
            _charbonnier(on="coarse", lowpass=5),
            _charbonnier(on="background"),
            {"term": "colour", "weight": 0.1},
            {"term": "semantic", "weight": 0.05, "options": {"network": "phi"}},
            _psnr(0.02),
        ),
        3,
        streets=True,
        changes={"lr": 1e-3, "patch": 96},
    ),
    "menet": Shipped(
        "menet/edge-fixed",
        ({"term": "l1"}, {"term": "edge", "weight": 0.1, "options": {"scale": 1.0}}, _psnr(0.02)),
        3,
        changes={"model": "menet", "patch": 96},
    ),
}
NETWORKS["menet-free"] = replace(NETWORKS["menet"], free=True, share=2.3)
"""The networks that are shipped, in the order in which they are trained."""


def command(name: str, options: argparse.Namespace, minutes: float) -> list[str]:
    """`derain train …` for one network."""
    how = NETWORKS[name]
    drawn = {"rain": "allround-drawn"} if how.free or not options.data else {}
    changes = COMMON | drawn | {"losses": list(how.losses)} | how.changes | json.loads(options.set)
    words = [sys.executable, "-m", "derainlib", "train", how.recipe, str(options.out / name)]
    words += ["--scale", options.scale, "--minutes", f"{minutes:.4f}", "--start", str(start(name, options))]
    words += ["--workers", str(options.workers), *(["--compile"] if torch.cuda.is_available() else [])]
    words += _data(how, options)
    return [*words, "--set", *(f"{key}={json.dumps(value)}" for key, value in changes.items())]


def start(name: str, options: argparse.Namespace) -> str | Path:
    """The weights that a network starts from: those of an earlier campaign, the shipped ones, or none (empty)."""
    earlier = options.start / name / "last.safetensors" if options.start else None
    if earlier and earlier.exists():
        return earlier
    return name if name in weights.shipped() else ""


def _data(how: Shipped, options: argparse.Namespace) -> list[str]:
    if not options.data:
        return []
    data, lists = options.data, options.out / "lists"
    if how.free:
        return ["--clean-dir", str(data / "cc0"), "--clean-list", str(data / "splits" / CLEAN["cc0"])]
    words = ["--clean-dir", data, "--clean-list", lists / "clean.txt"]
    words += ["--streaks-dir", data / "streaks", "--streaks-list", lists / "streaks.txt"]
    words += ["--data-dir", data / "rain800" / "training", "--data-list", data / "splits" / "rain800_train.txt"]
    if how.streets and (data / "camvid").is_dir():
        words += ["--scenes-dir", data / "camvid"]
    return [str(word) for word in words]


def write_lists(options: argparse.Namespace) -> None:
    """Which photographs and which layers of the data may train, as `derain train` reads them."""
    (options.out / "lists").mkdir(parents=True, exist_ok=True)
    for name, folders, root in (("clean", CLEAN, ""), ("streaks", STREAKS, "streaks")):
        lines = [str(line) for folder, split in folders.items() for line in _allowed(options.data, folder, split)]
        text = "".join(f"{line.removeprefix(f'{root}/')}\n" for line in lines)
        files.write_atomically(options.out / "lists" / f"{name}.txt", text.encode())


def _allowed(data: Path, folder: str, split: str | None) -> list[str]:
    if split is None:
        return sorted(f"{folder}/{path.name}" for path in (data / folder).iterdir())
    return [f"{folder}/{line}" for line in (data / "splits" / split).read_text().split()]


def train(options: argparse.Namespace) -> dict[str, int]:
    """Trains what is not finished; returns the exit status of each."""
    shares = {name: NETWORKS[name].share for name in options.networks}
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}

    def one(name: str) -> int:
        if (options.out / name / "last.safetensors").exists():
            return 0
        minutes = options.minutes * options.jobs * shares[name] / sum(shares.values())
        with (options.out / f"{name}.log").open("a") as log:
            return subprocess.run(command(name, options, minutes), stderr=log, stdout=log, env=environment).returncode

    with ThreadPoolExecutor(options.jobs) as pool:
        return dict(zip(shares, pool.map(one, shares), strict=True))


def gains(name: str, options: argparse.Namespace) -> str:
    """A line: how long a network was trained, and its scores before and after."""
    after = options.out / name / "last.safetensors"
    card, before = weights.card(after), start(name, options)
    networks = ({"before": weights.load(before)} if before else {}) | {"after": weights.load(after)}
    told = []
    for set_name in SETS:
        score = "psnr_rgb8" if set_name.endswith("dry") else "psnr_rgb"
        found = evaluation.compare(networks, {set_name: evaluation.dataset(set_name)}, [score], limit=options.limit)
        values = [evaluation.number(score, one.summary(score).mean) for one in found]
        told.append(f"{set_name.removeprefix('skimage-')} {' -> '.join(values)}")
    time = f"{card['steps']} steps, {card['megapixels']:.0f} megapixels, {card['wall_seconds'] / 60:.1f} min"
    return f"{name}: {time}; PSNR in dB: {', '.join(told)}"


def pack_up(options: argparse.Namespace) -> Path:
    """Everything worth taking home as one tar."""
    target = options.out / "weights.tar"
    with tarfile.open(target, "w") as tar:
        for path in sorted(options.out.rglob("*")):
            if path.name in KEPT and "checkpoints" not in path.parts:
                tar.add(path, path.relative_to(options.out))
    return target


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the campaign's folder; one that was killed goes on")
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock time for all trainings together")
    parser.add_argument("--data", type=Path, default=os.environ.get("DERAIN_DATA") or None, help="(DERAIN_DATA)")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=-1, help="processes that make samples, a training (on a GPU, all cores to spare)"
    )
    parser.add_argument("--scale", default="quick", help="of the recipes: full, quick or tiny (%(default)s)")
    parser.add_argument("--start", type=Path, help="an earlier campaign's folder, to go on from its weights")
    parser.add_argument("--set", default="{}", metavar="JSON", help="further fields of all recipes")
    parser.add_argument("--limit", type=int, help="tell the gains on so many pictures of each set only")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.jobs < 1:
        parser.error("--minutes must be positive, and --jobs at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, tells the gains, packs up; returns 1 if a training failed."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        if options.data:
            write_lists(options)
        else:
            print("no --data: trained on drawn streets and textures, good to see that it runs", file=sys.stderr)
        ended = train(options)
        for name, status in ended.items():
            print(gains(name, options) if status == 0 else f"{name}: failed, see {options.out / name}.log")
    except (DerainError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"weights, cards and curves: {pack_up(options)} ({torch.__version__})")
    return int(any(ended.values()))


if __name__ == "__main__":
    sys.exit(main())
