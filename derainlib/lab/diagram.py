"""Drawings of networks, made from what they compute, so that they cannot lie.

    draw(trace(derainlib.create("brn"), opened=("rain", "background")))

A photograph runs through the network, and autograd's record of it is read backwards: an operation that uses a module's
parameters belongs to the module, and a link is drawn where the result of one is read by the other, through however
many sums, activations, and concatenations. A network of several stages runs with one and with two of them: links that
only the second needs carry something from a stage to the next, and are dashed.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from torch import nn

from derainlib.errors import DerainError
from derainlib.lab import figures

RAINY, RESULT = "O", "B̂"
"""What the ends of a drawing are called."""

CONTAINERS = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
"""Modules that only hold others: a drawing shows what is in them."""

HUES = ("rainy", "derained", "rain", "clean")
"""Colours of the blocks, by the first part of their names."""


@dataclass(frozen=True)
class Block:
    """A module of a network, or a run of equal ones."""

    name: str
    """As `named_modules` has it; of a run, the first one's."""
    kind: str
    """Its class, or what a convolution does: kernel, channels, dilation d, groups g."""
    parameters: int
    """Of all in the run."""
    count: int = 1
    """How many follow each other."""


@dataclass(frozen=True)
class Diagram:
    """What a network is made of, and what reads what."""

    blocks: tuple[Block, ...]
    """In the order in which they are first used."""
    links: frozenset[tuple[str, str]]
    """Pairs of names, within a stage; `RAINY` and `RESULT` are the ends."""
    returns: frozenset[tuple[str, str]]
    """The links from one stage to the next."""
    stages: int
    """How often the network runs over the photograph with the same weights."""


def trace(network: nn.Module, opened: Sequence[str] = (), size: int = 32) -> Diagram:
    """What a network is made of.

    Args:
        network: a network; it is copied.
        opened: names of modules that are shown by their parts. Containers are anyhow, and what could not be drawn
            without, because it is used both before and after another block.
        size: sides of the photograph that runs through it, in pixels.

    Raises:
        DerainError: a name in `opened` that no module has.
    """
    modules = dict(network.named_modules())
    unknown = sorted(set(opened) - set(modules))
    if unknown:
        raise DerainError(f"the network has no module {', '.join(unknown)}; its parts are {', '.join(_parts(network))}")
    network = copy.deepcopy(network).eval().float()
    stages = getattr(network, "stages", 1)
    opened = {"", *opened}
    while True:
        names = _grouped(network, opened)
        reads = _reads(network, names, 1, size)
        links = {(a, b) for a, b in reads if a != b}
        cycle = _cycle(links)
        if not cycle:
            break
        opened |= _openable(cycle, modules)
    twice = _reads(network, names, 2, size) if stages > 1 else reads
    returns = {
        link for link, count in twice.items() if link not in reads or (link[0] == link[1] and count > 2 * reads[link])
    }
    return _with_runs(network, names, links, returns, stages)


def _parts(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_children()]


# --- what belongs together -----------------------------------------------------------------------------------------


def _grouped(network: nn.Module, opened: set[str]) -> dict[nn.Parameter, str]:
    """The name of the block that each parameter belongs to."""
    blocks = list(_blocks(network, "", opened))
    modules = dict(network.named_modules())
    return {parameter: name for name in blocks for parameter in modules[name].parameters()}


def _blocks(module: nn.Module, name: str, opened: set[str]) -> Iterator[str]:
    children = list(module.named_children())
    if children and (name in opened or isinstance(module, CONTAINERS)):
        for part, child in children:
            yield from _blocks(child, f"{name}.{part}".lstrip("."), opened)
    else:
        yield name


def _openable(cycle: set[str], modules: dict[str, nn.Module]) -> set[str]:
    found = {name for name in cycle if any(True for _ in modules[name].children())}
    if not found:
        raise DerainError(
            f"{', '.join(sorted(cycle))} read each other: such a network cannot be drawn from left to right"
        )
    return found


# --- what reads what -----------------------------------------------------------------------------------------------


def _reads(network: nn.Module, names: dict[nn.Parameter, str], stages: int, size: int) -> Counter:
    """How often each block reads each other's results, and its own, when the network runs with so many stages."""
    if hasattr(network, "stages"):
        network.stages = stages
    generator = torch.Generator().manual_seed(0)
    rainy = torch.rand((1, 3, size, size), generator=generator, requires_grad=True)
    with torch.enable_grad():
        background = network(rainy, keep=True).background
    return _read(background.grad_fn, {rainy: RAINY} | names)


def _read(last, owners: dict[torch.Tensor, str]) -> Counter:
    """How often each block reads each other's results on the way to an operation of autograd's record.

    Args:
        last: the operation.
        owners: whose each leaf is, the photograph's or a block's.
    """
    sources: dict[object, frozenset[str]] = {}  # of each operation: the blocks whose results it holds
    reads = Counter()
    for node in _in_order(last):
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            sources[node] = frozenset({RAINY} if owners.get(leaf) == RAINY else ())
            continue
        before = [one for one, _ in node.next_functions if one is not None]
        data = frozenset().union(*(sources[one] for one in before))
        owner = {name for one in before if not sources[one] for name in owners_of(one, owners)} if data else set()
        for name in owner:
            reads.update((source, name) for source in data)
        sources[node] = frozenset(owner) or _summed(node, data, reads)
    return reads + Counter((source, RESULT) for source in sources[last])


def _summed(node, data: frozenset[str], reads: Counter) -> frozenset[str]:
    """Whose a result is that no parameter has a part in: a block's that adds what it read itself, or that of all."""
    residual = {one for one in data if len(data) > 1 and data - {one} <= {a for a, b in reads if b == one}}
    return frozenset(residual) if residual and type(node).__name__.startswith("Add") else data


def _in_order(last) -> list:
    """All operations that lead to `last`, each after those that it reads."""
    order, seen, waiting = [], set(), [(last, False)]
    while waiting:
        node, done = waiting.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting += [(one, False) for one, _ in node.next_functions if one is not None and one not in seen]
    return order


def owners_of(node, owners: dict[torch.Tensor, str]) -> set[str]:
    """Whose parameters an operation is made of that has nothing of the photograph."""
    leaves = (getattr(one, "variable", None) for one in _in_order(node))
    return {owners[leaf] for leaf in leaves if leaf is not None and leaf in owners}


def _cycle(links: set[tuple[str, str]]) -> set[str]:
    """The blocks that lead to themselves."""
    after = {name: {b for a, b in links if a == name} for link in links for name in link}
    reached = {}
    for name in after:
        found, waiting = set(), [name]
        while waiting:
            new = after[waiting.pop()] - found
            found |= new
            waiting += new
        reached[name] = found
    return {name for name, found in reached.items() if name in found}


# --- runs of equal blocks ------------------------------------------------------------------------------------------


def _with_runs(network: nn.Module, names: dict, links: set, returns: set, stages: int) -> Diagram:
    """The diagram, equal blocks that follow each other drawn as one."""
    modules = dict(network.named_modules())
    order = [name for name in dict.fromkeys(names.values()) if any(name in link for link in links | returns)]
    follower = {a: b for a, b in links if _alike(modules, a, b) and _only_each_other(a, b, links | returns)}
    heads = [name for name in order if name not in follower.values()]
    blocks, head = [], {RAINY: RAINY, RESULT: RESULT}
    for name in heads:
        run = [name]
        while run[-1] in follower:
            run.append(follower[run[-1]])
        head |= dict.fromkeys(run, name)
        size = sum(parameter.numel() for one in run for parameter in modules[one].parameters())
        blocks.append(Block(name, kind(modules[name]), size, len(run)))
    within = {(head[a], head[b]) for a, b in links} - {(name, name) for name in heads}
    between = {(head[a], head[b]) for a, b in returns}
    return Diagram(tuple(blocks), frozenset(within), frozenset(between), stages)


def _alike(modules: dict[str, nn.Module], a: str, b: str) -> bool:
    if a not in modules or b not in modules or a.rpartition(".")[0] != b.rpartition(".")[0]:
        return False
    return kind(modules[a]) == kind(modules[b]) and _shapes(modules[a]) == _shapes(modules[b])


def _shapes(module: nn.Module) -> list[torch.Size]:
    return [parameter.shape for parameter in module.parameters()]


def _only_each_other(a: str, b: str, links: set[tuple[str, str]]) -> bool:
    return [link for link in links if link[0] == a] == [link for link in links if link[1] == b] == [(a, b)]


def kind(module: nn.Module) -> str:
    if not isinstance(module, nn.Conv2d):
        return type(module).__name__
    height, width = module.kernel_size
    dilation, groups = module.dilation[0], module.groups
    text = f"{height}x{width}" + (f", d {dilation}" if dilation > 1 else "") + (f", g {groups}" if groups > 1 else "")
    return f"{text}\n{module.in_channels} → {module.out_channels}"


# --- the drawing ---------------------------------------------------------------------------------------------------

WIDE, HIGH = 1.75, 1.0
"""A block's sides, in units of `UNIT` inches."""
APART = (WIDE + 0.55, HIGH + 0.4)
"""From the middle of a block to that of the next one, across and down."""
UNIT, WIDEST = 0.55, 9.0
"""Inches: of a unit, and of a page. What would be wider runs down the page, so that its text can be read."""

Point = tuple[float, float]


class Course(NamedTuple):
    """Which way a drawing runs, in steps to the right and up."""

    forward: Point
    """From a block to the next."""
    side: Point
    """To where links pass that leave blocks out; what goes on to the next stage passes on the other side."""

    def place(self, column: float, row: float) -> Point:
        """The middle of the block that is so far along, and so far aside."""
        return tuple(
            (column * along - row * aside) * apart
            for along, aside, apart in zip(self.forward, self.side, APART, strict=True)
        )

    def beside(self, place: Point, along: float, aside: float, further: float = 0.0) -> Point:
        """A point on a block's edge or beside it, in halves of its sides, and so many units further aside."""
        return tuple(
            middle + side / 2 * (along * ahead + aside * out) + further * out
            for middle, side, ahead, out in zip(place, (WIDE, HIGH), self.forward, self.side, strict=True)
        )


ACROSS, DOWNWARDS = Course((1, 0), (0, 1)), Course((0, -1), (-1, 0))


def draw(diagram: Diagram) -> figures.Picture:
    """A network from left to right, a long one from top to bottom: blocks with their parameters, links, and dashed what
    goes on to the next stage."""
    grid = _grid(diagram)
    longest = max(column for column, _ in grid.values())
    course = ACROSS if UNIT * (longest * APART[0] + WIDE + 0.4) <= WIDEST else DOWNWARDS
    places = {name: course.place(*cell) for name, cell in grid.items()}
    curves = {link: _curve(diagram, grid, places, course, link) for link in sorted(diagram.links | diagram.returns)}
    corners = [(x + i * WIDE / 2, y + j * HIGH / 2) for x, y in places.values() for i in (-1, 1) for j in (-1, 1)]
    reached = np.concatenate([corners, *(curve.get_extents().get_points() for curve in curves.values())])
    (left, bottom), (right, top) = reached.min(0) - 0.2, reached.max(0) + 0.2
    total = sum(block.parameters for block in diagram.blocks)
    title = f"{total:,} parameters" + (f", {diagram.stages} stages" if diagram.stages > 1 else "")
    size = (max(UNIT * (right - left), 2.5), UNIT * (top - bottom) + 0.3)
    figure, ax = figures.canvas(size=size, summary=f"{len(diagram.blocks)} blocks, {title}")
    for link, curve in curves.items():
        arrow = FancyArrowPatch(path=curve, arrowstyle="-|>", mutation_scale=14 * UNIT)
        arrow.set(color="0.3", linestyle="--" if link in diagram.returns else "-", linewidth=0.9, zorder=1)
        ax.add_patch(arrow)
    families = list(dict.fromkeys(block.name.split(".")[0] for block in diagram.blocks))
    for block in diagram.blocks:
        colour = figures.COLOURS[HUES[families.index(block.name.split(".")[0]) % len(HUES)]]
        _draw_block(ax, block, places[block.name], colour)
    for name in (RAINY, RESULT):
        ax.text(*places[name], name, ha="center", va="center", fontsize=13, style="italic")
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()
    return figure


def _grid(diagram: Diagram) -> dict[str, tuple[int, float]]:
    """How far along each block stands, and how far aside of the middle."""
    columns = _columns(diagram)
    before = {name: [a for a, b in diagram.links if b == name] for name in columns}
    rows: dict[str, float] = {}
    for column in range(max(columns.values()) + 1):
        here = [name for name, found in columns.items() if found == column]
        # Beside what they read; the order of first use decides between equals.
        here.sort(key=lambda name: sum(rows[a] for a in before[name]) / max(1, len(before[name])))
        rows |= {name: i - (len(here) - 1) / 2 for i, name in enumerate(here)}
    return {name: (columns[name], rows[name]) for name in columns}


def _columns(diagram: Diagram) -> dict[str, int]:
    """How many links lead to each block, along the longest way; what only an earlier stage leads to comes first."""
    names = [block.name for block in diagram.blocks]
    found = {RAINY: 0}
    while len(found) <= len(names):
        ready = [n for n in names if n not in found and all(a in found for a, b in diagram.links if b == n)]
        found |= {n: 1 + max((found[a] for a, b in diagram.links if b == n), default=0) for n in ready}
    return found | {RESULT: 1 + max(found.values())}


def _draw_block(ax: Axes, block: Block, place: Point, colour):
    x, y = place
    box = FancyBboxPatch((x - WIDE / 2, y - HIGH / 2), WIDE, HIGH, boxstyle="round,pad=0,rounding_size=0.1")
    box.set(facecolor=(*(0.75 + 0.25 * part for part in colour), 1), edgecolor=colour, linewidth=1.2, zorder=2)
    ax.add_patch(box)
    times = f" × {block.count}" if block.count > 1 else ""
    text = f"{_short(block.name)}{times}\n{block.kind}\n{block.parameters:,}"
    ax.text(x, y, text, ha="center", va="center", fontsize=12 * UNIT, zorder=3, linespacing=1.1)


def _short(name: str) -> str:
    """A name without its first part, which the colour tells, where enough is left of it."""
    parts = name.split(".")
    return ".".join(parts[1:] if len(parts) > 2 else parts)


def _curve(diagram: Diagram, grid: dict, places: dict, course: Course, link: tuple[str, str]) -> Path:
    """A straight line to the next block, an arc aside to farther ones, one on the other side to the next stage."""
    start, end = (places[name] for name in link)
    steps = abs(grid[link[1]][0] - grid[link[0]][0])
    if link in diagram.returns:
        side, far = -1, min(0.7 + 0.25 * steps, 2.0)
    elif steps > 1:
        side, far = 1, min(0.6 + 0.2 * steps, 2.0)
    else:
        return Path([course.beside(start, 1, 0), course.beside(end, -1, 0)])
    ends = (start, 0.4), (end, -0.4)
    (first, second), (last, before) = (
        (course.beside(at, along, side), course.beside(at, along, side, 1.3 * side * far)) for at, along in ends
    )
    return Path([first, second, before, last], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
