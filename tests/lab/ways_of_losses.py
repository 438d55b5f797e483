"""Right answers written differently, by exercise, of the notebooks on DCDNet, MENET, balances and training."""

import math
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F

from derainlib.losses.balance import balanced
from derainlib.models.dcdnet import DCDNet
from derainlib.models.menet import MENET


def fuse_map_by_map(weight, maps):
    channels, total = len(maps[0]), 0
    for place, image in enumerate(maps[::-1]):
        part = weight[:, place * channels : (place + 1) * channels]
        total = total + (part @ image.flatten(1)).view(-1, *image.shape[1:])
    return total


def seen_by_convolution(dilations):
    row = np.ones(1)
    for d in dilations:
        taps = np.zeros(2 * d + 1)
        taps[[0, d, 2 * d]] = 1
        row = np.convolve(row, taps)
    return np.count_nonzero(row)


def seen_step_by_step(dilations):
    image = torch.zeros(1, 1, 1, 199, dtype=torch.float64)
    image[..., 99] = 1
    for d in dilations:
        image = F.conv2d(image, torch.ones(1, 1, 1, 3, dtype=torch.float64), dilation=(1, d), padding=(0, d))
    return (image > 0).sum()


def multiplied_by_the_network(stages):
    """Weights of convolutions, each as often as its layer runs."""
    net, runs = DCDNet(stages=stages), []
    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            runs.append(layer.weight.numel() * (stages if any(layer is one for one in net.stage.modules()) else 1))
    return sum(runs)


def unshuffle_by_slices(x):
    """Four slices, each colour's together."""
    return torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 2).flatten(1, 2)


def unshuffle_by_a_convolution(x):
    picks = torch.eye(4).view(4, 1, 2, 2).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, picks, stride=2, groups=x.shape[1])


def parameters_counted(blocks, width, attention):
    net = MENET(blocks=blocks, width=width, attention=attention)
    return sum(p.numel() for p in net.parameters())


def parameters_in_one_line(blocks, width, attention):
    q = width // 4
    convs = 9 * (12 * q + q * q + q * 12) + (2 + 2 * blocks) * 9 * width**2 + attention * (8 + 27) * width**2
    return torch.tensor(convs + 4 * q + 2 * width * (2 + 2 * blocks + 5 * attention))


def wave_cost_measured(period):
    x = torch.arange(240_000, dtype=torch.float64)
    wave = torch.sin(2 * math.pi * x / period)
    return ((4 * (wave[2:] - wave[:-2])).square().mean() / 2 / wave.square().mean()).item()


def growth_by_name(side, values, form):
    return float({"mean": 1, "literal": side**4, "scalar": side**4}[form] * values**4)


def weighted_in_double(losses):
    if len(losses) == 1:
        return losses
    exact = losses.double().numpy()
    return np.array([value * (exact[np.arange(len(exact)) != i].sum() / max(exact.sum(), 1e-300))
                     for i, value in enumerate(exact)])  # fmt: skip


def weighted_by_a_matrix(losses):
    others = (1 - torch.eye(len(losses))) @ losses
    weights = others / losses.sum().clamp_min(1e-30) if len(losses) > 1 else torch.ones(1)
    return weights * losses


def floor_by_search(distance):
    """Bisection for where the middle of log L₁ + log L₂ changes from a ridge to a valley."""
    low, high = 0.0, distance**2

    def curvature(c):
        h = 1e-4 * distance
        value = [sum(math.log((x - goal) ** 2 + c) for goal in (0, distance)) for x in
                 (distance / 2 - h, distance / 2, distance / 2 + h)]  # fmt: skip
        return value[0] - 2 * value[1] + value[2]

    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if curvature(middle) > 0 else (middle, high)
    return round(high, 7)


def rate_step_by_step(step, steps):
    rate = 1e-3
    for s in range(step + 1):
        rate *= 0.2 if any(100 * s >= part * steps > 100 * (s - 1) for part in (30, 50, 80)) else 1
    return rate


def steps_window_by_window(stride):
    across, down = (len([at for at in range(0, side, stride) if at + 100 <= side]) for side in (481, 321))
    return 1_254 * across * down * 100 // 12


def dealt_like_cards(step, batch, rank, world):
    hands = [[] for _ in range(world)]
    for place in range(batch):
        hands[place % world].append(step * batch + place)
    return hands[rank]


def settled_by_descent(losses):
    s = torch.zeros(len(losses), dtype=torch.float64, requires_grad=True)
    given = torch.tensor(losses, dtype=torch.float64)
    newton = torch.optim.LBFGS([s], max_iter=500, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def total():
        newton.zero_grad()
        value = (0.5 * torch.exp(-s) * given + 0.5 * s).sum()
        value.backward()
        return value

    newton.step(total)
    return total().item()


WAYS = {
    "dcdnet.fuse": (
        lambda weight, maps: F.conv2d(torch.cat(maps[::-1])[None], weight[..., None, None])[0],
        lambda weight, maps: torch.tensordot(weight, torch.cat(list(reversed(maps))), 1),
        fuse_map_by_map,
    ),
    "dcdnet.seen": (
        lambda dilations: len({sum(way) for way in product(*((-d, 0, d) for d in dilations))}),
        seen_by_convolution,
        seen_step_by_step,
    ),
    "dcdnet.reach": (
        lambda dilations, stages, refinement: DCDNet(dilations=dilations, stages=stages).halo - 2 * (not refinement),
        lambda dilations, stages, refinement: sum([2, *dilations] * stages) + (2 if refinement else 0),
        lambda dilations, stages, refinement: torch.tensor(stages * (2 + sum(dilations))) + 2 * refinement,
    ),
    "dcdnet_in_numbers.outer_parameters": (
        lambda stages: (9 * stages**2 + 15 * stages - 24) / 2,
        lambda stages: sum(p.numel() for p in DCDNet(stages=stages).outer.parameters()),
        lambda stages: torch.arange(2, stages + 1).mul(9).add(3).sum(),
    ),
    "dcdnet_in_numbers.multiplications": (
        lambda stages: 13_664 * stages + 9 * (stages * (stages + 1) // 2 - 1) + 2_784,
        multiplied_by_the_network,
        lambda stages: float(2_784 + sum(13_664 + 9 * t * (t > 1) for t in range(1, stages + 1))),
    ),
    "menet.unshuffle": (
        lambda x: F.pixel_unshuffle(x, 2), unshuffle_by_slices, unshuffle_by_a_convolution,
    ),
    "menet.parameters": (
        parameters_counted, parameters_in_one_line, lambda *given: float(parameters_counted(*given)),
    ),
    "menet_losses.cost": (
        wave_cost_measured,
        lambda period: 16 * (1 - math.cos(4 * math.pi / period)),
        lambda period: torch.tensor(32.0, dtype=torch.float64) * np.sin(2 * np.pi / period) ** 2,
    ),
    "menet_losses.growth": (
        growth_by_name,
        lambda side, values, form: values**4 if form == "mean" else (side * values) ** 4,
        lambda side, values, form: np.float64(values) ** 4 * side ** (0 if form == "mean" else 4),
    ),
    "balancing_tasks.weighted": (
        lambda losses: balanced(losses) * losses, weighted_in_double, weighted_by_a_matrix,
    ),
    "balancing_tasks.influence": (
        lambda norms: balanced(norms) * norms / (balanced(norms) * norms).sum(),
        lambda norms: (x := norms / norms.sum()) * (1 - x) / (1 - x.square().sum()),
        lambda norms: F.normalize(norms * (norms.sum() - norms), p=1, dim=0),
    ),
    "balancing_tasks.least_floor": (
        lambda distance: (distance / 2) ** 2, lambda distance: torch.tensor(distance).double().square() / 4,
        floor_by_search,
    ),
    "balanced_training.settled": (
        lambda losses: len(losses) / 2 + math.log(math.prod(losses)) / 2,
        lambda losses: 0.5 * (1 + np.log(losses)).sum(),
        settled_by_descent,
    ),
    "balanced_training.average": (
        lambda losses: torch.stack([balanced(step) for step in losses]).mean(0),
        lambda losses: 1 - (losses / losses.sum(1)[:, None]).mean(0),
        lambda losses: np.mean([1 - step / step.sum() for step in losses.numpy()], axis=0),
    ),
    "train.learning_rate": (
        rate_step_by_step,
        lambda step, steps: [1e-3, 2e-4, 4e-5, 8e-6][int(np.searchsorted((0.3, 0.5, 0.8), step / steps, "right"))],
        lambda step, steps: torch.tensor(1e-3) / 5 ** sum(10 * step >= part * steps for part in (3, 5, 8)),
    ),
    "train.steps_of_the_paper": (
        steps_window_by_window,
        lambda stride: 10_450 * (381 // stride + 1) * (221 // stride + 1),
        lambda stride: 125_400 / 12 * np.prod([1 + (side - 100) // stride for side in (481, 321)]),
    ),
    "train.samples_of_a_process": (
        dealt_like_cards,
        lambda step, batch, rank, world: [step * batch + n for n in range(batch) if n % world == rank],
        lambda step, batch, rank, world: torch.arange(batch).add(step * batch)[rank::world],
    ),
}  # fmt: skip
"""By module and name."""
