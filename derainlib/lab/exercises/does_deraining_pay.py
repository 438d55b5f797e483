"""Exercises of `09b_does_deraining_pay.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _signs(one, other):
    """For each pair of networks 1 where both measures have one order, −1 where they differ: (N, N), 0 in the middle."""
    return torch.sign((one[:, None] - one) * (other[:, None] - other))


def _agreement(one, other):
    signs = _signs(one, other)
    return (signs > 0).sum() / (signs != 0).sum()


agreement = Exercise(
    """
    **Exercise 1. Two orders.** `one` and `other`, tensors of shape (N,), hold two scores of N networks, PSNR and mIoU
    say; no two networks have the same score. Take all pairs of networks. Write `agreement(one, other)`: the share of
    pairs of which both scores prefer the same network.
    """,
    answer=_agreement,
    cases=[
        (torch.tensor([26.1, 27.5, 25.0, 28.2]), torch.tensor([0.31, 0.37, 0.35, 0.36])),
        (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9.0, 5.0, 1.0])),
        (torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0]), torch.tensor([0.1, 0.3, 0.2, 0.5, 0.9])),
        (torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0, 6.0]), torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])),
    ],
    slips={
        "You paired each network with itself as well.": (lambda one, other: (_signs(one, other) > 0).float().mean()),
        "That is the number of pairs; their share is asked for.": lambda one, other: (_signs(one, other) > 0).sum() / 2,
        "You subtracted the pairs that disagree: that is Kendall's τ, from −1 to 1.": (
            lambda one, other: _signs(one, other).sum() / (_signs(one, other) != 0).sum()
        ),
        "That is the share of pairs that disagree.": lambda one, other: 1 - _agreement(one, other),
        "You compared neighbours in the list alone; take all pairs.": (
            lambda one, other: ((one.diff() > 0) == (other.diff() > 0)).float().mean()
        ),
        "That is a correlation, which weighs how far scores lie apart; only their order counts.": (
            lambda one, other: torch.corrcoef(torch.stack([one, other]))[0, 1]
        ),
        "That is the share of networks with the same rank; pairs are asked for.": (
            lambda one, other: (one.argsort().argsort() == other.argsort().argsort()).float().mean()
        ),
    },
    hints=(
        "For one pair: both differences, a − b in either score, have the same sign.",
        "`one[:, None] - one` holds the differences of all pairs, each twice, and zeros in the middle.",
        "Multiply the two tables of differences, count what is positive, and divide by N (N − 1).",
    ),
    why="Half is what a coin would give. Whoever chooses by PSNR between two networks that are to help seeing is right "
    "as often as this share says, and six networks are only fifteen pairs.",
)


def _highest_miou(accuracy, classes):
    return (classes - 2 + 2 * accuracy / (2 - accuracy)) / classes


highest_miou = Exercise(
    """
    **Exercise 2. Nearly always wrong, and yet.** In one row of Table VI the mIoU is higher than the accuracy. Can that
    be? Write `highest_miou(accuracy, classes)`: the value that the mIoU of a reader with this accuracy comes as near to
    as you like, but cannot exceed. All of the `classes` (2 or more) occur.
    """,
    answer=_highest_miou,
    cases=[(0.115, 19), (0.5, 2), (0.9, 11), (0.0, 4), (0.3, 3)],
    slips={
        "The mIoU may exceed the accuracy: let the mistakes fall on few classes.": lambda accuracy, classes: accuracy,
        "A mistake harms two classes: the one that it is, and the one that it was read as.": (
            lambda accuracy, classes: (classes - 1 + accuracy) / classes
        ),
        "You gave the two harmed classes nothing; what is right of them counts.": (
            lambda accuracy, classes: (classes - 2) / classes
        ),
        "One of the two harmed classes is missing.": (lambda accuracy, classes: (classes - 2 + accuracy) / classes),
        "That is the two classes' recall; the mistakes are in the union as well.": (
            lambda accuracy, classes: (classes - 2 + 2 * accuracy) / classes
        ),
        "Without a mistake only: then the accuracy would be 1 as well.": lambda accuracy, classes: 1.0,
    },
    hints=(
        "A class can be as small as a pixel, and if that one is right, its IoU is 1. So let all mistakes be of one "
        "kind: pixels of class a that are read as b. How many classes do they harm?",
        "Let x be the share of pixels that are a and read so, y likewise for b, and e = 1 − accuracy the mistakes. The "
        "two IoUs are x / (x + e) and y / (y + e), with x + y no more than the accuracy.",
        "Both curves flatten out, so x = y = accuracy / 2 is best: two IoUs of accuracy / (2 − accuracy), and all the "
        "others 1.",
    ),
    why="About 0.9 for an accuracy of 0.115 and 19 classes. So the printed row is possible: for a reader who takes "
    "most of the picture for one wrong class, and reads small things well. Rain does not make such readers.",
)
