"""Studies: a paper's ablation table as data, trained again at one equal budget and scored with intervals.

    order = Order(("dcdnet/table-3", "dcdnet/table-4"), "studies", steps=1500, seeds=(0, 1), without=("perceptual",))
    for report in order.run(jobs=2):
        print(table(report))

Each row is trained once for each seed, in a folder of its own that is named by everything that decides the result. An
interrupted study goes on where it was, a finished training is never repeated, and rows that two studies share are
trained once. A finished training counts whatever version of the code made it: another version wants another folder.
The final weights are scored, not the best ones: no score chooses what it then judges. The folder holds

    runs/NETWORK-seed-S-HASH/   a training (`derainlib.training`), and scores.json with the scores of every image
    STUDY.json                  the report: budget, rows, differences to the reference row and their intervals, and
                                the scores of every image
"""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import numpy as np
import torch

from derainlib import evaluation, files, papers, recipes
from derainlib.errors import DerainError, RecipeError
from derainlib.evaluation import Scores
from derainlib.losses import TERMS
from derainlib.papers.table import QUALITY, Row, Table
from derainlib.recipe import Recipe, check_type
from derainlib.training import Job
from derainlib.workshop import FINAL, LAST_STAGE, Outcome, Trial, dataset, identity, work_through

STUDIES = {table.name: table.trained() for table in papers.TABLES.values() if table.reference}
"""The papers' tables that can be trained again, and ours beside them, by name, with the rows that have recipes."""


def get(name: str) -> Table:
    """The study called `name`.

    Raises:
        RecipeError: there is none.
    """
    if name not in STUDIES:
        raise RecipeError(f"no study is called {name!r}; there are {', '.join(STUDIES)}")
    return STUDIES[name]


BUDGET = ("steps", "batch", "patch")
"""Fields of a recipe that must be equal in all rows of a study."""


@dataclass(frozen=True)
class Order:
    """Studies at one equal budget, asked for by names; what is shared by all rows stands here."""

    studies: tuple[str, ...]
    """Names of studies; rows that they share are trained once."""
    out_dir: str
    """Folder of all trainings and reports; what it holds already is used, and a study in it goes on."""
    _: KW_ONLY
    scale: str = "quick"
    """full (the paper's values), quick (two cores, hours) or tiny (seconds)."""
    steps: int = 0
    """Optimiser steps of every training; 0 leaves the scale's."""
    seeds: tuple[int, ...] = (0, 1)
    """Each row is trained once for each. A seed decides the first weights, the samples and their rain."""
    changes: dict = field(default_factory=dict)
    """Fields of every row's recipe to change. What makes a row what it is stays: the row's own options and changes."""
    without: tuple[str, ...] = ()
    """Terms that are left out of every row's loss, for example "perceptual" where no VGG weights are at hand."""
    rows: tuple[str, ...] = ()
    """Labels of the rows to train, the reference being one of them anyhow; empty for all."""
    data: dict = field(default_factory=dict)
    """What to train on: `training.Job`'s pairs_dir, clean_dir … by name; its vgg, for rows with a perceptual term."""
    sets: tuple[str, ...] = ("skimage-light", "skimage-heavy")
    """Sets of pairs to score on, by the names that `derainlib.evaluation.dataset` knows, or by folder."""
    sets_dir: str = ""
    """The folder that holds bsds500/ and rain100l/, for the sets that need it."""

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            check_type(spec.name, getattr(self, spec.name), spec.type)
        for name in ("studies", "seeds", "sets"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise RecipeError(f"{name} must be at least one, and all different; got {values}")
        if min(self.seeds) < 0 or self.steps < 0:
            raise RecipeError(f"seeds and steps must not be negative; got {self.seeds} and {self.steps}")
        reserved = [name for name in ("name", "source", "seed", "steps", "minutes") if name in self.changes]
        if reserved:
            raise RecipeError(f"a study sets {', '.join(reserved)} itself, by its rows, seeds and steps")
        unknown = [term for term in self.without if term not in TERMS]
        if unknown:
            raise RecipeError(f"no loss term is called {', '.join(unknown)}; there are {', '.join(TERMS)}")

    def chosen(self) -> list[Table]:
        """The studies, with the rows asked for."""
        return [get(name).only(self.rows) for name in self.studies]

    def trial(self, row: Row, seed: int) -> Trial:
        """The training of a row.

        Raises:
            DerainError: a recipe or data that do not fit.
        """
        recipe = self._recipe(row, seed)
        job = Job.of(self.data | {"recipe": recipe.name, "out_dir": self.out_dir})
        if job.vgg:  # not `recipe.judged_by`, which refuses a row without a perceptual term
            recipe = recipe.replace(losses=tuple(loss.judged_by(job.vgg) for loss in recipe.losses))
        folder = Path(self.out_dir) / "runs" / identity(recipe, job.sources(recipe.rain).note)
        return Trial(recipe, functools.partial(job.sources, recipe.rain), folder)

    def _recipe(self, row: Row, seed: int) -> Recipe:
        """The row's recipe at the scale: first what all rows share, then what is the row's own."""
        scaled = recipes.at_scale(row.recipe, self.scale)["options"]
        own = {key: value for key, value in scaled.items() if key in row.recipe.options}
        shared = self.changes | ({"steps": self.steps} if self.steps else {})
        check_type("options", shared.get("options", {}), dict)
        options = scaled | shared.get("options", {}) | own | row.changes.get("options", {})
        changes = shared | row.changes | {"options": options, "seed": seed}
        found = recipes.get(row.recipe.name, self.scale, **changes)
        losses = tuple(loss for loss in found.losses if loss.term not in self.without)
        return found if losses == found.losses else found.replace(losses=losses)

    def run(self, jobs: int = 1, progress: bool = False) -> list[dict]:
        """Trains what is not trained, scores what is not scored, and writes a report for each study.

        Everything is checked first, down to a training step of every row on one sample. Then an error in one training
        leaves the others whole; the reports say which failed.

        Args:
            jobs: processes that train at the same time, each with one thread.
            progress: whether to show a bar, and a line for each training.

        Returns:
            The reports, see `report`, in the order of `studies`.

        Raises:
            DerainError: something in the order does not fit; nothing was trained.
        """
        if jobs < 1:
            raise DerainError(f"jobs is {jobs}; at least one process must train")
        trials = self.check()
        _make(Path(self.out_dir) / "runs")
        once = {trial.folder: trial for trial in trials.values()}
        failures = work_through(list(once.values()), self.sets, self.sets_dir, jobs, progress)
        return [self._report(study, trials, failures) for study in self.chosen()]

    def check(self) -> dict[tuple[str, str, int], Trial]:
        """All trainings by (study, label, seed), each tried for one step on one sample.

        Raises:
            DerainError: what does not fit.
        """
        studies = self.chosen()
        trials = {
            (study.name, row.label, seed): self.trial(row, seed)
            for seed in self.seeds
            for study in studies
            for row in study.rows
        }
        for study in studies:
            self._compare_rows(study, [trials[study.name, row.label, self.seeds[0]] for row in study.rows])
        used = {loss.term for study in studies for row in study.rows for loss in row.recipe.losses}
        unused = [term for term in self.without if term not in used]
        if unused:
            raise RecipeError(f"no row has a term {', '.join(unused)} to leave out")
        for name in self.sets:
            dataset(name, self.sets_dir)
        once = {trial.folder: trial for (_, _, seed), trial in trials.items() if seed == self.seeds[0]}
        for trial in once.values():
            if not trial.is_trained:
                trial.rehearse()
        return trials

    def _compare_rows(self, study: Table, trials: Sequence[Trial]):
        """Refuses rows of different budgets, and rows that are the same training."""
        for name in BUDGET:
            found = {getattr(trial.recipe, name) for trial in trials}
            if len(found) > 1:
                raise RecipeError(f"{study.name}: {name} is {sorted(found)} in its rows; set one for all")
        seen = {}
        for row, trial in zip(study.rows, trials, strict=True):
            if trial.folder in seen:
                raise RecipeError(
                    f"{study.name}: the rows {seen[trial.folder]!r} and {row.label!r} would be the same training; "
                    "a shared change undoes their difference"
                )
            seen[trial.folder] = row.label

    def _report(self, study: Table, trials: Mapping, failures: Mapping[Path, str]) -> dict:
        """The report of a study, written too."""
        own = {(label, seed): trial for (name, label, seed), trial in trials.items() if name == study.name}
        failed = [
            {"row": label, "seed": seed, "error": failures[trial.folder]}
            for (label, seed), trial in own.items()
            if trial.folder in failures
        ]
        done = {key: Outcome.read(trial, self.sets) for key, trial in own.items() if trial.folder not in failures}
        facts = {"budget": self._budget(own), "torch": torch.__version__, "failed": failed}
        found = report(study, done) | facts
        path = Path(self.out_dir) / f"{study.name.replace('/', '-')}.json"
        files.write_atomically(path, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
        return found

    def _budget(self, trials: Mapping) -> dict:
        """What all rows share; fields in which rows differ are left out."""
        budget = {"scale": self.scale, "seeds": list(self.seeds)}
        for name in (*BUDGET, "rain", "paired", "lr", "schedule", "clip", "precision"):
            first, *others = (getattr(trial.recipe, name) for trial in trials.values())
            if all(other == first for other in others):
                budget[name] = first
        return budget | {"changes": _plain(self.changes), "without": list(self.without)}


def _make(folder: Path):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DerainError(f"{folder} cannot be made: {error.strerror}; choose another folder") from None


# --- reports -------------------------------------------------------------------------------------------------------


def report(study: Table, outcomes: Mapping[tuple[str, int], Outcome]) -> dict:
    """A study's results as plain data.

    Args:
        study: the study.
        outcomes: by (label, seed); missing ones are missing in the report.

    Returns:
        Of each row and set every score's mean over seeds and images (and by seed), its difference to the reference row
        over the seeds that both have, with the 95 % interval of `evaluation.interval` over images and seeds (pairs of
        the same seed and image), and where the network has a refinement, the refined image's gain over the last stage.
        "by_image" is each image's score, the mean over seeds, in the set's order and with a table's digits; reports of
        earlier versions lack it.
    """
    cards = [outcome.card for outcome in outcomes.values()]
    return {
        "study": study.name,
        "source": study.source,
        "reference": study.reference,
        "data": sorted({card["data"] for card in cards}),
        "hardware": sorted({card["hardware"] for card in cards}),
        "seconds": sum(card["wall_seconds"] for card in cards),
        "rows": [_row(study, row, outcomes) for row in study.rows],
    }


def _row(study: Table, row: Row, outcomes: Mapping[tuple[str, int], Outcome]) -> dict:
    """A row of the report."""
    own = {seed: outcome for (label, seed), outcome in outcomes.items() if label == row.label}
    reference = {seed: outcome for (label, seed), outcome in outcomes.items() if label == study.reference}
    cards = [outcome.card for outcome in own.values()]
    sets = dict.fromkeys(name for outcome in own.values() for name, _ in outcome.scores)
    return {
        "row": row.label,
        "recipe": row.recipe.name,
        "paper_difference": _paper_difference(study, row),
        "parameters": cards[0]["parameters"] if cards else None,
        "seeds": list(own),
        "seconds": [card["wall_seconds"] for card in cards],
        "sets": {name: _on_set(name, own, reference, row.label == study.reference) for name in sets},
    }


def _on_set(name: str, own: Mapping[int, Outcome], reference: Mapping[int, Outcome], is_reference: bool) -> dict:
    """A row's scores on one set."""
    ours = {seed: outcome.scores[name, FINAL] for seed, outcome in own.items()}
    theirs = {seed: outcome.scores[name, FINAL] for seed, outcome in reference.items() if seed in own}
    unrefined = {s: o.scores[name, LAST_STAGE] for s, o in own.items() if (name, LAST_STAGE) in o.scores}
    first = next(iter(ours.values()))
    found = {"images": len(first.records)}
    for measure in first.names:
        values = _values(ours, measure)
        found[measure] = {
            "mean": _short(values.mean()),
            "by_seed": [_short(mean) for mean in values.mean(axis=1)],
            "by_image": [float(evaluation.number(measure, mean)) for mean in values.mean(axis=0)],
            "rainy": _short(first.summary(measure).rainy),
        }
        if theirs and not is_reference:
            shared = {seed: ours[seed] for seed in theirs}
            found[measure]["difference"] = _difference(_values(shared, measure), _values(theirs, measure))
        if unrefined:
            found[measure]["refinement"] = _difference(values, _values(unrefined, measure))
    return found


def _values(scores: Mapping[int, Scores], measure: str) -> np.ndarray:
    """(seeds, images)."""
    return np.stack([one.values(measure) for one in scores.values()])


def _difference(ours: np.ndarray, theirs: np.ndarray) -> dict:
    found = {name: _short(value) for name, value in evaluation.difference(ours, theirs).items()}
    return found | {"by_seed": [_short(mean) for mean in (ours - theirs).mean(axis=1)]}


def _paper_difference(study: Table, row: Row) -> dict[str, dict[str, float]]:
    """The paper's differences in PSNR and SSIM to the reference, by its test sets; empty where it gives none."""
    differences = study.differences(row.label).items()
    found = {place: {name: one[name] for name in QUALITY if name in one} for place, one in differences}
    return {place: {name: _short(value) for name, value in one.items()} for place, one in found.items() if one}


def table(found: dict) -> str:
    """A report as text: a block for each set, a row for each row of the study, and what it took.

    A score reads `25.12 (-0.40 [-0.52, -0.31])`: mean over images and seeds, difference to the reference row, and its
    95 % interval.

    Args:
        found: what `Order.run` gave, or the JSON that it wrote.
    """
    sets = list(dict.fromkeys(name for row in found["rows"] for name in row["sets"]))
    blocks = [_block(found, name) for name in sets]
    failed = [f"failed: {one['row']}, seed {one['seed']}: {one['error']}" for one in found["failed"]]
    return "\n".join([_heading(found), *blocks, _footnote(found), *failed])


def _heading(found: dict) -> str:
    budget = found["budget"]
    left_out = f", without {' and '.join(budget['without'])}" if budget["without"] else ""
    changes = f", changed for all: {json.dumps(budget['changes'])}" if budget["changes"] else ""
    seeds = ", ".join(map(str, budget["seeds"]))
    return (
        f"{found['source']}\nevery row: {budget['steps']:,} steps of {budget['batch']} patches of {budget['patch']}², "
        f"scale {budget['scale']}, seeds {seeds}{left_out}{changes}"
    )


def _block(found: dict, name: str) -> str:
    """The rows' scores on one set."""
    rows = [row for row in found["rows"] if name in row["sets"]]
    first = rows[0]["sets"][name]
    measures = [measure for measure in first if measure != "images"]
    refined = any("refinement" in row["sets"][name][measures[0]] for row in rows)
    title = [f"{name} ({first['images']})", "parameters", "s", *measures, "paper's difference"]
    rainy = [evaluation.RAINY, "", "", *(evaluation.number(m, first[m]["rainy"]) for m in measures), ""]
    lines = [title + ["refinement's gain"] * refined, rainy + [""] * refined]
    for row in rows:
        scores = row["sets"][name]
        seconds = sum(row["seconds"]) / len(row["seconds"])
        line = [row["row"], f"{row['parameters']:,}", f"{seconds:.0f}", *(_cell(m, scores[m]) for m in measures)]
        line.append("reference" if row["row"] == found["reference"] else _paper_text(row["paper_difference"]))
        if refined:
            gain = scores[measures[0]].get("refinement")
            line.append(_signed(measures[0], gain) if gain else "")
        lines.append(line)
    return "\n" + evaluation.aligned(lines)


def _cell(measure: str, score: dict) -> str:
    mean = evaluation.number(measure, score["mean"])
    return f"{mean} ({_signed(measure, score['difference'])})" if "difference" in score else mean


def _signed(measure: str, difference: dict) -> str:
    mean, low, high = (evaluation.number(measure, difference[key], "+") for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _paper_text(differences: Mapping[str, Mapping[str, float]]) -> str:
    texts = []
    for name, one in differences.items():
        numbers = [evaluation.number(what, one[what], "+") for what in QUALITY if what in one]
        texts.append(f"{' / '.join(numbers)} ({name})")
    return "; ".join(texts) or "-"


def _footnote(found: dict) -> str:
    seeds = len(found["budget"]["seeds"])
    over = "images and seeds" if seeds > 1 else "images alone: one seed says nothing about others"
    few = f"; {seeds} seeds show how much seeds matter, but bound it loosely" if 1 < seeds < 5 else ""
    hardware = ", ".join(found["hardware"]) or "nothing"
    return (
        f"\nin brackets: difference to {found['reference']!r}, with its 95 % bootstrap interval over {over}{few}\n"
        f"{found['seconds'] / 3600:.2f} hours of training on {hardware}, torch {found['torch']}; s: seconds a training"
    )


def _plain(changes: dict) -> dict:
    """Shared changes as JSON holds them."""
    return json.loads(json.dumps(changes, default=lambda loss: dataclasses.asdict(loss)))


def _short(value: float) -> float:
    return round(float(value), 5)
