"""Exercises of `08_phpnet.ipynb`."""

import math

from derainlib.lab.exercises import Exercise

least_weight = Exercise(
    """
    **Exercise 1. Can attention look away?** The reweighting multiplies each feature by $\\sigma(T(f))$, and $T$ ends in
    a SELU, which for $x < 0$ is $\\lambda\\alpha\\,(e^x - 1)$ with $\\lambda = 1.0507$ and $\\alpha = 1.6733$. What is
    the smallest number by which a feature can be multiplied?
    """,
    answer=1 / (1 + math.exp(1.0507 * 1.6733)),
    slips={
        "A SELU does not go down to −∞, as a sigmoid's argument would have to.": 0,
        "That is σ(0), a ReLU's floor: a SELU goes below zero.": 0.5,
        "You took −1 for the SELU's floor: that is ELU's, without λ and α.": 1 / (1 + math.exp(1)),
        "λ is missing: the floor is −λα, not −α.": 1 / (1 + math.exp(1.6733)),
        "That is how far down the SELU goes; the sigmoid of it is asked for.": -1.0507 * 1.6733,
        "That is the largest factor; the smallest is asked for.": 1,
        "The sign is lost: the sigmoid's argument is negative.": 1 / (1 + math.exp(-1.0507 * 1.6733)),
    },
    tolerance=5e-3,
    hints=(
        "How far down does a SELU go?",
        "For very negative x it comes near −λα = −1.758, and no lower.",
        "Put that into the sigmoid, 1 / (1 + exp(−t)).",
    ),
    why="About 0.147: attention can damp a feature to a seventh, never switch it off. Upwards it may come near 1.",
)


def _reach(k, stride):
    positions = sum((k + j - 1) + 2 for j in range(1, k + 1))
    return stride * positions


reach = Exercise(
    """
    **Exercise 2. How far a PHP block sees.** It has `k` pyramids one after the other; pyramid $j$ has `k` branches of
    3 × 3 convolutions with the dilations $j, j + 1, \\dots, j + k - 1$, and its reweighting looks at their features
    through two depthwise 3 × 3 convolutions. A position stands for `stride` × `stride` pixels. Write
    `reach(k, stride)`: how many pixels beyond its own block can a feature depend on?
    """,
    answer=_reach,
    cases=[(4, 2), (1, 1), (2, 2), (3, 4), (4, 1)],
    slips={
        "The stride is missing: you count positions, and pixels are asked for.": (
            lambda k, stride: sum(k + j + 1 for j in range(1, k + 1))
        ),
        "The reweighting is missing: two 3 × 3 convolutions see 2 positions farther.": (
            lambda k, stride: stride * sum(k + j - 1 for j in range(1, k + 1))
        ),
        "You added up all branches; they stand side by side, and only the farthest counts.": (
            lambda k, stride: stride * sum(i + j - 1 for i in range(1, k + 1) for j in range(1, k + 1))
        ),
        "You took the nearest branch of each pyramid, of dilation j; the farthest one counts.": (
            lambda k, stride: stride * sum(j + 2 for j in range(1, k + 1))
        ),
        "That is the last pyramid alone; those before it have looked around as well.": (
            lambda k, stride: stride * (k + k - 1 + 2)
        ),
        "That is the whole window; how far to one side is asked for.": (
            lambda k, stride: 2 * stride * sum(k + j + 1 for j in range(1, k + 1)) + 1
        ),
    },
    hints=(
        "Branches stand side by side: in a pyramid only the one that sees farthest counts, and the sums add nothing.",
        "Pyramid j adds its largest dilation, k + j − 1, and 2 for the reweighting.",
        "Add that up over j = 1 … k, in positions, and multiply by the stride.",
    ),
    why="60 pixels for k = 4 and a stride of 2. The first layer and the pool add 4, the refinement 8, and 1 more "
    "because a pixel may be its block's last: `halo` is 73.",
)
