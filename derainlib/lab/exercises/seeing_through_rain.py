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
    wrong=[
        lambda labels: _counted(labels).max() / _counted(labels).sum(),
        lambda labels: _counted(labels).max() / _counted(labels).sum() / 11,
        lambda labels: _counted(labels).max() / labels.numel() / (_counted(labels) > 0).sum(),
        lambda labels: _counted(labels).max() / _counted(labels).sum() / len(labels.unique()),
        lambda labels: 1 / (_counted(labels) > 0).sum(),
    ],
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
    wrong=[
        lambda counts: _iou(counts).nanmean(),
        lambda counts: _iou(counts).nanmean(1).mean(),
        lambda counts: _iou(counts).nanmean(0).nanmean(),
        lambda counts: _iou(counts.sum(0)).nan_to_num().mean(),
        lambda counts: _iou(counts.sum(0)).mean(),
        lambda counts: (counts.sum(0).diagonal() / counts.sum((0, 2))).nanmean(),
        lambda counts: counts.sum(0).trace() / counts.sum(),
    ],
    hints=(
        "First add the matrices of all images, then look at one matrix only.",
        "The diagonal is the intersections; a union is the row's sum plus the column's sum less the intersection.",
        "A class that occurs nowhere gives 0/0 = NaN: take `nanmean`.",
    ),
    why="Averaging each image's mIoU answers another question, and its answer depends on how photographs were cropped: "
    "cut each one into halves, and pooled counts stay as they were.",
)


def _highest_miou(accuracy, classes):
    return (classes - 2 + 2 * accuracy / (2 - accuracy)) / classes


highest_miou = Exercise(
    """
    **Exercise 3. Nearly always wrong, and yet.** In one row of Table VI the mIoU is higher than the accuracy. Can that
    be? Write `highest_miou(accuracy, classes)`: the value that the mIoU of a reader with this accuracy comes as near to
    as you like, but cannot exceed. All of the `classes` (2 or more) occur.
    """,
    answer=_highest_miou,
    cases=[(0.115, 19), (0.5, 2), (0.9, 11), (0.0, 4), (0.3, 3)],
    wrong=[
        lambda accuracy, classes: accuracy,
        lambda accuracy, classes: (classes - 1) / classes,
        lambda accuracy, classes: (classes - 2) / classes,
        lambda accuracy, classes: (classes - 1 + accuracy) / classes,
        lambda accuracy, classes: (classes - 2 + accuracy) / classes,
        lambda accuracy, classes: (classes - 2 + 2 * accuracy) / classes,
        lambda accuracy, classes: 1.0,
    ],
    hints=(
        "A class can be as small as a pixel, and if that one is right, its IoU is 1. So let all mistakes be of one "
        "kind: pixels of class a that are read as b. How many classes do they harm?",
        "Let x be the share of pixels that are a and read so, y likewise for b, and e = 1 − accuracy the mistakes. The "
        "two IoUs are x / (x + e) and y / (y + e), with x + y no more than the accuracy.",
        "Both curves flatten out, so x = y = accuracy / 2 is best: two IoUs of accuracy / (2 − accuracy), and all the "
        "others 1.",
    ),
    why="About 0.9 for an accuracy of 0.115 and 19 classes. So the printed row is possible: for a reader who takes "
    "most of the picture for one wrong class, and reads small things well. Rain does not make such readers.",
)
