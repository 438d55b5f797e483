"""Pixels descend a loss, and small networks learn from losses under equal conditions."""

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


@pytest.fixture(scope="module")
def lessons():
    return miniature.lessons(miniature.dry("street"), 6, size=24)


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


class TestContest:
    def test_conditions_are_equal(self, scene, lessons):
        one = contest.entry("srn", (Loss("l1"),))
        before = torch.get_rng_state()
        courses = contest.compete({"A": one, "B": one}, lessons, scene, seed=3)
        assert torch.equal(courses["A"].background, courses["B"].background)
        assert torch.equal(before, torch.get_rng_state())
        other = contest.compete({"A": one}, lessons, scene, seed=4)
        assert not torch.equal(courses["A"].background, other["A"].background)

    def test_scores_are_told_as_they_come(self, scene, lessons):
        seen = []
        entries = {"A": contest.entry("menet", (Loss("l1"),))}
        course = contest.compete(entries, lessons, scene, every=4, watch=seen.append)["A"]
        assert [record["step"] for record in seen] == [4, 6]
        assert seen[-1]["A (dB)"] == pytest.approx(metrics.psnr(course.background, scene.clean).item(), abs=1e-4)
        assert [record["step"] for record in course.records] == [1, 2, 3, 4, 5, 6]

    def test_scoring_leaves_the_training_as_it_is(self, scene, lessons):
        entries = {"A": contest.entry("menet", (Loss("l1"),))}  # it has batch normalisation
        often, seldom = (contest.compete(entries, lessons, scene, every=every)["A"] for every in (1, 6))
        assert torch.equal(often.background, seldom.background)

    @pytest.mark.parametrize("balance", ["fixed", "loss", "gradient", "uncertainty"])
    def test_shares_add_up(self, scene, lessons, balance):
        losses = Loss("l1"), Loss("edge", 0.1)
        course = contest.compete({"A": contest.entry("srn", losses, balance)}, lessons, scene)["A"]
        parts = contest.shares(course)
        assert list(parts) == ["l1", "edge"]
        assert all(sum(at) == pytest.approx(1) for at in zip(*parts.values(), strict=True))
        if balance == "loss":  # two tasks are made equal
            assert parts["l1"] == pytest.approx([0.5] * len(lessons))

    def test_overlay_has_a_curve_each(self, scene, lessons):
        entries = {title: contest.entry("srn", (Loss("l1"),)) for title in "AB"}
        left, right = contest.overlay(contest.compete(entries, lessons, scene, every=2), 15.0).axes
        assert [line.get_label() for line in left.lines] == ["A", "B", "rainy"]
        assert left.lines[0].get_xdata().tolist() == [2, 4, 6]
        assert [line.get_label() for line in right.lines] == ["A: l1", "B: l1"]
