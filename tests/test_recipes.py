"""Recipes carry the papers' values, survive JSON, and refuse what is wrong before anything starts."""

import pytest

from derainlib import recipes
from derainlib.errors import RecipeError


def test_full_scale_is_the_papers():
    srn, brn = recipes.get("srn"), recipes.get("brn")
    for recipe, batch in ((srn, 18), (brn, 12)):
        assert (recipe.batch, recipe.patch, recipe.lr) == (batch, 100, 1e-3)
        assert recipe.epochs == pytest.approx(100, rel=1e-3)
        at = [recipe.learning_rate(int(recipe.steps * p)) for p in (0, 0.29, 0.31, 0.49, 0.51, 0.79, 0.81)]
        assert at == pytest.approx([1e-3, 1e-3, 2e-4, 2e-4, 4e-5, 4e-5, 8e-6])
    assert srn.build_model().stages == brn.build_model().stages == 6


def test_table_1_differs_only_in_losses():
    rows = [recipes.get(f"brn/{row}") for row in ("MSE", "SSIM", "RecSSIM")]
    assert {r.model for r in rows} == {"brn"}
    assert [[loss.term for loss in r.losses] for r in rows] == [["mse"], ["ssim"], ["ssim", "ssim"]]
    recursive = rows[2].build_loss()
    assert recursive.weights == {"ssim_rain": 0.45, "ssim_background": 0.55}
    assert all((t.stages, t.early, t.last) == ("all", 0.5, 1.5) for t in recursive.terms.values())


@pytest.mark.parametrize("name", recipes.list_recipes())
@pytest.mark.parametrize("scale", recipes.SCALES)
def test_every_recipe_survives_json_at_every_scale(name, scale):
    recipe = recipes.get(name, scale)
    assert recipes.Recipe.from_json(recipe.to_json()) == recipe


def test_every_network_has_a_recipe():
    from derainlib.models import list_models

    assert {recipes.get(name).model for name in recipes.list_recipes()} >= set(list_models())


PAPER_WEIGHTS = {"l1": 1, "quasi_sparsity": 1e-3, "detail": 1e-4, "auxiliary": 0.01}


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("qsnet/V1", ["l1"]),
        ("qsnet/V2", ["l1", "quasi_sparsity"]),
        ("qsnet/V3", ["l1", "quasi_sparsity", "detail"]),
        ("qsnet/V4", ["l1", "quasi_sparsity", "detail", "auxiliary"]),
        ("qsnet", ["l1", "quasi_sparsity", "detail", "auxiliary"]),
        ("qsnet/no-sharing", ["l1", "quasi_sparsity", "detail", "auxiliary"]),
    ],
)
def test_qsnet_has_the_papers_values(name, terms):
    recipe = recipes.get(name)
    assert (recipe.patch, recipe.lr, recipe.schedule, recipe.gamma) == (256, 1e-3, "plateau", 0.1)
    assert recipe.build_loss().weights == {term: PAPER_WEIGHTS[term] for term in terms}
    assert all(term.normaliser == "mean" for term in recipe.build_loss().terms.values())
    assert len(recipe.build_model().auxiliary) == 5  # Table 4 ablates losses, not layers


def test_qsnet_rows_differ_only_where_the_tables_say():
    whole = recipes.get("qsnet")
    for name in ("V1", "V2", "V3", "V4"):
        row = recipes.get(f"qsnet/{name}")
        assert row.replace(name="qsnet", source=whole.source, losses=whole.losses) == whole
    sharing = recipes.get("qsnet/no-sharing")
    assert sharing.replace(name="qsnet", source=whole.source, model="qsnet") == whole


def test_networks_without_stages_are_given_none():
    quick = recipes.get("qsnet", "quick")
    assert (quick.options, quick.patch, quick.batch, quick.schedule) == ({}, 64, 8, "cosine")
    assert recipes.get("srn", "quick").options == {"stages": 4}
    assert recipes.get("srn/T3", "quick").options == {"stages": 3}


def test_cosine_ends_near_zero():
    recipe = recipes.get("srn", "quick")
    assert recipe.learning_rate(0) == recipe.lr
    assert recipe.learning_rate(recipe.steps // 2) == pytest.approx(recipe.lr / 2)
    assert 0 <= recipe.learning_rate(recipe.steps - 1) < 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stpes": 3}, "no field stpes"),
        ({"steps": 0}, "at least 1"),
        ({"steps": 2.5}, "steps must be int"),
        ({"steps": True}, "steps must be int"),
        ({"batch": "8"}, "batch must be int"),
        ({"lr": "fast"}, "lr must be float"),
        ({"lr": -1.0}, "positive"),
        ({"patch": 8}, "16 pixels"),
        ({"paired": 1.5}, "between 0 and 1"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"schedule": "plateau", "gamma": 1.0}, "below 1"),
        ({"schedule": "plateau", "min_lr": 0.1}, "between 0 and lr"),
        ({"schedule": "plateau", "min_lr": -0.1}, "between 0 and lr"),
        ({"window": 0}, "window must be at least 1"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"precision": "int8"}, "precision must be one of"),
        ({"rain": "frogs"}, "rain must be one of"),
        ({"milestones": (0.8, 0.3)}, "rising"),
        ({"milestones": ("a",)}, "each of milestones must be float"),
        ({"model": "vgg"}, "no network is called"),
        ({"options": {"T": 3}}, "no option T"),
        ({"options": {"stages": 0}}, "stages"),
        ({"losses": ()}, "at least one"),
        ({"losses": (recipes.Loss("l7"),)}, "no loss term"),
        ({"losses": (recipes.Loss("mse", options={"up": 1}),)}, "no option up"),
        ({"losses": (recipes.Loss("mse", options={"on": "sky"}),)}, "sky"),
        ({"losses": ("mse",)}, "each of losses must be Loss"),
    ],
)
def test_wrong_values_are_refused_in_one_line(changes, message):
    with pytest.raises(RecipeError, match=message) as caught:
        recipes.get("srn", **changes)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused():
    with pytest.raises(RecipeError, match="srn"):
        recipes.get("snr")
    with pytest.raises(RecipeError, match="full"):
        recipes.get("srn", "huge")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"losses": 3}', '{"losses": [{"term": "mse"}], "milestones": []}'])
def test_broken_json_is_refused(text):
    with pytest.raises(RecipeError):
        recipes.Recipe.from_json(text)


def test_json_values_become_ours():
    losses = [{"term": "ssim", "weight": 0.5}, {"term": "mse", "weight": 2.0, "options": {"on": "rain"}}]
    recipe = recipes.get("srn", losses=losses, milestones=[0.5])
    assert recipe.losses == (recipes.Loss("ssim", 0.5), recipes.Loss("mse", 2.0, {"on": "rain"}))
    assert recipe.milestones == (0.5,)
    with pytest.raises(RecipeError, match="term, weight and options"):
        recipes.get("srn", losses=[{"name": "ssim"}])


def test_a_recipe_starts_from_weights(tmp_path):
    import torch

    from derainlib.errors import WeightsError
    from derainlib.models import create, weights

    trained = create("srn", stages=2, width=6)
    weights.save(trained, tmp_path / "trained.safetensors", {})
    options = {"stages": 3, "width": 6}
    started = recipes.get("srn", start=str(tmp_path / "trained.safetensors"), options=options).build_model()
    assert started.stages == 3
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), started.parameters(), strict=True))
    for options, message in (({"width": 8}, "does not fit"), ({"model": "srn-direct"}, "holds weights of srn")):
        changes = options if "model" in options else {"options": options}
        with pytest.raises(WeightsError, match=message):
            recipes.get("srn", start=str(tmp_path / "trained.safetensors"), **changes).build_model()
