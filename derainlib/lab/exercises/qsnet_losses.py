"""Exercises of `05b_qsnet_losses.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _largest_pull(filters, layers):
    return layers * sum(taps.abs().sum() for taps in filters)


_ACROSS, _SECOND = torch.tensor([[-1.0, 1.0]]), torch.tensor([[1.0, -2.0, 1.0]])

largest_pull = Exercise(
    r"""
    **Exercise 1. How hard can quasi-sparsity pull?** $\mathcal L_Q$ is the sum of $\lvert\omega * X\rvert$ over all
    pixels, over the filters $\omega$ of a list, and over `layers` pictures $X$ that hold the same value up to its sign,
    as $\hat R$ and $\hat B = O - \hat R$ do. Write `largest_pull(filters, layers)`: how large can its derivative by
    *one* value of $\hat R$ become? `filters` are tensors of two dimensions; no matter what the pictures look like.
    """,
    answer=_largest_pull,
    cases=[
        ([_ACROSS, _ACROSS.T, _SECOND, _SECOND.T], 2),
        ([_ACROSS, _ACROSS.T], 1),
        ([torch.tensor([[0.0, 0.25, 0.0], [0.25, -1.0, 0.25], [0.0, 0.25, 0.0]])], 3),
        ([_SECOND, 0.5 * _ACROSS], 2),
    ],
    slips={
        "The sum over the layers is missing: what leaves one picture enters the other, and both have edges.": (
            lambda filters, layers: sum(taps.abs().sum() for taps in filters)
        ),
        "You added the taps with their signs; each belongs to another pixel's absolute value, of any sign.": (
            lambda filters, layers: layers * sum(taps.sum() for taps in filters)
        ),
        "You counted the taps; a tap pulls with its own size.": (
            lambda filters, layers: layers * sum(taps.count_nonzero() for taps in filters)
        ),
        "You took each filter's largest tap; a value lies under all of its taps, for one pixel or another.": (
            lambda filters, layers: layers * sum(taps.abs().max() for taps in filters)
        ),
        "You squared the taps; that would belong to a squared loss.": (
            lambda filters, layers: layers * sum(taps.square().sum() for taps in filters)
        ),
        "Both sides of zero are one bound: do not add them up.": (
            lambda filters, layers: 2 * _largest_pull(filters, layers)
        ),
        "That is the mean over the filters; the loss is their sum.": (
            lambda filters, layers: _largest_pull(filters, layers) / len(filters)
        ),
    },
    hints=(
        "In how many of the absolute values of one filter does one value of the picture occur? Once for each tap.",
        "The slope of an absolute value is 1 at most, and it is multiplied by the tap.",
        "At worst all of them pull the same way: add up the sizes of all taps of all filters, for each layer.",
    ),
    why="24 for QSNet: first derivatives have taps of size 1 and 1, second ones 1, 2 and 1, each across and down, and "
    "there are two layers. The content loss pulls with 1. So below λ_Q = 1/24 it always wins; 10⁻³ is far below.",
)


def _paired(one, other):
    differences = other - one
    return differences.mean() / (differences.std() / len(differences) ** 0.5)


paired = Exercise(
    """
    **Exercise 2. The same seeds.** Two networks were trained from S seeds each; those of one seed started alike and saw
    the same patches. `one` and `other`, tensors of shape (S,), hold their PSNR by seed. Write `paired(one, other)`: the
    mean gain of `other` over `one`, measured in standard errors of that mean.
    """,
    answer=_paired,
    cases=[
        (torch.tensor([20.0, 22.0, 19.0]), torch.tensor([20.5, 22.4, 19.8])),
        (torch.tensor([28.97, 28.1, 29.3, 27.9]), torch.tensor([28.64, 28.4, 28.8, 28.0])),
        (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.5])),
    ],
    slips={
        "You took the networks apart: of one seed they rise and fall together, and their difference does not.": (
            lambda one, other: (other.mean() - one.mean()) / ((one.var() + other.var()) / len(one)) ** 0.5
        ),
        "That is the mean over the *spread*; a mean of S seeds is known √S times better than one.": (
            lambda one, other: (other - one).mean() / (other - one).std()
        ),
        "Divide by S − 1 in the variance: the mean was estimated from the same seeds.": (
            lambda one, other: (other - one).mean() / ((other - one).std(correction=0) / len(one) ** 0.5)
        ),
        "The sign is the other way round: the gain of `other` is asked for.": lambda one, other: -_paired(one, other),
        "You divided the spread by S, not by its root.": (
            lambda one, other: (other - one).mean() / ((other - one).std() / len(one))
        ),
        "That is the gain in dB; say how many standard errors it is.": lambda one, other: (other - one).mean(),
        "You divided by the variance; its root has the unit of a gain.": (
            lambda one, other: (other - one).mean() / ((other - one).var() / len(one) ** 0.5)
        ),
    },
    hints=(
        "First the difference of each seed. What is left of two networks that share a seed?",
        "The standard error of a mean is the standard deviation (with S − 1) over √S.",
        "`d = other - one; d.mean() / (d.std() / len(d) ** 0.5)`",
    ),
    why="This is Student's t of paired samples. With three seeds a t below 4.3 may be luck (at 5 %), and with one seed "
    "there is no t at all: the bars of Tables 4 and 5 are over images, not over seeds.",
)
