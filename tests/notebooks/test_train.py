"""`14_train`: papermill gives it parameters, it refuses wrong ones, and it runs every recipe at its tiny scale."""

import json
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from derainlib import recipes
from derainlib.models import weights

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "14_train.ipynb"


def run(out: Path, **parameters) -> nbformat.NotebookNode:
    return papermill.execute_notebook(
        NOTEBOOK, out, parameters, kernel_name="python3", progress_bar=False, cwd=NOTEBOOK.parent
    )


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Ten clean photographs, 40 x 32 pixels of noise."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(10):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def test_papermill_trains_and_leaves_json(tmp_path):
    folder = tmp_path / "run"
    run(tmp_path / "out.ipynb", recipe="brn/RecSSIM", out_dir=str(folder), steps=3, changes={"patch": 24})
    recipe = recipes.Recipe.from_json(folder / "recipe.json")
    assert (recipe.name, recipe.steps, recipe.patch) == ("brn/RecSSIM", 3, 24)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert "psnr_rgb" in records[-1]
    assert weights.load(folder / "last.safetensors").name == "brn"


def test_with_photographs_it_trains_for_real_and_goes_on(tmp_path, photographs):
    """README's line: the quick scale, in a folder that it tells, where the same line again finds nothing left to do."""
    for _ in range(2):
        done = papermill.execute_notebook(
            NOTEBOOK, tmp_path / "out.ipynb", kernel_name="python3", progress_bar=False, cwd=tmp_path,
            parameters={"recipe": "srn/MSE", "clean_dir": str(photographs), "steps": 1, "changes": {"patch": 16}},
        )  # fmt: skip
        text = "".join(o.get("text", "") for c in done.cells if c.cell_type == "code" for o in c.outputs)
        assert "trains at the scale quick on 10 clean photographs" in text
        assert "writes to runs/srn-MSE" in text
    card = weights.card(tmp_path / "runs/srn-MSE/last.safetensors")
    assert (card["steps"], card["recipe"]["batch"]) == (1, 8)
    assert card["data"].endswith("1 held back for validation")


def test_clean_photographs_are_no_pairs(tmp_path, photographs):
    with pytest.raises(papermill.PapermillExecutionError, match="are given as clean_dir"):
        run(tmp_path / "out.ipynb", data_dir=str(photographs))


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
        card = weights.card(folders[name] / "last.safetensors")
        assert card["recipe"] == json.loads(recipes.get(name, "tiny").to_json())
