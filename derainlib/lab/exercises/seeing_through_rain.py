"""Exercises of `09_seeing_through_rain.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _lazy(labels):
    counts = torch.bincount(labels[labels != 255], minlength=11)
    present = (counts > 0).sum()
    return counts.max() / counts.sum() / present


def _counted(labels):
    return torch.bincount(labels[labels != 255])


def _street(seed: int, classes: int) -> torch.Tensor:
    """A made-up map of labels in which classes differ in size, with pixels that have none."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(classes, generator=generator).square() + 0.02
    labels = torch.multinomial(share, 600, replacement=True, generator=generator).view(1, 20, 30)
    return labels.masked_fill(torch.rand(1, 20, 30, generator=generator) < 0.15, 255)


lazy = Exercise(
    """
    **Exercise 1. The lazy reader.** It has learned which class is the largest, and reads nothing else, in every pixel.
    Write `lazy(labels)`: its mIoU on a street with `labels`, a tensor of whole numbers 0 … 10, and 255 where a pixel
    has no class.
    """,
    answer=_lazy,
    cases=[(_street(1, 11),), (_street(2, 11),), (_street(3, 6),), (_street(4, 3),)],
    slips={
        "That is its accuracy; only one class of several has any IoU.": (
            lambda labels: _counted(labels).max() / _counted(labels).sum()
        ),
        "You divided by 11: classes that do not occur are left out of the mean.": (
            lambda labels: _counted(labels).max() / _counted(labels).sum() / 11
        ),
        "Pixels without a class are in your union; they are in no sum.": (
            lambda labels: _counted(labels).max() / labels.numel() / (_counted(labels) > 0).sum()
        ),
        "You counted 255 as a class.": (
            lambda labels: _counted(labels).max() / _counted(labels).sum() / len(labels.unique())
        ),
        "Even the class that it reads has no IoU of 1: all other pixels are in its union.": (
            lambda labels: 1 / (_counted(labels) > 0).sum()
        ),
    },
    hints=(
        "Only one class has an intersection at all. What is its union with everything that was read as it?",
        "All pixels that count were read as it, so its IoU is its share of them. The other classes have an IoU of 0.",
        "Divide by the number of classes that occur, not by 11: the others are left out. And 255 is no class.",
    ),
    why="Its accuracy is the share of the largest class, a third or so on a street; its mIoU is that divided by the "
    "number of classes. A score below this one says that a reader has learned less than that.",
)


def _pooled(counts):
    counts = counts.sum(0).double()
    hits = counts.diagonal()
    return (hits / (counts.sum(0) + counts.sum(1) - hits)).nanmean()


def _iou(counts):
    hits = counts.diagonal(dim1=-2, dim2=-1).double()
    return hits / (counts.sum(-1) + counts.sum(-2) - hits)


def _counts(seed: int, images: int) -> torch.Tensor:
    """Confusion matrices of images that do not all show every class; class 4 occurs in none."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 30, (images, 5, 5), generator=generator)
    counts += torch.diag_embed(torch.randint(0, 300, (images, 5), generator=generator))
    counts[0, :, seed % 4] = counts[0, seed % 4] = 0
    counts[:, :, 4] = counts[:, 4] = 0
    return counts


pooled = Exercise(
    """
    **Exercise 2. One mIoU for many images.** `counts`, of shape (N, K, K), holds the confusion matrix of each image:
    row the true class, column the class that was read. Write `pooled(counts)`: the mIoU as benchmarks count it. A class
    that occurs nowhere, neither in the truth nor in what was read, is left out.
    """,
    answer=_pooled,
    cases=[(_counts(1, 4),), (_counts(2, 3),), (_counts(3, 6),)],
    slips={
        "You averaged over images and classes at once; add the matrices first.": lambda counts: _iou(counts).nanmean(),
        "That is the mean of each image's mIoU; add the matrices first.": (
            lambda counts: _iou(counts).nanmean(1).mean()
        ),
        "You averaged each class over images; add the matrices first.": (
            lambda counts: _iou(counts).nanmean(0).nanmean()
        ),
        "A class that occurs nowhere counts as 0 in your mean; leave it out.": (
            lambda counts: _iou(counts.sum(0)).nan_to_num().mean()
        ),
        "The union is missing what was wrongly read *as* the class: that is recall.": (
            lambda counts: (counts.sum(0).diagonal() / counts.sum((0, 2))).nanmean()
        ),
        "That is the accuracy, in which every pixel has one vote.": (
            lambda counts: counts.sum(0).trace() / counts.sum()
        ),
    },
    hints=(
        "First add the matrices of all images, then look at one matrix only.",
        "The diagonal is the intersections; a union is the row's sum plus the column's sum less the intersection.",
        "A class that occurs nowhere gives 0/0 = NaN: take `nanmean`.",
    ),
    why="Averaging each image's mIoU answers another question, and its answer depends on how photographs were cropped: "
    "cut each one into halves, and pooled counts stay as they were.",
)
