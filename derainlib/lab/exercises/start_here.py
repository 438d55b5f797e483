"""Exercises of `00_start_here.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _gain(before, after, truth):
    worse, better = ((image - truth).square().mean() for image in (before, after))
    return 10 * torch.log10(worse / better)


def _photographs(seed: int, before: float, after: float) -> tuple[torch.Tensor, ...]:
    """A made-up truth, and two versions of it with errors of the given sizes."""
    draws = torch.Generator().manual_seed(seed)
    truth, first, second = torch.rand(3, 1, 3, 16, 24, generator=draws)
    return truth + before * first, truth + after * second, truth


gain = Exercise(
    """
    **Exercise 1.** A paper's claim in one function: `gain(before, after, truth)` is by how many decibels the PSNR of
    `after` lies above that of `before`, for images in [0, 1] of shape (1, 3, H, W). No library call is needed: the
    mean squared error, and one logarithm.
    """,
    answer=_gain,
    cases=[_photographs(0, 0.3, 0.1), _photographs(1, 0.2, 0.15), _photographs(2, 0.1, 0.4)],
    wrong=[
        lambda before, after, truth: -_gain(before, after, truth),
        lambda before, after, truth: 2 * _gain(before, after, truth),
        lambda before, after, truth: 0.1 * _gain(before, after, truth),
        lambda before, after, truth: 10 * torch.log10((before - after).square().mean()),
        lambda before, after, truth: 20 * torch.log10((before - truth).abs().mean() / (after - truth).abs().mean()),
    ],
    hints=(
        "PSNR = −10 log₁₀(mean squared error), because the peak is 1.",
        "A difference of logarithms is the logarithm of a quotient.",
        "`10 * torch.log10(error_before / error_after)`, each error being `(image - truth).square().mean()`.",
    ),
    why="The peak cancels: a gain is the same whether pixels run from 0 to 1 or from 0 to 255.",
)

tenth = Exercise(
    """
    **Exercise 2.** A network leaves in every pixel a tenth of the error that was there. By how many decibels does the
    PSNR rise?
    """,
    answer=20.0,
    wrong=[10.0, 1.0, 100.0, 0.1, -20.0],
    hints=("What does a tenth of the error do to its square?", "10 · log₁₀(100)"),
    why="Every factor of ten in the error is 20 dB, every factor of two about 6 dB.",
)
