"""Networks written down as the equations stand in the papers: what speed and exactness are measured against.

SRN and BRN have four convolutions for four gates, every image and state concatenated in every stage, nothing computed
ahead, no memory used twice, PyTorch's default layout: `Textbook(model)` takes the weights of one of our ConvLSTM
networks. QSNet has group convolutions and shuffles: `PlainGroups(model)`.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from derainlib.layers import Layers
from derainlib.models.qsnet import GroupConv, QSNet
from derainlib.models.recurrent import BRN, SRN, Branch


def plain(model: nn.Module) -> nn.Module:
    """The network as it is written down, where there is such a form; else as it is."""
    if isinstance(model, SRN | BRN):
        return Textbook(model)
    return PlainGroups(model) if isinstance(model, QSNet) else model


class PlainGroups(nn.Module):
    """QSNet with its group convolutions as they are written down."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model)
        for layer in self.model.modules():
            if isinstance(layer, GroupConv):
                layer.forward = layer.plain

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        return self.model(rainy, keep)


def _plain(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight.data, layer.bias.data = weight.detach().clone().contiguous(), bias.detach().clone()
    return layer


class TextbookBranch(nn.Module):
    """Eq. 2 and 3 (or 6/7, with a third input): one branch, one stage."""

    def __init__(self, branch: Branch):
        super().__init__()
        self.input = _plain(branch.input.weight, branch.input.bias)
        gates = branch.cell.gates
        self.i, self.f, self.o, self.g = map(_plain, gates.weight.chunk(4), gates.bias.chunk(4))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _plain(b.first.weight, b.first.bias), nn.ReLU(), _plain(b.second.weight, b.second.bias), nn.ReLU()
            )
            for b in branch.blocks
        )
        self.output = _plain(branch.output.weight, branch.output.bias)

    def forward(
        self, images: list[Tensor], h: Tensor, c: Tensor, others: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = F.relu(self.input(torch.cat(images, 1)))
        z = torch.cat([z, h, *others], 1)
        i, f, o = torch.sigmoid(self.i(z)), torch.sigmoid(self.f(z)), torch.sigmoid(self.o(z))
        c = f * c + i * torch.tanh(self.g(z))
        h = o * torch.tanh(c)
        x = h
        for block in self.blocks:
            x = F.relu(block(x) + x)
        return self.output(x), h, c


class Textbook(nn.Module):
    """SRN or BRN, called like every other network, in the precision of its weights; it keeps every stage.

    Args:
        model: an `SRN` or a `BRN` with ConvLSTM cells, whose weights are copied.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model_kind, self.stages = type(model), model.stages
        if isinstance(model, SRN):
            self.residual, self.sees_rainy = model.residual, model.network.sees_rainy
            self.network = TextbookBranch(model.network)
        else:
            self.to_rain, self.to_background = model.to_rain, model.to_background
            self.rain, self.background = TextbookBranch(model.rain), TextbookBranch(model.background)

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        given = rainy.to(next(self.parameters()).dtype)
        backgrounds, rains = self._srn(given) if self.model_kind is SRN else self._brn(given)
        rains = rains or [given - background for background in backgrounds]
        last = (stages[-1].to(rainy.dtype) for stages in (backgrounds, rains))
        return Layers(*last, tuple(backgrounds), tuple(rains))

    def _zeros(self, rainy: Tensor, branch: TextbookBranch) -> Tensor:
        n, _, height, width = rainy.shape
        return rainy.new_zeros(n, branch.i.out_channels, height, width)

    def _srn(self, rainy: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        x, xs = rainy, []
        h, c = self._zeros(rainy, self.network), self._zeros(rainy, self.network)
        for _ in range(self.stages):
            x, h, c = self.network([rainy, x] if self.sees_rainy else [x], h, c, [])
            x = x + rainy if self.residual else x
            xs.append(x)
        return xs, []

    def _brn(self, rainy: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        x, r, xs, rs = rainy, rainy, [], []
        h, c, h_r, c_r = (self._zeros(rainy, self.rain) for _ in range(4))
        for _ in range(self.stages):
            r, h_r, c_r = self.rain([rainy, r], h_r, c_r, [h] if self.to_rain else [])
            x, h, c = self.background([rainy, x, r], h, c, [h_r] if self.to_background else [])
            xs.append(x)
            rs.append(r)
        return xs, rs
