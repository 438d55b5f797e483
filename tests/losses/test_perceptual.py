"""The perceptual loss against NumPy, its weights from every source, and the sources that it must refuse."""

import os
import pickle
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from derainlib.errors import DerainError, WeightsError
from derainlib.layers import Layers, Pair
from derainlib.losses.perceptual import LOUD, WHITE, Features, Perceptual, layer_names

pytestmark = pytest.mark.filterwarnings("ignore:the perceptual loss runs on a vgg.. with random weights")

VGG16 = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
"""torchvision's numbers of VGG16's first convolutions, with their channels."""


def state(seed: int = 0, names: dict[int, tuple[int, int]] = VGG16) -> dict[str, torch.Tensor]:
    """Small random weights by torchvision's names, and one of the classifier's that no loss needs."""
    generator = torch.Generator().manual_seed(seed)
    found = {"classifier.0.weight": torch.zeros(2, 2)}
    for number, (inputs, outputs) in names.items():
        found[f"features.{number}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) / (3 * inputs**0.5)
        found[f"features.{number}.bias"] = torch.randn(outputs, generator=generator) / 10
    return found


def some_pair(generator, size=(2, 3, 18, 21), dtype=torch.float32) -> tuple[Layers, Pair]:
    background, rainy, clean = (torch.rand(size, generator=generator, dtype=dtype) for _ in range(3))
    return Layers(background, rainy - background), Pair(rainy, clean)


# --- the reference: NumPy in float64 --------------------------------------------------------------------------------


def normalised(image):
    return (image - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))


def conv(x, weights, number):
    weight, bias = (weights[f"features.{number}.{kind}"].double().numpy() for kind in ("weight", "bias"))
    padded, (_, height, width) = np.pad(x, ((0, 0), (1, 1), (1, 1))), x.shape
    total = np.tile(bias[:, None, None], (1, height, width))
    for row, column in np.ndindex(3, 3):
        total += np.einsum(
            "oi,ihw->ohw", weight[:, :, row, column], padded[:, row : row + height, column : column + width]
        )
    return total


def relu(x):
    return np.maximum(x, 0)


def pool(x):
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).max((2, 4))


def conv1_2(x, w):
    return conv(relu(conv(x, w, 0)), w, 2)


def relu2_1(x, w):
    return relu(conv(pool(relu(conv1_2(x, w))), w, 5))


def relu3_3(x, w):
    x = pool(relu(conv(relu2_1(x, w), w, 7)))
    return relu(conv(relu(conv(relu(conv(x, w, 10)), w, 12)), w, 14))


@pytest.mark.parametrize(
    ("features", "normalise", "norm"),
    [(relu3_3, True, "l1"), (relu2_1, True, "l2"), (relu2_1, False, "l1"), (conv1_2, True, "l1")],
)
def test_eq_7_in_numpy(tmp_path, generator, features, normalise, norm):
    weights, (layers, pair) = state(), some_pair(generator)
    torch.save(weights, tmp_path / "vgg.pth")
    expected = 0
    for estimate, truth in zip(layers.background.double().numpy(), pair.clean.double().numpy(), strict=True):
        seen = [features(normalised(x) if normalise else x, weights) for x in (estimate, truth)]
        expected += np.abs(seen[0] - seen[1]).sum() if norm == "l1" else np.square(seen[0] - seen[1]).sum()
    options = {"layer": features.__name__, "norm": norm, "normalise": normalise, "weights": tmp_path / "vgg.pth"}
    assert Perceptual(**options, normaliser="sum")(layers, pair).item() == pytest.approx(expected, rel=1e-5)
    assert Perceptual(**options)(layers, pair).item() == pytest.approx(expected / (2 * 3 * 18 * 21), rel=1e-5)


@pytest.mark.parametrize(
    ("network", "layer", "number"),
    [
        ("vgg16", "conv1_1", 0),
        ("vgg16", "relu1_2", 3),
        ("vgg16", "relu2_2", 8),
        ("vgg16", "relu3_3", 15),
        ("vgg16", "relu4_3", 22),
        ("vgg16", "relu5_3", 29),
        ("vgg19", "conv3_4", 16),
        ("vgg19", "relu4_4", 26),
        ("vgg19", "conv5_4", 34),
    ],
)
def test_layers_have_torchvisions_numbers(network, layer, number):
    assert layer_names(network).index(layer) == number
    assert len(layer_names(network)) == {"vgg16": 31, "vgg19": 37}[network]


@pytest.mark.parametrize(
    ("network", "layer", "convolutions", "count"),
    [
        ("vgg16", "relu3_3", [0, 2, 5, 7, 10, 12, 14], 1_735_488),
        ("vgg19", "conv3_4", [0, 2, 5, 7, 10, 12, 14, 16], 2_325_568),
        ("vgg16", "relu5_3", [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], 14_714_688),
        ("vgg19", "relu5_4", [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34], 20_024_384),
    ],
)
def test_the_published_convolutions(network, layer, convolutions, count):
    """Keras documents 14,714,688 and 20,024,384 parameters without the classifiers' dense layers."""
    with torch.device("meta"):
        features = Features(network, layer)
    assert [f"{number}.{kind}" for number in convolutions for kind in ("weight", "bias")] == list(features.state_dict())
    assert sum(p.numel() for p in features.parameters()) == count


def test_menets_layer_sees_a_quarter_of_the_size(generator):
    features = Features("vgg19", "conv3_4")
    features.draw()
    found = features(torch.rand(1, 3, 19, 24, generator=generator))
    assert found.shape == (1, 256, 4, 6)
    assert found.min() < 0, "the features come before their ReLU"


# --- the map --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_2", "relu3_3", "relu5_1"])
@pytest.mark.parametrize("normaliser", ["mean", "sum"])
def test_map_averages_to_the_scalar(generator, layer, normaliser):
    layers, pair = some_pair(generator, size=(2, 3, 18, 37))
    loss = Perceptual(layer=layer, weights="random", normaliser=normaliser)
    picture = loss.map(layers, pair)
    assert picture.shape == (2, 1, 18, 37)
    total = picture.mean() if normaliser == "mean" else picture.sum()
    assert total.item() == pytest.approx(loss(layers, pair).item(), rel=1e-6)


def test_map_shows_where_the_images_differ(generator):
    """conv1_1 sees one pixel to each side: a single wrong pixel spoils nine, those of a pooled layer more."""
    clean = torch.rand(1, 3, 24, 24, generator=generator)
    wrong = clean.clone()
    wrong[:, :, 9, 14] += 0.5
    layers, pair = Layers(wrong, clean - wrong), Pair(clean, clean)
    spoiled = Perceptual(layer="conv1_1", weights="random").map(layers, pair)[0, 0].nonzero()
    assert spoiled.tolist() == [[row, column] for row in (8, 9, 10) for column in (13, 14, 15)]
    pooled = Perceptual(layer="conv2_1", weights="random").map(layers, pair)[0, 0]
    # conv1_2 spoils rows 7–11 and columns 12–16, pooled rows 3–5 and columns 6–8, conv2_1 one more on each side.
    rows, columns = pooled.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 13, 10, 19)


def test_each_feature_lies_on_its_own_pixels(generator):
    """18 x 21 pixels have 9 x 10 cells: the first of 21 columns' cells takes three of them, every other two."""
    layers, pair = some_pair(generator, size=(1, 3, 18, 21))
    picture = Perceptual(layer="conv2_1", weights="random").map(layers, pair)[0, 0]
    steps = (picture[:, 1:] != picture[:, :-1]).any(0).nonzero().flatten() + 1
    assert steps.tolist() == [3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert (picture[1:] != picture[:-1]).any(1).nonzero().flatten().tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


# --- as a loss ------------------------------------------------------------------------------------------------------


def test_truth_is_the_minimum(generator):
    layers, pair = some_pair(generator)
    loss = Perceptual(weights="random")
    assert loss(Layers(pair.clean, pair.rain), pair).item() == 0
    for share in (1e-2, 0.1, 1.0):
        estimate = pair.clean + share * (layers.background - pair.clean)
        assert loss(Layers(estimate, pair.rainy - estimate), pair).item() > 0


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_gradients_match_finite_differences(generator, norm):
    layers, pair = some_pair(generator, size=(1, 3, 4, 5), dtype=torch.float64)
    loss = Perceptual(layer="relu2_1", norm=norm, weights="random")
    estimate = layers.background.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(Layers(x, pair.rainy - x), pair), estimate)


def test_only_the_estimate_learns(generator):
    layers, pair = some_pair(generator)
    loss = Perceptual(weights="random")
    estimate = layers.background.requires_grad_()
    loss(Layers(estimate, pair.rainy - estimate), pair).backward()
    assert estimate.grad.abs().max() > 0
    parameters = list(loss.parameters())
    assert len(parameters) == 14
    assert all(p.grad is None and not p.requires_grad for p in parameters)


def test_rain_and_stages_as_in_every_comparison(generator):
    layers, pair = some_pair(generator)
    other, _ = some_pair(generator)
    kept = layers._replace(stages=(other.background, layers.background), rain_stages=(other.rain, layers.rain))
    alone = Perceptual(on="rain", weights="random")
    both = Perceptual(on="rain", stages="all", early=0.25, last=2.0, weights="random")
    expected = 0.25 * alone(other, pair) + 2 * alone(layers, pair)
    assert both(kept, pair).item() == pytest.approx(expected.item(), rel=1e-5)
    swapped = Perceptual(weights="random")(Layers(layers.rain, layers.background), Pair(pair.rainy, pair.rain))
    assert alone(layers, pair).item() == pytest.approx(swapped.item(), rel=1e-5)


def test_it_stays_in_float32_under_autocast(generator):
    layers, pair = some_pair(generator)
    loss = Perceptual(weights="random")
    exact = loss(layers, pair).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(layers, pair).item() == pytest.approx(exact, rel=1e-6)
    half = Layers(layers.background.bfloat16(), layers.rain.bfloat16())
    assert loss(half, pair).item() == pytest.approx(exact, rel=0.02)


# --- weights --------------------------------------------------------------------------------------------------------


def test_random_weights_say_so_and_are_always_the_same(generator):
    layers, pair = some_pair(generator)
    with pytest.warns(UserWarning, match=r"vgg16 with random weights.*not for training"):
        first = Perceptual(weights="random")(layers, pair)
    torch.rand(3)
    assert torch.equal(first, Perceptual(weights="random")(layers, pair))


def test_untrained_weights_are_the_random_ones_without_a_warning(generator, recwarn):
    layers, pair = some_pair(generator)
    wanted = Perceptual(weights="untrained")(layers, pair)
    assert not recwarn.list
    assert torch.equal(wanted, Perceptual(weights="random")(layers, pair))


def test_drawn_weights_keep_the_size_of_what_passes():
    features = Features("vgg16", "relu5_3")
    features.draw()
    found = features(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    assert 0.1 < found.square().mean().sqrt() < 10


@pytest.mark.parametrize("name", ["vgg.pth", "vgg.safetensors"])
def test_every_source_gives_the_same_weights(tmp_path, monkeypatch, generator, name):
    layers, pair = some_pair(generator)
    (torch.save if name.endswith("pth") else save_file)(state(), tmp_path / name)
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(state(), cache / "vgg16-397923af.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    given, cached = Perceptual(weights=str(tmp_path / name))(layers, pair), Perceptual()(layers, pair)
    assert torch.equal(given, cached)
    assert given != Perceptual(weights="random")(layers, pair)


def test_weights_for_white_at_255_give_features_of_the_same_size(tmp_path, generator):
    """As converted from Keras: the first layer divides by 255 · std no more, and every bias is as much larger."""
    layers, pair = some_pair(generator)
    quiet = state()
    louder = {key for key in quiet if key.endswith("bias")} | {"features.0.weight"}
    loud = {key: value * WHITE if key in louder else value for key, value in quiet.items()}
    assert loud["features.0.weight"].abs().mean() > LOUD > 5 * quiet["features.0.weight"].abs().mean()
    losses = []
    for name, tensors in (("quiet", quiet), ("loud", loud)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        losses.append(Perceptual(weights=str(tmp_path / f"{name}.safetensors"))(layers, pair))
    torch.testing.assert_close(*losses)


def test_nothing_is_downloaded(tmp_path, monkeypatch, generator):
    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    loss = Perceptual(network="vgg19", layer="conv3_4")
    with pytest.raises(WeightsError, match=r"vgg19-dcbb9e9d\.pth into .*checkpoints, .*weights=") as caught:
        loss(*some_pair(generator))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


class Malice:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def write(path, what):
    path.write_bytes(what) if isinstance(what, bytes) else torch.save(what, path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.pth", None, "there is no weights file"),
        ("noise.pth", b"\x00\x01 noise", "damaged"),
        ("noise.safetensors", b"\x00\x01 noise", "damaged"),
        ("malice.pth", pickle.dumps(Malice()), "nothing in it was executed"),
        ("list.pth", [torch.zeros(2)], "must map names to tensors"),
        ("nested.pth", {"layers": {}}, "must map names to tensors"),
        ("empty.pth", {"state_dict": {}}, r"lacks features\.0\.weight"),
        ("short.pth", state(names={0: (3, 64)}), r"lacks features\.2\.weight"),
        ("narrow.pth", state(names=VGG16 | {2: (64, 32)}), "holds no such VGG: .*size mismatch"),
    ],
)
def test_files_that_are_no_vgg_are_refused(tmp_path, monkeypatch, generator, name, content, words):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(WeightsError, match=words) as caught:
        Perceptual(weights=str(tmp_path / name))(*some_pair(generator))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"network": "vgg11"}, "network must be one of vgg16, vgg19; got 'vgg11'"),
        ({"layer": "relu3_4"}, "vgg16 has no layer 'relu3_4'"),
        ({"layer": "pool3"}, "vgg16 has no layer 'pool3'"),
        ({"norm": "l3"}, "norm must be one of l1, l2; got 'l3'"),
    ],
)
def test_unknown_options_are_refused(options, complaint):
    with pytest.raises(DerainError, match=complaint):
        Perceptual(**options)


def test_a_recipe_can_be_written_without_weights(tmp_path, monkeypatch):
    """Recipes build their losses to check them, on machines that have no VGG too."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert list(Perceptual().parameters()) == []


def test_images_too_small_for_the_layer(generator):
    loss = Perceptual(layer="relu5_1", weights="random")
    assert loss(*some_pair(generator, size=(1, 3, 16, 16))) > 0
    with pytest.raises(DerainError, match="relu5_1 needs images of at least 16 x 16 pixels"):
        loss(*some_pair(generator, size=(1, 3, 15, 16)))
