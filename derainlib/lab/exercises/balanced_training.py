"""Exercises of `11b_balanced_training.ipynb`."""

import math

import torch

from derainlib.lab.exercises import Exercise


def _average(losses):
    return (1 - losses / losses.sum(1, keepdim=True)).mean(0)


average = Exercise(
    """
    **Exercise 1. The row that stands still.** A training with LB has left its losses, `losses`, a float64 tensor
    (steps, n) with n ≥ 2 and all above zero. To tell the *value* of LB's weights from their *movement*, train again
    with weights that never move. Write `average(losses)`: the n fixed weights that are LB's own, averaged over its
    steps.
    """,
    answer=_average,
    cases=[
        (torch.tensor([[3.0, 1.0], [1.0, 9.0], [2.0, 2.0]], dtype=torch.float64),),
        (torch.tensor([[3.0, 1.0, 4.0], [100.0, 1.0, 1.0]], dtype=torch.float64),),
        (torch.tensor([[260.0, 2500.0, 9.0], [30.0, 400.0, 8.0], [20.0, 90.0, 7.0]], dtype=torch.float64),),
    ],
    slips={
        "Those are the weights of the average losses: one bad batch then counts for many.": (
            lambda losses: 1 - losses.mean(0) / losses.mean(0).sum()
        ),
        "Those are the shares of the losses: LB's weight is what is left to 1.": (
            lambda losses: (losses / losses.sum(1, keepdim=True)).mean(0)
        ),
        "Those are the weights of the last step alone.": lambda losses: 1 - losses[-1] / losses[-1].sum(),
        "Those are the *weighted losses*: a recipe wants the weights.": (
            lambda losses: ((1 - losses / losses.sum(1, keepdim=True)) * losses).mean(0)
        ),
        "One set of weights for all steps: take the mean over the steps, not over the tasks.": (
            lambda losses: (1 - losses / losses.sum(1, keepdim=True)).mean(1)
        ),
        "LB's weights add up to n − 1, and so does their average: do not normalise them to 1.": (
            lambda losses: _average(losses) / (len(losses[0]) - 1)
        ),
    },
    tolerance=1e-6,
    hints=(
        "First LB's weights in each step, a tensor of the same shape.",
        "w_i = 1 − L_i / ΣL, the sum over the tasks of a step: `losses.sum(1, keepdim=True)`.",
        "Then the mean over axis 0.",
    ),
    why="The mean of a quotient is not the quotient of the means: a heavy shower in one batch counts once here, and "
    "many times if losses are averaged first. `derain study menet/table-1-more` has this row: 0.855 and 0.145 for "
    "pixels and edges.",
)


def _settled(losses):
    return sum(0.5 + 0.5 * math.log(loss) for loss in losses)


settled = Exercise(
    """
    **Exercise 2. Where it settles.** The tasks' losses $L_i > 0$ do not change any more, but Kendall's $s_i$ go on
    learning, until $\\sum_i \\frac12 e^{-s_i} L_i + \\frac12 s_i$ is as small as it can be. Write `settled(losses)`:
    which value does that sum then have, for a list of losses?
    """,
    answer=_settled,
    cases=[([3.0, 1.0, 4.0],), ([1.0],), ([0.02, 1.5],), ([1e-6, 1e-6],), ([1e9, 100.0, 1000.0],)],
    slips={
        "The first summand is missing: at rest each ½ e^{−s} L is a half.": (
            lambda losses: sum(0.5 * math.log(loss) for loss in losses)
        ),
        "Twice too much: both summands have a ½ before them.": lambda losses: sum(
            1 + math.log(loss) for loss in losses
        ),
        "The second summand is missing: s is log L, and ½ s is added.": lambda losses: (
            0.5 * len(losses) + 0 * losses[0]
        ),
        "At rest s is log L, without the 2: the derivative of ½ s is ½.": (
            lambda losses: sum(0.5 + 0.5 * math.log(2 * loss) for loss in losses)
        ),
        "Each task has an s of its own: the logarithms are added, not the losses.": (
            lambda losses: 0.5 + 0.5 * math.log(sum(losses))
        ),
        "That is the sum at s = 0, where it starts.": lambda losses: sum(0.5 * loss for loss in losses),
    },
    hints=(
        "Each s_i stands in two summands only: differentiate, and set to zero.",
        "½ e^{−s} L = ½, so s = log L.",
        "Put it back: ½ + ½ log L for each task.",
    ),
    why="Half the logarithm of the product of all losses, and n / 2. A factor on one loss only adds a constant, which "
    "is why the scheme does not care for units; and as a loss goes to 0, the sum goes to −∞.",
)
