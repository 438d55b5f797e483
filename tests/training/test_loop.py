"""The loop: it learns, says what it does, and stops with a reason."""

import inspect
import json

import numpy as np
import pytest
import torch

from derainlib import losses, metrics, models, recipes, training
from derainlib.data.synthetic import gather
from derainlib.errors import DataError, RecipeError
from derainlib.layers import Pair
from derainlib.models import weights
from tests.training.runs import assert_alike, balanced, initial, parameters, tiny


def test_a_run_leaves_what_it_promises(uninterrupted):
    names = {path.name for path in uninterrupted.folder.iterdir()}
    promised = {"recipe.json", "data.json", "metrics.jsonl", "checkpoints", "last.safetensors", "last.json"}
    assert names == promised | {"run.lock"}
    kept = sorted(path.name for path in (uninterrupted.folder / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000006"]
    lines = [json.loads(line) for line in (uninterrupted.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines == uninterrupted.history
    assert recipes.Recipe.from_json(uninterrupted.folder / "recipe.json") == tiny()
    card = weights.card(uninterrupted.last)
    assert card["steps"] == 6
    assert card["recipe"]["name"] == "srn"
    assert card["wall_seconds"] >= 0


def test_training_learns_and_keeps_the_best(folder, tmp_path):
    clean = torch.rand(1, 3, 24, 24) * 0.5
    validation = [Pair((clean + 0.2).clamp(0, 1), clean)]
    recipe = tiny(steps=40, batch=4, validate_every=20, lr=3e-3, losses=(recipes.Loss("mse"),))
    result = training.train(recipe, gather(folder), tmp_path, validation=validation)
    losses = [record["loss"] for record in result.history]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    scored = [record for record in result.history if "psnr_rgb" in record]
    assert [record["step"] for record in scored] == [20, 40]
    assert weights.card(result.best)["validation_psnr_rgb"] == pytest.approx(
        max(r["psnr_rgb"] for r in scored), abs=1e-3
    )


def test_the_best_weights_are_not_the_latest(folder, tmp_path, monkeypatch):
    scores = iter((30.0, 31.0, 29.0))
    monkeypatch.setattr(metrics, "psnr", lambda *_: torch.tensor([next(scores)]))
    image = torch.rand(1, 3, 24, 24)
    result = training.train(tiny(validate_every=2), gather(folder), tmp_path, validation=[Pair(image, image)])
    card = weights.card(result.best)
    assert (card["steps"], card["validation_psnr_rgb"]) == (4, 31.0)


def test_a_clipped_gradient_has_the_length_asked_for(folder, tmp_path, descent):
    """Plain descent goes as far, times lr."""
    recipe = tiny(steps=1, clip=0.01, lr=1.0)
    found, start = parameters(training.train(recipe, gather(folder), tmp_path).last), initial(recipe)
    moved = sum((value - start[name]).square().sum() for name, value in found.items()).sqrt()
    assert moved.item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("kind", ["fixed", "uncertainty"])
def test_accumulated_portions_train_like_whole_batches(folder, tmp_path, kind, descent):
    whole = training.train(balanced(kind), gather(folder), tmp_path / "a")
    portions = training.train(balanced(kind, accumulate=2), gather(folder), tmp_path / "b")
    assert [r["step"] for r in portions.history] == [r["step"] for r in whole.history]
    assert_alike(portions.last, whole.last, initial(balanced(kind)))


def test_observers_see_every_record(folder, tmp_path):
    seen = []
    result = training.train(tiny(), gather(folder), tmp_path, observers=[seen.append])
    assert seen == result.history


def test_an_exploding_loss_stops_with_a_reason(folder, tmp_path):
    with pytest.raises(RecipeError, match="lower lr"):
        training.train(tiny(lr=1e30, losses=(recipes.Loss("mse"),)), gather(folder), tmp_path)


class Steep(torch.nn.Module):
    """A loss that is zero with a gradient that is NaN, as roots are at zero."""

    def forward(self, layers, pair):
        return (0 * layers.background).sqrt().mean()


def test_weights_that_are_not_finite_are_not_kept(folder, tmp_path, monkeypatch):
    """Those of the last step, of which no later loss would tell."""
    monkeypatch.setitem(losses.TERMS, "steep", Steep)
    with pytest.raises(RecipeError, match="the weights are infinite or NaN after step 1; the newest checkpoint"):
        training.train(tiny(steps=1, losses=(recipes.Loss("steep"),)), gather(folder), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_batch_that_cannot_be_shared_out_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="multiple of 3"):
        training.train(tiny(accumulate=3), gather(folder), tmp_path)


WIDTHS = {"phpnet": 8, "phi": 8, "espnet": 8, "pspnet": 16}
"""Networks whose narrowest form has more than four channels."""


def narrow(recipe: recipes.Recipe) -> dict:
    """The options of a recipe's network, few channels wide where it can be told so."""
    build, _ = (models.VARIANTS | models.SEGMENTERS)[recipe.model]
    width = {"width": WIDTHS.get(recipe.name.partition("/")[0], 4)}
    return recipe.options | (width if "width" in inspect.signature(build).parameters else {})


@pytest.mark.filterwarnings("ignore:this loss judges by a segmenter")
@pytest.mark.parametrize("name", recipes.list_recipes())
def test_every_recipe_trains_at_its_tiny_scale(name, folder, tmp_path):
    options = narrow(recipes.get(name, "tiny"))
    result = training.train(recipes.get(name, "tiny", steps=1, batch=1, options=options), gather(folder), tmp_path)
    assert result.steps == 1
    assert np.isfinite(result.history[0]["loss"])


def test_a_frozen_segmenter_judges_and_stays_what_it_is(folder, tmp_path):
    """Labels of drawn streets, read by a segmenter from a file: its loss counts, and nothing of it is trained."""
    torch.manual_seed(0)
    weights.save(models.create("phi", width=8, k=2), tmp_path / "phi.safetensors", {})
    losses = (
        recipes.Loss("charbonnier"),
        recipes.Loss("semantic", 0.05, {"network": str(tmp_path / "phi.safetensors")}),
    )
    recipe = tiny(losses=losses, batch=4, steps=2)
    loss = recipe.build_loss()
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    sources = gather()
    labelled = sources._replace(clean=sources.clean[:4])
    with_it = training.train(recipe, labelled, tmp_path / "a")
    without = training.train(tiny(losses=losses[:1], batch=4, steps=2), labelled, tmp_path / "b")
    assert with_it.history[0]["loss_semantic"] > 0.1
    different = parameters(with_it.last), parameters(without.last)
    assert any(not torch.equal(value, different[1][name]) for name, value in different[0].items())


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_of_the_start_stay_where_the_recipe_keeps_them(folder, tmp_path, frozen):
    """Weights move either way, validations in between or not."""
    recipe = recipes.get("menet", "tiny", start="menet", frozen_statistics=frozen, steps=3, patch=24, validate_every=1)
    validation = [Pair(torch.full((1, 3, 24, 24), 0.6), torch.full((1, 3, 24, 24), 0.5))]
    after = parameters(training.train(recipe, gather(folder), tmp_path, validation=validation).last)
    before = weights.load("menet").state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    statistics = {name for name in before if name.rpartition(".")[2].startswith(("running_", "num_batches"))}
    assert len(statistics) > 20
    assert moved - statistics
    assert moved & statistics == (set() if frozen else statistics)
