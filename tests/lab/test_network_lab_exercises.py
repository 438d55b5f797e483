"""The exercises of the network lab tell a mistake by its sentence; what is right stands in RIGHT."""

import numpy as np
import pytest
import torch
from torch import nn

from derainlib.lab.exercises import network_lab as exercises
from tests.lab.mistakes import assert_told


def by_modules(height, width, inputs, outputs, size, groups, times):
    layer = nn.Conv2d(inputs, outputs, size, groups=groups)
    return sum(p.numel() for p in layer.parameters()), times * layer.weight.numel() * height * width


def by_a_generator(height, width, inputs, outputs, size, groups, times):
    per_channel = size * size * (inputs / groups)
    return np.array([outputs * (per_channel + 1), outputs * per_channel * height * width * times])


def as_tensor(height, width, inputs, outputs, size, groups, times):
    weights = torch.tensor(size).square() * inputs * outputs // groups
    return torch.stack([weights + outputs, weights * height * width * times])


def by_permutation_matrix(weight, order):
    return torch.einsum("oikl,ij->ojkl", weight, torch.eye(len(order))[:, order])


def by_loop(weight, order):
    new = torch.empty_like(weight)
    for j, old in enumerate(order.tolist()):
        new[:, j] = weight[:, old]
    return new


def by_rings(gradient, share):
    values = gradient.abs().numpy().copy()
    middle = len(values) // 2
    values[middle, middle] = 0
    r = 0
    while values[middle - r : middle + r + 1, middle - r : middle + r + 1].sum() < share * values.sum():
        r += 1
    return r


def by_the_library(gradient, share):
    from derainlib.lab.insight import Field

    values, away = exercises._rings(gradient)
    rings = torch.zeros(int(away.max()) + 1, dtype=values.dtype).index_add_(0, away.flatten(), values.flatten())
    return Field(gradient, 0, rings.cumsum(0) / rings.sum()).radius(share)


def by_sorting(gradient, share):
    middle = len(gradient) // 2
    away = np.abs(np.indices(gradient.shape) - middle).max(0)
    order = np.argsort(away, axis=None, kind="stable")
    sums = np.where(away > 0, gradient.abs().numpy(), 0).flatten()[order].cumsum()
    return away.flatten()[order][np.argmax(sums >= share * sums[-1])]


RIGHT = {
    "cost": (by_modules, by_a_generator, as_tensor),
    "repaired": (
        by_permutation_matrix,
        by_loop,
        lambda weight, order: weight.index_select(1, order),
        lambda weight, order: np.take(weight.numpy(), order.numpy(), axis=1),
    ),
    "radius": (by_rings, by_the_library, by_sorting),
}

WRONG = {
    "cost": {
        "bias is missing": lambda h, w, i, o, k, g, t: (k**2 * i * o // g, t * k**2 * i * o // g * h * w),
        "counted once": lambda h, w, i, o, k, g, t: (t * o * (k**2 * i // g + 1), t * k**2 * i * o // g * h * w),
        "stages are missing": lambda h, w, i, o, k, g, t: (o * (k**2 * i // g + 1), k**2 * i * o // g * h * w),
        "groups are missing": lambda h, w, i, o, k, g, t: (o * (k**2 * i + 1), t * k**2 * i * o * h * w),
        "size² taps": lambda h, w, i, o, k, g, t: (k * i // g * o + o, k * i // g * o * h * w * t),
        "biases are counted": lambda h, w, i, o, k, g, t: (
            o * (k**2 * i // g + 1),
            t * h * w * o * (k**2 * i // g + 1),
        ),
        "places are missing": lambda h, w, i, o, k, g, t: (o * (k**2 * i // g + 1), t * k**2 * i * o // g),
        "other way round": lambda h, w, i, o, k, g, t: (t * k**2 * i * o // g * h * w, o * (k**2 * i // g + 1)),
    },
    "repaired": {
        "permutes the outputs": lambda weight, order: weight.index_select(0, order),
        "inverse order": lambda weight, order: torch.zeros_like(weight).index_copy(1, order, weight),
        "Nothing has changed": lambda weight, order: weight.clone(),
        "outputs are to stay": lambda weight, order: weight[order][:, order],
        "taps of the kernel": lambda weight, order: weight[:, order].mT,
        "turns the order round": lambda weight, order: weight[:, order.flip(0)],
    },
    "radius": {
        "still in it": lambda gradient, share: 0,
        "Squares are summed": lambda gradient, share: by_rings(gradient**2, share),
        "side of the square": lambda gradient, share: by_rings(gradient, share) * 2 + 1,
        "one more is asked for": lambda gradient, share: by_rings(gradient, share) - 1,
        "That is the halo": lambda gradient, share: len(gradient) // 2,
    },
}


@pytest.mark.parametrize(
    ("name", "said", "answer"), [(name, said, answer) for name, some in WRONG.items() for said, answer in some.items()]
)
def test_mistake_is_refused_with_its_own_sentence(name, said, answer):
    assert_told(getattr(exercises, name), said, answer)
