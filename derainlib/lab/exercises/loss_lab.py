"""Exercises of `12_loss_lab.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _converted(weight, power, values):
    return weight * 255.0 ** (1 - power) * values


converted = Exercise(
    r"""
    **Exercise 1. A weight moves house.** A training on images in [0, 1] minimises $\mathrm{mean}\,|\hat B - B| +
    \lambda L$, where $L$ grows with the power $p$ of what the images are multiplied by. In another program images are
    in 0..255, and the first term is the *sum* over all `values` numbers of a patch, while $L$ is computed from its
    images as before. Write `converted(weight, power, values)`: which λ does that program need, so that both terms keep
    their proportion?
    """,
    answer=_converted,
    cases=[(0.1, 2, 3 * 64 * 64), (1.0, 4, 30_000), (0.01, 1, 12), (0.5, 0, 1)],
    slips={
        "You left λ as it is: both the unit and the sum change the first term.": lambda weight, power, values: weight,
        "The sum is missing: the first term is `values` times as large as its mean.": (
            lambda weight, power, values: weight * 255.0 ** (1 - power)
        ),
        "The unit is missing: at 0..255 the two terms grow by different powers of 255.": (
            lambda weight, power, values: weight * values
        ),
        "The first term grows too, by 255: only the difference of the powers counts.": (
            lambda weight, power, values: weight * 255.0**-power * values
        ),
        "The power is the wrong way round: where L grows faster than the first term, λ must shrink.": (
            lambda weight, power, values: weight * 255.0 ** (power - 1) * values
        ),
        "The sum makes the *first* term larger, so λ must grow with it, not shrink.": (
            lambda weight, power, values: weight * 255.0 ** (1 - power) / values
        ),
    },
    tolerance=1e-5,
    hints=(
        "By which factor does the first term grow from the one program to the other? And L?",
        "The first by 255 · values, L by 255^p.",
        "λ times the one factor over the other.",
    ),
    why="λ · 255^(1 − p) · values. With p = 2, images in 0..255 make λ 255 times smaller; the forgotten mean makes it "
    "tens of thousands of times larger. Nobody reads that off a λ in a table.",
)


def _step(image, truth, weight, rate):
    error = image - truth
    return image - rate * (error.sign() + 2 * weight * error) / error.numel()


step = Exercise(
    r"""
    **Exercise 2. One step down.** Change a picture: write `step(image, truth, weight, rate)`, which returns `image`
    after one step of plain gradient descent, `rate` times the gradient, on

    $$L = \mathrm{mean}\,|\hat B - B| + \lambda\,\mathrm{mean}\,(\hat B - B)^2,$$

    the means over all values, with $\hat B$ = `image`, $B$ = `truth` and $\lambda$ = `weight`. By hand or by autograd.
    """,
    answer=_step,
    cases=[
        (torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed)), torch.full((1, 3, 4, 5), 0.5), *given)
        for seed, given in enumerate(((0.3, 6.0), (2.0, 10.0), (1.0, 3.0)))
    ],
    slips={
        "That climbs: descent goes against the gradient.": (
            lambda image, truth, weight, rate: 2 * image - _step(image, truth, weight, rate)
        ),
        "The means are missing: a mean's gradient has 1 / (number of values) in it.": (
            lambda image, truth, weight, rate: _step(image, truth, weight, rate * image.numel())
        ),
        "λ is missing: it weighs the gradient of the squared error.": (
            lambda image, truth, weight, rate: _step(image, truth, 1.0, rate)
        ),
        "The 2 is missing: it comes down when a square is differentiated.": (
            lambda image, truth, weight, rate: _step(image, truth, weight / 2, rate)
        ),
        "The absolute value is missing: its gradient is the sign of the error.": (
            lambda image, truth, weight, rate: image - rate * 2 * weight * (image - truth) / image.numel()
        ),
        "λ weighs the squared error alone, not the absolute one.": (
            lambda image, truth, weight, rate: _step(image, truth, 1.0, rate * weight)
        ),
        "That is the gradient: take `rate` times it away from the image.": (
            lambda image, truth, weight, rate: (image - _step(image, truth, weight, rate)) / rate
        ),
    },
    tolerance=1e-5,
    hints=(
        "∂|e|/∂e is the sign of e, ∂e²/∂e is 2e.",
        "Both are divided by the number of values: the losses are means.",
        "`image - rate * (error.sign() + 2 * weight * error) / error.numel()`. Or `torch.autograd.grad` on a leaf: "
        "`image.clone().requires_grad_()`.",
    ),
    why="The absolute value pulls at every value alike, the square in proportion to its error. So L1 goes on where "
    "little is left to do, and MSE has long stopped: this is what the pull in the table of λ says.",
)
