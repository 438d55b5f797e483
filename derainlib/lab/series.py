"""The series of notebooks: its table of contents, and the links that are generated from it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import nbformat

from derainlib.evaluation import number

CONTENTS, NAVIGATION, SCORES, CHOICE = "contents", "navigation", "scores", "choice"
"""Names of the generated parts of a text, each between `<!-- name -->` and `<!-- /name -->`."""


class Entry(NamedTuple):
    """A notebook of the series; `name` is its file without the ending: numbered 08, or 08b for a second part."""

    name: str
    title: str
    promise: str

    @property
    def number(self) -> str:
        return self.name.partition("_")[0]

    @property
    def file(self) -> str:
        return f"{self.name}.ipynb"

    @property
    def heading(self) -> str:
        return f"{self.number} · {self.title}"


# Numbers are kept for good; a second part of 08 is 08b. A notebook that does not exist yet is listed nowhere but here.
SERIES = tuple(
    Entry(*row)
    for row in (
        ("00_start_here", "Start here", "Take the rain off a photograph, yours or ours."),
        ("01_rain_model", "The rain model", "Draw rain, lay it on a scene, see why undoing it is ill-posed."),
        (
            "02_data_and_metrics",
            "Data and metrics",
            "Pairs, leaks, scores, and why papers disagree by 1.3 dB.",
        ),
        (
            "03_sparsity_statistics",
            "Sparsity statistics",
            "How the derivatives of photographs and rain differ.",
        ),
        ("04_decomposition_by_descent", "Decomposition by descent", "Take an image apart without a network."),
        ("05_qsnet", "QSNet", "Quasi-sparsity losses and an auxiliary decoder at every scale."),
        ("06_dcdnet", "DCDNet", "Twelve stages that share 17,305 weights."),
        ("07_srn_brn", "SRN and BRN", "ConvLSTMs over stages, and two branches that talk to each other."),
        ("08_phpnet", "PHPNet", "Pyramids, contrast-aware pooling, and what each of three losses is worth."),
        ("09_seeing_through_rain", "Seeing through rain", "Segment a street before and after deraining."),
        ("10_menet", "MENET", "Edges, textures and contents as tasks of one network."),
        ("11_balancing_tasks", "Balancing tasks", "Weights for several losses, by loss and by gradient."),
        ("12_loss_lab", "Loss lab", "Any weighted sum of losses, on any network."),
        ("13_network_lab", "Network lab", "Take blocks out, put others in, and count what they cost."),
        ("14_train", "Train", "Any recipe, at any scale, from a notebook or from the command line."),
        ("15_ablation_studies", "Ablation studies", "The papers' tables, run again."),
        ("16_leaderboard", "Leaderboard", "All networks, all sets, one protocol each."),
        ("17_beyond_one_machine", "Beyond one machine", "Several GPUs, several machines, one command."),
    )
)


def existing(folder: Path) -> list[Entry]:
    """The notebooks of the series that are in `folder`, in order."""
    return [entry for entry in SERIES if (folder / entry.file).is_file()]


def contents(entries: Iterable[Entry], prefix: str = "") -> str:
    """The table of contents in Markdown; `prefix` leads from where it stands to the notebooks."""
    rows = (f"| [{entry.heading}]({prefix}{entry.file}) | {entry.promise} |" for entry in entries)
    return "\n".join(("", "| notebook | what it shows |", "|---|---|", *rows, ""))


def navigation(entry: Entry, entries: list[Entry], seconds: int | None) -> str:
    """The line of links under a notebook's title.

    Args:
        entry: the notebook; `entries`: those that exist, in order, it among them.
        seconds: the CPU time that it takes.
    """
    place = entries.index(entry)
    before, after = entries[place - 1 : place], entries[place + 1 : place + 2]
    parts = [f"← [{other.heading}]({other.file})" for other in before]
    parts += ["[contents](../README.md#the-series)"]
    parts += [f"[{other.heading}]({other.file}) →" for other in after]
    parts += [f"{duration(seconds)} of CPU time"] if seconds else []
    return " | ".join(parts)


def duration(seconds: int) -> str:
    """A time as a reader wants it: 40 s, 3 min."""
    return f"{seconds} s" if seconds < 100 else f"{round(seconds / 60)} min"


NETWORKS = {
    "qsnet": "QSNet",
    "dcdnet": "DCDNet",
    "srn": "SRN",
    "brn": "BRN",
    "phpnet": "PHPNet",
    "menet": "MENET",
}
"""The networks that the README compares, in the order of the series, by the name of their weights."""

ROWS = (
    ("Rain100L, 100 pairs", "rain100l", "psnr_y", "ssim_y"),
    ("hold-out, light rain", "holdout-light", "psnr_rgb", "ssim_y"),
    ("hold-out, heavy rain", "holdout-heavy", "psnr_rgb", "ssim_y"),
    ("light rain, turned by 90°", "holdout-side-light", "psnr_rgb", "ssim_y"),
    ("heavy rain, turned by 90°", "holdout-side-heavy", "psnr_rgb", "ssim_y"),
    ("broad streaks out of focus", "holdout-wide", "psnr_rgb", "ssim_y"),
    ("hold-out, rain in mist", "holdout-veil", "psnr_rgb", "ssim_y"),
    ("Rain800, 56 pairs left out", "rain800", "psnr_rgb", "ssim_y"),
)
"""Rows of the README's table of scores: what it is called, the set, its PSNR and its SSIM."""

DRY = (("no rain at all: mean, worst", "holdout-dry"), ("no rain, buildings: mean, worst", "urban100-dry"))
"""Its last rows: photographs without rain, what the network does to them, and the set; PSNR of the 8-bit result."""

SITUATIONS = (
    ("light rain", "holdout-light", "psnr_rgb"),
    ("a downpour", "holdout-heavy", "psnr_rgb"),
    ("light rain from the side, or a photograph that lies on its side", "holdout-side-light", "psnr_rgb"),
    ("a downpour from the side", "holdout-side-heavy", "psnr_rgb"),
    ("broad streaks out of focus", "holdout-wide", "psnr_rgb"),
    ("rain in mist", "holdout-veil", "psnr_rgb"),
    ("perhaps no rain at all", "holdout-dry", "psnr_rgb8"),
)
"""What falls on somebody's photograph, the set that is likest to it, and the score that decides."""


def scores(cards: Mapping[str, dict]) -> str:
    """The scores of networks beside the rainy input's, as a Markdown table: the rows that all their cards have."""
    scored = [name for name in NETWORKS if cards.get(name, {}).get("scores")]
    if not scored:
        return ""
    measured = set.intersection(*(set(cards[name]["scores"]) for name in scored))
    cards = {_label(name, cards[name]): cards[name] for name in scored}
    lines = [f"| PSNR (dB) / SSIM | rainy input | {' | '.join(cards)} |", "|---" * (len(cards) + 2) + "|"]
    for title, dataset, psnr, ssim in (row for row in ROWS if row[1] in measured):
        found = [card["scores"][dataset] for card in cards.values()]
        shown = [(found[0], "rainy"), *((one, "mean") for one in found)]
        cells = [f"{number('psnr', one[psnr][part])} / {number('ssim', one[ssim][part])}" for one, part in shown]
        lines.append(f"| {title} ({'Y' if psnr.endswith('y') else 'RGB'} / Y) | {' | '.join(cells)} |")
    for title, dataset in (row for row in DRY if row[1] in measured):
        found = [card["scores"][dataset]["psnr_rgb8"] for card in cards.values()]
        cells = [f"{one['mean']:.1f}, {one['worst']:.1f}" for one in found]
        lines.append(f"| {title} (RGB) | – | {' | '.join(cells)} |")
    return "\n".join(["", *lines, ""])


def choice(cards: Mapping[str, dict]) -> str:
    """Which network for which photograph, as a Markdown table: the two best of those that have been scored on it."""
    lines = ["| on the photograph | take | PSNR (dB) | or |", "|---|---|---|---|"]
    for what, dataset, score in SITUATIONS:
        scored = [name for name in NETWORKS if dataset in cards.get(name, {}).get("scores", {})]
        if len(scored) < 2:
            continue
        found = {name: cards[name]["scores"][dataset][score] for name in scored}
        first, second = sorted(found, key=lambda name: -found[name]["mean"])[:2]
        rainy = found[first].get("rainy")
        before = f"{number('psnr', rainy)} → " if rainy else ""
        best, next_best = (number("psnr", found[name]["mean"]) for name in (first, second))
        lines.append(f"| {what} | `{first}` | {before}{best} | `{second}`, {next_best} |")
    return "\n".join(["", *lines, ""])


def _label(name: str, card: dict) -> str:
    stages = card["options"].get("stages")
    return f"{NETWORKS[name]} (T = {stages})" if stages else NETWORKS[name]


def fill(text: str, name: str, content: str) -> str:
    """`text` with `content` between the marks of the generated part `name`, where it has them."""
    marks = rf"(<!-- {name} -->).*?(<!-- /{name} -->)"
    return re.sub(marks, lambda match: f"{match[1]}\n{content}\n{match[2]}", text, flags=re.DOTALL)


def filled(notebook: nbformat.NotebookNode, entry: Entry, entries: list[Entry]) -> bool:
    """Bring the generated parts of a notebook up to date; whether that changed it."""
    seconds = notebook.metadata.get("derainlib", {}).get("cpu_seconds")
    changed = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = fill(cell.source, NAVIGATION, navigation(entry, entries, seconds))
            source = fill(source, CONTENTS, contents(entries))
            changed |= source != cell.source
            cell.source = source
    return changed
