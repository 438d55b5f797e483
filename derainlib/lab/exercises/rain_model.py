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


def _both_blends(screen):
    from derainlib import rain
    from derainlib.data import samples
    from derainlib.lab import figures

    cup = samples.load("coffee-light").clean
    layer = rain.draw("heavy", cup.shape[-2:], [rain.generator(1)]).clamp(0, 1)
    return figures.show(
        {"the sum, cut off": (cup + layer).clamp(0, 1), "your screen blend": screen(cup, layer)}, width=3
    )


screen_blend = Exercise(
    """
    **Exercise 1.** Write the screen blend: `screen(background, rain)` for tensors in [0, 1]. It multiplies what is
    missing from white. If you are right, your function rains on the cup, beside the sum.
    """,
    answer=_screen,
    cases=[_random(seed, _COLOUR, _GREY) for seed in (0, 1)] + [(torch.zeros(2, 2), torch.full((2, 2), 0.4))],
    slips={
        "That is the sum, which leaves [0, 1] where both are bright.": (lambda background, rain: background + rain),
        "That is the sum, cut off at white: the blend needs no cutting, and fades before.": (
            lambda background, rain: (background + rain).clamp(0, 1)
        ),
        "That multiplies the layers themselves: multiply what is *missing* from white.": (
            lambda background, rain: background * rain
        ),
        "That is what is still missing from white: take it from 1.": (
            lambda background, rain: (1 - background) * (1 - rain)
        ),
        "The sign of the product is wrong: it is taken away, B + R − B R.": (
            lambda background, rain: background + rain + background * rain
        ),
        "That is the brighter of the two: in a screen blend both leave their light.": (
            lambda background, rain: torch.maximum(background, rain)
        ),
    },
    hints=("What is missing from white is 1 − B and 1 − R.", "Multiply the two, and take the product from 1."),
    why="Neither layer is special: the blend is symmetric in the two, and never leaves [0, 1].",
    picture=_both_blends,
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
    slips={
        "That undoes the streaks alone: the veil is still there.": (
            lambda rainy, streaks, transmission, airlight: rainy - streaks
        ),
        "The division by M is missing: the air has also dimmed what is behind it.": (
            lambda rainy, streaks, transmission, airlight: rainy - airlight * (1 - transmission) - streaks
        ),
        "The streaks are within the brackets, so that they are dimmed as well: take them away last.": (
            lambda rainy, streaks, transmission, airlight: (
                (rainy - streaks - airlight * (1 - transmission)) / transmission
            )
        ),
        "The air adds A·(1 − M), not all of A.": (
            lambda rainy, streaks, transmission, airlight: (rainy - airlight) / transmission - streaks
        ),
        "The air's light was added: take it away.": (
            lambda rainy, streaks, transmission, airlight: (
                (rainy + airlight * (1 - transmission)) / transmission - streaks
            )
        ),
        "That dims once more: M multiplied, so now divide.": (
            lambda rainy, streaks, transmission, airlight: (
                (rainy - airlight * (1 - transmission)) * transmission - streaks
            )
        ),
    },
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
    slips={
        "That is the middle of the range: n = δ^u is not uniform, u is.": (lambda depth: (1 + depth) / 2),
        "That is the nearness at the mean of u: the mean of a curve is not the curve at the mean.": (
            lambda depth: depth**0.5
        ),
        "That is the mean of n³, which the notebook needed; here it is that of n.": (
            lambda depth: (1 - depth**3) / (-3 * math.log(depth))
        ),
        "The logarithm is the natural one: the derivative of δ^u by u is δ^u · ln δ.": (
            lambda depth: (1 - depth) / -math.log10(depth)
        ),
        "The sign: ln δ is negative, and so is δ − 1.": (lambda depth: (depth - 1) / -math.log(depth)),
        "Divide by −ln δ: the integral of δ^u is δ^u / ln δ.": (lambda depth: 1 - depth),
    },
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
    slips={
        "That counts the streaks alone: each of them has more light now.": (0.25),
        "Length *and* width are doubled: only one of them is counted.": (0.5),
        "Count again: length and width are doubled, and a quarter of the streaks is left.": (2.0),
        "That is the light of one streak: a quarter as many of them start.": (4.0),
        "That is the change as a difference: asked for is the factor.": (0.0),
    },
    hints=("E[R] is proportional to density · length · width · brightness.", "¼ · 2 · 2 · 1"),
    why="Enlarging a picture does not change its mean. The formula knows.",
)
