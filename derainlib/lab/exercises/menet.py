"""Exercises of `10_menet.ipynb`."""

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
    slips={
        "`reshape` alone tears the blocks apart: neighbours across and down must meet in one place.": (
            lambda x: x.reshape(len(x), 4 * x.shape[1], x.shape[2] // 2, x.shape[3] // 2)
        ),
        "That sorts by place first and by colour second: each colour's four channels belong together.": (
            lambda x: torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)
        ),
        "Rows and columns of the blocks are exchanged: top right comes before bottom left.": lambda x: (
            _unshuffle(x.mT).mT
        ),
        "The channels are in reverse.": lambda x: _unshuffle(x).flip(1),
        "That is pooling: the four values must stay what they are.": lambda x: F.avg_pool2d(x, 2).repeat_interleave(
            4, 1
        ),
    },
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
    slips={
        "The attention is missing.": lambda blocks, width, attention: _parameters(blocks, width, False),
        "The last convolution has no normalisation.": (
            lambda blocks, width, attention: _parameters(blocks, width, attention) + 24
        ),
        "Each normalisation has a factor *and* an offset.": lambda blocks, width, attention: (
            _parameters(blocks, width, attention) - width // 2 - (2 + 2 * blocks) * width - 5 * width * attention
        ),
        "A block has two convolutions.": lambda blocks, width, attention: _parameters(blocks / 2, width, attention),
        "Convolutions have no bias here: their normalisation has the offset.": (
            lambda blocks, width, attention: (
                _parameters(blocks, width, attention)
                + width // 2
                + 12
                + (2 + 2 * blocks) * width
                + 5 * width * attention
            )
        ),
    },
    tolerance=1e-7,
    hints=(
        "One convolution with its normalisation: size² · inputs · outputs + 2 · outputs.",
        "From `width` to `width` channels, 3 × 3, there are two in each block, and one on either side of the blocks.",
        "Attention: two 1 × 1 from 4 · width to width, and three 3 × 3 from width to width.",
    ),
    why="671,680, 815,680 and 1,407,552: the attention costs 144,000, eight more blocks 591,872.",
)
