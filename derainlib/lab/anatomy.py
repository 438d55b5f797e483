"""What a network is made of and what each part costs: measured while a photograph runs through it.

    layers = anatomy.dissect(network, pair.rainy)      # parameters, multiply-adds, memory and time of each layer
    anatomy.ledger(layers, "multiply-adds")
    mine = anatomy.admitted(Mine())                    # a class of the reader's own, which keeps the protocol
    print(anatomy.card("srn"))                         # where weights come from

Nothing asks a network how it is written. Layers are found at work, by the weights that an operation reads, so that a
class from a notebook's cell is taken apart like those of `derainlib.models`, which call few of their modules as such.
"""

import copy
import re
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from derainlib import evaluation
from derainlib.errors import DerainError
from derainlib.lab import diagram, figures, insight
from derainlib.layers import Layers
from derainlib.models import weights

WEIGHTS = {
    torch.conv1d: 1, torch.conv2d: 1, torch.conv_transpose2d: 1, F.linear: 1, F.batch_norm: 3, F.layer_norm: 2,
    F.group_norm: 2,
}  # fmt: skip
"""The operations that count as layers: which of their arguments is the weight."""

NORMS = (F.batch_norm, F.layer_norm, F.group_norm)
MEASURES = ("order", "parameters", "multiply-adds", "memory", "time")
"""By what a ledger is sorted; its order is that of first use."""

See = Callable[[str, Callable, Tensor, Tensor, Tensor], None]
"""What looks at an operation: the layer's name, the function, its weight, what it read and what it gave."""


# --- who works when --------------------------------------------------------------------------------------------------


class Tap(TorchFunctionMode):
    """While it is entered, shows every operation that reads a network's weights, whoever calls it.

    Args:
        network: whose parameters have gradients: by autograd's record a slice of a weight is known for what it is.
        see: is called after each operation.
    """

    def __init__(self, network: nn.Module, see: See):
        super().__init__()
        self.owners = {weight: name.rpartition(".")[0] for name, weight in network.named_parameters()}
        self.see = see

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        place = WEIGHTS.get(function)
        if place is not None:
            weight = args[place] if len(args) > place else kwargs.get("weight")
            for name in self._of(weight):
                self.see(name, function, weight, args[0] if args else kwargs["input"], result)
        return result

    def _of(self, weight: Tensor | None) -> set[str]:
        """The layers whose weights it is made of."""
        if weight is None:
            return set()
        if weight in self.owners:
            return {self.owners[weight]}
        return diagram.owners_of(weight.grad_fn, self.owners) if weight.grad_fn is not None else set()


def watch(network: nn.Module, image: Tensor, see: See) -> Layers:
    """Runs a network as a training does, without changing it, and shows each layer's work to `see`.

    Args:
        network: is copied.
        image: (N, 3, H, W) in [0, 1].
        see: called after each operation that reads weights.
    """
    with torch.inference_mode(False), torch.enable_grad():  # whatever a demonstration runs in
        network, image = copy.deepcopy(network).eval().requires_grad_(), image.clone()
        with Tap(network, see):
            return network(image, keep=True)


def maps(network: nn.Module, image: Tensor, layer: str) -> tuple[list[Tensor], Layers]:
    """What a layer gives, before any activation, each time it is called (in each stage), and the network's result.

    Args:
        network: is left as it is.
        image: (N, 3, H, W) in [0, 1].
        layer: its name, as `dissect` has it.

    Returns:
        the maps, each (N, C, h, w), and B̂ and R̂.

    Raises:
        DerainError: no layer that works has this name.
    """
    found, names = [], {}

    def see(name, function, weight, read, gave):
        names[name] = None
        if name == layer:
            found.append(gave.detach().clone())  # what follows may overwrite it

    made = watch(network, image, see)
    if not found:
        raise DerainError(f"no layer is called {layer!r}; there are {', '.join(names)}")
    return found, Layers(made.background.detach(), made.rain.detach())


class Layer(NamedTuple):
    """What a layer is and costs, over all its calls."""

    name: str
    """As `named_modules` has it; of several alike, with * in the place of their numbers."""
    kind: str
    """What a convolution does: kernel, channels, dilation d, groups g; else its class."""
    count: int
    """How many layers of this kind and place there are."""
    parameters: int
    calls: int
    multiply_adds: int
    """A bias, an activation and a norm count as none, as is usual; weights that are zero by design as none, too."""
    memory: int
    """Bytes of all that it gave, which a training keeps for the way back."""
    seconds: float
    """In fp32, as a training runs it; the sums and activations up to the next layer are its own, too."""


def dissect(network: nn.Module, image: Tensor, rounds: int = 1) -> list[Layer]:
    """The layers of a network in the order of their first use.

    Args:
        network: is left as it is.
        image: (N, 3, H, W) in [0, 1], small: costs grow with its pixels.
        rounds: how often the time is taken, of which the least counts.

    Raises:
        DerainError: nothing that has weights is of the kinds in `WEIGHTS`.
    """
    modules = dict(network.named_modules())
    found, seconds = {}, []
    for _ in range(rounds):
        work, took, last = {}, {}, time.perf_counter()

        def see(name, function, weight, read, gave, work=work, took=took):
            nonlocal last
            own, size = modules[name].weight.numel(), gave.element_size() * gave.numel()
            taps = 0 if function in NORMS else min(weight.numel(), own)
            sums = taps * _places(function, weight, read, gave)
            calls, added, memory = work.get(name, (0, 0, 0))
            work[name] = calls + 1, added + sums, memory + size
            now = time.perf_counter()
            took[name], last = took.get(name, 0.0) + now - last, now

        watch(network, image, see)
        found = work
        seconds.append(took)
    if not found:
        raise DerainError("no layer was seen: a network needs convolutions or linear layers to be taken apart")
    return [
        Layer(
            name,
            diagram.kind(modules[name]).replace("\n", ", "),
            1,
            sum(weight.numel() for weight in modules[name].parameters(recurse=False)),
            *work,
            min(took[name] for took in seconds),
        )
        for name, work in found.items()
    ]


def _places(function: Callable, weight: Tensor, read: Tensor, gave: Tensor) -> int:
    """How often each weight is used: at every place of the result, or of what is read where the result is scattered."""
    if function is F.linear:
        return gave.numel() // weight.shape[0]
    return (read if function is torch.conv_transpose2d else gave)[:, :1].numel()


def gathered(layers: Sequence[Layer]) -> list[Layer]:
    """Layers that differ by their numbers alone, as one: blocks.0.first and blocks.1.first are blocks.*.first."""
    groups: dict[tuple[str, str], list[Layer]] = {}
    for layer in layers:
        name = re.sub(r"(?<![^.])\d+(?![^.])", "*", layer.name)
        groups.setdefault((name, layer.kind), []).append(layer)
    return [
        total(some)._replace(name=some[0].name if len(some) == 1 else name, kind=kind)
        for (name, kind), some in groups.items()
    ]


def total(layers: Sequence[Layer]) -> Layer:
    """All layers as one."""
    return Layer("all", "", *(sum(column) for column in zip(*(layer[2:] for layer in layers), strict=True)))


def ledger(layers: Sequence[Layer], by: str = "order", most: int = 15) -> figures.Picture:
    """A table of layers, and a bar for each: its share of what they are sorted by.

    Args:
        layers: of one network.
        by: one of `MEASURES`.
        most: rows; what is left stands together in the last one.
    """
    value = _measured("multiply-adds" if by == "order" else by)
    rows, everything = list(gathered(layers)), total(layers)
    rows = rows if by == "order" else sorted(rows, key=value, reverse=True)
    if len(rows) > most:
        others = total(rows[most - 1 :])
        rows = [*rows[: most - 1], others._replace(name=f"{others.count} others")]
    rows.append(everything)
    figure, (left, right) = figures.canvas(
        1, 2, (9, 0.24 * len(rows) + 0.7), f"{len(layers)} layers by {by}", width_ratios=(4, 1)
    )
    heads, edges = ("layer", "what it does", "parameters", "multiply-adds", "memory"), (0, 0.36, 0.69, 0.86, 1.0)
    told = [heads, *((_called(row), row.kind, *_costs(row)) for row in rows)]
    for y, cells in enumerate(told, -1):
        for number, (x, cell) in enumerate(zip(edges, cells, strict=True)):
            side = "right" if number > 1 else "left"
            left.text(x, y, cell, ha=side, va="center", fontsize=8.5, weight="bold" if y < 0 else "normal")
    shares = [100 * value(row) / max(value(everything), 1e-12) for row in rows[:-1]]
    right.barh(range(len(shares)), shares, color=figures.COLOURS["derained"], height=0.7)
    measure = "multiply-adds" if by == "order" else by
    whole = f"\n{1000 * everything.seconds:.0f} ms in all" if by == "time" else ""
    right.set(title=f"{measure} (%){whole}", yticks=[])
    for ax in (left, right):
        ax.set_ylim(len(rows) - 0.4, -1.6)
    left.axhline(len(rows) - 1.5, color="0.6", lw=0.8)
    left.set(xlim=(0, 1))
    left.set_axis_off()
    return figure


def _measured(by: str) -> Callable[[Layer], float]:
    fields = {"multiply-adds": "multiply_adds", "time": "seconds"}
    if by not in MEASURES:
        raise DerainError(f"layers are not sorted by {by!r}; there are {', '.join(MEASURES)}")
    return lambda layer: getattr(layer, fields.get(by, by))


def _called(layer: Layer) -> str:
    return f"{layer.name} × {layer.count}" if "*" in layer.name else layer.name


def _costs(layer: Layer) -> tuple[str, str, str]:
    return f"{layer.parameters:,}", f"{layer.multiply_adds / 1e6:,.1f} M", f"{layer.memory / 2**20:.1f} MiB"


# --- a network of one's own ------------------------------------------------------------------------------------------

STATED = ("halo", "stride", "global_statistics")
"""What a network says of itself, so that large photographs can be taken in tiles."""


def admitted(network: nn.Module) -> nn.Module:
    """A network of the reader's own, tried out: it then works wherever one of ours does.

    Args:
        network: as CONTRIBUTING, "A network", has it.

    Returns:
        The same, in eval mode.

    Raises:
        DerainError: what it lacks, in one line.
    """
    if not isinstance(network, nn.Module):
        raise DerainError(f"{network!r} is no network: give an instance of a torch.nn.Module, as Mine()")
    if missing := [name for name in STATED if not hasattr(network, name)]:
        raise DerainError(f"{type(network).__name__} does not state {', '.join(missing)}: write them into the class")
    network.eval()
    rainy = torch.rand(1, 3, 37, 50, generator=torch.Generator().manual_seed(0))
    for keep in (False, True):
        with torch.inference_mode():
            layers = network(rainy, keep=keep)
        if not isinstance(layers, Layers):
            raise DerainError(f"forward returned a {type(layers).__name__}: end it with Layers(background, rain)")
        for name in ("background", "rain"):
            _require_image(name, getattr(layers, name), rainy)
    if not network.global_statistics:
        _require_halo(network)
    return network


def _require_image(name: str, image: Tensor, rainy: Tensor):
    if image.shape != rainy.shape:
        raise DerainError(f"{name} is {tuple(image.shape)} for a photograph {tuple(rainy.shape)}: pad inside, and crop")
    if not image.isfinite().all():
        raise DerainError(f"{name} has values that are not finite")


def _require_halo(network: nn.Module):
    """What the middle pixel depends on must lie within the halo: tiles would show their seams."""
    side = 2 * (network.halo + network.stride + 8) + 1
    seen = insight.field(network, torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)))
    if seen.reach > network.halo:
        raise DerainError(f"halo is {network.halo}, but a pixel depends on one that is {seen.reach} away: state that")


# --- weights ---------------------------------------------------------------------------------------------------------


def card(name: str) -> str:
    """Where shipped weights come from, for a reader: what they were trained on, how, and what they reach.

    Args:
        name: as `derainlib.models.weights.card` takes it.
    """
    found = weights.card(name)
    options = ", ".join(f"{key} = {value}" for key, value in found["options"].items())
    rows = [
        ("network", f"{found['model']}{options and f' with {options}'}, {found['parameters']:,} parameters"),
        ("data", found["data"]),
        ("hardware", found["hardware"]),
        ("effort", f"{found['steps']:,} steps, {found['wall_seconds'] / 3600:.1f} hours"),
        *((f"phase {number}", _phase(phase)) for number, phase in enumerate(found.get("phases", ()), 1)),
        *((key, found[key]) for key in ("licence", "notes") if key in found),
    ]
    text = "\n".join(
        textwrap.fill(value, 110, initial_indent=f"{key:10}", subsequent_indent=" " * 10) for key, value in rows
    )
    scores = [["PSNR in RGB (dB)", "rainy", "mean", "worst"]]
    for place, one in found.get("scores", {}).items():
        told = [one.get("psnr_rgb", {}).get(part) for part in ("rainy", "mean", "worst")]
        if told[0]:
            scores.append([place, *(evaluation.number("psnr", value) if value else "–" for value in told)])
    return f"{text}\n\n{evaluation.aligned(scores)}" if len(scores) > 1 else text


def _phase(phase: dict) -> str:
    recipe = phase["recipe"]
    losses = " + ".join(f"{loss['weight']:g} {loss['term']}" for loss in recipe["losses"])
    return (
        f"{phase['steps']:,} steps of {recipe['batch']} patches of {recipe['patch']}², {recipe['rain']} rain, {losses}"
    )
