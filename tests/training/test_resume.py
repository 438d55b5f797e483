"""A run goes on as if nothing had been, and only as what it was."""

import os
import pickle

import pytest
import torch

from derainlib import recipes, training
from derainlib.data.synthetic import gather
from derainlib.errors import RecipeError
from derainlib.models import weights
from tests.training.runs import assert_same, tiny


@pytest.mark.parametrize("when", ["step", "save"])
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_equals_uninterrupted(uninterrupted, folder, killed, tmp_path, when, workers):
    run = tmp_path / "run"
    killed(when, run, tiny())
    whole = [path.name for path in (run / "checkpoints").glob("step-*")]
    assert whole == ["step-00000002"]
    result = training.train(tiny(), gather(folder), run, workers=workers)
    assert [record["step"] for record in result.history] == [1, 2, 3, 4, 5, 6]
    assert not list((run / "checkpoints").glob(".*"))
    assert_same(result.last, uninterrupted.last)


@pytest.mark.parametrize(
    "how", [{"stop_after": 3}, {"until": lambda run: run.progress.step == 3}], ids=lambda how: next(iter(how))
)
def test_stopped_and_resumed_equals_uninterrupted(uninterrupted, folder, tmp_path, how):
    assert training.train(tiny(), gather(folder), tmp_path, **how).steps == 3
    result = training.train(tiny(), gather(folder), tmp_path)
    assert_same(result.last, uninterrupted.last)


@pytest.mark.parametrize("file", ["custom_checkpoint_0.pkl", "optimizer.bin"])
def test_nothing_in_a_checkpoint_is_executed(folder, tmp_path, file):
    """Not even in those of earlier versions, which have no checksums."""
    training.train(tiny(), gather(folder), tmp_path, stop_after=3)
    for checkpoint in (tmp_path / "checkpoints").glob("step-*"):
        (checkpoint / "sha256.json").unlink()
        (checkpoint / file).write_bytes(pickle.dumps(Executed(str(tmp_path / "executed"))))
    with pytest.raises(RecipeError, match="no checkpoint can be read"):
        training.train(tiny(), gather(folder), tmp_path)
    assert not (tmp_path / "executed").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


class Executed:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_another_recipe_in_the_folder_is_refused(folder, tmp_path):
    training.train(tiny(), gather(folder), tmp_path, stop_after=2)
    with pytest.raises(RecipeError, match="another recipe"):
        training.train(tiny(lr=5e-4), gather(folder), tmp_path)


def test_a_run_goes_on_only_beside_the_weights_that_it_started_from(uninterrupted, folder, tmp_path):
    start, run = tmp_path / "start.safetensors", tmp_path / "run"
    before = uninterrupted.last.read_bytes()
    start.write_bytes(before)
    recipe = recipes.get("srn", "tiny", start=str(start), patch=24)
    assert recipe.options == {"stages": 1, "width": 8}
    training.train(recipe, gather(folder), run, stop_after=2)
    network = weights.load(start)
    torch.nn.init.zeros_(next(network.parameters()))
    weights.save(network, start, {})
    with pytest.raises(RecipeError, match="holds other weights than those that the run"):
        training.train(recipe, gather(folder), run)
    start.write_bytes(before)
    card = weights.card(training.train(recipe, gather(folder), run).last)
    assert card["start_sha256"] == weights.header(uninterrupted.last)["sha256"]
    assert "start_sha256" not in weights.card(uninterrupted.last)


def test_a_training_goes_on_under_another_name(folder, uninterrupted, tmp_path):
    """As a study does with a row that another study began."""
    training.train(tiny().replace(name="begun"), gather(folder), tmp_path, stop_after=3)
    assert_same(training.train(tiny(), gather(folder), tmp_path).last, uninterrupted.last)
    assert weights.card(tmp_path / "last.safetensors")["recipe"]["name"] == "srn"
