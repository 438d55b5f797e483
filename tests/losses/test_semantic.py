"""L_seg and the whole of Eq. 5 of PHPNet against NumPy, class presence, and what a frozen network does and does not."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses import Charbonnier, Colour, Fixed, Presence, Semantic

CLASSES = 4
SIZE = (3, 3, 7, 8)


class Segmenter(nn.Module):
    """A network that tells classes apart by a pixel's colour, and their presence by the mean colour."""

    def __init__(self, heads=("logits", "presence")):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(3 * torch.randn(CLASSES, 3, generator=generator, dtype=torch.float64))
        self.dropout = nn.Dropout(0.5)  # would be noticed outside eval mode
        self.heads, self.seen = heads, 0

    def forward(self, rainy: Tensor, keep: bool = False) -> Layers:
        self.seen += len(rainy)
        logits = self.dropout(torch.einsum("kc,nchw->nkhw", self.weight, rainy))
        outputs = {"logits": logits, "presence": logits.mean((2, 3))}
        return Layers(rainy, torch.zeros_like(rainy), extras={name: outputs[name] for name in self.heads})

    def numpy(self, image: Tensor) -> np.ndarray:
        """Its logits, by NumPy alone."""
        return np.einsum("kc,nchw->nkhw", self.weight.detach().numpy(), image.detach().numpy())


@pytest.fixture
def scene(generator) -> tuple[Layers, Pair]:
    """Three images: one partly labelled, one without labels, one labelled everywhere."""

    def image():
        return torch.rand(SIZE, generator=generator, dtype=torch.float64)

    labels = torch.randint(CLASSES - 1, (3, 7, 8), generator=generator)  # the last class is nowhere
    labels[0, :, 3:] = 255
    labels[1] = 255
    pair, background = Pair(image(), image(), labels=labels), image()
    return Layers(background, pair.rainy - background, extras={"coarse": image()}), pair


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """−ln p(label) of every labelled pixel, in a loop."""
    losses = []
    for n, i, j in np.argwhere(labels != 255):
        scores = logits[n, :, i, j]
        losses.append(np.log(np.exp(scores).sum()) - scores[labels[n, i, j]])
    return np.array(losses)


def presence(logits: np.ndarray, labels: np.ndarray) -> float:
    """Binary cross-entropy over all classes of the images that have labels."""
    losses = []
    for scores, image in zip(logits, labels, strict=True):
        if (image == 255).all():
            continue
        for k, score in enumerate(scores):
            p = 1 / (1 + np.exp(-score))
            losses.append(-np.log(p) if k in image else -np.log(1 - p))
    return np.mean(losses)


def eq_5(layers: Layers, pair: Pair, phi: Segmenter) -> float:
    """1 · L_acc(X^c, X_f) + 1 · L_acc(X, X^gt) + 0.1 · L_col + 0.05 · L_seg with a 3 x 3 low-pass, all in NumPy."""
    coarse, background, clean = (x.numpy() for x in (layers.extras["coarse"], layers.background, pair.clean))
    line = np.exp(-(np.arange(-1, 2) ** 2) / (2 * 0.8**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = np.pad(clean, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    smooth = sum(kernel[i, j] * padded[:, :, i : i + 7, j : j + 8] for i in range(3) for j in range(3))
    l_coarse = np.sqrt((coarse - smooth) ** 2 + 1e-12).mean()
    l_fine = np.sqrt((background - clean) ** 2 + 1e-12).mean()
    cosine = (coarse * clean).sum(1) / np.linalg.norm(coarse, axis=1) / np.linalg.norm(clean, axis=1)
    l_seg = cross_entropy(phi.numpy(layers.extras["coarse"]), pair.labels.numpy()).mean()
    return l_coarse + l_fine + 0.1 * (1 - cosine.mean()) + 0.05 * l_seg


def test_four_terms_are_eq_5(scene):
    phi = Segmenter()
    terms = {
        "coarse": Charbonnier(on="coarse", lowpass=3),
        "background": Charbonnier(),
        "colour": Colour(),
        "semantic": Semantic(phi),
    }
    total, values = Fixed(terms, {"coarse": 1, "background": 1, "colour": 0.1, "semantic": 0.05})(*scene)
    assert total.item() == pytest.approx(eq_5(*scene, phi), rel=1e-12)
    assert all(value > 0 for value in values.values())


def test_semantic_is_the_mean_over_labelled_pixels(scene):
    layers, pair = scene
    phi = Segmenter()
    expected = cross_entropy(phi.numpy(layers.extras["coarse"]), pair.labels.numpy()).mean()
    assert Semantic(phi)(layers, pair).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("odds", "expected"), [(1, np.log(4)), (3, np.log(2)), (9, np.log(4 / 3))])
def test_cross_entropy_by_hand(odds, expected):
    """Four classes, the true one `odds` times as likely as each other: p = odds / (odds + 3)."""
    labels = torch.tensor([[[1, 255], [1, 1]]])
    logits = torch.zeros(1, CLASSES, 2, 2, dtype=torch.float64)
    logits[:, 1] = np.log(odds)
    logits[:, 2, 0, 1] = 50  # wrong, where nobody knows
    image = torch.rand(1, 3, 2, 2, dtype=torch.float64)
    layers, pair = Layers(image, image, extras={"logits": logits}), Pair(image, image, labels=labels)
    assert Semantic()(layers, pair).item() == pytest.approx(expected, rel=1e-12)
    assert Semantic().map(layers, pair).flatten().tolist() == pytest.approx(
        [4 / 3 * expected, 0, 4 / 3 * expected, 4 / 3 * expected]
    )


def test_presence_by_hand():
    """p = 3/4 for each of four classes, two of which are there: (−2 ln 3/4 − 2 ln 1/4) / 4."""
    image = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    logits = torch.full((1, CLASSES), np.log(3), dtype=torch.float64)
    pair = Pair(image, image, labels=torch.tensor([[[0, 255], [2, 2]]]))
    value = Presence()(Layers(image, image, extras={"presence": logits}), pair).item()
    assert value == pytest.approx((-2 * np.log(3 / 4) - 2 * np.log(1 / 4)) / 4, rel=1e-12)


def test_presence_is_the_mean_over_classes_and_labelled_images(scene):
    layers, pair = scene
    phi = Segmenter()
    logits = phi.numpy(layers.extras["coarse"]).mean((2, 3))
    assert Presence(phi)(layers, pair).item() == pytest.approx(presence(logits, pair.labels.numpy()), rel=1e-12)


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_a_network_with_a_head_of_its_own_is_judged_by_it(scene, term):
    layers, pair = scene
    phi = Segmenter()
    own = layers._replace(extras=phi.eval()(layers.extras["coarse"]).extras)
    assert term()(own, pair).item() == pytest.approx(term(phi)(layers, pair).item(), rel=1e-12)


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_networks_without_a_coarse_output_show_their_background(scene, term):
    layers, pair = scene
    same = layers._replace(background=layers.extras["coarse"], extras=None)
    assert term(Segmenter())(same, pair) == term(Segmenter())(layers, pair)


def test_the_map_of_semantics_shows_labelled_pixels_and_averages_to_the_loss(scene):
    layers, pair = scene
    term = Semantic(Segmenter())
    picture = term.map(layers, pair)
    known = pair.labels != 255
    share = known.double().mean().item()
    assert picture.shape == (3, 1, 7, 8)
    assert not picture[:, 0][~known].any()
    expected = cross_entropy(term.network.numpy(layers.extras["coarse"]), pair.labels.numpy()) / share
    np.testing.assert_allclose(picture[:, 0][known].detach(), expected, rtol=1e-12)
    assert picture.mean().item() == pytest.approx(term(layers, pair).item(), rel=1e-12)


def test_the_map_of_presence_is_flat_in_an_image(scene):
    layers, pair = scene
    term = Presence(Segmenter())
    picture = term.map(layers, pair)[:, 0]
    assert not picture[1].any()  # nobody labelled it
    for i in (0, 2):
        logits = term.network.numpy(layers.extras["coarse"][i : i + 1]).mean((2, 3))
        expected = presence(logits, pair.labels[i : i + 1].numpy()) * 3 / 2
        np.testing.assert_allclose(picture[i].detach(), expected, rtol=1e-12)
    assert picture.mean().item() == pytest.approx(term(layers, pair).item(), rel=1e-12)


@pytest.mark.parametrize("term", [Semantic, Presence])
@pytest.mark.parametrize("labels", [None, torch.full((3, 7, 8), 255)])
def test_without_any_label_the_loss_is_zero_with_a_graph(scene, term, labels):
    layers, pair = scene
    pair = pair._replace(labels=labels)
    coarse = layers.extras["coarse"].requires_grad_()
    phi = Segmenter()
    value = term(phi)(layers, pair)
    value.backward()
    assert value.item() == 0
    assert not coarse.grad.any()
    assert phi.seen == 0
    own = torch.zeros(3, CLASSES, *((7, 8) if term is Semantic else ())).requires_grad_()
    term()(Layers(coarse, coarse, extras={term.head: own}), pair).backward()
    assert not own.grad.any()


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_unlabelled_images_cost_nothing_and_change_nothing(scene, term):
    layers, pair = scene
    phi = Segmenter()
    together = term(phi)(layers, pair)
    assert phi.seen == 2
    rows = torch.tensor([0, 2])
    alone = Layers(layers.background[rows], layers.rain[rows], extras={"coarse": layers.extras["coarse"][rows]})
    assert together.item() == pytest.approx(
        term(phi)(alone, Pair(pair.rainy[rows], pair.clean[rows], labels=pair.labels[rows])).item(), rel=1e-12
    )


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_the_frozen_network_gets_no_gradient_and_passes_it_on(scene, term):
    layers, pair = scene
    coarse = layers.extras["coarse"].requires_grad_()
    phi = Segmenter()
    term(phi)(layers, pair).backward()
    assert phi.weight.grad is None
    assert not coarse.grad[1].any()
    assert coarse.grad[[0, 2]].any(dim=(1, 2, 3)).all()


def test_only_labelled_pixels_move(scene):
    """The segmenter looks at one pixel at a time, so that the gradient shows which pixels the loss looked at."""
    layers, pair = scene
    coarse = layers.extras["coarse"].requires_grad_()
    Semantic(Segmenter())(layers, pair).backward()
    assert torch.equal(coarse.grad.abs().sum(1) > 0, pair.labels != 255)


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_the_frozen_network_stays_in_eval_mode(scene, term):
    loss = term(Segmenter().train())
    before = loss(*scene)
    loss.train()
    assert loss.training
    assert not loss.network.training
    assert loss(*scene) == before
    assert not any(parameter.requires_grad for parameter in loss.parameters())


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_gradients_match_finite_differences(scene, term):
    layers, pair = scene
    loss = term(Segmenter())
    coarse = layers.extras["coarse"].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(layers._replace(extras={"coarse": x}), pair), coarse)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("term", [Semantic, Presence])
def test_logits_in_half_precision_are_judged_in_that_of_the_images(scene, term, dtype):
    """As a network's own are under mixed precision."""
    layers, pair = scene
    logits = Segmenter().eval()(layers.extras["coarse"]).extras[term.head].to(dtype)
    half, whole = (layers._replace(extras={term.head: x}) for x in (logits, logits.double()))
    assert term()(half, pair).dtype == torch.float64
    assert term()(half, pair) == term()(whole, pair)


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_the_frozen_network_goes_where_the_image_is(scene, term, monkeypatch):
    layers, pair = scene
    phi, asked = Segmenter(), []
    monkeypatch.setattr(phi, "to", lambda device: asked.append(device) or phi)
    term(phi)(layers, pair)
    assert asked == [layers.background.device]


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_the_sum_is_the_mean_times_the_number_of_values(scene, term):
    mean, total = term(Segmenter()), term(Segmenter(), normaliser="sum")
    assert total(*scene).item() == pytest.approx(np.prod(SIZE) * mean(*scene).item(), rel=1e-12)


@pytest.mark.parametrize(("term", "head"), [(Semantic, "logits"), (Presence, "presence")])
def test_a_missing_output_is_named(scene, term, head):
    layers, pair = scene
    others = tuple({"logits", "presence"} - {head})
    for loss in (term(), term(Segmenter(heads=others))):
        with pytest.raises(DerainError, match=f"'{head}'.*keep=True"):
            loss(layers, pair)
    with pytest.raises(DerainError, match=head):
        term()(layers._replace(extras=None), pair)


@pytest.mark.parametrize("term", [Semantic, Presence])
@pytest.mark.parametrize("label", [CLASSES, 254, -1])
def test_labels_beyond_the_classes_are_refused(scene, term, label):
    layers, pair = scene
    labels = pair.labels.clone()
    labels[2, 0, 0] = label
    with pytest.raises(DerainError, match=f"4 classes .* label is {label}: .* 0 to 3"):
        term(Segmenter())(layers, pair._replace(labels=labels))


@pytest.mark.parametrize("term", [Semantic, Presence])
def test_a_name_is_no_network(term):
    with pytest.raises(DerainError, match=r"'phi'; hand over the network itself"):
        term("phi")
