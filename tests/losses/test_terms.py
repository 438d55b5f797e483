"""Eq. 9–15 of Ren et al. against NumPy written from the paper, and what every loss term promises."""

import numpy as np
import pytest
import torch

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses import MSE, TERMS, Fixed, NegativeSSIM


def some_layers(generator, stages=3, size=(2, 3, 18, 20), dtype=torch.float32) -> tuple[Layers, Pair]:
    def image():
        return torch.rand(size, generator=generator, dtype=dtype)

    backgrounds = tuple(image() for _ in range(stages))
    rains = tuple(image() for _ in range(stages))
    return Layers(backgrounds[-1], rains[-1], backgrounds, rains), Pair(image(), image())


def numpy_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SSIM of one channel at every pixel, as Wang et al. 2004 print it: loops, a Gaussian window, zeros outside."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    padded_a, padded_b = np.pad(a, 5), np.pad(b, 5)
    result = np.empty_like(a)
    for row, column in np.ndindex(a.shape):
        x, y = (p[row : row + 11, column : column + 11] for p in (padded_a, padded_b))
        mean_x, mean_y = (window * x).sum(), (window * y).sum()
        var_x, var_y = (window * x * x).sum() - mean_x**2, (window * y * y).sum() - mean_y**2
        covariance = (window * x * y).sum() - mean_x * mean_y
        c1, c2 = 0.01**2, 0.03**2
        result[row, column] = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
            (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
        )
    return result


def test_negative_ssim_is_eq_14(generator):
    layers, pair = some_layers(generator, size=(1, 3, 14, 16), dtype=torch.float64)
    expected = np.mean(
        [-numpy_ssim(a, b) for a, b in zip(layers.background[0].numpy(), pair.clean[0].numpy(), strict=True)]
    )
    assert NegativeSSIM()(layers, pair).item() == pytest.approx(expected, abs=1e-12)


def test_mse_is_eq_15_per_value(generator):
    layers, pair = some_layers(generator)
    norm = np.linalg.norm((layers.background - pair.clean).numpy().astype(np.float64)) ** 2
    assert MSE()(layers, pair).item() == pytest.approx(norm / pair.clean.numel(), rel=1e-6)


def test_terms_on_rain_compare_with_rainy_minus_clean(generator):
    layers, pair = some_layers(generator)
    expected = ((layers.rain - (pair.rainy - pair.clean)).numpy() ** 2).mean()
    assert MSE(on="rain")(layers, pair).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("on", ["background", "rain"])
def test_recursive_supervision_is_eq_9(generator, on):
    layers, pair = some_layers(generator, stages=4)
    images = layers.stages if on == "background" else layers.rain_stages
    truth = pair.clean if on == "background" else pair.rainy - pair.clean
    each = [float(((image - truth).numpy() ** 2).mean()) for image in images]
    expected = 0.5 * (each[0] + each[1] + each[2]) + 1.5 * each[3]
    assert MSE(on=on, stages="all")(layers, pair).item() == pytest.approx(expected, rel=1e-6)


def test_weighted_rain_and_background_are_eq_12(generator):
    layers, pair = some_layers(generator)
    terms = {"rain": NegativeSSIM(on="rain", stages="all"), "background": NegativeSSIM(stages="all")}
    total, values = Fixed(terms, {"rain": 0.45, "background": 0.55})(layers, pair)
    expected = 0.45 * terms["rain"](layers, pair) + 0.55 * terms["background"](layers, pair)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert values["rain"].item() == pytest.approx(terms["rain"](layers, pair).item())


@pytest.mark.parametrize("term", TERMS.values())
@pytest.mark.parametrize("stages", ["last", "all"])
def test_map_averages_to_the_scalar(generator, term, stages):
    layers, pair = some_layers(generator)
    loss = term(stages=stages)
    picture = loss.map(layers, pair)
    assert picture.shape == (2, 1, 18, 20)
    assert picture.mean().item() == pytest.approx(loss(layers, pair).item(), rel=1e-6)


@pytest.mark.parametrize("term", TERMS.values())
def test_truth_is_the_minimum_and_descent_goes_there(generator, term):
    layers, pair = some_layers(generator)
    estimate = layers.background.clone().requires_grad_()
    before = term()(Layers(estimate, pair.rainy - estimate), pair)
    before.backward()
    step = 1e-3 * estimate.grad / estimate.grad.norm()
    after = term()(Layers(estimate - step, pair.rainy - estimate), pair)
    perfect = term()(Layers(pair.clean, pair.rain), pair)
    assert perfect < after < before


@pytest.mark.parametrize("term", TERMS.values())
def test_gradients_match_finite_differences(generator, term):
    layers, pair = some_layers(generator, size=(1, 3, 11, 12), dtype=torch.float64)
    estimate = layers.background.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term()(Layers(x, pair.rainy - x), pair), estimate)


def test_perfect_ssim_is_minus_one(generator):
    _, pair = some_layers(generator)
    assert NegativeSSIM()(Layers(pair.clean, pair.rain), pair).item() == pytest.approx(-1, abs=1e-6)


def test_all_stages_need_kept_stages(generator):
    layers, pair = some_layers(generator)
    with pytest.raises(DerainError, match="keep=True"):
        MSE(stages="all")(Layers(layers.background, layers.rain), pair)


@pytest.mark.parametrize("options", [{"on": "sky"}, {"stages": "first"}])
def test_unknown_options_are_refused(options):
    with pytest.raises(DerainError, match=next(iter(options.values()))):
        MSE(**options)


def test_ssim_stays_in_float32_under_autocast(generator):
    layers, pair = some_layers(generator)
    exact = NegativeSSIM()(layers, pair)
    with torch.autocast("cpu", torch.bfloat16):
        assert NegativeSSIM()(layers, pair).item() == pytest.approx(exact.item(), abs=1e-6)
