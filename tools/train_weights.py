"""Trains the shipped networks further, for as long as there is: `make weights MINUTES=60`.

    python tools/train_weights.py OUT --minutes 60 [--data DIR] [--networks srn brn …] [--jobs 2] [--scale full]

Each network goes on from its shipped weights (`Shipped` says with which losses and what share of the time), on all
training data of DIR: BSDS500's, Urban100's and the CC0 photographs of its splits, Rain800's training pairs, rain
layers, CamVid's streets for PHPNet; what DIR has none of is left out. The same command does it on a CPU and on a GPU:
on two cores `--jobs 2` trains two networks side by side, each on a thread of its own; on a large GPU, which no single
one of these networks fills, four at a time see more. Called again with the same OUT, it goes on where it was killed;
networks that are finished stay. OUT/weights.tar then holds weights, cards and curves of all, and a line for each says
what it gained; `tools/ship.py` makes them the shipped ones.
"""

import argparse
import heapq
import json
import math
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pack import members

from derainlib import evaluation, files
from derainlib.errors import DataError, DerainError
from derainlib.models import weights

SETS = ("skimage-light", "skimage-heavy", "skimage-side-light", "skimage-dry")
"""What the gains are told on: sets that every machine has, and that train and choose nothing."""
KEPT = ("last.safetensors", "last.json", "recipe.json", "metrics.jsonl", "plan.jsonl", "start.sha256")
"""Files of a run that are worth taking home."""

CLEAN, STREAKS, PAIRS, FREE = "clean.txt", "streaks.txt", "rain800_train.txt", "cc0_train.txt"
LISTS = {
    CLEAN: ("", {"bsds500": "bsds500_train.txt", "urban100": "urban100_train.txt", "cc0": "cc0_train.txt"}),
    STREAKS: ("streaks", {"streaks/garg": "", "streaks/raintrainh": "raintrainh_train.txt"}),
    PAIRS: ("rain800/training", {"rain800/training": "rain800_train.txt"}),
    FREE: ("cc0", {"cc0": "cc0_train.txt"}),
}
"""What a campaign's lists name, as `derain train` reads them: the folder that their lines start from, and the parts of
the data, each with the list in splits/ that says what of it may train (empty: all)."""

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
    given = _data(how, options)
    drawn = {} if "--streaks-dir" in given else {"rain": "allround-drawn"}
    changes = COMMON | drawn | {"losses": list(how.losses)} | how.changes | options.set
    words = [sys.executable, "-m", "derainlib", "train", how.recipe, str(options.out / name)]
    words += ["--scale", options.scale, "--minutes", f"{minutes:.4f}", "--start", str(start(name, options))]
    words += ["--workers", str(options.workers), *(["--compile"] if torch.cuda.is_available() else []), *given]
    return [*words, "--set", *(f"{key}={json.dumps(value)}" for key, value in changes.items())]


def start(name: str, options: argparse.Namespace) -> str | Path:
    """The weights that a network starts from: those of an earlier campaign, the shipped ones, or none (empty)."""
    if options.start:
        return options.start / name / "last.safetensors"
    return name if name in weights.shipped() else ""


def _data(how: Shipped, options: argparse.Namespace) -> list[str]:
    """The words that tell `derain train` what to train on: of the data, what the campaign's lists name."""
    words, lists = [], {"clean": FREE} if how.free else {"clean": CLEAN, "streaks": STREAKS, "pairs": PAIRS}
    for option, name in lists.items():
        if options.data and (listed := options.out / "lists" / name).stat().st_size:
            words += [f"--{option}-dir", options.data / LISTS[name][0], f"--{option}-list", listed]
    if how.streets and options.data and (options.data / "camvid").is_dir():
        words += ["--scenes-dir", options.data / "camvid"]
    return [str(word) for word in words]


def write_lists(options: argparse.Namespace) -> None:
    """Which photographs, layers and pairs of the data may train, as `derain train` reads them; tells what is not there.

    Raises:
        DataError: a list does not fit the data.
    """
    (options.out / "lists").mkdir(parents=True, exist_ok=True)
    absent = []
    for name, (root, parts) in LISTS.items():
        found = {folder: members(options.data, folder, split) for folder, split in parts.items()}
        text = "".join(f"{path.relative_to(root).as_posix()}\n" for paths in found.values() for path in paths)
        files.write_atomically(options.out / "lists" / name, text.encode())
        absent += [folder for folder, paths in found.items() if not paths]
    for folder in dict.fromkeys(absent):
        print(f"{folder}: nothing of it may train in {options.data}, left out", file=sys.stderr)


def check_data(options: argparse.Namespace) -> None:
    """Refuses data, whose lists are written, that hold nothing for one of the networks: drawn streets would stand in.

    Raises:
        DataError: there is such a network.
    """
    for name in options.networks:
        if not {"--clean-dir", "--pairs-dir", "--scenes-dir"} & set(_data(NETWORKS[name], options)):
            wanted = "cc0" if NETWORKS[name].free else "photographs or pairs"
            raise DataError(f"{options.data} has no {wanted} that may train {name}: add them, or choose --networks")


def makespan(shares: Iterable[float], jobs: int) -> float:
    """When the last of some works is done, in their unit, if each is begun, in order, as soon as a job is free."""
    free = [0.0] * jobs
    for share in shares:
        heapq.heapreplace(free, free[0] + share)
    return max(free)


def budget(options: argparse.Namespace) -> dict[str, float]:
    """Minutes for each network, by its share of the time: when they are over, so are all of `--minutes`."""
    shares = {name: NETWORKS[name].share for name in options.networks}
    whole = makespan(shares.values(), options.jobs)
    return {name: options.minutes * share / whole for name, share in shares.items()}


def is_finished(run: Path) -> bool:
    """Whether a training has written its last file, the card of its weights."""
    return (run / "last.json").exists()


def train(options: argparse.Namespace) -> dict[str, int]:
    """Trains what is not finished; returns the exit status of each."""
    minutes = budget(options)
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}

    def one(name: str) -> int:
        run = options.out / name
        if is_finished(run):
            return 0
        # Killed between weights and card: `derain train` would take the weights for a finished training and add a
        # phase. Without them it goes on from its last checkpoint, which has everything, and writes both again.
        (run / "last.safetensors").unlink(missing_ok=True)
        with (options.out / f"{name}.log").open("a") as log:
            words = command(name, options, minutes[name])
            return subprocess.run(words, stderr=log, stdout=log, env=environment).returncode

    with ThreadPoolExecutor(options.jobs) as pool:
        return dict(zip(minutes, pool.map(one, minutes), strict=True))


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


def tell(name: str, status: int, options: argparse.Namespace) -> bool:
    """Prints what became of a network; returns whether all went well."""
    if status:
        print(f"{name}: failed, see {options.out / name}.log")
        return False
    try:
        print(gains(name, options))
    except (DerainError, OSError) as error:
        print(f"{name}: trained, but its gains cannot be told: {error}")
        return False
    return True


def pack_up(options: argparse.Namespace) -> Path:
    """Everything worth taking home as one tar."""
    target = options.out / "weights.tar"
    with tarfile.open(target, "w") as tar:
        for path in sorted(options.out.rglob("*")):
            if path.name in KEPT and "checkpoints" not in path.parts:
                tar.add(path, path.relative_to(options.out))
    return target


def _json_object(text: str) -> dict:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"takes a JSON object, such as '{{\"lr\": 0.001}}'; got {text}")
    return found


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
    parser.add_argument("--set", type=_json_object, default={}, metavar="JSON", help="further fields of all recipes")
    parser.add_argument("--limit", type=int, help="tell the gains on so many pictures of each set only")
    options = parser.parse_args(arguments)
    if not 0 < options.minutes < math.inf or options.jobs < 1:
        parser.error("--minutes must be positive and finite, and --jobs at least 1")
    lacking = [name for name in options.networks if options.start and not Path(start(name, options)).is_file()]
    if lacking:
        lacks = f"has no weights of {', '.join(lacking)}" if options.start.is_dir() else "is no folder"
        parser.error(f"--start {options.start} {lacks}: name a campaign that trained them, or choose --networks")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, packs up, tells the gains; returns 1 if a training failed or its gains could not be told."""
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        if options.data:
            write_lists(options)
            check_data(options)
        else:
            print("no --data: trained on drawn streets and textures, good to see that it runs", file=sys.stderr)
        ended = train(options)
    except (DerainError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"weights, cards and curves: {pack_up(options)} ({torch.__version__})")
    told = [tell(name, status, options) for name, status in ended.items()]
    return int(not all(told))


if __name__ == "__main__":
    sys.exit(main())
