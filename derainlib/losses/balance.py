"""How several loss terms become one number: with fixed weights, or with weights that balance themselves.

A task is a term with its fixed weight, λ_i L_i, and the loss is the weighted sum of the tasks (Eq. 2 of MENET):

    L = Σ_i w_i λ_i L_i

`Fixed` has w_i = 1: this is what MENET calls "Fixed", with the weights of a recipe as λ. The other schemes find w_i
anew in every step, from tasks that already carry their λ; MENET's own rows have λ = 1 there. To rescale a loss and to
change its λ are thus the same thing, and what a scheme makes of it is the scheme's business.

`LossBalanced` and `GradientBalanced` are Algorithms 2 and 1 of Fan, Chen and Li, "Multi-Task Learning Enhanced Single
Image De-Raining": the larger a task, the smaller its weight, w_i = 1 − v_i / Σ_j v_j. `Uncertainty` is what they are
measured against: Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
Geometry and Semantics".

Where several processes train together (torch.distributed), each works on its share of the batch, and the weights are
made from losses and gradients averaged over all of them, so that all weigh alike. Where a batch is worked off in
portions, the weights are each portion's own. None of the schemes keeps a moving average.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair

ROUNDING = 1e-6
"""A loss that is zero in truth may come out this far below: 1 − SSIM, for example, of equal images."""

FLOAT16_SUM = 1024.0
"""Size of a task's gradient on the network's outputs, Σ|g|, while it goes back to the shared layer: then neither its
entries nor their sums over pixels leave the range of float16, whatever the scale of the loss."""


class Fixed(nn.Module):
    """Terms added with fixed weights: L = Σ_i λ_i L_i; with rain and background terms, Ren et al.'s Eq. 12.

    Args:
        terms: name → loss term.
        weights: name → weight λ, the same names.

    Attributes:
        latest: name → w_i of the latest call, detached scalars; empty here, where nothing moves.
    """

    def __init__(self, terms: dict[str, nn.Module], weights: dict[str, float]):
        super().__init__()
        self.terms, self.weights = nn.ModuleDict(terms), {name: weights[name] for name in terms}
        self.latest: dict[str, Tensor] = {}

    def forward(self, layers: Layers, pair: Pair) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, a scalar, and each unweighted term by name (detached, for the log)."""
        values = {name: term(layers, pair) for name, term in self.terms.items()}
        return self._total(values), {name: value.detach() for name, value in values.items()}

    def _total(self, values: dict[str, Tensor]) -> Tensor:
        return sum(self.weights[name] * value for name, value in values.items())

    def _tasks(self, values: dict[str, Tensor]) -> Tensor:
        """λ_i L_i in float32, (n,)."""
        return torch.stack([self.weights[name] * value.float() for name, value in values.items()])

    def _remember(self, weights: Tensor):
        self.latest = dict(zip(self.weights, weights.detach().unbind(), strict=True))


class _NonNegative(Fixed):
    """What the schemes share that compare losses by their size: none may be negative."""

    def __init__(self, terms: dict[str, nn.Module], weights: dict[str, float]):
        super().__init__(terms, weights)
        for name, term in terms.items():
            if getattr(term, "signed", False):
                self._refuse(name, "goes below zero")
            if weights[name] < 0:
                self._refuse(name, f"has the weight {weights[name]}")

    def _refuse(self, name: str, what: str):
        raise DerainError(
            f"this balance needs losses that are never negative, and {name} {what}: choose another term (ssim with "
            "dissimilarity=True is 1 - SSIM), or balance 'gradient'"
        )

    def _means(self, tasks: Tensor) -> Tensor:
        """λ_i L_i averaged over the processes, (n,); so all of them refuse together, and none waits for another."""
        means = _mean_over_processes(tasks.detach())
        for (name, weight), mean in zip(self.weights.items(), means.tolist(), strict=True):
            if mean < -ROUNDING * max(1.0, weight):
                self._refuse(name, f"is {mean / weight:.4g}")
        return means.clamp_min(0)


class LossBalanced(_NonNegative):
    """LB, Algorithm 2 of MENET: w_i = 1 − λ_i L_i / Σ_j λ_j L_j, a constant for the backward pass.

    The weights of n tasks add up to n − 1; a single task has the weight 1, and where all losses are zero, each has
    (n − 1) / n. If one task is larger than the others by orders of magnitude, its weighted loss is about the sum of
    the others, and theirs are left as they are: this is what makes the scheme indifferent to the scale of one loss.

    Args:
        terms, weights: as in `Fixed`; no loss and no weight may be negative.

    Raises:
        DerainError: a loss that is or can be negative, or a negative weight; the message names the term.
    """

    def _total(self, values: dict[str, Tensor]) -> Tensor:
        tasks = self._tasks(values)
        weights = self.weigh(self._means(tasks))
        self._remember(weights)
        return (weights * tasks).sum()

    @staticmethod
    def weigh(values: Tensor) -> Tensor:
        """w_i from all λ_i L_i, (n,)."""
        return balanced(values)


class PrintedLossBalanced(LossBalanced):
    """LB as the authors compute it: 1 − λ_i L_i / Σ_j λ_j L_j in float32, letter by letter.

    A task that is 1e8 times the others, as their texture often is, has the weight 0, not 1e-8, and says nothing; a task
    alone has 0 too, and where all losses are zero the weights are NaN. For comparison: `LossBalanced` is the scheme.

    Args:
        terms, weights: as in `LossBalanced`.

    Raises:
        DerainError: as `LossBalanced`.
    """

    @staticmethod
    def weigh(values: Tensor) -> Tensor:
        return 1 - values / values.sum()


class GradientBalanced(Fixed):
    """GB, Algorithm 1 of MENET: w_i = 1 − g_i / Σ_j g_j, g_i = ‖∇_W λ_i L_i‖, W the weight of one shared layer.

    Each task is differentiated with respect to the network's outputs once. From there it is a few layers back to W,
    which gives the norms; and with the weights known, the weighted sum of the same gradients goes back through the
    whole network. So no loss is differentiated twice, and the scheme costs little where W is near the outputs. In a
    network that runs several times over an image (SRN), the way back to W leads through all of its stages.

    n tasks have weights that add up to n − 1; a single task has the weight 1, and where no task reaches W, each has
    (n − 1) / n. A task alone in not reaching W (no labels in a batch, say) has 1.

    Args:
        terms, weights: as in `Fixed`; losses of any sign.
        shared: W, a parameter of the network, which all tasks should reach.

    Raises:
        DerainError: when called, layers that were made without gradients.
    """

    def __init__(self, terms: dict[str, nn.Module], weights: dict[str, float], shared: nn.Parameter):
        super().__init__(terms, weights)
        self.shared = [shared]  # in a list, for it is the network's parameter, not the loss's

    def forward(self, layers: Layers, pair: Pair) -> tuple[Tensor, dict[str, Tensor]]:
        cut, outputs, leaves = _cut(layers)
        if not torch.is_grad_enabled() or not outputs:
            raise DerainError("gradient-balanced weights need gradients: call network and loss outside torch.no_grad()")
        values = {name: term(cut, pair) for name, term in self.terms.items()}
        gradients = [_gradient(self.weights[name] * value.float(), leaves) for name, value in values.items()]
        weights = balanced(self._norms(outputs, gradients))
        self._remember(weights)
        total = (weights * self._tasks(values).detach()).sum()
        combined = [_weighted_sum(weights, parts) for parts in zip(*gradients, strict=True)]
        reached = [(output, part) for output, part in zip(outputs, combined, strict=True) if part is not None]
        if reached:
            outputs, combined = zip(*reached, strict=True)
            total = _Differentiated.apply(total, combined, *outputs)
        return total, {name: value.detach() for name, value in values.items()}

    def _norms(self, outputs: list[Tensor], gradients: list[list[Tensor | None]]) -> Tensor:
        """g_i, (n,), of the gradients averaged over the processes."""
        shared = self.shared[0]
        on_shared = torch.stack([_go_back(shared, outputs, parts).flatten() for parts in gradients])
        on_shared = _mean_over_processes(on_shared)
        peak = on_shared.abs().amax(1, keepdim=True).clamp_min(1e-30)  # squares of 1e20 or 1e-20 are no float32
        return peak.squeeze(1) * (on_shared / peak).norm(dim=1)


class Uncertainty(_NonNegative):
    """Weights learned with the network, by Kendall et al. 2018: L = Σ_i ½ exp(−s_i) λ_i L_i + ½ s_i.

    s_i = log σ_i² is the learned logarithm of the variance of task i, 0 at first; w_i = ½ exp(−s_i). This is their
    Eq. 7, for squared errors. Their classification losses lack the ½ (Eq. 10), which only moves s_i by log 2: the
    best s_i for a given loss, log(λ_i L_i) or log(2 λ_i L_i), leads to the same weight, 1 / (2 λ_i L_i). A loss that
    comes near zero thus asks for a weight without bound.

    Args:
        terms, weights: as in `Fixed`; no loss and no weight may be negative.

    Attributes:
        log_variances: name → s_i, the parameters; the optimiser must have them, and a checkpoint keep them. Their
            gradient comes from losses averaged over the processes and is the same in all of them.

    Raises:
        DerainError: as `LossBalanced`; below zero this loss has no minimum.
    """

    def __init__(self, terms: dict[str, nn.Module], weights: dict[str, float]):
        super().__init__(terms, weights)
        self.log_variances = nn.ParameterDict({name: torch.zeros(()) for name in terms})

    def _total(self, values: dict[str, Tensor]) -> Tensor:
        tasks = self._tasks(values)
        log_variances = torch.stack([self.log_variances[name] for name in values])
        weights = 0.5 * torch.exp(-log_variances)
        fixed = weights.detach()
        self._remember(fixed)
        learning = (weights - fixed) * self._means(tasks)  # zero, but for its gradient
        return (fixed * tasks + learning + 0.5 * log_variances).sum()


BALANCES = {
    "fixed": Fixed,
    "loss": LossBalanced,
    "gradient": GradientBalanced,
    "uncertainty": Uncertainty,
    "loss-printed": PrintedLossBalanced,
}
"""The schemes by the name that recipes use."""


def balanced(values: Tensor) -> Tensor:
    """w_i = 1 − v_i / Σ_j v_j of Algorithms 1 and 2, computed as Σ_{j≠i} v_j / Σ_j v_j.

    As printed, the weight of a task that is 1e8 times the others would be lost in the rounding of 1 − v_i / Σ v.

    Args:
        values: v ≥ 0, (n,), of any scale.

    Returns:
        The weights, (n,), which add up to n − 1: 1 for n = 1, and (n − 1) / n each where all values are zero.
    """
    count = len(values)
    if count == 1:
        return torch.ones_like(values)
    values = values / values.amax().clamp_min(torch.finfo(values.dtype).tiny)  # or the sum could overflow
    total = values.sum()
    others = values.repeat(count, 1).fill_diagonal_(0).sum(1)
    return torch.where(total == 0, (count - 1) / count, others / total)


def _mean_over_processes(values: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values / dist.get_world_size()


class _Differentiated(torch.autograd.Function):
    """A scalar whose gradient with respect to the outputs is known already."""

    @staticmethod
    def forward(ctx, value: Tensor, gradients: tuple[Tensor, ...], *outputs: Tensor) -> Tensor:
        ctx.gradients, ctx.dtypes = gradients, [output.dtype for output in outputs]
        return value.clone()

    @staticmethod
    def backward(ctx, scale: Tensor):
        known = zip(ctx.gradients, ctx.dtypes, strict=True)
        return None, None, *((gradient * scale).to(dtype) for gradient, dtype in known)


def _cut(layers: Layers) -> tuple[Layers, list[Tensor], list[Tensor]]:
    """The layers cut off the network: the same values in tensors of their own, the network's outputs, and the cuts.

    Of float16 they are float32: float16 has no room for the gradient of a mean over many pixels before it is scaled.
    """
    outputs, leaves = [], []

    def cut(value):
        if isinstance(value, tuple):
            return tuple(map(cut, value))
        if isinstance(value, dict):
            return {name: cut(part) for name, part in value.items()}
        if value is None or not value.requires_grad:
            return value
        outputs.append(value)
        precision = torch.float32 if value.dtype == torch.float16 else value.dtype
        leaves.append(value.detach().to(precision).requires_grad_())
        return leaves[-1]

    return Layers(*map(cut, layers)), outputs, leaves


def _gradient(task: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    """∂task/∂leaf for each leaf; None where it does not depend on it."""
    if not task.requires_grad:
        return [None] * len(leaves)
    return list(torch.autograd.grad(task, leaves, allow_unused=True))


def _go_back(shared: Tensor, outputs: list[Tensor], gradients: list[Tensor | None]) -> Tensor:
    """The gradient on the shared parameter, in float32, from those on the outputs."""
    reached = [(output, part) for output, part in zip(outputs, gradients, strict=True) if part is not None]
    if not reached:
        return torch.zeros_like(shared, dtype=torch.float32)
    scale = FLOAT16_SUM / sum(part.float().abs().sum() for _, part in reached).clamp_min(1e-30)
    scaled = [(part * scale.to(part.device)).to(output.dtype) for output, part in reached]
    (found,) = torch.autograd.grad(
        [output for output, _ in reached], shared, scaled, retain_graph=True, allow_unused=True
    )
    return torch.zeros_like(shared, dtype=torch.float32) if found is None else found.float() / scale


def _weighted_sum(weights: Tensor, parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """Σ_i w_i part_i over the parts there are."""
    present = [weight.to(part.dtype) * part for weight, part in zip(weights, parts, strict=True) if part is not None]
    return sum(present[1:], start=present[0]) if present else None
