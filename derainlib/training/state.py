"""What a training carries along beside weights and optimiser; all of it is a part of every checkpoint.

Each object follows accelerate's protocol: `state_dict` is what a checkpoint keeps, `load_state_dict` goes on from it.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from derainlib.recipe import Recipe


@contextlib.contextmanager
def plain_tensors_only() -> Iterator[None]:
    """Nothing that torch loads meanwhile is executed: accelerate trusts the states that are registered with it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with warnings.catch_warnings(action="ignore"):  # of what torch might not understand; its error says it better
            yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


class Progress:
    """How far a training is: steps done, seconds they took, and the best validation score so far."""

    def __init__(self):
        self.step, self.seconds, self.best = 0, 0.0, float("-inf")

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict):
        vars(self).update(state)


class Learned:
    """The parameters that a loss learns with the network: uncertainty weights."""

    def __init__(self, loss: nn.Module):
        self.parameters = {name: p for name, p in loss.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict:
        return {name: parameter.detach().cpu() for name, parameter in self.parameters.items()}

    def load_state_dict(self, state: dict):
        with torch.no_grad():
            for name, value in state.items():
                self.parameters[name].copy_(value)


class Plateau:
    """The schedule "plateau": the learning rate drops when the training loss stops improving.

    PyTorch's ReduceLROnPlateau on the mean loss of windows of steps, since a single step's loss is mostly noise. The
    loss is the one that all processes share, so that they drop together. The learning rate itself is in the
    optimiser's state.

    Args:
        optimizer: whose learning rate it lowers.
        recipe: gives window, patience, gamma and min_lr.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe):
        self.window, self.losses = recipe.window, []
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=recipe.gamma,
            patience=recipe.patience - 1,  # torch counts the windows that are forgiven
            threshold=0.0,  # any improvement counts; torch's relative one would misread losses below zero
            threshold_mode="abs",
            min_lr=recipe.min_lr,
            eps=0.0,
        )

    def observe(self, loss: float):
        """Takes the loss of one step, and lowers the learning rate where a window ends on a plateau."""
        self.losses.append(loss)
        if len(self.losses) == self.window:
            self.scheduler.step(sum(self.losses) / self.window)
            self.losses = []

    def state_dict(self) -> dict:
        return {"losses": self.losses, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict):
        self.losses = state["losses"]
        self.scheduler.load_state_dict(state["scheduler"])


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of a network that holds the moving average of its weights: average ← d · average + (1 − d) · weights.

    The first update copies the weights, so the random start has no part in it. After n updates d is the smaller of
    `decay` and (1 + n) / (10 + n): until the average spans as many steps as it may, it spans about a ninth of those
    done, and so forgets the first of them. Buffers with fractions (the statistics of normalisations) are averaged too;
    counts are copied.

    Args:
        network: what `update_parameters` will be called with after each step.
        decay: d in the long run; 1 / (1 − d) steps are then averaged.
    """

    def update(average: list[Tensor], current: list[Tensor], count: Tensor):
        if average[0].is_floating_point():
            done = int(count)
            get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))(average, current, count)
        else:
            for copy, original in zip(average, current, strict=True):
                copy.copy_(original)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
