"""Recipes carry the papers' values, survive JSON, and refuse what is wrong before anything starts."""

import pytest

from derainlib import papers, recipes
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
    again = recipes.Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert (again.name, again.source) == (recipe.name, recipe.source)


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


@pytest.mark.parametrize(("term", "weight"), [("auxiliary", 2.55), ("detail", 20)])
def test_other_readings_of_eq_13_change_one_weight(term, weight):
    whole, other = recipes.get("qsnet/V4"), recipes.get(f"qsnet/V4-{term}-{weight}")
    assert other.build_loss().weights == PAPER_WEIGHTS | {term: weight}
    assert other.replace(losses=whole.losses) == whole


def test_a_scale_alone_is_the_whole_network_with_one():
    whole = recipes.get("qsnet")
    for i, rate in enumerate((0, 1, 2, 4, 6), 1):
        alone = recipes.get(f"qsnet/C{i}")
        assert alone.options == {"rates": [rate]}
        assert alone.replace(options={}) == whole
        assert recipes.get(alone.name, "quick").build_model().rates == (rate,)


P, E, T = recipes.Loss("mse", 1.0, {"scale": 255}), recipes.Loss("edge"), recipes.Loss("texture")
"""L_p, L_e and L_t of MENET."""


@pytest.mark.parametrize(
    ("row", "model", "balance", "losses"),
    [
        ("/MSE", "menet-shallow", "fixed", (P,)),
        ("/edge-fixed", "menet-shallow", "fixed", (P, recipes.Loss("edge", 0.01))),
        ("/edge-GB", "menet-shallow", "gradient", (P, E)),
        ("/edge-LB", "menet-shallow", "loss", (P, E)),
        ("/texture-GB", "menet-shallow", "gradient", (P, E, T)),
        ("/texture-LB", "menet-shallow", "loss", (P, E, T)),
        ("/GB", "menet", "gradient", (P, E, T)),
        ("/LB", "menet", "loss", (P, E, T)),
        ("", "menet", "loss", (P, E, T)),
        ("/GB-deep", "menet-deep", "gradient", (P, E, T)),
        ("/LB-deep", "menet-deep", "loss", (P, E, T)),
        ("/uncertainty", "menet", "uncertainty", (P, E, T)),
        ("/edge-alone", "menet-shallow", "fixed", (E,)),
        (
            "/edge-average",
            "menet-shallow",
            "fixed",
            (recipes.Loss("mse", 0.855, P.options), recipes.Loss("edge", 0.145)),
        ),
        ("/scalar-LB", "menet-shallow", "loss-printed", (P, E, recipes.Loss("texture", 1.0, {"form": "scalar"}))),
        ("/attention", "menet", "fixed", (P,)),
    ],
)
def test_menet_rows_have_the_papers_values(row, model, balance, losses):
    recipe = recipes.get(f"menet{row}")
    assert (recipe.model, recipe.balance, recipe.losses) == (model, balance, losses)
    corners_and_middle, mirrored = 5, 2
    assert (recipe.batch, recipe.patch) == (20, 224)
    assert recipe.samples_per_epoch == 1800 * corners_and_middle * mirrored == 18_000
    assert recipe.epochs == 100
    at = [recipe.learning_rate(int(recipe.steps * epoch / 100)) for epoch in (0, 39.9, 40, 79.9, 80, 99)]
    assert at == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


@pytest.mark.parametrize(("scale", "options"), [("full", {"clip": True}), ("quick", {}), ("tiny", {"clip": True})])
def test_menet_is_clipped_as_the_authors_do_but_not_in_a_short_training(scale, options):
    recipe = recipes.get("menet/LB-deep", scale)
    assert recipe.options == options
    assert recipe.build_model().clip is bool(options)


def test_menet_s_fixed_sum_is_eq_2(generator):
    """255² times the mean squared error, and 1e-2 times the mean squared difference of SciPy's Sobel responses."""
    import numpy as np
    import torch
    from scipy import ndimage

    from derainlib.layers import Layers, Pair

    background, clean = torch.rand(2, 2, 3, 20, 24, generator=generator)
    total, values = recipes.get("menet/edge-fixed").build_loss()(
        Layers(background, clean - background), Pair(clean, clean)
    )
    difference = 255 * (background - clean).double().numpy()
    channels = difference.reshape(-1, 20, 24)
    edges = np.mean([ndimage.sobel(channel, axis, mode="mirror") ** 2 for channel in channels for axis in (0, 1)])
    assert values["mse"].item() == pytest.approx((difference**2).mean(), rel=1e-5)
    assert values["edge"].item() == pytest.approx(edges, rel=1e-5)
    assert total.item() == pytest.approx((difference**2).mean() + 0.01 * edges, rel=1e-5)


def test_menet_s_vgg_is_weighed_as_in_table_iv(generator):
    """1e-3 times the mean over the features of images in 0..255, for a VGG without biases, which keeps a factor."""
    import torch

    from derainlib.layers import Layers, Pair
    from derainlib.losses import Perceptual

    (loss,) = (loss for loss in recipes.get("menet/VGG").losses if loss.term == "perceptual")
    background, clean = torch.rand(2, 1, 3, 32, 32, generator=generator)
    term = Perceptual(**loss.options, weights="random")
    with pytest.warns(UserWarning, match="random weights"):
        value = term(Layers(background, clean - background), Pair(clean, clean)).item()
    assert (term.network, term.layer, term.norm) == ("vgg19", "relu3_4", "l2")
    mean = torch.tensor([0.485, 0.456, 0.406]).view(-1, 1, 1)
    with torch.no_grad():
        features = [term.features(255 * (image - mean)) for image in (background, clean)]
    wanted = 1e-3 * (features[0] - features[1]).square().mean().item()
    assert loss.weight * value == pytest.approx(wanted, rel=0.05)  # one deviation stands for the three colours'


def test_a_recipe_saved_with_the_bare_convolution_is_still_read():
    saved = recipes.get("menet/VGG").to_json().replace("relu3_4", "conv3_4")
    assert recipes.Recipe.from_json(saved).losses[-1].options["layer"] == "conv3_4"


COARSE, FINE, COLOUR = (
    recipes.Loss("charbonnier", 1.0, {"on": "coarse", "lowpass": 5}),
    recipes.Loss("charbonnier", 1.0, {"on": "background"}),
    recipes.Loss("colour", 0.1),
)
"""λ_1, λ_2 and λ_3 of PHPNet's Eq. 5."""
PHI = {"network": "phi"}
EQ_5 = (COARSE, FINE, COLOUR, recipes.Loss("semantic", 0.05, PHI))


@pytest.mark.parametrize(("name", "last"), [("dcdnet", 0.0), ("dcdnet/no-refinement", 1.0), ("dcdnet/single", 1.0)])
def test_dcdnet_has_the_papers_values(name, last):
    """Eq. 6 sums over the T stages; a refined image comes after them, and is Eq. 7's, not Eq. 6's."""
    recipe = recipes.get(name)
    assert recipe.losses[0] == recipes.Loss("mse", 1.0, {"on": "rain", "stages": "all", "early": 1.0, "last": last})
    refined = [("l1", 1.0), ("perceptual", 1.0)] if name == "dcdnet" else []
    assert [(loss.term, loss.weight) for loss in recipe.losses[1:]] == refined
    assert (recipe.steps, recipe.batch, recipe.patch, recipe.lr) == (400_000, 10, 100, 1e-3)
    assert [recipe.learning_rate(step) for step in (239_999, 240_000, 320_000)] == pytest.approx([1e-3, 1e-4, 1e-5])


def test_dcdnet_s_refinement_and_its_loss_are_told_apart():
    """From row to row L1, the refinement, and VGG come in; L1 judges the last image, which Eq. 6 then leaves alone."""
    names = ("dcdnet/no-refinement", "dcdnet/no-refinement-L1", "dcdnet/no-VGG", "dcdnet", "dcdnet/rain-255")
    assert [row.recipe.name for row in papers.get("dcdnet/table-4-more").rows] == [*names]
    bare, l1, refined, whole, loud = map(recipes.get, names)
    assert l1 == bare.replace(losses=(*bare.losses, recipes.Loss("l1")))
    assert refined == whole.replace(losses=whole.losses[:2])
    assert l1.replace(options={}, losses=refined.losses) == refined
    assert refined.losses[1:] == l1.losses[1:]
    assert [loss.weight for loss in loud.losses] == [255, 1, 1]


def test_menet_s_vgg16_differs_from_an_untrained_one_in_its_weights_alone():
    trained, untrained = recipes.get("menet/VGG16"), recipes.get("menet/VGG16-untrained")
    stand_in, (_, nineteen) = trained.losses[1], recipes.get("menet/VGG").losses
    assert stand_in.options == nineteen.options | {"network": "vgg16", "layer": "relu3_3"}
    assert stand_in.weight == nineteen.weight
    assert untrained == trained.judged_by("untrained")
    with pytest.raises(RecipeError, match="no term of its loss is perceptual with a trained VGG"):
        untrained.judged_by("vgg16.safetensors")


def test_phpnet_has_the_papers_values():
    recipe = recipes.get("phpnet")
    assert recipe.losses == EQ_5
    assert (recipe.batch, recipe.lr, recipe.rain, recipe.balance) == (1, 3e-4, "streets", "fixed")
    assert recipe.epochs == 250
    at = [recipe.learning_rate(int(recipe.steps * epoch / 250)) for epoch in (0, 149, 151, 199, 201, 249)]
    assert at == pytest.approx([3e-4, 3e-4, 3e-5, 3e-5, 3e-6, 3e-6])


@pytest.mark.parametrize(
    ("row", "changes"),
    [
        ("acc", {"losses": (COARSE, FINE)}),
        ("acc-col", {"losses": (COARSE, FINE, COLOUR)}),
        ("acc-seg", {"losses": (COARSE, FINE, recipes.Loss("semantic", 0.05, PHI))}),
        ("coarse-0.4", {"losses": (recipes.Loss("charbonnier", 0.4, {"on": "coarse", "lowpass": 5}), *EQ_5[1:])}),
        ("density", {"rain": "density"}),
        ("depth", {"rain": "depth"}),
        ("spatial", {"rain": "spatial"}),
        ("no-small", {"rain": "streets-no-small"}),
        ("no-medium", {"rain": "streets-no-medium"}),
        ("no-large", {"rain": "streets-no-large"}),
        (
            "shared-objects",
            {"losses": (COARSE, FINE, COLOUR, recipes.Loss("presence", 0.05)), "model": "phpnet-objects"},
        ),
        ("cascaded-objects", {"losses": (COARSE, FINE, COLOUR, recipes.Loss("presence", 0.05, PHI))}),
        (
            "shared-segmentation",
            {"losses": (COARSE, FINE, COLOUR, recipes.Loss("semantic", 0.05)), "model": "phpnet-segmentation"},
        ),
        *[(row, {"model": f"phpnet-{row}"}) for row in ("standard", "parallel", "hierarchical", "concatenation")],
        *[(row, {"model": f"phpnet-{row}"}) for row in ("nonlocal", "no-contrast", "max-pooling", "qsnet")],
    ],
)
def test_phpnet_rows_differ_only_where_the_tables_say(row, changes):
    whole, recipe = recipes.get("phpnet"), recipes.get(f"phpnet/{row}")
    assert recipe.source != whole.source
    assert recipe == whole.replace(name=recipe.name, source=recipe.source, **changes)


def test_phpnet_without_x_supervises_x_c_alone():
    whole, recipe = recipes.get("phpnet"), recipes.get("phpnet/no-refinement")
    assert recipe.losses == (COARSE, COLOUR, recipes.Loss("semantic", 0.05, PHI))
    assert recipe.model == "phpnet-no-refinement"
    unfiltered = recipes.get("phpnet/unfiltered").losses
    assert [loss.options.get("lowpass", 0) for loss in unfiltered] == [0, 0, 0, 0]
    assert unfiltered[1:] == whole.losses[1:]


@pytest.mark.parametrize("name", ["phi", "espnet", "pspnet"])
def test_segmenters_learn_on_dry_streets(name):
    recipe = recipes.get(name)
    assert (recipe.model, recipe.rain, recipe.criterion, recipe.paired) == (name, "none", "miou", 0)
    assert recipe.losses[0] == recipes.Loss("semantic")
    assert recipe.build_loss().terms["semantic"].network is None


def test_the_light_segmenter_is_fine_tuned_on_rain_and_on_derained_streets():
    rain, derained = recipes.get("espnet/rain"), recipes.get("espnet/derained")
    assert (rain.start, rain.rain) == (derained.start, "streets") == ("espnet", "streets")
    assert derained.rain == "none"
    assert recipes.get("espnet/rain", "tiny").start == "", "nothing needs files at the tiny scale"


@pytest.mark.filterwarnings("ignore:this loss judges by a segmenter")
@pytest.mark.parametrize("name", ["phpnet", "phpnet/cascaded-objects"])
def test_a_segmenter_is_handed_to_the_term_frozen(name):
    losses = recipes.get(name, "tiny").losses
    term = losses[-1].build()
    assert term.network.name == "phi"
    assert not term.network.training
    assert not any(parameter.requires_grad for parameter in term.network.parameters())
    again = losses[-1].build()
    state = term.network.state_dict()
    assert all((value == state[key]).all() for key, value in again.network.state_dict().items())


def test_a_segmenter_without_weights_is_missed_when_training_starts(tmp_path):
    from derainlib.errors import WeightsError

    recipe = recipes.get(
        "phpnet", losses=(recipes.Loss("semantic", 1.0, {"network": str(tmp_path / "a.safetensors")}),)
    )
    with pytest.raises(WeightsError, match="no weights file"):
        recipe.build_loss()


def test_every_network_names_the_layer_that_its_tasks_share():
    from derainlib.models import SEGMENTERS, create, list_models

    for name in [*list_models(), *SEGMENTERS]:
        network = create(name)
        assert any(network.shared is parameter for parameter in network.parameters()), name
        recipes.get("srn", model=name, balance="gradient").build_loss(network)


def test_gradient_balance_needs_a_network_with_a_shared_layer(monkeypatch):
    from derainlib.errors import DerainError

    recipe = recipes.get("srn", balance="gradient")
    with pytest.raises(DerainError, match="srn to name its shared layer"):
        recipe.build_loss()
    monkeypatch.delattr("derainlib.models.segmentation._Segmenter.shared")
    with pytest.raises(RecipeError, match="espnet to name its shared layer"):
        recipes.get("espnet", balance="gradient")


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
        ({"minutes": -1.0}, "minutes must not be negative"),
        ({"minutes": float("nan")}, "minutes must be a finite number, not nan"),
        ({"lr": float("inf")}, "lr must be a finite number, not inf"),
        ({"validation": -1}, "validation must not be negative"),
        ({"ema": 1.0}, "ema is 0 or a decay below 1"),
        ({"frozen_statistics": True}, "name some, start="),
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
        ({"losses": (recipes.Loss("semantic", options={"network": 3}),)}, "network must be str"),
        ({"losses": ("mse",)}, "each of losses must be Loss"),
        ({"balance": "luck"}, "balance must be one of fixed, loss, gradient, uncertainty"),
        ({"balance": "loss"}, "ssim goes below zero"),
        ({"balance": "uncertainty", "losses": (recipes.Loss("mse", -1.0),)}, "mse has the weight -1"),
        ({"criterion": "beauty"}, "criterion must be one of psnr_rgb, miou"),
    ],
)
def test_wrong_values_are_refused_in_one_line(changes, message):
    with pytest.raises(RecipeError, match=message) as caught:
        recipes.get("srn", **changes)
    assert "\n" not in str(caught.value)


def test_the_name_does_not_count():
    """Equal rows of two tables are one training."""
    assert recipes.get("menet/LB") == recipes.get("menet")
    assert recipes.get("menet/LB") != recipes.get("menet/GB")


def test_unknown_names_are_refused():
    with pytest.raises(RecipeError, match="srn"):
        recipes.get("snr")
    with pytest.raises(RecipeError, match="full"):
        recipes.get("srn", "huge")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"losses": 3}', '{"losses": [{"term": "mse"}], "milestones": []}', "[" * 100_000,
        f'{{"steps": {"9" * 5000}}}',
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_broken_json_is_refused(text):
    with pytest.raises(RecipeError):
        recipes.Recipe.from_json(text)


@pytest.mark.parametrize(
    ("options", "words"), [({"width": 10**15}, "width is at most 4096"), ({"stages": 10**9}, "stages is at most 4096")]
)
def test_networks_without_measure_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        recipes.get("srn", options=options)


def test_checking_a_large_network_takes_no_memory():
    """With 4,096 channels each of its fifteen layers would have 604 MB of weights, or more."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    recipes.get("srn", options={"width": 4096})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # kB


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


@pytest.mark.parametrize(
    ("name", "scale", "changes", "options"),
    [
        ("brn", "quick", {}, {"stages": 2, "width": 6}),
        ("brn", "full", {}, {"stages": 2, "width": 6}),
        ("brn", "tiny", {}, {"stages": 2, "width": 6}),
        ("brn/T5", "quick", {}, {"stages": 5, "width": 6}),
        ("brn/T5", "quick", {"options": {"stages": 3}}, {"stages": 3, "width": 6}),
    ],
)
def test_the_network_is_that_of_the_start_where_the_recipe_leaves_it_open(tmp_path, name, scale, changes, options):
    from derainlib.models import create, weights

    path = tmp_path / "trained.safetensors"
    weights.save(create("brn", stages=2, width=6), path, {})
    recipe = recipes.get(name, scale, start=str(path), **changes)
    assert recipe.options == options
    assert recipe.build_model().stages == options["stages"]


@pytest.mark.parametrize("name", ["srn", "brn"])
def test_the_shipped_weights_keep_their_stages(name):
    from derainlib.models import weights

    trained = weights.load(name)
    started = recipes.get(name, "quick", start=name).build_model()
    assert started.stages == trained.stages
    assert all((a == b).all() for a, b in zip(started.parameters(), trained.parameters(), strict=True))


def test_a_start_of_another_network_is_refused_before_its_options_are():
    from derainlib.errors import WeightsError

    with pytest.raises(WeightsError, match="srn holds weights of srn, not of qsnet"):
        recipes.get("qsnet", "quick", start="srn")


def test_recipes_written_before_a_field_was_there_are_read():
    import json

    recipe = recipes.get("srn", "quick")
    values = {name: value for name, value in json.loads(recipe.to_json()).items() if name not in ("ema", "start")}
    assert recipes.Recipe.from_json(json.dumps(values)) == recipe
