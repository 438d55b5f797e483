"""Exercises of `08_phpnet.ipynb`."""

import math

import torch
import torch.nn.functional as F

from derainlib.lab.exercises import Exercise


def _reach(k, stride):
    positions = sum((k + j - 1) + 2 for j in range(1, k + 1))
    return stride * positions


reach = Exercise(
    """
    **Exercise 1. How far a PHP block sees.** It has `k` pyramids one after the other; pyramid $j$ has `k` branches of
    3 × 3 convolutions with the dilations $j, j + 1, \\dots, j + k - 1$, and its reweighting looks at their features
    through two depthwise 3 × 3 convolutions. A position stands for `stride` × `stride` pixels. Write
    `reach(k, stride)`: how many pixels beyond its own block can a feature depend on?
    """,
    answer=_reach,
    cases=[(4, 2), (1, 1), (2, 2), (3, 4), (4, 1)],
    wrong=[
        lambda k, stride: sum(k + j + 1 for j in range(1, k + 1)),
        lambda k, stride: stride * sum(k + j - 1 for j in range(1, k + 1)),
        lambda k, stride: stride * sum(i + j - 1 for i in range(1, k + 1) for j in range(1, k + 1)),
        lambda k, stride: stride * sum(j + 2 for j in range(1, k + 1)),
        lambda k, stride: stride * (k + k - 1 + 2),
        lambda k, stride: 2 * stride * sum(k + j + 1 for j in range(1, k + 1)) + 1,
    ],
    hints=(
        "Branches stand side by side: in a pyramid only the one that sees farthest counts, and the sums add nothing.",
        "Pyramid j adds its largest dilation, k + j − 1, and 2 for the reweighting.",
        "Add that up over j = 1 … k, in positions, and multiply by the stride.",
    ),
    why="60 pixels for k = 4 and a stride of 2. The first layer and the pool add 4, the refinement 8, and 1 more "
    "because a pixel may be its block's last: `halo` is 73.",
)

least_weight = Exercise(
    """
    **Exercise 2. Can attention look away?** The reweighting multiplies each feature by $\\sigma(T(f))$, and $T$ ends in
    a SELU, which for $x < 0$ is $\\lambda\\alpha\\,(e^x - 1)$ with $\\lambda = 1.0507$ and $\\alpha = 1.6733$. What is
    the smallest number by which a feature can be multiplied?
    """,
    answer=1 / (1 + math.exp(1.0507 * 1.6733)),
    wrong=[0, 0.5, 1 / (1 + math.exp(1)), 1 / (1 + math.exp(1.6733)), -1.0507 * 1.6733, 1],
    tolerance=5e-3,
    hints=(
        "How far down does a SELU go?",
        "For very negative x it comes near −λα = −1.758, and no lower.",
        "Put that into the sigmoid, 1 / (1 + exp(−t)).",
    ),
    why="About 0.147: attention can damp a feature to a seventh, never switch it off. Upwards it may come near 1.",
)


def _turned(colour, rain):
    wet = colour + rain
    cosine = (colour * wet).sum() / (colour.norm() * wet.norm())
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


turned = Exercise(
    """
    **Exercise 3. Washed out.** Rain is grey: it adds the number `rain` to each of a pixel's three values. Write
    `turned(colour, rain)`: by how many degrees does that turn the vector `colour`, a tensor of shape (3,)?
    """,
    answer=_turned,
    cases=[
        (torch.tensor([0.8, 0.1, 0.1]), 0.2),
        (torch.tensor([0.1, 0.4, 0.2]), 0.3),
        (torch.tensor([0.3, 0.3, 0.6]), 0.1),
        (torch.tensor([0.5, 0.0, 0.0]), 0.5),
    ],
    wrong=[
        lambda colour, rain: torch.deg2rad(_turned(colour, rain)),
        lambda colour, rain: 1 - torch.cos(torch.deg2rad(_turned(colour, rain))),
        lambda colour, rain: _turned(colour, 1.0),
        lambda colour, rain: torch.rad2deg(torch.arccos((colour * (colour + rain)).sum().clamp(-1, 1))),
        lambda colour, rain: _turned(colour, -rain / 2),
    ],
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
    **Exercise 4. Pixels that nobody labelled.** Write `cross_entropy(logits, labels)`: the mean of
    $-\\ln p(\\text{label})$ over the pixels that have a label. `logits` has the shape (N, K, H, W), and its softmax is
    the probability $p$ of each class; `labels`, (N, H, W), holds 0 … K − 1, and 255 where nobody knows.
    """,
    answer=_cross_entropy,
    cases=[_labelled(seed) for seed in (1, 2, 3)],
    wrong=[
        lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=255, reduction="none").mean(),
        lambda logits, labels: F.cross_entropy(logits, labels, ignore_index=255, reduction="sum"),
        lambda logits, labels: F.cross_entropy(logits, labels % 255),
        lambda logits, labels: -_cross_entropy(logits, labels),
        lambda logits, labels: F.nll_loss(logits, labels, ignore_index=255),
    ],
    hints=(
        "`logits.log_softmax(1)` holds ln p of every class; pick the label's.",
        "Where the label is 255 there is nothing to pick. Take 0 instead, and leave these pixels out of the mean.",
        "PyTorch has it: `F.cross_entropy` with `ignore_index`.",
    ),
    why="`F.cross_entropy(logits, labels, ignore_index=255)`. Were the sum divided by all pixels, an image with half "
    "of its labels would have half the say.",
)
