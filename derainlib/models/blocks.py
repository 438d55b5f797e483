"""What networks of several papers share: frugal inference on CPUs."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Maps = tuple[Tensor, ...]

STRIP = 24 * 2**20
"""Bytes of the widest activation of a strip: 96 rows of a photograph 512 pixels wide, in fp32 and 128 channels.

It stays in a last-level cache, and below the 32 MB from which C's allocator returns memory after each use, to be mapped
and zeroed afresh for the next.
"""


def channels_last(image: Tensor) -> Tensor:
    """A copy of an image, (N, C, H, W), in that memory format with its own strides.

    `contiguous` leaves a single photograph as it is whose pixels lie so, as those of NumPy and Pillow do, whatever the
    stride of its one-item batch is. By that stride oneDNN takes the maps that follow for another format, and has no sum
    with a ReLU in bf16 for two formats.
    """
    return image.clone(memory_format=torch.channels_last)


def frugal(x: Tensor) -> bool:
    """Whether memory counts: on CPUs, without gradients, which need theirs, or a compiler, which manages its own."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


FUSED = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
"""Whether PyTorch has the operator that its compiler puts in the place of a convolution and what follows it."""


def _fused_types() -> set[torch.dtype]:
    """The types for which this processor has that operator: without instructions of their own, halves have it not."""
    if not FUSED:
        return set()
    halves = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    tests = {dtype: getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported") for dtype, name in halves.items()}
    return {torch.float32} | {dtype for dtype, is_supported in tests.items() if is_supported()}


FUSED_TYPES = _fused_types()


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    *,
    relu: bool = False,
    plus: Tensor | None = None,
) -> Tensor:
    """A convolution, the sum with `plus` and a ReLU; in one pass over memory where memory counts.

    Args:
        x, weight, bias, padding, dilation, groups: as `torch.nn.functional.conv2d` takes them.
        relu: whether a ReLU follows.
        plus: a map of the result's shape to be added before it.
    """
    # Autocast does not know that operator.
    if FUSED and x.dtype in FUSED_TYPES and frugal(x) and not torch.is_autocast_enabled("cpu"):
        after = (padding, (1, 1), dilation, groups)
        if plus is None:
            kind = "relu" if relu else "none"
            return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *after, kind, [], "")
        kind = "relu" if relu else None
        return torch.ops.mkldnn._convolution_pointwise.binary(x, plus, weight, bias, *after, "add", 1.0, kind, [], "")
    y = F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=groups)
    y = y if plus is None else y.add_(plus)
    return y.relu_() if relu else y


class Strips:
    """Runs layers over a large image in strips of rows, where memory counts; otherwise over all of it at once.

    The maps that the strips are put together in are used again: fresh memory costs a page fault every 4 kB.

    Args:
        like: any tensor of the image's size, (N, channels, H, W), in the layers' precision.
        keep: whether hidden states will be read after their stage.
        channels: of the widest activation.
    """

    def __init__(self, like: Tensor, keep: bool, channels: int = 128):
        self.keep = keep
        self.count, _, self.height, self.width = like.shape
        self.rows = STRIP // (channels * self.count * self.width * like.element_size())
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
