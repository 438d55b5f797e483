"""Two networks that name what a street shows: judges of derained streets that no loss has seen.

    espnet   light, after S. Mehta et al., "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic
             Segmentation", ECCV 2018: each unit reduces its channels, looks at them through a pyramid of dilated
             convolutions, and merges what it sees
    pspnet   heavier, after H. Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017: a residual encoder, then the
             averages over coarser and coarser grids of the whole picture beside every place

PHPNet's Table VI judges with networks of these two designs. Ours are smaller and trained from scratch, without a
pre-trained encoder, so their scores do not compare with the papers'. What differs otherwise:

- ESPNet: four dilation rates in place of five, 2 and 5 units a level (the paper's α₂ = 2; its α₃ is 3 to 8), and a
  decoder of bilinear upsampling and 3x3 convolutions in place of transposed ones.
- PSPNet: an encoder of nine basic blocks in place of ResNet-101, no auxiliary classifier, no dropout.

Like every network here they map a photograph to `Layers`: it comes back untouched as the background, there is no
rain, and extras["logits"] are the scores of the classes, at the photograph's size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers
from derainlib.models.blocks import channels_last
from derainlib.models.checks import check_sizes

RATES = (1, 2, 4, 8)
"""Dilation rates of a unit of ESPNet."""

BINS = (1, 2, 3, 6)
"""Cells to each side of the grids of PSPNet's pyramid pooling."""

STRIDE = 8
"""Pixels of the photograph to a pixel of the deepest features, in both networks."""


def _conv3x3(inputs: int, outputs: int, stride: int = 1, rate: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=rate, dilation=rate, bias=False)


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class ESP(nn.Module):
    """Reduce, dilated pyramid, merge: (N, inputs, H, W) → (N, outputs, H / stride, W / stride).

    The 3x3 convolutions at several rates see the same few channels. Their results are summed from the smallest rate
    up before they are put side by side, which fills the holes of the large rates.

    Args:
        inputs, outputs: channels; outputs a multiple of the number of rates.
        stride: 2 halves the size, with a 3x3 reduction in place of the 1x1 one.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        width = outputs // len(RATES)
        self.reduce = _conv3x3(inputs, width, stride) if stride > 1 else nn.Conv2d(inputs, width, 1, bias=False)
        self.pyramid = nn.ModuleList(_conv3x3(width, width, rate=rate) for rate in RATES)
        self.finish = nn.Sequential(nn.BatchNorm2d(outputs), nn.PReLU(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        merged = self.merge([conv(reduced) for reduced in (self.reduce(x),) for conv in self.pyramid])
        return self.finish(merged + x if self.residual else merged)

    @staticmethod
    def merge(scales: list[Tensor]) -> Tensor:
        """Side by side: the first scale, the second, the second and third summed, and so on."""
        merged = scales[:2]
        for scale in scales[2:]:
            merged.append(merged[-1] + scale)
        return torch.cat(merged, 1)


class _Segmenter(nn.Module):
    """What both share: sizes that are no multiple of the stride, and the form of the answer."""

    stride = STRIDE

    def __init__(self, **sizes: int):
        super().__init__()
        check_sizes(**sizes)

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last convolution, which all tasks share."""
        return self.classify.weight

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        """Class scores of `rainy`, (N, 3, H, W) in [0, 1]: extras["logits"], (N, classes, H, W), kept or not."""
        height, width = rainy.shape[-2:]
        padded = F.pad(rainy, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        padded = channels_last(padded.to(next(self.parameters()).dtype))
        logits = self.score(padded)[..., :height, :width]
        return Layers(rainy, torch.zeros_like(rainy), extras={"logits": logits})

    def score(self, image: Tensor) -> Tensor:
        """Logits of an image whose sides are multiples of `STRIDE`."""
        raise NotImplementedError


class ESPNet(_Segmenter):
    """The light segmenter.

    Args:
        classes: how many there are (CamVid: 11).
        width: channels at a quarter of the photograph's size, a multiple of 8; twice as many at an eighth.
        shallow, deep: units at a quarter and at an eighth.

    Raises:
        DerainError: a size that is no whole number from 1, or a width that is no multiple of 8.
    """

    global_statistics = False

    def __init__(self, classes: int = 11, width: int = 64, shallow: int = 2, deep: int = 5):
        super().__init__(classes=classes, width=width, shallow=shallow, deep=deep)
        if width % 8:
            raise DerainError(f"width must be a multiple of 8; got {width}")
        stem = width // 4
        self.stem = nn.Sequential(_conv3x3(3, stem, stride=2), nn.BatchNorm2d(stem), nn.PReLU(stem))
        self.to_quarter = ESP(stem + 3, width, stride=2)
        self.quarter = nn.Sequential(*[ESP(width, width) for _ in range(shallow)])
        self.to_eighth = ESP(2 * width + 3, 2 * width, stride=2)
        self.eighth = nn.Sequential(*[ESP(2 * width, 2 * width) for _ in range(deep)])
        self.from_half, self.from_quarter, self.from_eighth = (
            nn.Conv2d(channels, stem, 1) for channels in (stem + 3, 2 * width + 3, 4 * width)
        )
        self.at_quarter, self.at_half = (
            nn.Sequential(_conv3x3(2 * stem, stem), nn.BatchNorm2d(stem), nn.PReLU(stem)) for _ in range(2)
        )
        self.classify = nn.Conv2d(stem, classes, 1)

    @property
    def halo(self) -> int:
        """Pixels to each side that a pixel's scores depend on: 514 by default."""
        units = max(RATES) * (4 * (1 + len(self.quarter)) + 8 * (1 + len(self.eighth)))
        strided = 1 + 2 + 4
        decoder = 8 + 4 + 4 + 2 + 2  # upsampling twice its source's step, a 3x3 convolution once its own; and the last
        return units + strided + decoder + STRIDE - 1

    def score(self, image: Tensor) -> Tensor:
        half = self.stem(image)
        half = torch.cat((half, F.avg_pool2d(image, 2)), 1)  # the photograph itself, for the levels below
        first = self.to_quarter(half)
        quarter = torch.cat((first, self.quarter(first), F.avg_pool2d(image, 4)), 1)
        first = self.to_eighth(quarter)
        eighth = torch.cat((first, self.eighth(first)), 1)
        x = _resize(self.from_eighth(eighth), quarter.shape[-2:])
        x = self.at_quarter(torch.cat((x, self.from_quarter(quarter)), 1))
        x = _resize(x, half.shape[-2:])
        x = self.at_half(torch.cat((x, self.from_half(half)), 1))
        return _resize(self.classify(x), image.shape[-2:])


class BasicBlock(nn.Module):
    """ReLU(conv(ReLU(conv(x))) + x) with batch normalisation; a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, rate: int = 1):
        super().__init__()
        self.body = nn.Sequential(
            _conv3x3(inputs, outputs, stride, rate),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            _conv3x3(outputs, outputs, rate=rate),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.skip = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.skip(x)).relu_()


class PyramidPooling(nn.Module):
    """Features beside their averages over the cells of several grids: (N, C, H, W) → (N, 2C, H, W).

    Args:
        channels: C, a multiple of the number of grids.
    """

    def __init__(self, channels: int):
        super().__init__()
        # Without normalisation: the one cell of the coarsest grid has no statistics in a batch of one.
        self.project = nn.ModuleList(nn.Conv2d(channels, channels // len(BINS), 1) for _ in BINS)

    def forward(self, x: Tensor) -> Tensor:
        pooled = (conv(F.adaptive_avg_pool2d(x, cells)) for conv, cells in zip(self.project, BINS, strict=True))
        return torch.cat([x, *(_resize(p.relu(), x.shape[-2:]) for p in pooled)], 1)


class PSPNet(_Segmenter):
    """The heavier segmenter.

    Args:
        classes: how many there are (CamVid: 11).
        width: channels of the deepest features, a multiple of 16; the encoder's levels have 1/4, 3/8, 3/4 and all.
        blocks: residual blocks at each of a quarter, an eighth and, dilated, an eighth of the photograph's size.

    Raises:
        DerainError: a size that is no whole number from 1, or a width that is no multiple of 16.
    """

    global_statistics = True

    def __init__(self, classes: int = 11, width: int = 128, blocks: int = 3):
        super().__init__(classes=classes, width=width, blocks=blocks)
        if width % 16:
            raise DerainError(f"width must be a multiple of 16; got {width}")
        stem, quarter, eighth = width // 4, 3 * width // 8, 3 * width // 4
        layers = []
        for inputs, stride in ((3, 2), (stem, 1)):
            layers += [_conv3x3(inputs, stem, stride), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*layers)
        levels = ((stem, quarter, 2, 1), (quarter, eighth, 2, 1), (eighth, width, 1, 2))
        self.encoder = nn.Sequential(
            *[
                BasicBlock(outputs if i else inputs, outputs, 1 if i else stride, rate)
                for inputs, outputs, stride, rate in levels
                for i in range(blocks)
            ]
        )
        self.pooling = PyramidPooling(width)
        self.fuse = nn.Sequential(_conv3x3(2 * width, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.classify = nn.Conv2d(width, classes, 1)
        self.blocks = blocks

    @property
    def halo(self) -> int:
        """Pixels to each side that a pixel's scores depend on, averages of the whole photograph aside."""
        encoder = 1 + 2 + (2 + 4) + 4 + 8 + 2 * 16 + (self.blocks - 1) * 2 * (4 + 8 + 16)
        return encoder + 8 + 8 + STRIDE - 1

    def score(self, image: Tensor) -> Tensor:
        features = self.pooling(self.encoder(self.stem(image)))
        return _resize(self.classify(self.fuse(features)), image.shape[-2:])


VARIANTS = {}
"""No network of this file takes rain off."""

SEGMENTERS = {"espnet": (ESPNet, {}), "pspnet": (PSPNet, {})}
"""The segmenters by name: the class and what differs from its defaults."""
