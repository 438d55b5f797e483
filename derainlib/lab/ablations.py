"""The papers' ablation tables beside ours, for notebook 15: whatever reports lie in benchmarks/results.

    found = ablations.reports()                         # by the table's name, in the papers' order
    print(ablations.overview(found))
    ablations.draw(found["menet/table-1"], "rain100l")  # over the rainy input, over the reference row, and the paper
    ablations.derained(ablations.trained()["brn/table-3"], pair)    # what each row's network makes of a photograph

Nothing here names a table: a report that `tools/tables.py` adds is in the notebook when that is published again. A
measure is "psnr" or "ssim" throughout; of ours that is PSNR in RGB and SSIM in Y, as `coverage.OURS` has them.
"""

import itertools
import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas
import seaborn
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from derainlib import evaluation, metrics, papers, recipes, studies
from derainlib.errors import DerainError
from derainlib.lab import coverage, figures
from derainlib.lab.coverage import OURS
from derainlib.lab.figures import COLOURS, Picture
from derainlib.layers import Pair
from derainlib.models import weights

AXES = {"psnr": "PSNR (dB)", "ssim": "SSIM"}
"""The measures as axes call them."""

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 10: 2.262}
"""By how many standard errors a 95 % interval of Student's reaches to each side, by the number of values."""

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "weights"
"""Where the small networks of the tables' rows lie; they come with the repository."""

_TICKS = (0, 0.5, 1, 2, 5, 10, 20)
_DEALS = 5000
"""So many ways to deal scores out are tried, where there are more."""


def reports() -> dict[str, dict]:
    """The reports of all studies that were run, by the table's name, in the papers' order."""
    return {name: found for name in studies.STUDIES for found in coverage.reports(papers.get(name))}


def report(name: str) -> dict:
    """The report of one study.

    Raises:
        DerainError: it was not run; the message names those that were.
    """
    found = reports()
    if name not in found:
        raise DerainError(f"{name!r} has no report; there are {', '.join(found)}")
    return found[name]


def views(found: Mapping[str, Mapping]) -> dict[str, tuple[str, str]]:
    """Every set of every report, for a widget's list: "menet/table-1, rain100l" leads to both names."""
    return {f"{name}, {place}": (name, place) for name, report in found.items() for place in report["rows"][0]["sets"]}


def pictured(found: Mapping[str, Mapping]) -> dict[str, Mapping]:
    """The reports that have each image's score; those of earlier versions lack them."""
    return {name: one for name, one in found.items() if all("by_image" in own for *_, own in _scores(one, "psnr"))}


def repeated(found: Mapping[str, Mapping]) -> dict[str, Mapping]:
    """The reports of several seeds: one shows no spread, which is not a spread of none."""
    return {name: one for name, one in found.items() if len(one["budget"]["seeds"]) > 1}


def closest(report: Mapping) -> str:
    """Our set beside which most of the paper's orderings stand; the first one where it gives none."""
    counted = Counter(one.name for one in coverage.orderings(report))
    return max(report["rows"][0]["sets"], key=lambda place: counted[place])


# --- numbers -------------------------------------------------------------------------------------------------------


def by_seed(found: Mapping[str, Mapping], measure: str = "psnr") -> pandas.DataFrame:
    """Every training of every report: table, row, set, seed, score, rainy (of the input), and the gain over it."""
    lines = [
        {"table": name, "row": row["row"], "set": place, "seed": seed, "score": score, "rainy": one["rainy"]}
        for name, report in found.items()
        for row, place, one in _scores(report, measure)
        for seed, score in zip(row["seeds"], one["by_seed"], strict=True)
    ]
    frame = pandas.DataFrame(lines)
    return frame.assign(gain=frame["score"] - frame["rainy"])


def by_image(report: Mapping, place: str, measure: str = "psnr") -> pandas.DataFrame:
    """Each image's score, the mean over seeds: a column for each row of the table.

    Raises:
        DerainError: the report has none, as those of earlier versions.
    """
    found = {row["row"]: one.get("by_image") for row, name, one in _scores(report, measure) if name == place}
    if not found or None in found.values():
        raise DerainError(f"{report['study']} has no scores by image on {place}: train the table again")
    return pandas.DataFrame(found)


def differences(found: Mapping[str, Mapping], measure: str = "psnr") -> pandas.DataFrame:
    """Every row beside its table's reference row, on each of our sets, and what the paper says of both.

    Returns:
        table, row, set, place (the paper's set of that kind of rain, "" where it gives none), paper, ours, low, high
        (the ends of our interval), and told: whether the interval is clear of zero. A row of which the paper has
        several such sets stands there once for each.
    """
    lines = []
    for name, report in found.items():
        for row, place, one in _scores(report, measure):
            if "difference" not in one:
                continue
            ends = {end: one["difference"][end] for end in ("low", "high")}
            line = {"table": name, "row": row["row"], "set": place, "ours": one["difference"]["mean"]} | ends
            theirs = _theirs(report, row, place, measure)
            lines += [line | {"place": where, "paper": value} for where, value in (theirs or {"": math.nan}).items()]
    frame = pandas.DataFrame(lines)
    return frame.assign(told=(frame["low"] > 0) | (frame["high"] < 0))


def below(report: Mapping, measure: str = "psnr") -> dict[str, list[str]]:
    """Rows that are no better than the rainy input, with the sets on which they are not."""
    low: dict[str, list[str]] = {}
    for row, place, one in _scores(report, measure):
        if one["mean"] <= one["rainy"]:
            low.setdefault(row["row"], []).append(place)
    return low


def tau(report: Mapping, measure: str = "psnr") -> float:
    """Kendall's tau over all `coverage.orderings`: 1 where all are as in the paper, −1 where none is."""
    confirmed, of = coverage.agreement(report, measure)
    return 2 * confirmed / of - 1 if of else math.nan


def deals(report: Mapping, measure: str = "psnr") -> np.ndarray:
    """How many orderings would be as in the paper, had our rows other names.

    Args:
        report: of a study.
        measure: "psnr" or "ssim".

    Returns:
        a count for every way to deal our rows out among the paper's, or for 5,000 ways where there are more. All sets
        are dealt alike, for a row that is good on one of them is good on others.
    """
    found = list(coverage.orderings(report, measure))
    rows = list(dict.fromkeys(label for one in found for label in (one.first, one.second)))
    columns = list(dict.fromkeys((one.place, one.name) for one in found))
    if not found:
        return np.empty(0, int)
    theirs = np.zeros((len(columns), len(rows), len(rows)))
    for one in found:
        theirs[columns.index((one.place, one.name)), rows.index(one.first), rows.index(one.second)] = one.theirs
    means = {(row["row"], place): one["mean"] for row, place, one in _scores(report, measure)}
    ours = np.array([[means[row, name] for row in rows] for _, name in columns])
    return np.array([_as_theirs(ours[:, order], theirs) for order in _ways(len(rows))])


def by_chance(report: Mapping, measure: str = "psnr") -> float:
    """The share of `deals` that are as much like the paper as our own order is, or more."""
    counts = deals(report, measure)
    return (counts >= coverage.agreement(report, measure)[0]).mean().item() if len(counts) else math.nan


def seed_noise(report: Mapping, measure: str = "psnr") -> float:
    """The standard deviation, from seed to seed, of a row's difference to the reference; over all rows and sets."""
    found = [one["difference"]["by_seed"] for _, _, one in _scores(report, measure) if "difference" in one]
    several = [np.var(values, ddof=1) for values in found if len(values) > 1]
    return float(np.sqrt(np.mean(several))) if several else math.nan


def pixels(report: Mapping) -> float:
    """How many times as many pixels the paper's training sees, by the recipe of the reference row."""
    name, budget = next(row["recipe"] for row in report["rows"] if row["row"] == report["reference"]), report["budget"]
    paper = recipes.get(name, "full")
    return paper.steps * paper.batch * paper.patch**2 / (budget["steps"] * budget["batch"] * budget["patch"] ** 2)


def _scores(report: Mapping, measure: str) -> Iterator[tuple[Mapping, str, Mapping]]:
    """Each row on each set: the row, the set, and the scores."""
    return ((row, place, scores[OURS[measure]]) for row in report["rows"] for place, scores in row["sets"].items())


def _theirs(report: Mapping, row: Mapping, place: str, measure: str) -> dict[str, float]:
    """The paper's differences of a row, on its sets that have the kind of rain of our set `place`."""
    found = {where: one[measure] for where, one in row["paper_difference"].items() if measure in one}
    return {where: value for where, value in found.items() if place in coverage.alike(where, row["sets"])}


def _ways(rows: int) -> Iterator[Sequence[int]]:
    if math.factorial(rows) <= _DEALS:
        return itertools.permutations(range(rows))
    draw = np.random.default_rng(0)
    return (draw.permutation(rows) for _ in range(_DEALS))


def _as_theirs(ours: np.ndarray, theirs: np.ndarray) -> int:
    """How many differences have the same sign: (K, rows) scores of ours, (K, rows, rows) differences of theirs."""
    return int(((ours[:, :, None] - ours[:, None, :]) * theirs > 0).sum())


# --- networks ------------------------------------------------------------------------------------------------------


def trained(folder: Path = FOLDER) -> dict[str, dict[str, Path]]:
    """The weights of the papers' rows that lie in a folder: by table, then by the row's label, in the papers' order."""
    found: dict[str, dict[str, Path]] = {}
    for name, table in papers.TABLES.items():
        paths = {row.label: folder / f"{table.file(row.label)}.safetensors" for row in table.rows}
        if there := {label: path for label, path in paths.items() if path.is_file()}:
            found[name] = there
    return found


def derained(rows: Mapping[str, Path], pair: Pair, protocol: str = "rgb") -> dict[str, Tensor]:
    """What each row's network makes of a photograph, between the rainy one and the truth.

    Args:
        rows: weights by label, as `trained` has them for a table.
        pair: the photograph and its truth, a batch of one.
        protocol: on what PSNR is taken, a name in `metrics.PROTOCOLS`.

    Returns:
        Images (1, 3, H, W) in [0, 1], by titles with their PSNR: "rainy O: 12.6 dB", "BRN: 22.1 dB", …, "truth B".
    """
    images = {"rainy O": pair.rainy}
    with torch.inference_mode():
        for label, path in rows.items():
            images[label] = weights.load(path)(pair.rainy).background.clamp(0, 1)
    scores = {label: metrics.psnr(image, pair.clean, protocol).item() for label, image in images.items()}
    return {f"{label}: {scores[label]:.1f} dB": image for label, image in images.items()} | {"truth B": pair.clean}


# --- words ---------------------------------------------------------------------------------------------------------


def overview(found: Mapping[str, Mapping], measure: str = "psnr") -> str:
    """A line for each report: its budget, rows that are below the rainy input, and how far its order is the paper's."""
    lines = [["", "rows", "seeds", "steps", "pixels", "hours", "below rainy", "orderings", "tau", "by chance"]]
    for name, report in found.items():
        budget, (confirmed, of) = report["budget"], coverage.agreement(report, measure)
        order = [f"{confirmed} of {of}", f"{tau(report, measure):+.2f}", f"{by_chance(report, measure):.0%}"]
        line = [name, str(len(report["rows"])), str(len(budget["seeds"])), f"{budget['steps']:,}"]
        line += [f"1/{pixels(report):,.0f}", f"{report['seconds'] / 3600:.1f}", str(len(below(report, measure)))]
        lines.append([*line, *(order if of else ["none given", "", ""])])
    return evaluation.aligned(lines)


def sizes(report: Mapping) -> str:
    """A line for each row: its parameters, and PSNR on the set nearest to the paper's, ours and the paper's."""
    place = closest(report)
    lines = [[report["study"], "parameters", f"{place} (dB)", "the paper (dB)"]]
    for row, name, one in _scores(report, "psnr"):
        if name == place:
            theirs = (found["psnr"] for found in papers.get(report["study"]).row(row["row"]).figures.values())
            paper = next(theirs, None)
            lines.append([row["row"], f"{row['parameters']:,}", f"{one['mean']:.2f}", f"{paper:.2f}" if paper else "–"])
    return evaluation.aligned(lines)


def best(report: Mapping) -> str:
    """On how many images of the set nearest to the paper's each row has the highest PSNR, in a line.

    Raises:
        DerainError: the report has no scores by image.
    """
    place = closest(report)
    scores = by_image(report, place)
    counts = scores.idxmax(axis=1).value_counts().reindex(scores.columns, fill_value=0)
    shares = "; ".join(f"{row} on {count}" for row, count in counts.items())
    return f"{report['study']}, {len(scores)} images of {place}; the best row is {shares}"


def waiting() -> str:
    """The studies that were not run yet, a line each."""
    left = [table for table in studies.STUDIES.values() if not coverage.reports(table)]
    lines = [[table.name, f"{len(table.rows)} rows", table.source.partition(": ")[2]] for table in left]
    return evaluation.aligned([["waits", "", ""], *lines]) if lines else "no table waits"


def told(report: Mapping, measure: str = "psnr") -> str:
    """What a report says, in sentences: rows below the rainy input, rows told apart, the paper's signs and order."""
    low = "; ".join(f"{row} ({', '.join(places)})" for row, places in below(report, measure).items())
    lines = [f"no better than the rainy input: {low}" if low else "every row is above the rainy input"]
    frame = differences({report["study"]: report}, measure)
    ours = frame.drop_duplicates(["row", "set"])
    shared = frame[frame["told"] & frame["paper"].notna() & (frame["paper"] != 0)]
    signs = f"{(shared['ours'] * shared['paper'] > 0).sum()} of {len(shared)} with the paper's sign, where it has one"
    apart = f"told apart from {report['reference']!r}: {ours['told'].sum()} of {len(ours)} differences"
    lines.append(f"{apart}; {signs}" if len(shared) else apart)
    confirmed, of = coverage.agreement(report, measure)
    chance = f"with our rows dealt out by chance, as many or more in {by_chance(report, measure):.0%} of all cases"
    order = f"orderings of two rows as in the paper: {confirmed} of {of}, tau {tau(report, measure):+.2f}; {chance}"
    lines.append(order if of else "how the paper orders its rows is not known")
    return "\n".join(textwrap.fill(line, 112, subsequent_indent="  ") for line in lines)


def floors(found: Mapping[str, Mapping], measure: str = "psnr") -> str:
    """The noise of seeds in each report, what it hides, and how many of the paper's differences are larger than that.

    A floor is half the width of Student's 95 % interval over so many seeds: a difference below it can be chance.
    Reports of one seed are left out.
    """
    shown = (2, 3, 5, 10)
    lines = [
        [AXES[measure], "from seed to seed", *(f"floor, {seeds} seeds" for seeds in shown), "the paper's above them"]
    ]
    for name, report in repeated(found).items():
        noise, frame = seed_noise(report, measure), differences({name: report}, measure)
        theirs = frame.drop_duplicates(["row", "place"])["paper"].dropna().abs()
        heights = [STUDENT[seeds] * noise / math.sqrt(seeds) for seeds in shown]
        above = ", ".join(str((theirs > height).sum()) for height in heights)
        numbers = [evaluation.number(measure, value) for value in (noise, *heights)]
        lines.append([name, *numbers, f"{above} of {len(theirs)}" if len(theirs) else "none given"])
    return evaluation.aligned(lines)


# --- figures -------------------------------------------------------------------------------------------------------


def draw(report: Mapping, place: str, measure: str = "psnr") -> Picture:
    """A table's rows on one of our sets: over the rainy input, over the reference row, and what the paper has.

    Bars are means, dots are seeds, whiskers the 95 % interval over images and seeds.
    """
    rows = {row["row"]: one for row, name, one in _scores(report, measure) if name == place}
    images = report["rows"][0]["sets"][place]["images"]
    summary = f"{report['study']} on {place}, {measure}: over the rainy input, over {report['reference']}, the paper"
    size = 9, 1.4 + 0.3 * len(rows)
    figure, (left, middle, right) = figures.canvas(1, 3, size, summary, sharey=True, width_ratios=(1, 1.1, 1))
    rainy = next(iter(rows.values()))["rainy"]
    gains = [one["mean"] - rainy for one in rows.values()]
    colours = [COLOURS["derained" if gain > 0 else "rain"] for gain in gains]
    left.barh(range(len(rows)), gains, color=colours, alpha=0.7)
    for y, one in enumerate(rows.values()):
        left.plot(np.array(one["by_seed"]) - rainy, [y] * len(one["by_seed"]), ".", color="black", ms=4)
    left.set(
        title=f"ours, {place}, {images} images",
        xlabel=f"{AXES[measure]} over rainy input ({evaluation.number(measure, rainy)})",
    )
    nothing = {"mean": 0.0, "low": 0.0, "high": 0.0}
    found = {tex(row): one.get("difference", nothing) for row, one in rows.items()}
    figures.differences(middle, found, f"{AXES[measure]} over {tex(report['reference'])}")
    middle.set_title("ours")
    _bars(right, report, place, measure)
    for ax in (left, right):
        ax.axvline(0, color="black", lw=1)
    return figure


def _bars(ax: Axes, report: Mapping, place: str, measure: str) -> None:
    """The paper's differences as bars, one for each of its sets with the kind of rain of `place`."""
    theirs = [_theirs(report, row, place, measure) for row in report["rows"]]
    places = list(dict.fromkeys(where for one in theirs for where in one))
    for number, where in enumerate(places):
        height = 0.8 / len(places)
        at = np.arange(len(theirs)) + (number - (len(places) - 1) / 2) * height
        ax.barh(at, [one.get(where, math.nan) for one in theirs], height, color=f"{0.35 + 0.2 * number}", label=where)
    if not places:
        ax.set(title="the paper: no such figures", xticks=[])
        return
    title = f"the paper, {places[0]}" if len(places) == 1 else "the paper"
    ax.set(title=title, xlabel=f"{AXES[measure]} over {tex(report['reference'])}")
    if len(places) > 1:
        ax.legend(fontsize=7)


def order_map(report: Mapping, place: str, measure: str = "psnr") -> Picture:
    """Which orderings of two rows are as in the paper, on one of our sets; a map for each of the paper's sets.

    A cell has how much more the row at its left has than the one below it, in ours.
    """
    found = [one for one in coverage.orderings(report, measure) if one.name == place]
    places = list(dict.fromkeys(one.place for one in found))
    rows = [row["row"] for row in report["rows"]]
    side = 1.3 + 0.42 * len(rows)
    size = (max(1, len(places)) * side + 1.2, side)
    summary = f"{report['study']} on {place}, {measure}: orderings as in the paper, and not"
    figure, axes = figures.canvas(1, max(1, len(places)), size, summary, sharey=True, squeeze=False)
    axes[0, 0].set_title("" if places else f"{place}: the paper orders no rows")
    for ax, where in zip(axes[0], places, strict=False):
        of = {(one.second, one.first): one for one in found if one.place == where}
        agree = pandas.DataFrame(index=rows[1:], columns=rows[:-1], dtype=float)
        notes = pandas.DataFrame("", index=rows[1:], columns=rows[:-1])
        for (row, column), one in of.items():
            agree.loc[row, column] = float(one.agrees)
            notes.loc[row, column] = f"{-one.ours:+.2f}" if measure == "psnr" else f"{-one.ours:+.3f}"
        colours = [COLOURS["rain"], COLOURS["clean"]]
        options = {
            "annot": notes,
            "fmt": "",
            "annot_kws": {"fontsize": 8, "color": "black"},
            "linewidths": 1,
            "cbar": False,
        }
        seaborn.heatmap(agree, vmin=0, vmax=1, cmap=colours, alpha=0.6, ax=ax, **options)
        confirmed = sum(one.agrees for one in of.values())
        ax.set_title(f"{where}: {confirmed} of {len(of)}", fontsize=10)
        ax.set_xticklabels(map(tex, rows[:-1]), rotation=35, ha="right", fontsize=8)
        ax.set_yticklabels(map(tex, rows[1:]), rotation=0, fontsize=8)
    return figure


def tex(label: str) -> str:
    """A row's label with its losses as symbols: "L_p L_e" becomes "$L_{p}$ $L_{e}$"."""
    return re.sub(r"\b(L_\w+)", lambda match: f"${match[1].replace('_', '_{')}}}$", label)


def decibels(ax: Axes, *names: str) -> None:
    """Makes axes ("x", "y") straight up to a decibel and logarithmic beyond, with plain numbers on them."""
    for name in names:
        getattr(ax, f"set_{name}scale")("symlog", linthresh=1)
        axis = getattr(ax, f"{name}axis")
        axis.set_major_locator(FixedLocator([sign * tick for tick in _TICKS for sign in (-1, 1)]))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
