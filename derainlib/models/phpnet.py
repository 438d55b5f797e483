"""PHPNet: pyramids of dilated convolutions, parallel and stacked, take off rain of all sizes; details come after.

"Intensity-aware single-image deraining with semantic and color regularization" (equation numbers below are that
paper's; its Y is our O, its X our B̂). Two sub-networks, the first for a rain-free image X^c, which the paper wants
without fine details, the second for the final X:

    C_a = sigmoid(f_d1(O) − f_d2(O))                                           (2)  dilated convolutions 1x1/1 and 3x3/2
    Y_c = (1 − C_a) · O                                                             pixels that look free of rain
    x_0 = [first layer's features, average pool of Y_c]
    g_i = σ(W_ij ∗ x_{j-1} + g_{i-1}),  i = 1 … k                                   parallel pyramid, top-down sums
    f = [g_1, …, g_k],  x_j = x_{j-1} + f · sigmoid(T(f)),  j = 1 … k               reweighting; hierarchical pyramid
    X^c = O − W ∗ x_k,  X = X^c + G(O, X^c)

T is twice a depthwise convolution and a SELU; k = 4. All convolutions are 3x3 but f_d1 and each sub-network's last.

The authors published no code. Choices that the text leaves open, all ours:

- Stride 2: the photograph's 2x2 blocks are the channels that both sub-networks read and write (pixel unshuffle and
  shuffle), so everything between works on a quarter of the positions and yet sees every pixel.
- 64 channels, 16 of each of the k = 4 branches: 61 features of the first layer and the 3 pooled colours. k counts the
  branches of a pyramid and the pyramids on each other. Branch i of pyramid j has dilation i + j − 1, in blocks.
- C_a is one map for all colours. The pool averages 6x6 pixels, 3x3 blocks, those outside the photograph left out; it is
  local, so that tiles are exact.
- σ is a ReLU, and the sums come before it. A pyramid adds to what it gets. There is no batch normalisation.
- Both sub-networks predict a difference: the first what is to be taken off O, the second what X^c lacks. So details
  stay in X^c by themselves, whatever its target is, and little is left for G to add (notebook 08). G reads O too, since
  details that X^c does lose are nowhere else; it is four 3x3 convolutions of 32 channels and a 1x1.

The target of X^c (low-passed or not) is a matter of the loss. Table IV's other networks and Table V's shared heads are
options, QSNet standing for SPANet. The segmentation network Φ has the first sub-network's structure with classes in the
place of colours, at stride 4 to see farther, and one more 3x3 convolution before the last; a second head says which
classes there are (Table V's b).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers
from derainlib.models.blocks import Maps, Strips, channels_last, conv, frugal
from derainlib.models.checks import check_sizes, check_switches
from derainlib.models.qsnet import QSNet

BLOCKS = ("php", "concatenation", "parallel", "hierarchical", "standard", "nonlocal")
POOLINGS = ("contrast", "max", "none")
FIRST = ("php", "qsnet")
HEADS = ("none", "objects", "segmentation")
REFINEMENT = 32
"""Channels of the refinement sub-network."""


def _conv3x3(inputs: int, outputs: int, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, groups=groups)


def _run(layer: nn.Conv2d, x: Tensor, relu: bool = False, plus: Tensor | None = None) -> Tensor:
    """`layer` of x, the sum with `plus` and a ReLU."""
    return conv(x, layer.weight, layer.bias, layer.padding, layer.dilation, layer.groups, relu=relu, plus=plus)


def to_blocks(image: Tensor, stride: int) -> Tensor:
    """The photograph's stride x stride blocks as channels, (N, C, H, W) → (N, C stride², ⌈H/stride⌉, ⌈W/stride⌉).

    The last row and column are repeated until the sides are multiples of the stride.
    """
    return F.pixel_unshuffle(_filled(image, stride), stride).contiguous(memory_format=torch.channels_last)


def _filled(image: Tensor, stride: int) -> Tensor:
    height, width = image.shape[-2:]
    right, bottom = -width % stride, -height % stride
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if right or bottom else image


def from_blocks(blocks: Tensor, stride: int, like: Tensor) -> Tensor:
    """Undoes `to_blocks`: an image of `like`'s size and precision."""
    height, width = like.shape[-2:]
    return F.pixel_shuffle(blocks, stride)[:, :, :height, :width].to(like.dtype)


# --- the first sub-network ------------------------------------------------------------------------------------------


class ContrastPooling(nn.Module):
    """Contrast-aware pooling (Eq. 2): local means of the pixels that stand out little from their surroundings."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride
        self.pixel = nn.Conv2d(3, 1, 1)
        self.surroundings = _conv3x3(3, 1, dilation=2)
        self.reach = 2 + stride
        """Pixels beyond a block that its means depend on."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W), H and W multiples of the stride → pooled (N, 3, H/stride, W/stride), C_a (N, 1, H, W)."""
        contrast = (self.pixel(image) - self.surroundings(image)).sigmoid()
        return mean_pool((1 - contrast) * image, self.stride), contrast


class MaxPooling(nn.Module):
    """In the place of contrast-aware pooling: the brightest value of the same neighbourhood."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = self.reach = stride

    def forward(self, image: Tensor) -> tuple[Tensor, None]:
        return F.max_pool2d(image, 3 * self.stride, self.stride, self.stride), None


def mean_pool(image: Tensor, stride: int) -> Tensor:
    """Each block's mean over itself and its eight neighbours, those outside the image left out."""
    return F.avg_pool2d(F.avg_pool2d(image, stride), 3, 1, 1, count_include_pad=False)


class Reweighting(nn.Module):
    """sigmoid(T(f)), T twice a depthwise convolution and a SELU; (N, C, H, W) → the same."""

    def __init__(self, width: int):
        super().__init__()
        self.convs = nn.ModuleList(_conv3x3(width, width, groups=width) for _ in range(2))

    def forward(self, f: Tensor) -> Tensor:
        for layer in self.convs:
            f = F.selu_(_run(layer, f))
        return f.sigmoid_() if frugal(f) else f.sigmoid()


class Pyramid(nn.Module):
    """A parallel pyramid: branches of growing dilation side by side, summed top-down, concatenated and reweighted.

    Args:
        width: channels in and out, a multiple of the number of branches.
        dilations: of the branches, in positions.
        aggregated: whether each branch's features are added to those of the next, which sees farther.
        reweighted: whether the concatenated features are multiplied by attention.
    """

    def __init__(self, width: int, dilations: tuple[int, ...], aggregated: bool = True, reweighted: bool = True):
        super().__init__()
        self.branches = nn.ModuleList(_conv3x3(width, width // len(dilations), dilation) for dilation in dilations)
        self.aggregated = aggregated
        self.reweighting = Reweighting(width) if reweighted else None
        self.reach = max(dilations) + 2 * reweighted
        """Positions to each side that a feature depends on."""

    def forward(self, x: Tensor) -> Maps:
        """x_{j-1} → x_j and, if reweighted, its attention, all (N, width, H, W)."""
        features = []
        for branch in self.branches:
            earlier = features[-1] if self.aggregated and features else None
            features.append(_run(branch, x, relu=True, plus=earlier))
        f = torch.cat(features, 1)
        if not self.reweighting:
            return (x + f,)
        attention = self.reweighting(f)
        return torch.addcmul(x, f, attention), attention


class Dense(nn.Module):
    """A densely connected layer: 3x3 convolution of everything before, put beside it."""

    reach = 1

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.conv = _conv3x3(inputs, growth)

    def forward(self, x: Tensor) -> Maps:
        return (torch.cat([x, _run(self.conv, x, relu=True)], 1),)


class NonLocal(nn.Module):
    """A non-local block, embedded Gaussian form: x + W_z ∗ softmax(θᵀφ) g; φ and g see every second position."""

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(width, width // 2, 1) for _ in range(3))
        self.output = nn.Conv2d(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 2, ceil_mode=True)
        maps = self.query(x), self.key(pooled), self.value(pooled)
        found = F.scaled_dot_product_attention(*(m.flatten(2).transpose(1, 2)[:, None] for m in maps), scale=1.0)
        return x + self.output(found[:, 0].transpose(1, 2).unflatten(2, x.shape[-2:]))


def _layers(block: str, width: int, k: int) -> tuple[list[nn.Module], int]:
    """The k layers of a kind of block, and their channels in the end."""
    near = tuple(range(1, k + 1))
    match block:
        case "standard":
            growth = width // 2
            return [Dense(width + j * growth, growth) for j in range(k)], width + k * growth
        case "php" | "concatenation":
            rates, whole = [tuple(i + j for i in near) for j in range(k)], block == "php"
        case "parallel":
            rates, whole = [near] * k, False
        case "hierarchical":
            rates, whole = [(j,) for j in near], False
        case "nonlocal":
            rates, whole = [(1,)] * k, False
    return [Pyramid(width, dilations, whole, whole) for dilations in rates], width


class Encoder(nn.Module):
    """The first sub-network up to its last convolution: pooling, first layer, PHP block.

    Args:
        width, k, block, pooling: see `PHPNet`.
        stride: side of the blocks of pixels that are one position.
    """

    def __init__(self, width: int, k: int, block: str, pooling: str, stride: int):
        super().__init__()
        self.stride = stride
        self.pooling = {"contrast": ContrastPooling, "max": MaxPooling, "none": lambda _: None}[pooling](stride)
        self.input = _conv3x3(3 * stride**2, width - (3 if self.pooling else 0))
        layers, self.channels = _layers(block, width, k)
        self.layers = nn.ModuleList(layers)
        self.relate = NonLocal(width) if block == "nonlocal" else None

    @property
    def reach(self) -> int:
        """Pixels beyond a block that its features depend on."""
        first = max(self.stride, self.pooling.reach if self.pooling else 0)
        return first + self.stride * sum(layer.reach for layer in self.layers)

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last convolution; in a pyramid, of the branch that sees farthest."""
        if self.relate:
            return self.relate.output.weight
        last = self.layers[-1]
        return last.conv.weight if isinstance(last, Dense) else last.branches[-1].weight

    def forward(self, image: Tensor, keep: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """(N, 3, H, W) → (N, channels, ⌈H/stride⌉, ⌈W/stride⌉); if kept, C_a and the attention of each pyramid."""
        blocks, kept = to_blocks(image, self.stride), {}
        pooled, contrast = self.pooling(_filled(image, self.stride)) if self.pooling else (None, None)
        if keep and contrast is not None:
            kept["contrast"] = contrast[:, :, : image.shape[-2], : image.shape[-1]]
        strips = Strips(blocks, keep, self.channels)
        (x,) = strips.run(self._enter, 1, blocks, pooled)
        for j, layer in enumerate(self.layers, 1):
            y, *attention = strips.run(lambda x, layer=layer: layer(x)[: 1 + keep], layer.reach, x)
            strips.release(x)
            x = y
            kept |= {f"attention_{j}": a for a in attention}
        return (self.relate(x) if self.relate else x), kept

    def _enter(self, blocks: Tensor, pooled: Tensor | None) -> Maps:
        x = _run(self.input, blocks, relu=True)
        return (x if pooled is None else torch.cat([x, pooled.to(x.dtype)], 1),)


# --- what follows it ------------------------------------------------------------------------------------------------


class Refinement(nn.Module):
    """G: what X^c lacks, from the photograph and X^c; (N, 6, H, W) → (N, 3, H, W)."""

    def __init__(self, stride: int, width: int = REFINEMENT, depth: int = 4):
        super().__init__()
        self.stride = stride
        self.convs = nn.ModuleList(_conv3x3(width if i else 6 * stride**2, width) for i in range(depth))
        self.output = nn.Conv2d(width, 3 * stride**2, 1)

    @property
    def reach(self) -> int:
        """Pixels beyond a block that the details in it depend on."""
        return self.stride * len(self.convs)

    def forward(self, images: Tensor) -> Tensor:
        blocks = to_blocks(images, self.stride)
        strips = Strips(blocks, False, max(blocks.shape[1], self.output.in_channels))
        (details,) = strips.run(lambda x: (self._details(x),), len(self.convs), blocks)
        return from_blocks(details, self.stride, images)

    def _details(self, x: Tensor) -> Tensor:
        for layer in self.convs:
            x = _run(layer, x, relu=True)
        return _run(self.output, x)


class SegmentationHead(nn.Module):
    """Class scores of each pixel: a 3x3 and a 1x1 convolution of the features, enlarged bilinearly.

    Args:
        inputs: channels of the features.
        classes: K.
        stride: pixels of a position.
    """

    def __init__(self, inputs: int, classes: int, stride: int):
        super().__init__()
        self.stride, self.reach = stride, 2 * stride
        self.spatial, self.output = _conv3x3(inputs, inputs), nn.Conv2d(inputs, classes, 1)

    def forward(self, features: Tensor, like: Tensor) -> Tensor:
        """Logits (N, K, H, W) of the size of the image `like`."""
        logits = _run(self.output, _run(self.spatial, features, relu=True)).to(like.dtype)
        height, width = like.shape[-2:]
        return F.interpolate(logits, scale_factor=self.stride, mode="bilinear")[:, :, :height, :width]


class PresenceHead(nn.Linear):
    """Which classes a photograph shows at all, from the features' mean: logits (N, K)."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.mean((2, 3)))


class PHPNet(nn.Module):
    """Parallel and hierarchical context pyramids with contrast-aware pooling, then refinement.

    Kept stages are X^c and X; kept extras (`layers.EXTRAS`) are "coarse", "contrast", "attention_1" … "attention_k" and
    what the shared head gives, "presence" or "logits", each where there is such a part.

    Args:
        width: channels of the first sub-network, a multiple of 2k.
        k: branches of a pyramid, and pyramids (4).
        block: "php"; Table IV's "standard" (densely connected, no dilation), "parallel" (every pyramid has dilations
            1 … k), "hierarchical" (pyramid j is one branch, dilation j), "concatenation" (neither sums nor
            reweighting), or "nonlocal" (k convolutions and a non-local block).
        pooling: "contrast", "max" or "none".
        first: what makes X^c: "php", the sub-network above, or "qsnet", another single-stage network, to whose
            X^c the same refinement is put, as Table IV does with SPANet.
        refinement: whether there is a second sub-network; X is X^c otherwise.
        head: what shares the encoder (Table V): "none", "objects" (a, which classes there are), "segmentation" (c).
        classes: K of the head.

    Raises:
        DerainError: an option of the wrong type or size.
    """

    stride = 2

    def __init__(
        self,
        *,
        width: int = 64,
        k: int = 4,
        block: str = "php",
        pooling: str = "contrast",
        first: str = "php",
        refinement: bool = True,
        head: str = "none",
        classes: int = 11,
    ):
        super().__init__()
        _check(width, k, classes)
        _check_choice(block=(block, BLOCKS), pooling=(pooling, POOLINGS), first=(first, FIRST), head=(head, HEADS))
        check_switches(refinement=refinement)
        if first != "php" and head != "none":
            raise DerainError(f"head={head!r} shares the encoder of first='php'; there is none with first={first!r}")
        self.global_statistics = first == "php" and block == "nonlocal"
        self.encoder = self.head = None
        if first == "php":
            self.encoder = Encoder(width, k, block, pooling, self.stride)
            self.output = nn.Conv2d(self.encoder.channels, 3 * self.stride**2, 1)
            self.head = _head(head, self.encoder.channels, classes, self.stride)
        else:
            self.first = QSNet()
        self.refinement = Refinement(self.stride) if refinement else None

    @property
    def halo(self) -> int:
        """Pixels to each side that an output pixel depends on: 73 with everything."""
        reach = self.encoder.reach if self.encoder else self.first.halo
        # Of what lies beyond its block, a pixel at one end of it is stride − 1 farther than the reach.
        return reach + (self.refinement.reach if self.refinement else 0) + self.stride - 1

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last layer that all outputs share: that of X^c, or with a head the encoder's last."""
        if not self.encoder:
            return self.first.main.output.weight
        return self.encoder.shared if self.head else self.output.weight

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        """Takes the rain off `rainy`, (N, 3, H, W) in [0, 1]; `keep` also returns stages and extras."""
        rainy = channels_last(rainy)
        coarse, extras = self._coarse(rainy, keep)
        stages = [coarse]
        if self.refinement:
            dtype = self.refinement.output.weight.dtype
            stages.append(coarse + self.refinement(torch.cat([rainy, coarse], 1).to(dtype)).to(rainy.dtype))
        background = stages[-1]
        if not keep:
            return Layers(background, rainy - background)
        rains = tuple(rainy - stage for stage in stages)
        return Layers(background, rains[-1], tuple(stages), rains, {"coarse": coarse} | extras)

    def _coarse(self, rainy: Tensor, keep: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """X^c, and if kept the first sub-network's extras."""
        if not self.encoder:
            return self.first(rainy).background, {}
        features, kept = self.encoder(rainy.to(self.output.weight.dtype), keep)
        coarse = rainy - from_blocks(_run(self.output, features), self.stride, rainy)
        if keep and isinstance(self.head, SegmentationHead):
            kept["logits"] = self.head(features, rainy)
        elif keep and self.head:
            kept["presence"] = self.head(features)
        return coarse, kept


class Phi(nn.Module):
    """Φ: the segmentation network, with the structure of PHPNet's first sub-network.

    It takes no rain off: the background is the image, the rain zero. The extras "logits" and, with `presence`,
    "presence" are always there.

    Args:
        width, k: as in `PHPNet`.
        classes: K (CamVid: 11).
        stride: side of the blocks of pixels that are one position.
        presence: whether a second head says which classes there are.

    Raises:
        DerainError: an option of the wrong type or size.
    """

    global_statistics = False

    def __init__(self, width: int = 64, k: int = 4, classes: int = 11, stride: int = 4, presence: bool = True):
        super().__init__()
        _check(width, k, classes)
        check_sizes(stride=stride)
        check_switches(presence=presence)
        self.stride = stride
        self.encoder = Encoder(width, k, "php", "contrast", stride)
        self.segmentation = SegmentationHead(width, classes, stride)
        self.presence = PresenceHead(width, classes) if presence else None

    @property
    def halo(self) -> int:
        """Pixels to each side that a pixel's class scores depend on."""
        return self.encoder.reach + self.segmentation.reach + self.stride - 1

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last layer that all outputs share: the encoder's last."""
        return self.encoder.shared

    def forward(self, image: Tensor, keep: bool = False) -> Layers:
        """Classifies the pixels of `image`, (N, 3, H, W) in [0, 1]; `keep` adds C_a and attention as in PHPNet."""
        image = channels_last(image)
        features, extras = self.encoder(image.to(self.encoder.input.weight.dtype), keep)
        extras["logits"] = self.segmentation(features, image)
        if self.presence:
            extras["presence"] = self.presence(features)
        return Layers(image, torch.zeros_like(image), extras=extras)


def _head(kind: str, inputs: int, classes: int, stride: int) -> nn.Module | None:
    if kind == "segmentation":
        return SegmentationHead(inputs, classes, stride)
    return PresenceHead(inputs, classes) if kind == "objects" else None


def _check(width: int, k: int, classes: int):
    check_sizes(width=width, k=k, classes=classes)
    if width % (2 * k):
        raise DerainError(f"width must be a multiple of 2k = {2 * k}; got {width}")


def _check_choice(**choices: tuple[str, tuple[str, ...]]):
    for name, (value, known) in choices.items():
        if value not in known:
            raise DerainError(f"{name} must be one of {', '.join(known)}; got {value!r}")


VARIANTS = {
    "phpnet": (PHPNet, {}),
    "phpnet-standard": (PHPNet, {"block": "standard"}),
    "phpnet-parallel": (PHPNet, {"block": "parallel"}),
    "phpnet-hierarchical": (PHPNet, {"block": "hierarchical"}),
    "phpnet-concatenation": (PHPNet, {"block": "concatenation"}),
    "phpnet-nonlocal": (PHPNet, {"block": "nonlocal"}),
    "phpnet-no-contrast": (PHPNet, {"pooling": "none"}),
    "phpnet-max-pooling": (PHPNet, {"pooling": "max"}),
    "phpnet-no-refinement": (PHPNet, {"refinement": False}),
    "phpnet-qsnet": (PHPNet, {"first": "qsnet"}),
    "phpnet-objects": (PHPNet, {"head": "objects"}),
    "phpnet-segmentation": (PHPNet, {"head": "segmentation"}),
}
"""The networks by name: Table IV's rows, and Table V's (a) and (c)."""

SEGMENTERS = {"phi": (Phi, {})}
"""The segmentation network by name."""
