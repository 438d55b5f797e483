"""QSNet: a quick network of group convolutions that decodes the rain at five scales, then once more from all of them.

Wang, Ma and Zeng, CVPR 2021 (equation numbers below are this paper's). The network S of

    R = S(I),  B = I − R                                                       (4, 5)  I = O

is, in the paper's order (its Section 4.1 and Figures 3 and 4):

    encoder              12 ShuffleNet units: 1x1 group convolution, channel shuffle, depthwise 3x3, 1x1, + input
    multi-scale features C_1 by a 1x1 convolution, C_2 … C_5 by 3x3 convolutions of atrous rates 1, 2, 4, 6
    auxiliary decoders   five, each decodes a rain-free image from one C_i; its groups exchange features
    main decoder         from the features, exchanged across scales, and the five decoded images

Its losses (Eq. 8–13) are `derainlib.losses`' quasi_sparsity, l1, detail and auxiliary.

The authors published no code. Choices that the text leaves open, all ours:

- 48 channels in the encoder and 16 a scale, in 4 groups; every convolution at full resolution.
- A 3x3 convolution makes the encoder's channels of the image; no shuffle stands between encoder and scales, so that a
  group of a C_i reads 12 of the 48.
- No batch normalisation: a photograph alone is treated as in a batch, and tiles are exact.
- The units keep their width inside; ShuffleNet's own narrow to a quarter.
- An auxiliary decoder A_i gives rain, and O − A_i is its rain-free image: with Eq. 12 as printed, ‖I − A_i − B‖².
- Each decoder is a 3x3 and a 1x1 group convolution and a plain 3x3 one to RGB. Its groups exchange features by a
  shuffle before the 1x1. In the main decoder a group is a scale, C_i and its decoded image side by side, so that the
  shuffle before the first convolution is the exchange across scales.
- The five decoders of one network are what Table 3 scores; a network for each scale is another reading, `rates=(2,)`.
- V1 to V3 (Table 4) keep the auxiliary decoders and lose only their loss.
- "Without sharing" (Tables 2 and 5) is the same network without the decoders' shuffles; the encoder keeps its own.
  Two other readings: no shuffle anywhere (`encoder_sharing=False`), and ordinary convolutions in scales and decoders
  (`grouped=False`), the only one of the three that is slower, as Table 2 says.

On a CPU, small groups and shuffles cost more than they save. There a group convolution runs as an ordinary one whose
weights are zero between groups, with the shuffle as the order of its input channels; and where no gradient is wanted,
the image passes in strips of rows (`blocks.Strips`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers
from derainlib.models.blocks import Maps, Strips, channels_last, conv
from derainlib.models.checks import check_sizes, check_switches

RATES = (0, 1, 2, 4, 6)
"""Atrous rates of C_1 … C_5; 0 stands for the 1x1 convolution."""

RUN = 4
"""Units that a strip passes before it is put away; each costs two more rows a strip."""


def shuffle(x: Tensor, groups: int, dim: int = 1) -> Tensor:
    """Channel shuffle: channel j of group g becomes channel g of group j, so that each new group has all the old.

    Args:
        x: channels along `dim`, a multiple of `groups`.
        groups: number of groups; 1 leaves all as it is.
        dim: where the channels are.
    """
    return x.unflatten(dim, (groups, -1)).transpose(dim, dim + 1).flatten(dim, dim + 1)


class GroupConv(nn.Conv2d):
    """A channel shuffle, then a group convolution that keeps the image's size.

    Args:
        inputs, outputs: channels, multiples of `groups`.
        size: of the kernel, 1 or 3.
        groups: groups of channels that do not see each other.
        rate: atrous rate, the distance between the kernel's taps in pixels.
        shuffled: groups of the shuffle; 1 for none.
    """

    def __init__(self, inputs: int, outputs: int, size: int, groups: int, rate: int = 1, shuffled: int = 1):
        super().__init__(inputs, outputs, size, padding=rate * (size // 2), dilation=rate, groups=groups)
        group = torch.arange(outputs) * groups // outputs
        self.register_buffer("group", F.one_hot(group, groups).bool(), persistent=False)
        self.shuffled = shuffled

    def forward(self, x: Tensor, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """The convolution, the sum with `plus` and a ReLU."""
        # 3x3 kernels gain from their groups in fp32, and lose where bf16 has matrix units.
        if x.device.type == "cpu" and (self.kernel_size == (1, 1) or x.dtype == torch.bfloat16):
            return conv(x, self.expanded(), self.bias, self.padding, self.dilation, relu=relu, plus=plus)
        x = shuffle(x, self.shuffled)
        return conv(x, self.weight, self.bias, self.padding, self.dilation, self.groups, relu=relu, plus=plus)

    def plain(self, x: Tensor, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """The same in so many words: a shuffle, a convolution in groups, the sum, the ReLU."""
        y = super().forward(shuffle(x, self.shuffled))
        y = y if plus is None else y + plus
        return y.relu() if relu else y

    def expanded(self) -> Tensor:
        """The weights of the ordinary convolution that does the same: zero between groups, inputs in shuffled order."""
        dense = (self.weight[:, None] * self.group[:, :, None, None, None]).flatten(1, 2)
        return shuffle(dense, self.in_channels // self.shuffled)


class ShuffleUnit(nn.Module):
    """A ShuffleNet unit: ReLU(x + W_2 ∗ shuffle(depthwise(ReLU(W_1 ∗ x)))), W_1 and W_2 in groups.

    The unit as published shuffles before the depthwise convolution, which treats every channel by itself: the two
    orders differ only in how its filters are numbered.
    """

    def __init__(self, width: int, groups: int, sharing: bool = True):
        super().__init__()
        self.reduce = GroupConv(width, width, 1, groups)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.expand = GroupConv(width, width, 1, groups, shuffled=groups if sharing else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(self.depthwise(self.reduce(x, relu=True)), relu=True, plus=x)


class AuxiliaryDecoder(nn.Module):
    """A_i: the rain that the features of one scale show, (N, C, H, W) → (N, 3, H, W)."""

    def __init__(self, channels: int, groups: int, sharing: bool):
        super().__init__()
        self.spatial = GroupConv(channels, channels, 3, groups)
        self.pointwise = GroupConv(channels, channels, 1, groups, shuffled=groups if sharing else 1)
        self.output = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(self.pointwise(self.spatial(features, relu=True), relu=True))


class MainDecoder(nn.Module):
    """The rain from all scales: their features, and the images decoded from them, one group of convolutions a scale."""

    def __init__(self, scales: int, channels: int, images: bool, sharing: bool, grouped: bool = True):
        super().__init__()
        inputs, width, groups = scales * (channels + 3 * images), scales * channels // 2, scales if grouped else 1
        self.pointwise = GroupConv(inputs, width, 1, groups, shuffled=scales if sharing else 1)
        self.spatial = GroupConv(width, width, 3, groups)
        self.output = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, scales: list[Tensor]) -> Tensor:
        return self.output(self.spatial(self.pointwise(torch.cat(scales, 1), relu=True), relu=True))


class QSNet(nn.Module):
    """Quasi-sparse deraining network.

    Args:
        width: channels of the encoder, a multiple of `groups`.
        units: ShuffleNet units (paper: 12).
        groups: groups of the encoder's and the auxiliary decoders' convolutions.
        scale_width: channels of each C_i, an even multiple of `groups`.
        sharing: whether decoders and scales exchange features (Table 5).
        encoder_sharing: whether the encoder's groups exchange features.
        grouped: whether scales and decoders convolve in groups; if not, by ordinary convolutions of the same widths.
        detached: whether the main decoder reads the decoded images without a gradient, so that only L_A shapes them.
        auxiliary: whether there are auxiliary decoders.
        rates: atrous rates of the scales, 0 for a 1x1 convolution; (2,) is a network of C_3 alone.

    Raises:
        DerainError: a size that is no whole number from 1, or that the groups do not divide; rates that are none; a
            switch that is neither True nor False.
    """

    stride = 1
    global_statistics = False

    def __init__(
        self,
        *,
        width: int = 48,
        units: int = 12,
        groups: int = 4,
        scale_width: int = 16,
        sharing: bool = True,
        encoder_sharing: bool = True,
        grouped: bool = True,
        detached: bool = False,
        auxiliary: bool = True,
        rates: Sequence[int] = RATES,
    ):
        super().__init__()
        check_sizes(width=width, units=units, groups=groups, scale_width=scale_width)
        if width % groups or scale_width % groups or scale_width % 2:
            raise DerainError(
                f"width and scale_width must be multiples of groups={groups}, scale_width an even one; "
                f"got {width} and {scale_width}"
            )
        if not rates or any(type(rate) is not int or rate < 0 for rate in rates):
            raise DerainError(f"rates must be whole numbers from 0, at least one; got {rates!r}")
        check_switches(
            sharing=sharing, encoder_sharing=encoder_sharing, grouped=grouped, detached=detached, auxiliary=auxiliary
        )
        self.rates, self.detached, inner = tuple(rates), detached, groups if grouped else 1
        self.input = nn.Conv2d(3, width, 3, padding=1)
        self.encoder = nn.ModuleList(ShuffleUnit(width, groups, encoder_sharing) for _ in range(units))
        self.scales = nn.ModuleList(GroupConv(width, scale_width, 3 if rate else 1, inner, rate or 1) for rate in rates)
        count = len(rates) if auxiliary else 0
        self.auxiliary = nn.ModuleList(AuxiliaryDecoder(scale_width, inner, sharing) for _ in range(count))
        self.main = MainDecoder(len(rates), scale_width, auxiliary, sharing, grouped)

    @property
    def halo(self) -> int:
        """Pixels to each side that an output pixel depends on: 23 with 12 units."""
        return 1 + len(self.encoder) + self._decoding

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last layer that all outputs share, the auxiliary ones too: the encoder's last."""
        return self.encoder[-1].expand.weight

    @property
    def _widest(self) -> int:
        """Channels of the widest map, the encoder's or the main decoder's input."""
        return max(self.input.out_channels, self.main.pointwise.in_channels)

    @property
    def _decoding(self) -> int:
        """Of these, the pixels that everything after the encoder sees."""
        return max(self.rates) + 2 * bool(self.auxiliary) + 2

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        """Takes the rain off `rainy`, (N, 3, H, W) in [0, 1]; `keep` also returns extras (`layers.EXTRAS`)."""
        rainy = channels_last(rainy)
        seen = rainy.to(self.input.weight.dtype)
        strips = Strips(seen, keep, self._widest)
        (x,) = strips.run(lambda image: (self._enter(image),), 1, seen)
        for units in self._runs():
            (y,) = strips.run(lambda x, units=units: (units(x),), len(units), x)
            strips.release(x)
            x = y
        rain, *kept = strips.run(lambda x, image: self._decode(x, image, keep), self._decoding, x, seen)
        rain = rain.to(rainy.dtype)
        extras = self._named(kept) if keep else None
        return Layers(rainy - rain, rain, extras=extras)

    def _enter(self, rainy: Tensor) -> Tensor:
        return conv(rainy, self.input.weight, self.input.bias, self.input.padding, relu=True)

    def _decode(self, x: Tensor, rainy: Tensor, keep: bool) -> Maps:
        """The rain, and if kept C_1 … C_5 and the decoded images, from the encoder's features."""
        features = [scale(x, relu=True) for scale in self.scales]
        images = [rainy - decoder(c) for decoder, c in zip(self.auxiliary, features, strict=False)]
        read = [image.detach() for image in images] if self.detached else images
        scales = [part for scale in zip(features, read, strict=True) for part in scale] if images else features
        rain = self.main(scales)
        return rain, *(features + images if keep else ())

    def _runs(self) -> list[nn.Sequential]:
        """The encoder in runs of a few units, so that a strip is put away only after several."""
        units = list(self.encoder)
        return [nn.Sequential(*units[i : i + RUN]) for i in range(0, len(units), RUN)]

    def _named(self, kept: list[Tensor]) -> dict[str, Tensor]:
        names = [f"{what}_{i}" for what in ("scale", "decoded") for i in range(1, len(self.rates) + 1)]
        return dict(zip(names, kept, strict=False))


VARIANTS = {
    "qsnet": (QSNet, {}),
    "qsnet-no-sharing": (QSNet, {"sharing": False}),
    "qsnet-no-auxiliary": (QSNet, {"auxiliary": False}),
}
"""The networks by name: Table 5's two rows, and one without auxiliary decoders."""
