"""Exercises of `04_decomposition_by_descent.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _edges(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of two layers, of either sign, some of them zero."""
    draws = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(seed))
    return tuple(draws * (draws.abs() > 0.4))


def _excess(a, b):
    return a.abs() + b.abs() - (a + b).abs()


excess = Exercise(
    """
    **Exercise 1. What an overlap costs.** At a pixel the rain has the derivative `a` and the background the derivative
    `b`, so the photograph has a + b. Write `excess(a, b)`: by how much quasi-sparsity charges this split more than
    leaving everything in one layer. Then say in words when it is zero.
    """,
    answer=_excess,
    cases=[_edges(seed) for seed in (1, 2, 3)],
    wrong=[
        lambda a, b: a.abs() + b.abs(),
        lambda a, b: torch.minimum(a.abs(), b.abs()),
        lambda a, b: 2 * torch.minimum(a.abs(), b.abs()),
        lambda a, b: torch.minimum(a.abs(), b.abs()) * (a * b < 0),
        lambda a, b: (a.abs() - b.abs()).abs(),
        lambda a, b: 2 * torch.minimum(a.abs(), b.abs()) * (a * b > 0),
    ],
    hints=(
        "Split: |a| + |b|. All in one layer: |a + b| + |0|.",
        "Subtract the second from the first.",
    ),
    why="It is 2·min(|a|, |b|) where the signs differ, and zero where they agree or one of the two is zero. So it is "
    "blind to streaks on a plain wall, and to any edge that both layers share in the same direction.",
)


def _threshold(filters):
    return 1 / (4 * sum(abs(tap) for taps in filters for tap in taps))


threshold = Exercise(
    """
    **Exercise 2. When the truth wins.** The notebook's bound of 1/24 is for the filters [−1, 1] and [1, −2, 1], each
    used across and down, on both layers. Write `threshold(filters)` for any list of filters, each a list of its taps:
    the ratio λ_Q/λ_C up to which the truth is sure to be the minimum of λ_Q L_Q + λ_C L_C.
    """,
    answer=_threshold,
    cases=[([[-1, 1], [1, -2, 1]],), ([[-1, 1]],), ([[-1, 1], [1, -2, 1], [-1, 3, -3, 1]],), ([[0.5, -0.5]],)],
    wrong=[
        lambda filters: 1 / 24,
        lambda filters: 1 / (2 * sum(abs(tap) for taps in filters for tap in taps)),
        lambda filters: 1 / (4 * sum(max(map(abs, taps)) for taps in filters)),
        lambda filters: 1 / (4 * len(filters)),
        lambda filters: 4 * sum(abs(tap) for taps in filters for tap in taps),
    ],
    hints=(
        "How many responses does one pixel take part in, and with which factors?",
        "A filter that slides over a pixel meets it once with each tap, so it can change by the sum of |taps|.",
        "Twice for across and down, twice for the two layers. Content changes by λ_C for one unit of error.",
    ),
    why="The first derivatives alone leave content more room: 1/8. The bound is safe for any scene; on most scenes "
    "the truth holds out a little longer, since not all responses can turn against a pixel at once.",
)


def _rains(seed: int, count: int) -> tuple[torch.Tensor]:
    """Layers of rain that are zero in about half of their pixels."""
    draws = torch.rand(count, 4, 5, generator=torch.Generator().manual_seed(seed))
    return ((draws - 0.5).clamp(min=0),)


def _cheapest(rains):
    return rains.median(dim=0).values


cheapest = Exercise(
    """
    **Exercise 3. Not knowing.** A network cannot tell which of K layers of rain, `rains` of shape (K, H, W) with K odd,
    lies on the photograph; all are equally likely. Write `cheapest(rains)`: the one layer (H, W) for which the content
    loss, averaged over the K cases, is smallest.
    """,
    answer=_cheapest,
    cases=[_rains(1, 5), _rains(2, 3), _rains(3, 7)],
    wrong=[
        lambda rains: rains.mean(0),
        lambda rains: rains.amax(0),
        lambda rains: rains.amin(0),
        lambda rains: (rains > 0).float().mean(0),
        lambda rains: rains[0],
        lambda rains: rains.square().mean(0).sqrt(),
    ],
    hints=(
        "Each pixel can be answered by itself.",
        "Move the answer up a little: how many of the K terms |r − r_k| grow, and how many shrink?",
        "It is at rest where as many r_k lie above as below.",
    ),
    why="Where it rains in fewer than half of the cases the median is dry: a network trained with L1 leaves faint, "
    "unlikely rain alone. The squared error would ask for the mean, a grey haze that is right in none of the cases.",
)
