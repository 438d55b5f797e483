"""What a network sees: fields against known kernels, likeness of channels, steps of each network."""

import pytest
import torch
from torch import nn

import derainlib
from derainlib.errors import DerainError
from derainlib.lab import insight, miniature
from derainlib.layers import Layers

PAIR = miniature.shower("chelsea", "heavy", 5, (33, 41))


class Blur(nn.Module):
    """B̂ = O less a blur of O with known weights, dilated."""

    def __init__(self, dilation: int):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=dilation, dilation=dilation, groups=3, bias=False)
        nn.init.constant_(self.conv.weight, 0.25)

    def forward(self, rainy, keep=False):
        rain = self.conv(rainy)
        return Layers(rainy - rain, rain)


class TestField:
    @pytest.mark.parametrize("dilation", [1, 3])
    def test_of_one_convolution(self, dilation):
        seen = insight.field(Blur(dilation), PAIR.rainy)
        assert seen.reach == dilation
        assert seen.gradient.sum() == pytest.approx(3 * (0.75 + 8 * 0.25))
        assert seen.gradient[16, 20] == pytest.approx(3 * 0.75)
        assert seen.radius(0.9) == dilation
        assert seen.shares[0] == 0
        assert seen.shares[-1] == pytest.approx(1)

    @pytest.mark.parametrize("name", ["qsnet", "srn", "menet-shallow"])
    def test_ends_at_the_halo(self, name):
        options = {"stages": 1} if name == "srn" else {"blocks": 1, "attention": False} if "menet" in name else {}
        network = derainlib.create(name, **options)
        side = 2 * network.halo + 21
        reach = insight.field(network.eval(), torch.rand(1, 3, side, side)).reach
        assert network.halo - network.stride < reach <= network.halo

    def test_shares_grow_and_a_still_network_has_none(self):
        seen = insight.field(derainlib.create("srn", stages=1, width=4), PAIR.rainy)
        assert (seen.shares.diff() >= 0).all()
        assert seen.radius(0.5) <= seen.radius(0.9) <= seen.reach
        still = insight.field(
            type("Still", (Blur,), {"forward": lambda self, o, keep=False: Layers(0 * o, o)})(1), PAIR.rainy
        )
        assert (still.reach, still.shares.sum()) == (0, 0)

    def test_works_in_inference_mode_and_leaves_the_network(self):
        network = Blur(1)
        with torch.inference_mode():
            assert insight.field(network, PAIR.rainy).reach == 1
        assert network.conv.weight.requires_grad
        assert network.conv.weight.grad is None

    def test_drawing_has_halo_and_field_where_they_fit(self):
        seen = insight.field(Blur(1), PAIR.rainy)
        left, right, *_ = insight.draw_field(seen, 1, "blur").axes
        assert len(left.patches) == 2
        assert right.get_title() == "halo 1; reaches 1"
        assert len(insight.draw_field(seen, 100).axes[0].patches) == 1


@pytest.mark.parametrize("name", insight.DEEPER)
def test_deeper_networks_are_larger(name):
    sizes = [sum(p.numel() for p in derainlib.create(name, **o).parameters()) for o in ({}, insight.DEEPER[name])]
    assert sizes[1] > sizes[0]


class TestStaged:
    def test_runs_so_many_stages_with_the_same_weights(self):
        network = derainlib.create("srn", stages=3, width=4)
        longer = insight.staged(network, 5)
        with torch.no_grad():
            three, five = network(PAIR.rainy, keep=True).stages, longer(PAIR.rainy, keep=True).stages
        assert (len(three), len(five), network.stages) == (3, 5, 3)
        assert torch.equal(three[2], five[2])

    def test_end_of_dcdnets_fusions_is_said(self):
        network = derainlib.create("dcdnet", stages=3, width=4)
        assert len(insight.staged(network, 2)(PAIR.rainy, keep=True).stages) == 3  # and the refinement
        with pytest.raises(DerainError, match="its stage 3 is the last"):
            insight.staged(network, 4)
        assert insight.staged(derainlib.create("dcdnet", stages=3, width=4, outer=False), 4).stages == 4

    def test_network_without_stages_is_refused(self):
        with pytest.raises(DerainError, match="a QSNet has no stages"):
            insight.staged(derainlib.create("qsnet"), 2)


class TestChannels:
    LAYERS = Layers(PAIR.clean, PAIR.rain)

    def test_likeness_is_a_correlation(self):
        grey = PAIR.rain.mean(1, keepdim=True)
        maps = torch.cat([2 * grey + 1, -grey, torch.zeros_like(grey), grey.roll(7, 3)], 1)
        found = insight.affinity(maps, PAIR.rain)
        assert found[:3].tolist() == pytest.approx([1, -1, 0], abs=1e-5)
        expected = torch.corrcoef(torch.stack([maps[0, 3].flatten(), grey.flatten()]))[0, 1]
        assert found[3] == pytest.approx(float(expected), abs=1e-5)

    def test_likeness_at_another_size(self):
        half = torch.nn.functional.avg_pool2d(PAIR.rain[..., :32, :40].mean(1, keepdim=True), 2)
        assert insight.affinity(half, PAIR.rain[..., :32, :40])[0] == pytest.approx(1, abs=1e-5)

    def test_sheet_begins_with_what_is_likest(self):
        grey = PAIR.rain.mean(1, keepdim=True)
        maps = torch.cat([-grey, PAIR.clean.mean(1, keepdim=True), grey], 1)
        figure = insight.sheet(maps, self.LAYERS, 1, "layer")
        assert "channel 2 and all 3" in repr(figure)
        assert "channel 0" in repr(insight.sheet(maps, self.LAYERS, 99, "layer"))
        titles = [ax.get_title() for ax in figure.axes]
        assert [title for title in titles if title in "012" and title] == ["2", *sorted("01", key="10".index)]

    def test_many_channels_are_thinned_out(self):
        figure = insight.sheet(torch.rand(1, 100, 8, 8), self.LAYERS, 1, "layer")
        assert sum(ax.get_title().isdigit() for ax in figure.axes) == 25


class TestSteps:
    @pytest.mark.parametrize(
        ("name", "options", "titles"),
        [
            ("srn", {"stages": 2}, ["stage 1", "stage 2"]),
            ("dcdnet", {"stages": 2}, ["stage 1", "stage 2", "refined"]),
            ("phpnet", {}, ["X^c", "X"]),
            ("qsnet", {}, [*(f"decoded from scale {i}" for i in range(1, 6)), "B̂"]),
            ("menet", {}, ["B̂"]),
        ],
    )
    def test_are_named_and_end_with_the_result(self, name, options, titles):
        with torch.inference_mode():
            network = derainlib.create(name, **options).eval()
            layers = network(PAIR.rainy, keep=True)
        found = insight.steps(network, layers)
        assert list(found) == titles
        assert torch.equal(found[titles[-1]], layers.background)

    def test_step_is_drawn_with_its_change(self):
        found = {"one": PAIR.rainy, "two": PAIR.rainy / 2}
        titles = [ax.get_title() for ax in insight.draw_step(found, 2, PAIR, "net").axes]
        assert titles[:2] == ["net, two", "less one"]
        assert insight.draw_step(found, 1, PAIR).axes[1].get_title() == "less O"
        assert insight.draw_step(found, 9, PAIR).axes[1].get_title() == "less one"
