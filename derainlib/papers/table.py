"""What a table of a paper is here: rows, each with the training set-up that it stands for and the paper's figures."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field

from derainlib.errors import RecipeError
from derainlib.recipe import Recipe

Figures = dict[str, dict[str, float]]
"""By what they were measured on (a test set, a size of picture, a reader of pictures; "network" where only the network
counts), then by measure: "psnr" in dB, "ssim", "seconds" a picture, "parameters", "accuracy" and "miou" of classes."""

QUALITY = ("psnr", "ssim")


def on(*where: str, measures: Sequence[str] = QUALITY) -> Callable[..., Figures]:
    """Makes the rows of a table from plain values.

    Args:
        where: what the figures were measured on, in the table's order.
        measures: what was measured on each of them.

    Returns:
        A function of one value for each measure on each of `where`, None for what the paper does not give:
        `on("Rain100L", "Rain100H")(33.55, 0.951, 27.50, 0.815)`.
    """
    columns = [(place, measure) for place in where for measure in measures]

    def figures(*values: float | None) -> Figures:
        found = {}
        for (place, measure), value in zip(columns, values, strict=True):
            if value is not None:
                found.setdefault(place, {})[measure] = value
        return found

    return figures


@dataclass(frozen=True)
class Row:
    """A row of a paper's table."""

    label: str
    """What the row is called in tables."""
    recipe: Recipe | None = None
    """The set-up that it stands for; none for other people's networks, and where nothing is trained for it."""
    figures: Figures = field(default_factory=dict)
    """The paper's figures."""
    _: KW_ONLY
    differences: Figures = field(default_factory=dict)
    """Differences to the table's reference row, where the paper's text gives them and the figures are lost."""
    changes: dict = field(default_factory=dict)
    """Fields of the recipe that differ; of its options, only those named here."""
    note: str = ""
    """What one must know of this row, for example where the paper and the authors' files disagree."""

    @property
    def paper(self) -> dict[str, tuple[float | None, float | None]]:
        """The paper's PSNR and SSIM by test set, where it gives one of them."""
        scored = {place: found for place, found in self.figures.items() if set(QUALITY) & set(found)}
        return {place: tuple(found.get(measure) for measure in QUALITY) for place, found in scored.items()}


@dataclass(frozen=True)
class Table:
    """A table of a paper. Where rows have recipes and are compared with one of them, it is a study to train again."""

    name: str
    """The paper's or network's name and the table's number, "brn/table-3"."""
    source: str
    """The paper, the table's number, and what it is about."""
    reference: str
    """Label of the row that all others are compared with; empty where the table is no study."""
    rows: tuple[Row, ...]
    """The rows, in the paper's order."""
    _: KW_ONLY
    data: str = ""
    """What the networks were trained and tested on, as far as the paper says."""
    protocol: str = ""
    """How the figures were measured, as far as the paper says."""
    stages: int = 0
    """T of the paper's own recurrent networks in this table; 0 where they have none, or where the rows differ in it."""
    note: str = ""
    """What one must know of the table, for example that our text of the paper lost its numbers."""
    measured: str = ""
    """The benchmark whose results have our own figures of it, where it is no study."""
    ours: bool = False
    """Whether no paper has it: rows that a paper's table lacks, beside some that it has. It has no figures; those rows
    have theirs in the paper's table."""

    def __post_init__(self):
        labels = [row.label for row in self.rows]
        known = {row.label for row in self.rows if row.recipe}
        if len(set(labels)) < len(labels) or (self.reference and self.reference not in known):
            raise RecipeError(f"table {self.name}: labels must differ and include the reference {self.reference!r}")

    def row(self, label: str) -> Row:
        """The row called `label`.

        Raises:
            RecipeError: there is none.
        """
        self._require([label])
        (found,) = (row for row in self.rows if row.label == label)
        return found

    def file(self, label: str) -> str:
        """The name, without an ending, of what one training of the row `label` leaves: "brn-table-3-BRN-x-r"."""
        plain = re.sub(r"(?<=\w)\+", "plus", label)  # SRN+ is another network than SRN
        return re.sub(r"\W+", "-", f"{self.name}-{plain}").strip("-")

    def only(self, labels: Sequence[str]) -> "Table":
        """The same table with these rows and the reference; without labels, all of it.

        Raises:
            RecipeError: a label that no row has.
        """
        self._require(labels)
        kept = {*labels, self.reference}
        return dataclasses.replace(self, rows=tuple(row for row in self.rows if not labels or row.label in kept))

    def trained(self) -> "Table":
        """The same table with the rows that have recipes."""
        return dataclasses.replace(self, rows=tuple(row for row in self.rows if row.recipe))

    def differences(self, label: str) -> Figures:
        """The paper's differences between this row and the reference, where it gives both, or their difference."""
        row, reference = self.row(label), self.row(self.reference)
        if row is reference:
            return {}
        return {
            place: {name: round(value - base[name], 6) for name, value in row.figures[place].items() if name in base}
            for place, base in reference.figures.items()
            if place in row.figures
        } | row.differences

    def _require(self, labels: Sequence[str]):
        known = [row.label for row in self.rows]
        unknown = sorted(set(labels) - set(known))
        if unknown:
            raise RecipeError(f"{self.name} has no row {', '.join(unknown)}; there are {', '.join(known)}")
