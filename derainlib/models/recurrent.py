"""SRN and BRN: one or two small recurrent networks, run T times over the same photograph.

D. Ren, W. Shang, P. Zhu, Q. Hu, D. Meng, W. Zuo, "Single Image Deraining Using Bilateral Recurrent Network"
(equation numbers below are this paper's). SRN is the authors' earlier PReNet with its images renamed.

    x^t = F(y, x^{t-1})                                                        (1)  y = O, x = B̂, r = R̂
    z^t = f_in(x^{t-1}, y),  h^t = f_recurrent(h^{t-1}, z^t),  x^t = f_out(f_res(h^t))        (2)
    r^t = F(y, r^{t-1}),  x^t = y − r^t                                        (4)  residual mapping
    r^t = F_r(y, r^{t-1}),  x^t = F_x(y, x^{t-1}, r^t)                         (5)  CRN, no exchange
    r^t = F_r(y, r^{t-1}, (h_r^{t-1}, h_x^{t-1})),  x^t = F_x(y, x^{t-1}, r^t, (h_r^t, h_x^{t-1}))    (8)  BRN

Where the text leaves a choice, the authors' public code decides: r and x both start as the rainy image, h and c as
zero; a block ends in a ReLU of the sum; the residual form writes Eq. 4 as x^t = y + F(y, x^{t-1}), which is the same
map with the sign of F's last layer turned and r^{t-1} = y − x^{t-1} read from the two images F sees anyway.
The gates of GRUs in BRN see the other branch's state unchanged, only their own is reset (our choice).

How a stage is kept quick: the four gates are one convolution, the rainy image's share of each input layer is computed
once for all stages, and in the first stage, where every state is zero, the states' share of the gates is skipped.
Memory is channels-last. In training what an LSTM does after its convolution is one step of autograd (`_Gating`). On
CPUs, where no gradient is wanted, each layer works on one strip of rows after the other (`Strips`), and pointwise steps
overwrite what nobody reads again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from derainlib.errors import DerainError
from derainlib.layers import Layers
from derainlib.models.blocks import Strips, channels_last, frugal
from derainlib.models.checks import check_sizes

aten = torch.ops.aten

State = tuple[Tensor, ...]
"""What a cell hands to the next stage, the hidden state h first: (h, c) of an LSTM, (h,) of a GRU."""


def _sigmoid(x: Tensor) -> Tensor:
    """σ(x), written over x where memory counts."""
    return x.sigmoid_() if frugal(x) else x.sigmoid()


def _tanh(x: Tensor) -> Tensor:
    """tanh(x); where memory counts as 2σ(2x) − 1, which a CPU computes five times as quickly, to 2e-7."""
    if not frugal(x) or x.dtype == torch.float64:
        return x.tanh()
    return (2 * x).float().sigmoid_().mul_(2).sub_(1).to(x.dtype)


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _gates(conv: nn.Conv2d, *inputs: Tensor | None) -> Tensor:
    """`conv` of the inputs (of equal width) side by side; a missing input is a zero state and costs nothing."""
    given = [x for x in inputs if x is not None]
    weight, width = conv.weight, given[0].shape[1]
    if len(given) * width < conv.in_channels:
        slices = weight.split(width, 1)
        weight = torch.cat([part for part, x in zip(slices, inputs, strict=False) if x is not None], 1)
    return F.conv2d(torch.cat(given, 1), weight, conv.bias, padding=1)


class ConvLSTM(nn.Module):
    """Eq. 3, and with the other branch's hidden state as a third input Eq. 6/7.

    i, f, o = σ(W∗(z, h, h_other) + b),  g = tanh(W∗(z, h, h_other) + b),  c' = f⊙c + i⊙g,  h' = o⊙tanh(c')

    One convolution computes the four gates, in the order i, f, o, g.
    """

    depth = 1
    """3x3 convolutions from the inputs to the new state."""

    def __init__(self, width: int, states: int):
        super().__init__()
        self.gates = _conv3x3(width * (1 + states), 4 * width)

    def forward(self, z: Tensor, other: Tensor | None, h: Tensor | None = None, c: Tensor | None = None) -> State:
        gates = _gates(self.gates, z, h, other)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _Gating.apply(gates, c)
        g = _tanh(gates.chunk(4, 1)[3])
        i, f, o, _ = _sigmoid(gates).chunk(4, 1)  # one pass over contiguous memory is quicker than three in steps
        c = i * g if c is None else torch.addcmul(i * g, f, c)
        return o * _tanh(c), c


class _Gating(torch.autograd.Function):
    """Eq. 3 after its convolutions: (i, f, o, g before their activations, c) → (h', c'), with the gradient by hand.

    PyTorch's own would take σ and its derivative of each gate by itself, on memory in steps, where a CPU needs nine
    times as long in bf16, and put the gates' gradients side by side in one more pass.
    """

    @staticmethod
    def forward(ctx, gates: Tensor, c: Tensor | None) -> State:
        active = gates.sigmoid()
        i, f, o, g = active.chunk(4, 1)
        g.copy_(_tanh(gates.chunk(4, 1)[3]))
        new = i * g if c is None else torch.addcmul(i * g, f, c)
        squashed = _tanh(new)
        ctx.save_for_backward(active, c, squashed)
        ctx.set_materialize_grads(False)  # zeros would be made in another memory format, which the rest would take on
        return o * squashed, new

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h: Tensor | None, grad_new: Tensor | None) -> tuple[Tensor, Tensor | None]:
        active, c, squashed = ctx.saved_tensors
        i, f, o, g = active.chunk(4, 1)
        grad_h = torch.zeros_like(squashed) if grad_h is None else grad_h
        further = aten.tanh_backward(grad_h * o, squashed)
        grad_new = further if grad_new is None else further.add_(grad_new)
        grads = torch.empty_like(active)
        grad_i, grad_f, grad_o, grad_g = grads.chunk(4, 1)
        torch.mul(grad_new, g, out=grad_i)
        torch.mul(grad_new, c, out=grad_f) if c is not None else grad_f.zero_()
        torch.mul(grad_h, squashed, out=grad_o)
        torch.mul(grad_new, i, out=grad_g)
        sigmoids = slice(0, 3 * g.shape[1])
        aten.sigmoid_backward(grads[:, sigmoids], active[:, sigmoids], grad_input=grads[:, sigmoids])
        aten.tanh_backward(grad_g, g, grad_input=grad_g)
        return grads, None if c is None else grad_new.mul_(f)


class ConvGRU(nn.Module):
    """The gated recurrent unit of Tables II and IV.

    z', b = σ(W∗(z, h, h_other) + b),  g = tanh(W∗(z, b⊙h, h_other) + b),  h' = (1 − z')⊙h + z'⊙g
    """

    depth = 2

    def __init__(self, width: int, states: int):
        super().__init__()
        self.gates = _conv3x3(width * (1 + states), 2 * width)
        self.candidate = _conv3x3(width * (1 + states), width)

    def forward(self, z: Tensor, other: Tensor | None, h: Tensor | None = None) -> State:
        update, reset = _sigmoid(_gates(self.gates, z, h, other)).chunk(2, 1)
        candidate = _tanh(_gates(self.candidate, z, None if h is None else reset * h, other))
        return (update * candidate if h is None else torch.lerp(h, candidate, update),)


CELLS = {"lstm": ConvLSTM, "gru": ConvGRU}


class ResBlock(nn.Module):
    """conv, ReLU, conv, ReLU; then a ReLU of the sum with the block's input."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = _conv3x3(width, width), _conv3x3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu_()).relu_()
        return (y + x).relu_()


class Branch(nn.Module):
    """One recurrent network F: input layer, cell, residual blocks, output layer (Eq. 2).

    Args:
        images: RGB images the input layer sees besides the rainy one.
        blocks: number of residual blocks.
        cell: "lstm" or "gru".
        exchange: whether the cell also sees the other branch's hidden state.
        sees_rainy: whether the input layer sees the rainy image.
        width: feature channels.
    """

    def __init__(self, images: int, blocks: int, cell: str, *, exchange: bool, sees_rainy: bool, width: int):
        super().__init__()
        self.sees_rainy = sees_rainy
        self.input = _conv3x3(3 * (images + sees_rainy), width)
        self.cell = CELLS[cell](width, 2 if exchange else 1)
        self.blocks = nn.Sequential(*[ResBlock(width) for _ in range(blocks)])
        self.output = _conv3x3(width, 3)

    @property
    def depth(self) -> int:
        """Pixels to each side that the image of one stage depends on: a 3x3 convolution is one."""
        return 1 + self.cell.depth + 2 * len(self.blocks) + 1

    def rainy_share(self, rainy: Tensor) -> Tensor:
        """What the rainy image (and the bias) adds to the input layer in every stage."""
        weight, bias = self.input.weight, self.input.bias
        if not self.sees_rainy:
            return bias.view(1, -1, 1, 1).expand(len(rainy), -1, *rainy.shape[2:])
        return F.conv2d(rainy.to(weight.dtype), weight[:, :3], bias, padding=1)

    def forward(self, strips: Strips, share: Tensor, images: Tensor, state: State | None, other: Tensor | None = None):
        """One stage: the image this branch estimates, and its new state; the old one is no longer to be read."""
        new = strips.run(self.advance, 1 + self.cell.depth, images, share, other, *(state or ()))
        if state and not strips.keep:
            strips.release(*state)
        x = new[0]
        for block in self.blocks:
            (y,) = strips.run(lambda x, block=block: (block(x),), 2, x)
            if x is not new[0]:
                strips.release(x)
            x = y
        image = self.output(x).to(images.dtype)
        strips.release(x)
        return image, new

    def advance(self, images: Tensor, share: Tensor, other: Tensor | None, *state: Tensor | None) -> State:
        """The new state."""
        weight = self.input.weight[:, 3:] if self.sees_rainy else self.input.weight
        z = (F.conv2d(images.to(weight.dtype), weight, padding=1) + share).relu_()
        return self.cell(z, other, *state)


class _Recurrent(nn.Module):
    """What SRN and BRN share: checked options, and the properties that the tiler reads."""

    stride = 1
    global_statistics = False
    reach: int
    """Pixels that one stage sees to each side: a 3x3 convolution is one pixel."""
    resets: int
    """Of these, the pixels seen by a GRU's reset gate: none in the first stage, which has nothing to reset."""

    def __init__(self, stages: int, cell: str, **sizes: int):
        super().__init__()
        check_sizes(stages=stages, **sizes)
        if cell not in CELLS:
            raise DerainError(f"cell must be one of {', '.join(CELLS)}; got {cell!r}")
        self.stages, self.cell = stages, cell
        self.resets = CELLS[cell].depth - 1


class SRN(_Recurrent):
    """Single recurrent network (Eq. 1–4).

    Args:
        stages: T, how often the network runs over the photograph (paper: 6).
        blocks: residual blocks (5; SRN+ has 18).
        cell: "lstm" or "gru".
        residual: Eq. 4, the network gives −r and x = y + F; otherwise Eq. 1, it gives x.
        sees_rainy: False for SRN_x of Table II, whose later stages see only x^{t-1}.
        width: feature channels (32).
    """

    def __init__(
        self,
        *,
        stages: int = 6,
        blocks: int = 5,
        cell: str = "lstm",
        residual: bool = True,
        sees_rainy: bool = True,
        width: int = 32,
    ):
        super().__init__(stages, cell, blocks=blocks, width=width)
        self.residual = residual
        self.network = Branch(1, blocks, cell, exchange=False, sees_rainy=sees_rainy, width=width)
        self.reach = self.network.depth

    @property
    def halo(self) -> int:
        """Pixels to each side that an output pixel depends on: 13 a stage, 78 at T = 6."""
        return self.reach * self.stages - self.resets

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last layer, which the outputs of all stages share."""
        return self.network.output.weight

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        """Takes the rain off `rainy`, (N, 3, H, W) in [0, 1]; `keep` also returns stages and hidden states."""
        rainy = channels_last(rainy)
        share = self.network.rainy_share(rainy)
        strips = Strips(share, keep)
        x, state, stages, extras = rainy, None, [], {}
        for t in range(1, self.stages + 1):
            image, state = self.network(strips, share, x, state)
            x = rainy + image if self.residual else image
            if keep:
                stages.append(x)
                extras[f"hidden_{t}"] = state[0]
        return Layers(x, rainy - x, tuple(stages), tuple(rainy - s for s in stages), extras if keep else None)


EXCHANGES = {"both": (True, True), "none": (False, False), "x2r": (True, False), "r2x": (False, True)}
"""Who sees the other branch's hidden state: (the rain branch, the background branch)."""


class BRN(_Recurrent):
    """Bilateral recurrent network (Eq. 5–8): a rain branch, then a background branch, in each stage.

    Background and rain are estimated separately, so rainy = background + rain holds only approximately.

    Args:
        stages: T (paper: 6; the authors' public weights: 8).
        rain_blocks: residual blocks of F_r (3).
        background_blocks: residual blocks of F_x (5).
        cell: "lstm" or "gru" (BRN-GRU, Table IV).
        exchange: "both" (BRN), "none" (CRN), "x2r" or "r2x" (one way; Table III).
        width: feature channels (32).
    """

    def __init__(
        self,
        *,
        stages: int = 6,
        rain_blocks: int = 3,
        background_blocks: int = 5,
        cell: str = "lstm",
        exchange: str = "both",
        width: int = 32,
    ):
        super().__init__(stages, cell, rain_blocks=rain_blocks, background_blocks=background_blocks, width=width)
        if exchange not in EXCHANGES:
            raise DerainError(f"exchange must be one of {', '.join(EXCHANGES)}; got {exchange!r}")
        self.to_rain, self.to_background = EXCHANGES[exchange]
        self.rain = Branch(1, rain_blocks, cell, exchange=self.to_rain, sees_rainy=True, width=width)
        self.background = Branch(2, background_blocks, cell, exchange=self.to_background, sees_rainy=True, width=width)
        self.reach, self.rain_reach = self.background.depth, self.rain.depth

    @property
    def halo(self) -> int:
        """Pixels to each side that an output pixel depends on: 13 a stage and 9 for the first rain, 87 at T = 6."""
        detour = CELLS[self.cell].depth if self.to_rain else 0  # rain to rain by way of the background's hidden state
        further = max(self.reach, self.rain_reach + detour)
        return self.reach + self.rain_reach + further * (self.stages - 1) - 2 * self.resets

    @property
    def shared(self) -> nn.Parameter:
        """Weight of the last layer that all outputs share: the rain branch's, since the background's sees its rain."""
        return self.rain.output.weight

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        """Takes the rain off `rainy`, (N, 3, H, W) in [0, 1]; `keep` also returns stages and hidden states."""
        rainy = channels_last(rainy)
        shares = self.rain.rainy_share(rainy), self.background.rainy_share(rainy)
        strips = Strips(shares[0], keep)
        r = x = rainy
        rain_state = state = None
        stages, rain_stages, extras = [], [], {}
        for t in range(1, self.stages + 1):
            r, rain_state = self.rain(strips, shares[0], r, rain_state, state[0] if self.to_rain and state else None)
            other = rain_state[0] if self.to_background else None
            x, state = self.background(strips, shares[1], torch.cat((x, r), 1), state, other)
            if keep:
                stages.append(x)
                rain_stages.append(r)
                extras |= {f"hidden_{t}": state[0], f"hidden_rain_{t}": rain_state[0]}
        return Layers(x, r, tuple(stages), tuple(rain_stages), extras if keep else None)


VARIANTS = {
    "srn": (SRN, {}),
    "srn-direct": (SRN, {"residual": False}),
    "srn-x": (SRN, {"residual": False, "sees_rainy": False}),
    "srn-gru": (SRN, {"residual": False, "cell": "gru"}),
    "srn+": (SRN, {"residual": False, "blocks": 18}),
    "brn": (BRN, {}),
    "brn-gru": (BRN, {"cell": "gru"}),
    "crn": (BRN, {"exchange": "none"}),
    "brn-x2r": (BRN, {"exchange": "x2r"}),
    "brn-r2x": (BRN, {"exchange": "r2x"}),
}
"""The networks of Tables I–IV by name: the class and what differs from its defaults."""
