"""Exercises of `03_sparsity_statistics.ipynb`."""

import math

import torch

from derainlib.lab.exercises import Exercise


def _bulge(exponent):
    return exponent ** (-1 / (exponent - 1)) * (1 - 1 / exponent)


bulge = Exercise(
    """
    **Exercise 1.** A density with ln p(x) = −|x/s|^a + constant is seen from its peak to any end X. Write
    `bulge(exponent)` for a > 1: how far its logarithm rises above the straight line, at most, as a share of the line's
    drop. Neither s nor X matters.
    """,
    answer=_bulge,
    cases=[(1.1,), (1.5,), (2.0,), (3.0,), (6.0,)],
    slips={
        "That is the Gaussian's, a = 2: the exponent counts.": (lambda exponent: 0.25),
        "That is right at a = 2 alone, and does not vanish as a → 1: find the maximum of u − u^a.": (
            lambda exponent: 1 / exponent**2
        ),
        "That is a straight line through the Laplacian's and the Gaussian's: the bulge never exceeds 1.": (
            lambda exponent: (exponent - 1) / 4
        ),
        "That is *where* the bulge is largest: asked for is how large.": (
            lambda exponent: exponent ** (-1 / (exponent - 1))
        ),
        "That is the height in the middle, u = ½: the maximum lies elsewhere.": (
            lambda exponent: 1 / 2 - 1 / 2**exponent
        ),
        "The exponent: a·u^(a − 1) = 1 has the solution u = a^(−1 / (a − 1)).": (
            lambda exponent: exponent ** (-1 / exponent) * (1 - 1 / exponent)
        ),
        "That is the area between curve and line: asked for is the largest height.": (
            lambda exponent: 1 / 2 - 1 / (exponent + 1)
        ),
    },
    hints=(
        "With u = |x|/X the curve falls as u^a and the line as u, both from 0 to 1.",
        "Maximise u − u^a over u in [0, 1].",
        "The derivative 1 − a·u^(a−1) is zero at u = a^(−1/(a−1)). Put that in, and take u out.",
    ),
    why="2 gives the Gaussian's 1/4, and a → 1 gives 0: the Laplacian is the borderline.",
)


def _m_step(x, shares):
    return (shares * x.abs()).sum(1) / shares.sum(1)


def _values(seed: int, count: int, components: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of both signs, and how much of each belongs to each component."""
    draws = torch.Generator().manual_seed(seed)
    x = 10 * torch.randn(count, generator=draws)
    return x, torch.softmax(2 * torch.randn(components, count, generator=draws), dim=0)


m_step = Exercise(
    """
    **Exercise 2.** Write the M-step of EM for the scales of Eq. 1: `m_step(x, shares)` gets the derivatives, a tensor
    of shape (n,), and `shares`, (2, n), how much of each value belongs to each of the two Laplacians. Return the two
    scales, shape (2,).
    """,
    answer=_m_step,
    cases=[_values(0, 50, 2), _values(1, 200, 2), _values(2, 5, 2)],
    slips={
        "Divided by n: a weighted mean is divided by the sum of its weights.": (
            lambda x, shares: (shares * x.abs()).mean(1)
        ),
        "A sum: a mean is divided by the sum of its weights.": (lambda x, shares: (shares * x.abs()).sum(1)),
        "The signs cancel: a scale is a mean of *absolute* values.": (
            lambda x, shares: (shares * x).sum(1) / shares.sum(1)
        ),
        "That is a Gaussian's variance: a Laplacian's scale is the mean of |x|.": (
            lambda x, shares: (shares * x.square()).sum(1) / shares.sum(1)
        ),
        "That is a Gaussian's standard deviation: a Laplacian's scale is the mean of |x|.": (
            lambda x, shares: ((shares * x.square()).sum(1) / shares.sum(1)).sqrt()
        ),
        "Added up over the components: add up over the values.": (
            lambda x, shares: (shares * x.abs()).sum(0) / shares.sum(0)
        ),
        "Both components get all values alike: weigh them by `shares`.": (lambda x, shares: x.abs().mean().expand(2)),
    },
    hints=(
        "One Laplacian alone is most likely with s = the mean of |x|.",
        "A share counts as a fraction of a value: take a weighted mean, with a row of `shares` as weights.",
        "The weights of a mean are divided by their own sum, not by n.",
    ),
    why="A Gaussian's M-step takes the weighted mean of x² instead, and its root.",
)


def _best(x):
    return -x.numel() * (math.log(2) + x.abs().mean().log() + 1)


best = Exercise(
    """
    **Exercise 3.** Eq. 2 and 3: the derivatives `x`, a tensor of any shape, follow one Laplacian. Write `best(x)`:
    their log-likelihood, the sum of ln P_q(x), at the scale s that makes it largest. π is ½.
    """,
    answer=_best,
    cases=[(_values(seed, count, 2)[0],) for seed, count in ((3, 40), (4, 7))] + [(torch.ones(3, 4),)],
    slips={
        "ln 2 is missing: with π = ½ the density is 1/(2s) · exp(−|x|/s).": (
            lambda x: -x.numel() * (x.abs().mean().log() + 1)
        ),
        "That is the mean: asked for is the sum over all values.": (
            lambda x: -(math.log(2) + x.abs().mean().log() + 1)
        ),
        "The exponent is missing: at the best s the sum of |x|/s is n.": (
            lambda x: -x.numel() * (math.log(2) + x.abs().mean().log())
        ),
        "The sign: that is the *negative* log-likelihood.": (
            lambda x: x.numel() * (math.log(2) + x.abs().mean().log() + 1)
        ),
        "The best scale of a Laplacian is the mean of |x|, not the root mean square.": (
            lambda x: -x.numel() * (math.log(2) + x.square().mean().sqrt().log() + 1)
        ),
        "That is the likelihood at s = 1, without its constant: put the best s in.": (lambda x: -x.abs().sum()),
    },
    hints=(
        "The sum is −n ln(2s) − Σ|x|/s. Where is its derivative by s zero?",
        "At s = the mean of |x|: then Σ|x|/s is n.",
        "−n (ln(2s) + 1)",
    ),
    why="So a family's score depends on the image by one number, the mean of |x|: the smaller, the likelier the image.",
)


def _loss(log_likelihood, scale, count):
    return -scale * (log_likelihood + 2 * count * math.log(2 * scale))


loss = Exercise(
    """
    **Exercise 4.** Backwards from Eq. 7 to Eq. 8. Two layers have together the log-likelihood `log_likelihood`, natural
    logarithm, under a Laplacian of the scale `scale` (π = ½); each layer has `count` derivatives, filters and pixels
    together. Write `loss(log_likelihood, scale, count)`: the sum L_q of all absolute derivatives of both layers.
    """,
    answer=_loss,
    cases=[(-1234.5, 0.5, 300), (-20.0, 2.0, 4), (900.0, 0.02, 250), (-3e4, 0.1, 5000)],
    slips={
        "The constants are missing: each derivative brings −ln(2s).": (
            lambda log_likelihood, scale, count: -scale * log_likelihood
        ),
        "There are two layers: 2 · count derivatives.": (
            lambda log_likelihood, scale, count: -scale * (log_likelihood + count * math.log(2 * scale))
        ),
        "The sign of the constant: ln P = −2 · count · ln(2s) − L/s.": (
            lambda log_likelihood, scale, count: -scale * (log_likelihood - 2 * count * math.log(2 * scale))
        ),
        "Multiply by s: the loss is divided by it in ln P.": (
            lambda log_likelihood, scale, count: -(log_likelihood + 2 * count * math.log(2 * scale)) / scale
        ),
        "The 2 is missing: with π = ½ it is ln(2s).": (
            lambda log_likelihood, scale, count: -scale * (log_likelihood + 2 * count * math.log(scale))
        ),
        "The sign: the likelier, the smaller the loss.": (
            lambda log_likelihood, scale, count: scale * (log_likelihood + 2 * count * math.log(2 * scale))
        ),
    },
    hints=(
        "Each derivative brings −ln(2s) − |x|/s.",
        "There are 2 · count of them: ln P = −2 · count · ln(2s) − L_q/s.",
    ),
    why="A straight line with a falling slope: the most likely layers have the smallest loss, whatever s is.",
)
