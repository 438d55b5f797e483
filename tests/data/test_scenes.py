"""Labelled streets: both layouts, what is refused, rain with labels, and one geometry for everything in a pair."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from derainlib import rain
from derainlib.data import samples, scenes
from derainlib.data.scenes import CAMVID, CITYSCAPES, IGNORED, RainyScenes, Scene, View, draw_view
from derainlib.data.seeds import HOLDOUT_SEEDS
from derainlib.errors import DataError

SIZE = (24, 32)
ROAD, CAR, SKY, LICENCE_PLATE, TERRAIN = 7, 26, 23, 255, 22  # Cityscapes' label ids

CITYSCAPES_IDS = {
    7: ("road", "road"), 8: ("sidewalk", "pavement"), 11: ("building", "building"), 12: ("wall", "building"),
    13: ("fence", "fence"), 17: ("pole", "pole"), 19: ("traffic light", "sign"), 20: ("traffic sign", "sign"),
    21: ("vegetation", "tree"), 22: ("terrain", None), 23: ("sky", "sky"), 24: ("person", "pedestrian"),
    25: ("rider", "bicyclist"), 26: ("car", "car"), 27: ("truck", "car"), 28: ("bus", "car"), 31: ("train", "car"),
    32: ("motorcycle", "bicyclist"), 33: ("bicycle", "bicyclist"),
}  # fmt: skip
"""Label id: its class in Cityscapes' own list, and among CamVid's eleven. The other ids up to 33 are not judged."""


def put(numbers: np.ndarray, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers.astype(np.uint8)).save(path)


def colours(seed: int = 0, size=SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3))


@pytest.fixture
def camvid(tmp_path):
    """Two scenes in CamVid's layout; labels count up through all classes and the unlabelled 11."""
    for number in (2, 10):
        put(colours(number), tmp_path / "images" / f"scene{number}.png")
        put(np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 12, tmp_path / "labels" / f"scene{number}.png")
    return tmp_path


@pytest.fixture
def cityscapes(tmp_path):
    """A training and a validation scene with label ids, another training scene with train ids too."""
    for split, city, stem in (("train", "ulm", "ulm_1"), ("train", "bonn", "bonn_7"), ("val", "kiel", "kiel_3")):
        put(colours(), tmp_path / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
        ids = np.full(SIZE, ROAD)
        ids[0, :4] = CAR, SKY, LICENCE_PLATE, TERRAIN
        put(ids, tmp_path / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png")
        put(colours(), tmp_path / "gtFine" / split / city / f"{stem}_gtFine_color.png")
    put(np.full(SIZE, 18), tmp_path / "gtFine" / "train" / "ulm" / "ulm_1_gtFine_labelTrainIds.png")
    return tmp_path


class TestLayouts:
    def test_camvid(self, camvid):
        folder = scenes.read(camvid)
        assert folder.names == ["scene2", "scene10"]
        assert folder.layout == "camvid"
        assert folder.classes == CAMVID
        image, labels = folder[1].read()
        np.testing.assert_array_equal(np.rint(image.permute(1, 2, 0).numpy() * 255), colours(10))
        expected = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 12
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(labels, np.where(expected == 11, 255, expected))
        assert len(folder[1:]) == 1
        assert folder[1:].classes == CAMVID

    def test_cityscapes(self, cityscapes):
        assert scenes.splits(cityscapes) == ["train", "val"]
        folder = scenes.read(cityscapes, "train")
        assert folder.names == ["bonn_7", "ulm_1"]
        assert folder.layout == "cityscapes"
        _, labels = folder[0].read()
        names = ["ignored" if k == IGNORED else CITYSCAPES.names[k] for k in labels[0, :5].tolist()]
        assert names == ["car", "sky", "ignored", "terrain", "road"]
        _, labels = folder[1].read()  # train ids come first where both are there
        assert [CITYSCAPES.names[k] for k in labels.unique()] == ["bicycle"]

    def test_cityscapes_as_camvid(self, cityscapes):
        folder = scenes.read(cityscapes, "train", CAMVID)
        assert folder.classes == CAMVID
        labels = [scene.read()[1] for scene in folder]
        names = ["ignored" if k == IGNORED else CAMVID.names[k] for k in labels[0][0, :5].tolist()]
        assert names == ["car", "sky", "ignored", "ignored", "road"]
        assert [CAMVID.names[k] for k in labels[1].unique()] == ["bicyclist"]

    @pytest.mark.parametrize(("classes", "column"), [(CITYSCAPES, 0), (CAMVID, 1)])
    def test_every_label_id_of_cityscapes(self, cityscapes, classes, column):
        ids = np.resize(np.append(np.arange(34), 255), SIZE)
        put(ids, cityscapes / "gtFine" / "val" / "kiel" / "kiel_3_gtFine_labelIds.png")
        _, labels = scenes.read(cityscapes, "val", classes)[0].read()
        for number, label in zip(ids.flat, labels.flatten().tolist(), strict=True):
            expected = CITYSCAPES_IDS.get(int(number), (None, None))[column]
            assert (None if label == IGNORED else classes.names[label]) == expected

    def test_the_shipped_set(self, derain_data):
        """CamVid itself: its sizes, its eleven classes, and some pixels without one."""
        folder = scenes.read(derain_data / "camvid", "val")
        assert len(folder) == 101
        pair = RainyScenes(folder, "none")[0]
        assert pair.clean.shape == (1, 3, 360, 480)
        found = torch.cat([scene.read()[1].unique() for scene in folder[::10]]).unique().tolist()
        assert found == [*range(11), IGNORED]

    def test_drawn_streets_stand_in(self):
        folder = scenes.drawn(seeds=(3, 4), size=(128, 160))
        assert folder.classes == CAMVID
        image, labels = folder[1].read()
        drawn_image, drawn_labels = samples.street((128, 160), seed=4)
        assert torch.equal(image, drawn_image[0])
        assert torch.equal(labels, drawn_labels[0])

    @pytest.mark.parametrize("classes", [CAMVID, CITYSCAPES])
    def test_paint(self, classes):
        count = len(classes.names)
        assert len(classes.palette) == len(set(classes.palette)) == count
        picture = classes.paint(torch.tensor([[[0, count - 1, IGNORED]]]))
        expected = np.array([classes.palette[0], classes.palette[-1], (0, 0, 0)])
        np.testing.assert_array_equal(np.rint(picture[0, :, 0].numpy().T * 255), expected)


class TestRefused:
    def test_neither_layout(self, tmp_path):
        with pytest.raises(DataError, match="images/ and labels/"):
            scenes.read(tmp_path)
        with pytest.raises(DataError, match="not a folder"):
            scenes.read(tmp_path / "nowhere")

    def test_splits(self, cityscapes, camvid):
        with pytest.raises(DataError, match="train, val; choose one"):
            scenes.read(cityscapes)
        with pytest.raises(DataError, match="no split 'test'; it has train, val"):
            scenes.read(cityscapes, "test")

    def test_missing_labels(self, camvid):
        (camvid / "labels" / "scene10.png").unlink()
        with pytest.raises(DataError, match=r"no file in labels/ for: scene10; add"):
            scenes.read(camvid)

    def test_missing_image(self, camvid):
        (camvid / "images" / "scene2.png").unlink()
        with pytest.raises(DataError, match=r"no file in images/ for: scene2; add"):
            scenes.read(camvid)

    def test_missing_cityscapes_labels(self, cityscapes):
        (cityscapes / "gtFine" / "train" / "bonn" / "bonn_7_gtFine_labelIds.png").unlink()
        with pytest.raises(DataError, match=r"gtFine/ for: bonn_7;"):
            scenes.read(cityscapes, "train")

    def test_sizes(self, camvid):
        put(np.zeros((10, 20)), camvid / "labels" / "scene2.png")
        with pytest.raises(DataError, match="scene2: the image is 32x24 and its labels are 20x10"):
            scenes.read(camvid)

    @pytest.mark.parametrize(
        ("numbers", "message"),
        [
            (np.full(SIZE, 12), r"768 pixels have the value 12, which is no class; classes are 0 to 10"),
            (colours(), "this is a picture of colours"),
        ],
    )
    def test_values(self, camvid, numbers, message):
        put(numbers, camvid / "labels" / "scene2.png")
        with pytest.raises(DataError, match=message) as error:
            scenes.read(camvid)[0].read()
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("classes", [None, CAMVID])
    def test_unknown_label_id(self, cityscapes, classes):
        put(np.full(SIZE, 34), cityscapes / "gtFine" / "val" / "kiel" / "kiel_3_gtFine_labelIds.png")
        with pytest.raises(DataError, match="the value 34, which is no class"):
            scenes.read(cityscapes, "val", classes)[0].read()

    def test_damaged_labels(self, camvid):
        folder = scenes.read(camvid)
        (camvid / "labels" / "scene2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(DataError, match="labels cannot be read"):
            folder[0].read()

    def test_classes(self, camvid):
        with pytest.raises(DataError, match="CamVid's labels cannot become Cityscapes's"):
            scenes.read(camvid, classes=CITYSCAPES)


class TestRain:
    def test_pairs_are_the_scenes_in_the_rain(self, camvid):
        style = rain.street("large", direction=-15)
        folder = scenes.read(camvid)
        pair = RainyScenes(folder, style)[1]
        image, labels = folder[1].read()
        assert torch.equal(pair.clean[0], image)
        assert torch.equal(pair.labels[0], labels)
        torch.testing.assert_close(pair.rainy, (pair.clean + pair.drawn).clamp(0, 1))
        assert pair.drawn.max() > 0.05
        expected = rain.draw(style, SIZE, [rain.generator(scenes.SEED, 0, 1)])
        assert torch.equal(pair.drawn, expected)

    def test_rain_depends_on_place_and_seed_alone(self, camvid):
        folder = scenes.read(camvid)
        pairs, others = RainyScenes(folder, "streets"), RainyScenes(folder, "streets", seed=scenes.SEED + 1)
        assert len(pairs) == 2
        assert torch.equal(pairs[-1].rainy, pairs[1].rainy)
        assert not torch.equal(pairs[0].drawn, pairs[1].drawn)
        assert not torch.equal(pairs[1].drawn, others[1].drawn)
        with pytest.raises(IndexError):
            pairs[2]

    def test_no_rain(self, camvid):
        pair = RainyScenes(scenes.read(camvid), "none")[0]
        assert torch.equal(pair.rainy, pair.clean)

    def test_no_training_may_draw_this_rain(self):
        assert scenes.SEED in HOLDOUT_SEEDS


def a_scene(size=(40, 56)) -> tuple[torch.Tensor, torch.Tensor]:
    """A scene whose every part says where it is: a smooth picture, and labels that follow it."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    labels = (torch.div(y, 4, rounding_mode="floor") % 11).long()[None]
    return torch.stack([y / size[0], x / size[1], 0 * x])[None], labels


def numpy_view(image: np.ndarray, view: View, patch: int, order: int, **outside) -> np.ndarray:
    """The same view by scipy: for each pixel of the window, where it lies in the scene."""
    result = np.empty((patch, patch))
    places = np.empty((2, patch, patch))
    turn = math.radians(view.angle)
    for row in range(patch):
        for column in range(patch):
            down, right = (row - (patch - 1) / 2) / view.scale, (column - (patch - 1) / 2) / view.scale
            right = -right if view.mirrored else right
            places[0, row, column] = view.y + down * math.cos(turn) - right * math.sin(turn)
            places[1, row, column] = view.x + down * math.sin(turn) + right * math.cos(turn)
    ndimage.map_coordinates(image, places, result, order=order, **outside)
    return result


class TestAugmentation:
    views = (
        View(19.5, 23.5),
        View(20.0, 24.3, mirrored=True),
        View(17.2, 30.1, scale=1.4),
        View(21.0, 28.0, scale=0.8, angle=9.0),
        View(19.0, 25.0, angle=-7.0, mirrored=True),
    )

    @pytest.mark.parametrize("view", views)
    def test_against_scipy(self, view):
        (image, labels), patch = a_scene(), 24
        seen = scenes.look(image.double(), view, patch)
        for channel in (0, 1):
            expected = numpy_view(image[0, channel].double().numpy(), view, patch, 1, mode="reflect")
            np.testing.assert_allclose(seen[0, channel], expected, atol=1e-6)
        seen = scenes.look_at_labels(labels, view, patch)
        expected = numpy_view(labels[0].numpy(), view, patch, 0, mode="constant", cval=IGNORED)
        assert (seen[0].numpy() == expected).mean() > 0.99  # a place half-way between two pixels may go to either

    def test_a_view_without_change_is_a_crop(self):
        image, labels = a_scene()
        view = View(4 + 7.5, 9 + 7.5)
        torch.testing.assert_close(scenes.look(image, view, 16), image[..., 4:20, 9:25], rtol=0, atol=1e-5)
        assert torch.equal(scenes.look_at_labels(labels, view, 16), labels[..., 4:20, 9:25])

    def test_outside_the_scene_there_is_no_class(self):
        labels = scenes.look_at_labels(torch.zeros(1, 20, 20, dtype=torch.int64), View(0.5, 9.5), 10)
        assert labels[0, :, 5].tolist() == [255] * 4 + [0] * 6

    def test_picture_and_labels_move_alike(self):
        """What the picture says about a place agrees with what the labels say, in every view."""
        image, labels = a_scene()
        for seed in range(20):
            view = draw_view((40, 56), 24, rain.generator(seed))
            row, seen = scenes.look(image, view, 24)[0, 0] * 40, scenes.look_at_labels(labels, view, 24)[0]
            to_next = (row + 0.5) % 4  # a label ends half a pixel before every fourth row
            clear = (seen != IGNORED) & (to_next > 0.1) & (to_next < 3.9)
            expected = torch.div(row + 0.5, 4, rounding_mode="floor").long() % 11
            assert torch.equal(seen[clear], expected[clear])
            assert clear.float().mean() > 0.8

    def test_draws(self):
        size, patch = (40, 56), 24
        views = [draw_view(size, patch, rain.generator(0, 0, i)) for i in range(2000)]
        still = [view for view in views if view.scale == 1 and view.angle == 0]
        assert len(still) / 2000 == pytest.approx(0.5, abs=0.04)
        for view in still:  # whole pixels, inside, and every place occurs
            top, left = view.y - 11.5, view.x - 11.5
            assert top == int(top)
            assert 0 <= top <= 16
            assert 0 <= left <= 32
        assert {view.y - 11.5 for view in still} == set(range(17))
        turned = [view for view in views if view.angle]
        assert -10 <= min(v.angle for v in turned) < -9
        assert 9 < max(v.angle for v in turned) <= 10
        assert 0.75 <= min(v.scale for v in turned) < 0.78
        assert 1.45 < max(v.scale for v in turned) <= 1.5
        for view in turned:  # not counting the turn, the window is inside
            half = (patch / view.scale - 1) / 2
            assert half - 1e-9 <= view.y <= 39 - half + 1e-9
            assert half - 1e-9 <= view.x <= 55 - half + 1e-9
        assert sum(view.mirrored for view in views) / 2000 == pytest.approx(0.5, abs=0.04)

    def test_a_window_as_large_as_the_scene(self):
        for seed in range(20):
            view = draw_view((40, 56), 40, rain.generator(seed))
            assert view.scale >= 1

    def test_turning_is_clockwise(self):
        """A bright spot above the middle moves to the right."""
        image = torch.zeros(1, 1, 21, 21)
        image[0, 0, 2, 10] = 1
        seen = scenes.look(image, View(10.0, 10.0, angle=10.0), 21)[0, 0]
        row, column = (seen * torch.arange(21.0)[:, None]).sum() / seen.sum(), (seen * torch.arange(21.0)).sum()
        assert column / seen.sum() > 10.5
        assert row < 3


def test_scenes_can_be_made_by_hand():
    image, labels = torch.zeros(3, 16, 16), torch.zeros(16, 16, dtype=torch.int64)
    assert Scene("mine", image, labels).read() == (image, labels)
