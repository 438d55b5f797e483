"""Two tasks that disagree, and where each way of weighing them leads: a plane, two goals, two numbers to learn.

way = descent("loss", k=0, floor=0.5, start=(0.9, 1.3))     # (steps + 1, 2)
plane(0, 0.5, "nearer to B")                                # all four schemes in one picture
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derainlib.lab import figures
from derainlib.lab.balances import INK, SCHEMES, TASK_INK
from derainlib.layers import Layers, Pair
from derainlib.losses import BALANCES, GradientBalanced

GOALS = {"A": (-1.0, 0.0), "B": (1.0, 0.0)}
STARTS = {"nearer to B": (0.9, 1.3), "nearer to A": (-0.6, 1.5)}
AB = {"yticks": [-1, 0, 1], "yticklabels": ["A", "0", "B"]}
"""How an axis is labelled on which x runs from one goal to the other."""


class Distance(nn.Module):
    """Squared distance of the background, two numbers, from a goal; never below `floor`.

    Args:
        goal: x and y.
        floor: is added to it.
    """

    def __init__(self, goal: tuple[float, float], floor: float):
        super().__init__()
        self.goal, self.floor = torch.tensor(goal), floor

    def forward(self, layers: Layers, pair: Pair | None) -> Tensor:
        return (layers.background.flatten() - self.goal).square().sum() + self.floor


@cache
def descent(scheme: str, k: int, floor: float, start: tuple[float, float], steps: int = 200) -> Tensor:
    """The way of two numbers under two tasks, (steps + 1, 2); of each step only the direction counts.

    Args:
        scheme: of `SCHEMES`.
        k: the loss of A is multiplied by 10^k.
        floor: below which no loss comes.
        start: x and y.
        steps: how many.
    """
    place = nn.Parameter(torch.tensor(start))
    terms, scales = {name: Distance(goal, floor) for name, goal in GOALS.items()}, {"A": 10.0**k, "B": 1.0}
    loss = GradientBalanced(terms, scales, place) if scheme == "gradient" else BALANCES[scheme](terms, scales)
    learned, way = [*loss.parameters()], [place.detach().clone()]  # what uncertainty weighting learns along
    optimiser = torch.optim.Adam(learned, 0.03) if learned else None
    for step in range(steps):
        here, place.grad = (1 * place).view(1, 2, 1, 1), None
        loss(Layers(here, -here), None)[0].backward()
        with torch.no_grad():  # the direction of the gradient, never its length
            place -= 0.04 * (1 - step / steps) * F.normalize(place.grad, dim=0)
        if optimiser:
            optimiser.step()
            optimiser.zero_grad()
        way.append(place.detach().clone())
    return torch.stack(way)


def plane(k: int, floor: float, start: str) -> figures.Picture:
    """The ways of all schemes in the plane, and x by step.

    Args:
        k, floor: see `descent`.
        start: of `STARTS`.
    """
    summary = "four ways down to two goals; x by step"
    figure, (left, right) = figures.canvas(1, 2, (8, 2.7), summary, width_ratios=(1.5, 1))
    x, y = np.meshgrid(np.linspace(-1.7, 1.7, 120), np.linspace(-0.6, 1.7, 90))
    for (name, goal), ink in zip(GOALS.items(), TASK_INK, strict=False):
        rings = np.hypot(x - goal[0], y - goal[1])
        left.contour(x, y, rings, [0.4, 0.8, 1.2, 1.6], colors=[ink], alpha=0.3)
        left.text(goal[0], goal[1] - 0.35, name, ha="center", color=ink, fontsize=13)
        left.plot(*goal, "+", color=ink, ms=12)
        right.axhline(goal[0], color=ink, lw=0.8)
    for (scheme, name), width in zip(SCHEMES.items(), (5, 2.5, 2.5, 1.5), strict=True):
        way = descent(scheme, k, floor, STARTS[start])
        left.plot(*way.T, color=INK[scheme], lw=width, label=name)
        left.plot(*way[-1], "o", color=INK[scheme], ms=9)
        right.plot(way[:, 0], color=INK[scheme], lw=width)
    left.set(title=f"$10^{{{k}}} L_A$ and $L_B$, floor {floor:g}", xlim=(-1.7, 1.7), ylim=(-0.6, 1.7), aspect="equal")
    left.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    right.set(xlabel="step", ylabel="x", ylim=(-1.15, 1.15), **AB)
    return figure
