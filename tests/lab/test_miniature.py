"""Miniature trainings: the same arguments give the same network, and it learns what it is shown."""

import pytest
import torch

from derainlib.data import samples
from derainlib.lab import miniature
from derainlib.losses import L1, MSE, LossBalanced, NegativeSSIM, Uncertainty

IMAGES = [torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(n)) for n in range(3)]


def weights_of(network):
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


def srn(seed=0):
    return miniature.untrained("srn", seed, stages=1, width=4, blocks=1)


def test_scenes_exist():
    assert {f"{name}-light" for name in miniature.SCENES} <= set(samples.names())


def test_shower_is_the_scene_in_rain():
    pair = miniature.shower("street", "light", seed=1)
    truth = samples.load("street-light")
    assert torch.equal(pair.clean, truth.clean)
    assert torch.equal(pair.labels, truth.labels)
    assert (pair.rainy - pair.clean).mean() > 0.001
    assert not torch.equal(pair.rainy, miniature.shower("street", "light", seed=2).rainy)


def test_part_of_a_shower_comes_from_the_centre():
    pair = miniature.shower("chelsea", "heavy", size=(100, 120))
    assert torch.equal(pair.clean, samples.load("chelsea-light").clean[..., 46:146, 84:204])
    assert pair.labels is None
    street = miniature.shower("street", "light", size=(100, 120))
    assert torch.equal(street.labels, samples.load("street-light").labels[:, 58:158, 84:204])


def test_centre_of_a_small_image_is_the_image():
    image = torch.rand(1, 3, 20, 30)
    assert torch.equal(miniature.centre(image, 64, 64), image)
    assert torch.equal(miniature.centre(image, 64, 10), image[..., 10:20])


def test_dry_leaves_out_the_scene_that_is_tested():
    chelsea = samples.load("chelsea-light").clean
    assert len(miniature.dry()) == len(miniature.SCENES)
    kept = miniature.dry(without="chelsea")
    assert len(kept) == len(miniature.SCENES) - 1
    assert not any(image.shape == chelsea.shape and torch.equal(image, chelsea) for image in kept)


def test_patches_are_parts_of_the_images():
    pair = miniature.patches(IMAGES, seed=0, step=0, size=16)
    assert pair.rainy.shape == (3, 3, 16, 16)
    for image, patch in zip(IMAGES, pair.clean, strict=True):
        parts = image[0].unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4)
        assert (parts == patch).flatten(2).all(2).any()
    assert pair.rain.abs().max() > 0


def test_patches_depend_on_seed_and_step_alone():
    first = miniature.patches(IMAGES, 3, 4)
    assert torch.equal(first.rainy, miniature.patches(IMAGES, 3, 4).rainy)
    for seed, step in ((3, 5), (2, 4)):
        assert not torch.equal(first.rainy, miniature.patches(IMAGES, seed, step).rainy)
    lessons = miniature.lessons(IMAGES, steps=5, seed=3)
    assert len(lessons) == 5
    assert torch.equal(lessons[4].rainy, first.rainy)


def test_patch_as_large_as_an_image():
    patch = miniature.patches(IMAGES[:1], 0, 0, size=40).clean
    assert patch.shape == (1, 3, 40, 40)


def test_untrained_depends_on_its_seed_alone():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = srn(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert torch.equal(weights_of(first), weights_of(srn(0)))
    assert not torch.equal(weights_of(first), weights_of(srn(1)))


@pytest.mark.parametrize("loss", [NegativeSSIM(), L1()])
def test_training_lowers_the_loss(loss):
    lessons = miniature.lessons(IMAGES, steps=1) * 12
    losses = []
    network = miniature.train(srn(), loss, lessons, 1e-2, observers=[lambda record: losses.append(record["loss"])])
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_training_is_adam_along_a_cosine():
    lessons = miniature.lessons(IMAGES, steps=4)
    mine = miniature.train(srn(), MSE(), lessons, 1e-2)
    theirs = srn()
    optimiser = torch.optim.Adam(theirs.parameters())
    for pair, rate in zip(lessons, (1.0, 0.853553, 0.5, 0.146447), strict=True):  # (1 + cos(π t / 4)) / 2
        optimiser.param_groups[0]["lr"] = 1e-2 * rate
        optimiser.zero_grad()
        MSE()(theirs(pair.rainy), pair).backward()
        optimiser.step()
    assert torch.allclose(weights_of(mine), weights_of(theirs), atol=1e-5)
    constant = miniature.train(srn(), MSE(), lessons, 1e-2, cosine=False)
    assert not torch.allclose(weights_of(constant), weights_of(theirs), atol=1e-3)


def test_records_name_losses_and_weights():
    terms, records = {"mse": MSE(), "l1": L1()}, []
    loss = LossBalanced(terms, dict.fromkeys(terms, 1.0))
    miniature.train(srn(), loss, miniature.lessons(IMAGES, 2), 1e-3, observers=[records.append])
    assert [record["step"] for record in records] == [1, 2]
    first = records[0]
    assert set(first) == {"step", "loss", "loss_mse", "loss_l1", "weight_mse", "weight_l1"}
    assert first["loss"] == pytest.approx(sum(first[f"loss_{n}"] * first[f"weight_{n}"] for n in terms), rel=1e-4)


def test_learned_weights_have_a_rate_of_their_own():
    lesson, ends = miniature.lessons(IMAGES, 1), {}
    for rate in (None, 0.05):
        loss = Uncertainty({"mse": MSE()}, {"mse": 1.0})
        miniature.train(srn(), loss, lesson, 1e-3, cosine=False, loss_lr=rate)
        ends[rate] = abs(next(loss.parameters()).item())
    assert ends[None] == pytest.approx(1e-3, rel=1e-3)  # Adam's first step is as long as its rate
    assert ends[0.05] == pytest.approx(0.05, rel=1e-3)
