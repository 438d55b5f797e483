"""The papers: one paper, one file. A row of a table is one object, the set-up to train and the paper's figures.

    papers.get("brn/table-3").row("CRN").figures["Rain100H"]["psnr"]      # 30.04

A module in this folder, or of another package (`derainlib.discovery`), has TABLES, and OTHERS for set-ups that no row
stands for. `derainlib.recipes` and `derainlib.studies` are views of them: all set-ups by name, and the tables that can
be trained again. Figures are the papers' own, with what their texts say of data and protocol. Rows that a paper lacks
stand in tables of ours beside its own (`Table.ours`).
"""

from derainlib.discovery import modules
from derainlib.errors import RecipeError
from derainlib.papers.table import Row, Table
from derainlib.recipe import Recipe

PAPERS = [
    module
    for module in modules(__name__, first=("qsnet", "phpnet", "dcdnet", "recurrent", "menet"))
    if hasattr(module, "TABLES")
]
"""The papers' modules."""
TABLES: dict[str, Table] = {found.name: found for paper in PAPERS for found in paper.TABLES}
"""Their tables by name, those of their figures that can be trained again, and tables of ours beside them."""


def get(name: str) -> Table:
    """The table called `name`.

    Raises:
        RecipeError: there is none.
    """
    if name not in TABLES:
        raise RecipeError(f"no table is called {name!r}; there are {', '.join(TABLES)}")
    return TABLES[name]


def set_ups() -> list[Recipe]:
    """The set-ups of all papers: those of the rows, then the paper's others."""
    found = []
    for paper in PAPERS:
        found += [row.recipe for one in paper.TABLES for row in one.rows if row.recipe]
        found += getattr(paper, "OTHERS", ())
    return found


__all__ = ["PAPERS", "TABLES", "Row", "Table", "get", "set_ups"]
