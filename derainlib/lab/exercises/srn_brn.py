"""Exercises of `07_srn_brn.ipynb`."""

import torch

from derainlib.lab.exercises import Exercise


def _maps(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two maps of any size and a state between −1 and 1, as a cell sees them."""
    generator = torch.Generator().manual_seed(seed)
    a, b, h = torch.randn(3, 1, 4, 5, 6, generator=generator)
    return 2 * a, 2 * b, h.tanh()


def _gru(a_z, a_g, h):
    z, g = torch.sigmoid(a_z), torch.tanh(a_g)
    return (1 - z) * h + z * g


gru = Exercise(
    """
    **Exercise 1. The other memory.** The paper also tries a GRU, which has no cell state $c$. Its convolutions
    have already been done: `a_z` and `a_g` are their results for the update gate and for the candidate, `h` is the
    old state. Write `gru(a_z, a_g, h)`, which returns the new state

    $$h' = (1 - z) \\odot h + z \\odot g, \\qquad z = \\sigma(a_z), \\quad g = \\tanh(a_g).$$
    """,
    answer=_gru,
    cases=[_maps(seed) for seed in (1, 2, 3)],
    slips={
        "The gate is turned round: where z is 1 the candidate is taken.": (
            lambda a_z, a_g, h: a_z.sigmoid() * h + (1 - a_z.sigmoid()) * a_g.tanh()
        ),
        "The two squeezes are missing: σ for the gate, tanh for the candidate.": (
            lambda a_z, a_g, h: (1 - a_z) * h + a_z * a_g
        ),
        "All of the old state is kept: only 1 − z of it is.": (lambda a_z, a_g, h: h + a_z.sigmoid() * a_g.tanh()),
        "The candidate may be negative: it goes through tanh, not through σ.": (
            lambda a_z, a_g, h: (1 - a_z.sigmoid()) * h + a_z.sigmoid() * a_g.sigmoid()
        ),
        "The gate is between 0 and 1: it goes through σ, not through tanh.": (
            lambda a_z, a_g, h: (1 - a_z.tanh()) * h + a_z.tanh() * a_g.tanh()
        ),
    },
    hints=(
        "One line makes the gate and the candidate, a second one mixes.",
        "`torch.sigmoid` squeezes `a_z` to between 0 and 1, `torch.tanh` squeezes `a_g` to between −1 and 1.",
        "Where z is 0 the old state stays, where z is 1 the candidate g takes its place.",
    ),
    why="One gate does the work of an LSTM's input and forget gate, as if f = 1 − i. It saves one convolution of four "
    "(18,464 weights at width 32), and in the paper it costs a few tenths of a decibel.",
)


def _lstm_parameters(width, states):
    inputs = (1 + states) * width  # z, and each hidden state
    return 4 * (9 * inputs * width + width)


lstm_parameters = Exercise(
    """
    **Exercise 2. What an exchange costs.** A ConvLSTM of `width` channels sees the features $z$ and `states` hidden
    states, each of `width` channels: one state in SRN, two in BRN. Write `lstm_parameters(width, states)`, the number
    of its weights and biases. All convolutions are 3 × 3.
    """,
    answer=_lstm_parameters,
    cases=[(32, 1), (32, 2), (8, 1), (16, 3)],
    slips={
        "The cell sees z as well, so that there are 1 + states inputs.": (
            lambda width, states: 4 * (9 * states * width * width + width)
        ),
        "The biases are missing: one a channel in each gate.": (
            lambda width, states: 4 * 9 * (1 + states) * width * width
        ),
        "That is one gate of four.": (lambda width, states: 9 * (1 + states) * width * width + width),
        "A bias belongs to an output: there are `width` in a gate, however many inputs there are.": (
            lambda width, states: 4 * (9 * (1 + states) * width * width + (1 + states) * width)
        ),
        "A 3 × 3 convolution has nine weights for each pair of channels.": (
            lambda width, states: 4 * ((1 + states) * width * width + width)
        ),
        "That has three convolutions, as a GRU: an LSTM has four, i, f, o and g.": (
            lambda width, states: 3 * (9 * (1 + states) * width * width + width)
        ),
    },
    hints=(
        "A 3 × 3 convolution from a to b channels has 9·a·b weights and b biases.",
        "The convolution sees z as well as the states, (1 + states)·width channels in all.",
        "There are four of them: i, f, o and g.",
    ),
    why="For (32, 1) these are 73,856 of SRN's 168,963. Going from one state to two adds 36,864 in each branch, and "
    "375,526 − 2·36,864 = 301,798 is what a CRN has: the exchange is all that tells the two networks apart.",
)


def _halo(stages, rain_blocks, background_blocks):
    rain, background = 3 + 2 * rain_blocks, 3 + 2 * background_blocks
    return stages * background + rain


halo = Exercise(
    """
    **Exercise 3. How far it sees.** Write `halo(stages, rain_blocks, background_blocks)`: how many pixels to each side
    a pixel of BRN's background can depend on. Every convolution is 3 × 3; a branch has one in its input layer, one for
    its gates, two in each residual block and one in its output layer. The background branch is never narrower than the
    rain branch here.
    """,
    answer=_halo,
    cases=[(6, 3, 5), (1, 3, 5), (8, 3, 5), (3, 2, 4)],
    slips={
        "The first stage's rain is missing: the background branch sees what the rain branch has seen.": (
            lambda stages, rain_blocks, background_blocks: stages * (3 + 2 * background_blocks)
        ),
        "The longest way goes through both branches once, not in each stage.": (
            lambda stages, rain_blocks, background_blocks: stages * (6 + 2 * rain_blocks + 2 * background_blocks)
        ),
        "What comes first is the *rain* branch: it has its own number of blocks.": (
            lambda stages, rain_blocks, background_blocks: (
                stages * (3 + 2 * background_blocks) + 3 + 2 * background_blocks
            )
        ),
        "A residual block has two convolutions.": (
            lambda stages, rain_blocks, background_blocks: stages * (3 + background_blocks) + 3 + rain_blocks
        ),
        "That is a single stage: each stage sees what the last has seen.": (
            lambda stages, rain_blocks, background_blocks: 3 + 2 * background_blocks + 3 + 2 * rain_blocks
        ),
        "Input, gates *and* output see a pixel each: three beside the blocks.": (
            lambda stages, rain_blocks, background_blocks: stages * (2 + 2 * background_blocks) + 2 + 2 * rain_blocks
        ),
    },
    hints=(
        "A 3 × 3 convolution sees one pixel to each side. How many follow one another in a branch?",
        "A branch of n blocks sees 3 + 2n pixels. The longest way back in time stays in the wider branch.",
        "In the first stage there is one more step back: the background branch sees the first rain.",
    ),
    why="87 pixels for the paper's T = 6, 113 for the T = 8 of the public weights. A tile of a large photograph needs "
    "this much around it, or its edge will show.",
)


def _ssim_of_shift(mean, shift):
    c1 = 0.01**2
    shifted = mean + shift
    return (2 * mean * shifted + c1) / (mean**2 + shifted**2 + c1)


ssim_of_shift = Exercise(
    """
    **Exercise 4. A little brighter.** Inside an image, add the constant `shift` to every pixel. Write
    `ssim_of_shift(mean, shift)`: the SSIM at a pixel around which the image has the local mean `mean`. With
    $C_1 = 0.01^2$,

    $$\\text{SSIM} = \\frac{2\\mu_a\\mu_b + C_1}{\\mu_a^2 + \\mu_b^2 + C_1} \\cdot
    \\frac{2\\sigma_{ab} + C_2}{\\sigma_a^2 + \\sigma_b^2 + C_2}.$$
    """,
    answer=_ssim_of_shift,
    cases=[(0.5, 0.1), (0.1, 0.1), (0.9, -0.2), (0.02, 0.05)],
    slips={
        "That would be a squared error: SSIM asks how bright it was.": (lambda mean, shift: 1 - shift**2),
        "The second mean is mean + shift.": (
            lambda mean, shift: (2 * mean * shift + 1e-4) / (mean**2 + shift**2 + 1e-4)
        ),
        "C₁ is missing: it counts where the image is dark.": (
            lambda mean, shift: (2 * mean * (mean + shift)) / (mean**2 + (mean + shift) ** 2)
        ),
        "The *second* factor is 1: the first one sees the means.": (lambda mean, shift: 1.0),
        "C₁ is 0.01², not 0.01.": (
            lambda mean, shift: (2 * mean * (mean + shift) + 0.01) / (mean**2 + (mean + shift) ** 2 + 0.01)
        ),
        "That is by how much SSIM falls: take it from 1.": (lambda mean, shift: 1 - _ssim_of_shift(mean, shift)),
    },
    hints=(
        "What does a constant do to a variance, and to a covariance?",
        "The second factor is 1: nothing changes in the texture. Only the means count.",
        "μ_a = mean, μ_b = mean + shift.",
    ),
    why="At a mean of 0.5 a shift of 0.1 costs 0.016, at a mean of 0.1 the same shift costs 0.2. The squared error is "
    "the same in both: −SSIM forgives a change of brightness in light places and notices it in dark ones.",
)
