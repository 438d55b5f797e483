"""What a network sees, and what it has at each step: fields, feature maps, stages and scales.

seen = insight.field(network, pair.rainy)       # which pixels the middle one depends on, and how much
insight.draw_field(seen, network.halo)
maps = insight.maps(network, pair.rainy, "network.blocks.0.first")[-1]
insight.sheet(maps, channel=3)
insight.steps(network, network(pair.rainy, keep=True))    # X^c and X, the stages, what the scales decode
"""

import copy
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from derainlib import metrics
from derainlib.errors import DerainError
from derainlib.lab import figures
from derainlib.layers import Layers, Pair
from derainlib.models.dcdnet import DCDNet

DEEPER = {
    "qsnet": {"units": 24},
    "dcdnet": {"dilations": (1, 2, 4, 8, 8)},
    "srn": {"blocks": 10},
    "brn": {"rain_blocks": 6, "background_blocks": 10},
    "phpnet": {"k": 8},
    "menet": {"blocks": 16},
}
"""Options that make the papers' networks deeper, for `derainlib.create`."""

# --- receptive fields ------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """On which pixels of O the middle pixel of B̂ depends.

    Attributes:
        gradient: |∂B̂ / ∂O|, summed over the colours, (H, W).
        reach: distance of the farthest pixel on which it depends at all, along rows or columns.
        shares: of the gradient of all *other* pixels, by distance from 0: how much of it lies so near.
    """

    gradient: Tensor
    reach: int
    shares: Tensor

    def radius(self, share: float) -> int:
        """The distance within which that share of the other pixels' gradient lies."""
        return int((self.shares < share).sum())


def field(network: nn.Module, image: Tensor) -> Field:
    """The effective receptive field (Luo et al. 2016) on a photograph: how much a small change of each pixel would do.

    Args:
        network: is left as it is.
        image: (1, 3, H, W) in [0, 1]; the field is seen as far as this reaches.
    """
    with torch.inference_mode(False), torch.enable_grad():  # whatever a demonstration runs in
        network, rainy = copy.deepcopy(network).eval().requires_grad_(False), image.clone().requires_grad_()
        row, column = (side // 2 for side in image.shape[-2:])
        (found,) = torch.autograd.grad(network(rainy).background[0, :, row, column].sum(), rainy)
    gradient = found[0].abs().sum(0)
    down, across = ((torch.arange(n) - n // 2).abs() for n in gradient.shape)
    away = torch.maximum(down[:, None], across)
    rings = torch.zeros(int(away.max()) + 1).index_add_(0, away.flatten(), gradient.flatten())
    rings[0] = 0  # the pixel itself, which a network that predicts rain mostly hands on
    shares = rings.cumsum(0) / rings.sum().clamp_min(1e-30)
    return Field(gradient, int(away[gradient > 0].max()) if gradient.any() else 0, shares)


def draw_field(seen: Field, halo: int, title: str = "") -> figures.Picture:
    """A field as a map, on a logarithmic scale, with squares at the halo and where 90 % of it lies, and its growth.

    Args:
        seen: the field.
        halo: what the network states, in pixels.
        title: over the map.
    """
    figure, (left, right) = figures.canvas(1, 2, (7.6, 3.0))
    height, width = seen.gradient.shape
    near, farthest = seen.radius(0.9), len(seen.shares) - 1
    logarithm = (seen.gradient / seen.gradient.max().clamp_min(1e-30)).clamp_min(1e-6).log10()
    shown = left.imshow(logarithm.numpy(), cmap="magma", vmin=-6, vmax=0)
    figure.colorbar(shown, ax=left, label="log₁₀ |∂B̂ / ∂O|, of the largest", shrink=0.85)
    for radius, dashes, colour in ((halo, "--", "white"), (near, "-", "cyan")):
        if radius <= farthest:
            corner = width // 2 - radius - 0.5, height // 2 - radius - 0.5
            square = Rectangle(corner, 2 * radius + 1, 2 * radius + 1, fill=False, ec=colour, ls=dashes, lw=1.2)
            left.add_patch(square)
    left.set_title(title)
    left.set_axis_off()
    right.plot(seen.shares.numpy(), color=figures.COLOURS["derained"])
    right.axvline(near, color="darkcyan", lw=1, label=f"90 % within {near}")
    if halo <= farthest:
        right.axvline(halo, color="0.3", ls="--", lw=1, label=f"halo {halo}")
    right.set(xlabel="distance (pixels)", ylabel="share of the gradient", xlim=(0, farthest), ylim=(0, 1.03))
    right.set_title(f"halo {halo}; reaches {seen.reach}" + (" or more" if seen.reach == farthest else ""))
    right.legend(loc="lower right", fontsize=8)
    return figure


def staged(network: nn.Module, stages: int) -> nn.Module:
    """A copy of a network that runs so many stages with the weights that it has.

    Raises:
        DerainError: a network without stages, or one whose weights end with the stage for which they were trained.
    """
    if not hasattr(network, "stages"):
        raise DerainError(f"a {type(network).__name__} has no stages")
    last = network.outer.count if isinstance(network, DCDNet) and hasattr(network.outer, "count") else stages
    if stages > last:
        raise DerainError(f"its stage {last} is the last: a later one would need a fusion that nobody trained")
    network = copy.deepcopy(network)
    network.stages = stages
    return network


# --- feature maps ----------------------------------------------------------------------------------------------------


def affinity(maps: Tensor, target: Tensor) -> Tensor:
    """How much each channel looks like a picture: the correlation over its places, (C,), from −1 to 1; 0 where flat.

    Args:
        maps: (1, C, h, w).
        target: (1, 3, H, W) or (1, 1, H, W); its colours are averaged, and it is brought to the maps' size.
    """
    grey = F.adaptive_avg_pool2d(target.mean(1, keepdim=True), maps.shape[-2:])
    channels, grey = (x.flatten(2)[0] - x.flatten(2)[0].mean(1, keepdim=True) for x in (maps, grey))
    sizes = channels.norm(dim=1) * grey.norm()
    return torch.where(sizes > 1e-12, (channels * grey).sum(1) / sizes.clamp_min(1e-12), torch.zeros_like(sizes))


def sheet(maps: Tensor, layers: Layers, place: int, title: str, columns: int = 6) -> figures.Picture:
    """All channels of a layer, those that look like the rain first, and one of them large beside O.

    Args:
        maps: (1, C, h, w), as `anatomy.maps` gives them; up to 32 are drawn small.
        layers: what the network made of the photograph.
        place: of the large one in that order, from 1; the last one where there are fewer.
        title: what the layer is called.
    """
    likeness = affinity(maps, layers.rain)
    order = likeness.argsort(descending=True, stable=True)
    place = min(place, len(order))
    chosen = int(order[place - 1])
    figure = figures.Picture(figsize=(9, 4.2), summary=f"{title}: channel {chosen} and all {len(order)}")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.35))
    above, below = left.subplots(2, 1)
    figures.place(above, layers.background + layers.rain, "O")
    scene = float(affinity(maps, layers.background)[chosen])
    name = f"channel {chosen}: like R̂ {likeness[chosen]:+.2f}, like B̂ {scene:+.2f}".replace("-", "−")
    figures.heat(below, maps[0, chosen], name, "response", signed=True, limit=_spread(maps[0, chosen]))
    shown = order[:: max(1, -(-len(order) // 32))]
    axes = right.subplots(-(-len(shown) // columns), columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, channel in zip(axes.flat, shown.tolist(), strict=False):
        limit = _spread(maps[0, channel])
        ax.imshow(maps[0, channel].numpy(), cmap="vlag", vmin=-limit, vmax=limit)
        ax.set_title(f"{channel}", fontsize=7, pad=1, weight="bold" if channel == chosen else "normal")
    right.suptitle(f"{title}, by likeness to R̂", fontsize=9)
    return figure


def _spread(values: Tensor) -> float:
    """The size that all but a hundredth of the values have at most."""
    return max(float(values.abs().flatten().quantile(0.99)), 1e-6)


# --- stages, scales, X^c and X ---------------------------------------------------------------------------------------


def steps(network: nn.Module, layers: Layers) -> dict[str, Tensor]:
    """What a network holds of the background on its way, by title, the result last.

    Args:
        network: whose way it is.
        layers: what it returned with `keep=True`.
    """
    decoded = {f"decoded from scale {i}": image for i, image in enumerate(layers.kept("decoded_i"), 1)}
    if layers.kept("coarse"):
        return dict(zip(("X^c", "X"), layers.stages, strict=False))
    if layers.stages:
        names = [f"stage {t}" for t in range(1, len(layers.stages) + 1)]
        names[-1] = "refined" if getattr(network, "refinement", None) else names[-1]
        return dict(zip(names, layers.stages, strict=True))
    return decoded | {"B̂": layers.background}


def draw_step(found: Mapping[str, Tensor], number: int, pair: Pair, title: str = "") -> figures.Picture:
    """One step: its background, what it changes in the one before (in O at first), and PSNR along all steps.

    Args:
        found: see `steps`.
        number: of the step, from 1; the last one where there are fewer.
        pair: the photograph and its truth.
        title: what the network is called.
    """
    number = min(number, len(found))
    images, names = list(found.values()), list(found)
    scores = [metrics.psnr(image, pair.clean).item() for image in images]
    before = images[number - 2] if number > 1 else pair.rainy
    figure, (left, middle, right) = figures.canvas(1, 3, (9, 2.5), width_ratios=(1, 1.2, 1.1))
    figures.place(left, images[number - 1], f"{title}, {names[number - 1]}")
    change = 255 * (images[number - 1] - before)[0].mean(0)
    figures.heat(middle, change, f"less {names[number - 2] if number > 1 else 'O'}", "of 255", signed=True)
    places = range(1, len(scores) + 1)
    right.plot(places, scores, "o-", ms=4, color=figures.COLOURS["derained"])
    right.plot(number, scores[number - 1], "o", ms=10, mfc="none", mec=figures.COLOURS["rain"], mew=2)
    right.axhline(metrics.psnr(pair.rainy, pair.clean).item(), color=figures.COLOURS["rainy"], lw=1)
    right.set(xlabel="step", ylabel="PSNR (dB); blue: O", title=f"{scores[number - 1]:.1f} dB", xticks=places)
    return figure
