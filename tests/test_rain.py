"""Rain: compositions by hand-worked numbers, streaks by their measured shape, presets by their statistics."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from derainlib import rain, rain_presets, rain_styles, streaks
from derainlib.errors import DerainError
from derainlib.rain import (
    DIRECTIONS,
    FROM_FILES,
    MIXES,
    PRESETS,
    STREETS,
    RainStyle,
    add_rain,
    compose,
    draw,
    generator,
    location,
    street,
    veil,
)

NAMES = [*PRESETS, *MIXES, *STREETS, *FROM_FILES]
LAYERS = [
    streaks.layer(rain.draw(style, (90, 120), [generator(9, 0, i)]).clamp(0, 1)[0].expand(3, -1, -1))
    for i, style in enumerate(("light", "light", "dense"))
]
"""Stand-ins for rain layers from files: two sparse, one dense."""
RADII = {"small": {0.2}, "medium": {0.4, 0.6}, "large": {0.8, 1.0}}  # of PHPNet's streets
ALIKE = RainStyle(  # as little chance as possible, so that the shape of a streak can be measured
    angle=(0.0, 0.0),
    density=(15.0, 15.0),
    length=(40.0, 40.0),
    width=(3.0, 3.0),
    brightness=(0.5, 0.5),
    depth=1.0,
    edge=(0.5, 0.5),
    taper=(0.5, 0.5),
)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [generator(seed, 0, i) for i in range(count)]


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """Crops of scikit-image's photographs, (48, 3, 200, 280)."""
    from skimage import data

    crops = []
    for image in (data.astronaut(), data.coffee(), data.chelsea()):
        height, width = image.shape[:2]
        for k in range(16):
            top, left = (height - 200) * k // 15, (width - 280) * (7 * k % 16) // 15
            crops.append(image[top : top + 200, left : left + 280])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def fall(layer: torch.Tensor) -> float:
    """Angle of the streaks of a (1, H, W) layer from the vertical in degrees, by the structure tensor."""
    dy, dx = np.gradient(ndimage.gaussian_filter(layer[0].double().numpy(), 2.0))
    return -math.degrees(0.5 * math.atan2(2 * (dx * dy).mean(), (dx * dx).mean() - (dy * dy).mean()))


def half_widths(style: RainStyle) -> tuple[float, float]:
    """How far vertical rain of this style stays half correlated with itself, in pixels: along and across."""
    x = draw(style, (256, 256), generators(4), dtype=torch.float64)[:, 0].numpy()
    x -= x.mean((1, 2), keepdims=True)
    correlation = np.fft.ifft2(np.abs(np.fft.fft2(x)) ** 2).real.sum(0)
    profiles = correlation[:128, 0], correlation[0, :128]
    return tuple(
        float(np.interp(-0.5, -p / p[0], np.arange(128))) for p in (np.minimum.accumulate(p) for p in profiles)
    )


def decibels(pair) -> float:
    """PSNR on RGB of 8-bit rainy images, averaged over the images."""
    error = ((pair.rainy * 255).round() / 255 - pair.clean).double().pow(2).mean((1, 2, 3))
    return float((-10 * torch.log10(error)).mean())


class TestCompositions:
    """Known values, worked by hand: B = 0.5, R = 0.4."""

    clean, streaks = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 1, 2, 2), 0.4)

    @pytest.mark.parametrize(
        ("how", "options", "expected"),
        [
            ("additive", {}, 0.9),
            ("screen", {}, 0.7),  # 1 − 0.5 · 0.6
            ("veil", {"transmission": torch.tensor(0.75), "airlight": 0.8}, 0.875),  # 0.9 · 0.75 + 0.8 · 0.25
            ("veil", {"transmission": torch.tensor(1.0), "airlight": 0.8}, 0.9),  # no mist: additive
            ("veil", {"transmission": torch.tensor(0.0), "airlight": 0.8}, 0.8),  # nothing but mist
        ],
    )
    def test_known_values(self, how, options, expected):
        result = compose(self.clean, self.streaks, how, **options)
        torch.testing.assert_close(result, torch.full((1, 3, 2, 2), expected))

    def test_additive_is_not_clipped(self):
        assert compose(self.clean, 2 * self.streaks).max().item() == pytest.approx(1.3)

    @given(st.floats(0, 1), st.floats(0, 3))
    def test_screen_never_darkens_nor_exceeds_white(self, b, r):
        clean = torch.full((1, 3, 1, 1), b)
        result = compose(clean, torch.full((1, 1, 1, 1), r), "screen")
        assert (result >= clean - 1e-6).all()
        assert result.max() <= 1 + 1e-6

    def test_unknown(self):
        with pytest.raises(DerainError, match=r"multiply.*additive, screen, veil"):
            compose(self.clean, self.streaks, "multiply")

    @pytest.mark.parametrize("given", [{}, {"transmission": torch.tensor(1.0)}, {"airlight": 0.5}])
    def test_veil_wants_both(self, given):
        with pytest.raises(DerainError, match="transmission and an airlight"):
            compose(self.clean, self.streaks, "veil", **given)


class TestLocation:
    def test_threshold(self):
        streaks = torch.tensor([0.0, 7.9, 8.1, 300.0]).view(1, 1, 2, 2) / 255
        assert location(streaks).flatten().tolist() == [0, 0, 1, 1]
        assert location(streaks, threshold=0).flatten().tolist() == [0, 1, 1, 1]

    def test_colour_counts_by_luminance(self):
        red, green = (torch.zeros(1, 3, 1, 1) for _ in range(2))
        red[:, 0], green[:, 1] = 0.1, 0.1  # luminances 0.0299 and 0.0587
        assert location(red, 0.04).item() == 0
        assert location(green, 0.04).item() == 1
        assert location(red).shape == (1, 1, 1, 1)


class TestDraws:
    """What an image's rain may depend on: its generator."""

    def test_generator(self):
        def first(*key):
            return torch.rand(4, generator=generator(*key)).tolist()

        assert first(3, 1, 2) == first(3, 1, 2)
        keys = [(s, e, i) for s in range(3) for e in range(3) for i in range(3)]
        assert len({tuple(first(*key)) for key in keys}) == len(keys)

    @pytest.mark.parametrize("key", [(-1,), (0, -1), (0, 0, -1), (0.5,)])
    def test_generator_refuses(self, key):
        with pytest.raises(DerainError, match="whole numbers"):
            generator(*key)

    def test_global_state_is_neither_used_nor_moved(self):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = draw("mixed", (40, 50), generators(4))
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert torch.equal(draw("mixed", (40, 50), generators(4)), first)

    @pytest.mark.parametrize("name", NAMES)
    def test_batch_is_the_sum_of_its_images(self, name):
        clean = torch.rand(6, 3, 48, 64, generator=generator(5))
        together = add_rain(clean, name, generators(6), LAYERS)
        backwards = add_rain(clean.flip(0), name, generators(6)[::-1], LAYERS)
        for i, g in enumerate(generators(6)):
            alone = add_rain(clean[i : i + 1], name, [g], LAYERS)
            for part in ("rainy", "drawn", "location"):
                assert torch.equal(getattr(together, part)[i], getattr(alone, part)[0]), part
                assert torch.equal(getattr(backwards, part)[5 - i], getattr(alone, part)[0]), part

    @pytest.mark.parametrize("name", NAMES)
    def test_precisions_agree(self, name):
        single = draw(name, (64, 80), generators(4), layers=LAYERS)
        double = draw(name, (64, 80), generators(4), dtype=torch.float64, layers=LAYERS)
        assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(single.double(), double, atol=2e-4, rtol=1e-4)

    def test_images_differ(self):
        a, b = draw("light", (64, 64), generators(2))
        assert (a - b).abs().mean() > 1e-3

    def test_mix_takes_presets_in_their_shares(self):
        picked = [rain_presets.resolve("mixed", generator(0, 0, i)) for i in range(2000)]
        for name, share in MIXES["mixed"]:
            assert picked.count(PRESETS[name]) / 2000 == pytest.approx(share, abs=0.04)


class TestStreaks:
    @pytest.mark.parametrize("angle", [-90, -60, -30, 0, 5, 45, 80, 90])
    def test_drawn_against_every_streak_on_every_pixel(self, angle):
        """The renderer visits only the pixels that a streak covers; here NumPy evaluates each streak everywhere."""
        style = dataclasses.replace(
            PRESETS["heavy"], angle=(angle, angle), length=(5.0, 60.0), width=(0.3, 6.0), spread=4.0, bundle=2
        )
        height, width = 37, 52
        ours = draw(style, (height, width), [generator(4)], dtype=torch.float64)[0, 0].numpy()
        y, x = np.mgrid[:height, :width]
        expected = np.zeros((height, width))
        for x0, y0, sin, cos, length, thick, bright, edge, taper in streaks._scatter(
            style, (height, width), generator(4)
        ).T:
            along = (x - x0.item()) * sin.item() + (y - y0.item()) * cos.item()
            across = (x - x0.item()) * cos.item() - (y - y0.item()) * sin.item()
            expected += (
                bright.item()
                * _box_blurred_by_box(along, length.item(), max(1.0, taper.item() * length.item()))
                * _box_blurred_by_box(across, thick.item(), max(1.0, edge.item() * thick.item()))
            )
        assert expected.max() > 0.1
        np.testing.assert_allclose(ours, expected, atol=1e-10)

    @pytest.mark.parametrize("method", rain.METHODS)
    @pytest.mark.parametrize("angle", [-70, -40, -15, 0, 10, 30, 60])
    def test_direction(self, method, angle):
        upright = draw(ALIKE, (400, 400), [generator(2)])[0].expand(
            3, -1, -1
        )  # what a file shows is turned by the angle
        style = dataclasses.replace(ALIKE, method=method, angle=(angle, angle), brightness=(0.9, 0.9), blur=(0.5, 0.5))
        layer = draw(style, (200, 200), [generator(1)], layers=[streaks.layer(upright)])[0]
        assert fall(layer) == pytest.approx(angle, abs=1.5)

    def test_positive_falls_to_the_right(self):
        layer = draw(dataclasses.replace(ALIKE, angle=(30, 30)), (200, 200), [generator(1)])[0, 0]
        shift = round(10 * math.tan(math.radians(30)))
        right = (layer[:-10, :-shift] * layer[10:, shift:]).mean()
        left = (layer[:-10, shift:] * layer[10:, :-shift]).mean()
        assert right > 2 * left

    def test_longer_and_wider(self):
        shapes = [half_widths(dataclasses.replace(ALIKE, length=(n, n))) for n in (15.0, 40.0, 80.0)]
        assert shapes[0][0] < 0.6 * shapes[1][0] < 0.6 * 0.7 * shapes[2][0]
        shapes = [half_widths(dataclasses.replace(ALIKE, width=(n, n))) for n in (1.5, 4.0, 8.0)]
        assert shapes[0][1] < 0.6 * shapes[1][1] < 0.6 * 0.7 * shapes[2][1]

    def test_nearer_is_longer_wider_and_brighter(self):
        """The intensity and size prior: over the streaks of an image the three grow together."""
        _, _, _, _, length, width, bright, _, _ = streaks._scatter(PRESETS["light"], (400, 400), generator(0))
        table = torch.corrcoef(torch.stack([length, width, bright]).log())
        assert table.min() > 0.5

    def test_noise_streaks_have_their_length(self):
        style = dataclasses.replace(ALIKE, method="noise", length=(20.0, 20.0), density=(1.0, 1.0))
        layer = draw(style, (300, 300), [generator(2)])[0, 0]
        blobs, count = ndimage.label(layer.numpy() > 1e-4)
        tall = [s[0].stop - s[0].start for s in ndimage.find_objects(blobs) if s[0].start > 0 and s[0].stop < 300]
        assert count >= 3
        assert np.median(tall) == pytest.approx(20, abs=1.5)

    def test_more_is_more(self):
        styles = [dataclasses.replace(ALIKE, density=(d, d)) for d in (10, 20, 40)]
        means = [draw(style, (200, 200), generators(16)).mean().item() for style in styles]
        assert means[1] == pytest.approx(2 * means[0], rel=0.15)
        assert means[2] == pytest.approx(2 * means[1], rel=0.15)

    def test_density_length_width_brightness_add_up(self):
        """Mean of R = density x length x width x brightness; a streak's length is on average 0.6 of the longest."""
        layers = draw(ALIKE, (300, 300), generators(6))
        assert layers.mean().item() == pytest.approx(15e-4 * 40 * 0.6 * 3 * 0.5, rel=0.1)

    def test_borders_rain_like_the_middle(self):
        layer = torch.cat([draw("light", (100, 100), generators(200, seed)) for seed in range(2)]).mean((0, 1))
        border = torch.cat(
            [layer[:10].flatten(), layer[-10:].flatten(), layer[:, :10].flatten(), layer[:, -10:].flatten()]
        )
        assert border.mean().item() == pytest.approx(layer[30:70, 30:70].mean().item(), rel=0.1)

    def test_hard_edges_are_steeper_than_soft(self):
        steepest = [
            draw(dataclasses.replace(ALIKE, width=(6, 6), edge=(e, e), density=(3, 3)), (200, 200), [generator(0)])[
                0, 0
            ]
            .diff(dim=1)
            .abs()
            .max()
            for e in (0.0, 1.0)
        ]
        assert steepest[0] > 2 * steepest[1]

    def test_directions_at_once(self):
        one = dataclasses.replace(ALIKE, angle=((-40, -40), (40, 40)), density=(60, 60))
        layers = draw(dataclasses.replace(one, directions=8), (200, 200), [generator(0)])
        spectrum = torch.fft.fft2(layers[0, 0] - layers.mean()).abs() ** 2
        down, up = spectrum[1:40, 1:40].sum(), spectrum[1:40, -40:].sum()
        assert 0.3 < down / up < 3
        layers = draw(one, (200, 200), [generator(0)])
        spectrum = torch.fft.fft2(layers[0, 0] - layers.mean()).abs() ** 2
        down, up = spectrum[1:40, 1:40].sum(), spectrum[1:40, -40:].sum()
        assert max(down / up, up / down) > 10

    def test_blur_agrees_with_scipy(self):
        sharp = draw(dataclasses.replace(ALIKE, blur=(0, 0)), (60, 70), [generator(3)], dtype=torch.float64)
        soft = draw(dataclasses.replace(ALIKE, blur=(1.2, 1.2)), (60, 70), [generator(3)], dtype=torch.float64)
        expected = ndimage.gaussian_filter(sharp[0, 0].numpy(), 1.2, mode="nearest", radius=4)
        np.testing.assert_allclose(soft[0, 0].numpy(), expected, atol=1e-12)

    @settings(max_examples=40, deadline=None)
    @given(
        style=st.builds(
            RainStyle,
            method=st.sampled_from(rain.METHODS),
            angle=st.floats(-90, 90).map(lambda a: (a, a)),
            directions=st.integers(1, 4),
            spread=st.floats(0, 90),
            density=st.floats(0, 300).map(lambda d: (d, d)),
            length=st.floats(1, 90).map(lambda n: (n, n)),
            width=st.floats(0.1, 30).map(lambda n: (n, n)),
            depth=st.floats(0.05, 1),
            bundle=st.integers(1, 16),
            composition=st.sampled_from(rain.COMPOSITIONS),
            blur=st.floats(0, 3).map(lambda n: (n, n)),
        ),
        size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    )
    def test_any_style_and_size(self, style, size):
        pair = add_rain(torch.full((2, 3, *size), 0.5), style, generators(2), LAYERS)
        assert pair.drawn.shape == pair.location.shape == (2, 1, *size)
        assert torch.isfinite(pair.drawn).all()
        assert pair.drawn.min() >= 0
        assert 0 <= pair.rainy.min() <= pair.rainy.max() <= 1
        assert torch.equal(pair.location, location(pair.drawn))

    def test_large_images_are_rendered_in_pieces(self, monkeypatch):
        whole = draw("heavy", (90, 120), generators(2))
        monkeypatch.setattr(streaks, "_ELEMENTS", 1000)
        torch.testing.assert_close(draw("heavy", (90, 120), generators(2)), whole)


def _box_blurred_by_box(distance: np.ndarray, width: float, ramp: float) -> np.ndarray:
    """The overlap of a box of `width` around 0 with one of `ramp` around `distance`, as a share of the latter."""
    overlap = np.minimum(width / 2, distance + ramp / 2) - np.maximum(-width / 2, distance - ramp / 2)
    return np.maximum(overlap, 0) / ramp


class TestVeil:
    def test_range_and_smoothness(self):
        transmission, airlight = veil("veil", (90, 120), generators(8))
        assert transmission.shape == (8, 1, 90, 120)
        assert airlight.shape == (8, 1, 1, 1)
        low, high = PRESETS["veil"].airlight
        assert low <= airlight.min() < airlight.max() <= high
        assert math.exp(-PRESETS["veil"].haze[1]) - 1e-6 <= transmission.min() < transmission.max() <= 1
        assert transmission.diff(dim=2).abs().max() < 0.05
        assert (transmission[:, :, :20].mean() < transmission[:, :, -20:].mean()).item()  # mist is thicker far away

    def test_no_haze_is_additive(self):
        style = dataclasses.replace(PRESETS["veil"], haze=(0.0, 0.0))
        clean = torch.full((2, 3, 40, 40), 0.2)
        pair = add_rain(clean, style, generators(2))
        torch.testing.assert_close(pair.rainy, (clean + pair.drawn).clamp(0, 1))


class TestPresets:
    """The statistics that the presets promise, on scikit-image's photographs."""

    def test_light(self, photographs):
        """Rain100L's averages are 25.5 dB, 5.9, 17.7 % and 69."""
        pair = add_rain(photographs, "light", generators(48))
        layer = pair.drawn * 255
        assert decibels(pair) == pytest.approx(25.5, abs=1)
        assert 5.2 <= layer.mean() <= 7.5
        assert 0.16 <= (layer > 8).float().mean() <= 0.24
        assert 60 <= np.mean([np.percentile(x, 99) for x in layer.numpy()]) <= 90
        torch.testing.assert_close(pair.rainy, (pair.clean + pair.drawn).clamp(0, 1))

    @pytest.mark.parametrize("name", ["heavy", "crossed"])
    def test_heavy(self, photographs, name):
        pair = add_rain(photographs, name, generators(48))
        layer = pair.rain.amax(1) * 255
        assert decibels(pair) == pytest.approx(13, abs=1.5)
        assert 15 <= layer.mean() <= 90
        assert 0.5 <= (layer > 8).float().mean() <= 0.97
        assert 80 <= np.mean([np.percentile(x, 99) for x in layer.numpy()]) <= 190

    @pytest.mark.parametrize(("name", "low", "high"), [("veil", 13, 18), ("noise", 20, 26), ("rain800", 20, 28)])
    def test_others(self, photographs, name, low, high):
        assert low <= decibels(add_rain(photographs, name, generators(48))) <= high

    def test_noise_has_the_papers_directions_and_radii(self):
        assert sorted(low for low, _ in PRESETS["noise"].angle) == [-40, -30, -15, 0, 15, 30, 40]
        assert [low for low, _ in PRESETS["noise"].blur] == [0.2, 0.4, 0.6, 0.8, 1.0]

    def test_mixes_name_presets(self):
        for parts in MIXES.values():
            assert {name for name, _ in parts} <= {*PRESETS, *STREETS, *FROM_FILES}
            assert sum(share for _, share in parts) == pytest.approx(1)


class TestStreets:
    """PHPNet, Section III.D and Tables II and IV."""

    def picked(self, name, count=400):
        return [rain_presets.resolve(name, generator(0, 0, i)) for i in range(count)]

    @pytest.mark.parametrize("size", ["small", "medium", "large"])
    def test_directions_and_radii(self, size):
        style = street(size)
        assert {low for low, _ in style.angle} == {0, 15, -15, 30, -30, 40, -40}
        assert all(low == high for low, high in style.angle)
        blur = rain_styles.ranges_of(style.blur)
        assert {low for low, _ in blur} == RADII[size]
        assert all(low == high for low, high in blur)

    @pytest.mark.parametrize(
        ("mix", "sizes"),
        [
            ("streets", ("small", "medium", "large")),
            ("streets-no-small", ("medium", "large")),
            ("streets-no-medium", ("small", "large")),
            ("streets-no-large", ("small", "medium")),
        ],
    )
    def test_mixes_have_their_radii_equally_often(self, mix, sizes):
        drawn = [rain_styles.pick(style.blur, generator(1, 0, i)) for i, style in enumerate(self.picked(mix, 3000))]
        expected = set().union(*(RADII[size] for size in sizes))
        assert set(drawn) == expected
        for radius in expected:
            assert drawn.count(radius) / 3000 == pytest.approx(1 / len(expected), abs=0.04)

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_streaks_fall_in_the_direction_asked_for(self, direction):
        (layer,) = draw(street("large", direction), (256, 256), generators(1))
        assert fall(layer) == pytest.approx(direction, abs=3)

    def test_larger_streaks_are_wider_and_longer(self):
        widths = [half_widths(street(size, 0)) for size in RADII]
        assert widths == sorted(widths)
        assert widths[2][0] > 1.5 * widths[0][0]
        assert widths[2][1] > 1.3 * widths[0][1]

    def test_a_larger_streak_is_no_fainter(self):
        """A blur alone would leave a wide streak fainter than a thin one."""
        peaks = [draw(street(size, 0), (128, 128), generators(16)).amax((1, 2, 3)).mean() for size in RADII]
        assert peaks == sorted(peaks)

    def test_densities(self):
        cover = [
            add_rain(torch.zeros(16, 3, 128, 128), f"density-{level}", generators(16)).location.mean().item()
            for level in ("light", "medium", "heavy")
        ]
        assert cover[1] > 1.5 * cover[0]
        assert cover[2] > 1.5 * cover[1]
        assert {id(style) for style in self.picked("density")} == {id(STREETS[name]) for name, _ in MIXES["density"]}

    def test_depth_has_mist(self):
        pair = add_rain(torch.zeros(8, 3, 64, 64), "depth", generators(8))
        dry = pair.location[:, 0] == 0
        mist = pair.rainy[:, 0][dry]
        assert mist.mean() > 0.1
        assert pair.rainy[:, 0, :16].mean() > 1.3 * pair.rainy[:, 0, -16:].mean()  # far is up

    def test_spatial_rain_keeps_to_some_places(self):
        """The amount of rain in a square of 32 pixels varies more than that of rain spread evenly."""

        def unevenness(style):
            layer = draw(style, (256, 256), generators(16))
            squares = torch.nn.functional.avg_pool2d(layer, 32).flatten(1)
            return (squares.std(1) / squares.mean(1)).mean().item()

        scattered = dataclasses.replace(STREETS["spatial-bundles"], bundle=1)
        assert unevenness("spatial") > 1.4 * unevenness(scattered)

    def test_none_is_no_rain(self):
        clean = torch.rand(3, 3, 40, 50, generator=generator(0))
        pair = add_rain(clean, "none", generators(3))
        assert torch.equal(pair.rainy, clean)
        assert pair.location.sum() == 0

    def test_amounts(self, photographs):
        """The rain of PHPNet's streets is dense, but leaves the scene to be seen."""
        assert 15 <= decibels(add_rain(photographs, "streets", generators(48))) <= 22

    @pytest.mark.parametrize(
        ("asked", "message"),
        [(("tiny",), "'tiny'; choose one of small, medium, large"), (("small", 20), "20; choose one of -40, -30, -15")],
    )
    def test_refused(self, asked, message):
        with pytest.raises(DerainError, match=message):
            street(*asked)


class TestErrors:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("method", "painted"),
            ("composition", "multiply"),
            ("directions", 0),
            ("directions", 1.5),
            ("bundle", 0),
            ("spread", -1.0),
            ("depth", 0.0),
            ("depth", 1.5),
            ("angle", (20.0, -20.0)),
            ("angle", (0.0, 91.0)),
            ("angle", ()),
            ("density", 50.0),
            ("density", (-1.0, 5.0)),
            ("length", (0.5, 5.0)),
            ("length", (1.0, math.inf)),
            ("width", (1.0, 2.0, 3.0)),
            ("width", ((1.0, 2.0), (3.0, 2.0))),
            ("brightness", ("a", "b")),
            ("brightness", (math.nan, 1.0)),
            ("edge", ((0.0, 0.2), (0.5, 1.0))),
            ("taper", (0.0, 1.1)),
            ("blur", [0.0, 1.0]),
            ("haze", (-0.1, 1.0)),
            ("airlight", (0.0, 1.1)),
        ],
    )
    def test_style(self, field, value):
        with pytest.raises(DerainError, match=field) as error:
            RainStyle(**{field: value})
        assert "\n" not in str(error.value)

    def test_unknown_name_lists_the_known(self):
        with pytest.raises(DerainError, match=r"drizzle.*light.*mixed"):
            draw("drizzle", (8, 8), generators(1))

    @pytest.mark.parametrize("size", [(0, 8), (8,), (8, -1)])
    def test_size(self, size):
        with pytest.raises(DerainError, match="size"):
            draw("light", size, generators(1))

    @pytest.mark.parametrize(
        "clean", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
    )
    def test_clean(self, clean):
        with pytest.raises(DerainError, match="clean"):
            add_rain(clean, "light", generators(1))

    def test_a_generator_for_each_image(self):
        with pytest.raises(DerainError, match="2 generators, 3 images"):
            add_rain(torch.zeros(3, 3, 8, 8), "light", generators(2))
