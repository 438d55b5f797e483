"""Exercises of `01_rain_model.ipynb`."""

import math

import torch

from derainlib.lab.exercises import Exercise


def _random(seed: int, *shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    """Tensors of values in [0.2, 0.9]."""
    draws = torch.Generator().manual_seed(seed)
    return tuple(0.2 + 0.7 * torch.rand(shape, generator=draws) for shape in shapes)


_COLOUR, _GREY = (1, 3, 5, 7), (1, 1, 5, 7)


def _screen(background, rain):
    return 1 - (1 - background) * (1 - rain)


screen_blend = Exercise(
    """
    **Exercise 1.** Write the screen blend: `screen(background, rain)` for tensors in [0, 1]. It multiplies what is
    missing from white.
    """,
    answer=_screen,
    cases=[_random(seed, _COLOUR, _GREY) for seed in (0, 1)] + [(torch.zeros(2, 2), torch.full((2, 2), 0.4))],
    wrong=[
        lambda background, rain: background + rain,
        lambda background, rain: (background + rain).clamp(0, 1),
        lambda background, rain: background * rain,
        lambda background, rain: (1 - background) * (1 - rain),
        lambda background, rain: background + rain + background * rain,
    ],
    hints=("What is missing from white is 1 − B and 1 − R.", "Multiply the two, and take the product from 1."),
    why="Neither layer is special: the blend is symmetric in the two, and never leaves [0, 1].",
)


def _unveil(rainy, streaks, transmission, airlight):
    return (rainy - airlight * (1 - transmission)) / transmission - streaks


through_the_veil = Exercise(
    """
    **Exercise 2.** Suppose that everything but the scene is known. Undo the veil: `unveil(rainy, streaks, transmission,
    airlight)` returns B such that O = (B + R)·M + A·(1 − M).
    """,
    answer=_unveil,
    cases=[(*_random(seed, _COLOUR, _GREY, _GREY), airlight) for seed, airlight in ((2, 0.8), (3, 0.5), (4, 1.0))],
    wrong=[
        lambda rainy, streaks, transmission, airlight: rainy - streaks,
        lambda rainy, streaks, transmission, airlight: rainy - airlight * (1 - transmission) - streaks,
        lambda rainy, streaks, transmission, airlight: (rainy - streaks - airlight * (1 - transmission)) / transmission,
        lambda rainy, streaks, transmission, airlight: (rainy - airlight) / transmission - streaks,
    ],
    hints=(
        "Go backwards: what was done last is undone first.",
        "Take away A·(1 − M), divide by M, take away R.",
    ),
    why="Where M is small, the division blows up noise and rounding: far away, the scene is gone for good.",
)


def _average_nearness(depth):
    return (1 - depth) / -math.log(depth)


average_nearness = Exercise(
    """
    **Exercise 3.** A streak's nearness is n = δ^u, with u uniform in [0, 1]. Write `average_nearness(depth)`, the mean
    of n for δ = `depth`, as a formula (0 < δ < 1). For the mean of R the notebook needed that of n³.
    """,
    answer=_average_nearness,
    cases=[(0.1,), (0.25,), (0.5,), (0.9,)],
    wrong=[
        lambda depth: (1 + depth) / 2,
        lambda depth: depth**0.5,
        lambda depth: (1 - depth**3) / (-3 * math.log(depth)),
        lambda depth: (1 - depth) / -math.log10(depth),
        lambda depth: (depth - 1) / -math.log(depth),
    ],
    hints=(
        "The mean is the integral of δ^u over u from 0 to 1.",
        "δ^u = exp(u ln δ), which has itself, divided by ln δ, as an integral.",
        "(δ − 1) / ln δ",
    ),
    why="It lies below the middle of the range, (1 + δ)/2: most streaks are far, and few are near.",
)

nearer = Exercise(
    """
    **Exercise 4.** The camera zooms in: every streak becomes twice as long and twice as wide, keeps its brightness,
    and a quarter as many streaks start in an area. By what factor does the mean of R change?
    """,
    answer=1.0,
    wrong=[0.25, 0.5, 2.0, 4.0],
    hints=("E[R] is proportional to density · length · width · brightness.", "¼ · 2 · 2 · 1"),
    why="Enlarging a picture does not change its mean. The formula knows.",
)
