"""Exercises of `02_data_and_metrics.ipynb`."""

import math

import torch

from derainlib.lab.exercises import Exercise

LUMA = torch.tensor([65.481, 128.553, 24.966]) / 255
"""What red, green and blue count for in BT.601's Y."""


def _gain(error):
    luma = torch.tensor([65.481, 128.553, 24.966]) / 255
    return 10 * torch.log10(error.square().mean() / (luma * error).sum().square())


bonus = Exercise(
    """
    **Exercise 1.** Every pixel of a result is wrong by the same colour, a tensor `error` of shape (3,): red, green and
    blue, in [−1, 1]. Write `bonus(error)`: how many dB PSNR on Y lies above PSNR on RGB. No image is needed.
    """,
    answer=_gain,
    cases=[(torch.tensor(error),) for error in ([0.1, 0.1, 0.1], [0.2, 0.0, 0.0], [0.0, 0.1, -0.3], [0.1, 0.2, 0.3])],
    slips={
        "That is the bonus of grey errors: the colour of this one counts.": (
            lambda error: torch.tensor(20 * math.log10(255 / 219))
        ),
        "The sign is turned round: Y has the smaller error.": (lambda error: -_gain(error)),
        "Twice too much: a mean squared error takes 10 times the logarithm.": (lambda error: 2 * _gain(error)),
        "On RGB the squares are averaged, not added up.": (
            lambda error: 10 * torch.log10(error.square().sum() / (LUMA * error).sum().square())
        ),
        "On Y the weighted errors are added first and squared then: they may cancel.": (
            lambda error: 10 * torch.log10(error.square().mean() / (LUMA * error).square().sum())
        ),
        "That weighs red, green and blue alike: Y does not.": (
            lambda error: 10 * torch.log10(error.square().mean() / error.mean().square())
        ),
    },
    hints=(
        "The peak is 1 on both sides, so the bonus is a quotient of two mean squared errors, in dB.",
        "On RGB the squared error is the mean of three squares; on Y it is one number, squared.",
        "Y changes by (65.481 eR + 128.553 eG + 24.966 eB) / 255; the 16 cancels.",
    ),
    why="A grey error gives 1.32 dB whatever its size, pure blue 15.4. What every pixel gains, the image gains.",
)


def _pooled(decibels):
    return -10 * torch.log10((10 ** (-decibels / 10)).mean())


pooled = Exercise(
    """
    **Exercise 2.** A table gives PSNR image by image; the images are of one size. Write `pooled(decibels)`, for a
    tensor of shape (K,): the PSNR of all their pixels taken together, as if the K images were one large one.
    """,
    answer=_pooled,
    cases=[(torch.tensor(values),) for values in ([20.0, 40.0], [30.0, 30.0, 30.0], [12.5, 18.0, 26.0, 33.0])],
    slips={
        "That is the mean of the decibels: average the squared errors behind them.": (lambda decibels: decibels.mean()),
        "The sign in the exponent: an error is *small* where the PSNR is large.": (
            lambda decibels: 10 * torch.log10((10 ** (decibels / 10)).mean())
        ),
        "The errors are added up: the large image has their mean.": (
            lambda decibels: -10 * torch.log10((10 ** (-decibels / 10)).sum())
        ),
        "That averages the errors themselves, not their squares: divide by 10, not by 20.": (
            lambda decibels: -20 * torch.log10((10 ** (-decibels / 20)).mean())
        ),
        "That is the median: each pixel counts, those of the worst image as well.": (
            lambda decibels: decibels.median()
        ),
        "That is the worst image: the others have pixels, too.": (lambda decibels: decibels.min()),
    },
    hints=(
        "Decibels are not averaged: go back to mean squared errors first.",
        "MSE = 10^(−PSNR / 10); their mean is the MSE of the large image.",
    ),
    why="The worst image dominates: never above the mean of the decibels. Say which of the two you print.",
)


def _leaked(train, test):
    return (test @ train.T).amax(dim=1) >= 0.97


def _prints(seed: int, copies: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of 6 photographs for training and 4 for testing; test photograph i of `copies` is train's 5 − i."""
    draws = torch.Generator().manual_seed(seed)
    train, test = torch.randn(6, 64, generator=draws), torch.randn(4, 64, generator=draws)
    for place in copies:
        test[place] = train[5 - place] + 0.02 * test[place]
    return tuple(vectors / vectors.norm(dim=1, keepdim=True) for vectors in (train, test))


leaked = Exercise(
    """
    **Exercise 3.** Write an audit: `leaked(train, test)` gets fingerprints, unit vectors of shapes (N, D) and (K, D),
    and returns a tensor of shape (K,), true where a test photograph correlates by 0.97 or more with some photograph of
    the training.
    """,
    answer=_leaked,
    cases=[_prints(0, (1,)), _prints(1, (0, 3)), _prints(2, ())],
    slips={
        "That has an answer for each photograph of the *training*: ask about those of the test.": (
            lambda train, test: (train @ test.T).amax(dim=1) >= 0.97
        ),
        "One copy is enough, so take the largest correlation, not the mean.": (
            lambda train, test: (test @ train.T).mean(dim=1) >= 0.97
        ),
        "That is true where nothing leaked.": (lambda train, test: (test @ train.T).amax(dim=1) < 0.97),
        "The threshold is too low: photographs that have nothing in common reach it by chance.": (
            lambda train, test: (test @ train.T).amax(dim=1) >= 0.1
        ),
        "That is a table of all pairs: make one answer of each row.": (lambda train, test: (test @ train.T) >= 0.97),
    },
    hints=(
        "The product of two matrices holds every correlation at once: which shape has `test @ train.T`?",
        "For each row its largest value, then compare.",
    ),
    why="`audit.shared` does this for each of the eight mirrored and turned versions of the test photographs.",
)


def _needed(spread, difference):
    return math.ceil((1.96 * spread / difference) ** 2)


needed = Exercise(
    """
    **Exercise 4.** Two networks differ by `difference` dB on average; image by image, that difference has the
    standard deviation `spread` dB. Write `needed(spread, difference)`: the least number of independent images whose
    95 % interval, mean ± 1.96 standard errors, leaves out zero or just touches it.
    """,
    answer=_needed,
    cases=[(0.5, 0.1), (1.0, 0.1), (0.54, 0.127), (50.0, 49.0)],
    slips={
        "The standard error falls with the *root* of the number: square the quotient.": (
            lambda spread, difference: math.ceil(1.96 * spread / difference)
        ),
        "The interval reaches 1.96 standard errors, not one.": (
            lambda spread, difference: math.ceil((spread / difference) ** 2)
        ),
        "Images are whole: round up.": (lambda spread, difference: (1.96 * spread / difference) ** 2),
        "The quotient is upside down: a large spread takes more images.": (
            lambda spread, difference: math.ceil((1.96 * difference / spread) ** 2)
        ),
        "Rounded down, the interval still holds zero: round up.": (
            lambda spread, difference: math.floor((1.96 * spread / difference) ** 2)
        ),
        "One too many where the number comes out whole: an interval that just touches zero will do.": (
            lambda spread, difference: math.floor((1.96 * spread / difference) ** 2) + 1
        ),
    },
    hints=(
        "The standard error of a mean of n values is spread / √n.",
        "Solve 1.96 · spread / √n ≤ difference for n, and round up.",
    ),
    why="Half the difference takes four times the images. The normal approximation is rough below ten images or so.",
)
