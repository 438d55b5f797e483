"""A loss put to work: pixels that descend it, and small networks that learn from it side by side.

image, records = contest.descend(pair.rainy, pair, recipe.build_loss())
entries = {"A": contest.entry("srn", (Loss("l1"),)), "B": contest.entry("srn", (Loss("l1"), Loss("edge")), "loss")}
courses = contest.compete(entries, miniature.lessons(miniature.dry("street"), 100), pair)
contest.overlay(courses, derainlib.psnr(pair.rainy, pair.clean).item())
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor, nn

from derainlib import metrics, recipes
from derainlib.errors import DerainError
from derainlib.lab import figures, miniature
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
    return recipes.get(network, "tiny", options=SMALL[network], losses=tuple(losses), balance=balance)


class Course(NamedTuple):
    """How a training went.

    Attributes:
        network: trained.
        background: what it makes of the scene, (1, 3, H, W).
        records: of each step, see `miniature.train`, some with the scene's "psnr" in dB.
        weights: λ of each term by name.
    """

    network: nn.Module
    background: Tensor
    records: list[Record]
    weights: dict[str, float]


def compete(
    entries: Mapping[str, Recipe],
    lessons: Sequence[Pair],
    scene: Pair,
    *,
    seed: int = 0,
    lr: float = 1e-3,
    every: int = 10,
    watch: Callable[[Record], None] | None = None,
) -> dict[str, Course]:
    """Trains networks one after the other: the same first weights where they are of one kind, the same lessons.

    Args:
        entries: by title, see `entry`.
        lessons: the batches, in order, a step for each.
        scene: on which they are scored, none of the lessons' scenes.
        seed: of the first weights.
        lr: the learning rate of Adam; it falls to zero along a cosine.
        every: steps between two scores.
        watch: is told each score as it comes, a record of "step" and "<title> (dB)", the scene's PSNR.

    Returns:
        The courses, by title.
    """
    courses = {}
    for title, recipe in entries.items():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = recipe.build_model()
        loss, records = recipe.build_loss(network), []

        def observe(record: Record, network=network, records=records, title=title):
            records.append(record)
            if record["step"] % every == 0 or record["step"] == len(lessons):
                record["psnr"] = metrics.psnr(_cleaned(network, scene.rainy), scene.clean).item()
                if watch:
                    watch({"step": record["step"], f"{title} (dB)": record["psnr"]})

        miniature.train(network, loss, lessons, lr, observers=[observe])
        courses[title] = Course(network, _cleaned(network, scene.rainy), records, loss.weights)
    return courses


def _cleaned(network: nn.Module, rainy: Tensor) -> Tensor:
    """The background as a network in use gives it, which then goes on as it was."""
    mode = network.training
    with torch.inference_mode():
        background = network.eval()(rainy).background
    network.train(mode)
    return background.clone()


def shares(course: Course) -> dict[str, list[float]]:
    """Each term's part of the weighted sum w λ |L|, by its name, of every step."""
    parts = {
        name: [record.get(f"weight_{name}", 1.0) * abs(weight * record[f"loss_{name}"]) for record in course.records]
        for name, weight in course.weights.items()
    }
    totals = [sum(at) for at in zip(*parts.values(), strict=True)]
    return {
        name: [part / max(total, 1e-30) for part, total in zip(row, totals, strict=True)] for name, row in parts.items()
    }


def overlay(courses: Mapping[str, Course], rainy: float) -> figures.Picture:
    """Courses over one another: the scene's PSNR over the steps, and what each term's part of the loss was.

    Args:
        courses: by title.
        rainy: PSNR of the scene before anything was done to it, in dB.
    """
    size, summary = (9, 3.2), f"PSNR and shares of the terms over steps: {', '.join(courses)}"
    figure, (left, right) = figures.canvas(1, 2, size, summary)
    inks = dict(zip(sorted({name for one in courses.values() for name in one.weights}), cycle(figures.PALETTE[3:])))
    for (title, course), ink, dashes in zip(courses.items(), cycle(figures.PALETTE), cycle(("-", "--", ":"))):
        scored = [record for record in course.records if "psnr" in record]
        steps = [record["step"] for record in course.records]
        left.plot([r["step"] for r in scored], [r["psnr"] for r in scored], dashes, color=ink, label=title)
        for name, values in shares(course).items():
            right.plot(steps, values, dashes, color=inks[name], label=f"{title}: {name}")
    left.axhline(rainy, color=figures.COLOURS["rainy"], lw=1, alpha=0.6, label="rainy")
    left.set(xlabel="step", ylabel="PSNR (dB)", title="a scene that none has seen")
    right.set(xlabel="step", ylabel="share of the weighted sum", title="who is heard", ylim=(-0.03, 1.03))
    for ax in (left, right):
        ax.legend(fontsize=8)
    return figure
