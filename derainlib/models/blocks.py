"""What networks of several papers share: frugal inference on CPUs."""

from collections.abc import Callable

import torch
from torch import Tensor

Maps = tuple[Tensor, ...]

STRIP = 192 * 2**10
"""Bytes of one channel of a strip, in fp32 96 rows of a photograph 512 pixels wide.

The widest activations, of 128 channels, then take 24 MB: they stay in a last-level cache, and below the 32 MB
from which C's allocator returns memory after each use, to be mapped and zeroed afresh for the next.
"""


def frugal(x: Tensor) -> bool:
    """Whether memory counts: on CPUs, without gradients, which need theirs, or a compiler, which manages its own."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def relu_(x: Tensor) -> Tensor:
    """ReLU, written over x. Where memory counts, bf16 is compared as integers, four times as quickly on a CPU."""
    if frugal(x) and x.dtype == torch.bfloat16:
        x.view(torch.int16).clamp_min_(0)  # both kinds of number have the sign in their first bit
        return x
    return x.relu_()


class Strips:
    """Runs layers over a large image in strips of rows, where memory counts; otherwise over all of it at once.

    The maps that the strips are put together in are used again: fresh memory costs a page fault every 4 kB.

    Args:
        like: any tensor of the image's size, (N, channels, H, W), in the layers' precision.
        keep: whether hidden states will be read after their stage.
    """

    def __init__(self, like: Tensor, keep: bool):
        self.keep = keep
        self.count, _, self.height, self.width = like.shape
        self.rows = STRIP // (self.count * self.width * like.element_size())
        self.needed = frugal(like) and self.rows < self.height
        self.spare: list[Tensor] = []

    def run(self, layers: Callable[..., Maps], depth: int, *inputs: Tensor | None) -> Maps:
        """`layers(*inputs)`.

        Args:
            layers: take and return maps, (N, channels, H, W), padded by themselves.
            depth: rows that a row of the results depends on to each side; computed twice where strips meet.
            inputs: maps, or None.
        """
        if not self.needed:
            return layers(*inputs)
        results = None
        step = max(self.rows, 4 * depth)
        for top in range(0, self.height, step):
            start, bottom = max(0, top - depth), min(self.height, top + step)
            parts = layers(*(x if x is None else x[:, :, start : bottom + depth] for x in inputs))
            results = results or tuple(map(self._map, parts))
            for result, part in zip(results, parts, strict=True):
                result[:, :, top:bottom] = part[:, :, top - start : bottom - start]
        return results

    def _map(self, part: Tensor) -> Tensor:
        """Memory for a map of which `part` is a strip."""
        for i, spare in enumerate(self.spare):
            if spare.shape[1] == part.shape[1] and spare.dtype == part.dtype:
                return self.spare.pop(i)
        shape = self.count, part.shape[1], self.height, self.width
        return torch.empty(shape, dtype=part.dtype, memory_format=torch.channels_last)

    def release(self, *maps: Tensor):
        """Takes back maps that nobody will read any more."""
        if self.needed:
            self.spare += maps
