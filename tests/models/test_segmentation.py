"""The segmenters: their units against NumPy, any size, what they see, and that they learn."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from derainlib import create, list_models, windows
from derainlib.data import scenes
from derainlib.data.synthetic import Samples
from derainlib.errors import DerainError
from derainlib.layers import Pair
from derainlib.losses import GradientBalanced, Semantic
from derainlib.metrics import Confusion
from derainlib.models import weights
from derainlib.models.segmentation import BINS, ESP, RATES, BasicBlock, PyramidPooling
from tests.models.by_hand import convolution, noise

drawn = partial(noise, count=2)

SMALL = {"espnet": {"width": 16, "deep": 2}, "pspnet": {"width": 32, "blocks": 1}}
NAMES = list(SMALL)


def network(name, **options):
    torch.manual_seed(0)
    return create(name, **SMALL[name] | options).eval()


# --- the parts ------------------------------------------------------------------------------------------------------


def test_esp_unit_against_numpy():
    torch.manual_seed(0)
    unit = ESP(8, 8).double().eval()
    nn.init.uniform_(unit.finish[0].running_mean, -1, 1)
    nn.init.uniform_(unit.finish[0].running_var, 0.5, 2)
    x = torch.randn(1, 8, 13, 11, dtype=torch.float64)
    reduced = np.einsum("kc,chw->khw", unit.reduce.weight[:, :, 0, 0].detach().numpy(), x[0].numpy())
    assert len(reduced) == 2
    d1, d2, d4, d8 = (
        convolution(reduced, conv.weight.detach().numpy(), rate=rate)
        for conv, rate in zip(unit.pyramid, (1, 2, 4, 8), strict=True)
    )
    merged = np.concatenate([d1, d2, d2 + d4, d2 + d4 + d8]) + x[0].numpy()
    norm, slope = unit.finish
    mean, scale = (t.detach().numpy()[:, None, None] for t in (norm.running_mean, norm.running_var))
    normal = (merged - mean) / np.sqrt(scale + norm.eps)
    expected = np.where(normal > 0, normal, slope.weight.detach().numpy()[:, None, None] * normal)
    np.testing.assert_allclose(unit(x)[0].detach(), expected, atol=1e-10)


@pytest.mark.parametrize(("inputs", "stride"), [(8, 2), (5, 1)])
def test_esp_unit_of_another_shape_has_no_residual(inputs, stride):
    unit = ESP(inputs, 8, stride).eval()
    for conv in unit.pyramid:
        nn.init.zeros_(conv.weight)
    result = unit(torch.rand(1, inputs, 12, 10))
    assert result.shape == (1, 8, 12 // stride, 10 // stride)
    assert not result.any()


def test_pyramid_pooling_by_hand():
    """Projections that copy: beside the features stand the averages of the cells, spread out again."""
    pooling = PyramidPooling(8).double()
    for conv in pooling.project:
        nn.init.zeros_(conv.bias)
        nn.init.zeros_(conv.weight)
        conv.weight.data[0, 0] = conv.weight.data[1, 1] = 1
    x = torch.rand(1, 8, 12, 18, dtype=torch.float64)
    result = pooling(x)
    assert torch.equal(result[:, :8], x)
    assert result.shape == (1, 16, 12, 18)
    for i, cells in enumerate(BINS):
        for channel in (0, 1):
            average = x[0, channel].reshape(cells, 12 // cells, cells, 18 // cells).mean((1, 3))
            expected = F.interpolate(average[None, None], (12, 18), mode="bilinear")[0, 0]
            torch.testing.assert_close(result[0, 8 + 2 * i + channel], expected)
    torch.testing.assert_close(result[0, 8], x[0, 0].mean().expand(12, 18))


def test_basic_block_without_weights_passes_its_input_on():
    block = BasicBlock(6, 6, rate=2).eval()
    for layer in block.body:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    x = torch.randn(1, 6, 8, 8)
    assert torch.equal(block(x), x.relu())
    assert BasicBlock(6, 10, stride=2)(x.expand(2, -1, -1, -1)).shape == (2, 10, 4, 4)


# --- the networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("espnet", 331_227), ("pspnet", 1_767_115)])
def test_sizes(name, count):
    """As shipped weights have them; each file stays below 8 MB."""
    model = create(name)
    assert sum(p.numel() for p in model.parameters()) == count
    assert sum(t.numel() * t.element_size() for t in model.state_dict().values()) < 8e6


def test_esp_unit_size_by_hand():
    unit = ESP(128, 128)
    assert sum(p.numel() for p in unit.parameters()) == 128 * 32 + len(RATES) * 9 * 32 * 32 + 2 * 128 + 128


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(16, 16), (16, 45), (37, 21), (64, 48)])
@pytest.mark.parametrize("keep", [False, True])
def test_any_size(name, size, keep):
    image = drawn(*size)
    with torch.inference_mode():
        layers = network(name, classes=7)(image, keep=keep)
    assert torch.equal(layers.background, image)
    assert torch.equal(layers.rain, torch.zeros_like(image))
    assert set(layers.extras) == {"logits"}
    assert layers.extras["logits"].shape == (2, 7, *size)
    assert layers.extras["logits"].std() > 0


@pytest.mark.parametrize("name", NAMES)
def test_other_sizes_are_filled_with_their_last_row_and_column(name):
    model, image = network(name), drawn(37, 21)
    filled = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (0, 3), (0, 3)), mode="edge"))
    with torch.inference_mode():
        expected = model(filled).extras["logits"][..., :37, :21]
        torch.testing.assert_close(model(image).extras["logits"], expected)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_judged_alone(name):
    model, images = network(name).double(), drawn(32, 40, count=3).double()
    with torch.inference_mode():
        together = model(images).extras["logits"]
        alone = torch.cat([model(image[None]).extras["logits"] for image in images])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_even_from_one_image(name):
    model = network(name).train()
    F.cross_entropy(model(drawn(48, 48, count=1)).extras["logits"], torch.ones(1, 48, 48).long()).backward()
    still = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("name", NAMES)
def test_gradient_balance_finds_the_layer_that_tasks_share(name):
    torch.manual_seed(0)
    image = drawn(32, 32)
    labels = torch.ones(2, 32, 32).long()
    model = network(name)
    balance = GradientBalanced({"a": Semantic(), "b": Semantic()}, {"a": 1.0, "b": 3.0}, model.shared)
    balance(model(image, keep=True), Pair(image, image, labels=labels))
    assert [weight.item() for weight in balance.latest.values()] == pytest.approx([3 / 4, 1 / 4])


def test_the_light_one_sees_no_farther_than_its_halo():
    """A wide strip and weights that are all positive: whatever a score can depend on, it does."""
    model = create("espnet", classes=1, width=8, deep=1).double().eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    width = 2 * model.halo + 64
    image = drawn(16, width, count=1).double().requires_grad_()
    scores = model(image).extras["logits"]
    reach = 0
    for column in range(width // 2, width // 2 + model.stride):
        (slope,) = torch.autograd.grad(scores[0, 0, 8, column], image, retain_graph=True)
        seen = slope.abs().sum((0, 1, 2)).nonzero()[:, 0]
        reach = max(reach, column - seen.min().item(), seen.max().item() - column)
    assert model.halo - model.stride <= reach <= model.halo


def test_the_heavy_one_sees_everything():
    model = network("pspnet")
    image = drawn(16, 3 * model.halo, count=1).requires_grad_()
    model(image).extras["logits"][0, 0, 8, 8].backward()
    assert image.grad[..., -8:].abs().sum() > 0
    with pytest.raises(DerainError, match="whole"):
        windows.plan(model, 512, 1200, 448, 512**2)


@pytest.mark.parametrize("name", NAMES)
def test_found_by_name_but_no_deraining_network(name, tmp_path):
    assert name not in list_models()
    model = network(name)
    weights.save(model, tmp_path / "trained.safetensors", {"data": "none"})
    again = weights.load(tmp_path / "trained.safetensors")
    assert again.name == name
    image = drawn()
    with torch.inference_mode():
        assert torch.equal(again(image).extras["logits"], model(image).extras["logits"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("espnet", {"classes": 0}, "classes must be a whole number from 1; got 0"),
        ("espnet", {"width": 20}, "multiple of 8; got 20"),
        ("pspnet", {"width": 24}, "multiple of 16; got 24"),
        ("pspnet", {"blocks": 1.0}, "blocks must be a whole number"),
        ("pspnet", {"deep": 3}, "pspnet has no option deep"),
    ],
)
def test_refused(name, options, message):
    with pytest.raises(DerainError, match=message):
        create(name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_to_read_drawn_streets(name):
    """A few steps on drawn streets, scored on others."""
    model = network(name).train()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    samples = Samples(scenes.drawn(range(6), (96, 128)), patch=64, style="none")
    for step in range(60):
        batch = samples.__getitems__([(step, i) for i in range(6)])
        logits = model(batch.rainy).extras["logits"]
        loss = F.cross_entropy(logits, batch.labels, ignore_index=scenes.IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    confusion, guess = Confusion(11), Confusion(11)
    with torch.inference_mode():
        for scene in scenes.drawn(range(100, 104), (96, 128)):
            image, labels = scene.read()
            confusion.update(model.eval()(image[None]).extras["logits"].argmax(1), labels[None])
            guess.update(torch.full_like(labels, labels.flatten().mode().values), labels)
    assert confusion.accuracy > guess.accuracy + 0.2
    assert confusion.miou > guess.miou + 0.1
