"""The texture matching loss, Eq. 7 and 8 of MENET, against NumPy written from the equation, in all its forms."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses import MSE, Edge, Texture
from derainlib.losses.texture import gram, patches

FORMS = ["mean", "literal", "scalar"]


def drawn(*size, seed=0):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numpy_gram(image):
    """G of one image (3, H, W) in 0..255: each whole 4x4 patch as a vector, the outer products added up; and M."""
    _, height, width = image.shape
    total, count = np.zeros((48, 48)), 0
    for top in range(0, height - 3, 4):
        for left in range(0, width - 3, 4):
            patch = 255 * image[:, top : top + 4, left : left + 4].reshape(48)
            total += np.outer(patch, patch)
            count += 1
    return total, count


def numpy_texture(truth, estimate, form):
    (wanted, count), (found, _) = numpy_gram(truth), numpy_gram(estimate)
    if form == "mean":
        return np.linalg.norm(wanted / count - found / count, "fro") ** 2
    if form == "literal":
        return np.linalg.norm(wanted - found, "fro") ** 2
    return (wanted.mean() - found.mean()) ** 2


def taken_apart(estimate, truth):
    return Layers(estimate, truth - estimate), Pair(truth, truth)


@settings(max_examples=30, deadline=None, phases=[Phase.generate])  # shrinking a failure takes minutes
@given(
    form=st.sampled_from(FORMS),
    count=st.integers(1, 3),
    size=st.tuples(st.integers(4, 19), st.integers(4, 19)),
    seed=st.integers(0, 1000),
)
def test_eq_7_against_numpy(form, count, size, seed):
    truth, estimate = drawn(count, 3, *size, seed=seed), drawn(count, 3, *size, seed=seed + 1)
    each = [numpy_texture(a, b, form) for a, b in zip(truth.numpy(), estimate.numpy(), strict=True)]
    assert Texture(form=form)(*taken_apart(estimate, truth)).item() == pytest.approx(np.mean(each), rel=1e-9)


def test_patches_by_hand():
    image = torch.arange(2 * 9 * 10).view(1, 2, 9, 10)
    columns = patches(image)
    assert columns.shape == (1, 32, 4)
    # Row by row, then the next channel; the second patch lies to the right, the third below; row 8 is left out.
    assert columns[0, :6, 0].tolist() == [0, 1, 2, 3, 10, 11]
    assert columns[0, 16:18, 0].tolist() == [90, 91]
    assert columns[0, 0].tolist() == [0, 4, 40, 44]


def test_gram_by_hand():
    columns = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    assert gram(columns).tolist() == [[[5.0, 3.0], [3.0, 9.0]]]


def test_constant_images_by_hand():
    """Gram matrices of 0.5 and of 0.25 everywhere: each of 48² entries differs by 0.1875 a patch."""
    truth, estimate = torch.full((1, 3, 8, 12), 0.5), torch.full((1, 3, 8, 12), 0.25)
    found = {form: Texture(form=form, scale=1)(*taken_apart(estimate, truth)).item() for form in FORMS}
    assert found["mean"] == pytest.approx(48**2 * 0.1875**2)
    assert found["literal"] == pytest.approx(48**2 * (6 * 0.1875) ** 2)
    assert found["scalar"] == pytest.approx((6 * 0.1875) ** 2)


@pytest.mark.parametrize("form", FORMS)
def test_where_a_patch_lies_does_not_matter(form):
    truth, estimate = drawn(1, 3, 16, 20), drawn(1, 3, 16, 20, seed=1)
    swapped = estimate.roll((4, 8), (2, 3))
    terms = Texture(form=form), taken_apart(estimate, truth), taken_apart(swapped, truth)
    assert terms[0](*terms[1]).item() == pytest.approx(terms[0](*terms[2]).item(), rel=1e-9)
    assert terms[0](*taken_apart(truth.roll((4, 8), (2, 3)), truth)).item() == pytest.approx(0, abs=1e-6)
    moved = truth.roll((1, 1), (2, 3))
    assert terms[0](*taken_apart(moved, truth)).item() > 1


def test_the_scalar_form_hears_only_the_patches_sums():
    """The mean of a Gram matrix is that of the squared sums of the patches; what is inside them may be anything."""
    truth = drawn(1, 3, 8, 8)
    blurred = torch.nn.functional.avg_pool2d(truth, 4).mean(1, keepdim=True)
    blurred = blurred.expand(1, 3, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    layers = taken_apart(blurred, truth)
    assert Texture(form="scalar")(*layers).item() == pytest.approx(0, abs=1e-6)
    assert Texture()(*layers).item() > 1e6


@pytest.mark.parametrize("form", FORMS)
def test_the_map_is_each_patchs_share(form):
    """One changed patch: it alone differs from the truth, so the whole loss is its own."""
    truth, estimate = drawn(2, 3, 10, 13), drawn(2, 3, 10, 13)
    estimate[1, :, 4:8, 8:12] += 0.1
    term, layers = Texture(form=form), taken_apart(estimate, truth)
    picture = term.map(*layers)
    rows, columns = picture[1, 0].nonzero().T
    assert picture[0].abs().max() == 0
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 7, 8, 11)
    assert picture[1, 0, 4:8, 8:12].unique().numel() == 1
    assert picture.mean().item() == pytest.approx(term(*layers).item(), rel=1e-12)


def test_a_patch_that_makes_up_for_others_has_a_negative_share():
    """Two patches too bright and one too dark: without the dark one the Gram matrices would differ more."""
    truth = torch.full((1, 3, 4, 12), 0.5, dtype=torch.float64)
    estimate = truth + torch.tensor([0.2, 0.2, -0.2]).repeat_interleave(4)
    picture = Texture().map(*taken_apart(estimate, truth))
    assert picture[..., :8].min() > 0
    assert picture[..., 8:].max() < 0


@pytest.mark.parametrize(("form", "power"), [("mean", 0), ("literal", 2), ("scalar", 2)])
def test_how_the_loss_grows_with_the_image(form, power):
    truth, estimate = drawn(1, 3, 8, 8), drawn(1, 3, 8, 8, seed=1)
    small = Texture(form=form)(*taken_apart(estimate, truth)).item()
    large = Texture(form=form)(*taken_apart(estimate.repeat(1, 1, 3, 2), truth.repeat(1, 1, 3, 2))).item()
    assert large == pytest.approx(6**power * small, rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_scale_enters_with_its_fourth_power(form):
    layers = taken_apart(drawn(1, 3, 8, 8), drawn(1, 3, 8, 8, seed=1))
    ratio = Texture(form=form)(*layers).item() / Texture(form=form, scale=1)(*layers).item()
    assert ratio == pytest.approx(255**4, rel=1e-9)


def test_printed_literally_it_outweighs_edges_by_orders_of_magnitude():
    """On noise of 224² pixels: what a fixed weight or the eye would have to make up for."""
    layers = taken_apart(drawn(1, 3, 224, 224).float(), drawn(1, 3, 224, 224, seed=1).float())
    literal, mean = (Texture(form=form)(*layers).item() for form in ("literal", "mean"))
    assert literal / Edge()(*layers).item() > 1e7
    assert literal / mean == pytest.approx((56 * 56) ** 2, rel=1e-3)


def test_the_loss_of_a_batch_is_the_mean_of_its_images():
    truth, estimate = drawn(3, 3, 12, 9), drawn(3, 3, 12, 9, seed=1)
    each = [Texture()(*taken_apart(b[None], a[None])).item() for a, b in zip(truth, estimate, strict=True)]
    assert Texture()(*taken_apart(estimate, truth)).item() == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_right(form):
    truth, estimate = drawn(1, 3, 9, 8), drawn(1, 3, 9, 8, seed=1).requires_grad_()
    term = Texture(form=form, scale=3)
    assert torch.autograd.gradcheck(lambda x: term(*taken_apart(x, truth)), estimate)


@pytest.mark.parametrize("error", [1e-2, 1e-5])
def test_float32_holds_near_the_truth(error):
    """Where the difference of two Gram matrices, each rounded, would be lost."""
    truth = drawn(1, 3, 64, 64).float()
    estimate = truth + error * drawn(1, 3, 64, 64, seed=1).float()
    exact = numpy_texture(truth[0].double().numpy(), estimate[0].double().numpy(), "mean")
    assert Texture()(*taken_apart(estimate, truth)).item() == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_rounding_does_not_bring_it_below_zero(form):
    """Patches in another order have the same Gram matrix, and shares that cancel but for rounding; LB refuses less."""
    signs = set()
    for seed in range(20):
        truth = drawn(2, 3, 64, 64, seed=seed).float()
        layers = taken_apart(truth.roll(4, 3), truth)
        signs.add(Texture(form=form).map(*layers).mean().sign().item())
        assert Texture(form=form)(*layers).item() >= 0
    assert form != "scalar" or -1 in signs, "nothing was left to rounding"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    truth, estimate = drawn(1, 3, 16, 16).to(dtype), drawn(1, 3, 16, 16, seed=1).to(dtype)
    exact = Texture(form="literal")(*taken_apart(estimate.float(), truth.float()))
    with torch.autocast("cpu", dtype):
        found = Texture(form="literal")(*taken_apart(estimate, truth))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)


def test_mse_hears_what_texture_does_not():
    """Patches in another order: no loss of texture, and a large squared error."""
    truth = drawn(1, 3, 16, 16)
    layers = taken_apart(truth.roll(8, 3), truth)
    assert Texture()(*layers).item() == pytest.approx(0, abs=1e-6)
    assert MSE()(*layers).item() > 0.1


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        ({"form": "gram"}, (8, 8), "form must be one of mean, literal, scalar; got 'gram'"),
        ({"scale": 0}, (8, 8), "scale is 0"),
        ({}, (8, 3), "texture needs images of at least 4 x 4 pixels; got 3 x 8"),
    ],
)
def test_refusals(options, size, words):
    with pytest.raises(DerainError, match=words):
        Texture(**options)(*taken_apart(drawn(1, 3, *size), drawn(1, 3, *size)))
