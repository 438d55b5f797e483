"""Tables of scores: networks over sets of pairs, always beside the rainy input, each score by its full name.

    scores = score(load("srn"), dataset("holdout-light", "data"), name="srn", set_name="holdout-light")
    print(table([scores]))

The interval beside a mean is the 95 % bootstrap interval over images: where the mean of the same number of
other photographs of this kind would lie. It says nothing about another kind of rain.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from derainlib import metrics
from derainlib.data import holdout, pairs, scenes
from derainlib.errors import DataError, DerainError
from derainlib.inference import clean
from derainlib.layers import Pair

SCORES = ("psnr_rgb", "psnr_y", "ssim_y")
"""The scores that tables give unless told otherwise."""

RAINY = "rainy input"
"""How tables name the row of the untouched photographs."""


@dataclass(frozen=True)
class Summary:
    """One score over a set of images.

    Attributes:
        mean: of the network's estimates.
        low, high: 95 % bootstrap interval of `mean`.
        rainy: mean of the untouched rainy images.
        gain: `mean` − `rainy`.
        gain_low, gain_high: 95 % bootstrap interval of `gain`, image by image.
        worst: score of the worst estimate; None for scores of a set as a whole, such as mIoU.
        worst_gain: gain of the image that gained least, or lost most; likewise.
    """

    mean: float
    low: float
    high: float
    rainy: float
    gain: float
    gain_low: float
    gain_high: float
    worst: float | None = None
    worst_gain: float | None = None


@dataclass(frozen=True)
class Record:
    """The scores of one image, of the estimate and of the rainy input, and the seconds it took to clean."""

    image: str
    estimate: dict[str, float]
    rainy: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Scores:
    """What one network scores on one set of pairs, image by image."""

    model: str
    dataset: str
    records: tuple[Record, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scores."""
        return tuple(self.records[0].estimate)

    def values(self, name: str) -> np.ndarray:
        """A score of each estimate, (K,).

        Raises:
            DerainError: the score was not taken.
        """
        if name not in self.names:
            raise DerainError(f"{name!r} was not scored; there are {', '.join(self.names)}")
        return np.array([record.estimate[name] for record in self.records])

    def summary(self, name: str) -> Summary:
        """Mean, gain over the rainy input, and their intervals.

        Raises:
            DerainError: the score was not taken.
        """
        estimate, rainy = self.values(name), np.array([record.rainy[name] for record in self.records])
        low, high = interval(estimate)
        # A dry photograph is its own truth: its score is infinite, and what cleaning it "gains" is minus infinity.
        gains = np.where(np.isinf(rainy), -np.inf, estimate - np.where(np.isinf(rainy), 0, rainy))
        gain_low, gain_high = interval(gains)
        mean, before = estimate.mean().item(), rainy.mean().item()
        worst, worst_gain = estimate.min().item(), gains.min().item()
        return Summary(mean, low, high, before, gains.mean().item(), gain_low, gain_high, worst, worst_gain)

    def card(self) -> dict:
        """What a weights card remembers: the number of images, each mean, worst score and mean of the rainy input.

        A score that is infinite, as those of dry photographs before cleaning, is None.
        """
        summaries = {name: self.summary(name) for name in self.names}
        kept = ("mean", "worst", "rainy")
        scores = {name: {part: _short(getattr(s, part)) for part in kept} for name, s in summaries.items()}
        return {"images": len(self.records)} | scores


def score(
    model: nn.Module,
    dataset: Sequence[Pair],
    scores: Sequence[str] = SCORES,
    *,
    name: str | None = None,
    set_name: str = "pairs",
    limit: int | None = None,
    tile: int | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "fp32",
    ensemble: bool = False,
    strength: float = 1.0,
    observe: Callable[[Pair, Tensor], None] | None = None,
    progress: bool = False,
) -> Scores:
    """Cleans each rainy image of a set and scores the result; one image at a time is in memory.

    Args:
        model: a network.
        dataset: pairs of one image each, (1, 3, H, W); with an attribute `names`, these name the records.
        scores: names as `metrics.named` takes them.
        name: of the network in tables; by default its own.
        set_name: of the set in tables.
        limit: take only so many pairs, from the start.
        tile, device, dtype, ensemble, strength: see `derainlib.inference.clean`.
        observe: is shown each pair and its estimate (1, 3, H, W).
        progress: whether to show a bar.

    Returns:
        A record for each image.

    Raises:
        DerainError: an unknown score, or settings that do not fit.
        DataError: no pairs to score, or a limit below one.
    """
    from tqdm.auto import tqdm

    measures = {score: metrics.named(score) for score in scores}
    if not measures:
        raise DerainError("no score was asked for; psnr_rgb is one")
    images = named(dataset, limit, set_name)
    settings = {"tile": tile, "device": device, "dtype": dtype, "ensemble": ensemble, "strength": strength}
    wash = partial(clean, model, **settings)
    name = name or getattr(model, "name", type(model).__name__)
    bar = tqdm(images, desc=f"{name} on {set_name}", disable=not progress, unit="image")
    records = (_record(image, dataset[i], wash, measures, observe) for i, image in enumerate(bar))
    return Scores(name, set_name, tuple(records))


def named(dataset: Sequence[Pair], limit: int | None = None, set_name: str = "pairs") -> tuple[str, ...]:
    """Names of the pairs of a set, their numbers where it has none; with a limit, of the first so many.

    Raises:
        DataError: no pairs, or a limit below one.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; score at least one pair")
    count = min(len(dataset), limit or len(dataset))
    if not count:
        raise DataError(f"{set_name} holds no pairs to score")
    return tuple((getattr(dataset, "names", None) or [str(i) for i in range(count)])[:count])


def compare(
    models: Mapping[str, nn.Module],
    datasets: Mapping[str, Sequence[Pair]],
    scores: Sequence[str] = SCORES,
    **options,
) -> list[Scores]:
    """Scores each network on each set; `options` are those of `score`.

    Args:
        models: networks by the name that tables give them.
        datasets: sets of pairs, likewise.

    Returns:
        One `Scores` for each network and set, for `table` and `write_json`.
    """
    return [
        score(model, chosen, scores, name=name, set_name=set_name, **options)
        for set_name, chosen in datasets.items()
        for name, model in models.items()
    ]


def dataset(name: str, folder: str | Path | None = None) -> Sequence[Pair]:
    """A set to score on, by name.

    Args:
        name: one of `DATASETS`: "holdout-light", "-heavy" … rain on photographs of BSDS500, "skimage-light" … on
            scikit-image's own, which needs no folder; on "…-dry" and "urban100-dry" no rain falls, so the score is the
            network's own damage; "raintrainh" is RainTrainH's own rain, four layers that train nothing, on 17 of those
            photographs; "rain100l" is the public test set; "rain800" are 56 pairs that nothing here trains on;
            "streets" is every sixth of CamVid's test streets, with labels, in the rain of the mix "streets".
            Or the path of any folder of pairs.
        folder: where the data lie: bsds500/ and urban100/ for the hold-out, rain100l/, rain800/ and splits/, camvid/.

    Raises:
        DataError: an unknown name, no folder where one is needed, or data that do not fit.
    """
    if name not in DATASETS and Path(name).is_dir():
        return pairs.read(name)
    if name not in DATASETS:
        raise DataError(f"no set is called {name!r}; there are {', '.join(DATASETS)}, and folders of pairs")
    return DATASETS[name](folder)


def table(results: Sequence[Scores], style: str = "text") -> str:
    """All results as one table: a row for the rainy input and each network, a block for each set.

    A score reads `30.12 ±0.45 (+3.61)`: the mean, half the width of its 95 % interval, and the gain over the
    rainy input.

    Args:
        results: what `score` or `compare` gave; the same scores in each.
        style: "text" for terminals, "markdown" for documents.

    Raises:
        DerainError: no results, different scores, or an unknown style.
    """
    if not results or any(r.names != results[0].names for r in results):
        raise DerainError("a table wants at least one result, and the same scores in each")
    rows = [("set", "network", *results[0].names)]
    for set_name in dict.fromkeys(r.dataset for r in results):
        block = [r for r in results if r.dataset == set_name]
        title = f"{set_name} ({len(block[0].records)})"
        rows.append((title, RAINY, *(number(name, block[0].summary(name).rainy) for name in results[0].names)))
        rows += [(title, r.model, *(cell(name, r.summary(name)) for name in r.names)) for r in block]
    return lay_out(rows, style)


def to_json(results: Sequence[Scores], **facts) -> str:
    """All results, summarised and image by image, as JSON text; `from_json` reads it back. An infinite score is null.

    Args:
        results: what `score` or `compare` gave.
        facts: what to note beside them: the machine, the precision …
    """
    entries = [
        {
            "model": r.model,
            "dataset": r.dataset,
            "summary": {name: _finite(asdict(r.summary(name))) for name in r.names},
        }
        | {"records": [_plain(record) for record in r.records]}
        for r in results
    ]
    return json.dumps(facts | {"results": entries}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> list[Scores]:
    """Results from the text that `to_json` made.

    Raises:
        DataError: it is something else.
    """
    try:
        return [
            Scores(entry["model"], entry["dataset"], tuple(_record_of(record) for record in entry["records"]))
            for entry in json.loads(text)["results"]
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"not scores in JSON: {error!r}") from None


def _finite(scores: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _plain(record: Record) -> dict:
    """A record as JSON holds it."""
    return asdict(record) | {"estimate": _finite(record.estimate), "rainy": _finite(record.rainy)}


def _record_of(values: dict) -> Record:
    """A record from what JSON holds."""
    sides = {
        side: {name: math.inf if value is None else value for name, value in values[side].items()}
        for side in ("estimate", "rainy")
    }
    return Record(**values | sides)


def interval(values: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of a mean: between its 2.5 and 97.5 percentiles over draws with replacement.

    Of trainings with several seeds, each scored on the same images, a draw takes seeds and images independently of
    each other, each with replacement, and then the mean over both. Few seeds make the interval too narrow: with two of
    them, it can reach no further than from one seed's mean to the other's, images apart.

    Args:
        values: (K,), one for each image, or (S, K), a row for each seed.
        draws: how often; the draws are the same each time.

    Returns:
        (low, high); infinite values make it infinite.
    """
    values, rng = np.atleast_2d(values), np.random.default_rng(0)
    images, seeds = (rng.integers(size, size=(draws, size)) for size in values.shape[::-1])
    return ends(values[seeds[:, :, None], images[:, None, :]].mean(axis=(1, 2)))


def ends(drawn: np.ndarray) -> tuple[float, float]:
    """The ends of a 95 % bootstrap interval, from the values of all draws (draws,)."""
    # Order statistics, without interpolation: infinite scores of perfect estimates stay meaningful.
    low, high = np.quantile(drawn, (0.025, 0.975), method="nearest")
    return low.item(), high.item()


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """How much more one of two networks scores than the other: the mean difference and its `interval`.

    The scores are compared in pairs, image by image (and seed by seed), so that what makes an image hard for both of
    them does not widen the interval.

    Args:
        ours, theirs: (K,), one for each image, or (S, K), a row for each seed; of the same images and seeds.

    Returns:
        "mean", "low" and "high".

    Raises:
        DerainError: there are not equally many.
    """
    if np.shape(ours) != np.shape(theirs):
        raise DerainError(f"scores of shape {np.shape(ours)} and {np.shape(theirs)}: compare the same images and seeds")
    low, high = interval(ours - theirs)
    return {"mean": (ours - theirs).mean().item(), "low": low, "high": high}


def _record(name: str, pair: Pair, wash, measures, observe) -> Record:
    """The scores of one pair."""
    began = time.perf_counter()
    estimate = wash(pair.rainy)
    seconds = time.perf_counter() - began
    if observe:
        observe(pair, estimate)
    return Record(name, _measure(estimate, pair.clean, measures), _measure(pair.rainy, pair.clean, measures), seconds)


def _measure(image: Tensor, truth: Tensor, measures) -> dict[str, float]:
    return {name: measure(image, truth).mean().item() for name, measure in measures.items()}


def _needed(folder: str | Path | None, name: str, parts: str) -> Path:
    if folder is None:
        raise DataError(f"{name} needs the folder that holds {parts}; see derainlib.data.catalogue for where to get it")
    return Path(folder)


def _rain100l(folder: str | Path | None) -> Sequence[Pair]:
    return pairs.read(_needed(folder, "rain100l", "rain100l/") / "rain100l")


def _rain800(folder: str | Path | None) -> Sequence[Pair]:
    """Every fourth of Rain800's training pairs that no training here uses."""
    folder = _needed(folder, "rain800", "rain800/training and splits/rain800_train.txt")
    whole, listed = folder / "rain800" / "training", folder / "splits" / "rain800_train.txt"
    trained = set(pairs.read(whole, split=listed, check=False).names)
    return pairs.read(whole, split=[name for name in pairs.read(whole, check=False).names if name not in trained][::4])


def _streets(folder: str | Path | None) -> Sequence[Pair]:
    """Every sixth of CamVid's test streets, since neighbours in a video look alike, in PHPNet's rain."""
    camvid = _needed(folder, "streets", "camvid/") / "camvid"
    return scenes.RainyScenes(scenes.read(camvid, "test", scenes.CAMVID)[::6], "streets")


_PREFIXES = {"bsds500": "holdout", "skimage": "skimage", "urban100": "urban100"}
DATASETS = {
    **{f"{_PREFIXES[source]}-{kind}": partial(holdout.holdout, kind, source) for kind, source in holdout.SETS},
    "raintrainh": holdout.raintrainh,
    "rain100l": _rain100l,
    "rain800": _rain800,
    "streets": _streets,
}
"""Sets by name, each a function of the data folder."""


# --- tables ---------------------------------------------------------------------------------------------------------


def _short(value: float) -> float | None:
    # Two digits more than any table prints: of 0.9405 nobody knows any more whether it was above or below.
    return round(value, 6) if math.isfinite(value) else None


DIGITS = {"psnr": 2, "ssim": 3, "accuracy": 3, "miou": 3}
"""Digits after the point, as papers print them; SSIM that names its protocol ("ssim_y") has one more."""


def number(name: str, value: float | None, sign: str = "") -> str:
    """A score with as many digits as it deserves: two of PSNR in dB, four of SSIM, three of accuracy and mIoU.

    Args:
        name: of the score.
        value: None is infinity, "inf".
        sign: "+" for a difference, whose sign is always shown.
    """
    digits = DIGITS.get(name, 2 if name.startswith("psnr") else 4)
    return f"{math.inf if value is None else value:{sign}.{digits}f}"


def cell(name: str, s: Summary) -> str:
    """A score in a table: `30.12 ±0.45 (+3.61)` is its mean, half the width of its 95 % interval, and its gain."""
    mean = number(name, s.mean) + ("" if math.isinf(s.mean) else f" ±{number(name, (s.high - s.low) / 2)}")
    return mean if math.isinf(s.rainy) else f"{mean} ({number(name, s.gain, '+')})"


def lay_out(rows: Sequence[Sequence[str]], style: str = "text") -> str:
    """Rows of cells, the first of them titles, as a table: "text" for terminals, "markdown" for documents.

    Raises:
        DerainError: an unknown style.
    """
    if style not in ("text", "markdown"):
        raise DerainError(f"a table is 'text' or 'markdown', not {style!r}")
    return _markdown(rows) if style == "markdown" else aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
