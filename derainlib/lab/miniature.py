"""Small worlds: sample scenes in drawn rain, patches of them, and networks that train on those while a reader waits.

    lessons = miniature.lessons(miniature.dry("chelsea"), steps=40, seed=0)       # never the scene that is tested
    network = miniature.untrained("srn", seed=0, width=8)
    miniature.train(network, NegativeSSIM(), lessons, lr=3e-3)

A miniature shows how a result spreads over seeds, or where a weight wants to go; it does not derain well. The loop that
a student should read stands in notebook 07; this one is for where training is not the lesson. Everything depends on the
arguments alone, so that it comes out alike each time.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

import derainlib
from derainlib import rain
from derainlib.data import samples
from derainlib.layers import Pair

SCENES = (*samples.PHOTOGRAPHS, "street")
"""Four photographs and a drawn street: where a notebook looks beyond one scene."""

Record = dict[str, float]


@cache
def shower(
    name: str, style: str | rain.RainStyle = "heavy", seed: int = 5, size: tuple[int, int] | None = None
) -> Pair:
    """A sample scene in drawn rain, kept once it was drawn.

    Args:
        name: a scene of `samples.names()`, without its style.
        style: the rain, by name or as a `RainStyle`.
        seed: of the rain.
        size: (H, W) of the part in its centre that is kept; all of it where left out.

    Returns:
        A pair of one image, with its labels if the scene has them.
    """
    scene = samples.load(f"{name}-light")
    clean, labels = (x if x is None or size is None else centre(x, *size) for x in (scene.clean, scene.labels))
    return rain.add_rain(clean, style, [rain.generator(seed)])._replace(labels=labels)


def centre(image: Tensor, height: int, width: int) -> Tensor:
    """The part of `height` by `width` pixels in the centre of images (..., H, W), or less where they are smaller."""
    top, left = (max(0, (side - part) // 2) for side, part in zip(image.shape[-2:], (height, width), strict=True))
    return image[..., top : top + height, left : left + width]


def dry(without: str = "") -> list[Tensor]:
    """The clean images of `SCENES`, each (1, 3, H, W), without the one on which a network is to be tested."""
    return [clean(name) for name in SCENES if name != without]


def clean(name: str) -> Tensor:
    """A sample scene without rain, (1, 3, H, W)."""
    return samples.load(f"{name}-light").clean


def patches(images: Sequence[Tensor], seed: int, step: int, size: int = 32, style: str = "heavy") -> Pair:
    """A batch of one patch of each image, at random places, in rain drawn anew.

    Args:
        images: each (1, 3, H, W) in [0, 1], with sides of at least `size`.
        seed, step: decide places and rain, with the number of the image.
        size: of a patch in pixels.
        style: the rain, by name.
    """
    generators, crops = [rain.generator(seed, step, number) for number in range(len(images))], []
    for image, random in zip(images, generators, strict=True):
        top, left = (int(torch.randint(side - size + 1, (1,), generator=random)) for side in image.shape[2:])
        crops.append(image[..., top : top + size, left : left + size])
    return rain.add_rain(torch.cat(crops), style, generators)


def lessons(images: Sequence[Tensor], steps: int, seed: int = 0, size: int = 32, style: str = "heavy") -> list[Pair]:
    """The batches of a training, `patches` for each step: drawn once for all networks that shall see the same."""
    return [patches(images, seed, step, size, style) for step in range(steps)]


def untrained(name: str, seed: int = 0, **options) -> nn.Module:
    """A network as `derainlib.create` makes it, its weights drawn from `seed`, whatever was drawn before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return derainlib.create(name, **options)


def train(
    network: nn.Module,
    loss: nn.Module,
    lessons: Sequence[Pair],
    lr: float,
    *,
    cosine: bool = True,
    loss_lr: float | None = None,
    eps: float = 1e-8,
    observers: Iterable[Callable[[Record], None]] = (),
) -> nn.Module:
    """Trains a network in place, a step of Adam for each lesson.

    Args:
        network: what learns.
        loss: a term, or terms added up (`losses.Fixed` and the balances).
        lessons: the batches, in order.
        lr: the learning rate at first.
        cosine: whether it falls to zero along a cosine; else it stays.
        loss_lr: that of parameters of the loss itself (uncertainty weights), in the place of `lr`.
        eps: what Adam adds to the size of a gradient.
        observers: each is called after each step with its record: "step", "loss", and where terms are added up,
            "loss_<term>" and "weight_<term>" of those that a balance weighs.

    Returns:
        The network, in eval mode and without gradients.
    """
    learned = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    groups = [{"params": [*network.parameters()]}, {"params": learned, "lr": loss_lr or lr}]
    optimiser = torch.optim.Adam(groups, lr, eps=eps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(lessons)) if cosine else None
    network.requires_grad_().train()
    for step, pair in enumerate(lessons, 1):
        optimiser.zero_grad()
        found = loss(network(pair.rainy, keep=True), pair)
        total, values = found if isinstance(found, tuple) else (found, {})
        total.backward()
        optimiser.step()
        if schedule:
            schedule.step()
        record = {"step": step, "loss": total.item()} | {f"loss_{name}": value.item() for name, value in values.items()}
        record |= {f"weight_{name}": weight.item() for name, weight in getattr(loss, "latest", {}).items()}
        for observe in observers:
            observe(record)
    return network.eval().requires_grad_(False)
