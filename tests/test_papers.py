"""The papers' tables: all there, each figure once, and no figure that its neighbours contradict."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from derainlib import papers, recipes
from derainlib.errors import RecipeError
from derainlib.models import create
from derainlib.papers.table import Row, Table, on
from derainlib.studies import STUDIES

ROWS = [(table, row) for table in papers.TABLES.values() for row in table.rows]
OURS = ("ours", "BRN", "MENET-LB", "all scales")


def test_all_28_tables_have_their_rows():
    """Table I of SRN and BRN has a part for each."""
    numbers = {"qsnet": range(1, 6), "phpnet": range(1, 7), "dcdnet": range(1, 5), "menet": range(1, 5)}
    wanted = {f"{paper}/table-{number}" for paper, own in numbers.items() for number in own}
    wanted |= {"srn/table-1", "srn/table-2", "brn/table-1", *(f"brn/table-{number}" for number in range(3, 10))}
    found = {table.name for paper in papers.PAPERS[:5] for table in paper.TABLES if not table.ours}
    assert {name for name in found if "figure" not in name} == wanted
    assert len(wanted) == 28 + 1


def test_a_set_up_stands_for_one_name():
    by_name = {}
    for recipe in papers.set_ups():
        assert by_name.setdefault(recipe.name, recipe) is recipe
    assert by_name == recipes.RECIPES


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_set_up_fits(name):
    recipe = recipes.RECIPES[name]
    assert recipe.checked() is recipe


def test_importing_builds_no_network():
    code = """
import torch
def refuse(*_, **__):
    raise AssertionError("a layer was built")
torch.nn.Module.__init__ = refuse
import derainlib.studies
print(len(derainlib.recipes.RECIPES))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == len(recipes.RECIPES)


def test_importing_is_quick():
    """At most 0.2 s of a core beyond torch: the best of three, since the first compiles and other work slows them."""
    code = """
import time, torch
began = time.process_time()
import derainlib.recipes
print(time.process_time() - began)
"""
    how = {"env": os.environ | {"PYTHONDONTWRITEBYTECODE": ""}, "capture_output": True, "text": True, "check": True}
    took = [float(subprocess.run([sys.executable, "-c", code], **how).stdout) for _ in range(3)]
    assert min(took) <= 0.2


def test_studies_are_the_tables_that_can_be_trained():
    assert set(STUDIES) == {name for name, table in papers.TABLES.items() if table.reference}
    assert [row.label for row in STUDIES["menet/table-2"].rows] == [
        row.label for row in papers.get("menet/table-2").rows[:4]
    ]
    ablations = {"srn/table-1", "srn/table-2", "brn/table-1", "brn/table-3", "brn/table-4", "brn/figure-6"}
    assert ablations <= set(STUDIES)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda one: getattr(one, "name", None) or one.label)
def test_figures_are_possible(table, row):
    """Also that a pair was not typed the wrong way round; the one that the paper has so says it."""
    limits = {"psnr": (10, 45), "ssim": (0.4, 1), "accuracy": (0, 1), "miou": (0, 1), "seconds": (0.001, 75)}
    for figures in row.figures.values():
        for measure, value in figures.items():
            low, high = limits.get(measure, (10_000, 1_000_000))
            assert low < value < high, measure
        if figures.get("miou", 0) > figures.get("accuracy", 1):
            assert "wrong way round" in row.note


@pytest.mark.parametrize("table", [table for table in papers.TABLES.values() if not table.ours], ids=lambda t: t.name)
def test_a_table_has_figures_or_says_where_they_went(table):
    scored = [row for row in table.rows if row.figures or row.differences]
    assert len(scored) == len(table.rows) or "our text" in table.note
    if any(set(found) & {"psnr", "ssim"} for row in table.rows for found in row.figures.values()):
        assert table.data
    if any("seconds" in found for row in table.rows for found in row.figures.values()):
        assert "GPU" in table.protocol or "GTX" in table.protocol


@pytest.mark.parametrize("table", [table for table in papers.TABLES.values() if table.ours], ids=lambda t: t.name)
def test_a_table_of_ours_stands_beside_the_papers(table):
    """It is a study with a row of theirs as the reference and rows that no table of theirs has; figures are theirs."""
    theirs = {row.recipe.name for other in papers.TABLES.values() if not other.ours for row in other.rows if row.recipe}
    own = {row.recipe.name for row in table.rows}
    assert table.row(table.reference).recipe.name in theirs
    assert own - theirs
    assert not any(row.figures or row.differences for row in table.rows)
    assert table.note


@pytest.mark.parametrize(
    ("table", "place", "better"),
    [
        ("qsnet/table-1", "Test-I", 0), ("qsnet/table-1", "Test-II", 0), ("qsnet/table-1", "Test-III", 0),
        ("phpnet/table-1", "Cityscapes", 0), ("phpnet/table-1", "Rain800", 0), ("phpnet/table-1", "DIDMDN", 0),
        ("phpnet/table-1", "DDN", 1),
        ("brn/table-5", "Rain100H", 0), ("brn/table-5", "Rain100L", 0), ("brn/table-5", "Rain12", 0),
        ("brn/table-6", "Rain1400", 0), ("brn/table-7", "RainHeavy*", 0), ("brn/table-7", "RainLight*", 1),
        ("brn/table-8", "SPAData", 0),
        ("menet/table-2", "Rain100L", 2), ("menet/table-2", "Rain100H", 1),
    ],
)  # fmt: skip
def test_ranks_are_what_the_papers_say(table, place, better):
    """How many of the others have a higher PSNR than the paper's own network, shallow for MENET."""
    rows = papers.get(table).rows
    (own,) = (row.figures[place]["psnr"] for row in rows if row.label in OURS)
    others = [row.figures[place]["psnr"] for row in rows if row.recipe is None and place in row.figures]
    assert sum(other > own for other in others) == better


@pytest.mark.parametrize(
    ("paper", "expected"),
    [
        ("qsnet", "67a307f38326"),
        ("phpnet", "bf9960a145a3"),
        ("dcdnet", "5343a5de6898"),
        ("recurrent", "556d98a3e588"),
        ("menet", "a59ed52c8570"),
    ],
)
def test_figures_are_those_that_were_compared_with_the_paper(paper, expected):
    """Whoever corrects one compares it with the paper's text, and then writes the new checksum here."""
    (module,) = (module for module in papers.PAPERS if module.__name__ == f"derainlib.papers.{paper}")
    theirs = [table for table in module.TABLES if not table.ours]
    figures = [(table.name, row.figures, row.differences) for table in theirs for row in table.rows]
    assert hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:12] == expected


def test_the_same_row_of_two_tables_has_the_same_figures():
    """Of a set-up that a paper scores in several tables."""
    seen = {}
    for table, row in ROWS:
        if row.recipe is None or "SPANet" in row.label:
            continue
        for place, found in row.figures.items():
            for measure, value in found.items():
                assert seen.setdefault((row.recipe.name, place, measure), value) == value, (table.name, row.label)
    assert Counter(name for name, *_ in seen)["menet/LB"] == 4


@pytest.mark.parametrize(
    ("table", "label"),
    [*[("brn/table-4", label) for label in ("SRN", "SRN+", "BRN-GRU", "BRN")], ("dcdnet/table-1", "ours")],
)
def test_printed_parameters_are_those_of_our_networks(table, label):
    row = papers.get(table).row(label)
    network = create(row.recipe.model, **row.recipe.options)
    (printed,) = (found["parameters"] for found in row.figures.values() if "parameters" in found)
    assert sum(parameter.numel() for parameter in network.parameters()) == printed


class TestTable:
    TABLE = Table(
        "a/1", "", "base",
        (
            Row("base", recipes.RECIPES["srn"], {"here": {"psnr": 30.1, "ssim": 0.9}, "there": {"psnr": 20.0}}),
            Row("more", recipes.RECIPES["brn"], {"here": {"psnr": 30.4}, "elsewhere": {"psnr": 1.0}}),
            Row("lost", recipes.RECIPES["crn"], differences={"here": {"psnr": -0.5}}),
            Row("theirs", None, {"here": {"psnr": 29.0, "ssim": 0.8, "seconds": 3.0}}),
        ),
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("label", "expected"),
        [
            ("base", {}),
            ("more", {"here": {"psnr": 0.3}}),
            ("lost", {"here": {"psnr": -0.5}}),
            ("theirs", {"here": {"psnr": -1.1, "ssim": -0.1}}),
        ],
    )
    def test_differences(self, label, expected):
        assert self.TABLE.differences(label) == expected

    def test_rows(self):
        assert [row.label for row in self.TABLE.trained().rows] == ["base", "more", "lost"]
        assert self.TABLE.row("more").recipe.name == "brn"
        assert self.TABLE.row("theirs").paper == {"here": (29.0, 0.8)}
        assert self.TABLE.row("more").paper["here"] == (30.4, None)
        with pytest.raises(RecipeError, match="a/1 has no row less; there are base, more"):
            self.TABLE.row("less")

    @pytest.mark.parametrize(("reference", "rows"), [("b", ("a",)), ("a", ("a", "a"))])
    def test_labels_that_do_not_fit(self, reference, rows):
        with pytest.raises(RecipeError, match="labels must differ and include the reference"):
            Table("a/1", "", reference, tuple(Row(label, recipes.RECIPES["srn"]) for label in rows))

    def test_what_is_not_trained_is_no_reference(self):
        with pytest.raises(RecipeError, match="include the reference 'theirs'"):
            Table("a/1", "", "theirs", self.TABLE.rows)

    def test_values_by_place_and_measure(self):
        figures = on("L", "H")
        assert figures(33.5, 0.95, None, 0.8) == {"L": {"psnr": 33.5, "ssim": 0.95}, "H": {"ssim": 0.8}}
        assert on("512x512", measures=("seconds",))(None) == {}
        with pytest.raises(ValueError, match="shorter"):
            figures(33.5, 0.95, 27.5)

    def test_unknown_tables(self):
        with pytest.raises(RecipeError, match="no table is called 'brn/table-2'; there are qsnet/table-1"):
            papers.get("brn/table-2")
