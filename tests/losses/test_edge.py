"""The edge-aware loss, Eq. 5 and 6 of MENET, against NumPy with every tap by itself, and what it hears."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses import MSE, Edge
from derainlib.losses.edge import sobel


def drawn(*size, seed=0):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numpy_sobel(channel):
    """The two Sobel responses of one channel, in differences of weighted neighbours, the border mirrored."""
    p = np.pad(channel, 1, mode="reflect")
    right, left = p[:, 2:], p[:, :-2]
    below, above = p[2:], p[:-2]
    across = right[:-2] + 2 * right[1:-1] + right[2:] - left[:-2] - 2 * left[1:-1] - left[2:]
    down = below[:, :-2] + 2 * below[:, 1:-1] + below[:, 2:] - above[:, :-2] - 2 * above[:, 1:-1] - above[:, 2:]
    return across, down


def numpy_edge(truth, estimate):
    """‖φ(y) − φ(ŷ)‖²_F over the number of φ's values, of one image in 0..255."""
    responses = [np.stack([r for c in image for r in numpy_sobel(255 * c)]) for image in (truth, estimate)]
    return ((responses[0] - responses[1]) ** 2).sum() / responses[0].size


def judged(estimate, truth, **options):
    return Edge(**options)(Layers(estimate, truth - estimate), Pair(truth, truth)).item()


@pytest.mark.parametrize("size", [(5, 7), (16, 16), (2, 2)])
def test_eq_5_against_numpy(size):
    truth, estimate = drawn(2, 3, *size), drawn(2, 3, *size, seed=1)
    expected = np.mean([numpy_edge(*pair) for pair in zip(truth.numpy(), estimate.numpy(), strict=True)])
    assert judged(estimate, truth) == pytest.approx(expected, rel=1e-12)


def test_responses_against_scipy():
    image = drawn(2, 3, 9, 12)
    found = sobel(image)
    assert found.shape == (2, 6, 9, 12)
    for n, c in np.ndindex(2, 3):
        for i, axis in enumerate((1, 0)):
            expected = ndimage.sobel(image[n, c].numpy(), axis, mode="mirror")
            np.testing.assert_allclose(found[n, 2 * c + i].numpy(), expected, atol=1e-12)


def test_a_step_and_a_slope_by_hand():
    step = torch.zeros(1, 1, 5, 6)
    step[..., 3:] = 1
    assert sobel(step)[0, 0, 2].tolist() == [0, 0, 4, 4, 0, 0]
    assert sobel(step)[0, 1].abs().max() == 0
    slope = torch.arange(6.0).expand(1, 1, 5, 6)
    assert sobel(slope)[0, 0, 2].tolist() == [0, 8, 8, 8, 8, 0]
    assert sobel(-slope)[0, 0, 2].tolist() == [0, -8, -8, -8, -8, 0]


@pytest.mark.parametrize(("period", "gain"), [(2, 0), (4, 32), (1000, 0)])
def test_what_an_error_costs_beside_its_square(period, gain):
    """Of waves across: the filter's gain is (2 sin(2π / period) · 4)², of the two filters one sees them."""
    truth = torch.zeros(1, 3, 8, 1002, dtype=torch.float64)
    wave = torch.sin(2 * torch.pi * (torch.arange(1002) + 0.5) / period).expand_as(truth)
    layers, pair = Layers(wave, -wave), Pair(truth, truth)
    ratio = (Edge(scale=1).map(layers, pair) / MSE()(layers, pair))[..., 1:-1].mean().item()
    assert ratio == pytest.approx(gain, abs=0.05)


def test_a_constant_error_costs_nothing():
    truth = drawn(1, 3, 6, 6)
    assert judged(truth + 0.2, truth) == pytest.approx(0, abs=1e-20)


def test_the_map_shows_where_the_edges_differ():
    truth, estimate = torch.zeros(2, 3, 10, 12), torch.zeros(2, 3, 10, 12)
    estimate[1, 1, 4, 6] = 1
    picture = Edge().map(Layers(estimate, -estimate), Pair(truth, truth))
    rows, columns = picture[1, 0].nonzero().T
    assert picture[0].abs().max() == 0
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 5, 7)
    # A corner of the neighbourhood: ±1 of both filters in one of three colours; a side: ±2 of one filter.
    assert picture[1, 0, 3, 5].item() == pytest.approx(255**2 * 2 / 6)
    assert picture[1, 0, 3, 6].item() == pytest.approx(255**2 * 4 / 6)
    assert picture[1, 0, 4, 6] == 0


@pytest.mark.parametrize("term", [Edge, MSE])
def test_scale_is_that_of_the_images(term):
    truth, estimate = drawn(1, 3, 8, 8), drawn(1, 3, 8, 8, seed=1)
    layers, pair = Layers(estimate, -estimate), Pair(truth, truth)
    scaled = Layers(255 * estimate, -estimate), Pair(truth, 255 * truth)
    assert term(scale=255)(layers, pair).item() == pytest.approx(term(scale=1)(*scaled).item(), rel=1e-12)
    assert term(scale=255)(layers, pair).item() == pytest.approx(255**2 * term(scale=1)(layers, pair).item())


def test_defaults():
    """The paper's edges are of images in 0..255; MSE is of [0, 1] unless told otherwise."""
    assert (Edge().scale, MSE().scale) == (255, 1)


def test_on_rain_is_on_background_where_layers_add_up():
    rainy, truth, estimate = (drawn(1, 3, 8, 9, seed=seed) for seed in range(3))
    layers, pair = Layers(estimate, rainy - estimate), Pair(rainy, truth)
    assert Edge(on="rain")(layers, pair).item() == pytest.approx(Edge()(layers, pair).item(), rel=1e-12)


def test_gradients_are_right():
    truth, estimate = drawn(1, 3, 6, 5), drawn(1, 3, 6, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Edge()(Layers(x, -x), Pair(truth, truth)), estimate)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """Squares of responses up to 255 · 8 leave float16's range; what is half is computed in float32."""
    truth, estimate = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    estimate[..., 8:] = 1
    exact = judged(estimate, truth)
    with torch.autocast("cpu", dtype):
        assert judged(estimate, truth) == exact
    assert judged(estimate.to(dtype), truth.to(dtype)) == pytest.approx(exact)


@pytest.mark.parametrize("term", [Edge, MSE])
@pytest.mark.parametrize("scale", [0, -255, float("nan")])
def test_refuses_scales(term, scale):
    with pytest.raises(DerainError, match=r"scale is .*give a number above 0"):
        term(scale=scale)
