"""Mixed precision: bf16 and fp16."""

from dataclasses import replace

import pytest
import torch

from derainlib import recipes, training
from derainlib.data.synthetic import gather
from derainlib.errors import RecipeError
from tests.training.runs import assert_same, half, initial, parameters, tiny


def test_bf16_trains_after_a_run_in_another_precision(uninterrupted, folder, tmp_path):
    result = training.train(tiny(precision="bf16"), gather(folder), tmp_path)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in parameters(result.last).values())


NARROW = [(24, "bf16", True), (32, "bf16", False), (24, "no", False)]


@pytest.mark.parametrize(("width", "precision", "refused"), NARROW)
def test_widths_that_bf16_kernels_get_wrong_are_refused(folder, tmp_path, width, precision, refused):
    """By the layer's name, before anything is written, and in no other case."""
    options = {"width": width, "scale_width": 8}
    recipe = replace(recipes.get("qsnet", "tiny"), options=options, steps=1, precision=precision)
    if refused:
        with pytest.raises(RecipeError, match=r"bf16.*multiples of 16"):
            training.train(recipe, gather(folder), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    else:
        assert training.train(recipe, gather(folder), tmp_path / "run").steps == 1


SCHEMES = ("fixed", "loss", "gradient", "uncertainty")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_float16_trains(folder, tmp_path, scheme):
    """Its first loss is that of float32, rounded; its scale falls until the weights move."""
    result = training.train(half(scheme, steps=8), gather(folder), tmp_path / "half")
    whole = training.train(half(scheme, precision="no", steps=1), gather(folder), tmp_path / "whole")
    losses = result.history[0]["loss"], whole.history[0]["loss"]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert "scale" not in whole.history[0]
    scales = [record["scale"] for record in result.history]
    assert all(after in (before, before / 2) for before, after in zip([2.0**16, *scales], scales, strict=False))
    start = initial(half(scheme))
    for name, value in parameters(result.last).items():
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_overflows_is_skipped(folder, tmp_path, clip, accumulate):
    """Nothing of it stays in the weights, in the learned ones or in Adam's averages; the schedule goes on."""
    recipe = half("uncertainty", clip=clip, accumulate=accumulate, schedule="cosine")
    result = training.train(recipe, gather(folder), tmp_path, stop_after=2)
    assert [record["scale"] for record in result.history] == [2.0**15, 2.0**14]
    expected = initial(recipe)
    assert all(torch.equal(value, expected[name]) for name, value in parameters(result.last).items())
    assert [record["weight_mse"] for record in result.history] == [0.5, 0.5]
    rates = [recipe.learning_rate(step) for step in range(2)]
    assert [record["lr"] for record in result.history] == pytest.approx(rates, rel=1e-4)
    (adam,) = (tmp_path / "checkpoints").glob("*-00000002/optimizer.bin")
    assert torch.load(adam)["state"] == {}


@pytest.mark.parametrize("scheme", ["gradient", "uncertainty"])
def test_stopped_and_resumed_equals_uninterrupted_in_float16(folder, tmp_path, scheme):
    """The scale is a part of the checkpoint; with a new one, steps would be skipped again."""
    whole = training.train(half(scheme), gather(folder), tmp_path / "whole")
    training.train(half(scheme), gather(folder), tmp_path / "parts", stop_after=3)
    result = training.train(half(scheme), gather(folder), tmp_path / "parts")
    for name in ("loss", "scale", "weight_mse"):
        assert [record[name] for record in result.history] == [record[name] for record in whole.history]
    assert_same(result.last, whole.last)


def test_gradients_that_never_fit_into_float16_stop_with_a_reason(folder, tmp_path):
    recipe = half(losses=(recipes.Loss("mse", 1e25),), steps=100, batch=1)
    with pytest.raises(RecipeError, match=r"no step is taken any more \(step 41\): use precision 'bf16' or 'no'"):
        training.train(recipe, gather(folder), tmp_path)
