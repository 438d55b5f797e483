"""Right answers written differently, by exercise: whoever answers so has answered, and must not be refused."""

import itertools
import math
import statistics

import numpy as np
import scipy.stats
import torch
import torch.nn.functional as F

import derainlib

LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)


def gain_by_the_library(before, after, truth):
    return derainlib.psnr(after, truth) - derainlib.psnr(before, truth)


def gain_of_clamped(before, after, truth):
    errors = [F.mse_loss(image.clamp(0, 1), truth).item() for image in (before, after)]
    return 10 * math.log10(errors[0] / errors[1])


def gain_of_norms(before, after, truth):
    return 20 * np.log10(np.linalg.norm((before - truth).numpy()) / np.linalg.norm((after - truth).numpy()))


def nearness_by_the_middle_sum(depth, parts=2000):
    return sum(depth ** ((i + 0.5) / parts) for i in range(parts)) / parts


def bonus_by_the_scores(error):
    """PSNR of an image of one colour, on a grey one that is nowhere cut off."""
    truth = torch.full((1, 3, 16, 16), 0.5, dtype=torch.float64)
    image = truth + error.double().view(1, 3, 1, 1)
    return (derainlib.psnr(image, truth, "y") - derainlib.psnr(image, truth, "rgb")).item()


def bonus_with_numpy(error):
    e = error.numpy().astype(float)
    return 10 * np.log10((e @ e / 3) / np.dot(LUMA, e) ** 2)


def leaked_by_loops(train, test):
    return [any(float(a @ b) >= 0.97 for b in train) for a in test]


def needed_by_search(spread, difference):
    return next(n for n in itertools.count(1) if 1.96 * spread / math.sqrt(n) <= difference * (1 + 1e-12))


def bulge_on_a_grid(exponent):
    u = np.linspace(0, 1, 200_001)
    return (u - u**exponent).max()


def m_step_by_loops(x, shares):
    return [sum(w * abs(v) for w, v in zip(row, x, strict=True)) / sum(row) for row in shares.tolist()]


def best_by_scipy(x):
    values = x.double().numpy().ravel()
    return scipy.stats.laplace.logpdf(values, scale=np.abs(values).mean()).sum()


def best_by_torch(x):
    return torch.distributions.Laplace(0.0, x.abs().mean()).log_prob(x).sum()


def kendalls_share(paper, ours):
    pairs = [(a, b) for a, b in itertools.combinations(range(len(paper)), 2) if paper[a] != paper[b]]
    return sum(np.sign(paper[a] - paper[b]) == np.sign(ours[a] - ours[b]) for a, b in pairs) / len(pairs)


def signs_of_outer(paper, ours):
    theirs, mine = (np.sign(np.subtract.outer(values, values)) for values in (paper, ours))
    return ((theirs == mine) & (theirs != 0)).sum() / (theirs != 0).sum()


def _tau(paper, ours):
    """Kendall's tau, where a row that is equal in ours counts as one that contradicts."""
    d = [(paper[b] - paper[a], ours[b] - ours[a]) for a, b in itertools.combinations(range(len(paper)), 2)]
    return sum(1 if p * o > 0 else -1 for p, o in d if p) / sum(p != 0 for p, _ in d)


def interval_by_scipy(row, reference):
    return scipy.stats.ttest_rel(row, reference).confidence_interval(0.95)


def interval_of_sem(row, reference):
    d = np.asarray(row) - np.asarray(reference)
    return scipy.stats.t.interval(0.95, len(d) - 1, d.mean(), scipy.stats.sem(d))


def interval_by_hand(row, reference):
    d = [a - b for a, b in zip(row, reference, strict=True)]
    half = scipy.stats.t.ppf(0.975, len(d) - 1) * statistics.stdev(d) / len(d) ** 0.5
    return [statistics.mean(d) - half, statistics.mean(d) + half]


def gru_with_lerp(a_z, a_g, h):
    return torch.lerp(h, a_g.tanh(), a_z.sigmoid())


def counted(width, states):
    cell = torch.nn.Conv2d((1 + states) * width, 4 * width, 3, padding=1)
    return sum(parameter.numel() for parameter in cell.parameters())


def walked(stages, rain_blocks, background_blocks):
    seen = 1 + 1 + 2 * rain_blocks + 1
    for _ in range(stages):
        seen += 1 + 1 + 2 * background_blocks + 1
    return seen


def ssim_by_factors(mean, shift):
    return 1 - shift**2 / (mean**2 + (mean + shift) ** 2 + 1e-4)


WAYS = {
    "start_here.gain": (gain_by_the_library, gain_of_clamped, gain_of_norms),
    "start_here.tenth": (20, torch.tensor(20.0), 10 * math.log10(100), np.float32(-10 * np.log10(0.1**2))),
    "start_here.softer": (
        lambda rainy, derained, strength: (1 - strength) * rainy + strength * derained,
        lambda rainy, derained, strength: torch.lerp(rainy, derained, strength),
        lambda rainy, derained, strength: derained + (1 - strength) * (rainy - derained),
        lambda rainy, derained, strength: (rainy - strength * (rainy - derained)).clamp(0, 1).numpy(),
    ),
    "rain_model.screen_blend": (
        lambda background, rain: background + rain - background * rain,
        lambda background, rain: background + rain * (1 - background),
        lambda background, rain: torch.lerp(background, torch.ones_like(background), rain).clamp(0, 1),
        lambda background, rain: derainlib.rain.compose(background, rain, "screen"),
    ),
    "rain_model.through_the_veil": (
        lambda o, r, m, a: (o - a + a * m) / m - r,
        lambda o, r, m, a: (o - a) / m + a - r,
        lambda o, r, m, a: ((o.double() - a * (1 - m.double())) / m - r).numpy(),
    ),
    "rain_model.average_nearness": (
        lambda depth: (depth - 1) / math.log(depth),
        lambda depth: (1 - depth) / (-np.log(np.float64(depth))),
        nearness_by_the_middle_sum,
    ),
    "rain_model.nearer": (1, torch.tensor(1.0), 0.25 * 2 * 2, np.float32(1)),
    "data_and_metrics.bonus": (
        bonus_by_the_scores,
        bonus_with_numpy,
        lambda e: (
            10 * math.log10(sum(v * v for v in e.tolist()) / 3)
            - 20 * math.log10(abs(sum(w * v for w, v in zip(LUMA, e.tolist(), strict=True))))
        ),
    ),
    "data_and_metrics.pooled": (
        lambda decibels: -10 * np.log10(np.mean(10 ** (-decibels.numpy() / 10))),
        lambda decibels: -10 * math.log10(statistics.mean(10 ** (-d / 10) for d in decibels.tolist())),
        lambda decibels: (
            -10 / math.log(10) * (torch.logsumexp(-decibels * math.log(10) / 10, 0) - math.log(len(decibels)))
        ),
    ),
    "data_and_metrics.leaked": (
        leaked_by_loops,
        lambda train, test: ((test @ train.T) >= 0.97).any(dim=1),
        lambda train, test: (F.cosine_similarity(test[:, None], train[None], dim=-1).max(1).values >= 0.97).numpy(),
    ),
    "data_and_metrics.needed": (
        needed_by_search,
        lambda spread, difference: -int(-((1.96 * spread / difference) ** 2) // 1),
        lambda spread, difference: torch.tensor((1.96 * spread / difference) ** 2).ceil(),
        lambda spread, difference: math.ceil(1.96**2 * spread**2 / difference**2 - 1e-9),
    ),
    "sparsity_statistics.bulge": (
        bulge_on_a_grid,
        lambda a: (1 / a) ** (1 / (a - 1)) - (1 / a) ** (a / (a - 1)),
        lambda a: math.exp(-math.log(a) / (a - 1)) * (a - 1) / a,
    ),
    "sparsity_statistics.m_step": (
        m_step_by_loops,
        lambda x, shares: (shares @ x.abs()) / shares.sum(1),
        lambda x, shares: [np.average(x.abs().numpy(), weights=row) for row in shares.numpy()],
    ),
    "sparsity_statistics.best": (
        best_by_scipy,
        best_by_torch,
        lambda x: -x.numel() * math.log(2 * math.e * x.abs().mean().item()),
    ),
    "sparsity_statistics.loss": (
        lambda log_p, s, n: -s * log_p - 2 * n * s * math.log(2 * s),
        lambda log_p, s, n: s * (2 * n * -(math.log(2) + math.log(s)) - log_p),
        lambda log_p, s, n: np.float64(s) * (-np.log(2 * s) * 2 * n - log_p),
    ),
    "decomposition_by_descent.excess": (
        lambda a, b: 2 * torch.minimum(a.abs(), b.abs()) * (a * b < 0),
        lambda a, b: np.abs(a.numpy()) + np.abs(b.numpy()) - np.abs(a.numpy() + b.numpy()),
        lambda a, b: torch.stack([a, b]).abs().sum(0) - torch.stack([a, b]).sum(0).abs(),
    ),
    "decomposition_by_descent.threshold": (
        lambda filters: 0.25 / sum(sum(map(abs, taps)) for taps in filters),
        lambda filters: 1 / (2 * 2 * sum(np.abs(taps).sum() for taps in filters)),
        lambda filters: 1 / (4 * torch.cat([torch.tensor(taps, dtype=torch.float64) for taps in filters]).norm(p=1)),
    ),
    "decomposition_by_descent.cheapest": (
        lambda rains: rains.sort(dim=0).values[len(rains) // 2],
        lambda rains: np.median(rains.numpy(), axis=0),
        lambda rains: rains.quantile(0.5, dim=0),
        lambda rains: rains.kthvalue(len(rains) // 2 + 1, dim=0).values,
    ),
    "srn_brn.gru": (
        gru_with_lerp,
        lambda a_z, a_g, h: h + a_z.sigmoid() * (a_g.tanh() - h),
        lambda a_z, a_g, h: torch.sigmoid(-a_z) * h + torch.sigmoid(a_z) * (2 * torch.sigmoid(2 * a_g) - 1),
    ),
    "srn_brn.lstm_parameters": (
        counted,
        lambda width, states: 36 * (1 + states) * width**2 + 4 * width,
        lambda width, states: float(4 * width * (9 * (1 + states) * width + 1)),
    ),
    "srn_brn.halo": (
        walked,
        lambda stages, rain, background: stages * (2 * background + 3) + 2 * rain + 3,
        lambda stages, rain, background: 3 * (stages + 1) + 2 * (stages * background + rain),
    ),
    "srn_brn.ssim_of_shift": (
        ssim_by_factors,
        lambda mean, shift: torch.tensor(ssim_by_factors(mean, shift)),
        lambda mean, shift: (mean**2 + (mean + shift) ** 2 - shift**2 + 1e-4) / (mean**2 + (mean + shift) ** 2 + 1e-4),
    ),
    "ablation_studies.confirmed": (kendalls_share, signs_of_outer, lambda paper, ours: 0.5 + 0.5 * _tau(paper, ours)),
    "ablation_studies.interval": (interval_by_scipy, interval_of_sem, interval_by_hand),
}
"""By module and name."""
