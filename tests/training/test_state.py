"""What a training carries along: the plateau, learned weights, and the average of the weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from derainlib import metrics, recipes, training
from derainlib.data.synthetic import gather
from derainlib.layers import Pair
from derainlib.models import weights
from tests.training.runs import assert_same, balanced, half, initial, parameters, plateau, tiny


def observed(recipe, losses) -> list[float]:
    """The learning rate after each loss, with the state handed on at every step as a checkpoint does."""
    weight = torch.nn.Parameter(torch.zeros(1))
    rates, saved = [], None
    optimizer = torch.optim.Adam([weight], recipe.lr)
    for loss in losses:
        schedule = training.Plateau(optimizer, recipe)
        if saved:
            schedule.load_state_dict(json.loads(json.dumps(saved)))
        schedule.observe(loss)
        saved = schedule.state_dict()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("shift", [0, -10])
def test_plateau_drops_where_the_hand_says(shift):
    """Windows of two steps, patience of two: their means are 5, 4, 4, 4.5 | 3, 3, 3 | 3 …; a tie is no improvement.

    A loss may be below zero, as −SSIM is; only differences count.
    """
    recipe = plateau(lr=1e-3, gamma=0.1, window=2, patience=2, min_lr=1e-5)
    losses = [6, 4, 5, 3, 4, 4, 5, 4, 3, 3, 3, 3, 2, 4, 3, 3, 3, 3, 3, 3]
    drops = {8: 1e-4, 14: 1e-5}  # after 8 losses; the third drop would pass the smallest learning rate
    expected, rate = [], 1e-3
    for count in range(1, len(losses) + 1):
        rate = drops.get(count, rate)
        expected.append(rate)
    assert observed(recipe, [loss + shift for loss in losses]) == pytest.approx(expected)


def test_plateau_never_drops_while_the_loss_falls():
    rates = observed(plateau(lr=1e-3, window=1), np.linspace(1, 0, 30).tolist())
    assert rates == [1e-3] * 30


@pytest.fixture(scope="module")
def uninterrupted_plateau(folder, tmp_path_factory) -> training.Result:
    return training.train(plateau(), gather(folder), tmp_path_factory.mktemp("plateau"))


def test_plateau_lowers_the_learning_rate_of_a_run(uninterrupted_plateau):
    recipe = plateau()
    history = uninterrupted_plateau.history
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], recipe.lr)
    schedule = training.Plateau(optimizer, recipe)
    for record in history:
        assert record["lr"] == pytest.approx(optimizer.param_groups[0]["lr"])
        schedule.observe(record["loss"])
    assert [record["lr"] / recipe.lr for record in history] == [1] * 9 + [0.5] * 3


@pytest.mark.parametrize("when", ["step", "save"])
def test_killed_and_resumed_equals_uninterrupted_on_a_plateau(uninterrupted_plateau, folder, killed, tmp_path, when):
    run = tmp_path / "run"
    killed(when, run, plateau())
    result = training.train(plateau(), gather(folder), run)
    assert [r["lr"] for r in result.history] == [r["lr"] for r in uninterrupted_plateau.history]
    assert_same(result.last, uninterrupted_plateau.last)


@pytest.fixture(scope="module")
def uninterrupted_balance(folder, tmp_path_factory) -> dict[str, training.Result]:
    schemes = ("loss", "gradient", "uncertainty")
    return {s: training.train(balanced(s), gather(folder), tmp_path_factory.mktemp(s)) for s in schemes}


@pytest.mark.parametrize("scheme", ["loss", "gradient"])
def test_weights_of_a_balance_are_in_every_record(uninterrupted_balance, scheme):
    for record in uninterrupted_balance[scheme].history:
        weights = record["weight_mse"], record["weight_ssim_rain"]
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        losses = 100 * record["loss_mse"], record["loss_ssim_rain"]
        assert record["loss"] == pytest.approx(sum(w * x for w, x in zip(weights, losses, strict=True)), rel=1e-4)
        if scheme == "loss":
            assert weights[0] == pytest.approx(losses[1] / sum(losses), rel=1e-4)


def test_uncertainty_weights_are_learned(uninterrupted_balance):
    """Adam's first steps have the size of lr: s rises where the loss is above ½, else it falls; w = ½ exp(−s)."""
    recipe = balanced("uncertainty")
    history = uninterrupted_balance["uncertainty"].history
    assert history[0]["weight_mse"] == 0.5
    for name, weight in (("mse", 100), ("ssim_rain", 1)):
        sign = 1 if weight * history[0][f"loss_{name}"] > 1 else -1
        assert history[1][f"weight_{name}"] == pytest.approx(0.5 * np.exp(-sign * recipe.lr), rel=1e-5)


def test_a_fixed_sum_logs_no_weights(uninterrupted):
    assert not [name for record in uninterrupted.history for name in record if name.startswith("weight")]


@pytest.mark.parametrize("when", ["step", "save"])
def test_killed_and_resumed_equals_uninterrupted_with_learned_weights(
    uninterrupted_balance, folder, killed, tmp_path, when
):
    run = tmp_path / "run"
    killed(when, run, balanced("uncertainty"))
    result = training.train(balanced("uncertainty"), gather(folder), run)
    expected = uninterrupted_balance["uncertainty"]
    for name in ("loss", "weight_mse", "weight_ssim_rain"):
        assert [r[name] for r in result.history] == [r[name] for r in expected.history]
    assert_same(result.last, expected.last)


@pytest.mark.parametrize("scheme", ["loss", "gradient", "uncertainty"])
def test_a_balance_trains_in_half_precision(folder, tmp_path, scheme):
    result = training.train(balanced(scheme, precision="bf16", steps=2), gather(folder), tmp_path)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in parameters(result.last).values())


def after_each_step(recipe: recipes.Recipe, sources, run: Path) -> list[dict[str, torch.Tensor]]:
    """The weights and buffers after each step, in float64."""
    states = [parameters(training.train(recipe, sources, run, stop_after=n).last) for n in range(1, recipe.steps + 1)]
    return [{name: value.double() for name, value in state.items()} for state in states]


@pytest.mark.parametrize("network", ["srn", "espnet"])
def test_the_average_is_the_one_by_hand(folder, streets, tmp_path, network):
    """Also of a segmenter's statistics; of the counts of batches beside them the newest is kept."""
    options = {"stages": 1, "width": 8} if network == "srn" else {"width": 8}
    sources = gather(folder) if network == "srn" else gather(scenes_dir=streets)
    recipe = recipes.get(network, "tiny", options=options, steps=6, patch=24, schedule="constant")
    states = after_each_step(recipe, sources, tmp_path / "plain")
    average = states[0]
    for done, state in enumerate(states[1:], 1):
        decay = min(0.3, (1 + done) / (10 + done))  # 2/11, 3/12, then 0.3
        average = {name: decay * average[name] + (1 - decay) * value for name, value in state.items()}
    found = parameters(training.train(recipe.replace(ema=0.3), sources, tmp_path / "average").last)
    assert found.keys() == average.keys()
    for name, value in found.items():
        expected = average[name] if value.is_floating_point() else states[-1][name]
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
        if name.endswith("weight"):
            assert (value - states[-1][name]).abs().max() > 1e-5, name


def test_the_average_is_what_is_judged(folder, tmp_path):
    clean = torch.rand(1, 3, 24, 24)
    validation = [Pair((clean * 0.8 + 0.2), clean)]
    recipe = tiny(ema=0.9, lr=1e-2, validate_every=6)
    result = training.train(recipe, gather(folder), tmp_path, validation=validation)
    with torch.inference_mode():
        background = weights.load(result.last)(validation[0].rainy).background
    score = metrics.psnr(background, clean, "rgb").item()
    assert result.history[-1]["psnr_rgb"] == pytest.approx(score, abs=1e-3)
    assert_same(result.best, result.last)


@pytest.fixture(scope="module")
def uninterrupted_average(folder, tmp_path_factory) -> training.Result:
    return training.train(balanced("uncertainty", ema=0.9), gather(folder), tmp_path_factory.mktemp("average"))


@pytest.mark.parametrize("when", ["step", "save"])
def test_killed_and_resumed_equals_uninterrupted_with_an_average(uninterrupted_average, folder, killed, tmp_path, when):
    run, recipe = tmp_path / "run", balanced("uncertainty", ema=0.9)
    killed(when, run, recipe)
    assert_same(training.train(recipe, gather(folder), run).last, uninterrupted_average.last)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_an_average_of_half_precision_is_in_float32_and_leaves_out_skipped_steps(folder, tmp_path, precision):
    recipe = half(precision=precision, ema=0.9)
    result = training.train(recipe, gather(folder), tmp_path, stop_after=2)
    start = initial(recipe)
    for name, value in parameters(result.last).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, start[name]) is (precision == "fp16"), name
    (file,) = (tmp_path / "checkpoints").glob("*-00000002/custom_checkpoint_1.pkl")
    assert torch.load(file)["n_averaged"] == (0 if precision == "fp16" else 2)
