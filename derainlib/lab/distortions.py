"""Eight ways to spoil a picture equally much, all losses that may judge them, and the order that each brings them into.

    spoilt = Probe(pair, distortions.errors(pair), stages=(1, 1), extras=distortions.INSIDE)
    found = distortions.verdicts(spoilt, distortions.judges(), 8)    # loss → distortion → value and pull
    distortions.rank_chart(found)

The errors of a `Probe` have one mean square, so that MSE and PSNR cannot tell them apart; every order is a loss's own.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import seaborn
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from derainlib import evaluation, metrics
from derainlib.lab import figures, probe
from derainlib.layers import Pair
from derainlib.losses import TERMS
from derainlib.recipe import Loss, Recipe

JUDGES = {
    "MSE": (Loss("mse"), "Ren et al., Eq. 15; MENET, Eq. 4"),
    "−PSNR": (Loss("psnr"), "ours"),
    "L1": (Loss("l1"), "QSNet, Eq. 10"),
    "Charbonnier": (Loss("charbonnier"), "PHPNet, Eq. 3, on X"),
    "Charbonnier, low-pass": (Loss("charbonnier", options={"on": "coarse", "lowpass": 5}), "PHPNet, Eq. 3, on X^c"),
    "auxiliary": (Loss("auxiliary", 0.01), "QSNet, Eq. 12"),
    "−SSIM": (Loss("ssim"), "Ren et al., Eq. 14"),
    "edge": (Loss("edge", 0.01, {"scale": 1}), "MENET, Eq. 6"),
    "texture": (Loss("texture", 1.0, {"scale": 1}), "MENET, Eq. 8"),
    "scalar Gram": (Loss("texture", 1.0, {"scale": 1, "form": "scalar"}), "MENET, the authors' code"),
    "colour": (Loss("colour", 0.1), "PHPNet, Eq. 4"),
    "quasi-sparsity": (Loss("quasi_sparsity", 1e-3), "QSNet, Eq. 8"),
    "detail": (Loss("detail", 1e-4), "QSNet, Eq. 11"),
    "VGG": (Loss("perceptual"), "DCDNet, Eq. 7"),
    "squared VGG": (Loss("perceptual", options={"norm": "l2"}), "MENET, Table IV"),
    "semantic, Φ": (Loss("semantic", 0.05, {"network": "phi"}), "PHPNet, Eq. 5"),
    "presence, Φ": (Loss("presence", 0.05, {"network": "phi"}), "PHPNet, Table V"),
}
"""The losses of the five papers and of this package, on images in [0, 1]: by title, with the weight that its paper
gives it (1 where it names none) and where it stands there."""

INSIDE = {"coarse": 1.0, "decoded_1": 1.0}
"""What a network must hold inside for all of them to have something to judge, for `Probe`."""

POWERS = {
    "mse": 2, "l1": 1, "charbonnier": 1, "auxiliary": 2, "edge": 2, "texture": 4, "quasi_sparsity": 1, "detail": 1,
    "psnr": 0, "ssim": 0, "colour": 0, "perceptual": 0, "semantic": 0, "presence": 0,
}  # fmt: skip
"""By which power of the white value a term grows; 0 where it is told what white is, or does not ask."""

TIE, ROUNDING = 5e-3, 1e-7
"""Values are equal to `ranks` that differ by less than the first, as a share of theirs, or than the second, as a share
of the row's largest: half a per cent is no opinion."""


def errors(pair: Pair) -> dict[str, Tensor]:
    """What eight distortions add to the clean picture, each (N, 3, H, W), for a `Probe` to bring to one size.

    Args:
        pair: the truth.
    """
    plain = probe.distortions(pair)
    order = ("leftover rain", "over-removed", "blur", "lost texture", "moved by a pixel", "noise", "brightness shift")
    found = plain | {
        "over-removed": -pair.rain,
        "moved by a pixel": pair.clean.roll(1, 3) - pair.clean,
        "lost texture": torch.stack([_without_texture(image) for image in pair.clean]) - pair.clean,
    }
    warm = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1)
    return {name: found[name] for name in order} | {"colour cast": warm.expand_as(pair.clean)}


def _without_texture(image: Tensor) -> Tensor:
    """A cartoon of an image (3, H, W): flat areas between edges that stay, by total variation (Rudin et al. 1992)."""
    from skimage.restoration import denoise_tv_chambolle  # a heavy import, so only here

    cartoon = denoise_tv_chambolle(image.permute(1, 2, 0).double().numpy(), weight=0.1, channel_axis=-1)
    return torch.from_numpy(cartoon).permute(2, 0, 1).to(image.dtype)


def judges(vgg: str = "untrained") -> dict[str, nn.Module]:
    """The terms of `JUDGES` by title.

    Args:
        vgg: weights of a VGG16, see `derainlib.losses.Perceptual`; "untrained" needs no file.

    Raises:
        WeightsError: when they are first used, weights that are missing or damaged.
    """
    return {title: loss.judged_by(vgg).build() for title, (loss, _) in JUDGES.items()}


class Verdict(NamedTuple):
    """What a loss says of an estimate.

    Attributes:
        excess: its value less that of the truth.
        pull: root mean square of the gradient of its literal sum (over pixels and channels) on the estimate's values;
            L1's is 1 wherever there is an error, of any size. NaN for a score.
    """

    excess: float
    pull: float


def verdict(spoilt: probe.Probe, term: nn.Module, kind: str, size: float) -> Verdict:
    """One loss on one distortion of `size` grey levels; its pull is that on all images that a network would hold."""
    look = spoilt.look(term, kind, size, of=None)
    return Verdict(look.value - look.start, look.gradient.square().mean().sqrt().item())


def verdicts(spoilt: probe.Probe, terms: Mapping[str, nn.Module], size: float) -> dict[str, dict[str, Verdict]]:
    """Every loss on every distortion: loss → distortion → verdict; last come the scores 1 − SSIM in RGB and in Y.

    Args:
        spoilt: the truth and the errors; an estimate needs `INSIDE` if the auxiliary loss is among the terms.
        terms: the losses by title.
        size: of the errors, a root mean square in grey levels of 255.
    """
    found = {
        title: {kind: verdict(spoilt, term, kind, size) for kind in spoilt.errors} for title, term in terms.items()
    }
    for space in ("rgb", "y"):
        found[f"score 1 − SSIM, {space.upper()}"] = {
            kind: Verdict(1 - metrics.ssim(_picture(spoilt, kind, size), spoilt.pair.clean, space).item(), float("nan"))
            for kind in spoilt.errors
        }
    return found


def _picture(spoilt: probe.Probe, kind: str, size: float) -> Tensor:
    return spoilt.estimate(kind, size)[0].background.detach()


def ranks(found: Mapping[str, Mapping[str, Verdict]]) -> dict[str, dict[str, float]]:
    """The place of each distortion in a loss's order: 1 for the mildest; equals share the mean of their places."""
    excesses = {title: [one.excess for one in row.values()] for title, row in found.items()}
    return {title: dict(zip(found[title], _ranked(values), strict=True)) for title, values in excesses.items()}


def _ranked(values: list[float]) -> list[float]:
    order = np.argsort(values, kind="stable")
    rising = np.asarray(values)[order]
    sizes = np.abs(rising)
    apart = np.diff(rising) > TIE * np.maximum(sizes[1:], sizes[:-1]) + ROUNDING * sizes.max()
    found = np.empty(len(values))
    found[order] = rankdata(np.concatenate([[0], np.cumsum(apart)]))
    return found.tolist()


def table(found: Mapping[str, Mapping[str, Verdict]]) -> str:
    """The excesses as text: a row for each loss, a column for each distortion; what only rounding left is 0."""
    lines = [["excess over the truth", *next(iter(found.values()))]]
    for title, row in found.items():
        least = ROUNDING * max(abs(one.excess) for one in row.values())
        values = (one.excess if abs(one.excess) > least else 0 for one in row.values())
        lines.append([title, *(f"{value:.3g}" for value in values)])
    return evaluation.aligned(lines)


def rank_chart(found: Mapping[str, Mapping[str, Verdict]]) -> figures.Picture:
    """`ranks` as a heat map: a row for each loss, a column for each distortion."""
    rows = ranks(found)
    last = len(next(iter(rows.values())))
    return chart(rows, f"place: 1 the mildest, {last} the worst", cmap="mako_r", vmin=1, vmax=last, fmt="g")


def chart(rows: Mapping[str, Mapping[str, float]], label: str, **style) -> figures.Picture:
    """A table as a heat map with its values written in.

    Args:
        rows: a row for each loss, in it a value for each distortion.
        label: of the colour bar.
        style: what `seaborn.heatmap` takes.
    """
    values = np.array([[*row.values()] for row in rows.values()])
    kinds = [kind.replace(" ", "\n", 1) for kind in next(iter(rows.values()))]
    figure, ax = figures.canvas(size=(8.6, 0.3 * len(rows) + 0.7), summary=f"{label}: {len(rows)} x {len(kinds)}")
    seaborn.heatmap(values, ax=ax, xticklabels=kinds, yticklabels=list(rows), annot=True, linewidths=0.5,
                    cbar_kws={"label": label}, **style)  # fmt: skip
    ax.tick_params(length=0)
    ax.tick_params(axis="x", labelrotation=0, labelsize=8)
    return figure


def in_unit_range(recipe: Recipe, vgg: str = "untrained") -> Recipe:
    """The recipe with all of its terms on images in [0, 1], its weights as they are, and these weights of a VGG."""
    options = [loss.options | ({"scale": 1} if _has_scale(loss) else {}) for loss in recipe.losses]
    pairs = zip(recipe.losses, options, strict=True)
    losses = (dataclasses.replace(loss, options=given).judged_by(vgg) for loss, given in pairs)
    return recipe.replace(losses=tuple(losses))


def _has_scale(loss: Loss) -> bool:
    return "scale" in {option.name for option in dataclasses.fields(TERMS[loss.term])}


def loudness(spoilt: probe.Probe, recipe: Recipe, kind: str, size: float, white: float = 1) -> dict[str, float]:
    """How hard each weighted term of a recipe pulls on an estimate, |λ| times the `Verdict`'s pull, by the term's name.

    Args:
        spoilt, kind, size: the estimate.
        recipe: whose weights are taken as they are printed; see `in_unit_range`.
        white: the value of white in the images that the weights are used with, 1 or 255; the pull is on such a value.
    """
    with torch.inference_mode(False):  # the networks that judge are asked for gradients, whatever a demo runs in
        loss = in_unit_range(recipe).build_loss()
    powers = [POWERS[one.term] for one in recipe.losses]
    return {
        name: abs(loss.weights[name]) * verdict(spoilt, term, kind, size).pull * white ** (power - 1)
        for (name, term), power in zip(loss.terms.items(), powers, strict=True)
    }


def loudness_chart(found: Mapping[str, Mapping[str, float]], title: str) -> figures.Picture:
    """`loudness` under several conventions as bars, each divided by that of its first term: a row for each term.

    Args:
        found: by the convention's name, the loudness of the same terms.
        title: over the bars.
    """
    terms = list(next(iter(found.values())))
    summary = f"loudness of {', '.join(terms)}"
    figure, ax = figures.canvas(size=(7.2, 0.62 * len(terms) + 1.3), summary=summary)
    height = 0.8 / len(found)
    for place, (name, pulls) in enumerate(found.items()):
        shares = [pulls[term] / pulls[terms[0]] for term in terms]
        at = np.arange(len(terms)) + (place - (len(found) - 1) / 2) * height
        ax.plot(shares, at, "os^v"[place % 4], ms=8, label=name)
        ax.hlines(at, 1, shares, color=figures.PALETTE[place], lw=2)
    ax.axvline(1, color="black", lw=1)
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.set(yticks=range(len(terms)), yticklabels=terms, ylim=(len(terms) - 0.5, -0.5))
    ax.set(xlabel="loudness, the first term's = 1", title=title)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure
