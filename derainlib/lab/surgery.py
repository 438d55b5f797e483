"""Operations on trained networks, and what the picture loses by them.

    patient = surgery.silenced(network, "network.blocks.0.first", [7])    # a channel that gives zero from now on
    patient = surgery.cut(network, "h → cell")                            # what a layer reads of one of its inputs
    patient = surgery.disturbed(network, "shuffle pixels")                # the state between two stages
    surgery.harm(network, patient, pair)                                  # in dB

Each operation returns a copy. It tells what *these* weights rely on, not what a network without the part could learn:
that is an ablation, which trains again (`derainlib.lab.ablations`).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from derainlib import metrics
from derainlib.errors import DerainError
from derainlib.lab import figures, insight
from derainlib.layers import Layers, Pair
from derainlib.models.dcdnet import DCDNet
from derainlib.models.menet import MENET
from derainlib.models.phpnet import PHPNet
from derainlib.models.qsnet import QSNet
from derainlib.models.recurrent import BRN, SRN, ConvGRU, ConvLSTM

Place = tuple[str, slice | None]
"""A layer, and the channels that it reads of one input; None: all that it gives."""


# --- operations ------------------------------------------------------------------------------------------------------


def silenced(network: nn.Module, layer: str, channels: Sequence[int] | None = None) -> nn.Module:
    """A copy in which channels of a layer give zero: their weights and biases are zero.

    Args:
        layer: a name of `named_modules`, with weights of its own.
        channels: which; all of them where left out.

    Raises:
        DerainError: no such layer, or no such channel.
    """
    return _edited(network, layer, channels, lambda values, some: values.index_fill(0, some, 0))


def permuted(network: nn.Module, layer: str, seed: int = 0) -> nn.Module:
    """A copy in which a layer gives its channels in another order, drawn from `seed`, that nobody after it knows of.

    Channels of a group stay in it, since they read no other inputs; a depthwise layer stays as it is.

    Raises:
        DerainError: no such layer, or a norm, whose channels have the order of the layer before.
    """
    module, random = _layer(network, layer), torch.Generator().manual_seed(seed)
    if module.weight.ndim == 1:
        raise DerainError(f"{layer} has its channels in the order of the layer before it: permute that one")
    groups = getattr(module, "groups", 1)
    each = len(module.weight) // groups
    taken = torch.cat([group * each + torch.randperm(each, generator=random) for group in range(groups)])
    return _edited(network, layer, None, lambda values, _: values[taken])


def _edited(
    network: nn.Module, layer: str, channels: Sequence[int] | None, edit: Callable[[Tensor, Tensor], Tensor]
) -> nn.Module:
    """A copy in which weight and bias of a layer are edited."""
    with torch.inference_mode(False), torch.no_grad():
        network = copy.deepcopy(network).eval()
        module = _layer(network, layer)
        count = len(module.weight)
        some = torch.arange(count) if channels is None else torch.as_tensor([*channels], dtype=torch.long)
        if some.numel() and not 0 <= int(some.min()) <= int(some.max()) < count:
            raise DerainError(f"{layer} has the channels 0 to {count - 1}; there is no {int(some.max())}")
        for values in (module.weight, module.bias):
            if values is not None:
                values.copy_(edit(values, some))
    return network


def _layer(network: nn.Module, name: str) -> nn.Module:
    modules = {key: module for key, module in network.named_modules() if getattr(module, "weight", None) is not None}
    if name not in modules:
        raise DerainError(f"no layer with weights is called {name!r}; there are {', '.join(modules)}")
    return modules[name]


def wires(network: nn.Module) -> dict[str, list[Place]]:
    """The connections of one of the papers' networks that can be cut, by title; none of other networks."""
    for kind, found in _WIRES.items():
        if isinstance(network, kind):
            return found(network)
    return {}


def _of_srn(network: SRN) -> dict[str, list[Place]]:
    width, images = network.network.cell.gates.weight.shape[1] // 2, 3 if network.network.sees_rainy else 0
    into = {"x^{t−1} → input": [("network.input", slice(images, images + 3))]}
    if images:
        into = {"O → input": [("network.input", slice(0, 3))]} | into
    return into | {"h^{t−1} → cell": _gates(network, "network.cell", slice(width, 2 * width))}


def _of_brn(network: BRN) -> dict[str, list[Place]]:
    width = network.rain.input.weight.shape[0]
    own, other = slice(width, 2 * width), slice(2 * width, 3 * width)
    found = {
        "O → both inputs": [("rain.input", slice(0, 3)), ("background.input", slice(0, 3))],
        "r^{t−1} → rain": [("rain.input", slice(3, 6))],
        "x^{t−1} → background": [("background.input", slice(3, 6))],
        "r^t → background": [("background.input", slice(6, 9))],
        "h_r → rain cell": _gates(network, "rain.cell", own),
        "h_x → background cell": _gates(network, "background.cell", own),
    }
    if network.to_rain:
        found["h_x → rain cell"] = _gates(network, "rain.cell", other)
    if network.to_background:
        found["h_r → background cell"] = _gates(network, "background.cell", other)
    return found


def _gates(network: nn.Module, cell: str, read: slice) -> list[Place]:
    parts = [name for name, _ in network.get_submodule(cell).named_children()]
    return [(f"{cell}.{part}", read) for part in parts]


def _of_dcdnet(network: DCDNet) -> dict[str, list[Place]]:
    found = {}
    for title, name, fusions in (
        ("earlier estimates → stage", "outer", network.outer),
        ("earlier maps → fusion", "stage.fusion", network.stage.fusion),
    ):
        if hasattr(fusions, "convs"):  # they read the newest map first
            found[title] = [(f"{name}.convs.{i}", slice(fusions.width, None)) for i in range(len(fusions.convs))]
    return found


def _of_qsnet(network: QSNet) -> dict[str, list[Place]]:
    scales = {f"C_{i} → decoders": [(f"scales.{i - 1}", None)] for i in range(1, len(network.scales) + 1)}
    decoded = [(f"auxiliary.{i}.output", None) for i in range(len(network.auxiliary))]
    return scales | ({"decoded rain → main decoder": decoded} if decoded else {})


def _of_phpnet(network: PHPNet) -> dict[str, list[Place]]:
    found = {}
    if network.encoder:
        layers = range(len(network.encoder.layers))
        found = {f"pyramid {j + 1}": _pyramid(network, j) for j in layers}
    if network.refinement:
        images = 3 * network.stride**2
        found["O → refinement"] = [("refinement.convs.0", slice(0, images))]
        found["X^c → refinement"] = [("refinement.convs.0", slice(images, None))]
        found["refinement → X"] = [("refinement.output", None)]
    return found


def _pyramid(network: PHPNet, j: int) -> list[Place]:
    layer = network.encoder.layers[j]
    parts = [f"branches.{i}" for i in range(len(layer.branches))] if hasattr(layer, "branches") else ["conv"]
    return [(f"encoder.layers.{j}.{part}", None) for part in parts]


def _of_menet(network: MENET) -> dict[str, list[Place]]:
    blocks = range(len(network.blocks))
    found = {f"block {i + 1}": [(f"blocks.{i}.second.norm", None)] for i in blocks}
    return found | {"quarter size → half size": [("ascend.norm", None)]}


_WIRES = {SRN: _of_srn, BRN: _of_brn, DCDNet: _of_dcdnet, QSNet: _of_qsnet, PHPNet: _of_phpnet, MENET: _of_menet}


def cut(network: nn.Module, wire: str) -> nn.Module:
    """A copy without a connection: what passed along it is zero.

    Args:
        wire: a name in `wires(network)`.

    Raises:
        DerainError: no such connection.
    """
    places = wires(network)
    if wire not in places:
        raise DerainError(f"no connection is called {wire!r}; there are {', '.join(places) or 'none'}")
    for layer, read in places[wire]:
        network = silenced(network, layer) if read is None else _edited(network, layer, None, partial(_without, read))
    return network


def _without(read: slice, values: Tensor, _: Tensor) -> Tensor:
    """A weight (out, in, …) that does not read some inputs; a bias stays."""
    if values.ndim == 1:
        return values
    values = values.clone()
    values[:, read] = 0
    return values


CHANGES = {
    "forget": torch.zeros_like,
    "shuffle channels": lambda state: state[:, _order(state.shape[1])],
    "shuffle pixels": lambda state: state.flatten(2)[..., _order(state[0, 0].numel())].view_as(state),
    "move by 8 pixels": lambda state: state.roll(8, 3),
}
"""What can be done to the state of a recurrent network between two stages."""


def _order(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def disturbed(network: nn.Module, change: str) -> nn.Module:
    """A copy whose recurrent state is changed whenever it passes from a stage to the next: h, and c of an LSTM, alike.

    Args:
        change: a name in `CHANGES`.

    Raises:
        DerainError: no such change, or a network without ConvLSTM and ConvGRU.
    """
    if change not in CHANGES:
        raise DerainError(f"no change of state is called {change!r}; there are {', '.join(CHANGES)}")
    with torch.inference_mode(False):
        network = copy.deepcopy(network).eval()
    cells = _cells(network)
    if not cells:
        raise DerainError(f"a {type(network).__name__} has no recurrent state")
    for cell in cells:
        cell.register_forward_pre_hook(lambda _, given: (*given[:2], *map(CHANGES[change], given[2:])))
    return network


def _cells(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, ConvLSTM | ConvGRU)]


def operations(network: nn.Module) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """All cuts and disturbances that a network of the papers can undergo, by title."""
    found = {f"cut {wire}": partial(cut, wire=wire) for wire in wires(network)}
    changes = CHANGES if _cells(network) else ()
    return found | {f"state: {change}": partial(disturbed, change=change) for change in changes}


# --- what is lost ----------------------------------------------------------------------------------------------------


def score(network: nn.Module, pair: Pair) -> float:
    """PSNR in dB of what a network makes of a photograph, in RGB, unclamped values clamped."""
    with torch.inference_mode():
        return metrics.psnr(network(pair.rainy).background.clamp(0, 1), pair.clean).mean().item()


def harm(network: nn.Module, patient: nn.Module, pair: Pair) -> float:
    """What an operation costs, in dB of PSNR; below zero where the picture gains."""
    return score(network, pair) - score(patient, pair)


def harms(network: nn.Module, layer: str, pair: Pair) -> list[float]:
    """What it costs to silence each channel of a layer alone, in dB."""
    whole, count = score(network, pair), len(_layer(network, layer).weight)
    return [whole - score(silenced(network, layer, [channel]), pair) for channel in range(count)]


def ranked(costs: Mapping[str, Sequence[float]]) -> figures.Picture:
    """Channels by the harm of their loss, the worst first, a curve for each layer.

    Args:
        costs: from a layer's name to what `harms` found.
    """
    figure, ax = figures.canvas(size=(6.4, 3), summary=f"harm of single channels: {', '.join(costs)}")
    for name, values in costs.items():
        ax.plot(range(1, len(values) + 1), sorted(values, reverse=True), "o-", ms=3, label=name)
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set_yscale("symlog", linthresh=0.1)
    ticks = [-1, -0.1, 0, 0.1, 1, 10]
    ax.set_yticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    ax.set(xlabel="channels, worst first", ylabel="PSNR lost (dB)")
    ax.legend(fontsize=8)
    return figure


def beside(network: nn.Module, patient: nn.Module, pair: Pair, title: str) -> figures.Picture:
    """The result before and after an operation, and where they differ.

    Args:
        network: as it was.
        patient: as it is now.
        pair: the photograph and its truth.
        title: of the operation.
    """
    with torch.inference_mode():
        before, after = (one(pair.rainy).background.clamp(0, 1) for one in (network, patient))
    scores = [metrics.psnr(image, pair.clean).mean().item() for image in (before, after)]
    figure, (left, middle, right) = figures.canvas(1, 3, (9, 2.5), width_ratios=(1, 1, 1.2))
    figures.place(left, before, f"whole: {scores[0]:.1f} dB")
    figures.place(middle, after, f"{title}: {scores[1]:.1f} dB")
    figures.heat(right, 255 * (after - before)[0].mean(0), "after − before", "of 255", signed=True)
    return figure


def beyond(network: nn.Module, pair: Pair, stages: int) -> list[float]:
    """PSNR in dB after each stage, when a recurrent network goes on past its T.

    Raises:
        DerainError: a network without stages, or one that cannot go on.
    """
    with torch.inference_mode():
        found: Layers = insight.staged(network, stages)(pair.rainy, keep=True)
    return [metrics.psnr(image.clamp(0, 1), pair.clean).mean().item() for image in found.stages]
