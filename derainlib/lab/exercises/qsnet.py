"""Exercises of `05_qsnet.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _parameters(inputs, outputs, size, groups):
    return size * size * inputs * outputs // groups + outputs


parameters = Exercise(
    """
    **Exercise 1. What groups save.** Write `parameters(inputs, outputs, size, groups)`: how many weights and biases a
    convolution has whose kernel is `size` × `size`, and whose channels are cut into `groups` groups that do not see
    each other.
    """,
    answer=_parameters,
    cases=[(48, 48, 1, 4), (48, 48, 3, 48), (95, 40, 1, 5), (3, 48, 3, 1)],
    slips={
        "The groups are missing: an output channel sees only its own group's inputs.": (
            lambda inputs, outputs, size, groups: size * size * inputs * outputs + outputs
        ),
        "You divided the biases as well; every output channel has its own.": (
            lambda inputs, outputs, size, groups: (size * size * inputs * outputs + outputs) // groups
        ),
        "You divided by the groups twice: a group has its share of inputs *and* outputs, but there are g groups.": (
            lambda inputs, outputs, size, groups: size * size * inputs * outputs // groups**2 + outputs
        ),
        "A kernel has size × size taps.": (
            lambda inputs, outputs, size, groups: size * inputs * outputs // groups + outputs
        ),
        "A bias belongs to an output channel, not to a group.": (
            lambda inputs, outputs, size, groups: size * size * inputs * outputs // groups + groups
        ),
        "The biases are missing.": lambda inputs, outputs, size, groups: size * size * inputs * outputs // groups,
    },
    hints=(
        "Each output channel has a bias, in groups or not.",
        "How many input channels does one output channel see?",
        "It sees inputs / groups of them, through size² taps each.",
    ),
    why="624 for a 1 × 1 convolution of the encoder and 480 for its depthwise one, where a group is a single channel. "
    "12 units of 624 + 480 + 624 are 20,736 of QSNet's 39,602.",
)


def _seen(channels, groups):
    own = channels // groups
    return own * min(own, groups)


seen = Exercise(
    """
    **Exercise 2. Is one shuffle enough?** Two 1 × 1 convolutions follow one another, both from `channels` to `channels`
    channels in `groups` groups, with a shuffle between them. Write `seen(channels, groups)`: on how many input channels
    does one output channel depend?
    """,
    answer=_seen,
    cases=[(12, 2), (12, 4), (12, 6), (48, 4), (16, 4), (64, 16)],
    slips={
        "A shuffle does not always mix everything: count what one group can hold.": lambda channels, groups: channels,
        "That is without a shuffle: one group of inputs.": lambda channels, groups: channels // groups,
        "There are no more old groups than there are groups.": lambda channels, groups: (channels // groups) ** 2,
        "A new group has channels / groups places, not `groups` of them.": (
            lambda channels, groups: min(channels, groups * groups)
        ),
        "Between all and one group there is more: some old groups are seen, others not.": (
            lambda channels, groups: channels if channels % groups**2 == 0 else channels // groups
        ),
        "Each old group that is seen has shown all of its own inputs.": (
            lambda channels, groups: min(channels // groups, groups)
        ),
    },
    hints=(
        "How many channels does a group of the second convolution hold, and where do they come from?",
        "It holds channels / groups of them, from as many different old groups, as long as there are any left.",
        "Each of these has seen all channels / groups inputs of its own old group.",
    ),
    why="All of them as soon as channels ≥ groups². In QSNet's encoder 48 channels are more than 4² need, in its "
    "auxiliary decoders 16 are just enough.",
)


def _reach(units, rate):
    return 1 + units + rate


reach = Exercise(
    """
    **Exercise 3. How far a scale sees.** A feature of $C_i$ is computed by one 3 × 3 convolution, `units` ShuffleNet
    units, and a 3 × 3 convolution of atrous rate `rate` (0 stands for the 1 × 1 convolution of $C_1$). Write
    `reach(units, rate)`: how many pixels to each side can it depend on?
    """,
    answer=_reach,
    cases=[(12, 0), (12, 6), (3, 2), (0, 4)],
    slips={
        "That is the last convolution alone; the features in front have seen a neighbourhood too.": (
            lambda units, rate: rate
        ),
        "Of a unit's three convolutions only the depthwise one looks beyond its own pixel.": (
            lambda units, rate: 1 + 3 * units + rate
        ),
        "At a rate r the outermost tap is r pixels away, not 3 r.": lambda units, rate: 1 + units + 3 * rate,
        "That is the whole window; how far to one side is asked for.": lambda units, rate: 2 * (1 + units + rate) + 1,
        "The input layer is missing.": lambda units, rate: units + rate,
        "Rate 0 stands for 1 × 1, which adds nothing.": lambda units, rate: 1 + units + max(rate, 1),
    },
    hints=(
        "Convolutions in a row add their reaches up.",
        "A unit has three convolutions. How many of them look beyond their own pixel?",
        "The input layer adds 1, each unit's depthwise convolution 1, the atrous one its rate.",
    ),
    why="13 pixels for C_1 and 19 for C_5: windows of 27 × 27 and 39 × 39. The decoders add 2 and 2: `halo` is 23.",
)


def _shuffle(x, groups):
    n, channels, height, width = x.shape
    cards = x.reshape(n, groups, channels // groups, height, width)
    return cards.transpose(1, 2).reshape(n, channels, height, width)


shuffle = Exercise(
    """
    **Exercise 4. Dealing cards.** `x` has the shape (N, C, H, W), its channels lie in `groups` groups, one after the
    other. Write `shuffle(x, groups)`, which deals them out: first the first channel of every group, then the second of
    every group, and so on.
    """,
    answer=_shuffle,
    cases=[
        (torch.arange(12.0).view(1, 12, 1, 1), 3),
        (torch.arange(48.0).view(2, 12, 1, 2), 4),
        (torch.arange(40.0).view(1, 10, 2, 2), 5),
    ],
    slips={
        "You read `groups` as the channels of a group: that is the shuffle that undoes yours.": (
            lambda x, groups: _shuffle(x, x.shape[1] // groups)
        ),
        "Reshaping alone moves nothing: swap two axes in between.": (
            lambda x, groups: x.reshape(len(x), x.shape[1] // groups, groups, *x.shape[2:]).reshape(x.shape)
        ),
        "That shifts the deck by one group; dealing takes one card of each.": (
            lambda x, groups: x.roll(x.shape[1] // groups, 1)
        ),
        "That turns the deck round.": lambda x, groups: x.flip(1),
        "You dealt the groups out in reverse.": (
            lambda x, groups: _shuffle(x.unflatten(1, (groups, -1)).flip(1).flatten(1, 2), groups)
        ),
    },
    hints=(
        "Lay the channels out as a table, a row for each group. How is it read afterwards?",
        "`x.reshape(N, groups, C // groups, H, W)` is the table. Columns first means: swap two axes.",
        "Swap axes 1 and 2, then reshape to (N, C, H, W).",
    ),
    why="`derainlib.models.qsnet.shuffle`. The shuffle with C / groups groups undoes it.",
)
