"""Eq. 8–13 of QSNet against NumPy in float64, each written from its printed sum."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from derainlib import rain
from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses import L1, TERMS, Auxiliary, Detail, Fixed, QuasiSparsity

SIZE = (2, 3, 9, 11)
VALUES = 2 * 3 * 9 * 11
WEIGHTS = {"quasi_sparsity": 1e-3, "l1": 1, "auxiliary": 0.01, "detail": 1e-4}
FIRST, SECOND = [0, -1, 1], [1, -2, 1]


@pytest.fixture
def scene(generator) -> tuple[Layers, Pair]:
    """A pair with a location map, and estimates and five decodings that have nothing to do with it."""

    def image():
        return torch.rand(SIZE, generator=generator, dtype=torch.float64)

    location = (torch.rand(2, 1, 9, 11, generator=generator) < 0.3).double()
    pair = Pair(image(), image(), location=location)
    background = image()
    extras = {f"decoded_{i}": image() for i in range(1, 6)} | {f"scale_{i}": image() for i in range(1, 6)}
    return Layers(background, pair.rainy - background, extras=extras), pair


def numpy_derivatives(image: np.ndarray) -> list[np.ndarray]:
    """ω_k ∗ image of one channel for the four filters, its border repeated."""
    return [
        ndimage.correlate1d(image, kernel, axis=axis, mode="nearest") for kernel in (FIRST, SECOND) for axis in (0, 1)
    ]


def eq_9(layers: Layers, pair: Pair) -> float:
    total = 0.0
    for estimates in (layers.rain.numpy(), layers.background.numpy()):
        for image in estimates:
            for channel in image:
                total += sum(np.abs(response).sum() for response in numpy_derivatives(channel))
    return total


def eq_10(layers: Layers, pair: Pair) -> float:
    return np.abs(pair.rainy.numpy() - layers.rain.numpy() - pair.clean.numpy()).sum()


def eq_11(layers: Layers, pair: Pair) -> float:
    dry = np.ones((2, 1, 9, 11)) - pair.location.numpy()
    return np.abs(np.repeat(dry, 3, axis=1) * layers.rain.numpy()).sum()


def eq_12(layers: Layers, pair: Pair) -> float:
    total = 0.0
    for i in range(1, 6):
        decoded_rain = pair.rainy.numpy() - layers.extras[f"decoded_{i}"].numpy()  # A_i(F_i)
        for t in range(2):
            residual = pair.rainy[t].numpy() - decoded_rain[t] - pair.clean[t].numpy()
            total += sum(np.linalg.norm(channel, "fro") ** 2 for channel in residual)
    return total / 5


PRINTED = {"quasi_sparsity": eq_9, "l1": eq_10, "detail": eq_11, "auxiliary": eq_12}


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize(("normaliser", "divisor"), [("sum", 1), ("mean", VALUES)])
def test_each_term_is_its_printed_sum(scene, name, normaliser, divisor):
    expected = PRINTED[name](*scene) / divisor
    assert TERMS[name](normaliser=normaliser)(*scene).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("normaliser", ["sum", "mean"])
def test_the_weighted_sum_is_eq_13(scene, normaliser):
    """One shared normaliser: the paper's λ keep their ratios whether sums or means are weighted."""
    terms = {name: TERMS[name](normaliser=normaliser) for name in WEIGHTS}
    total, _ = Fixed(terms, WEIGHTS)(*scene)
    expected = 1e-3 * eq_9(*scene) + 1 * eq_10(*scene) + 0.01 * eq_12(*scene) + 1e-4 * eq_11(*scene)
    assert total.item() == pytest.approx(expected / (1 if normaliser == "sum" else VALUES), rel=1e-12)


@pytest.mark.parametrize(("batch", "side"), [(1, 24), (5, 24), (1, 60)])
def test_the_mean_keeps_its_size_with_patch_and_batch(batch, side):
    """Uniform noise by hand: E|x − y| = 1/3 and E|x − 2y + z| = 7/12, each twice; at the border there is less."""
    noise = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value = QuasiSparsity()(Layers(noise, torch.zeros_like(noise)), Pair(noise, noise)).item()
    assert value == pytest.approx(2 * (1 / 3 + 7 / 12), rel=0.07)


def test_quasi_sparsity_of_a_single_bright_pixel():
    """Worked by hand: |first differences| 1 + 1, |second differences| 1 + 2 + 1, across and down, in each channel."""
    spot = torch.zeros(1, 3, 7, 7)
    spot[..., 3, 3] = 1
    layers, pair = Layers(torch.full_like(spot, 0.3), spot), Pair(spot + 0.3, torch.full_like(spot, 0.3))
    assert QuasiSparsity(normaliser="sum")(layers, pair).item() == pytest.approx(3 * 2 * (2 + 4), rel=1e-5)
    assert QuasiSparsity().map(layers, pair)[0, 0, 3].tolist() == pytest.approx([0, 0, 2, 6, 1, 0, 0], abs=1e-5)


def test_no_layers_are_more_quasi_sparse_than_no_rain(scene):
    """The triangle inequality: it alone leaves the photograph as it is, which is why the paper adds three terms."""
    layers, pair = scene
    trivial = QuasiSparsity()(Layers(pair.rainy, torch.zeros_like(pair.rainy)), pair).item()
    for share in (0.0, 0.3, 1.0):
        split = QuasiSparsity()(Layers((1 - share) * pair.rainy, share * pair.rainy), pair).item()
        assert split == pytest.approx(trivial, rel=1e-12)  # a scaled copy is as good
    assert QuasiSparsity()(layers, pair).item() > trivial


def test_detail_without_a_location_map_finds_rain_in_the_pair(scene):
    layers, pair = scene
    stored = pair._replace(location=None)
    located = pair._replace(location=rain.location(pair.rainy - pair.clean))
    assert 0 < located.location.mean() < 1
    assert Detail()(layers, stored).item() == Detail()(layers, located).item() != Detail()(layers, pair).item()


@pytest.mark.parametrize("channels", [1, 3])
def test_detail_prefers_the_rain_as_drawn_to_what_mist_and_clipping_left_of_it(scene, channels):
    layers, pair = scene
    streaks = pair.location.expand(-1, channels, -1, -1)
    drawn = pair._replace(rainy=pair.clean + 0.2, drawn=streaks, location=None)  # mist everywhere
    assert Detail()(layers, drawn).item() == Detail()(layers, pair).item() > 0
    assert Detail()(layers, drawn._replace(drawn=None)).item() == 0
    assert Detail()(layers, drawn._replace(location=1 - pair.location)).item() != Detail()(layers, pair).item()


def test_detail_is_blind_where_it_rains(scene):
    layers, pair = scene
    wet = layers.rain + 5 * pair.location
    dry = layers.rain + 5 * (1 - pair.location)
    assert Detail()(layers._replace(rain=wet), pair).item() == Detail()(layers, pair).item()
    assert Detail()(layers._replace(rain=dry), pair).item() > Detail()(layers, pair).item()


@pytest.mark.parametrize("on", ["background", "rain"])
def test_content_is_the_same_on_both_layers_when_they_add_up(scene, on):
    assert L1(on=on, normaliser="sum")(*scene).item() == pytest.approx(eq_10(*scene), rel=1e-12)


def test_auxiliary_averages_over_the_decoders_there_are(scene):
    layers, pair = scene
    far, near = pair.clean + 0.3, pair.clean + 0.1
    decoded = layers._replace(extras={"decoded_1": far, "decoded_2": near, "scale_1": far})
    assert Auxiliary()(decoded, pair).item() == pytest.approx((0.09 + 0.01) / 2, rel=1e-12)


@pytest.mark.parametrize("extras", [None, {}, {"scale_1": torch.zeros(1)}])
def test_auxiliary_needs_decodings(scene, extras):
    layers, pair = scene
    with pytest.raises(DerainError, match="auxiliary decoders"):
        Auxiliary()(layers._replace(extras=extras), pair)


def test_auxiliary_teaches_the_decoders_alone(scene):
    layers, pair = scene
    decoded = layers.extras["decoded_3"].requires_grad_()
    background = layers.background.requires_grad_()
    Auxiliary()(layers._replace(background=background), pair).backward()
    torch.testing.assert_close(decoded.grad, 2 * (decoded.detach() - pair.clean) / (5 * VALUES))
    assert background.grad is None


def test_half_precision_layers_are_summed_in_the_precision_of_the_images(generator):
    """A sum over a patch is beyond float16."""
    rainy = torch.rand(1, 3, 256, 256, generator=generator)
    layers = Layers(rainy, (rainy * 0.5).half())
    total = QuasiSparsity(normaliser="sum")(layers, Pair(rainy, rainy))
    assert total.dtype == torch.float32
    assert total.isfinite()
