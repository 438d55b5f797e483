"""QSNet: its convolutions against NumPy and the plain grouped form, what each part sees, and what the tiler reads."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from derainlib.errors import DerainError
from derainlib.inference import clean, plan
from derainlib.models import blocks, create
from derainlib.models.qsnet import RATES, VARIANTS, AuxiliaryDecoder, GroupConv, ShuffleUnit, shuffle
from tests.models.by_hand import convolution, noise

drawn = partial(noise, count=2)

NAMES = list(VARIANTS)


def network(name="qsnet", **options):
    torch.manual_seed(0)
    return create(name, **{"width": 16, "units": 3, "scale_width": 8} | options)


def use_plain_form(monkeypatch):
    monkeypatch.setattr(GroupConv, "forward", GroupConv.plain)


# --- shuffle and group convolution ----------------------------------------------------------------------------------


def test_shuffle_deals_channels_like_cards():
    x = torch.arange(6).view(1, 6, 1, 1)
    assert shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(shuffle(shuffle(x, 2), 3), x)
    assert torch.equal(shuffle(x, 1), x)


def numpy_group_convolution(x, weight, bias, groups, rate, shuffled):
    x = np.concatenate([x[first :: len(x) // shuffled] for first in range(len(x) // shuffled)])
    return convolution(x, weight, bias, rate, groups)


@pytest.mark.parametrize("form", ["forward", "plain"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "groups", "rate", "shuffled"),
    [(12, 8, 1, 4, 1, 4), (10, 5, 1, 5, 1, 5), (8, 12, 3, 4, 1, 1), (8, 8, 3, 2, 4, 1), (6, 4, 3, 2, 1, 3)],
)
def test_group_convolution_against_numpy(form, dtype, inputs, outputs, size, groups, rate, shuffled, generator):
    layer = GroupConv(inputs, outputs, size, groups, rate, shuffled).to(dtype)
    x = torch.rand(1, inputs, 9, 11, generator=generator, dtype=torch.float64).to(dtype)
    expected = numpy_group_convolution(
        *(t.detach().double().numpy() for t in (x[0], layer.weight, layer.bias)), groups, rate, shuffled
    )
    found = getattr(layer, form)(x)[0].detach().double().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12 if dtype == torch.float64 else 0.02)


def test_gradients_of_both_forms_agree(monkeypatch):
    model, rainy = network().double(), drawn().double()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(rainy).rain.square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        use_plain_form(monkeypatch)
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-14, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_equals_its_plain_form(name, monkeypatch):
    model, rainy = create(name), drawn(64, 50, count=1)
    with torch.no_grad():
        ours = model(rainy, keep=True)
    use_plain_form(monkeypatch)
    plain = model(rainy, keep=True)
    torch.testing.assert_close(ours.background, plain.background, atol=1e-5, rtol=0)
    assert ours.extras.keys() == plain.extras.keys()
    for key in plain.extras:
        torch.testing.assert_close(ours.extras[key], plain.extras[key], atol=1e-5, rtol=0)


def test_a_shuffle_unit_is_the_published_one(generator):
    """1x1 in groups, ReLU, shuffle, depthwise 3x3, 1x1 in groups, + input, ReLU; filters renumbered by the shuffle."""
    unit, x = ShuffleUnit(8, 2).double(), torch.rand(1, 8, 6, 7, generator=generator, dtype=torch.float64)
    y = shuffle(unit.reduce.plain(x).relu(), 2)
    order = shuffle(torch.arange(8)[None], 2)[0]
    depthwise = unit.depthwise
    y = torch.nn.functional.conv2d(y, depthwise.weight[order], depthwise.bias[order], padding=1, groups=8)
    y = torch.nn.functional.conv2d(y, unit.expand.weight, unit.expand.bias, groups=2)
    torch.testing.assert_close(unit(x), (y + x).relu())


# --- the parts ------------------------------------------------------------------------------------------------------


def test_parameters():
    """Worked by hand: input, 12 units, scales, five auxiliary decoders, main decoder."""
    unit = (48 * 12 + 48) + (48 * 9 + 48) + (48 * 12 + 48)
    scales = 16 * 12 + 16 + 4 * (16 * 12 * 9 + 16)
    auxiliary = (16 * 4 * 9 + 16) + (16 * 4 + 16) + (3 * 16 * 9 + 3)
    main = (40 * 19 + 40) + (40 * 8 * 9 + 40) + (3 * 40 * 9 + 3)
    total = (48 * 27 + 48) + 12 * unit + scales + 5 * auxiliary + main
    assert total == 39602
    assert sum(p.numel() for p in create("qsnet").parameters()) == total
    assert sum(p.numel() for p in create("qsnet-no-sharing").parameters()) == total
    without = sum(p.numel() for p in create("qsnet-no-auxiliary").parameters())
    assert without == total - 5 * auxiliary - 40 * 3


def test_ordinary_convolutions_multiply_twice_as_much():
    """Multiplications a pixel are the weights, all of them at full resolution: 82,960 in the place of 37,488."""
    for options, expected in (({}, 37_488), ({"grouped": False}, 82_960)):
        convolutions = [m for m in create("qsnet", **options).modules() if isinstance(m, torch.nn.Conv2d)]
        assert sum(m.weight.numel() for m in convolutions) == expected


def test_without_exchange_in_the_encoder_groups_never_meet():
    """The first group of the encoder's output, with the input's first group alone: 4 of 16 channels."""
    for sharing, seen in ((True, [0, 1, 2, 3]), (False, [0])):
        units = torch.nn.Sequential(*network(encoder_sharing=sharing).encoder).double()
        x = torch.rand(1, 16, 3, 3, dtype=torch.float64, requires_grad=True)
        units(x)[0, :4].sum().backward()
        assert x.grad.abs().amax((0, 2, 3)).view(4, 4).amax(1).nonzero().flatten().tolist() == seen


def test_detached_images_learn_from_their_own_loss_alone():
    model = network(detached=True)
    layers = model(drawn(), keep=True)
    torch.testing.assert_close(layers.background, network()(drawn()).background)
    (from_rain,) = torch.autograd.grad(layers.rain.sum(), model.auxiliary[0].output.weight, allow_unused=True,
                                       retain_graph=True)  # fmt: skip
    (from_image,) = torch.autograd.grad(layers.extras["decoded_1"].sum(), model.auxiliary[0].output.weight)
    assert from_rain is None
    assert from_image.abs().max() > 0


def test_switches_are_true_or_false():
    with pytest.raises(DerainError, match="grouped must be True or False; got 1"):
        create("qsnet", grouped=1)


def test_layers_add_up_and_extras_are_decodings():
    model, rainy = network(), drawn()
    layers = model(rainy, keep=True)
    torch.testing.assert_close(layers.background + layers.rain, rainy)
    assert list(layers.extras) == [f"{what}_{i}" for what in ("scale", "decoded") for i in range(1, 6)]
    for i, decoder in enumerate(model.auxiliary, 1):
        rain = decoder(layers.extras[f"scale_{i}"])
        torch.testing.assert_close(layers.extras[f"decoded_{i}"], rainy - rain)
    assert model(rainy).extras is None


def test_without_auxiliary_decoders():
    model = network("qsnet-no-auxiliary")
    assert list(model(drawn(), keep=True).extras) == [f"scale_{i}" for i in range(1, 6)]


@pytest.mark.parametrize("rate", RATES)
def test_a_single_scale_is_a_network_of_its_own(rate):
    """With the weights of that scale: its features and its decoded image are the same, its halo ends there."""
    whole, alone, rainy = network(), network(rates=[rate]), drawn()
    i = RATES.index(rate)
    shared = ("input.", "encoder.", f"scales.{i}.", f"auxiliary.{i}.")
    state = {key.replace(f".{i}.", ".0.", 1) if key.startswith(shared[2:]) else key: value
             for key, value in whole.state_dict().items() if key.startswith(shared)}  # fmt: skip
    assert all(key.startswith("main.") for key in alone.load_state_dict(state, strict=False).missing_keys)
    kept, layers = whole(rainy, keep=True).extras, alone(rainy, keep=True)
    assert list(layers.extras) == ["scale_1", "decoded_1"]
    torch.testing.assert_close(layers.extras["scale_1"], kept[f"scale_{i + 1}"])
    torch.testing.assert_close(layers.extras["decoded_1"], kept[f"decoded_{i + 1}"])
    assert whole.halo - alone.halo == max(RATES) - rate
    assert create(alone.name, **alone.options).rates == (rate,)


@pytest.mark.parametrize(("index", "rate"), list(enumerate(RATES)))
def test_each_scale_sees_its_atrous_neighbours(index, rate):
    conv = network().scales[index].double()
    x = torch.rand(1, 16, 15, 15, dtype=torch.float64, requires_grad=True)
    conv(x)[0, :, 7, 7].sum().backward()
    rows = x.grad.abs().amax((0, 1, 3)).nonzero().flatten().tolist()
    assert rows == ([7 - rate, 7, 7 + rate] if rate else [7])


@pytest.mark.parametrize(("sharing", "seen"), [(True, [0, 1, 2, 3]), (False, [0])])
def test_groups_of_an_auxiliary_decoder_share(sharing, seen):
    """Which groups' features reach the first channel before the last, plain convolution."""
    decoder = AuxiliaryDecoder(16, 4, sharing).double()
    with torch.no_grad():
        for layer in (decoder.spatial, decoder.pointwise):
            layer.weight.abs_()
            layer.bias.fill_(1)
    x = torch.rand(1, 16, 3, 3, dtype=torch.float64, requires_grad=True)
    decoder.pointwise(decoder.spatial(x).relu())[0, 0, 1, 1].backward()
    reached = x.grad.abs().amax((0, 2, 3)).view(4, 4).amax(1).nonzero().flatten().tolist()
    assert reached == seen


@pytest.mark.parametrize(("sharing", "seen"), [(True, [0, 1, 2, 3, 4]), (False, [0])])
def test_scales_share_in_the_main_decoder(sharing, seen):
    main = network(sharing=sharing).main.double()
    x = torch.rand(1, 5 * 11, 4, 4, dtype=torch.float64, requires_grad=True)
    main.pointwise(x)[0, 0].sum().backward()
    assert x.grad.abs().amax((0, 2, 3)).view(5, 11).amax(1).nonzero().flatten().tolist() == seen


def test_every_weight_learns():
    model = network()
    model(drawn()).rain.square().mean().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


# --- sizes, precision, tiles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_halo_is_exactly_the_receptive_field(name):
    """With positive weights no ReLU hides a pixel: the middle row's gradient reaches the halo, and none beyond."""
    model = network(name).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
        for decoder in model.auxiliary:  # O − A would be negative
            decoder.output.weight.neg_()
    halo = model.halo
    assert halo == 1 + 3 + 6 + 2 + (0 if name == "qsnet-no-auxiliary" else 2)
    rainy = drawn(2 * halo + 5, 16, count=1).double().requires_grad_()
    model(rainy).rain[:, :, halo + 2].sum().backward()
    rows = rainy.grad.abs().amax((0, 1, 3)).nonzero().flatten()
    assert (rows.min().item(), rows.max().item()) == (2, 2 * halo + 2)


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    size=st.tuples(st.integers(16, 70), st.integers(16, 24)),
    rows=st.integers(1, 50),
    count=st.integers(1, 2),
    keep=st.booleans(),
)
def test_strips_change_nothing(name, size, rows, count, keep):
    model, rainy = network(name, units=5), drawn(*size, count=count)
    whole = model(rainy, keep=keep)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(blocks, "STRIP", model._widest * rows * count * size[1] * 4)
        strips = model(rainy, keep=keep)
    torch.testing.assert_close(strips.background, whole.background, atol=1e-5, rtol=0)
    for key, map_ in (whole.extras or {}).items():
        torch.testing.assert_close(strips.extras[key], map_, atol=1e-5, rtol=0)


def test_tiles_equal_the_whole():
    model, rainy = network(), drawn(131, 97, count=1)
    tile = 2 * model.halo + 23
    assert len(plan(model, 131, 97, tile, 1)) > 4
    torch.testing.assert_close(clean(model, rainy, tile=tile), clean(model, rainy), atol=1e-5, rtol=0)


def test_what_the_tiler_reads():
    model = create("qsnet")
    assert (model.halo, model.stride, model.global_statistics) == (23, 1, False)


def test_bf16_stays_close():
    model, rainy = create("qsnet"), drawn(40, 40)
    with torch.no_grad():
        exact = model(rainy).background
        half = model.bfloat16()(rainy).background
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().mean().item() < 5e-3


@pytest.mark.parametrize("gradients", [False, True])
def test_under_autocast(gradients):
    """As training does it, and its validation."""
    model, rainy = network(), drawn()
    with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16):
        half = model(rainy, keep=True)
    torch.testing.assert_close(half.background.float(), model(rainy).background, atol=0.02, rtol=0)
    assert all(map_.isfinite().all() for map_ in half.extras.values())


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_convolution_sum_and_relu(relu, sums, fused, generator, monkeypatch):
    """In one pass or in three, with gradients or without."""
    monkeypatch.setattr(blocks, "FUSED", fused and blocks.FUSED)
    x, plus = (torch.randn(1, channels, 9, 10, generator=generator) for channels in (6, 4))
    layer = torch.nn.Conv2d(6, 4, 3, padding=2, dilation=2, groups=2)
    expected = layer(x) + (plus if sums else 0)
    expected = expected.relu() if relu else expected
    options = {"padding": (2, 2), "dilation": (2, 2), "groups": 2, "relu": relu, "plus": plus if sums else None}
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            kept = plus.clone()
            torch.testing.assert_close(blocks.conv(x, layer.weight, layer.bias, **options), expected)
            assert torch.equal(plus, kept)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 10}, "multiples of groups=4"),
        ({"scale_width": 6}, "multiples of groups=4"),
        ({"groups": 3, "width": 48, "scale_width": 15}, "an even one"),
        ({"units": 0}, "units must be a whole number from 1; got 0"),
        ({"width": 48.0}, "width must be a whole number"),
        ({"rates": []}, "rates must be whole numbers from 0, at least one"),
        ({"rates": [1, -2]}, "rates must be whole numbers from 0"),
        ({"stages": 3}, "qsnet has no option stages"),
    ],
)
def test_refuses_options(options, words):
    with pytest.raises(DerainError, match=words):
        create("qsnet", **options)
