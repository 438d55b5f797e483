"""MENET: a U-Net on rearranged pixels that loses none of them on the way down, with attention to whole channels.

"Multi-Task Learning Enhanced Single Image De-Raining" (equation numbers below are that paper's; its b is our B̂).
Several tasks train one de-raining network f_w, which predicts what is to be added to the photograph:

    O = B + R,  B̂ = f_w(O)                                                     (1)
    L = Σ_i w_i L_i,  i ∈ {p, e, t}                                            (2)   `losses.balance` moves the w_i
    L_p = ‖B − B̂‖² / CHW                                                       (3, 4)  the loss "mse"
    L_e = ‖φ(B) − φ(B̂)‖² / CHW                                                 (5, 6)  the loss "edge"
    L_t = ‖G((B)_p) − G((B̂)_p)‖²                                               (7, 8)  the loss "texture"

With ↓ the 2x2 pixels of a block made channels (desubpixel, here pixel unshuffle), ↑ its inverse (subpixel), and W 3x3
convolutions of their own, each followed by batch normalisation (the last one excepted):

    net_1 = W ∗ ↓O,  net_2 = W ∗ ↓ReLU(net_1),  x_0 = CA(ReLU(net_2))               16 and 64 channels
    x_i = ReLU(x_{i-1} + W ∗ ReLU(W ∗ x_{i-1})),  i = 1 … 8 (deep: 16), the last without the outer ReLU
    B̂ = O + ↑(W ∗ W ∗ (net_1 + ↑(W ∗ (net_2 + x_8))))
    CA(x) = x + x · a,  a = sigmoid(mean(W ∗ E(E(x)))),  E(x) = ReLU(W ∗ ReLU(W_1x1 ∗ ↓x)),  the mean over the image

The text does not describe the architecture in full; layers, widths and places of ReLUs are those of the authors' public
code, and the parameters agree with it: 671,680 shallow, 815,680 with attention, 1,407,552 deep with attention.
Inside, values run over 0..255, as they do there, outside over [0, 1]. Ours are the choices that follow:

- A side that is no multiple of 4 (with attention 16) is filled by reflection on the right and below, and the result is
  cropped. The attention's mean is over the filled image.
- Batch normalisation uses PyTorch's momentum and ε. In eval mode its statistics are those of the training, so that a
  photograph alone is treated as in a batch.
- The authors clip the result to 0..255, in training too; here that is an option, off unless asked for.

On CPUs, where no gradient is wanted, each batch normalisation is folded into the convolution before it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers
from derainlib.models.blocks import conv, frugal
from derainlib.models.checks import check_sizes, check_switches

LEVELS = 255.0
"""What white is inside the network."""


def _down(x: Tensor) -> Tensor:
    """↓: the pixels of 2x2 blocks as channels, (N, C, H, W) → (N, 4C, H/2, W/2)."""
    return F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)


def _up(x: Tensor) -> Tensor:
    """↑, the inverse of ↓."""
    return F.pixel_shuffle(x, 2).contiguous(memory_format=torch.channels_last)


class ConvNorm(nn.Module):
    """A convolution without bias and its batch normalisation.

    Args:
        inputs, outputs: channels.
        size: of the kernel, 1 or 3.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """The normalised convolution, the sum with `plus` and a ReLU."""
        if not self.training and frugal(x):
            weight, bias = self.folded()
            return conv(x, weight, bias, self.conv.padding, relu=relu, plus=plus)
        y = self.norm(self.conv(x))
        y = y if plus is None else y + plus
        return y.relu_() if relu else y

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that does the same in eval mode."""
        norm, dtype = self.norm, torch.promote_types(self.conv.weight.dtype, torch.float32)
        scale = norm.weight.to(dtype) * (norm.running_var.to(dtype) + norm.eps).rsqrt()
        bias = norm.bias.to(dtype) - norm.running_mean.to(dtype) * scale
        weight = self.conv.weight.to(dtype) * scale.view(-1, 1, 1, 1)
        return weight.to(self.conv.weight.dtype), bias.to(self.conv.weight.dtype)


class ResidualBlock(nn.Module):
    """x + W ∗ ReLU(W ∗ x), and after it a ReLU unless it is the last block."""

    def __init__(self, width: int, relu: bool):
        super().__init__()
        self.first, self.second = ConvNorm(width, width), ConvNorm(width, width)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x, relu=True), relu=self.relu, plus=x)


class ChannelAttention(nn.Module):
    """The map whose mean over the image, through a sigmoid, weighs each channel.

    (N, width, H, W) → (N, width, H/4, W/4); H and W multiples of 4.

    Raises:
        DerainError: in training, one photograph of no more than 16 x 16 pixels: one value a channel has no variance.
    """

    def __init__(self, width: int):
        super().__init__()
        self.squeeze = nn.ModuleList(ConvNorm(4 * width, width, 1) for _ in range(2))
        self.spatial = nn.ModuleList(ConvNorm(width, width) for _ in range(2))
        self.excitation = ConvNorm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x[:, 0].numel() == 16:
            raise DerainError("attention cannot be trained on one patch of 16 x 16 pixels; take more, or larger ones")
        for squeeze, spatial in zip(self.squeeze, self.spatial, strict=True):
            x = spatial(squeeze(_down(x), relu=True), relu=True)
        return self.excitation(x)


class MENET(nn.Module):
    """The de-raining network f_w.

    Args:
        blocks: residual blocks (8; "deep" has 16).
        attention: whether there is channel attention.
        width: channels of the residual blocks, a multiple of 4 (64); the level above has a quarter of them.
        clip: whether B̂ is clipped to what a file can hold, also in training, where what is clipped has no gradient.

    Raises:
        DerainError: a size that is no whole number from 1, a width that is no multiple of 4, a switch that is no bool.
    """

    def __init__(self, blocks: int = 8, attention: bool = True, width: int = 64, clip: bool = False):
        super().__init__()
        check_sizes(blocks=blocks, width=width)
        check_switches(attention=attention, clip=clip)
        if width % 4:
            raise DerainError(f"width must be a multiple of 4; got {width}")
        self.clip = clip
        self.enter = ConvNorm(12, width // 4)
        self.descend = ConvNorm(width, width)
        self.attention = ChannelAttention(width) if attention else None
        self.blocks = nn.ModuleList(ResidualBlock(width, relu=i < blocks) for i in range(1, blocks + 1))
        self.ascend = ConvNorm(width, width)
        self.leave = ConvNorm(width // 4, width // 4)
        self.output = nn.Conv2d(width // 4, 12, 3, padding=1, bias=False)

    @property
    def stride(self) -> int:
        """Sides are filled to multiples of it: 4, with attention 16."""
        return 16 if self.attention else 4

    @property
    def global_statistics(self) -> bool:
        """Whether a mean over the whole image enters; `statistics` gives it by tiles."""
        return self.attention is not None

    @property
    def halo(self) -> int:
        """Pixels to each side that an output pixel depends on, the attention's mean aside: 81, deep 145.

        What `statistics` returns for a block of 16 pixels depends on no more to each side of any of them.
        """
        # In blocks of 4: the last two convolutions reach into the next; then those of ascend, the residual blocks and
        # descend. After that a pixel of half the size; and a pixel may be its block's first or last.
        local = 4 * (1 + 1 + 2 * len(self.blocks) + 1) + 2 + 3
        # Attention: two convolutions on blocks of 16, one on blocks of 8, one of 4, one of 2.
        return max(local, 2 * 16 + 8 + 4 + 2 + 15) if self.attention else local

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last convolution, which all tasks share."""
        return self.output.weight

    def forward(self, rainy: Tensor, keep: bool = False, statistics: Tensor | None = None) -> Layers:
        """Takes the rain off `rainy`.

        Args:
            rainy: O, (N, 3, H, W) in [0, 1].
            keep: whether to return extras (`layers.EXTRAS`); maps are those of the filled image.
            statistics: the mean over a larger image of what the method `statistics` returns, (N, width), of which
                `rainy` is a part; by default it is taken over `rainy`. Only read where there is attention.
        """
        net_1, net_2 = self._encode(rainy)
        kept = {"net_1": net_1, "net_2": net_2}
        x = net_2.relu()
        if self.attention:
            mean = self.attention(x).mean((2, 3)) if statistics is None else statistics
            kept["attention"] = mean.sigmoid().to(x.dtype)
            x = x * (1 + kept["attention"][:, :, None, None])
        for i, block in enumerate(self.blocks, 1):
            x = block(x)
            if keep:
                kept[f"block_{i}"] = x
        change = self._decode(x, net_1, net_2, rainy)
        background = rainy + change
        background = background.clamp(0, 1) if self.clip else background
        return Layers(background, rainy - background, extras=kept if keep else None)

    def statistics(self, rainy: Tensor) -> Tensor:
        """What the attention averages, for each block of 16 x 16 pixels: (N, width, ⌈H/16⌉, ⌈W/16⌉).

        Raises:
            DerainError: a network without attention, which averages nothing.
        """
        if not self.attention:
            raise DerainError("a MENET with attention=False averages nothing over the image")
        return self.attention(self._encode(rainy)[1].relu_())

    def _encode(self, rainy: Tensor) -> tuple[Tensor, Tensor]:
        """net_1, (N, width/4, H/2, W/2), and net_2, (N, width, H/4, W/4), of the filled image."""
        image = _filled(LEVELS * rainy, self.stride).to(self.output.weight.dtype)
        net_1 = self.enter(_down(image))
        return net_1, self.descend(_down(net_1.relu()))

    def _decode(self, x: Tensor, net_1: Tensor, net_2: Tensor, like: Tensor) -> Tensor:
        """What is to be added to the photograph `like`, in [-1, 1]."""
        x = self.leave(net_1 + _up(self.ascend(net_2 + x)))
        change = F.pixel_shuffle(self.output(x), 2)[:, :, : like.shape[2], : like.shape[3]]
        return change.to(like.dtype) / LEVELS


def _filled(image: Tensor, stride: int) -> Tensor:
    """The image reflected at its right and lower border until its sides are multiples of the stride."""
    right, bottom = -image.shape[3] % stride, -image.shape[2] % stride
    return F.pad(image, (0, right, 0, bottom), mode="reflect") if right or bottom else image


VARIANTS = {
    "menet": (MENET, {}),
    "menet-shallow": (MENET, {"attention": False}),
    "menet-deep": (MENET, {"blocks": 16}),
}
"""The networks by name: Table I with and without CA, and Table II's deep one."""
