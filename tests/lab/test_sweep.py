"""Sweeps over λ: which losses a λ makes, and what is drawn of those that were trained."""

import pytest
import torch

from derainlib.lab import miniature, sweep
from derainlib.lab.results import results
from derainlib.models import weights

FOUND = results("loss_sweep")
EVERY = [(name, value) for name in sweep.SUMS for value in sweep.values(FOUND, name)]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SSIM", 0.0, [("l1", 1.0)]),
        ("SSIM", 0.1, [("l1", 0.9), ("ssim", 0.1)]),
        ("SSIM", 1.0, [("ssim", 1.0)]),
        ("edge", 0.0, [("l1", 1.0)]),
        ("edge", 10.0, [("l1", 1.0), ("edge", 10.0)]),
    ],
)
def test_weight_makes_losses(name, value, expected):
    recipe = sweep.recipe(name, value, seed=3)
    assert [(loss.term, loss.weight) for loss in recipe.losses] == expected
    assert recipe.seed == 3


@pytest.mark.parametrize(("name", "value"), EVERY)
def test_shipped_network_is_the_one_that_was_measured(name, value):
    path, found = sweep.file(name, value), FOUND
    card = weights.card(path)
    assert path.stat().st_size < 300_000
    assert (card["steps"], card["recipe"]["seed"]) == (found["steps"], found["seeds"][0])
    told = {loss["term"]: loss["weight"] for loss in card["recipe"]["losses"]}
    assert told == {loss.term: loss.weight for loss in sweep.recipe(name, value, 0).losses}
    row = found["sums"][name][f"{value:g}"]["psnr"]
    assert len(row["by_seed"]) == len(found["seeds"]) >= 3
    assert row["mean"] == pytest.approx(sum(row["by_seed"]) / len(row["by_seed"]), abs=1e-3)


def test_slider_has_what_was_measured():
    assert sweep.values({"sums": {"edge": {"10": {}, "0": {}}}}, "edge") == [0.0, 10.0]
    assert all(len(sweep.values(FOUND, name)) > 1 for name in sweep.SUMS)


def test_picture_has_a_dot_for_each_training():
    pair = miniature.shower("street", "heavy", size=(32, 40))
    left, middle, *_ = sweep.draw(FOUND, "SSIM", 0.1, pair).axes
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [len(FOUND["seeds"])] * len(sweep.values(FOUND, "SSIM"))
    assert middle.get_title().startswith("λ = 0.1: ")
    seen = torch.from_numpy(middle.images[0].get_array().data).permute(2, 0, 1)
    assert torch.allclose(seen, sweep.background("SSIM", 0.1, pair.rainy)[0].clamp(0, 1), atol=1e-6)
