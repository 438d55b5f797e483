"""Streets for the notebooks on reading: where they come from, what is marked, and what is drawn of a reading."""

import torch
from torch import nn

from derainlib.data import scenes
from derainlib.lab import figures, street_views
from derainlib.layers import IGNORED, Layers

CLASSES = scenes.CAMVID


class Knows(nn.Module):
    """A reader that reads each pixel's class from its red value."""

    def forward(self, image, keep=False):
        logits = nn.functional.one_hot((image[:, 0] * 10).round().long(), 11).movedim(-1, 1).float()
        return Layers(image, 0 * image, extras={"logits": logits})


def street(labels):
    clean = (labels / 10)[:, None].expand(-1, 3, -1, -1)
    return street_views.Pair(clean, clean, labels=labels)


def test_streets_are_drawn_where_no_folder_is_named():
    folder, streets = street_views.opened("", 300, 1)
    (pair,) = streets
    assert folder.classes == CLASSES
    assert pair.clean.shape == (1, 3, *street_views.SIZE)
    assert torch.equal(street_views.rained(pair, 0).rainy, pair.clean)
    assert torch.equal(street_views.rained(pair, 2.0).rainy, (pair.clean + 2 * pair.drawn).clamp(0, 1))


def test_marked_pixels_have_the_colour_and_others_are_pale():
    where = torch.tensor([[[True, False]]])
    found = street_views.marked(torch.zeros(1, 3, 1, 2), where, "rainy")[0, :, 0]
    assert torch.allclose(found[:, 0], torch.tensor(figures.COLOURS["rainy"]))
    assert torch.allclose(found[:, 1], torch.full((3,), street_views.PALE))


def test_reading_is_told_beside_the_picture():
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[..., :10] = 3
    labels[:, 0] = IGNORED
    pair = street(labels.where(labels != IGNORED, 0))._replace(labels=labels)
    figure = street_views.read_beside({"O": pair.rainy, "black": 0 * pair.rainy}, pair, "it", Knows(), CLASSES)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:3] == ["O: the truth", "it: 100% right", "wrong; mIoU 100%"]
    assert titles[4:] == ["it: 50% right", "wrong; mIoU 25%"]


def test_overview_names_every_class():
    pair = street(torch.zeros(1, 20, 20, dtype=torch.long))
    figure = street_views.overview({"B": pair.clean}, pair, "it", Knows(), CLASSES)
    assert [text.get_text() for text in figure.axes[-1].texts] == list(CLASSES.names)
    assert figure.axes[2].get_title() == "it: 100% right"
