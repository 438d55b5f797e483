"""Scores against hand-worked numbers, a plain NumPy SSIM, scikit-image and kornia."""

import dataclasses
import math

import kornia
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import data as photographs
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from derainlib import metrics
from derainlib.errors import DerainError, ImageError
from derainlib.metrics import PROTOCOLS, Confusion, Protocol, luma, psnr, shrink, ssim, ssim_map


def grey(value: float, size: tuple[int, int] = (16, 20)) -> torch.Tensor:
    """One image of a single grey."""
    return torch.full((1, 3, *size), value, dtype=torch.float64)


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """A real photograph with even and odd sides, (1, 3, 140, 151) float32."""
    crop = photographs.astronaut()[50:190, 100:251].copy()
    return torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def noisy(photo) -> torch.Tensor:
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))
    return (photo + 0.06 * noise).clamp(0, 1)


def to_numpy(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).double().numpy()


def loop_ssim(a: np.ndarray, b: np.ndarray, window: int, sigma: float) -> np.ndarray:
    """Wang et al.'s formula pixel by pixel over one channel with zeros around it, moments as defined."""
    half = window // 2
    weights = np.array(
        [[math.exp(-(x * x + y * y) / (2 * sigma**2)) for x in range(-half, half + 1)] for y in range(-half, half + 1)]
    )
    weights /= weights.sum()
    a, b = np.pad(a, half), np.pad(b, half)
    result = np.empty((a.shape[0] - 2 * half, a.shape[1] - 2 * half))
    for i, j in np.ndindex(result.shape):
        p, q = a[i : i + window, j : j + window], b[i : i + window, j : j + window]
        mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
        var_p, var_q = (weights * (p - mean_p) ** 2).sum(), (weights * (q - mean_q) ** 2).sum()
        cov = (weights * (p - mean_p) * (q - mean_q)).sum()
        result[i, j] = (2 * mean_p * mean_q + 1e-4) * (2 * cov + 9e-4)
        result[i, j] /= (mean_p**2 + mean_q**2 + 1e-4) * (var_p + var_q + 9e-4)
    return result


class TestLuma:
    @pytest.mark.parametrize(
        ("colour", "expected"),
        [
            ((0, 0, 0), 16),
            ((1, 1, 1), 235),
            ((1, 0, 0), 81.481),
            ((0, 1, 0), 144.553),
            ((0, 0, 1), 40.966),
            ((0.5, 0.5, 0.5), 125.5),
        ],
    )
    def test_matlab_values(self, colour, expected):
        image = torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1)
        assert luma(image).item() * 255 == pytest.approx(expected, abs=1e-9)

    def test_agrees_with_scikit_image(self, photo):
        from skimage.color import rgb2ycbcr

        np.testing.assert_allclose(luma(photo.double())[0, 0] * 255, rgb2ycbcr(to_numpy(photo))[..., 0], atol=1e-9)


class TestPSNR:
    @pytest.mark.parametrize(("error", "expected"), [(0.1, 20), (0.01, 40), (0.001, 60), (1 / 255, 48.1308)])
    def test_known_error(self, error, expected):
        assert psnr(grey(0.5 + error), grey(0.5)).item() == pytest.approx(expected, abs=1e-4)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_identical_images_are_infinitely_close(self, photo, protocol):
        assert psnr(photo, photo, protocol).item() == math.inf

    def test_every_8_bit_number_survives_every_protocol(self):
        ramp = (torch.arange(256.0) / 255).view(1, 1, 16, 16).expand(1, 3, 16, 16)
        for protocol in PROTOCOLS:
            assert psnr(ramp, ramp, protocol).item() == math.inf

    def test_grey_errors_gain_1_32_db_on_luma(self):
        rgb, y = (psnr(grey(0.6), grey(0.5), p).item() for p in ("rgb", "y"))
        assert y - rgb == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)
        assert y - rgb == pytest.approx(1.322, abs=5e-4)

    def test_one_score_per_image(self):
        scores = psnr(torch.cat([grey(0.6), grey(0.51)]), torch.cat([grey(0.5), grey(0.5)]))
        torch.testing.assert_close(scores, torch.tensor([20.0, 40.0], dtype=torch.float64))

    def test_agrees_with_scikit_image_and_kornia(self, photo, noisy):
        reference = peak_signal_noise_ratio(to_numpy(photo), to_numpy(noisy), data_range=1.0)
        assert psnr(noisy, photo).item() == pytest.approx(reference, abs=1e-6)
        assert psnr(noisy, photo).item() == pytest.approx(kornia.metrics.psnr(noisy, photo, 1.0).item(), abs=1e-4)

    def test_luma_agrees_with_scikit_image(self, photo, noisy):
        from skimage.color import rgb2ycbcr

        y = [rgb2ycbcr(to_numpy(image))[..., 0] for image in (photo, noisy)]
        assert psnr(noisy, photo, "y").item() == pytest.approx(peak_signal_noise_ratio(*y, data_range=255), abs=1e-6)

    def test_estimate_is_clamped(self):
        assert psnr(grey(1.7), grey(1.0)).item() == math.inf

    @pytest.mark.parametrize(("quantise", "number"), [("none", 100.6), ("round", 101), ("truncate", 100)])
    def test_quantised_to_8_bits(self, quantise, number):
        protocol = dataclasses.replace(PROTOCOLS["rgb"], quantise=quantise)
        expected = 20 * math.log10(255 / (number - 90))
        assert psnr(grey(100.6 / 255), grey(90 / 255), protocol).item() == pytest.approx(expected, abs=1e-9)

    def test_truncation_costs_what_is_claimed(self, photo):
        truth = (0.1 + 0.8 * photo).mul(255).round() / 255
        # Luma averages the independent noise of three channels: σ of 0.0174 leaves 0.01, which is 40 dB.
        noise = 0.0174 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(2))
        kept, cut = (psnr(truth + noise, truth, p).item() for p in ("y", "y-down"))
        assert kept == pytest.approx(40, abs=0.1)
        assert 0.08 < kept - cut <= 0.16

    def test_rounded_luma(self):
        # Grey 101 of 255 has luma 102.74, grey 90 has 93.29: rounded, they are 103 and 93.
        assert psnr(grey(101 / 255), grey(90 / 255), "y8").item() == pytest.approx(20 * math.log10(25.5), abs=1e-9)


class TestSSIM:
    @pytest.mark.parametrize(("a", "b"), [(0.2, 0.8), (0.0, 1.0), (0.5, 0.51)])
    @pytest.mark.parametrize("padding", ["valid", "reflect"])
    def test_constant_images_have_a_closed_form(self, a, b, padding):
        expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
        values = ssim_map(grey(a), grey(b), padding=padding)
        torch.testing.assert_close(values, torch.full_like(values, expected))

    @pytest.mark.parametrize("padding", ["valid", "zero", "reflect"])
    def test_map_shape(self, padding):
        a = torch.rand(2, 5, 17, 23)
        assert ssim_map(a, a, padding=padding).shape == ((2, 5, 7, 13) if padding == "valid" else a.shape)

    @pytest.mark.parametrize(("window", "sigma"), [(11, 1.5), (5, 0.8), (1, 1.0)])
    def test_zero_padding_agrees_with_plain_numpy(self, window, sigma):
        a, b = np.random.default_rng(0).random((2, 1, 2, 15, 13))
        expected = np.stack([loop_ssim(p, q, window, sigma) for p, q in zip(a[0], b[0], strict=True)])
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
            values = ssim_map(
                torch.from_numpy(a).to(dtype),
                torch.from_numpy(b).to(dtype),
                window=window,
                sigma=sigma,
                padding="zero",
            )
            np.testing.assert_allclose(values[0], expected, atol=tolerance)

    def test_paddings_agree_inside(self, photo, noisy):
        valid = ssim_map(photo, noisy)
        for padding in ("zero", "reflect"):
            torch.testing.assert_close(ssim_map(photo, noisy, padding=padding)[..., 5:-5, 5:-5], valid)

    def test_agrees_with_scikit_image(self, photo, noisy):
        _, reference = structural_similarity(
            to_numpy(photo), to_numpy(noisy), channel_axis=2, data_range=1.0, full=True,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )  # fmt: skip
        reference = reference[5:-5, 5:-5]
        values = ssim_map(photo.double(), noisy.double())[0].permute(1, 2, 0)
        np.testing.assert_allclose(values, reference, atol=1e-10)
        assert ssim(noisy, photo, "rgb").item() == pytest.approx(reference.mean(), abs=1e-10)

    def test_luma_agrees_with_scikit_image(self, photo, noisy):
        from skimage.color import rgb2ycbcr

        y = [rgb2ycbcr(to_numpy(image))[..., 0] for image in (photo, noisy)]
        reference = structural_similarity(
            *y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )  # scikit-image leaves out five pixels at each border from the mean
        assert ssim(noisy, photo, "y").item() == pytest.approx(reference, abs=1e-10)

    def test_agrees_with_kornia(self, photo, noisy):
        reference = kornia.metrics.ssim(photo, noisy, window_size=11, padding="valid")
        torch.testing.assert_close(ssim_map(photo, noisy), reference, atol=2e-4, rtol=0)

    def test_data_range_only_scales(self, photo, noisy):
        torch.testing.assert_close(
            ssim_map(255 * photo, 255 * noisy, data_range=255), ssim_map(photo, noisy), atol=1e-4, rtol=0
        )

    @pytest.mark.parametrize("noise", [0.05, 0.002])
    def test_float32_keeps_its_digits(self, photo, noise):
        other = photo + noise * torch.randn(photo.shape, generator=torch.Generator().manual_seed(3))
        exact = ssim_map(photo.double(), other.double(), padding="zero")
        values = ssim_map(photo, other, padding="zero").double()
        assert (values - exact).abs().max() < 2e-4
        assert (values - exact).mean().abs() < 5e-6

    @pytest.mark.parametrize("padding", ["valid", "zero", "reflect"])
    def test_gradient(self, padding, generator):
        a, b = torch.rand(2, 1, 2, 7, 8, dtype=torch.float64, generator=generator)
        a.requires_grad_(), b.requires_grad_()
        assert torch.autograd.gradcheck(lambda a, b: ssim_map(a, b, window=5, padding=padding), (a, b))

    def test_gradient_is_finite_at_equal_images(self):
        flat = grey(0.5).requires_grad_()
        ssim_map(flat, grey(0.5), padding="zero").mean().backward()
        assert flat.grad.abs().max() < 1e-12

    def test_autocast_does_not_reach_it(self, photo, noisy):
        expected = ssim_map(photo, noisy)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(ssim_map(photo, noisy), expected)

    def test_half_precision_is_raised(self, photo, noisy):
        a, b = photo.bfloat16(), noisy.bfloat16()
        assert torch.equal(ssim_map(a, b), ssim_map(a.float(), b.float()))

    def test_memory_format_does_not_matter(self, photo, noisy):
        a, b = (x.contiguous(memory_format=torch.channels_last) for x in (photo, noisy))
        torch.testing.assert_close(ssim_map(a, b), ssim_map(photo, noisy))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_cuda_keeps_its_digits(self, photo, noisy):
        torch.testing.assert_close(
            ssim_map(photo.cuda(), noisy.cuda()).cpu(), ssim_map(photo, noisy), atol=2e-4, rtol=0
        )


class TestShrink:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((64, 64), (64, 64)),
            ((383, 500), (383, 500)),
            ((384, 385), (192, 193)),  # 384 / 256 = 1.5 rounds up, as in MATLAB
            ((321, 481), (321, 481)),
            ((640, 641), (214, 214)),  # 2.5 rounds to 3, where Python would say 2
        ],
    )
    def test_size(self, size, expected):
        assert shrink(torch.zeros(1, 1, *size)).shape[-2:] == expected

    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_is_matlabs_imfilter(self, factor):
        side = 256 * factor + 1
        image = np.random.default_rng(0).random((side, side))
        # imfilter(image, ones(f)/f², 'symmetric') centres the box at its ⌊(f + 1)/2⌋th pixel.
        before = (factor + 1) // 2 - 1
        padded = np.pad(image, ((before, factor - 1 - before),) * 2, mode="symmetric")
        rows = range(0, side, factor)
        expected = [[padded[i : i + factor, j : j + factor].mean() for j in rows] for i in rows]
        np.testing.assert_allclose(shrink(torch.from_numpy(image)[None, None])[0, 0], expected, atol=1e-12)

    def test_protocol_applies_it_to_ssim_alone(self):
        truth = torch.rand(1, 3, 400, 400, generator=torch.Generator().manual_seed(4)).mul(255).round() / 255
        estimate = truth.flip(-1)
        whole = dataclasses.replace(PROTOCOLS["y-down"], shrink=False)
        assert psnr(estimate, truth, "y-down") == psnr(estimate, truth, whole)
        smaller = ssim_map(shrink(luma(estimate.double())), shrink(luma(truth.double()))).mean()
        assert ssim(estimate, truth, "y-down").item() == pytest.approx(smaller.item(), abs=1e-9)
        assert ssim(estimate, truth, "y-down") > ssim(estimate, truth, whole) + 0.005


class TestProtocols:
    def test_each_names_itself_and_says_who_uses_it(self):
        assert list(PROTOCOLS) == ["rgb", "rgb8", "y", "y-down", "y8"]
        for name, protocol in PROTOCOLS.items():
            assert protocol.name == name
            assert protocol.about.endswith(".")

    @pytest.mark.parametrize("name", ["psnr_rgb", "ssim_rgb", "psnr_y", "ssim_y", "ssim_y-down", "psnr_y8"])
    def test_scores_by_name(self, name, photo, noisy):
        measure, protocol = name.split("_")
        assert metrics.named(name)(noisy, photo) == getattr(metrics, measure)(noisy, photo, protocol)

    @pytest.mark.parametrize("name", ["psnr", "psnr_", "mse_rgb", "ssim_rgb_y", "y_psnr"])
    def test_unknown_score(self, name):
        with pytest.raises(DerainError, match="choose from psnr_rgb"):
            metrics.named(name)

    @pytest.mark.parametrize(
        "options",
        [{"channel": "ycbcr"}, {"quantise": "floor"}, {"channel": "rgb", "round_y": True}],
    )
    def test_contradictions_are_refused(self, options):
        with pytest.raises(DerainError, match="protocol mine"):
            Protocol("mine", "About.", **options)


class TestErrors:
    @pytest.mark.parametrize("measure", [psnr, ssim])
    @pytest.mark.parametrize(
        ("estimate", "truth", "message"),
        [
            (grey(0.5), grey(0.5, (16, 21)), "differ in shape"),
            (grey(0.5)[0], grey(0.5)[0], r"pass a single one as image\[None\]"),
            (grey(0.5)[:, :1], grey(0.5)[:, :1], "images are"),
            (grey(0.5)[:0], grey(0.5)[:0], "images are"),
            (grey(0.5), 255 * grey(0.5), r"spans 127.5 to 127.5; images are in \[0, 1\]"),
            (grey(0.5), grey(-0.1), "spans -0.1"),
            (grey(math.nan), grey(0.5), "estimate holds values that are not finite"),
            (grey(0.5), grey(math.inf), "truth holds values that are not finite"),
            (grey(0.5), grey(0.5).byte(), "truth holds torch.uint8; divide"),
        ],
    )
    def test_images(self, measure, estimate, truth, message):
        with pytest.raises(ImageError, match=message):
            measure(estimate, truth)

    @pytest.mark.parametrize("measure", [psnr, ssim])
    def test_what_resizing_rounds_is_no_error(self, measure):
        assert measure(grey(0.5), grey(1 + 2e-7)) == pytest.approx(measure(grey(0.5), grey(1.0)), rel=1e-5)
        with pytest.raises(ImageError, match=r"1\.00001"):
            measure(grey(0.5), grey(1.00001))

    @pytest.mark.parametrize("measure", [psnr, ssim])
    def test_unknown_protocol(self, measure):
        with pytest.raises(DerainError, match="choose from rgb, rgb8, y, y-down, y8"):
            measure(grey(0.5), grey(0.5), "yuv")

    def test_image_smaller_than_the_window(self):
        with pytest.raises(ImageError, match="needs 11x11 pixels; this image has 10x40"):
            ssim(grey(0.5, (10, 40)), grey(0.5, (10, 40)))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"window": 10}, "odd and positive, not 10"),
            ({"window": -1}, "odd and positive, not -1"),
            ({"sigma": 0}, "positive, not 0"),
            ({"data_range": -1.0}, "positive, not 1.5 and -1.0"),
            ({"padding": "same"}, "not 'same'"),
        ],
    )
    def test_window(self, options, message):
        with pytest.raises(DerainError, match=message):
            ssim_map(grey(0.5), grey(0.5), **options)

    def test_map_needs_equal_shapes(self):
        with pytest.raises(ImageError, match="compares two images"):
            ssim_map(grey(0.5), grey(0.5, (16, 21)))

    def test_reflection_needs_more_pixels_than_it_mirrors(self):
        small = torch.rand(1, 1, 5, 5)
        with pytest.raises(ImageError, match="needs 6x6"):
            ssim_map(small, small, padding="reflect")
        assert ssim_map(small, small, padding="zero").shape == small.shape


images = hnp.arrays(np.float64, (1, 3, 12, 13), elements=st.floats(0, 1))


class TestProperties:
    @settings(max_examples=40, deadline=None)
    @given(a=images, b=images)
    def test_ssim_is_symmetric_and_at_most_one(self, a, b):
        a, b = torch.from_numpy(a), torch.from_numpy(b)
        for padding in ("valid", "zero", "reflect"):
            forth, back = ssim_map(a, b, padding=padding), ssim_map(b, a, padding=padding)
            torch.testing.assert_close(forth, back)
            assert forth.abs().max() <= 1 + 1e-9

    @settings(max_examples=40, deadline=None)
    @given(a=images)
    def test_an_image_is_like_itself(self, a):
        a = torch.from_numpy(a)
        assert torch.equal(ssim_map(a, a), torch.ones(1, 3, 2, 3, dtype=torch.float64))

    @settings(max_examples=30, deadline=None)
    @given(weak=st.floats(1e-4, 0.2), factor=st.floats(1.01, 4), seed=st.integers(0, 99))
    def test_more_noise_scores_less(self, weak, factor, seed):
        strong = factor * weak
        truth = grey(0.5)
        noise = torch.rand(truth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 0.5
        for protocol in ("rgb", "y"):
            assert psnr(truth + weak * noise, truth, protocol) > psnr(truth + strong * noise, truth, protocol)
            assert ssim(truth + weak * noise, truth, protocol) > ssim(truth + strong * noise, truth, protocol)


class TestConfusion:
    """Segmentation: a matrix worked by hand, scikit-learn, and one count over many images."""

    def test_by_hand(self):
        confusion = Confusion(3)
        truth = torch.tensor([[0, 0, 0, 1], [1, 2, 255, 255]])
        predicted = torch.tensor([[0, 0, 1, 1], [1, 0, 2, 7]])
        confusion.update(predicted, truth)
        assert confusion.counts.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
        assert confusion.accuracy == pytest.approx(4 / 6)
        assert confusion.iou.tolist() == pytest.approx([2 / 4, 2 / 3, 0])
        assert confusion.miou == pytest.approx((2 / 4 + 2 / 3) / 3)

    @given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 5))
    @settings(max_examples=30, deadline=None)
    def test_against_scikit_learn(self, seed, classes, images):
        noise = np.random.default_rng(seed)
        truth = noise.integers(0, classes + 1, (images, 8, 9))
        truth[truth == classes] = 255
        predicted = noise.integers(0, classes, truth.shape)
        confusion = Confusion(classes)
        for one, other in zip(predicted, truth, strict=True):
            confusion.update(torch.from_numpy(one)[None], torch.from_numpy(other)[None])
        known, guess = truth[truth < 255], predicted[truth < 255]
        expected = confusion_matrix(known, guess, labels=range(classes))
        assert confusion.counts.tolist() == expected.tolist()
        assert confusion.accuracy == pytest.approx(accuracy_score(known, guess))
        occurring = sorted({*known} | {*guess})
        assert confusion.miou == pytest.approx(jaccard_score(known, guess, labels=occurring, average="macro"))

    def test_the_whole_set_is_not_the_mean_of_its_images(self):
        confusion = Confusion(2)
        confusion.update(torch.zeros(1, 1, 9, dtype=torch.int64), torch.zeros(1, 1, 9, dtype=torch.int64))
        confusion.update(torch.zeros(1, 1, 1, dtype=torch.int64), torch.ones(1, 1, 1, dtype=torch.int64))
        assert confusion.accuracy == pytest.approx(0.9)  # the images' own are 1 and 0
        assert confusion.miou == pytest.approx((9 / 10 + 0) / 2)

    def test_a_class_that_never_occurs_has_no_score(self):
        confusion = Confusion(3)
        confusion.update(torch.tensor([0, 2]), torch.tensor([0, 2]))
        assert confusion.iou.isnan().tolist() == [False, True, False]
        assert confusion.miou == 1

    def test_nothing_counted(self):
        confusion = Confusion(4)
        confusion.update(torch.zeros(2, 3, dtype=torch.uint8), torch.full((2, 3), 255, dtype=torch.uint8))
        assert math.isnan(confusion.accuracy)
        assert math.isnan(confusion.miou)

    @pytest.mark.parametrize(
        ("predicted", "truth", "message"),
        [
            (torch.zeros(2, 3).long(), torch.zeros(3, 2).long(), "differ in shape"),
            (torch.zeros(2, 3), torch.zeros(2, 3).long(), r"logits.argmax\(1\)"),
            (torch.full((2,), 3), torch.zeros(2).long(), "predicted spans 3 to 3; the 3 classes are 0 to 2"),
            (torch.zeros(2).long(), torch.full((2,), 11), "truth spans 11 to 11"),
            (torch.full((2,), -1), torch.zeros(2).long(), "predicted spans -1 to -1"),
        ],
    )
    def test_refused(self, predicted, truth, message):
        with pytest.raises(DerainError, match=message):
            Confusion(3).update(predicted, truth)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize("devices", [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
    def test_predictions_and_labels_on_any_device(self, devices):
        confusion = Confusion(2)
        confusion.update(torch.tensor([0, 1, 1]).to(devices[0]), torch.tensor([0, 0, 255]).to(devices[1]))
        assert confusion.counts.tolist() == [[1, 1], [0, 0]]

    @pytest.mark.parametrize("asked", [{"classes": 0}, {"classes": 2.0}, {"classes": 5, "ignored": 4}])
    def test_classes(self, asked):
        with pytest.raises(DerainError, match="class"):
            Confusion(**asked)
