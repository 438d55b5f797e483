"""The list of what the five papers hold: complete, true, and written down."""

import dataclasses

import pytest

from derainlib import papers
from derainlib.lab import coverage
from derainlib.papers.item import Item

COUNTS = {  # equations and figures of each paper, counted in it
    "qsnet": (13, 11),
    "phpnet": (5, 12),
    "dcdnet": (8, 10),
    "recurrent": (15, 11),
    "menet": (8, 16),
}
TABLES = {"qsnet": 5, "phpnet": 6, "dcdnet": 4, "recurrent": 9, "menet": 4}


def test_it_is_complete():
    found = {paper: kinds for paper, kinds in coverage.items().items() if paper in COUNTS}  # a sixth paper may come
    assert {paper: (len(kinds["equations"]), len(kinds["figures"])) for paper, kinds in found.items()} == COUNTS
    for paper, (equations, figures) in COUNTS.items():
        assert [item.label for item in found[paper]["equations"]] == [f"Eq. {i + 1}" for i in range(equations)]
        assert [item.label for item in found[paper]["figures"]] == [f"Fig. {i + 1}" for i in range(figures)]
        assert found[paper]["claims"]
    numbered = [name.rpartition("-")[2] for name in papers.TABLES if name.startswith(("srn/table", "brn/table"))]
    assert sorted(set(numbered)) == [str(i + 1) for i in range(TABLES["recurrent"])]
    tables = [table for paper in papers.PAPERS[: len(COUNTS)] for table in paper.TABLES if coverage.is_numbered(table)]
    assert sum(TABLES.values()) == 28 == len(tables) - 1  # Table I is in two parts


def test_what_it_tells_is_so():
    assert coverage.faults() == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"where": ("derainlib.losses.Wetness",)}, "there is no derainlib.losses.Wetness"),
        ({"where": ("derainlib.nothing.Wetness",)}, "there is no derainlib.nothing.Wetness"),
        ({"where": ("05: A heading that is not",)}, "there is no 05: A heading that is not"),
        ({"where": ("brn/table-99",)}, "there is no brn/table-99"),
        ({"tests": ("tests/test_rain.py::test_snow",)}, "there is no tests/test_rain.py::test_snow"),
        ({"state": "done"}, "'done' is none of"),
        ({"state": "shown", "where": ()}, "shown, but nowhere"),
        ({"state": "impossible"}, "impossible, and no word why"),
    ],
)
def test_what_is_not_so_is_a_fault(changes, fault, monkeypatch):
    item = dataclasses.replace(Item("Eq. 1", "a sum", "code", ("derainlib.losses.MSE",)), **changes)
    monkeypatch.setattr(papers.PAPERS[0], "EQUATIONS", (item,))
    (found,) = coverage.faults()
    assert found.startswith("qsnet, Eq. 1: ")
    assert fault in found


def test_a_figure_is_shown_in_a_notebook(monkeypatch):
    drawn = Item("Fig. 1", "the network", "shown", ("derainlib.lab.diagram.trace",))
    monkeypatch.setattr(papers.PAPERS[0], "FIGURES", (drawn,))
    assert coverage.faults() == ["qsnet, Fig. 1: shown, but in no notebook"]


def test_a_table_that_others_fill_is_measured_in_part():
    assert [coverage.state(papers.get(f"brn/table-{number}")) for number in (4, 5, 6)] == ["waits", "partly", "quoted"]
    assert [coverage.state(papers.get(name)) for name in ("menet/table-1", "brn/table-3")] == ["run", "run"]


def test_tables_of_ours_are_counted_and_listed_by_themselves():
    page = coverage.page()
    theirs, ours = page.partition("## Tables of ours")[::2]
    assert "29 tables, Table I of SRN and BRN being two: " in theirs
    for table in papers.TABLES.values():
        found = [part for part in (theirs, ours) if f"\n| {table.name} |" in part]
        assert found == [ours if table.ours else theirs], table.name


def test_a_table_says_which_results_have_our_figures(monkeypatch):
    table = dataclasses.replace(papers.get("brn/table-9"), measured="nothing")
    monkeypatch.setitem(papers.TABLES, table.name, table)
    assert "brn/table-9: no results nothing" in coverage.faults()


def report(**means: dict) -> dict:
    """A study's report: the paper puts b 1 dB and c 2 dB above a, on heavy rain."""
    paper = {"a": {}, "b": {"Rain100H": {"psnr": 1.0}}, "c": {"Rain100H": {"psnr": 2.0}}}
    rows = [
        {
            "row": row,
            "paper_difference": paper[row],
            "sets": {name: {"psnr_rgb": {"mean": mean}, "ssim_y": {"mean": 0.9}} for name, mean in found.items()},
        }
        for row, found in means.items()
    ]
    return {"reference": "a", "rows": rows}


def test_orderings_are_counted_by_hand():
    ours = report(a={"skimage-heavy": 20.0}, b={"skimage-heavy": 22.0}, c={"skimage-heavy": 21.0})
    assert coverage.agreement(ours) == (2, 3)  # a < b and a < c hold, b < c does not


def test_orderings_are_compared_on_rain_of_their_kind():
    ours = report(
        a={"holdout-light": 30.0, "holdout-heavy": 20.0},
        b={"holdout-light": 29.0, "holdout-heavy": 21.0},
        c={"holdout-light": 28.0, "holdout-heavy": 22.0},
    )
    assert coverage.agreement(ours) == (3, 3)
    elsewhere = report(a={"dry": 3.0}, b={"dry": 2.0}, c={"dry": 1.0})
    assert coverage.agreement(elsewhere) == (0, 3)  # no set of the kind: all count
    assert coverage.agreement(ours, "ssim") == (0, 0)  # the paper gives none


def test_the_page_is_up_to_date():
    assert coverage.PAGE.read_text() == coverage.page(), "write it again: python -m derainlib.lab.coverage"
