"""MENET against its equations, written out by hand in NumPy; batch normalisation and attention at inference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from derainlib.errors import DerainError
from derainlib.inference import clean, plan
from derainlib.models import create, list_models, weights
from derainlib.models.menet import VARIANTS, ChannelAttention, ConvNorm
from tests.models.by_hand import array, convolution, relu

NAMES = list(VARIANTS)
COUNTS = {"menet": 815_680, "menet-shallow": 671_680, "menet-deep": 1_407_552}


def network(name="menet", seed=0, **options) -> torch.nn.Module:
    """A small network in eval mode, its statistics those of one batch, in which every layer has something to say."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = create(name, **{"width": 8} | options)
        norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias, std=0.3)
        torch.nn.init.normal_(model.output.weight, std=2)
        if model.attention:  # what differs a little between two images makes one channel count twice and another once
            torch.nn.init.uniform_(model.attention.excitation.norm.weight, 10, 20)
        model.train()(drawn(64, 64, count=4))
        for norm in norms:
            norm.momentum = 0.1
    return model.eval()


def drawn(height=32, width=48, count=1, seed=1) -> torch.Tensor:
    """Noise, brighter towards the right, so that parts of the image have other averages than the whole."""
    noise = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return noise * torch.linspace(0.2, 1, width)


# --- the reference: the header's equations on NumPy arrays (N, channels, H, W) in float64 ---------------------------


def convnorm(x, layer):
    """W ∗ x, less the mean, over the deviation; of the batch in training, else as stored."""
    y = convolution(x, array(layer.conv.weight))
    mean, variance = array(layer.norm.running_mean), array(layer.norm.running_var)
    if layer.training:
        mean, variance = y.mean((0, 2, 3)), y.var((0, 2, 3))
    scale, shift = array(layer.norm.weight), array(layer.norm.bias)
    mean, variance, scale, shift = (v[:, None, None] for v in (mean, variance, scale, shift))
    return scale * (y - mean) / np.sqrt(variance + 1e-5) + shift


def down(x):
    """The four pixels of a 2x2 block, row by row, side by side as channels."""
    corners = [x[:, :, row::2, column::2] for row, column in np.ndindex(2, 2)]
    return np.stack(corners, 2).reshape(len(x), -1, x.shape[2] // 2, x.shape[3] // 2)


def up(x):
    y = np.empty((len(x), x.shape[1] // 4, 2 * x.shape[2], 2 * x.shape[3]))
    for channel in range(x.shape[1]):
        row, column = divmod(channel % 4, 2)
        y[:, channel // 4, row::2, column::2] = x[:, channel]
    return y


def average(x, attention):
    """The map that channel attention averages."""
    for squeeze, spatial in zip(attention.squeeze, attention.spatial, strict=True):
        x = relu(convnorm(relu(convnorm(down(x), squeeze)), spatial))
    return convnorm(x, attention.excitation)


def reference(model, rainy):
    """B̂ of a batch, and what the network keeps."""
    o = array(rainy) * 255
    height, width = o.shape[2:]
    stride = 16 if model.attention else 4
    o = np.pad(o, ((0, 0), (0, 0), (0, -height % stride), (0, -width % stride)), mode="reflect")
    kept = {"net_1": (net_1 := convnorm(down(o), model.enter))}
    kept["net_2"] = net_2 = convnorm(down(relu(net_1)), model.descend)
    x = relu(net_2)
    if model.attention:
        kept["attention"] = a = 1 / (1 + np.exp(-average(x, model.attention).mean((2, 3))))
        x = x + x * a[:, :, None, None]
    for i, block in enumerate(model.blocks, 1):
        y = x + convnorm(relu(convnorm(x, block.first)), block.second)
        kept[f"block_{i}"] = x = relu(y) if i < len(model.blocks) else y
    x = up(convnorm(net_2 + x, model.ascend))
    change = up(convolution(convnorm(net_1 + x, model.leave), array(model.output.weight)))
    return (o + change)[:, :, :height, :width] / 255, kept


# --- smoke, shape, counts -------------------------------------------------------------------------------------------


def test_the_variants_are_listed():
    assert set(NAMES) == set(COUNTS) <= set(list_models())


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name):
    assert sum(p.numel() for p in create(name).parameters()) == COUNTS[name]


def test_parameters_layer_by_layer():
    """Convolutions without biases, and two numbers a channel in each normalisation."""
    model = create("menet-deep")
    square = 64 * 64 * 9 + 2 * 64
    expected = {
        "enter": 12 * 16 * 9 + 2 * 16,
        "descend": square,
        "attention": 2 * (256 * 64 + 2 * 64 + square) + square,
        "blocks": 16 * 2 * square,
        "ascend": square,
        "leave": 16 * 16 * 9 + 2 * 16,
        "output": 16 * 12 * 9,
    }
    found = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert found == expected
    assert sum(expected.values()) == COUNTS["menet-deep"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(16, 16), (17, 30), (32, 47)])
@pytest.mark.parametrize("training", [False, True])
def test_layers_have_the_shape_of_the_image(name, size, training):
    rainy = drawn(*size, count=2)
    layers = network(name).train(training)(rainy)
    assert layers.background.shape == layers.rain.shape == rainy.shape
    assert layers.background.dtype == torch.float32
    assert torch.equal(layers.rain, rainy - layers.background)
    assert layers.stages == layers.rain_stages == ()
    assert layers.extras is None


@pytest.mark.parametrize("name", NAMES)
def test_keep_returns_maps_and_changes_nothing(name):
    model, rainy = network(name), drawn(33, 50)
    layers = model(rainy, keep=True)
    assert torch.equal(layers.background, model(rainy).background)
    attention = {"attention"} if model.attention else set()
    blocks = {f"block_{i}" for i in range(1, len(model.blocks) + 1)}
    assert set(layers.extras) == {"net_1", "net_2"} | attention | blocks
    height, width = (48, 64) if model.attention else (36, 52)
    assert layers.extras["net_1"].shape == (1, 2, height // 2, width // 2)
    assert all(layers.extras[name].shape == (1, 8, height // 4, width // 4) for name in {"net_2"} | blocks)


# --- exceptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"depth": 3}, "menet has no option depth"),
        ({"blocks": 0}, "blocks must be a whole number from 1; got 0"),
        ({"blocks": 8.0}, "blocks must be a whole number"),
        ({"width": "64"}, "width must be a whole number"),
        ({"width": 10}, "width must be a multiple of 4; got 10"),
        ({"attention": "channel"}, "attention must be True or False; got 'channel'"),
        ({"clip": 1}, "clip must be True or False"),
    ],
)
def test_wrong_options_are_refused(options, complaint):
    with pytest.raises(DerainError, match=complaint):
        create("menet", **options)


def test_one_smallest_patch_has_no_statistics_to_train_by():
    model = network().train()
    with pytest.raises(DerainError, match="one patch of 16 x 16 pixels; take more, or larger ones"):
        model(drawn(16, 16))
    for batch in (drawn(16, 16, count=2), drawn(16, 17)):
        assert model(batch).background.isfinite().all()
    assert model.eval()(drawn(16, 16)).background.isfinite().all()
    assert network("menet-shallow").train()(drawn(16, 16)).background.isfinite().all()


def test_without_attention_nothing_is_averaged():
    with pytest.raises(DerainError, match="averages nothing"):
        network("menet-shallow").statistics(drawn())


# --- the equations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "inference"])
@pytest.mark.parametrize("size", [(32, 48), (19, 42)])
@pytest.mark.parametrize("name", NAMES)
def test_equations(name, size, gradients):
    model, rainy = network(name), drawn(*size, count=2)
    with torch.set_grad_enabled(gradients):
        layers = model(rainy, keep=True)
    background, kept = reference(model, rainy)
    assert np.abs(background - array(rainy)).mean() > 0.01
    np.testing.assert_allclose(array(layers.background), background, atol=1e-5)
    for key, expected in kept.items():
        np.testing.assert_allclose(array(layers.extras[key]), expected, atol=1e-4 * np.abs(expected).max(), err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_equations_in_training(name):
    """With the batch's own statistics, at the published width."""
    model, rainy = network(name, width=64).double().train(), drawn(32, 32, count=3).double()
    background, _ = reference(model, rainy)
    np.testing.assert_allclose(array(model(rainy).background), background, atol=1e-9)


def test_channel_attention_by_hand():
    """a = 1 doubles a channel and a = 0 leaves it: the network then is the one without attention."""
    model, rainy = network(), drawn()
    shallow = network("menet-shallow")
    shallow.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("attention")})
    never, always = (model(rainy, keep=True, statistics=torch.full((1, 8), value)) for value in (-200.0, 200.0))
    torch.testing.assert_close(never.background, shallow(rainy).background)
    doubled = model.blocks[0](2 * never.extras["net_2"].relu())
    torch.testing.assert_close(always.extras["block_1"], doubled)


def test_unshuffling_loses_nothing():
    """With layers that hand on what they get, B̂ is known: O + (1 + 1) O, since both skips carry the image."""
    model, rainy = network("menet-shallow", width=48, blocks=1).double(), drawn().double()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, ConvNorm):
                layer.norm.reset_running_stats()
                layer.norm.weight.fill_((1 + layer.norm.eps) ** 0.5)
                layer.norm.bias.zero_()
                torch.nn.init.dirac_(layer.conv.weight)
        model.blocks[0].second.norm.weight.zero_()
        model.ascend.norm.weight.div_(2)  # net_2 + ReLU(net_2), and nothing is negative
        torch.nn.init.dirac_(model.output.weight)
    torch.testing.assert_close(model(rainy).background, 3 * rainy)


def test_values_run_to_255_inside():
    model, seen = network("menet-shallow"), []
    model.enter.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.ones(1, 3, 16, 16))
    assert seen[0].eq(255).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(33, 47), (18, 16)])
def test_other_sizes_are_filled_by_reflection(name, size):
    model, rainy = network(name), drawn(*size)
    stride = 16 if model.attention else 4
    filled = np.pad(rainy.numpy(), ((0, 0), (0, 0), (0, -size[0] % stride), (0, -size[1] % stride)), mode="reflect")
    expected = model(torch.from_numpy(filled)).background[:, :, : size[0], : size[1]]
    torch.testing.assert_close(model(rainy).background, expected)


def test_clipping_is_an_option():
    plain, clipped = network("menet-shallow"), network("menet-shallow", clip=True)
    rainy = (2 * drawn()).clamp(0, 1)
    background = plain(rainy).background
    assert background.min() < 0 < 1 < background.max()
    layers = clipped(rainy)
    assert torch.equal(layers.background, background.clamp(0, 1))
    assert torch.equal(layers.rain, rainy - layers.background)


# --- batch normalisation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "inference"])
def test_a_photograph_alone_is_treated_as_in_a_batch(name, gradients):
    model, batch = network(name), drawn(20, 33, count=3)
    with torch.set_grad_enabled(gradients):
        together = model(batch).background
        alone = torch.cat([model(image[None]).background for image in batch])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    model.train()
    assert (model(batch).background - together).abs().max() > 0.01, "training uses the batch's own statistics"


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8), (torch.float64, 1e-15)])
def test_folding_keeps_the_precision(dtype, error):
    """In half precision what is folded is rounded once, not at every step."""
    layer = network().descend.to(dtype)
    found = layer.folded()
    for part, exact in zip(found, layer.double().folded(), strict=True):
        assert part.dtype == dtype
        torch.testing.assert_close(part.double(), exact, rtol=1.001 * error, atol=error * 1e-3)


def test_statistics_are_read_anew():
    """Folded weights are those of now: statistics that have moved on count at once."""
    model, rainy = network(), drawn()
    with torch.no_grad():
        before = model(rainy).background
        model.train()(drawn(count=4))
        after = model.eval()(rainy).background
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, model(rainy).background, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_a_file_with_their_statistics(name, tmp_path):
    model, rainy = network(name), drawn()
    weights.save(model, tmp_path / "menet.safetensors", {})
    assert torch.equal(weights.load(tmp_path / "menet.safetensors")(rainy).background, model(rainy).background)


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_right(training):
    model = network(width=4, blocks=2).double().train(training)
    rainy = drawn(16, 17, count=1 + training).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x).background, rainy, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    model = create(name, width=8).train()
    model(drawn(32, 32, count=2)).background.square().mean().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_untrained_network_changes_little(name):
    """So that training starts near the photograph, within a few grey levels of it."""
    rainy = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    change = create(name)(rainy).rain.square().mean().sqrt()
    assert 0 < change < 5 / 255


def test_all_tasks_share_the_last_convolution():
    model = network()
    assert model.shared is model.output.weight
    layers = model(drawn())
    (gradient,) = torch.autograd.grad(layers.background.sum(), model.shared)
    assert gradient.abs().max() > 0


# --- the receptive field, tiles, precision --------------------------------------------------------------------------


def reach(value, rainy, first: int, last: int) -> tuple[int, int]:
    """Rows above `first` and below `last` on which a value depends."""
    (gradient,) = torch.autograd.grad(value, rainy, retain_graph=True)
    rows = gradient.abs().amax((0, 1, 3)).nonzero().flatten()
    return first - rows.min().item(), rows.max().item() - last


@pytest.mark.parametrize(("name", "options", "halo"), [
    ("menet-shallow", {}, 81),
    ("menet", {}, 81),
    ("menet-deep", {}, 145),
    ("menet-shallow", {"blocks": 1}, 25),
])  # fmt: skip
def test_halo_is_exactly_the_receptive_field(name, options, halo):
    """The gradients of a block's four rows reach rows at the distance of the halo, and none beyond."""
    model = network(name, **options).double()
    assert model.halo == halo
    middle = 16 * (halo // 16 + 2)
    rainy = drawn(2 * middle, 16).double().requires_grad_()
    mean = torch.zeros(1, 8, dtype=torch.float64)
    background = model(rainy, statistics=mean).background
    rows = range(middle, middle + 4)
    assert max(max(reach(background[:, :, row].square().sum(), rainy, row, row)) for row in rows) == halo


def test_the_attention_looks_no_farther_than_the_halo():
    model = network(blocks=1, width=32).double()
    rainy = drawn(16 * 9, 16).double().requires_grad_()
    found = model.statistics(rainy)
    assert found.shape == (1, 32, 9, 1)
    assert reach(found[:, :, 4].square().sum(), rainy, 64, 79) == (46, 46)
    assert model.halo == 46 + 15


@pytest.mark.parametrize(("name", "stride", "average"), [
    ("menet", 16, True), ("menet-shallow", 4, False), ("menet-deep", 16, True),
])  # fmt: skip
def test_what_the_tiler_reads(name, stride, average):
    model = create(name)
    assert (model.stride, model.global_statistics) == (stride, average)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beyond", [(94, 126), (91, 129)])
def test_tiles_equal_the_whole(name, beyond):
    """Sides that are multiples of 16 (of 4 without attention), and odd ones."""
    model = network(name)
    rainy = drawn(*(2 * model.halo + more for more in beyond))
    whole = clean(model, rainy)
    assert ((whole > 0) & (whole < 1)).float().mean() > 0.5
    tile = 2 * model.halo + 64
    assert len(plan(model, *rainy.shape[-2:], tile, 1)) >= 4
    torch.testing.assert_close(clean(model, rainy, tile=tile), whole, atol=1e-5, rtol=0)


@settings(max_examples=20, deadline=None)
@given(size=st.tuples(st.integers(16, 220), st.integers(16, 220)), extra=st.integers(0, 80))
def test_tiles_of_any_size(size, extra):
    model, rainy = network(blocks=1, width=4), drawn(*size)
    tiles = clean(model, rainy, tile=2 * model.halo + model.stride + extra)
    torch.testing.assert_close(tiles, clean(model, rainy), atol=1e-5, rtol=0)


def test_averages_of_parts_would_show():
    """The first pass is needed: the attention of a part is another one, and changes the picture."""
    model, rainy = network(), drawn(128, 320)
    whole, part = model(rainy, keep=True), model(rainy[..., :208], keep=True)
    assert (whole.extras["attention"] - part.extras["attention"]).abs().max() > 0.01
    inside = slice(None), slice(None), slice(None), slice(0, 208 - model.halo)
    assert (whole.background[inside] - part.background[inside]).abs().max() > 1e-3
    mean = model.statistics(rainy).mean((2, 3))
    known = model(rainy[..., :208], statistics=mean)
    torch.testing.assert_close(known.background[inside], whole.background[inside], atol=1e-5, rtol=0)


@pytest.mark.parametrize("gradients", [True, False])
def test_the_input_is_left_alone_and_repeats_agree(gradients):
    model, rainy = network(), drawn(33, 50)
    kept = rainy.clone()
    with torch.set_grad_enabled(gradients):
        assert torch.equal(model(rainy).background, model(rainy).background)
    assert torch.equal(rainy, kept)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_stays_close(name):
    model, rainy = create(name).eval(), drawn(40, 41)
    with torch.no_grad():
        exact = model(rainy).background
        half = model.bfloat16()(rainy).background
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().mean().item() < 2e-3


@pytest.mark.parametrize("training", [False, True])
def test_under_autocast(training):
    """As training does it, and its validation."""
    model, rainy = create("menet", width=8).train(training), drawn(33, 34, count=2)
    with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16):
        half = model(rainy).background
    torch.testing.assert_close(half, model(rainy).background, atol=0.02, rtol=0)
    if training:
        half.square().mean().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())


def test_attention_takes_any_multiple_of_four():
    assert ChannelAttention(4).eval()(torch.rand(2, 4, 8, 12)).shape == (2, 4, 2, 3)
