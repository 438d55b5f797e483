"""What notebooks 11 and 11b share: three losses of one picture, four schemes for their weights, a network to train.

pair = miniature.shower("chelsea", "light", size=(224, 224))
balances.judged(pair.rainy, pair)                           # L_p, L_e, L_t
network, records = balances.lived("menet/LB", lessons)      # a small MENET, and what happened in each step
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from derainlib import recipes
from derainlib.lab import figures, miniature
from derainlib.layers import Layers, Pair
from derainlib.losses import MSE, Edge, Texture

SCHEMES = {"fixed": "fixed", "loss": "LB", "gradient": "GB", "uncertainty": "uncertainty"}
"""The schemes by their names in recipes, and how they are called."""

INK = dict(zip(SCHEMES, (figures.PALETTE[i] for i in (7, 0, 1, 2)), strict=True))
TASK_INK = tuple(figures.PALETTE[i] for i in (4, 3, 9))
"""Colours of the schemes, and of the three tasks."""

TASKS = {"L_p": MSE(scale=255), "L_e": Edge(), "L_t": Texture()}
"""MENET's three losses, of images in 0..255."""


def judged(image: Tensor, pair: Pair, terms: Mapping[str, nn.Module] = TASKS) -> Tensor:
    """What each loss says of an estimate of the background, (n,).

    Args:
        image: the estimate, (N, 3, H, W) in [0, 1].
        pair: the truth.
        terms: the losses by name.
    """
    with torch.no_grad():
        return torch.stack([term(Layers(image, pair.rainy - image), pair) for term in terms.values()])


def verdicts(images: Mapping[str, Tensor], pair: Pair) -> figures.Picture:
    """Estimates side by side, and bars of what the three losses say of each, on a logarithmic axis.

    Args:
        images: the estimates by title.
        pair: the truth.
    """
    size, ratios = (2.1 * len(images) + 4.4, 2.6), [1] * len(images) + [1.5]
    summary = f"{', '.join(images)}; three losses of each"
    figure, axes = figures.canvas(1, len(images) + 1, size, summary, width_ratios=ratios)
    inks = (figures.COLOURS["rainy"], figures.COLOURS["derained"], *figures.PALETTE[5:])
    for number, ((title, image), ink) in enumerate(zip(images.items(), inks, strict=False)):
        figures.place(axes[number], image, title)
        place = np.arange(len(TASKS)) + 0.4 * (number - (len(images) - 1) / 2)
        axes[-1].bar(place, judged(image, pair), 0.38, label=title, color=ink)
    axes[-1].set(yscale="log", ylim=(1, 1e12), ylabel="loss", xticks=range(len(TASKS)))
    axes[-1].set_xticklabels([f"${name}$" for name in TASKS])
    axes[-1].legend()
    return figure


class Given(nn.Module):
    """A loss of a given value, whose gradient is that value times the gradient of the background's mean.

    Args:
        value: what it is, whatever the picture.
    """

    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, layers: Layers, pair: Pair | None) -> Tensor:
        mean = layers.background.mean()
        return self.value * (1 + mean - mean.detach())


def lived(
    name: str,
    lessons: Sequence[Pair],
    observers: Iterable[Callable[[miniature.Record], None]] = (),
    seed: int = 1,
    lr: float = 2e-2,
    changes: Mapping | None = None,
    **how,
) -> tuple[nn.Module, list[miniature.Record]]:
    """A MENET of 16 channels and two blocks, trained with the losses of a recipe; and the record of each step.

    Args:
        name: of the recipe.
        lessons: the batches.
        observers: see `miniature.train`, beside the one that keeps the records.
        seed: of the first weights.
        lr: the learning rate at first.
        changes: to the recipe, as its `replace` takes them.
        how: what else `miniature.train` takes.
    """
    network, records = miniature.untrained("menet-shallow", seed, width=16, blocks=2), []
    loss = recipes.get(name).replace(**changes or {}).build_loss(network)
    miniature.train(network, loss, lessons, lr, observers=[records.append, *observers], **how)
    return network, records


def column(history: Sequence[miniature.Record], key: str) -> np.ndarray:
    """One entry of all records of a training, (steps,)."""
    return np.array([record[key] for record in history])


def entries(history: Sequence[miniature.Record], what: str) -> np.ndarray:
    """The losses ("loss") or weights ("weight") of MENET's tasks in a training, as many as it has, (tasks, steps)."""
    tasks = [task for task in ("mse", "edge", "texture") if f"loss_{task}" in history[0]]
    return np.stack([column(history, f"{what}_{task}") for task in tasks])
