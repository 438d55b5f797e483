"""Derivatives, densities and fits against SciPy; the Levin–Weiss test on distributions whose answer is known."""

import time

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import integrate, ndimage, optimize, stats

from derainlib import rain, sparsity
from derainlib.data import pairs, samples
from derainlib.errors import DerainError, ImageError
from derainlib.sparsity import FILTERS, Experiment, LogHistogram, Statistics
from derainlib.workshop import one_thread

KERNELS = {
    "horizontal": ([0, -1, 1], -1),
    "vertical": ([0, -1, 1], -2),
    "second horizontal": ([1, -2, 1], -1),
    "second vertical": ([1, -2, 1], -2),
}
PIXELS = 481 * 321


def random_image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- derivatives ------------------------------------------------------------------------------------------------


def test_derivatives_are_scipys_correlations():
    image = random_image(2, 3, 7, 9)
    result = sparsity.derivatives(image)
    assert result.shape == (2, 4, 3, 7, 9)
    for place, name in enumerate(FILTERS):
        weights, axis = KERNELS[name]
        expected = ndimage.correlate1d(image.numpy(), np.array(weights, float), axis=axis, mode="nearest")
        np.testing.assert_allclose(result[:, place].numpy(), expected, atol=1e-12)


def test_derivatives_by_hand():
    image = torch.tensor([[1.0, 4.0, 9.0], [2.0, 2.0, 2.0]])[None, None]
    expected = {
        "horizontal": [[3, 5, 0], [0, 0, 0]],
        "vertical": [[1, -2, -7], [0, 0, 0]],
        "second horizontal": [[3, 2, -5], [0, 0, 0]],
        "second vertical": [[1, -2, -7], [-1, 2, 7]],
    }
    for name, values in zip(FILTERS, sparsity.derivatives(image)[0, :, 0].tolist(), strict=True):
        assert values == expected[name], name


def test_derivatives_are_differentiable():
    image = random_image(1, 1, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(sparsity.derivatives, image)


@pytest.mark.parametrize("shape", [(5, 5), (3, 5, 5), (1, 1, 3, 5, 5)])
def test_derivatives_want_a_batch(shape):
    with pytest.raises(DerainError, match="add the batch axis"):
        sparsity.derivatives(torch.zeros(shape))


# --- the paper's densities --------------------------------------------------------------------------------------


def test_eq_1_is_a_mixture_of_scipys_laplacians():
    x = np.linspace(-30, 30, 101)
    expected = 0.7 * stats.laplace.pdf(x, scale=2) + 0.3 * stats.laplace.pdf(x, scale=9)
    np.testing.assert_allclose(np.exp(sparsity.laplacian_mixture(x, (0.7, 0.3), (2, 9))), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.02, 1.0, 7.5])
def test_eq_2_is_scipys_laplacian(scale):
    x = torch.linspace(-3, 3, 41, dtype=torch.float64)
    expected = stats.laplace.logpdf(x.numpy(), scale=scale)
    np.testing.assert_allclose(sparsity.quasi_sparse(x, scale).numpy(), expected, rtol=1e-12)


def test_eq_3_multiplies_over_filters_and_pixels():
    image = random_image(2, 3, 6, 8)
    sums = [
        stats.laplace.logpdf(
            ndimage.correlate1d(image.numpy(), np.array(weights, float), axis=axis, mode="nearest"), scale=0.1
        ).sum((1, 2, 3))
        for weights, axis in KERNELS.values()
    ]
    np.testing.assert_allclose(sparsity.log_prior(image, 0.1).numpy(), sum(sums), rtol=1e-12)


def test_a_flat_image_is_the_most_probable():
    flat, other = torch.full((1, 3, 8, 8), 0.4), random_image(1, 3, 8, 8)
    assert sparsity.log_prior(flat, 0.1) > sparsity.log_prior(other, 0.1)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan")])
def test_a_scale_is_positive(scale):
    with pytest.raises(DerainError, match="above 0"):
        sparsity.quasi_sparse(torch.zeros(3), scale)


# --- grey levels ------------------------------------------------------------------------------------------------


def test_luminance_by_hand():
    image = torch.zeros(3, 64, 64)
    image[:, 0, 0] = torch.tensor([10, 20, 30]) / 255  # 2.99 + 11.74 + 3.42 = 18.15
    image[:, 0, 1] = torch.tensor([200, 100, 7]) / 255  # 59.8 + 58.7 + 0.798 = 119.298
    image[:, 0, 2] = -torch.tensor([10, 20, 30]) / 255
    assert sparsity.luminance(image)[0, :4].tolist() == [18, 119, -18, 0]


def test_a_grey_image_keeps_its_levels():
    levels = torch.arange(64 * 64).view(64, 64) % 256
    grey = (levels / 255).expand(3, -1, -1)
    for image in (grey, grey[None], grey[:1]):
        assert (sparsity.luminance(image) == levels.numpy()).all()


def test_responses_are_derivatives_inside_the_image():
    image = samples.load("chelsea-light").rainy
    grey = torch.from_numpy(sparsity.luminance(image)).double()[None, None]
    inside = (np.s_[:, :-1], np.s_[:-1], np.s_[:, 1:-1], np.s_[1:-1])
    found = sparsity.responses(image)
    assert tuple(found) == FILTERS
    for part, whole, (name, values) in zip(inside, sparsity.derivatives(grey)[0, :, 0], found.items(), strict=True):
        assert (values == whole.numpy()[part]).all(), name


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 63, 200), "63 x 200 pixels are too few"),
        (torch.zeros(2, 3, 80, 80), "has no luminance"),
        (torch.zeros(4, 80, 80), "has no luminance"),
        (torch.zeros(80, 80), "has no luminance"),
        (torch.full((3, 80, 80), torch.nan), "not finite"),
    ],
)
def test_what_has_no_statistics_is_refused(image, message):
    with pytest.raises(ImageError, match=message) as caught:
        sparsity.examine(image)
    assert "\n" not in str(caught.value)


# --- log-histograms ---------------------------------------------------------------------------------------------


def test_histogram_by_hand():
    values = np.repeat([-9, -3, -2, -1, 0, 1, 2, 3, 6, 7], [1, 1, 1, 3, 9, 4, 2, 1, 1, 1])
    histogram = sparsity.log_histogram(values, least=2)
    # Left of 0: three of -1; -2 and -3 join; -9 is a single one and left out. Right: 1; 2; 3 to 6 join; 7 is left out.
    assert histogram.level.tolist() == [-2.5, -1, 0, 1, 2, 4.5]
    assert histogram.width.tolist() == [2, 1, 1, 1, 1, 4]
    assert histogram.count.tolist() == [2, 3, 9, 4, 2, 2]
    assert (histogram.peak, histogram.total) == (2, 24)
    np.testing.assert_allclose(np.exp(histogram.log_density) * 24, [1, 3, 9, 4, 2, 0.5])


def test_a_bin_a_level_where_values_are_many():
    values = np.random.default_rng(0).integers(-5, 6, 10_000)
    histogram = sparsity.log_histogram(values)
    counted, _ = np.histogram(values, np.arange(-5.5, 6))
    assert histogram.level.tolist() == list(range(-5, 6))
    assert histogram.count.tolist() == counted.tolist()


def test_fractions_are_rounded():
    given = sparsity.log_histogram(np.array([0.2, -0.3, 1.4, 0.9]), least=1)
    assert (given.level.tolist(), given.count.tolist()) == ([0, 1], [2, 2])


def test_nothing_is_lost_but_the_ends():
    values = np.rint(np.random.default_rng(1).standard_t(1.5, 50_000) * 4)
    histogram = sparsity.log_histogram(values, least=100)
    assert 0 <= histogram.total - histogram.count.sum() < 200
    assert (np.delete(histogram.count, histogram.peak) >= 100).all()
    np.testing.assert_allclose(np.diff(histogram.level), (histogram.width[1:] + histogram.width[:-1]) / 2)


@pytest.mark.parametrize(
    ("values", "least", "message"),
    [
        ([], 100, "needs values"),
        ([0, np.nan], 100, "all of them finite"),
        ([0, np.inf], 100, "all of them finite"),
        ([0, 1e9], 100, "no grey levels"),
        ([0, 1], 0, "give 1 or more"),
    ],
)
def test_bad_values_are_refused(values, least, message):
    with pytest.raises(DerainError, match=message):
        sparsity.log_histogram(np.array(values), least)


# --- the Levin–Weiss test ---------------------------------------------------------------------------------------


def exact(log_density, ends: tuple[int, int]) -> LogHistogram:
    """The log-histogram of a density, without noise and without rounding."""
    level = np.arange(ends[0], ends[1] + 1)
    count = np.exp(np.array([log_density(x) for x in level], dtype=np.float64))
    return LogHistogram(level, np.ones(len(level)), count, peak=-ends[0], total=1)


@pytest.mark.parametrize(
    ("log_density", "bulge"),
    [
        (lambda x: -(x**2) / 200, 0.25),  # a parabola: x (1 − x) of the drop, at its highest in the middle
        (lambda x: -abs(x) / 7, 0),
        (lambda x: -(abs(x) ** 3) / 90_000, 2 / 3**1.5),  # u − u³ at u = 1/√3
        (lambda x: -(abs(x) ** 0.5), 0.99 - 0.99**0.5),  # u − √u is highest next to the end
    ],
)
def test_bulge_of_exact_densities(log_density, bulge):
    verdict = sparsity.levin_weiss(exact(log_density, (-100, 100)))
    assert verdict.left == pytest.approx(verdict.right, abs=1e-12)
    assert verdict.bulge == pytest.approx(bulge, abs=1e-4)
    assert verdict.sparse == (bulge <= 0)


def test_each_side_has_its_line():
    lopsided = exact(lambda x: -(x**2) / 50 if x < 0 else -((3 * x) ** 0.5), (-40, 40))
    verdict = sparsity.levin_weiss(lopsided)
    assert not verdict.sparse
    assert verdict.left == pytest.approx(0.25)
    assert verdict.right < 0


def test_the_line_joins_peak_and_ends():
    histogram = exact(lambda x: -(x**2) / 50, (-10, 20))
    assert histogram.line[[0, 10, 30]] == pytest.approx([-2, 0, -8])
    assert histogram.line[[5, 20]] == pytest.approx([-1, -4])


def drawn(kind: str, scale: float, rng: np.random.Generator) -> np.ndarray:
    """As many values as a 481 x 321 photograph has pixels, rounded to grey levels."""
    signs = rng.choice([-1, 1], PIXELS)
    values = {
        "gaussian": lambda: rng.normal(0, scale, PIXELS),
        "laplacian": lambda: rng.laplace(0, scale, PIXELS),
        "mixture": lambda: rng.laplace(0, np.where(rng.random(PIXELS) < 0.7, scale, 6 * scale)),
        "exponent 0.6": lambda: signs * scale * rng.gamma(1 / 0.6, 1, PIXELS) ** (1 / 0.6),
        "exponent 1.4": lambda: signs * scale * rng.gamma(1 / 1.4, 1, PIXELS) ** (1 / 1.4),
        "uniform": lambda: rng.uniform(-4 * scale, 4 * scale, PIXELS),
    }
    return np.rint(values[kind]()).clip(-1020, 1020)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("kind", "scale", "low", "high"),
    [
        ("gaussian", 2, 0.2, 0.3),
        ("gaussian", 8, 0.2, 0.3),
        ("gaussian", 30, 0.2, 0.33),
        ("exponent 1.4", 8, 0.09, 0.18),
        ("uniform", 8, 0.33, np.inf),
        ("laplacian", 1.5, 0, 0.065),
        ("laplacian", 8, 0, 0.065),
        ("laplacian", 25, 0, 0.065),
        ("mixture", 2, -0.06, 0),
        ("mixture", 5, -0.06, 0),
        ("exponent 0.6", 2, -0.06, 0),
    ],
)
def test_bulge_of_samples(kind, scale, low, high, seed):
    verdict = sparsity.levin_weiss(sparsity.log_histogram(drawn(kind, scale, np.random.default_rng(seed))))
    assert low <= verdict.bulge <= high
    if kind != "laplacian":  # the borderline may fall on either side
        assert verdict.sparse == (high <= 0)


def test_the_tolerance_decides():
    gaussian = exact(lambda x: -(x**2) / 200, (-50, 50))
    assert not sparsity.levin_weiss(gaussian, tolerance=0.24).sparse
    assert sparsity.levin_weiss(gaussian, tolerance=0.26).sparse


def test_a_constant_image_is_sparse():
    found = sparsity.examine(torch.full((1, 3, 64, 64), 0.5), "grey")
    assert found == Statistics("grey", (0, 0, 0, 0), contrast=0, entropy=0)
    assert found.sparse()


def test_contrast_and_entropy_by_hand():
    image = torch.zeros(3, 64, 80)
    image[:, :, 40:] = 100 / 255
    found = sparsity.examine(image)
    assert (found.contrast, found.entropy) == (50, 1)


def test_photographs_are_sparse_and_noise_is_not():
    for name in samples.PHOTOGRAPHS:
        assert sparsity.examine(samples.photograph(name)).sparse(), name
    noise = 0.5 + 0.05 * torch.randn(1, 3, 321, 481, generator=torch.Generator().manual_seed(0))
    assert sparsity.examine(noise).bulges == pytest.approx((0.25,) * 4, abs=0.06)


# --- fits -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_laplacians() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.laplace(0, np.where(rng.random(40_000) < 0.6, 3, 15))


def test_single_fits_are_scipys(two_laplacians):
    for fit, family in ((sparsity.fit_gaussian, stats.norm), (sparsity.fit_laplacian, stats.laplace)):
        found = fit(two_laplacians)
        _, scale = family.fit(two_laplacians, floc=0)
        assert found.scales == pytest.approx((scale,), rel=1e-6)
        assert found.log_likelihood == pytest.approx(family.logpdf(two_laplacians, scale=scale).sum(), rel=1e-9)
        assert found.values == two_laplacians.size
        np.testing.assert_allclose(found.log_density([0.0, 5]), family.logpdf([0, 5], scale=scale), rtol=1e-6)


def test_em_finds_what_drew_the_values(two_laplacians):
    found = sparsity.fit_laplacian_mixture(two_laplacians)
    assert found.weights == pytest.approx((0.6, 0.4), abs=0.02)
    assert found.scales == pytest.approx((3, 15), rel=0.03)
    mixture = 0.6 * stats.laplace.pdf(two_laplacians, scale=3) + 0.4 * stats.laplace.pdf(two_laplacians, scale=15)
    truth = np.log(mixture).sum()
    assert truth < found.log_likelihood < truth + 12  # the maximum is above the truth, by about 3/2 on average


def test_em_finds_gaussian_scales():
    rng = np.random.default_rng(3)
    values = rng.normal(0, np.where(rng.random(40_000) < 0.3, 2, 20))
    found = sparsity.fit_gaussian_scale_mixture(values, components=2)
    assert found.weights == pytest.approx((0.3, 0.7), abs=0.02)
    assert found.scales == pytest.approx((2, 20), rel=0.03)


def test_em_reaches_the_maximum_that_scipy_finds(two_laplacians):
    values = two_laplacians[:3000]

    def loss(p):
        weight, scales = 1 / (1 + np.exp(-p[0])), np.exp(p[1:])
        first, second = (stats.laplace.pdf(values, scale=scale) for scale in scales)
        return -np.log(weight * first + (1 - weight) * second).sum()

    best = optimize.minimize(loss, [0, 0, 3], method="Nelder-Mead", options={"maxiter": 2000, "fatol": 1e-6})
    assert sparsity.fit_laplacian_mixture(values).log_likelihood == pytest.approx(-best.fun, abs=0.05)


@pytest.mark.parametrize("fit", [sparsity.fit_laplacian_mixture, sparsity.fit_gaussian_scale_mixture])
@pytest.mark.parametrize("kind", ["continuous", "whole", "mostly zero", "all zero", "photograph"])
def test_em_never_falls(fit, kind, two_laplacians):
    zeros = np.where(np.random.default_rng(1).random(two_laplacians.size) < 0.9, 0, two_laplacians)
    values = {
        "continuous": two_laplacians[:5000],
        "whole": np.rint(two_laplacians),
        "mostly zero": np.rint(zeros),
        "all zero": np.zeros(500),
        "photograph": sparsity.responses(samples.load("coffee-heavy").rainy)["second vertical"],
    }[kind]
    found = fit(values)
    assert len(found.history) > 1
    assert (np.diff(found.history) >= -1e-9 * abs(found.log_likelihood)).all()
    assert found.log_likelihood == found.history[-1] == pytest.approx(found.log_density(values).sum(), rel=1e-9)
    assert sum(found.weights) == pytest.approx(1)
    assert list(found.scales) == sorted(found.scales)


@pytest.mark.parametrize(
    ("kind", "best"), [("gaussian", "Gaussian"), ("laplacian", "Laplacian"), ("mixture", "two Laplacians")]
)
def test_the_family_that_drew_the_values_has_the_best_bic(kind, best):
    found = sparsity.fits(drawn(kind, 8, np.random.default_rng(0)))
    assert min(found, key=lambda fit: fit.bic).name == best
    gaussian, laplacian, two, several = (fit.mean for fit in found)
    assert two >= laplacian - 1e-6  # a mixture contains its single density
    assert several >= gaussian - 1e-6


def test_a_fit_is_a_probability(two_laplacians):
    for fit in sparsity.fits(two_laplacians[:4000]):
        half, _ = integrate.quad(lambda x, fit=fit: np.exp(fit.log_density(x)), 0, 400, limit=200)
        assert half == pytest.approx(0.5, abs=1e-6)


def test_no_level_gets_more_than_the_whole_probability():
    for fit in sparsity.fits(np.zeros(1000)):
        assert fit.log_density(0.0) == pytest.approx(0, abs=1e-9)
        assert fit.log_likelihood == pytest.approx(0, abs=1e-6)


def test_the_step_is_the_unit_of_the_values(two_laplacians):
    levels = np.rint(two_laplacians)
    for coarse, fine in zip(sparsity.fits(levels), sparsity.fits(levels / 255, step=1 / 255), strict=True):
        assert fine.scales == pytest.approx(np.array(coarse.scales) / 255, rel=1e-3)
        assert fine.mean == pytest.approx(coarse.mean + np.log(255), abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sparsity.fit_gaussian([]), "needs values"),
        (lambda: sparsity.fit_laplacian_mixture([0.0, np.nan]), "all of them finite"),
        (lambda: sparsity.fits([1.0], step=0), "the step is 0"),
        (lambda: sparsity.fit_gaussian_scale_mixture([1.0], components=1), "2 components or more"),
    ],
)
def test_bad_fits_are_refused(call, message):
    with pytest.raises(DerainError, match=message):
        call()


# --- the experiment ---------------------------------------------------------------------------------------------


def save(image: torch.Tensor, path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three photographs, one of them in a folder of its own, a picture of noise, a broken file and a text."""
    for name in ("coffee", "rocket"):
        save(samples.photograph(name), tmp_path / f"{name}.png")
    save(samples.photograph("astronaut"), tmp_path / "more" / "astronaut.jpg")
    noise = torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    save(0.5 + 0.05 * noise, tmp_path / "noise.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG, not quite")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_experiment_over_a_folder(folder, capsys):
    found = sparsity.experiment(folder, progress=True)
    assert found.share == 0.75
    assert found.by_filter == dict.fromkeys(FILTERS, 0.75)
    assert [record.name for record in found.not_sparse] == [str(folder / "noise.png")]
    assert {record.name for record in found.sparse} == {
        str(folder / name) for name in ("coffee.png", "rocket.png", "more/astronaut.jpg")
    }
    assert list(found.failed) == [str(folder / "broken.png")]
    assert "5/5" in capsys.readouterr().err
    text = str(found).splitlines()
    assert text[0] == "75.0% of 4 images are sparse"
    assert f"contrast {found.not_sparse[0].contrast:5.1f}: {folder / 'noise.png'}" in text[-2]
    assert str(folder / "broken.png") in text[-1]


def test_experiment_on_images_in_memory():
    scenes = [(name, samples.photograph(name)) for name in samples.PHOTOGRAPHS]
    found = sparsity.experiment(scenes)
    assert found.records == tuple(sparsity.examine(image, name) for name, image in scenes)


def test_shares_by_hand():
    bulges = [(0.0, 0.0, 0.0, 0.0), (0.2, 0.0, 0.0, 0.0), (0.0, 0.06, 0.3, 0.04), (-0.1, -0.1, -0.1, 0.05)]
    found = Experiment(tuple(Statistics(str(n), b, contrast=10 * n, entropy=5) for n, b in enumerate(bulges)))
    assert found.share == 0.5
    assert list(found.by_filter.values()) == [0.75, 0.75, 0.75, 1]
    assert [record.name for record in found.not_sparse] == ["2", "1"]
    assert "mean contrast 15.0 grey levels: 2 sparse\nmean contrast 15.0 grey levels: 2 not sparse" in str(found)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda path: path / "nowhere", "there is no folder"),
        (lambda path: path, "there are no images"),
        (lambda path: [], "the list is empty"),
        (lambda path: [("tiny", torch.zeros(3, 20, 20))], "nothing can be examined; tiny: 20 x 20 pixels are too few"),
    ],
)
def test_an_experiment_without_images_is_refused(tmp_path, source, message):
    with pytest.raises(DerainError, match=message) as caught:
        sparsity.experiment(source(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="the speed of processors with vector instructions"
)
def test_twenty_images_a_second(tmp_path):
    scene = rain.add_rain(samples.photograph("astronaut")[..., :321, :481], "light", [rain.generator(0)]).rainy
    save(scene, tmp_path / "481x321.jpg")
    seconds = []
    with one_thread():  # whose time is the processor's, whatever else the machine does
        for _ in range(15):
            start = time.process_time()
            sparsity.experiment(tmp_path)
            seconds.append(time.process_time() - start)
    assert min(seconds) < 1 / 20


@pytest.mark.parametrize(("part", "low"), [("bsds500/test", 0.9), ("rain100l/rain", 0.85)])
def test_most_photographs_are_sparse(derain_data, part, low):
    files = pairs.photographs(derain_data / part)[:60]
    with_names = ((path.name, sparsity.images.read(path)) for path in files)
    assert low <= sparsity.experiment(with_names).share < 1
