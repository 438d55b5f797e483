"""Exercises of `14_train.ipynb`."""

import math

from derainlib.lab.exercises import Exercise


def _learning_rate(step, steps):
    drops = sum(step / steps >= milestone for milestone in (0.3, 0.5, 0.8))
    return 1e-3 * 0.2**drops


learning_rate = Exercise(
    """
    **Exercise 1.** Ren et al. train with Adam at 10⁻³ and multiply the rate by 0.2 at 30 %, 50 % and 80 % of the
    training. Write `learning_rate(step, steps)`, with steps counted from 0.
    """,
    answer=_learning_rate,
    cases=[(0, 100), (29, 100), (30, 100), (55, 100), (80, 100), (999, 1000)],
    slips={
        "The step that reaches a milestone has the lower rate already: ≥, not >.": (
            lambda step, steps: 1e-3 * 0.2 ** sum(step / steps > milestone for milestone in (0.3, 0.5, 0.8))
        ),
        "That is the quick scale's cosine; the paper's rate falls in three steps.": (
            lambda step, steps: 1e-3 * (1 + math.cos(math.pi * step / steps)) / 2
        ),
        "The rate falls once for each milestone reached: 0.2 to the power of their number.": (
            lambda step, steps: 1e-3 * (0.2 if step / steps >= 0.3 else 1)
        ),
        "Before the first milestone nothing is multiplied.": lambda step, steps: 1e-3 * 0.2,
        "Adam's 10⁻³ at the start is missing.": lambda step, steps: 1e3 * _learning_rate(step, steps),
    },
    hints=(
        "How many of the three milestones has `step / steps` reached?",
        "Each drop multiplies once more: 0.2 ** drops.",
    ),
    why="At step 30 of 100 the first drop has happened already: a milestone counts from the step that reaches it.",
)


def _steps(stride):
    across, down = ((side - 100) // stride + 1 for side in (481, 321))
    return 100 * 1_254 * across * down // 12


steps_of_the_paper = Exercise(
    """
    **Exercise 2.** BRN's training set has 1,254 images of 481x321 pixels, and is trained for 100 epochs with 12 patches
    a step. Patches of 100x100 are cut on a grid; the paper does not name its stride. The authors' scripts of BRN have
    100, those of their PReNet, whose reading our recipes follow, 80. Write `steps_at(stride)`: how many steps is that?
    """,
    answer=_steps,
    cases=[(80,), (100,), (50,), (221,)],
    wrong=[lambda stride: 156_750, lambda stride: 125_400],
    slips={
        "A window must fit: its last place starts 100 pixels before the edge.": (
            lambda stride: 100 * 1_254 * (481 // stride) * (321 // stride) // 12
        ),
        "That is one epoch; there are 100.": (
            lambda stride: 1_254 * ((481 - 100) // stride + 1) * ((321 - 100) // stride + 1) // 12
        ),
        "Places across and places down are multiplied, not added: the patches lie on a grid.": (
            lambda stride: 100 * 1_254 * ((481 - 100) // stride + 1 + (321 - 100) // stride + 1) // 12
        ),
        "Those are patches; a step takes 12 of them.": lambda stride: 12 * _steps(stride),
        "The first place counts too: floor((side − 100) / stride) + 1.": (
            lambda stride: 100 * 1_254 * ((481 - 100) // stride) * ((321 - 100) // stride) // 12
        ),
    },
    hints=(
        "How many places does a window of 100 have along 481 pixels, and how many along 321?",
        "At a stride of 80: floor((481 − 100) / 80) + 1 = 5 and floor((321 − 100) / 80) + 1 = 3, 15 patches an image.",
    ),
    why="At 80, 15 patches an image, 18,810 an epoch and 156,750 steps; at 100, 12 patches, 15,048 and 125,400. "
    "A fifth of the training hangs on a number that the paper does not print.",
)

samples_of_a_process = Exercise(
    """
    **Exercise 3.** Step s takes the next `batch` samples of the stream, dealt out to `world` processes as cards are:
    the first one to process 0, the next one to process 1, and so on in turn. Write `share(step, batch, rank, world)`:
    the list of stream positions that process `rank` works on.
    """,
    answer=lambda step, batch, rank, world: list(range(step * batch + rank, (step + 1) * batch, world)),
    cases=[(0, 4, 0, 2), (0, 4, 1, 2), (3, 8, 2, 4), (5, 6, 0, 1)],
    slips={
        "That is the whole step: each process takes its own share of it.": (
            lambda step, batch, rank, world: list(range(step * batch, (step + 1) * batch))
        ),
        "That is step 0: step s begins at s · batch.": lambda step, batch, rank, world: list(range(rank, batch, world)),
        "Shares in one piece would do as well, but these are dealt out in turn.": (
            lambda step, batch, rank, world: [
                step * batch + rank * (batch // world) + place for place in range(batch // world)
            ]
        ),
        "Each step takes `batch` samples over all processes, not for each of them.": (
            lambda step, batch, rank, world: list(range(step * batch * world + rank, (step + 1) * batch * world, world))
        ),
        "Processes are counted from 0: the first one takes the step's first sample.": (
            lambda step, batch, rank, world: list(range(step * batch + rank + 1, (step + 1) * batch + 1, world))
        ),
    },
    hints=(
        "The step's positions run from step · batch to (step + 1) · batch.",
        "Take every `world`-th, from `rank` on.",
    ),
    why="No state is needed: whoever starts at step s knows its samples, which is why a killed run resumes exactly.",
)
