"""`14_train`: papermill gives it parameters, it refuses wrong ones, and it runs every recipe at its tiny scale."""

import functools
import json
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
from PIL import Image

from derainlib import recipes
from derainlib.data import samples
from derainlib.errors import DerainError
from derainlib.lab import gate
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


@pytest.mark.parametrize(("place", "name"), list(enumerate(recipes.list_recipes()[::9])))
def test_papermill_trains_a_dozen_recipes_in_turn(place, name, turns, request, tmp_path):
    if not request.config.option.all_notebooks and (reason := turns.why_not(place, set())):
        pytest.skip(reason)
    run(tmp_path / "out.ipynb", recipe=name, out_dir=str(tmp_path / "run"))
    assert weights.card(tmp_path / "run/last.safetensors")["recipe"] == json.loads(recipes.get(name, "tiny").to_json())


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


def test_wrong_parameter_stops_it_before_it_works(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(papermill.PapermillExecutionError, match="no parameter is called stpes"):
        run(tmp_path / "out.ipynb", out_dir=str(folder), stpes=3)
    assert not folder.exists()


def run_here(**given):
    """The notebook's cells up to the trained weights, in this process: a kernel takes seconds to start."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    place = next(i for i, cell in enumerate(cells) if gate.PARAMETERS in cell.metadata.get("tags", ()))
    end = next(i for i, cell in enumerate(cells) if "job.run(" in cell.source) + 1
    names = {}
    for cell in (cells[0], cells[place]):
        exec(cell.source, names)
    names |= given  # where papermill puts them
    for cell in cells[place + 1 : end]:
        exec(cell.source, names)


def test_clean_photographs_are_no_pairs(photographs, tmp_path):
    with pytest.raises(DerainError, match="are given as clean_dir"):
        run_here(pairs_dir=str(photographs), out_dir=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("given", "message"),
    [({"steps": "many"}, "steps must be int"), ({"recipe": "bnr"}, "no recipe is called 'bnr'")],
)
def test_wrong_parameters_are_refused(given, message, tmp_path):
    with pytest.raises(DerainError, match=message):
        run_here(out_dir=str(tmp_path / "run"), **given)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def streets_drawn_once():
    """The stand-ins for data, which otherwise each recipe draws twice, for longer than it trains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "street", functools.cache(samples.street))
        yield


@pytest.mark.usefixtures("streets_drawn_once")
@pytest.mark.parametrize(("place", "name"), list(enumerate(recipes.list_recipes())))
def test_every_recipe_trains_at_its_tiny_scale(place, name, turns, request, tmp_path):
    """A quarter in turn, since `tests/training/test_loop.py` trains a step of each."""
    if not request.config.option.all_notebooks and (reason := turns.why_not(place, set())):
        pytest.skip(reason)
    run_here(recipe=name, out_dir=str(tmp_path / "run"))
    card = weights.card(tmp_path / "run/last.safetensors")
    assert card["recipe"] == json.loads(recipes.get(name, "tiny").to_json())
