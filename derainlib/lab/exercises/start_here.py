"""Exercises of `00_start_here.ipynb`."""

import math

import torch

from derainlib.lab.exercises import Exercise


def _gain(before, after, truth):
    worse, better = ((image - truth).square().mean() for image in (before, after))
    return 10 * torch.log10(worse / better)


def _photographs(seed: int, before: float, after: float) -> tuple[torch.Tensor, ...]:
    """A made-up truth, and two versions of it with errors of the given sizes."""
    draws = torch.Generator().manual_seed(seed)
    truth, first, second = torch.rand(3, 1, 3, 16, 24, generator=draws)
    return (truth + before * first).clamp(0, 1), (truth + after * second).clamp(0, 1), truth


gain = Exercise(
    """
    **Exercise 2.** A paper's claim in one function: `gain(before, after, truth)` is by how many decibels the PSNR of
    `after` lies above that of `before`, for images in [0, 1] of shape (1, 3, H, W). No library call is needed: the
    mean squared error, and one logarithm.
    """,
    answer=_gain,
    cases=[_photographs(0, 0.3, 0.1), _photographs(1, 0.2, 0.15), _photographs(2, 0.1, 0.4)],
    slips={
        "The sign is turned round: a gain is positive where `after` is the better one.": (
            lambda before, after, truth: -_gain(before, after, truth)
        ),
        "Twice too much: the errors are squared already, so it is 10 times the logarithm, not 20.": (
            lambda before, after, truth: 2 * _gain(before, after, truth)
        ),
        "That is in bels: a decibel is a tenth of one, so the logarithm is multiplied by 10.": (
            lambda before, after, truth: 0.1 * _gain(before, after, truth)
        ),
        "`before` and `after` are compared with each other: compare each with `truth`.": (
            lambda before, after, truth: 10 * torch.log10((before - after).square().mean())
        ),
        "Absolute errors: PSNR is made of squared ones.": (
            lambda before, after, truth: 20 * torch.log10((before - truth).abs().mean() / (after - truth).abs().mean())
        ),
        "That is the natural logarithm: decibels take the one to the base 10.": (
            lambda before, after, truth: _gain(before, after, truth) * math.log(10)
        ),
        "That is the PSNR of `after` alone: how far does it lie above that of `before`?": (
            lambda before, after, truth: -10 * torch.log10((after - truth).square().mean())
        ),
    },
    hints=(
        "PSNR = −10 log₁₀(mean squared error), because the peak is 1.",
        "A difference of logarithms is the logarithm of a quotient.",
        "`10 * torch.log10(error_before / error_after)`, each error being `(image - truth).square().mean()`.",
    ),
    why="The peak cancels: a gain is the same whether pixels run from 0 to 1 or from 0 to 255.",
)

tenth = Exercise(
    """
    **Exercise 3.** A network leaves in every pixel a tenth of the error that was there. By how many decibels does the
    PSNR rise?
    """,
    answer=20.0,
    slips={
        "The error is squared before the logarithm is taken: a tenth of it is a hundredth of its square.": (10.0),
        "That is the logarithm itself, of a tenth: square the error, then multiply by 10.": (1.0),
        "That is by what factor the squared error falls: take 10 · log₁₀ of it.": (100.0),
        "That is the factor of the error: decibels are 10 · log₁₀ of the factor of its square.": (0.1),
        "A smaller error is a higher PSNR.": (-20.0),
        "That is for half of the error. A tenth is less.": (6.0),
    },
    hints=("What does a tenth of the error do to its square?", "10 · log₁₀(100)"),
    why="Every factor of ten in the error is 20 dB, every factor of two about 6 dB.",
)


def _softer(rainy, derained, strength):
    return rainy + strength * (derained - rainy)


def _softer_cases() -> list[tuple]:
    draws = torch.rand(3, 2, 1, 3, 5, 6, generator=torch.Generator().manual_seed(3))
    return [(*pair, strength) for pair, strength in zip(draws, (0.3, 0.8, 1.0), strict=True)]


def _by_strength(softer):
    from derainlib.data import samples
    from derainlib.inference import derain
    from derainlib.lab import figures

    rainy = samples.load("astronaut-light").rainy[..., :128, 48:208]
    derained = derain(rainy, model="srn")
    return figures.show({f"strength {s:g}": softer(rainy, derained, s) for s in (0, 0.5, 1, 1.5)}, width=2.1)


softer = Exercise(
    """
    **Exercise 1. Half the rain.** Where a result has lost too much of the scene, one may take less of the rain off.
    Write `softer(rainy, derained, strength)`: at 0 the rainy photograph, at 1 the derained one, in between as large a
    share of what was taken away. If you are right, your function is tried on the astronaut.
    """,
    answer=_softer,
    cases=_softer_cases(),
    slips={
        "The two are exchanged: at strength 0 nothing is taken away.": (
            lambda rainy, derained, strength: _softer(derained, rainy, strength)
        ),
        "That dims the picture: a share of the one goes with the *rest* of the other.": (
            lambda rainy, derained, strength: strength * derained
        ),
        "That adds the derained picture on top: add a share of the *difference*.": (
            lambda rainy, derained, strength: rainy + strength * derained
        ),
        "What was taken away is rainy − derained, and it is taken away: mind the sign.": (
            lambda rainy, derained, strength: rainy + strength * (rainy - derained)
        ),
        "That is half of each, whatever the strength.": lambda rainy, derained, strength: (rainy + derained) / 2,
        "The strength is not used: that is all of the rain.": lambda rainy, derained, strength: derained,
    },
    hints=(
        "What was taken away is `rainy - derained`.",
        "Take `strength` times that from the rainy photograph.",
    ),
    why="It is `derain --strength`. Above 1 it takes off more than the network found: dark streaks where rain was.",
    picture=_by_strength,
)
