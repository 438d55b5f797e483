"""A loss put to work: pixels that descend it, and small networks that learn from it, for `panel.Panel` to train.

image, records = contest.descend(pair.rainy, pair, judges)
recipe = contest.entry("srn", contest.losses("l1 + 0.1 edge"), "loss")
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from derainlib import metrics, recipes
from derainlib.errors import DerainError
from derainlib.lab import distortions
from derainlib.layers import Layers, Pair
from derainlib.losses import Fixed
from derainlib.recipe import Loss, Recipe

SMALL = {
    "qsnet": {"width": 16, "units": 3, "scale_width": 8},
    "dcdnet": {"stages": 2, "width": 8},
    "srn": {"stages": 2, "blocks": 2, "width": 8},
    "brn": {"stages": 2, "rain_blocks": 1, "background_blocks": 2, "width": 8},
    "phpnet": {"width": 16, "k": 2},
    "menet": {"blocks": 2, "width": 16},
}
"""Options with which the papers' networks learn something within seconds."""

LESSONS = {"batch": 4, "patch": 32, "rain": "heavy", "lr": 3e-3, "schedule": "cosine"}
"""How a small network learns: fields of its recipe."""

OPTIONS = {loss.term: loss.options for loss, _ in reversed([*distortions.JUDGES.values()])} | {
    "ssim": {"dissimilarity": True},
    "perceptual": {"weights": "untrained"},
}
"""The losses that a sum may name, with their options on images in [0, 1]."""

_PART = re.compile(r"\s*(?P<weight>\d*\.?\d+(?:e-?\d+)?)?\s*[*·]?\s*(?P<term>[a-z]\w*)\s*")

Record = dict[str, float]


def descend(start: Tensor, pair: Pair, loss: Fixed, steps: int = 60, lr: float = 0.01) -> tuple[Tensor, list[Record]]:
    """Changes the pixels of a background until a weighted sum of losses is small: Adam, no network.

    Args:
        start: B̂ at first, (N, 3, H, W).
        pair: the truth.
        loss: terms that judge the layers alone, not what a network holds inside; O − B̂ is the rain.
        steps: of Adam; how large a term is as a whole does not matter to it, only beside others.
        lr: the learning rate, about what a value changes by in a step, of white at 1; it falls along a cosine.

    Returns:
        B̂ at last, and a record for the start and for each step: "step", "psnr" in dB, and each loss by its name.
    """
    with torch.inference_mode(False), torch.enable_grad():  # whatever a demonstration runs in
        image = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([image], lr, eps=1e-16)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        records = []
        for step in range(steps + 1):
            total, values = loss(Layers(image, pair.rainy - image), pair)
            score = metrics.psnr(image.detach(), pair.clean).mean().item()
            records.append({"step": step, "psnr": score} | {name: value.item() for name, value in values.items()})
            if step < steps:
                (image.grad,) = torch.autograd.grad(total, image)
                optimiser.step()
                schedule.step()
    return image.detach(), records


def losses(text: str) -> tuple[Loss, ...]:
    """A weighted sum as a reader writes it, "mse + 0.5 ssim", on images in [0, 1].

    SSIM is 1 − SSIM, since balances want losses above zero, and the VGG an untrained one.

    Raises:
        DerainError: a part that is no weight with a loss's name; it tells the names.
    """
    found = []
    for part in text.split("+"):
        match = _PART.fullmatch(part)
        if not match or match["term"] not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise DerainError(f"{part.strip()!r} is no loss: write a sum such as 'mse + 0.5 ssim' of {known}")
        found.append(Loss(match["term"], float(match["weight"] or 1), OPTIONS[match["term"]]))
    return tuple(found)


def entry(network: str, losses: Sequence[Loss], balance: str = "fixed") -> Recipe:
    """What takes part in a contest: one of the papers' networks at the size of `SMALL`, and the loss it learns from.

    Args:
        network: a name in `SMALL`.
        losses: the terms with their weights.
        balance: of the weights, a name in `derainlib.losses.BALANCES`.

    Raises:
        DerainError: a network that is not in `SMALL`.
        RecipeError: an unknown term, option or balance, or terms that cannot be balanced so.
    """
    if network not in SMALL:
        raise DerainError(f"no small network is called {network!r}; there are {', '.join(SMALL)}")
    return recipes.get(network, "tiny", options=SMALL[network], losses=tuple(losses), balance=balance, **LESSONS)
