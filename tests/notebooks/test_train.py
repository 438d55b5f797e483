"""`14_train`: papermill gives it parameters, it refuses wrong ones, and it runs every recipe at its tiny scale."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from derainlib import recipes
from derainlib.models import weights

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "14_train.ipynb"


def run(out: Path, **parameters) -> nbformat.NotebookNode:
    return papermill.execute_notebook(
        NOTEBOOK, out, parameters, kernel_name="python3", progress_bar=False, cwd=NOTEBOOK.parent
    )


def test_papermill_trains_and_leaves_json(tmp_path):
    folder = tmp_path / "run"
    run(tmp_path / "out.ipynb", recipe="brn/RecSSIM", out_dir=str(folder), steps=3, changes={"patch": 24})
    recipe = recipes.Recipe.from_json(folder / "recipe.json")
    assert (recipe.name, recipe.steps, recipe.patch) == ("brn/RecSSIM", 3, 24)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert "psnr_rgb" in records[-1]
    assert weights.load(folder / "best.safetensors").name == "brn"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"stpes": 3}, "no parameter is called stpes"), ({"steps": "many"}, "steps must be int")],
)
def test_wrong_parameters_stop_it_before_it_works(parameters, message, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(papermill.PapermillExecutionError, match=message):
        run(tmp_path / "out.ipynb", out_dir=str(folder), **parameters)
    assert not folder.exists()


@pytest.mark.parametrize("part", range(4))
def test_every_recipe_trains_at_its_tiny_scale(part, tmp_path):
    """Up to the trained weights, one recipe after the other in one kernel, since its start takes time too."""
    names = recipes.list_recipes()[part::4]
    folders = {name: tmp_path / name.replace("/", "-") for name in names}
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    place = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", ()))
    end = next(i for i, cell in enumerate(cells) if "job.run(" in cell.source) + 1
    code = []
    for name in names:
        given = f"recipe, out_dir = {name!r}, {str(tmp_path / name.replace('/', '-'))!r}"
        code += ["%reset -f", *(cell.source for cell in cells[: place + 1]), given]
        code += [cell.source for cell in cells[place + 1 : end]]
    NotebookClient(new_notebook(cells=[new_code_cell(text) for text in code]), timeout=600).execute()
    for name in names:
        card = weights.card(folders[name] / "best.safetensors")
        assert card["recipe"] == json.loads(recipes.get(name, "tiny").to_json())
