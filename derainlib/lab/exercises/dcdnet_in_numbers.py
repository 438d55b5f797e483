"""Exercises of `06b_dcdnet_in_numbers.ipynb`."""

from derainlib.lab.exercises import Exercise


def _multiplied(stages, stage=13_664, refinement=2_784):
    return stages * stage + sum(9 * t for t in range(2, stages + 1)) + refinement


multiplications = Exercise(
    """
    **Exercise 1. Stored once, multiplied T times.** One stage of DCDNet has 13,664 weights (biases apart: they are
    added), the refinement 2,784, and the outer fusion of stage $t$ has $9 t$, from $t = 2$ on. Write
    `multiplied(stages)`: how many multiplications does a pixel cost in a network of `stages` stages?
    """,
    answer=_multiplied,
    cases=[(4,), (12,), (1,), (2,), (24,)],
    slips={
        "That is what is *stored*: the weights of a stage are used in every stage.": (
            lambda stages: 13_664 + sum(9 * t for t in range(2, stages + 1)) + 2_784
        ),
        "The refinement comes once, behind the last stage.": lambda stages: _multiplied(stages) + (stages - 1) * 2_784,
        "The refinement is missing.": lambda stages: _multiplied(stages) - 2_784,
        "The outer fusions are missing.": lambda stages: stages * 13_664 + 2_784,
        "The first stage sees one image and has no fusion.": lambda stages: _multiplied(stages) + 9,
        "Each fusion runs once, in its own stage.": (
            lambda stages: stages * (13_664 + sum(9 * t for t in range(2, stages + 1))) + 2_784
        ),
    },
    tolerance=1e-7,
    hints=(
        "Which weights run in every stage, which in one, and which behind them all?",
        "T times a stage, once each fusion, once the refinement.",
        "13,664 T + 9 (2 + … + T) + 2,784.",
    ),
    why="57,521 at T = 4 and 167,445 at T = 12: three times the stages cost nearly three times the work, and 636 more "
    "weights. QSNet, with 39,602 parameters and no stages, multiplies less than DCDNet at T = 4.",
)


def _outer_parameters(stages):
    return sum(3 * 3 * t + 3 for t in range(2, stages + 1))


outer_parameters = Exercise(
    """
    **Exercise 2. What is not shared.** Write `outer_parameters(stages)`: the weights and biases of all outer 1 × 1
    fusions together, in a network of `stages` stages. The first stage has none, as it sees $O_0$ alone; every image
    has three channels, and so has every fusion.
    """,
    answer=_outer_parameters,
    cases=[(12,), (4,), (2,), (1,), (24,)],
    slips={
        "The first stage sees one image and has no fusion.": lambda stages: sum(
            9 * t + 3 for t in range(1, stages + 1)
        ),
        "The last stage has a fusion as well.": lambda stages: sum(9 * t + 3 for t in range(2, stages)),
        "The biases are missing: three for each fusion.": lambda stages: sum(9 * t for t in range(2, stages + 1)),
        "Three channels come out as well: 3t in times 3 out.": lambda stages: sum(
            3 * t + 3 for t in range(2, stages + 1)
        ),
        "Not every fusion is as large as the last one.": lambda stages: (stages - 1) * (9 * stages + 3),
        "They are what the stages do *not* share.": lambda stages: 0,
    },
    hints=(
        "Stage t sees O_{t-1}, …, O_0: how many channels are these side by side?",
        "3t channels in, 3 out, and 3 biases.",
        "Add 9t + 3 up, for t from 2 on.",
    ),
    why="(9T² + 15T − 24) / 2, or 726 at T = 12. Twice the stages cost nearly four times that: what is not shared "
    "grows with T².",
)
