"""Exercises of `15_ablation_studies.ipynb`."""

import itertools

import numpy as np

from derainlib.lab.ablations import STUDENT
from derainlib.lab.exercises import Exercise


def _pairs(paper, ours):
    """The differences of every two rows, the paper's and ours: two arrays."""
    found = [(paper[j] - paper[i], ours[j] - ours[i]) for i, j in itertools.combinations(range(len(paper)), 2)]
    return np.array(found).T


def _confirmed(paper, ours):
    theirs, mine = _pairs(paper, ours)
    return (theirs * mine > 0).sum() / (theirs != 0).sum()


def _neighbours(paper, ours):
    return (np.diff(paper) * np.diff(ours) > 0).mean()


def _over_the_first(paper, ours):
    return ((paper[1:] - paper[0]) * (ours[1:] - ours[0]) > 0).mean()


confirmed = Exercise(
    """
    **Exercise 1. Whose order?** `paper` and `ours` are arrays (n,): the score of each row of a table, in the paper and
    here, in decibels. Write `confirmed(paper, ours)`: of all orderings of two rows that the paper gives, the share that
    ours confirms. Where the paper has two rows equal, it gives no ordering; where ours has, it confirms none.
    """,
    answer=_confirmed,
    cases=[
        (np.array([29.94, 31.70, 32.03, 33.15]), np.array([28.9, 28.7, 29.3, 28.6])),
        (np.array([20.0, 21.0, 21.0, 22.5, 20.5]), np.array([3.0, 5.0, 4.0, 6.0, 7.0])),
        (np.array([30.04, 30.22, 30.01, 30.47]), np.array([19.0, 19.0, 18.5, 19.25])),
        (np.array([1.0, 4.0, 2.0, 3.0]), np.array([2.0, 8.0, 4.0, 6.0])),
    ],
    slips={
        "That is Kendall's tau, from −1 to 1; what is asked for is the share, from 0 to 1.": lambda paper, ours: (
            2 * _confirmed(paper, ours) - 1
        ),
        "Two rows that the paper has equal are no ordering: leave them out of the number you divide by.": (
            lambda paper, ours: (np.prod(_pairs(paper, ours), axis=0) > 0).mean()
        ),
        "Where our rows are equal, or the paper's, nothing is confirmed: ask for more than zero.": lambda paper, ours: (
            np.prod(_pairs(paper, ours), axis=0) >= 0
        ).mean(),
        "Only neighbours in the table are compared: take every two rows.": _neighbours,
        "Only the first row is compared with the others: take every two rows.": _over_the_first,
        "A correlation asks how far apart rows are as well, and one row can decide it: count orderings.": (
            lambda paper, ours: np.corrcoef(paper, ours)[0, 1]
        ),
        "That counts rows that have the same place: one row too high moves all below it.": lambda paper, ours: (
            paper.argsort() == ours.argsort()
        ).mean(),
    },
    hints=(
        "Take two rows. When have the paper's difference and ours the same sign?",
        "`itertools.combinations(range(n), 2)` has every two rows once. The product of both differences is positive.",
        "Divide by the number of pairs whose difference is not zero in the paper.",
    ),
    why="`derainlib.lab.coverage.agreement` counts so, over all sets of a table. The share s and Kendall's tau say the "
    "same: tau = 2 s − 1, as long as no rows are equal.",
)


def _student(row, reference):
    differences = row - reference
    half = STUDENT[len(differences)] * differences.std(ddof=1) / len(differences) ** 0.5
    return differences.mean() - half, differences.mean() + half


def _around(differences, half):
    return differences.mean() - half, differences.mean() + half


def _spread(row, reference, ddof=1):
    return (row - reference).std(ddof=ddof) / len(row) ** 0.5


def _trained(seeds: int, of: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two rows by seed: what a seed does, it does to both."""
    draw = np.random.default_rng(of)
    shared = draw.normal(28, 0.6, seeds)
    return shared + draw.normal(0.3, 0.2, seeds), shared


interval = Exercise(
    """
    **Exercise 2. An interval that knows of seeds.** `row` and `reference` are arrays (n,): the scores of two rows of a
    table, by seed, the same seeds in the same order, which had the same first weights and samples. Write
    `interval(row, reference)`: the two ends of Student's 95 % interval of the mean difference. `STUDENT[n]`, from
    `derainlib.lab.ablations`, is the number of standard errors of n values that it reaches to each side.
    """,
    answer=_student,
    cases=[_trained(2, 1), _trained(3, 2), _trained(5, 3), _trained(10, 4)],
    slips={
        "1.96 belongs to many values. Of two, an interval reaches 12.7 standard errors: take `STUDENT[n]`.": (
            lambda row, reference: _around(row - reference, 1.96 * _spread(row, reference))
        ),
        "The standard deviation divides by n − 1 here, which NumPy does not by itself: `ddof=1`.": (
            lambda row, reference: _around(row - reference, STUDENT[len(row)] * _spread(row, reference, ddof=0))
        ),
        "That is where another seed would fall, roughly, not the mean: a mean of n is √n times as certain.": (
            lambda row, reference: _around(row - reference, STUDENT[len(row)] * (row - reference).std(ddof=1))
        ),
        "The rows are treated as if they were strangers. What a seed does to both cancels: take differences first.": (
            lambda row, reference: _around(
                row - reference,
                STUDENT[len(row)] * ((row.var(ddof=1) + reference.var(ddof=1)) / len(row)) ** 0.5,
            )
        ),
        "The smallest and the largest difference: with two seeds, the mean lies outside as often as not.": (
            lambda row, reference: ((row - reference).min(), (row - reference).max())
        ),
        "That is the interval of the row's own score; asked for is the difference to the reference.": (
            lambda row, reference: _student(row, 0 * reference)
        ),
    },
    hints=(
        "First one difference a seed; then forget the rows.",
        "A standard error is the standard deviation (with n − 1) over √n.",
        "Mean − STUDENT[n] · error, mean + STUDENT[n] · error.",
    ),
    why="With two seeds it reaches nine standard deviations to each side, with five 1.2, with ten 0.7. The bootstrap "
    "interval of our reports draws from the seeds that there are, so that with two it is far narrower: read it as the "
    "least that is uncertain.",
    tolerance=1e-3,
)
