"""Eq. 4 of PHPNet against NumPy; brightness does not matter, and black is no trap."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from derainlib.layers import Layers, Pair
from derainlib.losses import Colour
from derainlib.losses.colour import BLACK

RED, GREEN, GREY, BLACK_PIXEL = [0.8, 0.0, 0.0], [0.0, 0.5, 0.0], [0.4, 0.4, 0.4], [0.0, 0.0, 0.0]

channel = st.floats(0, 1, width=32)
pixel = st.tuples(channel, channel, channel)
visible = pixel.filter(lambda rgb: np.linalg.norm(rgb) > 0.02)
seldom_black = st.lists(st.one_of(pixel, st.just((0.0, 0.0, 0.0))), min_size=1, max_size=12)


def a_row(pixels) -> torch.Tensor:
    """Pixels side by side: n RGB triples → (1, 3, 1, n) in float64."""
    return torch.tensor(np.array(pixels, dtype=np.float64).T[None, :, None])


def colour(estimate: torch.Tensor, truth: torch.Tensor, **options) -> float:
    return Colour(**options)(Layers(estimate, truth - estimate), Pair(truth, truth)).item()


def eq_4(estimate: torch.Tensor, truth: torch.Tensor) -> float:
    """One minus the mean over images and pixels, in a loop."""
    cosines = []
    for image, expected in zip(estimate.numpy(), truth.numpy(), strict=True):
        for place in np.ndindex(image.shape[1:]):
            x, y = image[:, *place], expected[:, *place]
            cosines.append(x @ y / (np.sqrt(x @ x) * np.sqrt(y @ y)))
    return 1 - sum(cosines) / len(cosines)


def test_it_is_eq_4(generator):
    estimate, truth = (torch.rand(2, 3, 6, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    assert colour(estimate, truth) == pytest.approx(eq_4(estimate, truth), rel=1e-12)
    assert colour(estimate - 0.5, truth) == pytest.approx(eq_4(estimate - 0.5, truth), rel=1e-12)  # not clamped


@pytest.mark.parametrize(
    ("estimate", "truth", "expected"),
    [
        (RED, RED, 0),
        (RED, [0.1, 0, 0], 0),
        (RED, GREEN, 1),
        ([-0.2, 0, 0], RED, 2),
        (GREY, RED, 1 - 1 / np.sqrt(3)),
        ([0.3, 0.4, 0], RED, 1 - 0.6),
        (BLACK_PIXEL, RED, 1),
        (RED, BLACK_PIXEL, 0),
        (BLACK_PIXEL, BLACK_PIXEL, 0),
        ([BLACK / 4, 0, 0], RED, 1 - 0.25),
        ([0.1 / 255, 0, 0], RED, 1 - 0.2),
        (RED, [0.51 / 255, 0, 0], 0),
        (GREEN, [0.51 / 255, 0, 0], 1),
        (GREEN, [0.49 / 255, 0, 0], 0),
    ],
)
def test_values_by_hand(estimate, truth, expected):
    assert colour(a_row([estimate]), a_row([truth])) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("darkest", [0.0, 1e-4, 1e-3])
def test_dark_estimates_are_as_torch_has_them(generator, darkest):
    """Its cosine too divides by the floor in place of a shorter length."""
    estimate, truth = (torch.rand(1, 3, 5, 6, generator=generator, dtype=torch.float64) + 0.01 for _ in range(2))
    estimate *= torch.where(torch.rand(1, 1, 5, 6, generator=generator) < 0.5, darkest, 1.0)
    expected = 1 - F.cosine_similarity(estimate, truth, dim=1, eps=BLACK).mean().item()
    assert colour(estimate, truth) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=50)
@given(
    pixels=st.lists(st.tuples(visible, visible, st.floats(0.2, 5), st.floats(0.2, 5)), min_size=1, max_size=12),
)
def test_brightness_does_not_matter(pixels):
    """Each pixel of the estimate and of the truth may be made darker or brighter by a factor of its own."""
    estimate, truth = a_row([p[0] for p in pixels]), a_row([p[1] for p in pixels])
    dimmed, exposed = (torch.tensor([p[i] for p in pixels], dtype=torch.float64) for i in (2, 3))
    assert colour(estimate * dimmed, truth * exposed) == pytest.approx(colour(estimate, truth), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(estimate=seldom_black, truth=seldom_black, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_value_and_gradient_are_finite_and_bounded(estimate, truth, dtype):
    """Black pixels included: a gradient is never longer than 1/(black N), by the plane that takes over there."""
    count = min(len(estimate), len(truth))
    image, expected = (a_row(pixels[:count]).to(dtype) for pixels in (estimate, truth))
    image.requires_grad_()
    value = Colour()(Layers(image, expected), Pair(expected, expected))
    value.backward()
    assert -1e-6 <= value <= 2 + 1e-6
    assert image.grad.norm(dim=1).max() <= (1 + 1e-5) / (BLACK * count)


@settings(deadline=None, max_examples=50)
@given(truth=st.lists(pixel, min_size=1, max_size=12), brightness=st.floats(0.01, 1))
def test_the_true_colours_are_the_minimum(truth, brightness):
    """At any brightness, down to what counts as black; the value there has no noise of rounding."""
    expected = a_row(truth).float()
    lengths = expected.norm(dim=1, keepdim=True)
    estimate = torch.where(lengths * brightness > BLACK, expected * brightness, expected)
    assert 0 <= colour(estimate, expected) < 1e-12


def test_a_black_estimate_is_turned_towards_the_true_colour():
    """Its gradient by hand: −(unit vector of the truth) / black, over two pixels."""
    estimate = a_row([BLACK_PIXEL, RED]).requires_grad_()
    Colour()(Layers(estimate, estimate), Pair(estimate, a_row([[0.3, 0.4, 0.0], RED]))).backward()
    torch.testing.assert_close(estimate.grad[0, :, 0, 0], -torch.tensor([0.6, 0.8, 0.0]).double() / BLACK / 2)
    torch.testing.assert_close(estimate.grad[0, :, 0, 1], torch.zeros(3).double())


def test_a_black_truth_asks_for_nothing():
    estimate = a_row([RED, GREY, BLACK_PIXEL]).requires_grad_()
    Colour()(Layers(estimate, estimate), Pair(estimate, a_row([BLACK_PIXEL] * 3))).backward()
    assert not estimate.grad.any()


def test_gradients_match_finite_differences(generator):
    truth = torch.rand(1, 3, 4, 5, generator=generator, dtype=torch.float64)
    estimate = torch.rand(1, 3, 4, 5, generator=generator, dtype=torch.float64)
    estimate[..., 0] = 0
    estimate[..., 1] *= BLACK / 4
    estimate.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Colour()(Layers(x, x), Pair(truth, truth)), estimate)


def test_a_gradient_never_changes_brightness(generator):
    """It stands at a right angle to the pixel's own vector."""
    estimate, truth = (torch.rand(1, 3, 8, 8, generator=generator, dtype=torch.float64) + 0.01 for _ in range(2))
    estimate.requires_grad_()
    Colour()(Layers(estimate, estimate), Pair(truth, truth)).backward()
    assert (estimate * estimate.grad).sum(1).abs().max() < 1e-14 < estimate.grad.norm(dim=1).min()


def test_the_map_is_the_share_of_each_pixel():
    estimate, truth = a_row([RED, RED, GREY]), a_row([GREEN, RED, BLACK_PIXEL])
    picture = Colour().map(Layers(estimate, estimate), Pair(truth, truth))
    assert picture.shape == (1, 1, 1, 3)
    assert picture.flatten().tolist() == pytest.approx([1, 0, 0], abs=1e-12)


def test_it_acts_on_the_coarse_output_where_there_is_one(generator):
    background, coarse, truth = (torch.rand(1, 3, 5, 6, generator=generator, dtype=torch.float64) for _ in range(3))
    layers, pair = Layers(background, background, extras={"coarse": coarse}), Pair(truth, truth)
    assert Colour()(layers, pair).item() == pytest.approx(eq_4(coarse, truth), rel=1e-12)
    assert Colour(on="background")(layers, pair).item() == pytest.approx(eq_4(background, truth), rel=1e-12)
    assert Colour()(layers._replace(extras=None), pair).item() == pytest.approx(eq_4(background, truth), rel=1e-12)
