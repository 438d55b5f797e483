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
    slips={
        "That is what the split costs: take away what one layer alone would.": (lambda a, b: a.abs() + b.abs()),
        "Half of it, and where the signs agree nothing is paid.": (lambda a, b: torch.minimum(a.abs(), b.abs())),
        "Right where the signs differ: where they agree nothing is paid.": (
            lambda a, b: 2 * torch.minimum(a.abs(), b.abs())
        ),
        "Half of it: what one layer gives and the other takes back is paid twice.": (
            lambda a, b: torch.minimum(a.abs(), b.abs()) * (a * b < 0)
        ),
        "That is |a + b| where the signs differ: what one layer alone costs, not the excess.": (
            lambda a, b: (a.abs() - b.abs()).abs()
        ),
        "The other way round: edges of one sign cost nothing extra.": (
            lambda a, b: 2 * torch.minimum(a.abs(), b.abs()) * (a * b > 0)
        ),
    },
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
    slips={
        "That is for the notebook's two filters: let it depend on `filters`.": (lambda filters: 1 / 24),
        "Each filter is used across and down, *and* on both layers: four times.": (
            lambda filters: 1 / (2 * sum(abs(tap) for taps in filters for tap in taps))
        ),
        "A pixel meets every tap of a filter, not the largest alone: add their sizes up.": (
            lambda filters: 1 / (4 * sum(max(map(abs, taps)) for taps in filters))
        ),
        "That counts the filters: what they multiply by counts as well.": (lambda filters: 1 / (4 * len(filters))),
        "Upside down: the more the filters can gain, the smaller their weight must be.": (
            lambda filters: 4 * sum(abs(tap) for taps in filters for tap in taps)
        ),
        "The exponent of the sizes is 1: a filter answers a change by |tap| times it.": (
            lambda filters: 1 / (4 * sum(tap**2 for taps in filters for tap in taps))
        ),
    },
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
    slips={
        "That is the mean, which the *squared* error asks for.": (lambda rains: rains.mean(0)),
        "That is the most rain that there may be: it is wrong in most cases.": (lambda rains: rains.amax(0)),
        "That is the least rain that there may be: it is wrong in most cases.": (lambda rains: rains.amin(0)),
        "That is the probability of rain: asked for is a layer of rain.": (lambda rains: (rains > 0).float().mean(0)),
        "That is one of the cases: each pixel may be answered by another one.": (lambda rains: rains[0]),
        "That is a root mean square, above even the mean: the absolute error asks for something else.": (
            lambda rains: rains.square().mean(0).sqrt()
        ),
    },
    hints=(
        "Each pixel can be answered by itself.",
        "Move the answer up a little: how many of the K terms |r − r_k| grow, and how many shrink?",
        "It is at rest where as many r_k lie above as below.",
    ),
    why="Where it rains in fewer than half of the cases the median is dry: a network trained with L1 leaves faint, "
    "unlikely rain alone. The squared error would ask for the mean, a grey haze that is right in none of the cases.",
)
