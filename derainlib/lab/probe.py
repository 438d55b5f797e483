"""What a loss says of a picture that was spoilt on purpose: its value, its map, its gradient.

    probe = Probe(pair, probe.distortions(pair) | {"moved by a pixel": pair.clean.roll(1, 3) - pair.clean})
    probe.panel("L1", L1(), "blur", 10)         # the picture, the map less the truth's map, the gradient
    probe.curves({"L1": L1(), "MSE": MSE()}, range(0, 21, 2))

All errors are directions in the space of images of one length, a root mean square of 1, so at one size they have the
same MSE: whatever else differs, a loss has seen. For losses on stages or on what a network holds inside, the probe
stands for a network that comes down to its error from a larger one.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from torch import Tensor, nn

from derainlib import rain
from derainlib.lab import figures
from derainlib.layers import Layers, Pair

BACKGROUND = "B̂"
"""What the panel calls the last estimate; stages are "stage 1" … and extras have their own names."""
_DASHES = ("-", "--", "-.", ":")


def distortions(pair: Pair) -> dict[str, Tensor]:
    """Ways to spoil a clean picture that every loss should be asked about, each (N, 3, H, W), of any size.

    Args:
        pair: the truth.
    """
    return {
        "blur": F.avg_pool2d(pair.clean, 9, 1, 4, count_include_pad=False) - pair.clean,
        "noise": torch.randn(pair.clean.shape, generator=rain.generator(1)),
        "brightness shift": torch.ones_like(pair.clean),
        "leftover rain": pair.rain,
    }


class Look(NamedTuple):
    """What a loss says of an estimate.

    Attributes:
        image: the estimate that the gradient belongs to, (N, 3, H, W).
        value, start: the loss, and what it is at the truth.
        map, start_map: the pictures that average to them, (N, 1, H, W).
        gradient: of the map's sum over pixels and channels with respect to `image`; zero where the loss does not look.
    """

    image: Tensor
    value: float
    start: float
    map: Tensor
    start_map: Tensor
    gradient: Tensor


class Probe:
    """A true pair, errors to spoil it with, and the network that it stands for.

    Args:
        pair: the truth.
        errors: by name, what is added to the clean picture; each is brought to a root mean square of 1.
        stages: by how much the error is multiplied in each stage, the last of which is the background; without any,
            there are no stages.
        extras: the same for what a network holds inside, by name ("coarse", "decoded_1" …).
    """

    def __init__(
        self,
        pair: Pair,
        errors: Mapping[str, Tensor],
        stages: Sequence[float] = (),
        extras: Mapping[str, float] | None = None,
    ):
        self.pair, self.stages, self.extras = pair, tuple(stages), dict(extras or {})
        self.errors = {name: error / error.square().mean().sqrt() for name, error in errors.items()}

    def estimate(self, kind: str, size: float) -> tuple[Layers, dict[str, Tensor]]:
        """The spoilt layers, and the images in them by name, each a leaf of its own that gradients reach.

        Args:
            kind: of the error.
            size: its root mean square in grey levels of 255.
        """
        factors = {f"stage {t}": factor for t, factor in enumerate(self.stages[:-1], 1)}
        factors |= {BACKGROUND: self.stages[-1] if self.stages else 1.0} | self.extras
        step = size / 255 * self.errors[kind]
        images = {name: (self.pair.clean + factor * step).requires_grad_() for name, factor in factors.items()}
        stages = tuple(images.values())[: len(self.stages)]
        extras = {name: images[name] for name in self.extras}
        rains = tuple(self.pair.rainy - image for image in stages)
        return Layers(images[BACKGROUND], self.pair.rainy - images[BACKGROUND], stages, rains, extras), images

    def look(self, term: nn.Module, kind: str, size: float, of: str | None = BACKGROUND) -> Look:
        """What a loss says of an error, against the truth.

        Args:
            term: the loss.
            kind, size: the error, see `estimate`.
            of: the image whose gradient is wanted, by name; None adds up those of all images.
        """
        with torch.inference_mode(False), torch.enable_grad():  # whatever a demonstration runs in
            layers, images = self.estimate(kind, size)
            chart = term.map(layers, self.pair)
            leaves = [images[of]] if of else [*images.values()]
            found = torch.autograd.grad(3 * chart.sum(), leaves, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            start = term.map(self.estimate(kind, 0)[0], self.pair)
        chart, image = chart.detach(), images[of or BACKGROUND].detach()
        return Look(image, chart.mean().item(), start.mean().item(), chart, start, sum(found))

    def panel(
        self, title: str, term: nn.Module, kind: str, size: float, of: str | None = BACKGROUND, in_colour: bool = False
    ) -> figures.Picture:
        """The spoilt picture, the loss's map less its map of the truth, and the gradient.

        Args:
            title: what the loss is called.
            term, kind, size, of: see `look`.
            in_colour: show what descent would add, as a colour on middle grey, in place of the gradient's mean.
        """
        look = self.look(term, kind, size, of)
        figure, (left, middle, right) = figures.canvas(1, 3, (8, 2.4), width_ratios=(1, 1.2, 1 if in_colour else 1.2))
        figures.place(left, look.image, f"{kind}, {size} of 255")
        values = f"{title}: {look.start:.4g} → {look.value:.4g}"
        figures.heat(middle, look.map - look.start_map, values, "map − truth's map", signed=True)
        if in_colour:
            descent = 0.5 - look.gradient / (2 * look.gradient.abs().quantile(0.98).clamp_min(1e-9))
            figures.place(right, descent, "− gradient, as RGB")
        else:
            name = f"gradient of {of or 'all images'}"
            name = name if look.gradient.any() else f"no {name}"
            figures.heat(right, look.gradient.mean(1), name, "∂(sum) / ∂value", signed=True)
        return figure

    def curves(
        self, terms: Mapping[str, nn.Module], sizes: Iterable[float], summary: str
    ) -> tuple[figures.Picture, Sequence[Axes]]:
        """The losses over the size of each error, in axes of their own, to be changed further.

        Args:
            terms: the losses by title.
            sizes: of the errors, in grey levels of 255.
            summary: the figure in words.
        """
        sizes = list(sizes)
        figure, axes = figures.canvas(1, len(terms), (2.7 * len(terms), 2.8), summary, squeeze=False)
        for ax, (title, term) in zip(axes[0], terms.items(), strict=True):
            for kind, dashes in zip(self.errors, cycle(_DASHES), strict=False):
                with torch.no_grad():
                    values = [term(self.estimate(kind, size)[0], self.pair).item() for size in sizes]
                ax.plot(sizes, values, dashes, label=kind)
            ax.set(title=title, xlabel="error (of 255)")
        axes[0, 0].set_ylabel("value")
        axes[0, 0].legend(fontsize=7)
        return figure, axes[0]


def pulls(network: nn.Module, parts: Mapping[str, nn.Module], loss: nn.Module, pair: Pair) -> dict[str, dict]:
    """Which part of a network learns from which term of a loss.

    Args:
        network: is asked for gradients; its parameters are left as they are.
        parts: modules of it, by name.
        loss: terms with weights, as a recipe builds it.
        pair: what it is shown.

    Returns:
        For each term, by part, the norm of the gradient of the weighted term; zero where it does not reach.
    """
    found = {}
    parameters = {name: [*part.parameters()] for name, part in parts.items()}
    for name, term in loss.terms.items():
        value = loss.weights[name] * term(network(pair.rainy, keep=True), pair)
        flat = [parameter for some in parameters.values() for parameter in some]
        gradients = iter(torch.autograd.grad(value, flat, allow_unused=True, materialize_grads=True))
        norms = {part: [next(gradients).norm() for _ in some] for part, some in parameters.items()}
        found[name] = {part: torch.stack(some).norm().item() for part, some in norms.items()}
    return found


def pulls_by_part(found: Mapping[str, Mapping[str, float]]) -> figures.Picture:
    """`pulls` as a picture: a mark for each term in the row of each part that it reaches, on a logarithmic axis."""
    figure, ax = figures.canvas(size=(6.8, 2.7), summary="gradients of the weighted terms, by part")
    for (title, norms), marker in zip(found.items(), cycle("osD^v"), strict=False):
        values = np.array([*norms.values()])
        ax.plot(np.where(values > 0, values, np.nan), list(norms), marker, ms=6, label=f"λ {title}")
    ax.set(xscale="log", xlabel="norm of the gradient of λL")
    ax.invert_yaxis()
    ax.grid(axis="y", alpha=0.4)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure
