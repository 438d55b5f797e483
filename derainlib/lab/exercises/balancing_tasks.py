"""Exercises of `11_balancing_tasks.ipynb`."""

import math

import torch

from derainlib.lab.exercises import Exercise


def _others(values):
    return torch.stack([torch.cat([values[:i], values[i + 1 :]]).sum() for i in range(len(values))])


def _weighted(losses):
    if len(losses) == 1:
        return losses.clone()
    total = losses.sum()
    return torch.zeros_like(losses) if total == 0 else losses * _others(losses) / total


weighted = Exercise(
    """
    **Exercise 2. A weight that is not lost.** Write `weighted(losses)`: the weighted losses $w_i L_i$ of Algorithm 2,
    for a float32 tensor (n,) of losses ≥ 0, in float32. A task alone keeps its loss; where all are zero, so is the
    result. One loss may be 10⁹ times the others.
    """,
    answer=_weighted,
    cases=[
        (torch.tensor([3.0, 1.0, 4.0]),),
        (torch.tensor([1.0, 1e8]),),
        (torch.tensor([2e9, 1.0, 3.0]),),
        (torch.tensor([0.0, 5.0]),),
        (torch.tensor([7.0]),),
        (torch.zeros(3),),
    ],
    slips={
        "In float32 that cancels, and so does `losses.sum() - losses`: add the others up without the i-th.": (
            lambda losses: torch.nan_to_num((1 - losses / losses.sum()) * losses)
        ),
        "Those are the weights: multiply them by the losses.": (
            lambda losses: _others(losses) / losses.sum().clamp_min(1e-30)
        ),
        "A task alone has nobody to be compared with: it keeps its loss.": (
            lambda losses: losses * _others(losses) / losses.sum().clamp_min(1e-30)
        ),
        "That is the share of the loss itself: a large loss gets a *small* weight.": (
            lambda losses: losses * losses / losses.sum().clamp_min(1e-30)
        ),
        "All weighted losses are 1 now: that is what w = 1 / L does.": lambda losses: losses / losses.clamp_min(1e-30),
    },
    hints=(
        "As printed, w = 1 − L / ΣL: in float32 a number just below 1 is known to 6 · 10⁻⁸. What is left of 1e−8?",
        "1 − L_i / ΣL is the sum of the *other* losses over the sum of all.",
        "`losses.sum() - losses` cancels as well: add the others up without the i-th, say in a matrix with an empty "
        "diagonal. Then look after n = 1 and a sum of 0.",
    ),
    why="`derainlib.losses.balance.balanced` does this, and first divides by the largest, so that the sum cannot "
    "overflow either.",
)


def _influence(norms):
    pulls = norms * _others(norms) / norms.sum()
    return pulls / pulls.sum()


influence = Exercise(
    """
    **Exercise 1. Who is heard?** The gradients of n ≥ 2 tasks on the shared layer have the norms `norms`, a float64
    tensor (n,). Write `influence(norms)`: after GB has given its weights, which share of all pulls together, $w_i g_i /
    \\sum_j w_j g_j$, has each task?
    """,
    answer=_influence,
    cases=[
        (torch.tensor([6.0, math.sqrt(3)], dtype=torch.float64),),
        (torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64),),
        (torch.tensor([1.0, 10.0, 1e7], dtype=torch.float64),),
        (torch.tensor([5.0, 5.0, 1e-6], dtype=torch.float64),),
    ],
    slips={
        "Those are the shares before the weighting: multiply each by its weight first.": lambda norms: (
            norms / norms.sum()
        ),
        "Those are GB's weights: a pull is weight times norm.": lambda norms: _others(norms) / norms.sum(),
        "Those are the shares of the weights: a pull is weight times norm.": (
            lambda norms: _others(norms) / _others(norms).sum()
        ),
        "Only two tasks are always heard alike.": lambda norms: torch.full_like(norms, 1 / len(norms)),
        "Those are the pulls: divide by their sum.": lambda norms: norms * _others(norms) / norms.sum(),
        "That would be the shares of 1 / g: GB's weight is 1 − g / Σg.": lambda norms: (1 / norms) / (1 / norms).sum(),
    },
    hints=(
        "With x = g_i / Σg the weight is 1 − x.",
        "The weighted pull is x (1 − x) Σg.",
        "Divide each by the sum of all of them; Σg cancels.",
    ),
    why="Two tasks always have a half each. Of three, a giant has a half, and the others share the other half in "
    "proportion to their own sizes: 1 : 10 stays 1 : 10. A dwarf beside two equals has nearly nothing.",
)


def _least_floor(distance):
    return distance**2 / 4


least_floor = Exercise(
    """
    **Exercise 3. How much noise makes peace?** Two tasks want the point $x$ at 0 and at $d$ = `distance`:
    $L_1 = x^2 + c$ and $L_2 = (x - d)^2 + c$, with the same floor $c$. LB follows
    $w_1 \\nabla L_1 + w_2 \\nabla L_2$. In the middle, $x = d / 2$, this is always zero. Write `least_floor(distance)`:
    from which $c$ on does LB come *back* to the middle when it is moved a little to one side?
    """,
    answer=_least_floor,
    cases=[(2.0,), (1.0,), (3.0,), (0.4,)],
    slips={
        "At x = d / 2 both squares are d² / 4: you have half a square.": lambda distance: distance**2 / 2,
        "The distance from the middle to a goal is d / 2, not d.": lambda distance: distance**2,
        "Square it: a floor is compared with squared distances.": lambda distance: distance / 2,
        "Each log's second derivative changes its sign at c = x²: there is no further half.": (
            lambda distance: distance**2 / 8
        ),
        "Without a floor the middle is a maximum of log L₁ + log L₂.": lambda distance: 0 * distance,
    },
    tolerance=1e-6,
    hints=(
        "For two tasks the direction is that of ∇L₁ / L₁ + ∇L₂ / L₂: the gradient of log L₁ + log L₂.",
        "So ask where the middle is a minimum of log L₁ + log L₂, and where a maximum.",
        "The second derivative of log(x² + c) has the sign of c − x², and in the middle x² = d² / 4 for both.",
    ),
    why="Below it LB goes to the side on which it happens to be: the smaller loss gets the larger weight. In the "
    "notebook's plane the two points are 2 apart, and the middle holds from c = 1 on.",
)
