"""Exercises of `13_network_lab.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _cost(height, width, inputs, outputs, size, groups, times):
    taps = size**2 * inputs // groups * outputs
    return taps + outputs, times * taps * height * width


cost = Exercise(
    """
    **Exercise 1. What does a layer cost?** A convolution with square kernels of `size`, from `inputs` to `outputs`
    channels in `groups`, with a bias, keeps the photograph's `height` × `width`. A recurrent network uses it in each of
    its `times` stages. Write `cost(height, width, inputs, outputs, size, groups, times)`, which returns two numbers:
    its parameters, and the multiply-adds of a whole run (adding a bias counts as none).
    """,
    answer=_cost,
    cases=[(48, 64, 32, 128, 3, 1, 6), (20, 30, 48, 48, 1, 4, 1), (16, 16, 3, 12, 5, 3, 2), (10, 7, 64, 64, 3, 64, 4)],
    slips={
        "The bias is missing: one parameter for each output channel.": lambda h, w, i, o, k, g, t: (
            k * k * i // g * o,
            _cost(h, w, i, o, k, g, t)[1],
        ),
        "Stages share their weights: parameters are counted once, multiply-adds in every stage.": (
            lambda h, w, i, o, k, g, t: (t * _cost(h, w, i, o, k, g, t)[0], _cost(h, w, i, o, k, g, t)[1])
        ),
        "The stages are missing: each of them computes the layer again.": lambda h, w, i, o, k, g, t: _cost(
            h, w, i, o, k, g, 1
        ),
        "The groups are missing: an output channel reads only inputs / groups channels.": (
            lambda h, w, i, o, k, g, t: _cost(h, w, i, o, k, 1, t)
        ),
        "A kernel has size² taps.": lambda h, w, i, o, k, g, t: (
            k * i // g * o + o,
            t * k * i // g * o * h * w,
        ),
        "Here the biases are counted as multiply-adds: adding one is no multiplication.": (
            lambda h, w, i, o, k, g, t: (_cost(h, w, i, o, k, g, t)[0], _cost(h, w, i, o, k, g, t)[0] * h * w * t)
        ),
        "The places are missing: each weight is used once at every pixel.": lambda h, w, i, o, k, g, t: (
            _cost(h, w, i, o, k, g, t)[0],
            _cost(1, 1, i, o, k, g, t)[1],
        ),
        "The other way round: parameters first, then multiply-adds.": lambda *given: _cost(*given)[::-1],
    },
    tolerance=1e-9,
    hints=(
        "How many weights does one output channel have? How often is each of them used?",
        "An output channel has size² · inputs / groups weights and a bias.",
        "Each weight is used at height · width places, in every stage.",
    ),
    why="Stages cost no parameters and all the time. So 168,963 parameters of SRN take more time than MENET's 815,680, "
    "which are used once, and most of them at a sixteenth of the places.",
)


def _repaired(weight, order):
    return weight[:, order]


def _orders(count: int, outputs: int, seed: int) -> tuple:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, count, 3, 3, generator=random)
    return weight, torch.arange(count).roll(2)  # no order that is its own inverse


repaired = Exercise(
    """
    **Exercise 2. Surgery that does no harm.** Somebody has put the output channels of a layer into another order: its
    new channel j is the old channel `order[j]`. Operate on the *next* convolution, so that the network computes what it
    did before: write `repaired(weight, order)`, which returns its new weight. `weight` is a tensor (outputs, inputs, k,
    k), `order` a tensor (inputs,) of whole numbers.
    """,
    answer=_repaired,
    cases=[_orders(5, 5, 0), _orders(7, 7, 1), _orders(6, 6, 2)],
    slips={
        "That permutes the outputs; the order of its *inputs* has changed, the second axis.": (
            lambda weight, order: weight[order]
        ),
        "The inverse order: its new input j is the old input `order[j]`, so its weights move alike.": (
            lambda weight, order: weight[:, order.argsort()]
        ),
        "Nothing has changed: the next layer still reads its inputs in the old order.": lambda weight, order: weight,
        "Its outputs are to stay where they are: permute the second axis alone.": (
            lambda weight, order: weight[order][:, order]
        ),
        "The taps of the kernel are moved with it: channels are on the second axis alone.": (
            lambda weight, order: weight[:, order].transpose(2, 3)
        ),
        "That turns the order round: it has to follow `order`.": lambda weight, order: weight[:, order].flip(1),
    },
    hints=(
        "The sum over input channels does not mind in which order its terms come.",
        "The weight for the channel that now comes at place j stood at place `order[j]`.",
        "Index the second axis with `order`.",
    ),
    why="A network of C channels has C! such twins that compute the same. Channels mean nothing by their number, and "
    "two trainings are not compared channel by channel. Within one network order matters: the next layer learned it.",
)


def _rings(gradient, keep_own=False):
    height, width = gradient.shape
    down, across = (torch.arange(height) - height // 2).abs(), (torch.arange(width) - width // 2).abs()
    away = torch.maximum(down[:, None], across)
    values = gradient.abs() if keep_own else gradient.abs() * (away > 0)
    return values, away


def _within(values, away, share):
    sums = torch.stack([values[away <= r].sum() for r in range(int(away.max()) + 1)])
    return int((sums < share * values.sum()).sum())


def _radius(gradient, share):
    return _within(*_rings(gradient), share)


def _round(gradient, share):
    values, _ = _rings(gradient)
    down, across = (torch.arange(n) - n // 2 for n in gradient.shape)
    return _within(values, torch.hypot(down[:, None].double(), across.double()).ceil(), share)


def _fields(side: int, decay: float, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    _, away = _rings(torch.zeros(side, side))
    field = torch.randn(side, side, generator=random, dtype=torch.float64) * torch.exp(-away / decay)
    field[side // 2, side // 2] = 20 * field.abs().sum()
    return field


radius = Exercise(
    """
    **Exercise 3. How far does it look?** `gradient` (H, W), both odd, is the derivative of the middle pixel of a result
    by each pixel of the photograph. Write `radius(gradient, share)`: the smallest r so that the square of the pixels at
    most r rows and r columns from the middle holds at least `share` of the sum of |gradient|. The middle pixel itself
    counts neither here nor in the sum.
    """,
    answer=_radius,
    cases=[
        (_fields(31, 4.0, 0), 0.9),
        (_fields(25, 3.0, 1), 0.5),
        (_fields(41, 9.0, 2), 0.75),
        (_fields(21, 6.0, 3), 0.9),
    ],
    slips={
        "The middle pixel is still in it, which alone outweighs the others.": lambda gradient, share: _within(
            *_rings(gradient, keep_own=True), share
        ),
        "Squares are summed: strong pixels then outweigh the many weak ones. Take absolute values.": (
            lambda gradient, share: _radius(gradient.square(), share)
        ),
        "That measures along a circle: the distance here is the larger of rows and columns.": _round,
        "That is the side of the square, 2 r + 1.": lambda gradient, share: 2 * _radius(gradient, share) + 1,
        "That is the last r that holds less: one more is asked for.": lambda gradient, share: (
            _radius(gradient, share) - 1
        ),
        "That is the halo: where the gradient ends, not where most of it lies.": lambda gradient, share: int(
            _rings(gradient)[1][gradient != 0].max()
        ),
        "Strengths of both signs cancel: take absolute values first.": lambda gradient, share: _within(
            gradient * (_rings(gradient)[1] > 0), _rings(gradient)[1], share
        ),
    },
    hints=(
        "Number the pixels by distance: the larger of |row − middle| and |column − middle|.",
        "Set the middle to zero, sum |gradient| by distance, add up from the inside.",
        "`torch.maximum(down[:, None], across)` gives the distances; count the r whose square holds too little.",
    ),
    tolerance=1e-9,
    why="What a network *can* see grows with every layer, what it *does* see hardly. `insight.field` computes this, "
    "and `Field.radius` this number.",
)
