"""SRN and BRN against the paper's equations in plain NumPy: four gates, every input concatenated, nothing hoisted."""

import numpy as np
import pytest
import torch

from derainlib.errors import DerainError
from derainlib.models import create
from derainlib.models.recurrent import VARIANTS

COUNTS = {
    "srn": 168_963,
    "srn-direct": 168_963,
    "srn-x": 168_099,
    "srn-gru": 150_499,
    "srn+": 409_411,
    "brn": 375_526,
    "brn-gru": 320_166,
    "crn": 301_798,
    "brn-x2r": 338_662,
    "brn-r2x": 338_662,
}
"""Parameters: Table IV of the paper, and the same count for the networks that it does not count."""

EXCHANGE = {"brn": (True, True), "brn-gru": (True, True), "crn": (False, False), "brn-x2r": (True, False)}
EXCHANGE["brn-r2x"] = (False, True)


# ---- the reference ---------------------------------------------------------------------------------------------------


def conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A 3x3 convolution of (C, H, W) with zero padding."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight) + bias[:, None, None]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


class Reference:
    """One branch F of a network, from its parameters."""

    def __init__(self, branch):
        self.p = {name: value.detach().double().numpy() for name, value in branch.named_parameters()}
        self.blocks = len(branch.blocks)

    def conv(self, name, x):
        return conv(x, self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def gate(self, layer, number, x):
        """Gate `number` of the gates that are stacked in one layer: a convolution of its own here."""
        width = self.p["input.bias"].size
        rows = slice(number * width, (number + 1) * width)
        return conv(x, self.p[f"{layer}.weight"][rows], self.p[f"{layer}.bias"][rows])

    def lstm(self, z, h, c, others):
        """Eq. 3; with another branch's state Eq. 6 and 7."""
        x = np.concatenate([z, h, *others])
        i, f, o = (sigmoid(self.gate("cell.gates", number, x)) for number in range(3))
        g = np.tanh(self.gate("cell.gates", 3, x))
        c = f * c + i * g
        return o * np.tanh(c), c

    def gru(self, z, h, c, others):
        x = np.concatenate([z, h, *others])
        update, reset = (sigmoid(self.gate("cell.gates", number, x)) for number in range(2))
        g = np.tanh(self.conv("cell.candidate", np.concatenate([z, reset * h, *others])))
        return (1 - update) * h + update * g, c

    def __call__(self, images, h, c, others=()):
        """Eq. 2: the image and the new state."""
        z = relu(self.conv("input", np.concatenate(images)))
        cell = self.gru if "cell.candidate.weight" in self.p else self.lstm
        h, c = cell(z, h, c, others)
        x = h
        for n in range(self.blocks):
            inner = relu(self.conv(f"blocks.{n}.second", relu(self.conv(f"blocks.{n}.first", x))))
            x = relu(inner + x)
        return self.conv("output", x), h, c


def reference(model, name: str, y: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """B̂ and R̂ of every stage for a photograph y, (3, H, W)."""
    width = model.state_dict()[("rain" if name in EXCHANGE else "network") + ".input.bias"].numel()
    zero = np.zeros((width, *y.shape[1:]))
    xs, rs = [], []
    if name not in EXCHANGE:
        network, x, h, c = Reference(model.network), y, zero, zero
        for _ in range(model.stages):
            image, h, c = network([x] if name == "srn-x" else [y, x], h, c)
            x = y + image if name == "srn" else image  # Eq. 4 or Eq. 1
            xs.append(x)
            rs.append(y - x)
        return xs, rs
    to_rain, to_background = EXCHANGE[name]
    rain, background = Reference(model.rain), Reference(model.background)
    x, r, h_x, c_x, h_r, c_r = y, y, zero, zero, zero, zero
    for _ in range(model.stages):  # Eq. 8; without exchange Eq. 5
        r, h_r, c_r = rain([y, r], h_r, c_r, [h_x] if to_rain else [])
        x, h_x, c_x = background([y, x, r], h_x, c_x, [h_r] if to_background else [])
        xs.append(x)
        rs.append(r)
    return xs, rs


@pytest.fixture
def photograph(generator) -> torch.Tensor:
    return torch.rand(1, 3, 16, 19, generator=generator)


def lively(name: str, seed: int = 1, **options) -> torch.nn.Module:
    """A network with weights large enough that gates, states and exchange matter."""
    torch.manual_seed(seed)
    model = create(name, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5).add_(0.05 * torch.randn_like(parameter))
    return model


# ---- the equations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts_are_the_papers(name, count):
    for stages in (1, 6):
        assert sum(p.numel() for p in create(name, stages=stages).parameters()) == count


def test_every_variant_is_tested_here():
    assert set(COUNTS) == set(VARIANTS)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("gradients", [True, False], ids=["training", "inference"])
def test_every_stage_follows_the_equations(name, gradients, photograph):
    model = lively(name, stages=3, width=6)
    with torch.set_grad_enabled(gradients):
        layers = model(photograph, keep=True)
    backgrounds, rains = reference(model, name, photograph[0].double().numpy())
    assert len(layers.stages) == len(layers.rain_stages) == 3
    for ours, theirs in zip((*layers.stages, *layers.rain_stages), (*backgrounds, *rains), strict=True):
        np.testing.assert_allclose(ours[0].detach().numpy(), theirs, atol=2e-5 * max(1, np.abs(theirs).max()))
    assert torch.equal(layers.background, layers.stages[-1])
    assert torch.equal(layers.rain, layers.rain_stages[-1])


@pytest.mark.parametrize("name", COUNTS)
def test_inference_in_strips_equals_training(name, generator):
    """An image that the inference path cuts into several strips of rows."""
    model = lively(name, stages=2, width=4)
    rainy = torch.rand(1, 3, 190, 530, generator=generator)
    expected = model(rainy).background
    with torch.inference_mode():
        found = model(rainy)
    assert found.stages == ()
    torch.testing.assert_close(found.background, expected.detach(), rtol=0, atol=2e-5 * expected.abs().max().item())


@pytest.mark.parametrize("name", COUNTS)
def test_rainy_is_background_plus_rain_except_for_two_branches(name, photograph):
    layers = lively(name, stages=2, width=6)(photograph)
    adds_up = torch.allclose(layers.background + layers.rain, photograph, atol=1e-6)
    assert adds_up == (name not in EXCHANGE)


def test_residual_form_is_the_direct_form_plus_the_photograph(photograph):
    """One stage: Eq. 4's x = y + F against Eq. 1's x = F, the same weights."""
    residual, direct = create("srn", stages=1), create("srn-direct", stages=1)
    direct.load_state_dict(residual.state_dict())
    torch.testing.assert_close(residual(photograph).background, photograph + direct(photograph).background)


def gradient_reaches(model, source: torch.nn.Module, sink: str, photograph) -> bool:
    """Whether the last stage's `sink` depends on the hidden state of a branch, through the cells alone."""
    seen = []
    source.cell.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    layers = model(photograph, keep=True)
    (gradient,) = torch.autograd.grad(layers.extras[f"{sink}_2"].sum(), seen[0], allow_unused=True)
    return gradient is not None and bool(gradient.abs().sum() > 0)


@pytest.mark.parametrize(("name", "to_rain"), [("brn", True), ("brn-x2r", True), ("brn-r2x", False), ("crn", False)])
def test_background_state_reaches_the_rain_branch_only_where_it_should(name, to_rain, photograph):
    model = lively(name, stages=2, width=6)
    assert gradient_reaches(model, model.background, "hidden_rain", photograph) == to_rain


@pytest.mark.parametrize(("name", "direct"), [("brn", True), ("brn-r2x", True), ("brn-x2r", False), ("crn", False)])
def test_rain_state_enters_the_background_cell_only_where_it_should(name, direct):
    model = create(name, width=6)
    assert model.background.cell.gates.in_channels == (18 if direct else 12)
    assert model.rain.cell.gates.in_channels == (18 if EXCHANGE[name][0] else 12)


@pytest.mark.parametrize(
    ("name", "stages", "halo", "reach"),
    [
        ("srn", 6, 78, 78),
        ("brn", 6, 87, 87),
        ("brn", 8, 113, 113),
        ("srn+", 2, 78, 78),
        ("srn-gru", 2, 28, 27),  # the first stage has no state to reset, so one convolution less
    ],
)
def test_halo_is_how_far_a_pixel_sees(name, stages, halo, reach):
    """The gradient of one row in the middle reaches `halo` rows up and down, and not one further."""
    model = create(name, stages=stages, width=2).double()
    with torch.no_grad():  # small positive weights: no ReLU or gate shuts the longest path
        for parameter in model.parameters():
            parameter.fill_(0.02)
    rainy = torch.rand(1, 3, 2 * halo + 5, 16, dtype=torch.float64, requires_grad=True)
    middle = halo + 2
    (gradient,) = torch.autograd.grad(model(rainy).background[:, :, middle].sum(), rainy)
    reached = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    assert model.halo == halo
    assert (reached.min().item(), reached.max().item()) == (middle - reach, middle + reach)


def test_kept_states_are_the_cells(photograph):
    layers = create("brn", stages=2, width=6)(photograph, keep=True)
    assert set(layers.extras) == {"hidden_1", "hidden_2", "hidden_rain_1", "hidden_rain_2"}
    assert layers.extras["hidden_2"].shape == (1, 6, 16, 19)
    bare = create("brn", stages=2, width=6)(photograph)
    assert (bare.stages, bare.rain_stages, bare.extras) == ((), (), None)


def test_bf16_stays_close(generator):
    model = create("srn", stages=3)
    rainy = torch.rand(1, 3, 40, 40, generator=generator)
    with torch.inference_mode():
        exact = model(rainy).background
        rough = model.to(torch.bfloat16)(rainy).background
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().mean() < 2e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [({"stages": 0}, "stages"), ({"stages": 2.5}, "stages"), ({"cell": "rnn"}, "cell"), ({"depth": 3}, "no option")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(DerainError, match=message):
        create("srn", **options)
    with pytest.raises(DerainError, match="exchange"):
        create("brn", exchange="sideways")
    with pytest.raises(DerainError, match="there are srn"):
        create("snr")
