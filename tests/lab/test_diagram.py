"""Drawings of networks: what reads what is what the papers' equations say, whatever the code is built of."""

import itertools

import pytest
import torch
from torch import nn

import derainlib
from derainlib.errors import DerainError
from derainlib.lab import diagram, figures
from derainlib.layers import Layers

BRANCHES = ("rain", "background")


def links(name: str, opened=BRANCHES, **options) -> tuple[set, set]:
    found = diagram.trace(derainlib.create(name, **options), opened)
    return set(found.links), set(found.returns)


def chain(*names: str) -> set[tuple[str, str]]:
    return set(itertools.pairwise(names))


def test_srn_is_equations_1_to_4():
    within, between = links("srn", ("network",))
    line = chain("O", "network.input", "network.cell", "network.blocks.0", "network.output", "B̂")
    assert within == line | {("O", "B̂")}  # Eq. 4: x = y + F
    assert between == {("network.output", "network.input"), ("network.cell", "network.cell")}
    assert links("srn-direct", ("network",))[0] == line  # Eq. 1: x = F


EXCHANGED = {("rain.cell", "background.cell")}, {("background.cell", "rain.cell")}


@pytest.mark.parametrize(
    ("name", "within", "between"),
    [("brn", *EXCHANGED), ("crn", set(), set()), ("brn-r2x", EXCHANGED[0], set()), ("brn-x2r", set(), EXCHANGED[1])],
)
def test_brn_is_equations_5_to_8_and_its_variants_lack_an_exchange(name, within, between):
    rain = ("rain.input", "rain.cell", "rain.blocks.0", "rain.output")
    scene = ("background.input", "background.cell", "background.blocks.0", "background.output")
    found = links(name)
    assert found[0] == chain("O", *rain, scene[0]) | chain("O", *scene, "B̂") | within
    assert found[1] == {
        ("rain.output", "rain.input"),
        ("background.output", "background.input"),
        *((cell, cell) for cell in ("rain.cell", "background.cell")),
        *between,
    }


def test_every_map_of_dcdnet_reaches_every_later_fusion():
    within, between = links("dcdnet", ("stage",), stages=3)
    maps = ["stage.input"] + [f"stage.convs.{i}" for i in range(4)]
    fusions = [f"stage.fusion.convs.{i}" for i in range(4)]
    assert {link for link in within if link[1] in fusions} == {
        (earlier, fusion) for i, fusion in enumerate(fusions) for earlier in maps[: i + 2]
    }
    assert within >= chain(*fusions[3:], "stage.output", "refinement.0")
    assert {("stage.output", "outer"), ("outer", "stage.input"), ("O", "outer")} == between
    assert not {link for link in links("dcdnet", ("stage",), inner=False)[0] if "fusion" in "".join(link)}


def test_qsnet_decodes_every_scale_twice():
    within, _ = links("qsnet", ())
    scales, helpers = ([f"{part}.{i}" for i in range(5)] for part in ("scales", "auxiliary"))
    assert {a for a, b in within if b == "main"} == {"O", *scales, *helpers}  # decoded pictures are O − A_i
    assert {b for a, b in within if a == "encoder.0"} == set(scales)


@pytest.mark.parametrize("name", ["srn", "brn", "qsnet", "dcdnet", "phpnet", "menet"])
def test_nothing_that_is_used_is_left_out(name):
    network = derainlib.create(name)
    found = diagram.trace(network)
    assert sum(block.parameters for block in found.blocks) == sum(p.numel() for p in network.parameters())
    picture = diagram.draw(found)
    texts = "\n".join(text.get_text() for text in picture.axes[0].texts)
    assert all(f"{block.parameters:,}" in texts for block in found.blocks)
    assert len([patch for patch in picture.axes[0].patches if patch.get_zorder() == 1]) == len(
        found.links | found.returns
    )


@pytest.mark.parametrize(("name", "opened", "long"), [("srn", ("network",), False), ("dcdnet", ("stage",), True)])
def test_a_drawing_fits_a_page_and_can_be_read(name, opened, long):
    picture = diagram.draw(diagram.trace(derainlib.create(name), opened))
    across, down = picture.get_size_inches()
    assert across <= diagram.WIDEST
    assert (down > across) == long
    assert min(text.get_fontsize() for text in picture.axes[0].texts) >= 6
    assert across * 100 <= figures.WIDEST  # a page stores it pixel by pixel


def test_equal_blocks_in_a_row_are_one():
    (units,) = (block for block in diagram.trace(derainlib.create("qsnet")).blocks if block.name == "encoder.0")
    assert (units.count, units.kind, units.parameters) == (12, "ShuffleUnit", 12 * 1728)


class Own(nn.Module):
    """A network of one's own: a layer that is used, and one that is not."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Conv2d(3, 3, 5, padding=4, dilation=2), nn.Conv2d(3, 3, 1)

    def forward(self, rainy, keep=False):
        self.idle(rainy)
        rain = self.used(rainy)
        return Layers(rainy - rain, rain)


def test_a_layer_without_effect_is_not_drawn():
    found = diagram.trace(Own())
    assert found.links == {("O", "used"), ("used", "B̂"), ("O", "B̂")}
    assert [(block.kind, block.parameters) for block in found.blocks] == [("5x5, d 2\n3 → 3", 228)]


def test_what_is_used_before_and_after_another_block_is_opened():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.ends = nn.Module()
            self.ends.enter, self.ends.leave = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)
            self.middle = nn.Conv2d(4, 4, 1)

        def forward(self, rainy, keep=False):
            background = self.ends.leave(self.middle(self.ends.enter(rainy)))
            return Layers(background, rainy - background)

    assert diagram.trace(Twice()).links == chain("O", "ends.enter", "middle", "ends.leave", "B̂")


def test_a_network_is_left_as_it_was():
    network = derainlib.create("srn", stages=4).train()
    before = [parameter.clone() for parameter in network.parameters()]
    diagram.trace(network)
    assert (network.stages, network.training) == (4, True)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, network.parameters(), strict=True))


def test_an_unknown_part_is_refused():
    with pytest.raises(DerainError, match="no module lstm; its parts are network"):
        diagram.trace(derainlib.create("srn"), ("lstm",))
