"""Pixels descend a loss, and small networks are entered for sums of losses."""

import pytest
import torch

from derainlib import metrics
from derainlib.errors import DerainError
from derainlib.lab import contest, miniature
from derainlib.losses import L1, MSE, Edge, Fixed, GradientBalanced, LossBalanced
from derainlib.recipe import Loss


@pytest.fixture(scope="module")
def scene():
    return miniature.shower("street", "heavy", size=(32, 40))


class TestDescent:
    def test_rain_goes_and_the_way_is_told(self, scene):
        image, records = contest.descend(scene.rainy, scene, Fixed({"l1": L1()}, {"l1": 1.0}), steps=40, lr=0.05)
        assert [record["step"] for record in records] == list(range(41))
        assert records[0]["psnr"] == pytest.approx(metrics.psnr(scene.rainy, scene.clean).item())
        assert records[-1]["psnr"] == pytest.approx(metrics.psnr(image, scene.clean).item(), abs=1e-3)
        assert records[-1]["l1"] < 0.2 * records[0]["l1"]

    def test_size_of_the_whole_sum_does_not_matter(self, scene):
        ways = [contest.descend(scene.rainy, scene, Fixed({"mse": MSE()}, {"mse": w}), 5)[0] for w in (1.0, 1e-4)]
        assert torch.allclose(*ways, atol=1e-5)

    def test_start_stays_as_it_is_also_in_inference_mode(self, scene):
        start = scene.rainy.clone()
        with torch.inference_mode():
            image, _ = contest.descend(start, scene, Fixed({"edge": Edge()}, {"edge": 1.0}), 2)
        assert torch.equal(start, scene.rainy)
        assert not torch.equal(image, start)


class TestEntries:
    @pytest.mark.parametrize("name", contest.SMALL)
    def test_networks_are_small(self, name):
        network = contest.entry(name, (Loss("l1"),)).build_model()
        assert sum(parameter.numel() for parameter in network.parameters()) < 50_000

    def test_sum_and_balance_are_those_asked_for(self):
        losses = Loss("l1"), Loss("edge", 0.1)
        recipe = contest.entry("srn", losses, "loss")
        assert (recipe.losses, recipe.balance) == (losses, "loss")
        assert isinstance(recipe.build_loss(), LossBalanced)
        gradient = contest.entry("menet", losses, "gradient")
        assert isinstance(gradient.build_loss(gradient.build_model()), GradientBalanced)

    def test_unknown_network_is_refused(self):
        with pytest.raises(DerainError, match="no small network is called 'unet'; there are qsnet"):
            contest.entry("unet", (Loss("l1"),))


class TestSums:
    def test_sum_is_read(self):
        found = contest.losses("mse + 0.5*ssim+1e-3 quasi_sparsity + .25 edge")
        assert [(loss.term, loss.weight) for loss in found] == [
            ("mse", 1.0), ("ssim", 0.5), ("quasi_sparsity", 1e-3), ("edge", 0.25),
        ]  # fmt: skip
        assert found[1].options == {"dissimilarity": True}
        assert found[3].options == {"scale": 1}

    @pytest.mark.parametrize("term", contest.OPTIONS)
    def test_every_loss_can_be_asked_for(self, term):
        assert contest.entry("srn", contest.losses(f"l1 + 2 {term}")).losses[1].term == term

    @pytest.mark.parametrize("text", ["", "l1 +", "l1 + sim", "l1 - ssim", "2 3 l1", "0.5", "ssim=2"])
    def test_other_text_is_refused(self, text):
        with pytest.raises(DerainError, match=r"is no loss: write a sum such as 'mse \+ 0.5 ssim' of .*edge, .*mse"):
            contest.losses(text)
