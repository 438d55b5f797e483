"""Networks taken apart at work: what is counted agrees with PyTorch's own counter, and with a hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import derainlib
from derainlib.errors import DerainError
from derainlib.lab import anatomy
from derainlib.layers import Layers
from derainlib.models.qsnet import GroupConv

RAINY = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))


class Mine(nn.Module):
    """What a reader may paste: two layers, used by their weights, one of them in part."""

    halo, stride, global_statistics = 2, 1, False

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, rainy, keep=False):
        x = F.conv2d(rainy[:, :2], self.first.weight[:, :2], self.first.bias, padding=1).relu_()
        rain = self.second(x)
        return Layers(rainy - rain, rain)


class Downsampled(nn.Module):
    halo, stride, global_statistics = 3, 2, False

    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 4, 2, stride=2), nn.BatchNorm2d(4)
        self.up, self.mix = nn.ConvTranspose2d(4, 3, 2, stride=2), nn.Linear(3, 3)

    def forward(self, rainy, keep=False):
        rain = self.mix(self.up(self.norm(self.down(rainy))).movedim(1, 3)).movedim(3, 1)
        return Layers(rainy - rain, rain)


class TestDissection:
    @pytest.mark.parametrize("name", ["qsnet", "dcdnet", "srn-gru", "brn", "phpnet", "menet"])
    def test_parameters_are_all_found(self, name):
        network = derainlib.create(name)
        everything = anatomy.total(anatomy.dissect(network, RAINY))
        assert everything.parameters == sum(p.numel() for p in network.parameters())

    @pytest.mark.parametrize("name", ["dcdnet", "srn", "phpnet", "menet"])
    def test_multiply_adds_are_pytorchs(self, name):
        network = derainlib.create(name, **{"stages": 2} if name in ("dcdnet", "srn") else {})
        with FlopCounterMode(display=False) as counter:
            network(RAINY)
        assert 2 * anatomy.total(anatomy.dissect(network.eval(), RAINY)).multiply_adds == counter.get_total_flops()

    def test_zeros_between_groups_do_not_count(self):
        class Grouped(Mine):
            def __init__(self):
                super().__init__()
                self.first = GroupConv(8, 8, 1, 4)

            def forward(self, rainy, keep=False):
                return Layers(rainy, self.first(rainy.repeat(1, 3, 1, 1)[:, :8]))

        assert anatomy.dissect(Grouped(), RAINY)[0].multiply_adds == 8 * 2 * 24 * 32

    def test_other_layers_by_hand(self):
        found = {layer.name: layer for layer in anatomy.dissect(Downsampled(), RAINY)}
        assert list(found) == ["down", "norm", "up", "mix"]
        places = 12 * 16
        sums = {"down": 48 * places, "norm": 0, "up": 48 * places, "mix": 9 * 4 * places}
        assert {name: layer.multiply_adds for name, layer in found.items()} == sums
        assert {name: layer.memory for name, layer in found.items()} == {
            name: 4 * size * places for name, size in {"down": 4, "norm": 4, "up": 12, "mix": 12}.items()
        }
        assert all(layer.seconds > 0 for layer in found.values())

    def test_part_of_a_weight_counts_as_part(self):
        first, second = anatomy.dissect(Mine(), RAINY)
        assert (first.name, first.kind, first.calls) == ("first", "3x3, 3 → 8", 1)
        assert first.multiply_adds == 2 * 8 * 9 * 24 * 32
        assert second.multiply_adds == 3 * 8 * 9 * 24 * 32

    def test_stages_are_calls(self):
        layers = anatomy.dissect(derainlib.create("srn", stages=4), RAINY)
        assert {layer.name: layer.calls for layer in layers}["network.cell.gates"] == 4
        assert {layer.name: layer.calls for layer in layers}["network.input"] == 1 + 4  # O's share is taken once

    def test_network_is_left_as_it_is_also_in_inference_mode(self):
        network = Mine().requires_grad_(False)
        with torch.inference_mode():
            assert anatomy.dissect(network, RAINY)
        assert not any(p.requires_grad for p in network.parameters())

    def test_nothing_to_see_is_said(self):
        class Empty(Mine):
            def forward(self, rainy, keep=False):
                return Layers(rainy, 0 * rainy)

        with pytest.raises(DerainError, match="no layer was seen"):
            anatomy.dissect(Empty(), RAINY)


class TestLedger:
    LAYERS = anatomy.dissect(derainlib.create("qsnet", units=3), RAINY)

    def test_alike_layers_are_one_row(self):
        rows = {row.name: row for row in anatomy.gathered(self.LAYERS)}
        assert rows["encoder.*.expand"].count == 3
        assert rows["encoder.*.expand"].parameters == 3 * (48 * 12 + 48)
        assert rows["input"].count == 1
        assert anatomy.total(rows.values())[2:] == pytest.approx(anatomy.total(self.LAYERS)[2:])

    @pytest.mark.parametrize(("by", "first"), [("order", "input"), ("parameters", "auxiliary.*.spatial × 5")])
    def test_is_sorted(self, by, first):
        figure = anatomy.ledger(self.LAYERS, by, most=6)
        words = [text.get_text() for text in figure.axes[0].texts]
        assert words[5] == first
        assert any(word.endswith(" others") for word in words)
        assert len(words) == 5 * (1 + 6 + 1)
        bars = [bar.get_width() for bar in figure.axes[1].patches]
        assert sum(bars) == pytest.approx(100)
        assert bars[:-1] == sorted(bars[:-1], reverse=True) or by == "order"

    def test_unknown_measure_is_refused(self):
        with pytest.raises(DerainError, match="not sorted by 'beauty'; there are order, parameters"):
            anatomy.ledger(self.LAYERS, "beauty")


class TestMaps:
    def test_are_what_the_layer_gives_before_it_is_overwritten(self):
        network = Mine()
        (found,), layers = anatomy.maps(network, RAINY, "first")
        assert torch.allclose(found, F.conv2d(RAINY[:, :2], network.first.weight[:, :2], network.first.bias, padding=1))
        assert found.min() < 0
        assert torch.equal(layers.background, network(RAINY).background)

    def test_one_for_each_stage(self):
        network = derainlib.create("srn", stages=3, width=4)
        assert [tuple(one.shape) for one in anatomy.maps(network, RAINY, "network.output")[0]] == [(1, 3, 24, 32)] * 3

    def test_unknown_layer_is_refused(self):
        with pytest.raises(DerainError, match="no layer is called 'third'; there are first, second"):
            anatomy.maps(Mine(), RAINY, "third")


def changed(**members) -> nn.Module:
    return type("Other", (Mine,), members)()


class TestAdmission:
    def test_network_that_keeps_the_protocol(self):
        network = Mine()
        assert anatomy.admitted(network) is network
        assert not network.training

    @pytest.mark.parametrize(
        ("network", "said"),
        [
            (Mine, "give an instance of a torch.nn.Module"),
            (nn.Conv2d(3, 3, 1), "Conv2d does not state halo, global_statistics"),
            (changed(halo=1), "halo is 1, but a pixel depends on one that is 2 away"),
            (changed(forward=lambda self, rainy, keep=False: rainy), "forward returned a Tensor"),
            (changed(forward=lambda self, o, keep=False: Layers(o[..., 1:], o)), "background is (1, 3, 37, 49)"),
            (changed(forward=lambda self, o, keep=False: Layers(o, o / 0)), "rain has values that are not finite"),
        ],
    )
    def test_what_is_missing_is_said(self, network, said):
        with pytest.raises(DerainError) as error:
            anatomy.admitted(network)
        assert said in str(error.value)
        assert "\n" not in str(error.value)


def test_card_tells_where_weights_come_from():
    text = anatomy.card("dcdnet")
    found = derainlib.models.weights.card("dcdnet")
    assert f"{found['parameters']:,} parameters" in text
    assert f"phase {len(found['phases'])}" in text
    rainy = found["scores"]["holdout-light"]["psnr_rgb"]["rainy"]
    assert f"{rainy:.2f}" in next(line for line in text.splitlines() if line.startswith("holdout-light"))
    assert max(map(len, text.splitlines())) <= 110
