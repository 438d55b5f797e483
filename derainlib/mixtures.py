"""Mixtures of densities around zero, fitted to values by maximum likelihood.

    fits(sparsity.responses(image)["horizontal"])    # a Gaussian, a Laplacian, two Laplacians, several Gaussians

`derainlib.sparsity` takes the derivatives of photographs that they are fitted to.
"""

from dataclasses import dataclass, field
from math import log, pi, sqrt
from typing import NamedTuple

import numpy as np

from derainlib.errors import DerainError

_STEPS = 1000  # of EM, at most
_SETTLED = 1e-3  # EM stops where a step raises the log-likelihood by fewer nats; differences of families are thousands


class Kernel(NamedTuple):
    """A density around zero with one scale: ln p(x) = −a(x)/scale^power − ln(scale) − constant.

    Attributes:
        power: 1 takes a(x) = |x| (Laplacian), 2 takes x²/2 (Gaussian).
        constant: logarithm of the integral of e^(−a).
    """

    power: int
    constant: float

    def magnitude(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x) ** self.power / self.power


LAPLACIAN = Kernel(power=1, constant=log(2))
GAUSSIAN = Kernel(power=2, constant=log(sqrt(2 * pi)))


def _log_joint(kernel: Kernel, x: np.ndarray, weights, scales) -> np.ndarray:
    """ln(π_j p_j(x)), one row for each component."""
    weights, scales = (np.reshape(v, (-1,) + (1,) * np.ndim(x)) for v in (weights, scales))
    with np.errstate(divide="ignore"):  # a component that died out has weight 0, and ln 0 = −∞ is right
        return np.log(weights) - kernel.magnitude(x) / scales**kernel.power - np.log(scales) - kernel.constant


def log_mixture(kernel: Kernel, x: np.ndarray, weights, scales) -> np.ndarray:
    return np.logaddexp.reduce(_log_joint(kernel, x, weights, scales), axis=0)


@dataclass(frozen=True)
class Fit:
    """A mixture of densities around zero, fitted by maximum likelihood.

    Attributes:
        name: of the family.
        kernel: `LAPLACIAN` or `GAUSSIAN`.
        weights: π_j, which sum to 1.
        scales: s_j or σ_j, in the unit of the values, ascending.
        log_likelihood: Σ ln p(x) over all values, in nats.
        values: how many values were fitted.
        history: the log-likelihood before each step of EM, and at the end.
    """

    name: str
    kernel: Kernel = field(repr=False)
    weights: tuple[float, ...]
    scales: tuple[float, ...]
    log_likelihood: float
    values: int
    history: tuple[float, ...] = field(repr=False)

    @property
    def mean(self) -> float:
        """Log-likelihood per value, in nats: comparable between images of different sizes."""
        return self.log_likelihood / self.values

    @property
    def bic(self) -> float:
        """Bayesian information criterion: −2 ln L + (free parameters)·ln(values). Smaller is better."""
        return (2 * len(self.scales) - 1) * log(self.values) - 2 * self.log_likelihood

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """ln p(x), of the shape of x."""
        return log_mixture(self.kernel, np.asarray(x, dtype=np.float64), self.weights, self.scales)


def fit_gaussian(values: np.ndarray, step: float = 1.0) -> Fit:
    """One Gaussian around zero: σ² is the mean of x². Never sparse: its logarithm is a parabola.

    Args:
        values: any shape.
        step: the distance of neighbouring values, 1 for grey levels. No scale is fitted for which the density at zero
            would exceed 1/step: it would put more than the whole probability into one level. Without that limit the
            likelihood of many exact zeros has no maximum.

    Raises:
        DerainError: there are no values, some are not finite, or the step is not positive.
    """
    return _fit("Gaussian", GAUSSIAN, (1.0,), values, step)


def fit_laplacian(values: np.ndarray, step: float = 1.0) -> Fit:
    """One Laplacian around zero, Eq. 2: s is the mean of |x|. Arguments and errors as in `fit_gaussian`."""
    return _fit("Laplacian", LAPLACIAN, (1.0,), values, step)


def fit_laplacian_mixture(values: np.ndarray, step: float = 1.0) -> Fit:
    """Two Laplacians around zero, Eq. 1, by EM. Arguments and errors as in `fit_gaussian`."""
    return _fit("two Laplacians", LAPLACIAN, (0.3, 2.0), values, step)


def fit_gaussian_scale_mixture(values: np.ndarray, components: int = 4, step: float = 1.0) -> Fit:
    """Several Gaussians around zero, by EM: a finite form of the infinitely many that section 3.2 mentions.

    Args:
        values, step: as in `fit_gaussian`.
        components: how many, at least 2.

    Raises:
        DerainError: as `fit_gaussian`, or fewer than 2 components.
    """
    if components < 2:
        raise DerainError(f"a scale mixture of {components} Gaussians is none: give 2 components or more")
    return _fit("Gaussian scale mixture", GAUSSIAN, tuple(np.geomspace(0.2, 3, components)), values, step)


def fits(values: np.ndarray, step: float = 1.0) -> tuple[Fit, ...]:
    """All four families fitted to the same values, from one parameter to seven. Errors as `fit_gaussian`."""
    families = (fit_gaussian, fit_laplacian, fit_laplacian_mixture, fit_gaussian_scale_mixture)
    return tuple(family(values, step=step) for family in families)


def _fit(name: str, kernel: Kernel, start: tuple[float, ...], values: np.ndarray, step: float) -> Fit:
    """Expectation maximisation from equal weights and the scales `start`, in units of the best single scale."""
    values = np.asarray(values, dtype=np.float64).ravel()
    if not values.size or not np.isfinite(values).all():
        raise DerainError("a fit needs values, all of them finite")
    if not step > 0:
        raise DerainError(f"the step is {step}; give the distance of neighbouring values, 1 for grey levels")
    # An image has 100,000 values but only some hundred different ones.
    x, counts = np.unique(np.abs(values), return_counts=True)
    magnitude, floor = kernel.magnitude(x), step * np.exp(-kernel.constant)

    def best_scale(weight: np.ndarray) -> float:
        """The scale that makes weighted values most likely, unless that is below the floor."""
        total = max(weight.sum(), np.finfo(float).tiny)
        return max((kernel.power * (weight * magnitude).sum() / total) ** (1 / kernel.power), floor)

    single = best_scale(counts)
    weights, scales = np.full(len(start), 1 / len(start)), np.maximum(np.array(start) * single, floor)
    history = []
    while True:
        joint = _log_joint(kernel, x, weights, scales)
        log_density = np.logaddexp.reduce(joint, axis=0)
        history.append(float(counts @ log_density))
        gained = len(start) > 1 and (len(history) < 2 or history[-1] - history[-2] > _SETTLED)
        if not gained or len(history) > _STEPS:
            break
        shares = counts * np.exp(joint - log_density)  # E-step: how much of each value belongs to each component
        weights = shares.sum(1) / values.size  # M-step
        scales = np.array([best_scale(share) for share in shares])
    order = np.argsort(scales, kind="stable")
    parameters = tuple(weights[order].tolist()), tuple(scales[order].tolist())
    return Fit(name, kernel, *parameters, history[-1], values.size, tuple(history))
