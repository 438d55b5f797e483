"""Eq. 3 of PHPNet against NumPy, and the low-pass filter against SciPy and OpenCV's rule."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses import L1, Charbonnier
from derainlib.losses.charbonnier import KERNELS, deviation, low_pass

SIGMAS = {3: 0.8, 5: 1.1, 7: 1.4, 9: 1.7}
"""Worked by hand from 0.3 ((size − 1)/2 − 1) + 0.8."""


@pytest.fixture
def scene(generator) -> tuple[Layers, Pair]:
    """A pair, and a final and a coarse background that have nothing to do with it."""

    def image():
        return torch.rand(2, 3, 9, 11, generator=generator, dtype=torch.float64)

    pair, background, coarse = Pair(image(), image()), image(), image()
    return Layers(background, pair.rainy - background, extras={"coarse": coarse, "contrast": image()}), pair


def eq_3(estimate: torch.Tensor, truth: np.ndarray, epsilon: float) -> float:
    """One summand, averaged over images, channels and pixels."""
    return float(np.sqrt((estimate.numpy() - truth) ** 2 + epsilon**2).mean())


def scipy_low_pass(image: torch.Tensor, size: int) -> np.ndarray:
    filtered = [
        [ndimage.gaussian_filter(channel, SIGMAS[size], radius=size // 2, mode="nearest") for channel in sample]
        for sample in image.numpy()
    ]
    return np.array(filtered)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3, 0.2])
@pytest.mark.parametrize("lowpass", [0, *KERNELS])
def test_both_summands_are_eq_3(scene, epsilon, lowpass):
    """X^c against the truth that went through the low-pass, X against the truth itself."""
    layers, pair = scene
    smooth = scipy_low_pass(pair.clean, lowpass) if lowpass else pair.clean.numpy()
    first = Charbonnier(on="coarse", epsilon=epsilon, lowpass=lowpass)(layers, pair)
    second = Charbonnier(epsilon=epsilon)(layers, pair)
    assert first.item() == pytest.approx(eq_3(layers.extras["coarse"], smooth, epsilon), rel=1e-12)
    assert second.item() == pytest.approx(eq_3(layers.background, pair.clean.numpy(), epsilon), rel=1e-12)


def test_on_rain_the_truth_is_rainy_minus_clean(scene):
    layers, pair = scene
    expected = eq_3(layers.rain, scipy_low_pass(pair.rainy - pair.clean, 5), 1e-3)
    assert Charbonnier(on="rain", epsilon=1e-3, lowpass=5)(layers, pair).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("extras", [None, {}, {"logits": torch.zeros(2, 4, 9, 11)}])
def test_networks_without_a_coarse_output_are_judged_by_their_background(scene, extras):
    layers, pair = scene
    without = layers._replace(extras=extras)
    assert Charbonnier(on="coarse")(without, pair) == Charbonnier()(without, pair) == Charbonnier()(layers, pair)
    assert Charbonnier(on="coarse")(layers, pair) != Charbonnier()(layers, pair)


def test_all_stages_have_the_coarse_output_among_them(scene):
    """Under stages="all" "coarse" adds nothing; by hand 0.5 · X^c + 1.5 · X."""
    layers, pair = scene
    coarse = layers.extras["coarse"]
    staged = layers._replace(stages=(coarse, layers.background), rain_stages=(coarse, layers.rain))
    clean = pair.clean.numpy()
    expected = 0.5 * eq_3(coarse, clean, 1e-6) + 1.5 * eq_3(layers.background, clean, 1e-6)
    for on in ("coarse", "background"):
        assert Charbonnier(on=on, stages="all")(staged, pair).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("error", "epsilon", "expected"), [(0.3, 0.4, 0.5), (0.0, 0.4, 0.4), (-1.2, 0.5, 1.3)])
def test_values_by_hand(error, epsilon, expected):
    """Right triangles: 3-4-5 and 5-12-13; with no error at all ε is left."""
    clean = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    layers = Layers(clean + error, torch.zeros_like(clean))
    assert Charbonnier(epsilon=epsilon)(layers, Pair(clean, clean)).item() == pytest.approx(expected, rel=1e-12)


def test_it_is_nearly_the_absolute_error(scene):
    layers, pair = scene
    assert Charbonnier()(layers, pair).item() == pytest.approx(L1()(layers, pair).item(), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_gradient_at_the_truth_is_zero_and_finite(dtype):
    """ε² underflows in half precision, where the root of a sum of squares would have no gradient."""
    clean = torch.full((1, 3, 4, 4), 0.5, dtype=dtype)
    estimate = clean.clone().requires_grad_()
    value = Charbonnier()(Layers(estimate, clean - estimate), Pair(clean, clean))
    value.backward()
    assert value > 0
    assert not estimate.grad.any()
    assert estimate.grad.isfinite().all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_gradients_match_finite_differences(scene, share):
    """Also at the truth, where ε rounds the corner off."""
    layers, pair = scene
    term = Charbonnier(on="coarse", epsilon=0.05, lowpass=3)
    truth = low_pass(pair.clean, 3)
    start = (truth + share * (layers.extras["coarse"] - truth)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term(layers._replace(extras={"coarse": x}), pair), start)


def test_only_the_output_in_question_gets_a_gradient(scene):
    layers, pair = scene
    coarse, background = layers.extras["coarse"].requires_grad_(), layers.background.requires_grad_()
    Charbonnier(on="coarse")(layers, pair).backward()
    assert coarse.grad.abs().min() > 0
    assert background.grad is None


@pytest.mark.parametrize(("size", "sigma"), SIGMAS.items())
def test_the_kernel_follows_from_its_size(size, sigma):
    """The response to one bright pixel, against the Gaussian written out."""
    spot = torch.zeros(1, 1, 13, 13, dtype=torch.float64)
    spot[..., 6, 6] = 1
    offsets = np.arange(13) - 6
    line = np.where(abs(offsets) <= size // 2, np.exp(-(offsets**2) / (2 * sigma**2)), 0)
    assert deviation(size) == pytest.approx(sigma)
    np.testing.assert_allclose(low_pass(spot, size)[0, 0], np.outer(line, line) / line.sum() ** 2, atol=1e-15)


@pytest.mark.parametrize("size", KERNELS)
@pytest.mark.parametrize("shape", [(2, 3, 20, 17), (1, 1, 1, 30), (1, 3, 2, 2)])
def test_the_low_pass_is_scipys_up_to_the_border(generator, size, shape):
    image = torch.rand(shape, generator=generator, dtype=torch.float64)
    np.testing.assert_allclose(low_pass(image, size), scipy_low_pass(image, size), atol=1e-14)


@pytest.mark.parametrize("size", KERNELS)
def test_the_low_pass_leaves_a_constant(size):
    image = torch.full((1, 3, 5, 6), 0.37, dtype=torch.float64)
    torch.testing.assert_close(low_pass(image, size), image)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_inside_autocast_the_truth_stays_exact(generator, dtype):
    clean = torch.rand(1, 3, 20, 17, generator=generator)
    smooth = low_pass(clean, 5)
    layers, pair = Layers(smooth, clean - smooth), Pair(clean, clean)
    with torch.autocast("cpu", dtype):
        assert torch.equal(low_pass(clean, 5), smooth)
        assert Charbonnier(lowpass=5)(layers, pair).item() == pytest.approx(1e-6)


def test_larger_kernels_leave_less_detail(generator):
    noise = torch.rand(1, 3, 40, 40, generator=generator)
    left = [low_pass(noise, size).std().item() for size in KERNELS]
    assert left == sorted(left, reverse=True)
    assert left[0] < noise.std()


@pytest.mark.parametrize("size", [0, 1, 4, 11])
def test_the_low_pass_refuses_other_sizes(size):
    with pytest.raises(DerainError, match=str(size)):
        low_pass(torch.zeros(1, 3, 8, 8), size)
