"""PHPNet against the paper's equations, written out by hand in NumPy, and what each baseline leaves out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from derainlib.errors import DerainError
from derainlib.inference import clean, plan
from derainlib.models import blocks, create, list_models, weights
from derainlib.models.phpnet import (
    SEGMENTERS,
    VARIANTS,
    ContrastPooling,
    NonLocal,
    PresenceHead,
    Pyramid,
    Reweighting,
    SegmentationHead,
    from_blocks,
    mean_pool,
    to_blocks,
)
from tests.models.by_hand import array, convolution, relu, seeded, sigmoid
from tests.models.by_hand import noise as drawn

NAMES = list(VARIANTS)
LOCAL = [name for name in NAMES if name != "phpnet-nonlocal"]
BLOCKS = ["standard", "parallel", "hierarchical", "concatenation", "nonlocal", "php"]


def network(name="phpnet", seed=0, **options):
    """A small network."""
    small = {} if name == "phpnet-qsnet" else {"width": 8, "k": 2}
    return seeded(name, seed, **small | options)


# --- the reference: the equations on NumPy arrays (channels, H, W) in float64 ---------------------------------------


def conv(x, layer):
    return convolution(x, array(layer.weight), array(layer.bias), layer.dilation[0], layer.groups)


def selu(x):
    return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1))


def filled(image, stride):
    height, width = image.shape[1:]
    return np.pad(image, ((0, 0), (0, -height % stride), (0, -width % stride)), mode="edge")


def blocks_of(image, stride):
    """Channel c·stride² + row·stride + column of a position is colour c of that pixel of its block."""
    image = filled(image, stride)
    parts = [
        colour[row::stride, column::stride] for colour in image for row in range(stride) for column in range(stride)
    ]
    return np.stack(parts)


def image_of(maps, stride, height, width):
    channels, rows, columns = len(maps) // stride**2, *maps.shape[1:]
    image = np.empty((channels, rows * stride, columns * stride))
    for c, row, column in np.ndindex(channels, stride, stride):
        image[c, row::stride, column::stride] = maps[c * stride**2 + row * stride + column]
    return image[:, :height, :width]


def pooled(image, stride, pick):
    """`pick` (mean or max) of each block and its neighbours, as far as they are in the image."""
    channels, height, width = image.shape
    result = np.empty((channels, height // stride, width // stride))
    for row, column in np.ndindex(*result.shape[1:]):
        top, left = max(0, (row - 1) * stride), max(0, (column - 1) * stride)
        result[:, row, column] = pick(image[:, top : (row + 2) * stride, left : (column + 2) * stride], (1, 2))
    return result


def eq_2(pooling, image):
    return sigmoid(conv(image, pooling.pixel) - conv(image, pooling.surroundings))


def attention_of(reweighting, f):
    return sigmoid(selu(conv(selu(conv(f, reweighting.convs[0])), reweighting.convs[1])))


def pyramid(layer, x, aggregated, reweighted):
    features = []
    for branch in layer.branches:
        features.append(relu(conv(x, branch) + (features[-1] if aggregated and features else 0)))
    f = np.concatenate(features)
    attention = attention_of(layer.reweighting, f) if reweighted else np.ones_like(f)
    return x + f * attention, attention


def non_local(layer, x):
    height, width = x.shape[1:]
    coarse = np.stack(
        [[x[:, r : r + 2, c : c + 2].max((1, 2)) for c in range(0, width, 2)] for r in range(0, height, 2)]
    )
    coarse = coarse.transpose(2, 0, 1)
    query, key, value = (
        conv(*pair).reshape(len(x) // 2, -1) for pair in ((x, layer.query), (coarse, layer.key), (coarse, layer.value))
    )
    weight = np.exp(query.T @ key)
    weight /= weight.sum(1, keepdims=True)
    return x + conv((value @ weight.T).reshape(-1, height, width), layer.output)


def encoded(encoder, image, block, pooling, stride):
    """x_k, C_a and the attention of each pyramid."""
    x, contrast, attentions = relu(conv(blocks_of(image, stride), encoder.input)), None, []
    whole = filled(image, stride)
    if pooling == "contrast":
        contrast = eq_2(encoder.pooling, whole)
        x = np.concatenate([x, pooled((1 - contrast) * whole, stride, np.mean)])
    if pooling == "max":
        x = np.concatenate([x, pooled(whole, stride, np.max)])
    for layer in encoder.layers:
        if block == "standard":
            x = np.concatenate([x, relu(conv(x, layer.conv))])
        else:
            x, attention = pyramid(layer, x, block == "php", block == "php")
            attentions.append(attention)
    return non_local(encoder.relate, x) if block == "nonlocal" else x, contrast, attentions


def refined(refinement, image, coarse):
    x = blocks_of(np.concatenate([image, coarse]), 2)
    for layer in refinement.convs:
        x = relu(conv(x, layer))
    return coarse + image_of(conv(x, refinement.output), 2, *image.shape[1:])


# --- the parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(6, 6), (7, 11), (16, 17)])
def test_blocks_of_pixels_and_back(stride, size):
    image = drawn(*size)
    maps = to_blocks(image, stride)
    np.testing.assert_array_equal(array(maps[0]), blocks_of(array(image[0]), stride))
    assert torch.equal(from_blocks(maps, stride, image), image)


def test_eq_2_by_hand():
    """One bright pixel 0.9 on 0.1: C_a is high there, low where the dilated kernel sees it, one half elsewhere."""
    pooling = ContrastPooling(2).double()
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.zero_()
        pooling.pixel.weight[0, :, 0, 0] = 1
        pooling.surroundings.weight[0, :, ::2, ::2] = 0.25
    image = torch.full((1, 3, 12, 12), 0.1, dtype=torch.float64)
    image[..., 6, 6] = 0.9
    means, contrast = pooling(image)
    assert contrast[0, 0, 6, 6].item() == pytest.approx(1 / (1 + np.exp(-(2.7 - 0.3))))
    assert contrast[0, 0, 4, 8].item() == pytest.approx(1 / (1 + np.exp(-(0.3 - (3 * 0.3 + 2.7) / 4))))
    assert contrast[0, 0, 6, 4].item() == pytest.approx(0.5)
    selected = (1 - contrast) * image
    assert means[0, 0, 3, 3].item() == pytest.approx(selected[0, 0, 4:10, 4:10].mean().item())
    assert means[0, 0, 0, 5].item() == pytest.approx(selected[0, 0, 0:4, 8:12].mean().item())


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_contrast_pooling_against_numpy(stride):
    pooling, image = ContrastPooling(stride).double(), drawn(12, 20).double()
    means, contrast = pooling(image)
    expected = eq_2(pooling, array(image[0]))
    np.testing.assert_allclose(array(contrast[0]), expected, atol=1e-12)
    selected = (1 - expected) * array(image[0])
    np.testing.assert_allclose(array(means[0]), pooled(selected, stride, np.mean), atol=1e-12)


def test_a_mean_leaves_out_what_is_beyond_the_border():
    assert torch.allclose(mean_pool(torch.ones(1, 3, 8, 6), 2), torch.ones(1, 3, 4, 3))


def test_attention_by_hand():
    """T with weight 1 in the kernels' middle: selu(selu(f + 1) − 2), once for a value above zero and once below."""
    reweighting = Reweighting(2).double()
    with torch.no_grad():
        for layer, bias in zip(reweighting.convs, (1.0, -2.0), strict=True):
            layer.weight.zero_()
            layer.weight[:, 0, 1, 1] = 1
            layer.bias.fill_(bias)
    f = torch.tensor([0.5, -3.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    high = 1.0507009873554805 * 1.5 - 2
    low = 1.0507009873554805 * 1.6732632423543772 * (np.exp(-2.0) - 1) - 2
    expected = [1 / (1 + np.exp(-1.0507009873554805 * 1.6732632423543772 * (np.exp(t) - 1))) for t in (high, low)]
    np.testing.assert_allclose(array(reweighting(f)[0, :, 2, 2]), expected, rtol=1e-12)


@pytest.mark.parametrize("aggregated", [False, True])
@pytest.mark.parametrize("reweighted", [False, True])
@pytest.mark.parametrize("dilations", [(1,), (2, 3), (1, 2, 3, 4)])
def test_a_pyramid_against_numpy(aggregated, reweighted, dilations):
    torch.manual_seed(0)
    layer = Pyramid(8, dilations, aggregated, reweighted).double()
    x = torch.randn(1, 8, 9, 7, dtype=torch.float64)
    out, *attention = layer(x)
    expected, weight = pyramid(layer, array(x[0]), aggregated, reweighted)
    np.testing.assert_allclose(array(out[0]), expected, atol=1e-12)
    assert len(attention) == reweighted
    for found in attention:
        np.testing.assert_allclose(array(found[0]), weight, atol=1e-12)


@pytest.mark.parametrize(("aggregated", "seen"), [(True, [1, 2, 3, 4]), (False, [4])])
def test_small_sizes_are_added_to_larger_ones(aggregated, seen):
    """Which distances the last branch's features depend on: of its own dilation, or of all below it."""
    layer = Pyramid(4, (1, 2, 3, 4), aggregated, reweighted=False).double()
    with torch.no_grad():
        for branch in layer.branches:
            branch.weight.fill_(1)
            branch.bias.fill_(1)
    x = torch.zeros(1, 4, 11, 11, dtype=torch.float64, requires_grad=True)
    layer(x)[0][0, 3, 5, 5].backward()
    rows = x.grad[0].abs().amax((0, 2)).nonzero().flatten() - 5
    assert rows[rows > 0].tolist() == seen


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_the_non_local_block_against_numpy(size):
    torch.manual_seed(0)
    layer, x = NonLocal(6).double(), torch.randn(1, 6, *size, dtype=torch.float64)
    np.testing.assert_allclose(array(layer(x)[0]), non_local(layer, array(x[0])), atol=1e-12)


@pytest.mark.parametrize("stride", [2, 4])
def test_the_segmentation_head_against_numpy(stride):
    torch.manual_seed(0)
    head, features = SegmentationHead(6, 5, stride).double(), torch.randn(1, 6, 4, 5, dtype=torch.float64)
    found = head(features, torch.zeros(1, 3, 4 * stride - 1, 5 * stride, dtype=torch.float64))
    logits = conv(relu(conv(array(features[0]), head.spatial)), head.output)
    rows, columns = (np.clip((np.arange(n * stride) + 0.5) / stride - 0.5, 0, n - 1) for n in (4, 5))
    tall = np.stack([[np.interp(rows, np.arange(4), column) for column in one.T] for one in logits])
    wide = np.stack([[np.interp(columns, np.arange(5), row) for row in one.T] for one in tall])
    np.testing.assert_allclose(array(found[0]), wide[:, :-1], atol=1e-12)


def test_the_presence_head_by_hand():
    head = PresenceHead(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        head.bias.copy_(torch.tensor([0.0, 0.5, -1.0]))
    features = torch.tensor([[1.0, 3.0], [0.0, 4.0]]).view(1, 2, 1, 2)
    assert head(features).tolist() == [[2.0, 4.5, 3.0]]


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradients", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("size", [(16, 18), (17, 21)])
@pytest.mark.parametrize(
    ("block", "pooling"), [*((block, "contrast") for block in BLOCKS), ("php", "max"), ("php", "none")]
)
def test_equations(block, pooling, size, gradients):
    """X^c, C_a, attention and X, step by step, against arrays."""
    model, rainy = network(block=block, pooling=pooling), drawn(*size, count=2)
    with torch.set_grad_enabled(gradients):
        layers = model(rainy, keep=True)
    for n in range(2):
        image = array(rainy[n])
        features, contrast, attentions = encoded(model.encoder, image, block, pooling, 2)
        coarse = image - image_of(conv(features, model.output), 2, *size)
        np.testing.assert_allclose(array(layers.extras["coarse"][n]), coarse, atol=1e-5)
        expected = refined(model.refinement, image, coarse)
        np.testing.assert_allclose(array(layers.background[n]), expected, atol=1e-5)
        if contrast is not None:
            found = array(layers.extras["contrast"][n])
            np.testing.assert_allclose(found, contrast[:, : size[0], : size[1]], atol=1e-5)
        for j, attention in enumerate(attentions if block == "php" else [], 1):
            np.testing.assert_allclose(array(layers.extras[f"attention_{j}"][n]), attention, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 4, 5])
def test_equations_of_phi(stride):
    model, image = network("phi", stride=stride), drawn(19, 22)
    layers = model(image, keep=True)
    features, contrast, _ = encoded(model.encoder, array(image[0]), "php", "contrast", stride)
    np.testing.assert_allclose(array(layers.extras["contrast"][0]), contrast[:, :19, :22], atol=1e-5)
    expected = model.segmentation(torch.from_numpy(features)[None].float(), image)
    torch.testing.assert_close(layers.extras["logits"], expected, atol=1e-5, rtol=0)
    means = features.mean((1, 2))
    presence = array(model.presence.weight) @ means + array(model.presence.bias)
    np.testing.assert_allclose(array(layers.extras["presence"][0]), presence, atol=1e-5)


def test_another_network_makes_the_coarse_image():
    model, rainy = network("phpnet-qsnet"), drawn()
    layers = model(rainy, keep=True)
    alone = create("qsnet")
    alone.load_state_dict(model.first.state_dict())
    torch.testing.assert_close(layers.extras["coarse"], alone(rainy).background, atol=1e-6, rtol=0)
    expected = refined(model.refinement, array(rainy[0]), array(layers.extras["coarse"][0]))
    np.testing.assert_allclose(array(layers.background[0]), expected, atol=1e-5)
    assert list(layers.extras) == ["coarse"]


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("phpnet", {"contrast", "attention_1", "attention_2"}),
        ("phpnet-standard", {"contrast"}),
        ("phpnet-parallel", {"contrast"}),
        ("phpnet-hierarchical", {"contrast"}),
        ("phpnet-concatenation", {"contrast"}),
        ("phpnet-nonlocal", {"contrast"}),
        ("phpnet-no-contrast", {"attention_1", "attention_2"}),
        ("phpnet-max-pooling", {"attention_1", "attention_2"}),
        ("phpnet-no-refinement", {"contrast", "attention_1", "attention_2"}),
        ("phpnet-qsnet", set()),
        ("phpnet-objects", {"contrast", "attention_1", "attention_2", "presence"}),
        ("phpnet-segmentation", {"contrast", "attention_1", "attention_2", "logits"}),
    ],
)
@pytest.mark.parametrize("size", [(16, 16), (17, 30)])
def test_layers(name, extras, size):
    rainy, model = drawn(*size, count=2), network(name)
    layers, plain = model(rainy, keep=True), model(rainy)
    assert plain.stages == plain.rain_stages == ()
    assert plain.extras is None
    assert torch.equal(layers.background, plain.background)
    assert torch.equal(layers.rain, plain.rain)
    assert torch.equal(layers.rain, rainy - layers.background)
    assert len(layers.stages) == len(layers.rain_stages) == (1 if name == "phpnet-no-refinement" else 2)
    assert torch.equal(layers.stages[0], layers.extras["coarse"])
    assert torch.equal(layers.stages[-1], layers.background)
    assert all(torch.equal(rain, rainy - b) for b, rain in zip(layers.stages, layers.rain_stages, strict=True))
    half = -(-size[0] // 2), -(-size[1] // 2)
    shapes = {"coarse": (2, 3, *size), "contrast": (2, 1, *size), "presence": (2, 11), "logits": (2, 11, *size)}
    shapes |= {f"attention_{j}": (2, 8, *half) for j in (1, 2)}
    assert {key: tuple(map_.shape) for key, map_ in layers.extras.items()} == {
        key: shapes[key] for key in {"coarse"} | extras
    }


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (19, 30)])
def test_phi_takes_no_rain_off(keep, size):
    image = drawn(*size, count=2)
    layers = network("phi")(image, keep=keep)
    assert torch.equal(layers.background, image)
    assert not layers.rain.any()
    assert layers.extras["logits"].shape == (2, 11, *size)
    assert layers.extras["presence"].shape == (2, 11)
    assert ("contrast" in layers.extras) == keep
    assert "presence" not in network("phi", presence=False)(image).extras


def test_names():
    """Table IV's networks and Table V's (a) and (c) derain; Φ does not, so no list of deraining networks has it."""
    assert set(NAMES) <= set(list_models())
    assert set(SEGMENTERS) == {"phi"}
    assert not set(SEGMENTERS) & set(list_models())


PYRAMID = 4 * (16 * 64 * 9 + 16)
REWEIGHTING = 2 * (64 * 9 + 64)
CONTRAST = (3 + 1) + (3 * 9 + 1)
WHOLE = (
    CONTRAST
    + (61 * 12 * 9 + 61)
    + 4 * (PYRAMID + REWEIGHTING)
    + (12 * 64 + 12)
    + (32 * 24 * 9 + 32)
    + 3 * (32 * 32 * 9 + 32)
    + (12 * 32 + 12)
)
REFINEMENT = (32 * 24 * 9 + 32) + 3 * (32 * 32 * 9 + 32) + (12 * 32 + 12)
SEGMENTATION = (64 * 64 * 9 + 64) + (11 * 64 + 11)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("phpnet", 195_377),
        ("phpnet", WHOLE),
        # dense: layers of 32 new channels from 64, 96, 128 and 160; the last convolution sees 192
        ("phpnet-standard", WHOLE - 4 * (PYRAMID + REWEIGHTING) + 32 * 9 * (64 + 96 + 128 + 160) + 4 * 32 + 12 * 128),
        ("phpnet-parallel", WHOLE - 4 * REWEIGHTING),
        ("phpnet-hierarchical", WHOLE - 4 * REWEIGHTING),
        ("phpnet-concatenation", WHOLE - 4 * REWEIGHTING),
        ("phpnet-nonlocal", WHOLE - 4 * REWEIGHTING + 3 * (32 * 64 + 32) + (64 * 32 + 64)),
        ("phpnet-no-contrast", WHOLE - CONTRAST + 3 * (12 * 9 + 1)),
        ("phpnet-max-pooling", WHOLE - CONTRAST),
        ("phpnet-no-refinement", WHOLE - REFINEMENT),
        ("phpnet-qsnet", 39_602 + REFINEMENT),
        ("phpnet-objects", WHOLE + 11 * 64 + 11),
        ("phpnet-segmentation", WHOLE + SEGMENTATION),
        ("phi", CONTRAST + (61 * 48 * 9 + 61) + 4 * (PYRAMID + REWEIGHTING) + SEGMENTATION + 11 * 64 + 11),
    ],
)
def test_parameters(name, count):
    assert sum(p.numel() for p in create(name).parameters()) == count


@pytest.mark.parametrize(
    ("name", "dilations"),
    [
        ("phpnet", [(1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6), (4, 5, 6, 7)]),
        ("phpnet-concatenation", [(1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6), (4, 5, 6, 7)]),
        ("phpnet-parallel", [(1, 2, 3, 4)] * 4),
        ("phpnet-hierarchical", [(1,), (2,), (3,), (4,)]),
        ("phpnet-nonlocal", [(1,)] * 4),
    ],
)
def test_dilations_of_the_blocks(name, dilations):
    """Read off what each branch's filters reach, not off their settings."""
    found = []
    for layer in create(name).double().encoder.layers:
        reached = []
        for branch in layer.branches:
            x = torch.zeros(1, 64, 17, 17, dtype=torch.float64, requires_grad=True)
            branch(x)[0, :, 8, 8].sum().backward()
            rows = x.grad.abs().amax((0, 1, 3)).nonzero().flatten().tolist()
            reached.append(rows[2] - 8)
            assert rows == [8 - reached[-1], 8, 8 + reached[-1]]
        found.append(tuple(reached))
    assert found == dilations


def losses(layers):
    """One for each output."""
    outputs = [*layers.stages, *(layers.extras[key] for key in ("logits", "presence") if key in layers.extras)]
    return [output.square().mean() for output in outputs]


@pytest.mark.parametrize("name", [*NAMES, *SEGMENTERS])
def test_every_weight_learns(name):
    model = network(name)
    sum(losses(model(drawn(), keep=True))).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("name", [*NAMES, *SEGMENTERS])
def test_all_outputs_reach_the_shared_layer(name):
    model = network(name)
    assert any(model.shared is p for p in model.parameters())
    for loss in losses(model(drawn(), keep=True)):
        (gradient,) = torch.autograd.grad(loss, model.shared, retain_graph=True)
        assert gradient.abs().max() > 0


def test_gradients_are_right():
    model = network().double()
    rainy = drawn(6, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x).background, rainy)


# --- sizes, precision, tiles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "halo"),
    [
        ({"width": 64, "k": 4}, 4 + 2 * (4 + 5 + 6 + 7 + 4 * 2) + 2 * 4 + 1),
        ({}, 4 + 2 * (2 + 3 + 2 * 2) + 8 + 1),
        ({"refinement": False}, 4 + 2 * (2 + 3 + 2 * 2) + 1),
        ({"pooling": "none"}, 2 + 2 * (2 + 3 + 2 * 2) + 8 + 1),
        ({"pooling": "max"}, 2 + 2 * (2 + 3 + 2 * 2) + 8 + 1),
        ({"block": "concatenation"}, 4 + 2 * (2 + 3) + 8 + 1),
        ({"block": "parallel"}, 4 + 2 * (2 + 2) + 8 + 1),
        ({"block": "hierarchical"}, 4 + 2 * (1 + 2) + 8 + 1),
        ({"block": "standard"}, 4 + 2 * (1 + 1) + 8 + 1),
        ({"first": "qsnet"}, 23 + 8 + 1),
    ],
)
def test_halo_is_exactly_the_receptive_field(options, halo):
    """The gradients of a block's two rows reach rows at the distance of the halo, and none beyond."""
    model = network(**options).double()
    assert model.halo == halo
    rainy = torch.rand(1, 3, 2 * halo + 8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rainy.requires_grad_()
    reached = []
    for row in (middle := (halo + 4) // 2 * 2, middle + 1):
        (gradient,) = torch.autograd.grad(model(rainy).background[:, :, row].square().sum(), rainy)
        rows = gradient.abs().amax((0, 1, 3)).nonzero().flatten() - row
        reached += [-rows.min().item(), rows.max().item()]
    assert max(reached) == halo


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("size", [(131, 98), (120, 149)])
def test_tiles_equal_the_whole(name, size):
    model, rainy = network(name), drawn(*size)
    with torch.no_grad():  # not clipped to [0, 1] all over
        (model.refinement or model).output.weight.mul_(0.1)
    whole = clean(model, rainy)
    assert ((whole > 0) & (whole < 1)).float().mean() > 0.5
    tile = 2 * model.halo + 22
    assert len(plan(model, *size, tile, 1)) > 4
    torch.testing.assert_close(clean(model, rainy, tile=tile), whole, atol=1e-5, rtol=0)


def test_the_non_local_network_is_not_cut_into_tiles():
    model, rainy = network("phpnet-nonlocal"), drawn(60, 90)
    with pytest.raises(DerainError, match="phpnet-nonlocal averages over the whole image") as caught:
        clean(model, rainy, tile=48)
    assert "\n" not in str(caught.value)
    assert clean(model, rainy, tile=90).shape == rainy.shape


@pytest.mark.parametrize("name", NAMES)
def test_what_the_tiler_reads(name):
    model = create(name)
    assert (model.stride, model.global_statistics) == (2, name == "phpnet-nonlocal")


def test_the_halo_of_phi():
    """How far a pixel's class scores look: found by gradient, at most what is stated."""
    model = network("phi").double()
    assert model.halo == (4 + 2) + 4 * (2 + 3 + 2 * 2) + 2 * 4 + 3
    image = torch.rand(1, 3, 128, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image.requires_grad_()
    reached = []
    for row in range(60, 64):
        (gradient,) = torch.autograd.grad(model(image).extras["logits"][:, :, row].square().sum(), image)
        rows = gradient.abs().amax((0, 1, 3)).nonzero().flatten() - row
        reached += [-rows.min().item(), rows.max().item()]
    assert model.halo - 4 < max(reached) <= model.halo


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from([*NAMES, *SEGMENTERS]),
    size=st.tuples(st.integers(16, 150), st.integers(16, 20)),
    rows=st.integers(1, 60),
    count=st.integers(1, 2),
    keep=st.booleans(),
)
def test_strips_change_nothing(name, size, rows, count, keep):
    model, rainy = network(name), drawn(*size, count=count)
    whole = model(rainy, keep=keep)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(blocks, "STRIP", 8 * rows * count * size[1] // model.stride * 4)
        strips = model(rainy, keep=keep)
    torch.testing.assert_close(strips.background, whole.background, atol=1e-4, rtol=1e-5)
    for key, map_ in (whole.extras or {}).items():
        torch.testing.assert_close(strips.extras[key], map_, atol=1e-4, rtol=1e-5)


def test_the_input_is_left_alone_and_repeats_agree(monkeypatch):
    monkeypatch.setattr(blocks, "STRIP", 8 * 8 * 21 * 4)
    model, rainy = network(), drawn(90, 21)
    kept = rainy.clone()
    with torch.no_grad():
        first, second = model(rainy).background, model(rainy).background
    assert torch.equal(first, second)
    assert torch.equal(rainy, kept)


@pytest.mark.parametrize("name", [*NAMES, *SEGMENTERS])
def test_bf16_stays_close(name):
    rainy, model = drawn(40, 41), create(name)
    with torch.no_grad():
        exact = model(rainy, keep=True)
        half = model.bfloat16()(rainy, keep=True)
    assert half.background.dtype == torch.float32
    assert (half.background - exact.background).abs().mean().item() < 5e-3
    for key, map_ in exact.extras.items():
        torch.testing.assert_close(half.extras[key].float(), map_, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", [*NAMES, *SEGMENTERS])
def test_under_autocast(name, gradients):
    """As training does it, and its validation."""
    torch.manual_seed(0)
    model, rainy = create(name), drawn(33, 34)
    with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16):
        half = model(rainy, keep=True)
    torch.testing.assert_close(half.background, model(rainy).background, atol=0.02, rtol=0)
    if gradients:
        sum(losses(half)).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", SEGMENTERS)
def test_phi_survives_a_file(name, tmp_path):
    model, image = network(name, classes=5), drawn()
    weights.save(model, tmp_path / "phi.safetensors", {})
    again = weights.load(tmp_path / "phi.safetensors")
    assert (again.name, again.options) == (name, {"width": 8, "k": 2, "classes": 5})
    assert torch.equal(again(image).extras["logits"], model.eval()(image).extras["logits"])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("phpnet", {"width": 0}, "width must be a whole number from 1; got 0"),
        ("phpnet", {"width": 64.0}, "width must be a whole number"),
        ("phpnet", {"width": 12}, "width must be a multiple of 2k = 8; got 12"),
        ("phpnet", {"k": 0}, "k must be a whole number from 1"),
        ("phpnet", {"classes": 0}, "classes must be a whole number from 1"),
        ("phpnet", {"block": "dense"}, "block must be one of php, .*; got 'dense'"),
        ("phpnet", {"pooling": None}, "pooling must be one of contrast, max, none; got None"),
        ("phpnet", {"first": "brn"}, "first must be one of php, qsnet; got 'brn'"),
        ("phpnet", {"head": "boxes"}, "head must be one of none, objects, segmentation"),
        ("phpnet", {"refinement": 1}, "refinement must be True or False; got 1"),
        ("phpnet", {"first": "qsnet", "head": "objects"}, "head='objects' shares the encoder of first='php'"),
        ("phpnet", {"stages": 3}, "phpnet has no option stages"),
        ("phi", {"stride": 0}, "stride must be a whole number from 1; got 0"),
        ("phi", {"presence": "yes"}, "presence must be True or False; got 'yes'"),
        ("phi", {"width": 9}, "width must be a multiple of 2k = 8; got 9"),
    ],
)
def test_refuses_options(name, options, words):
    with pytest.raises(DerainError, match=words):
        create(name, **options)
