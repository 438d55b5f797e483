"""Exercises of `08b_phpnet_losses.ipynb`."""

import torch
import torch.nn.functional as F

from derainlib.lab.exercises import Exercise


def _between(one, other):
    cosine = (one * other).sum() / (one.norm() * other.norm())
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


def _turned(colour, rain):
    wet = colour + rain
    cosine = (colour * wet).sum() / (colour.norm() * wet.norm())
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


turned = Exercise(
    """
    **Exercise 1. Washed out.** Rain is grey: it adds the number `rain` to each of a pixel's three values. Write
    `turned(colour, rain)`: by how many degrees does that turn the vector `colour`, a tensor of shape (3,)?
    """,
    answer=_turned,
    cases=[
        (torch.tensor([0.8, 0.1, 0.1]), 0.2),
        (torch.tensor([0.1, 0.4, 0.2]), 0.3),
        (torch.tensor([0.3, 0.3, 0.6]), 0.1),
        (torch.tensor([0.5, 0.0, 0.0]), 0.5),
    ],
    slips={
        "That is in radians.": lambda colour, rain: torch.deg2rad(_turned(colour, rain)),
        "That is one minus the cosine, the loss; the angle is asked for.": (
            lambda colour, rain: 1 - torch.cos(torch.deg2rad(_turned(colour, rain)))
        ),
        "That is the cosine; the angle is asked for.": (
            lambda colour, rain: torch.cos(torch.deg2rad(_turned(colour, rain)))
        ),
        "That is the angle to grey itself; the wet pixel is the colour *plus* the rain.": (
            lambda colour, rain: torch.rad2deg(torch.arccos(colour.sum() / colour.norm() / 3**0.5))
        ),
        "Divide by both lengths: without them the product is no cosine.": (
            lambda colour, rain: torch.rad2deg(torch.arccos((colour * (colour + rain)).sum().clamp(-1, 1)))
        ),
        "Rain falls on all three values, not on the first alone.": (
            lambda colour, rain: _between(colour, colour + rain * torch.tensor([1.0, 0, 0]))
        ),
    },
    hints=(
        "The cosine between a and b is a · b / (‖a‖ ‖b‖), as in Eq. 4.",
        "b is `colour + rain`; a number is added to every element.",
        "`torch.arccos` gives radians, `torch.rad2deg` turns them into degrees.",
    ),
    why="A grey pixel is not turned at all, whatever falls on it. So the colour loss sees the rain on a red car, and "
    "not the same rain on the road beside it.",
)


def _cross_entropy(logits, labels):
    known = labels != 255
    true = logits.log_softmax(1).gather(1, labels.where(known, 0)[:, None])[:, 0]
    return -true[known].mean()


def _labelled(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 4, 5, 6, generator=generator)
    labels = torch.randint(4, (2, 5, 6), generator=generator)
    return logits, labels.masked_fill(torch.rand(2, 5, 6, generator=generator) < 0.15 * seed, 255)


cross_entropy = Exercise(
    """
    **Exercise 2. Pixels that nobody labelled.** Write `cross_entropy(logits, labels)`: the mean of
    $-\\ln p(\\text{label})$ over the pixels that have a label. `logits` has the shape (N, K, H, W), and its softmax is
    the probability $p$ of each class; `labels`, (N, H, W), holds 0 … K − 1, and 255 where nobody knows.
    """,
    answer=_cross_entropy,
    cases=[_labelled(seed) for seed in (1, 2, 3)],
    slips={
        "Pixels without a label count in your mean as zeros; leave them out of it.": (
            lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=255, reduction="none").mean()
        ),
        "That is the sum; the mean is asked for.": (
            lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")
        ),
        "You read label 255 as class 0; nobody said that.": (
            lambda logits, labels: F.cross_entropy(logits, labels % 255)
        ),
        "The sign is missing: a logarithm of a probability is negative, a loss is not.": (
            lambda logits, labels: -_cross_entropy(logits, labels)
        ),
        "The softmax is missing: logits are no logarithms of probabilities.": (
            lambda logits, labels: F.nll_loss(logits, labels, ignore_index=255)
        ),
        "The logarithm is missing: that is the mean of −p.": (
            lambda logits, labels: F.nll_loss(logits.softmax(1), labels, ignore_index=255)
        ),
    },
    hints=(
        "`logits.log_softmax(1)` holds ln p of every class; pick the label's.",
        "Where the label is 255 there is nothing to pick. Take 0 instead, and leave these pixels out of the mean.",
        "PyTorch has it: `F.cross_entropy` with `ignore_index`.",
    ),
    why="`F.cross_entropy(logits, labels, ignore_index=255)`. Were the sum divided by all pixels, an image with half "
    "of its labels would have half the say.",
)
