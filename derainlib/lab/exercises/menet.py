"""Exercises of `10_menet.ipynb`."""

import math

import torch
import torch.nn.functional as F

from derainlib.lab.exercises import Exercise


def _unshuffle(x):
    n, channels, height, width = x.shape
    blocks = x.reshape(n, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * channels, height // 2, width // 2)


unshuffle = Exercise(
    """
    **Exercise 1. Pixels to channels.** Write `unshuffle(x)` without `F.pixel_unshuffle`: from (N, C, H, W), H and W
    even, to (N, 4C, H/2, W/2). The four values of a 2 × 2 block stand one behind the other in four channels, top left,
    top right, bottom left, bottom right; first those of the first channel, then those of the second.
    """,
    answer=_unshuffle,
    cases=[
        (torch.arange(16.0).view(1, 1, 4, 4),),
        (torch.arange(48.0).view(1, 3, 4, 4),),
        (torch.arange(64.0).view(2, 2, 2, 8),),
    ],
    wrong=[
        lambda x: x.reshape(len(x), 4 * x.shape[1], x.shape[2] // 2, x.shape[3] // 2),
        lambda x: torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1),
        lambda x: _unshuffle(x.mT).mT,
        lambda x: _unshuffle(x).flip(1),
        lambda x: F.avg_pool2d(x, 2).repeat_interleave(4, 1),
    ],
    hints=(
        "`x[..., i::2, j::2]` is the value at row i and column j of every block.",
        "Or split two axes: (N, C, H/2, 2, W/2, 2). Which of them belong to the channels?",
        "Those of length 2: bring them behind C, first the rows', then the columns', and reshape.",
    ),
    why="`torch.cat` of the four slices is right for one channel; for three it sorts by place first and by colour "
    "second. A convolution does not care, as long as the way back does the same.",
)


def _parameters(blocks, width, attention):
    def conv(inputs, outputs, size=3):
        return size * size * inputs * outputs + 2 * outputs

    quarter, inner = width // 4, conv(width, width)
    total = conv(12, quarter) + conv(quarter, quarter) + 9 * quarter * 12
    total += (2 + 2 * blocks) * inner
    return total + (2 * conv(4 * width, width, 1) + 3 * inner if attention else 0)


parameters = Exercise(
    """
    **Exercise 2. Three numbers from one formula.** Write `parameters(blocks, width, attention)`: how many parameters
    has a MENET with so many residual blocks, `width` channels in them and `width / 4` on the level above, with or
    without channel attention? Convolutions have no bias; each but the last is followed by a batch normalisation, with
    a factor and an offset for each channel.
    """,
    answer=_parameters,
    cases=[(8, 64, False), (8, 64, True), (16, 64, True), (3, 32, True), (1, 16, False)],
    wrong=[
        lambda blocks, width, attention: _parameters(blocks, width, False),
        lambda blocks, width, attention: _parameters(blocks, width, attention) + 24,
        lambda blocks, width, attention: _parameters(blocks, width, attention) - width // 4,
        lambda blocks, width, attention: _parameters(blocks / 2, width, attention),
        lambda blocks, width, attention: _parameters(blocks, width, attention) + 4 * width * attention,
    ],
    tolerance=1e-7,
    hints=(
        "One convolution with its normalisation: size² · inputs · outputs + 2 · outputs.",
        "From `width` to `width` channels, 3 × 3, there are two in each block, and one on either side of the blocks.",
        "Attention: two 1 × 1 from 4 · width to width, and three 3 × 3 from width to width.",
    ),
    why="671,680, 815,680 and 1,407,552: the attention costs 144,000, eight more blocks 591,872.",
)


def _cost(period):
    return 32 * math.sin(2 * math.pi / period) ** 2


cost = Exercise(
    """
    **Exercise 3. What a wave costs.** The error $\\hat B - B$ of an image is a wave across, $\\sin(2\\pi x / p)$, the
    same in every row and every colour. Write `cost(period)`: by which factor is its edge loss (Eq. 5, with the two maps
    of each colour counted in $C$) larger than its MSE, the border aside?
    """,
    answer=_cost,
    cases=[(4,), (3,), (6,), (16,), (2.5,)],
    wrong=[
        lambda period: 64 * math.sin(2 * math.pi / period) ** 2,
        lambda period: 32 * math.sin(math.pi / period) ** 2,
        lambda period: 8 * math.sin(2 * math.pi / period),
        lambda period: 32 * (2 * math.pi / period) ** 2,
        lambda period: 16 * math.sin(2 * math.pi / period) ** 2,
        lambda period: 2 * math.sin(2 * math.pi / period) ** 2,
    ],
    hints=(
        "The filter for changes from top to bottom sees nothing. The other adds three equal rows with weights 1, 2, 1.",
        "sin(a + b) − sin(a − b) = 2 cos a sin b, with b = 2π/p.",
        "The response is 8 sin(2π/p) times a cosine; of the two maps one is zero.",
    ),
    why="32 sin²(2π/p): 32 at a period of 4 pixels, none at 2, and 128 π²/p² for slow waves.",
)


def _growth(side, values, form):
    return values**4 * (side**4 if form != "mean" else 1)


growth = Exercise(
    """
    **Exercise 4. How it grows.** An image, its sides multiples of 4, and its estimate are laid out again and again
    until they are `side` times as wide and `side` times as high, and their values are multiplied by `values`. Write
    `growth(side, values, form)`: by which factor does the texture loss grow, for the forms `"literal"`, `"mean"` and
    `"scalar"`?
    """,
    answer=_growth,
    cases=[(2, 1, "literal"), (2, 1, "mean"), (2, 1, "scalar"), (3, 2, "literal"), (1, 255, "mean"), (3, 2, "scalar")],
    wrong=[
        lambda side, values, form: values**4 * (side**2 if form != "mean" else 1),
        lambda side, values, form: values**2 * (side**4 if form != "mean" else 1),
        lambda side, values, form: values**4 * side**4,
        lambda side, values, form: values**4 * (side**4 if form == "literal" else 1),
        lambda side, values, form: values**4,
    ],
    hints=(
        "How many patches are there now, and what does each add to the Gram matrix?",
        "An entry of G is a sum over patches of products of two values; the loss squares a difference of such entries.",
        "The authors' mean is one over the 48² entries of G, not over the patches.",
    ),
    why="Twice the side makes four times the patches, a Gram matrix four times, a loss 16 times as large; only "
    '"mean" divides by the patches. From [0, 1] to 0..255 it is 255⁴, 4.2 · 10⁹, where MSE grows by 255².',
)
