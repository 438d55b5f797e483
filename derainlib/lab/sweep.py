"""What a weight between two losses does: small networks that were trained beforehand with several of them.

    found = results("loss_sweep")            # `benchmarks/loss_sweep.py` trained, notebooks/weights has the networks
    sweep.draw(found, "SSIM", 0.5, pair)     # scores with their spread over seeds, and what came of a photograph

Three seeds each: what a seed alone does is seen beside what the weight does.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from derainlib import inference, metrics
from derainlib.lab import contest, figures
from derainlib.layers import Pair
from derainlib.models import weights
from derainlib.recipe import Loss, Recipe

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "weights"
"""Where the networks of each weight's first seed lie; they come with the repository."""

SSIM = {"dissimilarity": True}
"""Options of 1 − SSIM, which pulls as −SSIM does and stays above zero."""

SUMS: dict[str, tuple[str, tuple[float, ...], Callable[[float], tuple[Loss, ...]]]] = {
    "SSIM": (
        "(1 − λ) L1 + λ (1 − SSIM)",
        (0.0, 0.1, 0.5, 1.0),
        lambda share: (Loss("l1", 1 - share), Loss("ssim", share, SSIM)),
    ),
    "edge": ("L1 + λ edge", (0.0, 0.1, 1.0, 10.0), lambda weight: (Loss("l1"), Loss("edge", weight, {"scale": 1}))),
}
"""By name: the sum as text, the values of λ, and the losses that one of them makes."""

MEASURES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "dry": "PSNR of a dry scene (dB)"}
"""What is measured of a network, as axes call it."""


def recipe(name: str, value: float, seed: int, **changes) -> Recipe:
    """The training of one network.

    Args:
        name: of a sum in `SUMS`.
        value: λ.
        seed: of the first weights and of the samples.
        changes: other fields of the recipe.
    """
    losses = tuple(loss for loss in SUMS[name][2](value) if loss.weight)
    return contest.entry("srn", losses).replace(seed=seed, **changes)


def values(found: Mapping, name: str) -> list[float]:
    """The λ of a sum that were measured, so far.

    Args:
        found: the benchmark's results.
        name: of a sum in `SUMS`.
    """
    return [value for value in SUMS[name][1] if f"{value:g}" in found["sums"][name]]


def file(name: str, value: float) -> Path:
    """The weights of a λ's first seed; without the second loss both sums are one."""
    return FOLDER / f"sweep-{f'{name}-{value:g}' if value else 'L1'}.safetensors"


def background(name: str, value: float, rainy: Tensor) -> Tensor:
    """What the network of a λ makes of a photograph, (1, 3, H, W) in [0, 1]."""
    return inference.derain(rainy, weights.load(file(name, value)))


def draw(found: Mapping, name: str, value: float, pair: Pair, measure: str = "psnr") -> figures.Picture:
    """Scores over λ, each seed a dot, with one λ marked; beside them what its network makes of a photograph.

    Args:
        found: the benchmark's results.
        name: of a sum in `SUMS`.
        value: the λ that is marked.
        pair: the photograph and its truth.
        measure: a name in `MEASURES`.
    """
    text, measured = SUMS[name][0], values(found, name)
    rows = [found["sums"][name][f"{each:g}"][measure] for each in measured]
    figure, (left, middle, right) = figures.canvas(1, 3, (9, 2.9), f"{name}: {measure} over λ")
    for place, row in enumerate(rows):
        left.plot([place] * len(row["by_seed"]), row["by_seed"], "o", color=figures.COLOURS["derained"], alpha=0.6)
    left.plot([row["mean"] for row in rows], "-", color=figures.COLOURS["derained"])
    left.axvline(measured.index(value), color=figures.COLOURS["other"], lw=8, alpha=0.3)
    if measure in found["rainy"]:
        left.axhline(found["rainy"][measure], color=figures.COLOURS["rainy"], lw=1)
    labels = [f"{each:g}" for each in measured]
    left.set(xlabel="λ", ylabel=MEASURES[measure], title=text, xticks=range(len(measured)), xticklabels=labels)
    image = background(name, value, pair.rainy)
    figures.place(middle, image, f"λ = {value:g}: {metrics.psnr(image, pair.clean).item():.1f} dB")
    figures.heat(right, 255 * (image - pair.clean).mean(1), "error", "of 255", signed=True, limit=48)
    return figure
