"""DCDNet: one small network of dilated convolutions, run T times, that sees all of its earlier estimates.

A stage-wise deraining network, coarse to fine, with densely connected dilated convolution blocks (DCDCB). Equation
numbers below are that paper's; O_0 is the rainy image, and f, the DCDCB and r have the same weights in every stage:

    X_t = f(Conv1x1_t(Cat[O_{t-1}, …, O_0])),  Y_t = DCDCB(X_t),  R_t = r(Y_t),  O_t = O_0 − R_t       (2)
    z_l = Conv_l(Conv1x1_l(Cat[z_{l-1}, …, z_0])),  l = 1 … L,  dilation 2^{l-1},  z_0 = X_t            (3)
    z_fusion = Conv1x1(Cat[z_L, …, z_0]) = Y_t                                                         (4)
    B̂ = Conv1x1(σ(Conv3x3(σ(Conv3x3(O_T)))))                                                           (5)

The paper gives T = 12, L = 4, 16 channels, σ = LeakyReLU of slope 0.2, and 17,305 parameters. The authors published no
code. Choices that the text leaves open, all ours:

- f and r are 3x3 convolutions. σ follows f and each Conv_l; fusions and r are linear, as Eq. 2–4 print them.
- A 1x1 fusion of a single map (l = 1, t = 1) is left out, and f and the refinement have no biases. With both, there
  are 17,640 parameters: 272 and 12 of the fusions, 16 and 35 of the biases. Nine other choices of layers and
  biases also give 17,305; in none of them do the stages add the paper's 6.8 % to a single stage (5.3 % here).
- Without dense connections a layer or stage sees the newest map alone, and there are no fusions.

Fusions are never computed from maps laid side by side: as a map appears, its share is added to every fusion that will
want it (`DenseFusion`). A stage therefore keeps O(1) maps for the backward pass and not O(t), and T stages O(T). Where
no gradient is wanted, only T − 1 unfinished fusions of three channels outlive a stage, and on CPUs a stage works on one
strip of rows after the other (`blocks.Strips`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from derainlib.errors import DerainError
from derainlib.layers import Layers
from derainlib.models.blocks import Strips, channels_last
from derainlib.models.checks import check_sizes, check_switches

SLOPE = 0.2


def _conv3x3(inputs: int, outputs: int, dilation: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=bias)


class DenseFusion(nn.Module):
    """For k = 2 … count, a 1x1 convolution of the newest k maps of a growing series: Conv1x1_k(Cat[x_{k-1}, …, x_0]).

    A 1x1 convolution of maps side by side is the sum of the maps' shares. Each map is therefore used once, for all the
    fusions that it will ever be part of, and need not be kept for them.

    Args:
        width: channels of each map, and of each fusion.
        count: how many maps there will be; the last fusion is of all of them.
    """

    def __init__(self, width: int, count: int):
        super().__init__()
        self.width, self.count = width, count
        self.convs = nn.ModuleList(nn.Conv2d(k * width, width, 1) for k in range(2, count + 1))

    def forward(self, x: Tensor, unfinished: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Takes in the next map.

        Args:
            x: x_i, (N, width, H, W).
            unfinished: what the call before returned, no longer to be used; None for x_0.

        Returns:
            The fusion of x_i, …, x_0 (x_0 itself if i = 0), and the later fusions as far as they are known.
        """
        if unfinished is None:
            return x, [self._share(conv, x, 0) for conv in self.convs]
        i = self.count - len(unfinished)
        for conv, fusion in zip(self.convs[i - 1 :], unfinished, strict=True):
            fusion += self._share(conv, x, i)
        return unfinished[0], unfinished[1:]

    def _share(self, conv: nn.Conv2d, x: Tensor, i: int) -> Tensor:
        """What x_i adds to a fusion, whose inputs are in the order newest to oldest; x_0 brings the bias."""
        end = conv.in_channels - i * self.width
        return F.conv2d(x, conv.weight[:, end - self.width : end], conv.bias if i == 0 else None)


class Newest(nn.Module):
    """In place of a `DenseFusion`: the newest map, as it is."""

    def forward(self, x: Tensor, unfinished: None = None) -> tuple[Tensor, None]:
        return x, None


class Stage(nn.Module):
    """What all stages share: f, the DCDCB and r (Eq. 2–4), from an image to the rain in it.

    Args:
        width: feature channels.
        dilations: dilation of each 3x3 convolution of the DCDCB.
        inner: whether the DCDCB is densely connected.
    """

    def __init__(self, width: int, dilations: Sequence[int], inner: bool):
        super().__init__()
        self.input = _conv3x3(3, width, bias=False)
        self.convs = nn.ModuleList(_conv3x3(width, width, dilation) for dilation in dilations)
        self.fusion = DenseFusion(width, len(dilations) + 1) if inner else Newest()
        self.output = _conv3x3(width, 3)
        self.reach = 1 + sum(dilations) + 1
        """Pixels to each side that the rain at a pixel depends on."""

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) → R_t, (N, 3, H, W)."""
        fused, unfinished = self.fusion(F.leaky_relu_(self.input(image), SLOPE))
        for conv in self.convs:
            fused, unfinished = self.fusion(F.leaky_relu_(conv(fused), SLOPE), unfinished)
        return self.output(fused)


class DCDNet(nn.Module):
    """The stage-wise network (Eq. 2–5).

    Kept stages are O_1, …, O_T, and after them the refined image B̂ as the last one, if there is a refinement; kept
    rain stages are O − of each. Eq. 6, on the T stages alone, is thus a loss on all stages with `early=1, last=0`.

    Args:
        stages: T (paper: 12; Fig. 10 tries others, Table 4 has T = 1).
        width: feature channels (16; Table 2 widens it).
        dilations: of the DCDCB's 3x3 convolutions ((1, 2, 4, 8); (1, 1, 1, 1) for "no dilation"; Table 2 adds more).
        inner: inner dense connections, of the DCDCB's layers.
        outer: outer dense connections, of the stages' estimates.
        refinement: the refinement stage.
        checkpoint: in training, keep the stages' images alone and compute a stage again for its backward pass: a third
            more work, and little more memory than one stage needs.

    Raises:
        DerainError: an option of the wrong type or size.
    """

    stride = 1
    global_statistics = False

    def __init__(
        self,
        *,
        stages: int = 12,
        width: int = 16,
        dilations: Sequence[int] = (1, 2, 4, 8),
        inner: bool = True,
        outer: bool = True,
        refinement: bool = True,
        checkpoint: bool = False,
    ):
        super().__init__()
        check_sizes(stages=stages, width=width)
        if not isinstance(dilations, Sequence) or isinstance(dilations, str) or not dilations:
            raise DerainError(f"dilations must be a list such as [1, 2, 4, 8]; got {dilations!r}")
        check_sizes(**{f"dilation {i}": dilation for i, dilation in enumerate(dilations, 1)})
        check_switches(inner=inner, outer=outer, refinement=refinement, checkpoint=checkpoint)
        self.stages, self.checkpoint = stages, checkpoint
        self.outer = DenseFusion(3, stages) if outer else Newest()
        self.stage = Stage(width, dilations, inner)
        self.refinement = _refinement(width) if refinement else None

    @property
    def halo(self) -> int:
        """Pixels to each side that an output pixel depends on: 17 a stage and 2 for the refinement, 206 at T = 12."""
        return self.stage.reach * self.stages + (2 if self.refinement else 0)

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last layer that all outputs share: that of r in Eq. 4, before the refinement."""
        return self.stage.output.weight

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        """Takes the rain off `rainy`, (N, 3, H, W) in [0, 1]; `keep` also returns the stages."""
        rainy = channels_last(rainy)
        dtype = self.stage.input.weight.dtype
        strips = Strips(rainy.to(dtype), keep)
        image, unfinished, stages = rainy, None, []
        for _ in range(self.stages):
            fused, unfinished = self.outer(image.to(dtype), unfinished)
            rain = self._rain(strips, fused)
            image = rainy - rain.to(rainy.dtype)
            strips.release(rain)
            if keep:
                stages.append(image)
        if self.refinement:
            (refined,) = strips.run(lambda image: (self.refinement(image),), 2, image.to(dtype))
            image = refined.to(rainy.dtype)
            if keep:
                stages.append(image)
        return Layers(image, rainy - image, tuple(stages), tuple(rainy - stage for stage in stages))

    def _rain(self, strips: Strips, image: Tensor) -> Tensor:
        """R_t, from the image that the stage sees."""
        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint(self.stage, image, use_reentrant=False, preserve_rng_state=False)
        (rain,) = strips.run(lambda image: (self.stage(image),), self.stage.reach, image)
        return rain


def _refinement(width: int) -> nn.Sequential:
    """Eq. 5."""
    return nn.Sequential(
        _conv3x3(3, width, bias=False),
        nn.LeakyReLU(SLOPE, inplace=True),
        _conv3x3(width, width, bias=False),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Conv2d(width, 3, 1, bias=False),
    )


VARIANTS = {"dcdnet": (DCDNet, {})}
"""The network by name. Its ablations (Tables 3 and 4, Fig. 10) and larger forms (Table 2) are options of it."""
