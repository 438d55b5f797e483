"""Rain layers from files: crops that are what the file shows, moved, scaled, turned and mirrored, and free of holes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from derainlib import rain, streaks
from derainlib.data.synthetic import Samples, gather, rain_layers
from derainlib.errors import DataError, DerainError
from derainlib.rain import FROM_FILES, RainStyle, add_rain, draw, generator


def picture(*size: int, seed: int = 0) -> torch.Tensor:
    """Noise as a layer of streaks, (3, H, W), exact in 8 bits."""
    return torch.randint(0, 256, (1, *size), generator=generator(seed)).float().div(255).expand(3, -1, -1)


def render(layer, size, seed=0, scale=1.0, angle=0.0, brightness=1.0):
    how = {"scale": scale, "angle": angle, "brightness": brightness}
    return streaks.render([layer], size, generator(seed), **how, like=torch.zeros((), dtype=torch.float64))


def fall(layer: torch.Tensor) -> float:
    """Direction of the streaks in (1, H, W), in degrees from the vertical, by the gradients' structure tensor."""
    dy, dx = np.gradient(ndimage.gaussian_filter(layer[0].numpy(), 2.0))
    return -np.degrees(0.5 * np.arctan2(2 * (dx * dy).mean(), (dx * dx).mean() - (dy * dy).mean()))


UPRIGHT = RainStyle(angle=(0.0, 0.0), density=(30.0, 30.0), length=(40.0, 60.0))
STREAKS = streaks.layer(draw(UPRIGHT, (300, 300), [generator(3)]).clamp(0, 1)[0].expand(3, -1, -1))


class TestRender:
    def test_whole_layer_is_the_file(self):
        image = picture(20, 30)
        layer = streaks.layer(image)
        found = [render(layer, (20, 30), seed) for seed in range(8)]
        for one in found:
            plain, mirrored = ((one - side).abs().max().item() < 1e-6 for side in (image[:1], image[:1].flip(-1)))
            assert plain != mirrored
        assert len({round(one[0, 0, 0].item(), 6) for one in found}) == 2  # both happen

    def test_crops_are_parts_of_the_file(self):
        """Of a picture that is a ramp in both directions, every crop is that ramp again, from another place on."""
        y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
        ramp = streaks.layer(((4 * y + x) / 255).expand(3, -1, -1))
        places = set()
        for seed in range(20):
            (found,) = render(ramp, (8, 10), seed) * 255
            across = found.diff(dim=1)
            assert torch.allclose(across.abs(), torch.ones(8, 9, dtype=torch.float64), atol=1e-6)  # mirrored or not
            assert torch.allclose(found.diff(dim=0), torch.full((7, 10), 4.0, dtype=torch.float64), atol=1e-6)
            assert 0 <= found.min() <= found.max() <= 4 * 39 + 59
            places.add(round(found[0, 0].item(), 3))
        assert len(places) == 20

    def test_brightness(self):
        dim, bright = (render(STREAKS, (50, 60), 1, brightness=b) for b in (0.5, 1.5))
        torch.testing.assert_close(bright, 3 * dim)

    @pytest.mark.parametrize("angle", [-60, -20, 0, 35])
    def test_turned_to_the_right(self, angle):
        assert abs(fall(render(STREAKS, (120, 120), 2, angle=angle))) == pytest.approx(abs(angle), abs=3)
        mirrored = [fall(render(STREAKS, (120, 120), seed, angle=angle)) for seed in range(6)]
        assert np.allclose(mirrored, angle, atol=3)

    def test_scaled(self):
        """Twice the scale on twice the crop shows the same piece of the layer."""
        once, twice = (render(STREAKS, (60 * k, 80 * k), 4, scale=float(k), angle=20) for k in (1, 2))
        smaller = torch.nn.functional.avg_pool2d(twice, 2)
        assert torch.corrcoef(torch.stack([once.flatten(), smaller.flatten()]))[0, 1] > 0.97

    def test_larger_than_the_layer(self):
        found = render(streaks.layer(picture(16, 16)), (64, 80), angle=30)
        assert found.shape == (1, 64, 80)
        assert found.std() > 0.05

    def test_generator_alone_decides(self):
        layers = [streaks.layer(picture(40, 40, seed=i)) for i in range(5)]
        draws = [draw("layers", (24, 24), [generator(1, 0, i)], layers=layers) for i in (0, 0, 1)]
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])


class TestHoles:
    """A layer won from a photograph whose upper part was white: no rain is known there."""

    def holed(self):
        image = draw("dense", (400, 300), [generator(2)]).clamp(0, 1)[0].expand(3, -1, -1).clone()
        image[:, :200] = 0
        return streaks.layer(image)

    def test_found(self):
        layer = self.holed()
        assert layer.holes[:170].all()
        assert not layer.holes[230:].any()
        assert layer.coverage > 0.4  # the hole does not count

    def test_sparse_rain_has_none(self):
        assert STREAKS.holes is None

    def test_crops_keep_away(self):
        layer = self.holed()
        lit = [render(layer, (100, 100), seed).mean().item() for seed in range(40)]
        with_holes = [render(layer._replace(holes=None), (100, 100), seed).mean().item() for seed in range(40)]
        assert min(lit) > 0.5 * np.median(lit)
        assert min(with_holes) < 0.1 * np.median(lit)


class TestStyles:
    def test_density_picks_the_layers(self):
        sparse, dense = STREAKS, streaks.layer(picture(60, 60))
        assert sparse.coverage < 0.45 < dense.coverage
        for name, means in (("layers", (0, 0.3)), ("layers-dense", (0.2, 3))):
            style = replace(FROM_FILES[name], overlay=(1.0, 1.0), brightness=(1.0, 1.0))
            for i in range(10):
                low, high = means
                assert low < draw(style, (40, 40), [generator(0, 0, i)], layers=[sparse, dense]).mean() < high

    def test_all_layers_where_none_is_dense_enough(self):
        assert draw("layers-dense", (40, 40), [generator(0)], layers=[STREAKS]).max() > 0

    def test_overlay_adds_up(self):
        style = replace(FROM_FILES["layers"], scale=(1.0, 1.0), brightness=(1.0, 1.0))
        one, four = (
            draw(replace(style, overlay=(n, n)), (64, 64), [generator(0, 0, i) for i in range(30)], layers=[STREAKS])
            for n in (1.0, 4.0)
        )
        assert four.mean().item() == pytest.approx(4 * one.mean().item(), rel=0.2)

    def test_without_layers(self):
        with pytest.raises(DerainError, match="comes from files and there are none: give a folder"):
            add_rain(torch.zeros(1, 3, 20, 20), "layers", [generator(0)])

    @pytest.mark.parametrize(
        ("name", "wanted"), [("light", False), ("layers", True), ("allround", True), ("allround-drawn", False)]
    )
    def test_which_rain_wants_layers(self, name, wanted):
        assert rain.wants_layers(name) == wanted


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        for i in range(3):
            grey = (render(STREAKS, (60, 70), seed=i)[0] * 255).round().to(torch.uint8).numpy()
            Image.fromarray(grey).save(tmp_path / f"{i}.png")
        return tmp_path

    def test_read(self, folder, tmp_path):
        layers = rain_layers(folder)
        assert [layer.streaks.shape for layer in layers] == [(60, 70)] * 3
        assert np.array_equal(layers[1].streaks.numpy(), np.array(Image.open(folder / "1.png")))
        listed = tmp_path / "list.txt"
        listed.write_text("2.png\n")
        assert torch.equal(rain_layers(folder, listed)[0].streaks, layers[2].streaks)

    def test_no_rain_in_it(self, tmp_path):
        Image.new("L", (30, 30), 5).save(tmp_path / "black.png")
        with pytest.raises(DataError, match=r"black\.png: no pixel is brighter than 8 of 255, so there is no rain"):
            rain_layers(tmp_path)

    @pytest.mark.parametrize("mode", ["L", "RGBA", "LA"])
    def test_no_black_in_it(self, tmp_path, mode):
        """White streaks on nothing at all are white everywhere once they stand on white paper."""
        colour = {"L": 255, "RGBA": (255, 255, 255, 0), "LA": (255, 0)}[mode]
        Image.new(mode, (30, 30), colour).save(tmp_path / "white.png")
        with pytest.raises(DataError, match=r"white\.png: every pixel is bright; .* streaks on black"):
            rain_layers(tmp_path)

    def test_training_samples(self, folder):
        sources = gather(rain_style="layers", streaks_dir=folder)
        assert "3 rain layers of" in sources.note
        samples = Samples(sources.clean, patch=32, style="layers", layers=sources.layers)
        pair = samples[(0, 0)]
        assert (pair.rainy - pair.clean).max() > 0.02

    def test_rain_that_wants_a_folder(self):
        with pytest.raises(DataError, match="allround rain is laid on from files: give streaks_dir"):
            gather(rain_style="allround")

    def test_list_without_folder(self):
        with pytest.raises(DataError, match="streaks_list names files of streaks_dir"):
            gather(streaks_list="a.txt")


def test_real_layers(derain_data):
    """RainTrainH's: five of the twelve have outlines of white things in them, the others hardly any."""
    layers = rain_layers(derain_data / "streaks" / "raintrainh")
    holes = sorted(0.0 if layer.holes is None else layer.holes.float().mean().item() for layer in layers)
    assert len(layers) == 12
    assert sum(share < 0.02 for share in holes) >= 8
    assert holes[-1] > 0.2
