"""The loss probe: its errors have the size they say, and value, map and gradient are those of the loss."""

import numpy as np
import pytest
import torch
from torch import nn

from derainlib.lab import miniature, probe
from derainlib.lab.probe import BACKGROUND, Probe
from derainlib.layers import Layers, Pair
from derainlib.losses import L1, MSE, Auxiliary, Fixed, NegativeSSIM


@pytest.fixture(scope="module")
def pair():
    return miniature.shower("coffee", "light", size=(32, 40))


@pytest.fixture(scope="module")
def staged(pair):
    return Probe(pair, probe.distortions(pair), stages=(2, 1.5, 1), extras={f"decoded_{i}": 1 + i for i in range(5)})


@pytest.mark.parametrize("kind", ["blur", "noise", "brightness shift", "leftover rain"])
def test_all_errors_have_the_mse_of_their_size(staged, pair, kind):
    layers, _ = staged.estimate(kind, 20)
    assert MSE(scale=255)(layers, pair).item() == pytest.approx(20**2, rel=1e-4)


def test_leftover_rain_leads_to_the_rainy_picture(pair):
    size = 255 * pair.rain.square().mean().sqrt().item()
    layers, _ = Probe(pair, probe.distortions(pair)).estimate("leftover rain", size)
    assert torch.allclose(layers.background, pair.rainy, atol=1e-5)
    assert torch.allclose(layers.background + layers.rain, pair.rainy, atol=1e-6)


def test_stages_and_extras_have_their_share_of_the_error(staged, pair):
    layers, images = staged.estimate("noise", 10)
    assert list(images) == ["stage 1", "stage 2", BACKGROUND, *(f"decoded_{i}" for i in range(5))]
    assert len(layers.stages) == len(layers.rain_stages) == 3
    assert layers.stages[-1] is layers.background
    step = layers.background - pair.clean
    for image, factor in ((layers.stages[0], 2), (layers.stages[1], 1.5), (layers.extras["decoded_3"], 4)):
        assert torch.allclose(image - pair.clean, factor * step, atol=1e-5)
    assert not Probe(pair, {"noise": step}).estimate("noise", 10)[0].stages


def test_look_is_value_map_and_gradient(staged, pair):
    look = staged.look(MSE(), "brightness shift", 255 * 0.1)
    assert look.value == pytest.approx(0.01, rel=1e-4)
    assert look.start == 0
    assert torch.allclose(look.map, torch.full_like(look.map, 0.01), atol=1e-5)
    assert torch.allclose(look.gradient, torch.full_like(look.gradient, 0.2), atol=1e-5)  # d e² / de
    assert torch.allclose(look.image, pair.clean + 0.1, atol=1e-6)


def test_start_is_the_loss_of_the_truth(staged):
    look = staged.look(NegativeSSIM(), "blur", 10)
    assert look.start == pytest.approx(-1, abs=1e-4)
    assert look.value > look.start


def test_gradient_is_that_of_the_image_asked_for(staged):
    last, every = MSE(), MSE(stages="all", early=0.5, last=1.5)
    assert not staged.look(last, "noise", 10, of="stage 1").gradient.any()
    first, final = (staged.look(every, "noise", 10, of=name).gradient for name in ("stage 1", BACKGROUND))
    assert torch.allclose(first * 1.5, final, atol=1e-6)  # 0.5 · 2 e against 1.5 · e
    decoded = staged.look(Auxiliary(), "noise", 10, of="decoded_1").gradient
    assert decoded.abs().max() > 0


def test_without_a_name_all_gradients_are_added_up(staged):
    every = MSE(stages="all")
    names = ("stage 1", "stage 2", BACKGROUND)
    parts = sum(staged.look(every, "noise", 10, of=name).gradient for name in names)
    assert torch.allclose(staged.look(every, "noise", 10, of=None).gradient, parts, atol=1e-6)


def test_look_needs_no_gradients_around_it(staged):
    with torch.inference_mode():
        assert staged.look(L1(), "noise", 10).gradient.any()


@pytest.mark.parametrize("in_colour", [False, True])
def test_panel(staged, in_colour):
    figure = staged.panel("L1", L1(), "blur", 10, in_colour=in_colour)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[0] == "blur, 10 of 255"
    assert titles[1].startswith("L1: 0 → 0.0")
    assert ("− gradient, as RGB" in titles) == in_colour
    silent = staged.panel("L1", L1(), "blur", 10, of="stage 1")
    assert "no gradient of stage 1" in [ax.get_title() for ax in silent.axes]


def test_curves_of_one_mse_lie_on_each_other(staged):
    figure, axes = staged.curves({"MSE": MSE(scale=255), "L1": L1()}, range(0, 21, 10), "two losses")
    assert repr(figure) == "Picture(two losses)"
    mse, l1 = ([line.get_ydata() for line in ax.lines] for ax in axes)
    assert len(mse) == 4
    assert np.allclose(mse, [[0, 100, 400]] * 4, rtol=1e-3)
    assert np.ptp([line[-1] for line in l1]) > 1e-3


class Two(nn.Module):
    """Two layers in a row; the first is also looked at by itself."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, rainy, keep=False):
        coarse = self.first(rainy)
        fine = self.second(coarse)
        return Layers(fine, rainy - fine, extras={"decoded_1": coarse})


def test_pulls_are_norms_of_weighted_gradients(pair):
    torch.manual_seed(0)
    network = Two()
    parts = {"first": network.first, "second": network.second}
    loss = Fixed({"mse": MSE(), "auxiliary": Auxiliary()}, {"mse": 0.5, "auxiliary": 2.0})
    found = probe.pulls(network, parts, loss, Pair(pair.rainy, pair.clean))
    assert found["auxiliary"]["second"] == 0
    (0.5 * MSE()(network(pair.rainy), pair)).backward()
    for name, part in parts.items():
        gradient = torch.cat([parameter.grad.flatten() for parameter in part.parameters()])
        assert found["mse"][name] == pytest.approx(gradient.norm().item(), rel=1e-4)
    (ax,) = probe.pulls_by_part(found).axes
    marks = {line.get_label(): np.isfinite(line.get_xdata()).sum() for line in ax.lines}
    assert marks == {"λ mse": 2, "λ auxiliary": 1}
