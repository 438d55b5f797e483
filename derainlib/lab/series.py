"""The series of notebooks: its table of contents, and the links that are generated from it."""

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat

from derainlib.evaluation import number
from derainlib.lab import numbers

CONTENTS, NAVIGATION, SCORES, CHOICE, QUESTIONS = "contents", "navigation", "scores", "choice", "questions"
"""Names of the generated parts of a text, each between `<!-- name -->` and `<!-- /name -->`."""


class Entry(NamedTuple):
    """A notebook of the series.

    Attributes:
        name: its file without the ending, numbered: 08, or 08b for the part that follows.
        minutes: how long a student takes who reads all, moves the demos and does the exercises; an estimate, by 150
            words or 20 lines of code a minute, three minutes for a demo and seven for an exercise.
        level: 1 wants no more than school, 2 wants convolutions or statistics, 3 a paper read with a pencil.
        needs: numbers of the notebooks that it builds on.
    """

    name: str
    title: str
    promise: str
    minutes: int = 60
    level: int = 2
    needs: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        return self.name.partition("_")[0]

    @property
    def file(self) -> str:
        return f"{self.name}.ipynb"

    @property
    def builds_on(self) -> tuple[str, ...]:
        """What it needs; a second part needs the first, if nothing else is said."""
        return self.needs or ((self.number[:2],) if self.number[2:] else ())

    @property
    def heading(self) -> str:
        return f"{self.number} · {self.title}"


PATHS = {
    "student": ("how rain is taken off, and how to do it oneself", ("00", "01", "02", "07", "12", "14")),
    "researcher": (
        "what five papers claim, derived and tested",
        ("01", "02", "03", "04", "05", "06", "07", "08", "10", "11", "15"),
    ),
    "engineer": ("which network, on what data, at what cost", ("00", "02", "14", "13", "09", "16", "17")),
}
"""Ways through the series: for whom, to what end, and the numbers in order; a second part follows its first."""

LEVELS = "●○○ school and curiosity, ●●○ convolutions and statistics, ●●● with paper and pencil"

GLOSSARY = "glossary.md"
"""The page of symbols and terms, among the notebooks."""


# Numbers are kept for good; a second part of 08 is 08b. A notebook that does not exist yet is listed nowhere but here.
SERIES = tuple(
    Entry(*row)
    for row in (
        ("00_start_here", "Start here", "Take the rain off a photograph, yours or ours.", 40, 1),
        ("01_rain_model", "The rain model", "Draw rain, lay it on a scene, see why undoing it is ill-posed.", 80, 1),
        ("02_data_and_metrics", "Data and metrics",
         "Pairs, leaks, scores, and why papers disagree by 1.3 dB.", 90, 1, ("01",)),
        ("03_sparsity_statistics", "Sparsity statistics",
         "How the derivatives of photographs and rain differ.", 80, 3, ("01",)),
        ("04_decomposition_by_descent", "Decomposition by descent",
         "Take an image apart without a network.", 60, 3, ("01", "03")),
        ("05_qsnet", "QSNet", "Groups and shuffles, five scales, and a picture decoded from each.", 75, 2, ("01",)),
        ("05b_qsnet_losses", "QSNet's losses", "Four losses, how loud each is, and what a seed is worth.", 50, 2),
        ("06_dcdnet", "DCDNet", "Twelve stages that share 17,305 weights.", 60, 2, ("01",)),
        ("06b_dcdnet_in_numbers", "DCDNet in numbers",
         "Stages, losses, 335 missing parameters, and two tables again.", 60, 2),
        ("07_srn_brn", "SRN and BRN",
         "ConvLSTMs over stages, and two branches that talk to each other.", 90, 2, ("01", "02")),
        ("08_phpnet", "PHPNet",
         "Pyramids, contrast-aware pooling, and two pictures one after the other.", 70, 2, ("01", "02")),
        ("08b_phpnet_losses", "PHPNet's losses",
         "A distance, an angle and a reader: what each of three losses is worth.", 70, 2),
        ("09_seeing_through_rain", "Seeing through rain",
         "Segment a street before and after deraining.", 60, 2, ("02", "08")),
        ("09b_does_deraining_pay", "Does deraining pay?", "Where it harms, and readers that know rain.", 40, 2),
        ("10_menet", "MENET",
         "A U-Net that loses no pixel, and attention to the whole photograph.", 60, 2, ("01", "02")),
        ("10b_menet_losses", "MENET's losses", "Edges, textures and contents as tasks of one network.", 60, 2),
        ("11_balancing_tasks", "Balancing tasks",
         "Weights for several losses, by loss and by gradient.", 60, 3, ("10b",)),
        ("11b_balanced_training", "Balanced training",
         "Who survives 10ᵏ, weights from uncertainty, the paper's Table I.", 60, 2),
        ("12_loss_lab", "Loss lab", "Any weighted sum of losses, on any network.", 50, 2, ("02",)),
        ("13_network_lab", "Network lab", "Take blocks out, put others in, and count what they cost.", 50, 2, ("07",)),
        ("14_train", "Train", "Any recipe, at any scale, from a notebook or from the command line.", 40, 1, ("02",)),
        ("15_ablation_studies", "Ablation studies", "The papers' tables, run again.", 60, 3, ("02",)),
        ("16_leaderboard", "Leaderboard", "All networks, all sets, one protocol each.", 40, 2, ("02", "15")),
        ("17_beyond_one_machine", "Beyond one machine", "Several GPUs, several machines, one command.", 40, 2, ("14",)),
    )
)  # fmt: skip


def existing(folder: Path) -> list[Entry]:
    """The notebooks of the series that are in `folder`, in order."""
    return [entry for entry in SERIES if (folder / entry.file).is_file()]


def contents(entries: Sequence[Entry], prefix: str = "") -> str:
    """The map in Markdown: the paths, then every notebook; `prefix` leads from where it stands to the notebooks."""
    links = {entry.number: f"[{entry.number}]({prefix}{entry.file})" for entry in entries}
    ways = (
        f"- **{name}** ({aim}, {_hours(path)}): {' → '.join(links[entry.number] for entry in path)}"
        for name, (aim, _) in PATHS.items()
        if (path := on_path(name, entries))
    )
    rows = (
        f"| [{entry.heading}]({prefix}{entry.file}) | {entry.promise} | {entry.minutes} | {_level(entry)} "
        f"| {', '.join(_known(entry, links)) or '–'} |"
        for entry in entries
    )
    head = ("| notebook | what it shows | minutes | level | builds on |", "|---|---|---|---|---|")
    page = f"Symbols and terms: the [glossary]({prefix}{GLOSSARY}). Levels: {LEVELS}."
    return "\n".join(("", *ways, "", page, "", *head, *rows, ""))


def on_path(name: str, entries: Iterable[Entry]) -> list[Entry]:
    """The notebooks of a path in its order, those of `entries`; a second part behind its first."""
    places = {number: place for place, number in enumerate(PATHS[name][1])}
    return sorted((e for e in entries if e.number[:2] in places), key=lambda e: (places[e.number[:2]], e.number))


def navigation(entry: Entry, entries: list[Entry], seconds: int | None) -> str:
    """The links under a notebook's title, and where it stands on the paths.

    Args:
        entry: the notebook; `entries`: those that exist, in order, it among them.
        seconds: the CPU time that it takes.
    """
    place = entries.index(entry)
    before, after = entries[place - 1 : place], entries[place + 1 : place + 2]
    parts = [f"← [{other.heading}]({other.file})" for other in before]
    parts += ["[contents](../README.md#the-series)", f"[glossary]({GLOSSARY})"]
    parts += [f"[{other.heading}]({other.file}) →" for other in after]
    parts += [f"{duration(seconds)} of CPU time"] if seconds else []
    return f"{' | '.join(parts)}\n\n{here(entry, entries)}"


def here(entry: Entry, entries: Sequence[Entry]) -> str:
    """You are here: the place on each path with the next stop, the study time, the level, and what it builds on."""
    parts = []
    for name in PATHS:
        path = on_path(name, entries)
        if entry in path:
            place = path.index(entry) + 1
            following = "".join(f", then [{other.number}]({other.file})" for other in path[place : place + 1])
            parts.append(f"{name} {place} of {len(path)}{following}")
    known = _known(entry, {other.number: f"[{other.number}]({other.file})" for other in entries})
    parts += [f"{entry.minutes} minutes", f"level {_level(entry)}"]
    parts += [f"builds on {', '.join(known)}"] if known else []
    return f"**You are here**: {' · '.join(parts)}"


def _known(entry: Entry, links: Mapping[str, str]) -> list[str]:
    return [links[number] for number in entry.builds_on if number in links]


def _level(entry: Entry) -> str:
    return "●" * entry.level + "○" * (3 - entry.level)


def _hours(entries: Iterable[Entry]) -> str:
    return f"about {sum(entry.minutes for entry in entries) / 60:.0f} hours"


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
    ("RainTrainH's own layers, 17", "raintrainh", "psnr_rgb", "ssim_y"),
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


def questionnaire(entry: Entry) -> str:
    """The questions at a notebook's end in Markdown, each with its answer to unfold; empty if there are none.

    They stand in `questions/<name>.md`, a heading with its question above each answer.
    """
    path = Path(__file__).parent / "questions" / f"{entry.name}.md"
    if not path.is_file():
        return ""
    asked = (
        part.strip().split("\n\n", 1) for part in re.split("^### ", path.read_text("utf-8"), flags=re.MULTILINE)[1:]
    )
    unfolding = (
        f"**{place}.** {question}\n\n<details><summary>Answer</summary>\n\n{answer}\n\n</details>\n"
        for place, (question, answer) in enumerate(asked, 1)
    )
    return "\n".join(("", "## Do you remember?", "", *unfolding))


def _marked(notebook: nbformat.NotebookNode) -> None:
    """Put the mark of the questions before the further reading, where a notebook has none."""
    marks, end = (f"<!-- {QUESTIONS} -->", f"<!-- /{QUESTIONS} -->"), "## Further reading"
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    if not any(marks[0] in cell.source for cell in prose):
        for cell in prose:
            cell.source = re.sub(f"^{end}", f"{marks[0]}\n{marks[1]}\n\n{end}", cell.source, flags=re.MULTILINE)


def _exercises(text: str, entry: Entry) -> str:
    """`text` with the question of each exercise that has a mark in it, `<!-- exercise name -->`."""
    for name in re.findall(r"<!-- exercise (\w+) -->", text):
        module = importlib.import_module(f"derainlib.lab.exercises.{entry.name.partition('_')[2]}")
        text = fill(text, f"exercise {name}", f"\n{getattr(module, name).markdown}\n")
    return text


def filled(notebook: nbformat.NotebookNode, entry: Entry, entries: list[Entry]) -> bool:
    """Bring the generated parts of a notebook up to date; whether that changed it."""
    seconds = notebook.metadata.get("derainlib", {}).get("cpu_seconds")
    before = [cell.source for cell in notebook.cells]
    questions = numbers.written(questionnaire(entry), numbers.printed(notebook))
    if questions:
        _marked(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = fill(cell.source, NAVIGATION, navigation(entry, entries, seconds))
            source = fill(source, CONTENTS, contents(entries))
            cell.source = _exercises(fill(source, QUESTIONS, questions), entry)
    return before != [cell.source for cell in notebook.cells]
