"""The exercises of the loss lab tell a mistake by its sentence; what is right stands in RIGHT."""

import math

import pytest
import torch
import torch.nn.functional as F

from derainlib.lab.exercises import loss_lab as exercises
from derainlib.layers import Layers, Pair
from derainlib.losses import L1, MSE
from tests.lab.mistakes import assert_told


def by_autograd(image, truth, weight, rate):
    leaf = image.clone().requires_grad_()
    loss = (leaf - truth).abs().mean() + weight * F.mse_loss(leaf, truth)
    return image - rate * torch.autograd.grad(loss, leaf)[0]


def by_an_optimiser(image, truth, weight, rate):
    leaf = image.clone().requires_grad_()
    (F.l1_loss(leaf, truth) + weight * F.mse_loss(leaf, truth)).backward()
    torch.optim.SGD([leaf], rate).step()
    return leaf


def by_the_library(image, truth, weight, rate):
    leaf, pair = image.clone().requires_grad_(), Pair(truth, truth)
    layers = Layers(leaf, truth - leaf)
    (L1()(layers, pair) + weight * MSE()(layers, pair)).backward()
    return image - rate * leaf.grad


def by_hand(image, truth, weight, rate):
    error = truth - image
    return (image + rate * (torch.sign(error) + 2 * weight * error) / (1 * 3 * 4 * 5)).numpy()


RIGHT = {
    "converted": (
        lambda weight, power, values: weight * 255 * values / 255**power,
        lambda weight, power, values: values * weight / 255 ** (power - 1),
        lambda weight, power, values: weight * values * math.exp((1 - power) * math.log(255)),
        lambda weight, power, values: torch.tensor(weight, dtype=torch.float64) * values * 255.0 / 255.0**power,
    ),
    "step": (by_autograd, by_an_optimiser, by_the_library, by_hand),
}

WRONG = {
    "converted": {
        "left λ as it is": lambda weight, power, values: 1.0 * weight,
        "sum is missing": lambda weight, power, values: weight * 255 / 255**power,
        "unit is missing": lambda weight, power, values: values * weight,
        "first term grows too": lambda weight, power, values: values * weight / 255**power,
        "wrong way round": lambda weight, power, values: values * weight * 255**power / 255,
        "not shrink": lambda weight, power, values: weight * 255 / 255**power / values,
    },
    "step": {
        "climbs": lambda image, truth, weight, rate: image + image - by_autograd(image, truth, weight, rate),
        "means are missing": lambda i, t, weight, rate: i - rate * ((i - t).sign() + 2 * weight * (i - t)),
        "λ is missing": lambda i, t, weight, rate: i - rate * ((i - t).sign() + 2 * (i - t)) / i.numel(),
        "2 is missing": lambda i, t, weight, rate: i - rate * ((i - t).sign() + weight * (i - t)) / i.numel(),
        "absolute value is missing": lambda i, t, weight, rate: i - rate * 2 * weight * (i - t) / i.numel(),
        "squared error alone": lambda i, t, w, rate: i - rate * w * ((i - t).sign() + 2 * (i - t)) / i.numel(),
        "That is the gradient": lambda i, t, weight, rate: ((i - t).sign() + 2 * weight * (i - t)) / i.numel(),
    },
}


@pytest.mark.parametrize(
    ("name", "said", "answer"), [(name, said, answer) for name, some in WRONG.items() for said, answer in some.items()]
)
def test_mistake_is_refused_with_its_own_sentence(name, said, answer):
    assert_told(getattr(exercises, name), said, answer)


def test_other_wrong_answer_is_refused_without_a_sentence():
    assert exercises.converted.verdict(lambda weight, power, values: 3.0).endswith(".")
    assert not any(said in exercises.converted.verdict(lambda w, p, v: 3.0) for said in exercises.converted.slips)
