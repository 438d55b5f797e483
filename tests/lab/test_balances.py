"""What notebooks 11 and 11b share: verdicts on a picture, and where two tasks lead."""

import pytest
import torch

from derainlib.lab import balances, descents, miniature
from derainlib.layers import Layers


def test_nothing_is_said_against_the_truth():
    pair = miniature.shower("chelsea", size=(32, 32))
    assert balances.judged(pair.clean, pair).tolist() == [0, 0, 0]
    by_hand = (255 * (pair.rainy - pair.clean)).square().mean()
    assert balances.judged(pair.rainy, pair)[0].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_given_loss_has_its_value_and_its_gradient():
    image = torch.rand(1, 3, 2, 2, requires_grad=True)
    value = balances.Given(3.0)(Layers(image, -image), None)
    value.backward()
    assert value.item() == pytest.approx(3.0)
    assert image.grad.sum().item() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("scheme", "k", "floor", "end"),
    [("fixed", 4, 0.0, -1.0), ("fixed", 0, 0.0, 0.0), ("loss", 4, 0.0, 1.0), ("loss", 0, 2.0, 0.0)],
)
def test_schemes_rest_where_theory_has_them(scheme, k, floor, end):
    """A factor moves the goal of a fixed sum; LB does not see it, and takes the nearer goal below a floor of 1."""
    way = descents.descent(scheme, k, floor, descents.STARTS["nearer to B"])
    assert way[-1, 0].item() == pytest.approx(end, abs=0.05)


def test_training_is_told_step_by_step():
    lessons = miniature.lessons(miniature.dry()[:1], 2, size=16)
    _, records = balances.lived("menet/LB", lessons)
    weighted = balances.entries(records, "loss") * balances.entries(records, "weight")
    assert weighted.shape == (3, 2)
    assert weighted[2] == pytest.approx(weighted[:2].sum(0), rel=1e-3)  # the giant has a half of the sum
