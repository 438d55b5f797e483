"""Eq. 9–15 of Ren et al. against NumPy written from the paper, and what every loss term promises."""

from functools import partial
from inspect import signature

import numpy as np
import pytest
import torch

from derainlib import metrics
from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses import MSE, Fixed, NegativePSNR, NegativeSSIM, Perceptual, Presence, Semantic
from derainlib.losses import TERMS as ALL
from derainlib.losses.term import Comparison, Staged

pytestmark = pytest.mark.filterwarnings("ignore:the perceptual loss runs")


class Segmenter(torch.nn.Module):
    """Tells five classes apart by a pixel's colour."""

    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))

    def forward(self, rainy, keep=False):
        logits = torch.einsum("kc,nchw->nkhw", self.weight.to(rainy.dtype), rainy)
        extras = {"logits": logits, "presence": logits.mean((2, 3))}
        return Layers(rainy, torch.zeros_like(rainy), extras=extras)


TERMS = ALL | {
    "perceptual": partial(Perceptual, layer="relu2_1", weights="random"),
    "semantic": partial(Semantic, Segmenter()),
    "presence": partial(Presence, Segmenter()),
}
"""Every term, as it runs without files."""
STAGED = [name for name, term in ALL.items() if issubclass(term, Staged)]
PRIORS = ["quasi_sparsity", "detail", "semantic", "presence"]
"""Terms that do not compare with the true image, so that it need not be their minimum."""


def some_layers(generator, stages=3, size=(2, 3, 18, 20), dtype=torch.float32) -> tuple[Layers, Pair]:
    def image():
        return torch.rand(size, generator=generator, dtype=dtype)

    backgrounds = tuple(image() for _ in range(stages))
    rains = tuple(image() for _ in range(stages))
    extras = {"decoded_1": image(), "decoded_2": image(), "scale_1": image()}
    pair = Pair(image(), image(), labels=torch.randint(5, (size[0], *size[2:]), generator=generator))
    return Layers(backgrounds[-1], rains[-1], backgrounds, rains, extras), pair


def taken_apart(pair: Pair, background: torch.Tensor) -> Layers:
    """What a network returns that finds this background, and the same one at each of its scales."""
    extras = {"decoded_1": background, "decoded_2": background}
    return Layers(background, pair.rainy - background, extras=extras)


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


def each_term_and_stages():
    staged = [(name, {"stages": stages}) for name in STAGED for stages in ("last", "all")]
    return staged + [(name, {}) for name in TERMS if name not in STAGED]


@pytest.mark.parametrize(("name", "options"), each_term_and_stages())
def test_map_averages_to_the_scalar(generator, name, options):
    layers, pair = some_layers(generator)
    loss = TERMS[name](**options)
    picture = loss.map(layers, pair)
    assert picture.shape == (2, 1, 18, 20)
    assert picture.mean().item() == pytest.approx(loss(layers, pair).item(), rel=1e-6)


@pytest.mark.parametrize(("name", "options"), each_term_and_stages())
def test_sums_are_means_times_the_number_of_values(generator, name, options):
    layers, pair = some_layers(generator, dtype=torch.float64)
    mean, literal = TERMS[name](**options), TERMS[name](**options, normaliser="sum")
    assert literal(layers, pair).item() == pytest.approx(2 * 3 * 18 * 20 * mean(layers, pair).item(), rel=1e-12)
    assert literal.map(layers, pair).sum().item() == pytest.approx(literal(layers, pair).item(), rel=1e-12)


@pytest.mark.parametrize("name", STAGED)
def test_each_stage_counts_as_it_would_alone(generator, name):
    layers, pair = some_layers(generator, dtype=torch.float64)
    alone = [
        TERMS[name]()(Layers(background, rain), pair).item()
        for background, rain in zip(layers.stages, layers.rain_stages, strict=True)
    ]
    together = TERMS[name](stages="all", early=0.25, last=2.0)(layers, pair).item()
    assert together == pytest.approx(0.25 * (alone[0] + alone[1]) + 2 * alone[2], rel=1e-12)


@pytest.mark.parametrize("term", TERMS.values())
def test_descent_lowers_the_loss(generator, term):
    layers, pair = some_layers(generator)
    estimate = layers.background.clone().requires_grad_()
    before = term()(taken_apart(pair, estimate), pair)
    before.backward()
    step = 1e-3 * estimate.grad / estimate.grad.norm()
    assert term()(taken_apart(pair, estimate - step), pair) < before


@pytest.mark.parametrize("name", [name for name in TERMS if name not in PRIORS])
def test_truth_is_the_minimum(generator, name):
    layers, pair = some_layers(generator)
    perfect = TERMS[name]()(taken_apart(pair, pair.clean), pair)
    for share in (1e-3, 0.1, 1.0):
        estimate = pair.clean + share * (layers.background - pair.clean)
        assert perfect < TERMS[name]()(taken_apart(pair, estimate), pair)


@pytest.mark.parametrize("term", TERMS.values())
def test_gradients_match_finite_differences(generator, term):
    layers, pair = some_layers(generator, size=(1, 3, 11, 12), dtype=torch.float64)
    estimate = layers.background.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: term()(taken_apart(pair, x), pair), estimate)


def test_negative_psnr_is_the_mean_psnr_of_the_images(generator):
    layers, pair = some_layers(generator)
    expected = -metrics.psnr(layers.background, pair.clean).mean().item()
    assert NegativePSNR()(layers, pair).item() == pytest.approx(expected, abs=1e-5)


def test_negative_psnr_of_a_constant_error():
    clean = torch.full((1, 3, 4, 5), 0.5, dtype=torch.float64)
    pair = Pair(clean, clean)
    assert NegativePSNR()(taken_apart(pair, clean + 0.1), pair).item() == pytest.approx(-20, abs=1e-6)  # MSE = 0.01


def test_negative_psnr_has_the_gradient_of_psnr(generator):
    """The map holds back the gradient of each pixel's share, so that only that of the whole is left."""
    layers, pair = some_layers(generator, dtype=torch.float64)
    estimate = layers.background.requires_grad_()
    (gradient,) = torch.autograd.grad(NegativePSNR()(taken_apart(pair, estimate), pair), estimate)
    error = (layers.background - pair.clean).detach()
    by_hand = 10 / np.log(10) * 2 * error / error.square().sum((1, 2, 3), keepdim=True) / len(error)
    torch.testing.assert_close(gradient, by_hand)


def test_negative_psnr_gives_every_image_the_same_say(generator):
    """MSE would listen to the first image 10^4 times as much."""
    clean = torch.rand(2, 3, 8, 8, generator=generator)
    estimate = clean + torch.tensor([0.1, 0.001]).view(2, 1, 1, 1)
    picture = NegativePSNR().map(taken_apart(Pair(clean, clean), estimate), Pair(clean, clean))
    assert picture.mean((1, 2, 3)).tolist() == pytest.approx([-20, -60], abs=1e-2)


def test_negative_psnr_of_equal_images_is_finite(generator):
    _, pair = some_layers(generator)
    estimate = pair.clean.clone().requires_grad_()
    loss = NegativePSNR()(taken_apart(pair, estimate), pair)
    loss.backward()
    assert loss.item() == pytest.approx(-100, abs=0.1)
    assert estimate.grad.isfinite().all()


def test_negative_psnr_rewards_up_to_its_ceiling():
    """At the ceiling itself half of the reward's slope is left, 3 dB below the end; far beyond it nothing."""
    clean = torch.full((1, 3, 4, 5), 0.5, dtype=torch.float64)
    pair, term = Pair(clean, clean), NegativePSNR(ceiling=40.0)
    at = {error: term(taken_apart(pair, clean + error), pair).item() for error in (0.1, 0.01, 1e-4, 0.0)}
    assert at == pytest.approx({0.1: -19.957, 0.01: -36.990, 1e-4: -39.9996, 0.0: -40.0}, abs=1e-3)


def test_perfect_ssim_is_minus_one(generator):
    _, pair = some_layers(generator)
    assert NegativeSSIM()(Layers(pair.clean, pair.rain), pair).item() == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("name", STAGED)
def test_all_stages_need_kept_stages(generator, name):
    layers, pair = some_layers(generator)
    with pytest.raises(DerainError, match="keep=True"):
        TERMS[name](stages="all")(Layers(layers.background, layers.rain), pair)


@pytest.mark.parametrize("name", [name for name, term in ALL.items() if issubclass(term, Comparison)])
def test_a_comparison_of_the_coarse_image(generator, name):
    """X^c stands in for the background, and the background for an X^c that is not there."""
    layers, pair = some_layers(generator)
    coarse = layers._replace(extras={"coarse": layers.stages[0]})
    loss = TERMS[name](on="coarse")
    assert loss(coarse, pair) == loss(layers._replace(background=layers.stages[0]), pair) != loss(layers, pair)


SHARED = {"normaliser": "mean", "stages": "last", "early": 0.5, "last": 1.5, "on": "background"}
OPTIONS = {
    "mse": SHARED | {"scale": 1},
    "l1": SHARED,
    "psnr": SHARED | {"ceiling": 100.0},
    "ssim": SHARED | {"dissimilarity": False},
    "quasi_sparsity": {k: SHARED[k] for k in ("normaliser", "stages", "early", "last")},
    "detail": {k: SHARED[k] for k in ("normaliser", "stages", "early", "last")},
    "auxiliary": {"normaliser": "mean"},
    "perceptual": SHARED
    | {"network": "vgg16", "layer": "relu3_3", "norm": "l1", "normalise": True, "weights": "torchvision"},
    "charbonnier": SHARED | {"epsilon": 1e-6, "lowpass": 0},
    "colour": SHARED | {"on": "coarse", "black": 0.5 / 255},
    "semantic": {"network": None, "normaliser": "mean"},
    "presence": {"network": None, "normaliser": "mean"},
    "edge": SHARED | {"scale": 255},
    "texture": SHARED | {"scale": 255, "form": "mean"},
}
"""What recipes may say, and what is so if they do not."""


@pytest.mark.parametrize("name", OPTIONS)
def test_a_signature_has_all_options_and_a_term_keeps_them(name):
    parameters = signature(ALL[name]).parameters
    assert {option: parameter.default for option, parameter in parameters.items()} == OPTIONS[name]
    term = ALL[name]()
    assert {option: getattr(term, option) for option in parameters} == OPTIONS[name]


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("mse", {"up": 1}, "loss mse has no option up; it takes normaliser, stages, early, last, on, scale"),
        ("auxiliary", {"stages": "all", "on": "rain"}, "auxiliary has no option stages, on; it takes normaliser"),
        ("detail", {"on": "rain"}, "detail has no option on; it takes normaliser, stages, early, last"),
        ("semantic", {"stages": "all"}, "semantic has no option stages; it takes network, normaliser"),
        ("mse", {"on": "sky"}, "on must be one of background, rain, coarse; got 'sky'"),
        ("colour", {"on": "rain"}, "on must be one of coarse, background; got 'rain'"),
        ("mse", {"stages": "first"}, "stages must be one of last, all; got 'first'"),
        ("mse", {"normaliser": "median"}, "normaliser must be one of mean, sum; got 'median'"),
        ("mse", {"scale": "255"}, "scale is '255'; give a number above 0"),
        ("psnr", {"ceiling": 0}, "ceiling is 0; give a number above 0"),
        ("charbonnier", {"epsilon": 0}, "epsilon is 0; give a number above 0"),
        ("charbonnier", {"lowpass": 4}, "lowpass must be one of 0, 3, 5, 7, 9; got 4"),
        ("colour", {"black": -1}, "black is -1; give a number above 0"),
    ],
)
def test_unknown_options_are_refused(name, options, complaint):
    with pytest.raises(DerainError, match=f"{complaint}$"):
        ALL[name](**options)


def test_a_loss_has_its_own_options_beside_the_shared_ones(generator):
    """As a reader of CONTRIBUTING writes one; a module among the options is kept as a module."""

    class Weighed(Comparison):
        name = "weighed"
        weigh: torch.nn.Module = None

        def compare(self, estimate, truth):
            return (self.weigh(estimate) - truth).abs().mean(1, keepdim=True)

    layers, pair = some_layers(generator)
    term = Weighed(on="rain", weigh=torch.nn.Conv2d(3, 3, 1))
    assert [name for name, _ in term.named_parameters()] == ["weigh.weight", "weigh.bias"]
    assert term(layers, pair).item() == pytest.approx((term.weigh(layers.rain) - pair.rain).abs().mean().item())


def test_ssim_stays_in_float32_under_autocast(generator):
    layers, pair = some_layers(generator)
    exact = NegativeSSIM()(layers, pair)
    with torch.autocast("cpu", torch.bfloat16):
        assert NegativeSSIM()(layers, pair).item() == pytest.approx(exact.item(), abs=1e-6)
