"""SRN and BRN against the paper's equations, written out by hand in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from derainlib.errors import DerainError
from derainlib.models import blocks, create, list_models, recurrent
from derainlib.models.recurrent import VARIANTS
from derainlib.models.weights import convert
from tests.models.by_hand import convolution, drawn, relu, seeded, sigmoid

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
"""Parameters of the paper's tables, to the last one."""

NAMES = list(COUNTS)


# --- the reference: Eq. 1–8 on NumPy arrays (channels, H, W) in float64 -----------------------------------------------


class Reference:
    """One branch with its memory; `parameters` are those of our branch, by name."""

    def __init__(self, parameters, cell):
        self.p, self.cell, self.h, self.c = parameters, cell, None, None

    def layer(self, name, x, part=0, parts=1):
        weight, bias = (np.split(self.p[f"{name}.{kind}"], parts)[part] for kind in ("weight", "bias"))
        return convolution(x, weight, bias)

    def stage(self, images, others):
        z = relu(self.layer("input", np.concatenate(images)))
        if self.h is None:
            self.h = self.c = np.zeros_like(z)
        self.h = self.lstm(z, others) if self.cell == "lstm" else self.gru(z, others)
        x, k = self.h, 0
        while f"blocks.{k}.first.weight" in self.p:
            y = relu(self.layer(f"blocks.{k}.first", x))
            x, k = relu(relu(self.layer(f"blocks.{k}.second", y)) + x), k + 1
        return self.layer("output", x)

    def lstm(self, z, others):
        seen = np.concatenate([z, self.h, *others])
        i, f, o = (sigmoid(self.layer("cell.gates", seen, gate, 4)) for gate in range(3))
        g = np.tanh(self.layer("cell.gates", seen, 3, 4))
        self.c = f * self.c + i * g
        return o * np.tanh(self.c)

    def gru(self, z, others):
        seen = np.concatenate([z, self.h, *others])
        update, reset = (sigmoid(self.layer("cell.gates", seen, gate, 2)) for gate in range(2))
        g = np.tanh(self.layer("cell.candidate", np.concatenate([z, reset * self.h, *others])))
        return (1 - update) * self.h + update * g


def reference(model, rainy):
    """Backgrounds and rains of all stages of one image, each (3, H, W)."""
    y, options = rainy.double().numpy(), VARIANTS[model.name][1]
    state = {key: value.double().numpy() for key, value in model.state_dict().items()}
    branches = {
        branch: Reference({k.removeprefix(f"{branch}."): v for k, v in state.items() if k.startswith(f"{branch}.")},
                          options.get("cell", "lstm"))
        for branch in ("network", "rain", "background")
    }  # fmt: skip
    return (_srn if model.name.startswith("srn") else _brn)(y, branches, options, model.stages)


def _srn(y, branches, options, stages):
    x, xs = y, []
    for _ in range(stages):
        x = branches["network"].stage([y, x] if options.get("sees_rainy", True) else [x], [])
        if options.get("residual", True):
            x = y + x
        xs.append(x)
    return xs, [y - x for x in xs]


def _brn(y, branches, options, stages):
    rain, background, exchange = branches["rain"], branches["background"], options.get("exchange", "both")
    x, r, xs, rs = y, y, [], []
    zeros = np.zeros((len(rain.p["input.bias"]), *y.shape[1:]))
    for _ in range(stages):
        seen = zeros if background.h is None else background.h
        r = rain.stage([y, r], [seen] if exchange in ("both", "x2r") else [])
        x = background.stage([y, x, r], [rain.h] if exchange in ("both", "r2x") else [])
        xs.append(x)
        rs.append(r)
    return xs, rs


# --- smoke, shape ---------------------------------------------------------------------------------------------------


def test_every_variant_is_listed():
    assert set(NAMES) <= set(list_models())


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name):
    assert sum(p.numel() for p in create(name).parameters()) == COUNTS[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(16, 16), (17, 30)])
def test_layers_have_the_shape_of_the_image(name, size):
    rainy = drawn(*size, count=2)
    layers = seeded(name, stages=2, width=4)(rainy)
    assert layers.background.shape == layers.rain.shape == rainy.shape
    assert layers.background.dtype == torch.float32
    assert layers.stages == layers.rain_stages == ()
    assert layers.extras is None


@pytest.mark.parametrize("name", NAMES)
def test_keep_returns_all_stages_and_hidden_states(name):
    rainy = drawn()
    layers = seeded(name, stages=3, width=4)(rainy, keep=True)
    assert len(layers.stages) == len(layers.rain_stages) == 3
    assert torch.equal(layers.stages[-1], layers.background)
    assert torch.equal(layers.rain_stages[-1], layers.rain)
    hidden = {"hidden_1", "hidden_2", "hidden_3"}
    if name.startswith("srn"):
        assert set(layers.extras) == hidden
        assert torch.equal(layers.rain, rainy - layers.background)
    else:
        assert set(layers.extras) == hidden | {h.replace("_", "_rain_") for h in hidden}
    assert all(h.shape == (1, 4, 18, 21) for h in layers.extras.values())


# --- exceptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("srm", {}, "no network is called 'srm'"),
        ("srn", {"depth": 3}, "srn has no option depth"),
        ("brn", {"residual": True}, "brn has no option residual"),
        ("srn", {"stages": 0}, "stages must be a whole number from 1; got 0"),
        ("srn", {"stages": 2.0}, "stages must be a whole number"),
        ("srn", {"stages": True}, "stages must be a whole number"),
        ("srn", {"blocks": 0}, "blocks must be a whole number"),
        ("brn", {"rain_blocks": -1}, "rain_blocks must be a whole number"),
        ("brn", {"width": "32"}, "width must be a whole number"),
        ("brn", {"cell": "rnn"}, "cell must be one of lstm, gru; got 'rnn'"),
        ("brn", {"exchange": "all"}, "exchange must be one of both, none, x2r, r2x; got 'all'"),
    ],
)
def test_wrong_options_are_refused(name, options, complaint):
    with pytest.raises(DerainError, match=complaint):
        create(name, **options)


# --- the equations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradients", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("stages", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_equations(name, stages, gradients):
    """Eq. 1–8, stage by stage, against arrays."""
    model, rainy = seeded(name, stages=stages, width=6), drawn(count=2)
    with torch.set_grad_enabled(gradients):
        layers = model(rainy, keep=True)
    for n in range(2):
        backgrounds, rains = reference(model, rainy[n])
        for t in range(stages):
            np.testing.assert_allclose(layers.stages[t][n].detach(), backgrounds[t], atol=1e-5)
            np.testing.assert_allclose(layers.rain_stages[t][n].detach(), rains[t], atol=1e-5)


@pytest.mark.parametrize("name", ["srn", "brn"])
def test_equations_at_full_width(name):
    model, rainy = seeded(name, stages=3), drawn(24, 33)
    with torch.no_grad():
        layers = model(rainy, keep=True)
    backgrounds, rains = reference(model, rainy[0])
    for t in range(3):
        np.testing.assert_allclose(layers.stages[t][0], backgrounds[t], atol=1e-5)
        np.testing.assert_allclose(layers.rain_stages[t][0], rains[t], atol=1e-5)


def test_a_single_gate_by_hand():
    """One channel, one pixel, weights that only look at the middle: every gate is a number one can work out."""
    cell = recurrent.ConvLSTM(1, 1)
    with torch.no_grad():
        cell.gates.weight.zero_()
        cell.gates.weight[:, 0, 1, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])  # i, f, o, g of z
        cell.gates.weight[:, 1, 1, 1] = torch.tensor([0.5, 0.0, 0.0, 0.0])  # i of h
        cell.gates.bias.copy_(torch.tensor([0.0, 0.0, 0.1, 0.0]))
    one = torch.ones(1, 1, 1, 1)
    h, c = cell(0.2 * one, None, 0.4 * one, -0.5 * one)
    i, f, o, g = sigmoid(0.2 + 0.2), sigmoid(0.4), sigmoid(0.7), np.tanh(0.8)
    assert c.item() == pytest.approx(f * -0.5 + i * g, abs=1e-6)
    assert h.item() == pytest.approx(o * np.tanh(f * -0.5 + i * g), abs=1e-6)


def test_residual_form_is_the_direct_form_plus_the_rainy_image():
    direct, residual = seeded("srn-direct", stages=1), seeded("srn", stages=1)
    residual.load_state_dict(direct.state_dict())
    rainy = drawn()
    torch.testing.assert_close(residual(rainy).background, direct(rainy).background + rainy)


def test_later_stages_of_srn_x_do_not_see_the_rainy_image():
    model = seeded("srn-x", stages=2, width=4)
    with torch.no_grad():
        model.network.cell.gates.weight[:, 4:] = 0  # no memory of the first stage …
        model.network.cell.gates.bias[4:8] = -1e4  # … and forget gates that are shut
    rainy = drawn().requires_grad_()
    layers = model(rainy, keep=True)
    again = seeded("srn-x", stages=1, width=4)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(layers.stages[1], again(layers.stages[0]).background)


@pytest.mark.parametrize(
    ("name", "to_rain", "to_background"),
    [
        ("brn", True, True),
        ("brn-gru", True, True),
        ("crn", False, False),
        ("brn-x2r", True, False),
        ("brn-r2x", False, True),
    ],
)
def test_exchange_opens_and_blocks_the_path_between_branches(name, to_rain, to_background):
    """With the rain image held still, hidden states reach the other branch through the exchange alone."""
    model = seeded(name, stages=2, width=4)
    with torch.no_grad():
        model.rain.output.weight.zero_()
        model.background.output.weight.zero_()
    extras = model(drawn(), keep=True).extras

    def reaches(source, target):
        (gradient,) = torch.autograd.grad(extras[target].sum(), extras[source], retain_graph=True, allow_unused=True)
        return gradient is not None and gradient.abs().max().item() > 0

    assert reaches("hidden_rain_1", "hidden_1") == to_background
    assert reaches("hidden_1", "hidden_rain_2") == to_rain
    assert reaches("hidden_1", "hidden_2")
    assert reaches("hidden_rain_1", "hidden_rain_2")


@pytest.mark.parametrize("name", ["srn", "srn-gru", "brn", "brn-gru"])
def test_gradients_are_right(name):
    model = seeded(name, stages=2, width=2).double()
    rainy = drawn(5, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x).background, rainy)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("read", [slice(0, 1), slice(1, 2), slice(0, 2)], ids=["h", "c", "both"])
def test_gradients_of_the_gates_whatever_is_read(first, read):
    generator = torch.Generator().manual_seed(0)
    gates = torch.randn(2, 8, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    c = None if first else torch.randn(2, 2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: recurrent._Gating.apply(*given)[read], (gates, c))


def test_second_derivatives_are_refused():
    model = seeded("srn", width=2, stages=1)
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(image).background.sum(), image, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    model = seeded(name, stages=2)
    layers = model(drawn(), keep=True)
    sum(stage.square().mean() for stage in layers.stages + layers.rain_stages).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


# --- the receptive field --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "halo"),
    [
        ("srn", {"stages": 6}, 78),
        ("brn", {"stages": 6}, 87),
        ("brn", {"stages": 8}, 113),
        ("crn", {"stages": 2}, 35),
        ("srn+", {"stages": 1}, 39),
        ("srn-gru", {"stages": 2}, 27),
        ("brn-gru", {"stages": 3}, 50),
        ("brn", {"stages": 2, "rain_blocks": 5, "background_blocks": 1}, 32),
        ("crn", {"stages": 2, "rain_blocks": 5, "background_blocks": 1}, 31),
    ],
)
def test_halo_is_exactly_the_receptive_field(name, options, halo):
    """The middle row's gradient reaches rows at the distance of the halo, and none beyond."""
    model = seeded(name, **options, width=8).double()
    assert model.halo == halo
    rainy = torch.rand(1, 3, 2 * halo + 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rainy.requires_grad_()
    model(rainy).background[:, :, halo + 2].sum().backward()
    rows = rainy.grad.abs().amax((0, 1, 3)).nonzero().flatten()
    assert (rows.min().item(), rows.max().item()) == (2, 2 * halo + 2)


def test_what_the_tiler_reads():
    model = create("brn")
    assert (model.stride, model.global_statistics) == (1, False)


# --- strips ---------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    size=st.tuples(st.integers(16, 45), st.integers(16, 24)),
    rows=st.integers(1, 30),
    count=st.integers(1, 2),
    keep=st.booleans(),
)
def test_strips_change_nothing(name, size, rows, count, keep):
    model, rainy = seeded(name, stages=3, width=4), drawn(*size, count=count)
    whole = model(rainy, keep=keep)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(blocks, "STRIP", 128 * rows * count * size[1] * 4)
        strips = model(rainy, keep=keep)
    torch.testing.assert_close(strips.background, whole.background, atol=1e-5, rtol=0)
    torch.testing.assert_close(strips.rain, whole.rain, atol=1e-5, rtol=0)
    for ours, theirs in zip(strips.stages + strips.rain_stages, whole.stages + whole.rain_stages, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    for key, hidden in (whole.extras or {}).items():
        torch.testing.assert_close(strips.extras[key], hidden, atol=1e-5, rtol=0)


def test_the_input_is_left_alone_and_repeats_agree(monkeypatch):
    monkeypatch.setattr(blocks, "STRIP", 128 * 8 * 21 * 4)
    model, rainy = seeded("brn", stages=3, width=4), drawn()
    kept = rainy.clone()
    with torch.no_grad():
        first, second = model(rainy).background, model(rainy).background
    assert torch.equal(first, second)
    assert torch.equal(rainy, kept)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_stays_close(name):
    rainy = drawn(40, 40)
    model = create(name) if name == "srn+" else seeded(name)
    with torch.no_grad():
        exact = model(rainy).background
        half = model.bfloat16()(rainy).background
    assert half.dtype == torch.float32
    error = (half - exact).abs().mean().item()
    assert 0 < error < 5e-3


def test_autocast_trains_in_bf16():
    model = seeded("brn", stages=2, width=8)
    with torch.autocast("cpu", torch.bfloat16):
        layers = model(drawn(), keep=True)
    torch.testing.assert_close(layers.background.float(), model(drawn()).background, atol=0.05, rtol=0)
    layers.background.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# --- the authors' weights -------------------------------------------------------------------------------------------

AUTHORS = {
    ("srn_rain100l.pth", "srn"): [
        (0.387775, 0.384803, 0.902792, 0.040335),
        (0.404389, 0.402652, 0.896986, 0.023720),
        (0.411053, 0.411409, 0.877879, 0.017057),
        (0.414624, 0.415125, 0.877494, 0.013486),
        (0.418304, 0.416276, 0.885317, 0.009806),
        (0.420215, 0.416684, 0.888925, 0.007895),
    ],
    ("brn_rain100l.pth", "brn"): [
        (0.172324, 0.276833, 0.278721, -0.068548),
        (0.385400, 0.397883, 0.692205, -0.080653),
        (0.424350, 0.432322, 0.810073, -0.069061),
        (0.428304, 0.436459, 0.855684, -0.064066),
        (0.428114, 0.423693, 0.824719, -0.057553),
        (0.426582, 0.417789, 0.810721, -0.050337),
        (0.426193, 0.414589, 0.790915, -0.047093),
        (0.425311, 0.414359, 0.766955, -0.046967),
    ],
}
"""Of each stage on `drawn(32, 40)`: B̂'s mean, its green in the middle, its blue in the corner, and R̂'s mean.

Two forms that share no code with ours agree on them: the arrays above and benchmarks/textbook.py.
"""


@pytest.mark.parametrize(("file", "name"), AUTHORS)
def test_authors_weights_stage_by_stage(derain_data, file, name):
    golden, rainy = AUTHORS[file, name], drawn(32, 40)
    model = convert(derain_data / "authors" / file, model=name, stages=len(golden))
    with torch.no_grad():
        layers = model(rainy, keep=True)
    backgrounds, rains = reference(model, rainy[0])
    for t, (mean, middle, corner, rain_mean) in enumerate(golden):
        x, r = layers.stages[t][0], layers.rain_stages[t][0]
        found = [x.mean().item(), x[1, 16, 20].item(), x[2, 0, 0].item(), r.mean().item()]
        np.testing.assert_allclose(found, [mean, middle, corner, rain_mean], atol=1e-5)
        np.testing.assert_allclose(x, backgrounds[t], atol=1e-5)
        np.testing.assert_allclose(r, rains[t], atol=1e-5)


@pytest.mark.parametrize(("file", "name"), AUTHORS)
def test_authors_weights_in_bf16(derain_data, file, name):
    rainy = drawn(64, 64)
    model = convert(derain_data / "authors" / file, model=name)
    with torch.no_grad():
        exact, half = model(rainy).background, model.bfloat16()(rainy).background
    assert 0 < (half - exact).abs().mean().item() < 1e-2
