"""Exercises of `10b_menet_losses.ipynb`."""

import math

from derainlib.lab.exercises import Exercise


def _cost(period):
    return 32 * math.sin(2 * math.pi / period) ** 2


cost = Exercise(
    """
    **Exercise 1. What a wave costs.** The error $\\hat B - B$ of an image is a wave across, $\\sin(2\\pi x / p)$, the
    same in every row and every colour. Write `cost(period)`: by which factor is its edge loss (Eq. 5, with the two maps
    of each colour counted in $C$) larger than its MSE, the border aside?
    """,
    answer=_cost,
    cases=[(4,), (3,), (6,), (16,), (2.5,)],
    slips={
        "Of each colour's two maps one is zero, and the mean counts both.": (
            lambda period: 64 * math.sin(2 * math.pi / period) ** 2
        ),
        "The outer columns of the filter are two pixels apart: sin(a + b) − sin(a − b) with b = 2π/p.": (
            lambda period: 32 * math.sin(math.pi / period) ** 2
        ),
        "That is the response: the loss squares it, and takes the mean of both maps.": (
            lambda period: 8 * math.sin(2 * math.pi / period)
        ),
        "That holds for slow waves only, where sin b is about b.": lambda period: 32 * (2 * math.pi / period) ** 2,
        "A cosine's mean square is a half in the edge loss and in the MSE: it cancels.": (
            lambda period: 16 * math.sin(2 * math.pi / period) ** 2
        ),
        "The three rows have the weights 1, 2 and 1: together 4.": (
            lambda period: 2 * math.sin(2 * math.pi / period) ** 2
        ),
    },
    hints=(
        "The filter for changes from top to bottom sees nothing. The other adds three equal rows with weights 1, 2, 1.",
        "sin(a + b) − sin(a − b) = 2 cos a sin b, with b = 2π/p.",
        "The response is 8 sin(2π/p) times a cosine; of the two maps one is zero.",
    ),
    why="32 sin²(2π/p): 32 at a period of 4 pixels, none at 2, and 128 π²/p² for slow waves.",
)


def _growth(side, values, form):
    return values**4 * (side**4 if form != "mean" else 1)


growth = Exercise(
    """
    **Exercise 2. How it grows.** An image, its sides multiples of 4, and its estimate are laid out again and again
    until they are `side` times as wide and `side` times as high, and their values are multiplied by `values`. Write
    `growth(side, values, form)`: by which factor does the texture loss grow, for the forms `"literal"`, `"mean"` and
    `"scalar"`?
    """,
    answer=_growth,
    cases=[(2, 1, "literal"), (2, 1, "mean"), (2, 1, "scalar"), (3, 2, "literal"), (1, 255, "mean"), (3, 2, "scalar")],
    slips={
        "The Gram matrix grows with the number of patches, side², and the loss squares it.": (
            lambda side, values, form: values**4 * (side**2 if form != "mean" else 1)
        ),
        "An entry of G is a product of two values, and the loss squares it.": (
            lambda side, values, form: values**2 * (side**4 if form != "mean" else 1)
        ),
        "The mean form divides by the number of patches.": lambda side, values, form: values**4 * side**4,
        "The authors' mean is over the entries of G, not over the patches: that form grows like the literal one.": (
            lambda side, values, form: values**4 * (side**4 if form == "literal" else 1)
        ),
        "The side counts as well: only the mean form does not see how many patches there are.": (
            lambda side, values, form: values**4
        ),
    },
    hints=(
        "How many patches are there now, and what does each add to the Gram matrix?",
        "An entry of G is a sum over patches of products of two values; the loss squares a difference of such entries.",
        "The authors' mean is one over the 48² entries of G, not over the patches.",
    ),
    why="Twice the side makes four times the patches, a Gram matrix four times, a loss 16 times as large; only "
    '"mean" divides by the patches. From [0, 1] to 0..255 it is 255⁴, 4.2 · 10⁹, where MSE grows by 255².',
)
