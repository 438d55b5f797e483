"""Exercises of `06_dcdnet.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _fuse(weight, maps):
    parts = weight.split(maps[0].shape[0], dim=1)
    return sum(torch.einsum("oc,chw->ohw", part, x) for part, x in zip(parts, reversed(maps), strict=True))


def _numbered(*shape, step=0.37):
    """Irregular values, always the same."""
    return (step * torch.arange(1.0, 1 + torch.Size(shape).numel())).sin().reshape(shape)


fuse = Exercise(
    """
    **Exercise 1. Side by side, or one by one.** `maps` is a list of feature maps, each (C, H, W), the *oldest first*;
    `weight`, (K, k·C), belongs to a 1 × 1 convolution of all k maps laid side by side, the *newest first*, as in Eq. 2
    and 3. Write `fuse(weight, maps)`, which gives its result, (K, H, W), and never concatenates anything.
    """,
    answer=_fuse,
    cases=[
        (_numbered(3, 6), [_numbered(3, 4, 5), _numbered(3, 4, 5, step=0.9)]),
        (_numbered(2, 6, step=0.7), [_numbered(2, 3, 3, step=s) for s in (0.2, 0.5, 1.1)]),
        (_numbered(3, 3), [_numbered(3, 2, 4)]),
        (_numbered(1, 4), [_numbered(1, 2, 2, step=s) for s in (0.3, 0.6, 1.3, 1.7)]),
    ],
    slips={
        "The newest map comes first in `weight`, and last in `maps`.": lambda weight, maps: _fuse(weight, maps[::-1]),
        "That is the newest map alone.": lambda weight, maps: _fuse(weight[:, : len(maps[0])], maps[-1:]),
        "A convolution of maps side by side is the sum of theirs, not the mean.": (
            lambda weight, maps: _fuse(weight, maps) / len(maps)
        ),
        "Each map has weights of its own: neither maps nor weights may be added up first.": (
            lambda weight, maps: torch.einsum(
                "oc,chw->ohw", weight.unflatten(1, (len(maps), len(maps[0]))).sum(1), sum(maps)
            )
        ),
        "The columns belong to maps in blocks of C, not in turn.": (
            lambda weight, maps: _fuse(weight.unflatten(1, (len(maps[0]), len(maps))).mT.flatten(1), maps)
        ),
    },
    hints=(
        "Write down what the convolution computes at one pixel, for two maps of one channel each.",
        "A sum over all channels is a sum over the maps of the sums over the channels of each.",
        "Cut `weight` into k pieces of C columns. The first piece belongs to `maps[-1]`.",
    ),
    why="So each map can be added to all the fusions that will want it as soon as it is there, and then be forgotten: "
    "`derainlib.models.dcdnet.DenseFusion`.",
)


def _seen(dilations):
    offsets = {0}
    for dilation in dilations:
        offsets = {offset + step for offset in offsets for step in (-dilation, 0, dilation)}
    return len(offsets)


seen = Exercise(
    """
    **Exercise 2. Holes.** 3 × 3 convolutions of the given dilations follow one another, with nothing between them and
    no dense connections. Write `columns_seen(dilations)`: on how many *different columns* of the input does one output
    pixel depend?
    """,
    answer=_seen,
    cases=[((1, 2, 4, 8),), ((8, 8, 8, 8),), ((1, 3, 9),), ((4, 4, 6),), ((1, 1, 1, 1),)],
    slips={
        "That is the width of the square: there may be holes in it.": lambda dilations: 1 + 2 * sum(dilations),
        "That counts paths: several may end in one column.": lambda dilations: 3 ** len(dilations),
        "That holds for dilations of 1 only.": lambda dilations: 1 + 2 * len(dilations),
        "The convolutions follow one another: their offsets add up.": lambda dilations: 1 + 2 * max(dilations),
        "Dividing the width by the first dilation is right only where all are multiples of it, without gaps.": (
            lambda dilations: 1 + 2 * sum(dilations) // dilations[0]
        ),
        "That counts pixels: the question is for columns.": lambda dilations: _seen(dilations) ** 2,
    },
    hints=(
        "One convolution of dilation d sees the columns −d, 0 and d.",
        "Each further convolution moves every column seen so far by its −d, 0 and d.",
        "Collect the offsets in a set, which keeps each of them once.",
    ),
    why="31 for 1, 2, 4, 8, which is all there are; 9 for 8, 8, 8, 8, which reach twice as far and see every eighth "
    "column. Powers of three waste nothing: 1, 3, 9 see 27 columns, as many as 3³ paths can.",
)


def _reach(dilations, stages, refinement):
    return stages * (1 + sum(dilations) + 1) + 2 * refinement


reach = Exercise(
    """
    **Exercise 3. How far it sees.** Write `reach(dilations, stages, refinement)`: how many pixels to each side can a
    pixel of the result depend on? A stage has two plain 3 × 3 convolutions, $f$ and $r$, and one 3 × 3 convolution for
    each number in `dilations`; `refinement` is True or False, and stands for Eq. 5.
    """,
    answer=_reach,
    cases=[((1, 2, 4, 8), 12, True), ((1, 2, 4, 8), 1, False), ((1, 1, 1, 1), 3, True), ((2, 5), 4, False)],
    slips={
        "f and r reach a pixel each, in every stage.": (
            lambda dilations, stages, refinement: stages * sum(dilations) + 2 * refinement
        ),
        "The refinement reaches farther as well.": lambda dilations, stages, refinement: stages * (2 + sum(dilations)),
        "Convolutions in a row add their reaches up: the largest dilation is not enough.": (
            lambda dilations, stages, refinement: stages * (2 + max(dilations)) + 2 * refinement
        ),
        "The refinement's last convolution is 1 × 1, and looks at its own pixel only.": (
            lambda dilations, stages, refinement: stages * (2 + sum(dilations)) + 3 * refinement
        ),
        "That is one stage: the stages follow one another.": (
            lambda dilations, stages, refinement: (2 + sum(dilations)) + 2 * refinement
        ),
        "That is the side of the square: the question is how far it goes to each side.": (
            lambda dilations, stages, refinement: 2 * (stages * (2 + sum(dilations)) + 2 * refinement) + 1
        ),
        "The refinement comes once, behind the last stage.": (
            lambda dilations, stages, refinement: stages * (2 + sum(dilations) + 2 * refinement)
        ),
    },
    hints=(
        "Convolutions in a row add their reaches up; a 1 × 1 convolution looks at its own pixel only.",
        "A 3 × 3 convolution of dilation d reaches d pixels to each side.",
        "A stage: 1 + the sum of the dilations + 1. The refinement: two 3 × 3 convolutions, once.",
    ),
    why="206 pixels at T = 12: a square of 413 × 413. `halo` of the network says so, and tiles overlap by it.",
)
