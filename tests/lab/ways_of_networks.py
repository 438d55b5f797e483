"""Right answers to the exercises on QSNet, PHPNet and reading streets, written differently, as in `ways.py`."""

import math
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import kendalltau, ttest_1samp, ttest_rel
from torch import nn

from derainlib import Layers, Pair
from derainlib.losses import Colour
from derainlib.metrics import Confusion
from derainlib.models import qsnet


def turned_by_the_loss(colour, rain):
    truth, wet = colour.view(1, 3, 1, 1), (colour + rain).view(1, 3, 1, 1)
    loss = Colour(on="background")(Layers(wet, wet), Pair(wet, truth))
    return math.degrees(math.acos(1 - loss.item()))


def turned_by_its_sides(colour, rain):
    one, other = np.asarray(colour, float), np.asarray(colour + rain, float)
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other)), one @ other))


def entropy_by_loop(logits, labels):
    found = [
        -logits[n, :, y, x].log_softmax(0)[labels[n, y, x]].item() for n, y, x in (labels != 255).nonzero().tolist()
    ]
    return sum(found) / len(found)


def lazy_by_reading(labels):
    confusion = Confusion(11)
    confusion.update(torch.full_like(labels, int(labels[labels != 255].mode().values)), labels)
    return confusion.miou


def pooled_by_adding_up(counts):
    confusion = Confusion(counts.shape[1])
    confusion.counts += counts.sum(0)
    return confusion.miou


def pooled_by_loop(counts):
    total, found = counts.sum(0).tolist(), []
    for k, row in enumerate(total):
        union = sum(row) + sum(other[k] for other in total) - row[k]
        found += [row[k] / union] if union else []
    return sum(found) / len(found)


def ordered(scores):
    """The share of pairs that stand in rising order."""
    return (scores[:, None] < scores).triu().sum() / (len(scores) * (len(scores) - 1) / 2)


def highest_of_a_reader(accuracy, classes):
    """A reader whose classes but two have a pixel in a billion."""
    counts = np.eye(classes)
    counts[:2, :2] = 1e9 * np.array([[accuracy / 2, 1 - accuracy], [0, accuracy / 2]])
    hits = np.diag(counts)
    return np.mean(hits / (counts.sum(0) + counts.sum(1) - hits))


def shuffle_by_list(x, groups):
    own = x.shape[1] // groups
    return x[:, [group * own + card for card in range(own) for group in range(groups)]]


def seen_by_the_library(channels, groups):
    first, second = (qsnet.GroupConv(channels, channels, 1, groups, shuffled=g) for g in (1, groups))
    return (second.expanded()[0, :, 0, 0].abs() @ first.expanded()[..., 0, 0].abs() > 0).sum()


def reach_by_gradient(units, rate):
    """How far a chain of 3 × 3 convolutions of ones looks, the last of them at the rate."""
    x, ones = torch.zeros(1, 1, 65, 65, requires_grad=True), torch.ones(1, 1, 3, 3)
    y = x
    for dilation in [1] * (units + 1) + [rate] * bool(rate):
        y = F.conv2d(y, ones, padding=dilation, dilation=dilation)
    (seen,) = torch.autograd.grad(y[0, 0, 32, 32], x)
    return 32 - seen[0, 0].sum(1).nonzero().min().item()


def pull_by_gradient(filters, layers):
    """Where the signs of all responses are chosen so that they pull one value the same way."""
    pull = 0.0
    for taps in filters:
        x = torch.zeros(1, 1, 9, 9, requires_grad=True)
        response = F.conv2d(x, taps[None, None])
        impulse = F.conv2d(F.pad(torch.ones(1, 1, 1, 1), (4,) * 4), taps[None, None])
        (found,) = torch.autograd.grad((response * impulse.sign()).sum(), x)
        pull += found[0, 0, 4, 4].item()
    return layers * pull


WAYS = {
    "phpnet.least_weight": (
        torch.tensor(0.147), torch.sigmoid(F.selu(torch.tensor(-50.0))), 1 / (1 + math.exp(1.758)), 0.147,
    ),
    "phpnet.reach": (
        lambda k, stride: stride * (k * (3 * k + 3) // 2),
        lambda k, stride: torch.tensor([stride * (k + j + 1) for j in range(1, k + 1)]).sum(),
        lambda k, stride: float(np.sum(stride * (np.arange(k) + k + 2))),
    ),
    "phpnet_losses.turned": (
        turned_by_the_loss,
        turned_by_its_sides,
        lambda colour, rain: torch.rad2deg(torch.acos(F.cosine_similarity(colour, colour + rain, dim=0).clamp(-1, 1))),
    ),
    "phpnet_losses.cross_entropy": (
        lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=255),
        lambda logits, labels: F.nll_loss(logits.log_softmax(1), labels, ignore_index=255).numpy(),
        entropy_by_loop,
    ),
    "seeing_through_rain.lazy": (
        lazy_by_reading,
        lambda labels: (known := labels[labels < 11].bincount()).max() / known.sum() / known.count_nonzero(),
        lambda labels: max(c := np.bincount(labels[labels != 255])) / c.sum() / np.count_nonzero(c),
    ),
    "seeing_through_rain.pooled": (
        pooled_by_adding_up,
        pooled_by_loop,
        lambda counts: (h := (m := counts.sum(0)).diagonal()).div(m.sum(0) + m.sum(1) - h).nanmean(),
    ),
    "does_deraining_pay.agreement": (
        lambda one, other: (kendalltau(one, other).statistic + 1) / 2,
        lambda one, other: np.mean([np.prod(a - b) > 0 for a, b in combinations(np.c_[one, other], 2)]),
        lambda one, other: ordered(one[other.argsort()]),
    ),
    "does_deraining_pay.highest_miou": (
        highest_of_a_reader,
        lambda accuracy, classes: 1 - (4 - 4 * accuracy) / ((2 - accuracy) * classes),
        lambda accuracy, classes: torch.tensor(1 - 2 / classes + 2 / classes * accuracy / (2 - accuracy)),
    ),
    "qsnet.parameters": (
        lambda inputs, outputs, size, groups: sum(
            p.numel() for p in nn.Conv2d(inputs, outputs, size, groups=groups).parameters()
        ),
        lambda inputs, outputs, size, groups: outputs * (size**2 * (inputs // groups) + 1),
        lambda inputs, outputs, size, groups: groups * size**2 * (inputs / groups) * (outputs / groups) + outputs,
    ),
    "qsnet.seen": (
        seen_by_the_library,
        lambda channels, groups: min((channels // groups) ** 2, channels),
        lambda channels, groups: channels if channels >= groups**2 else torch.tensor(channels / groups) ** 2,
    ),
    "qsnet.reach": (
        reach_by_gradient,
        lambda units, rate: sum([1] + [1] * units) + rate,
        lambda units, rate: torch.tensor(units + 1.0 + rate),
    ),
    "qsnet.shuffle": (
        lambda x, groups: qsnet.shuffle(x, groups),
        lambda x, groups: F.channel_shuffle(x, groups),
        shuffle_by_list,
        lambda x, groups: torch.stack(x.chunk(groups, 1), 2).flatten(1, 2),
    ),
    "qsnet_losses.largest_pull": (
        pull_by_gradient,
        lambda filters, layers: sum(layers * float(np.abs(np.asarray(taps)).sum()) for taps in filters),
        lambda filters, layers: torch.cat([taps.flatten() for taps in filters]).norm(1) * layers,
    ),
    "qsnet_losses.paired": (
        lambda one, other: ttest_rel(other, one).statistic,
        lambda one, other: ttest_1samp((other - one).double(), 0).statistic,
        lambda one, other: np.mean(d := (other - one).numpy()) * len(d) ** 0.5 / np.std(d, ddof=1),
    ),
}  # fmt: skip
