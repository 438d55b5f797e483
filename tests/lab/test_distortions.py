"""Eight distortions of one size, and what every loss makes of them."""

import dataclasses

import pytest
import torch

from derainlib import recipes
from derainlib.lab import distortions, miniature, probe
from derainlib.lab.distortions import JUDGES, POWERS, Verdict
from derainlib.lab.probe import Probe
from derainlib.layers import Layers, Pair
from derainlib.losses import L1, MSE, TERMS
from derainlib.recipe import Loss

SIZE = 8.0


@pytest.fixture(scope="module")
def pair():
    return miniature.shower("street", "heavy", size=(64, 80))


@pytest.fixture(scope="module")
def spoilt(pair):
    return Probe(pair, distortions.errors(pair), stages=(1, 1), extras=distortions.INSIDE)


@pytest.fixture(scope="module")
def found(spoilt):
    return distortions.verdicts(spoilt, distortions.judges(), SIZE)


def test_every_loss_of_the_package_judges_and_has_a_power():
    names = {name for name, term in TERMS.items() if term.__module__.startswith("derainlib.")}
    assert {loss.term for loss, _ in JUDGES.values()} == POWERS.keys() == names


def test_weights_are_those_of_the_papers():
    printed = {(loss.term, loss.weight) for name in ("qsnet", "phpnet") for loss in recipes.get(name).losses}
    assert {(loss.term, loss.weight) for loss, source in JUDGES.values() if "QSNet" in source} <= printed
    assert {(loss.term, loss.weight) for loss, source in JUDGES.values() if "PHPNet, Eq" in source} <= printed


class TestErrors:
    def test_all_have_one_mean_square(self, spoilt, pair):
        for kind in spoilt.errors:
            assert MSE(scale=255)(spoilt.estimate(kind, SIZE)[0], pair).item() == pytest.approx(SIZE**2, rel=1e-4)

    def test_rain_stays_or_is_taken_twice(self, pair):
        errors = distortions.errors(pair)
        assert torch.equal(pair.clean + errors["leftover rain"], pair.clean + pair.rain)
        assert torch.equal(errors["over-removed"], -pair.rain)

    def test_picture_moves_to_the_right(self, pair):
        moved = pair.clean + distortions.errors(pair)["moved by a pixel"]
        assert torch.allclose(moved[..., 1:], pair.clean[..., :-1], atol=1e-6)

    def test_cast_is_red_for_blue(self, pair):
        assert distortions.errors(pair)["colour cast"][0, :, 3, 4].tolist() == [1, 0, -1]

    def test_texture_goes_and_edges_stay(self):
        """A step of half of the range, with grain of a tenth: the cartoon is smooth to each side, and has the step."""
        grain = 0.1 * (torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5)
        clean = 0.25 + 0.5 * (torch.arange(32) >= 16).expand(1, 3, 32, 32) + grain
        cartoon = clean + distortions.errors(Pair(clean + 0.1, clean))["lost texture"]
        assert cartoon[..., 2:14].std() < 0.3 * clean[..., 2:14].std()
        assert (cartoon[..., 16] - cartoon[..., 15]).mean() > 0.3


class TestVerdicts:
    def test_mean_square_cannot_tell_them_apart(self, found):
        assert set(distortions.ranks(found)["MSE"].values()) == {4.5}
        assert set(distortions.ranks(found)["−PSNR"].values()) == {4.5}

    def test_orders_are_the_losses_own(self, found):
        places = distortions.ranks(found)
        assert places["−SSIM"]["noise"] == 8 > places["texture"]["noise"] == 1
        assert places["texture"]["brightness shift"] == 8 > places["−SSIM"]["brightness shift"] == 1
        assert places["edge"]["brightness shift"] == places["edge"]["colour cast"] == 1.5
        assert all(sum(row.values()) == pytest.approx(36) for row in places.values())

    def test_excess_is_over_the_truth(self, found, spoilt, pair):
        assert found["L1"]["brightness shift"].excess == pytest.approx(SIZE / 255, rel=1e-3)
        assert found["−PSNR"]["noise"].excess == pytest.approx(
            99.957 - 30.069, abs=0.01
        )  # of the truth: −10 log₁₀(1e-10 + 1e-12)
        assert found["detail"]["leftover rain"].excess < 0 < found["detail"]["blur"].excess

    def test_pull_of_known_gradients(self, found):
        assert found["L1"]["noise"].pull == pytest.approx(1, abs=1e-3)
        assert found["MSE"]["noise"].pull == pytest.approx(2 * SIZE / 255, rel=1e-3)
        assert found["auxiliary"]["noise"].pull == pytest.approx(2 * SIZE / 255, rel=1e-3)

    def test_scores_come_last_and_pull_nothing(self, found):
        *_, last = found
        assert last == "score 1 − SSIM, Y"
        assert all(one.pull != one.pull for one in found[last].values())

    def test_without_labels_meaning_is_silent(self, pair):
        unlabelled = Probe(pair._replace(labels=None), {"noise": distortions.errors(pair)["noise"]})
        term = distortions.judges()["semantic, Φ"]
        assert distortions.verdict(unlabelled, term, "noise", SIZE) == Verdict(0, 0)


def test_equals_share_their_places():
    rows = {"x": {kind: Verdict(value, 0) for kind, value in zip("abcde", (3, 1.0, 1.001, -2, 3.0001), strict=True)}}
    assert list(distortions.ranks(rows)["x"].values()) == [4.5, 2.5, 2.5, 1, 4.5]


def test_rounding_has_no_place():
    rows = {"x": {kind: Verdict(value, 0) for kind, value in zip("abc", (1e-12, 0, 5), strict=True)}}
    assert list(distortions.ranks(rows)["x"].values()) == [1.5, 1.5, 3]
    assert distortions.table(rows).splitlines()[1].split() == ["x", "0", "0", "5"]


@pytest.mark.parametrize("name", [name for name, power in POWERS.items() if power])
def test_power_is_what_a_loss_grows_by(name, pair):
    """Both images three times as bright."""
    options = {"scale": 1} if "scale" in {option.name for option in dataclasses.fields(TERMS[name])} else {}

    def value(factor):
        grown = Pair(*(factor * image for image in pair[:2]), location=torch.zeros_like(pair.clean[:, :1]))
        noisy = grown.clean + factor * 0.1 * probe.distortions(pair)["noise"]
        layers = Layers(noisy, grown.rainy - noisy, extras={"decoded_1": noisy})
        return TERMS[name](**options)(layers, grown).item()

    assert value(3) / value(1) == pytest.approx(3 ** POWERS[name], rel=1e-3)


class TestLoudness:
    def test_weights_stand_as_printed_on_images_of_either_range(self, spoilt):
        recipe = recipes.get("qsnet").replace(losses=(Loss("l1"), Loss("mse", 0.5)))
        one, other = (distortions.loudness(spoilt, recipe, "noise", SIZE, white) for white in (1, 255))
        assert one == pytest.approx({"l1": 1, "mse": SIZE / 255}, rel=1e-3)
        assert other == pytest.approx({"l1": 1, "mse": SIZE}, rel=1e-3)

    def test_scale_of_a_recipe_is_taken_out(self, spoilt):
        found = distortions.loudness(spoilt, recipes.get("menet"), "noise", SIZE)
        assert found["mse"] == pytest.approx(2 * SIZE / 255, rel=1e-3)

    @torch.inference_mode()  # as a demonstration asks
    def test_terms_of_all_papers_can_be_heard(self, spoilt):
        for name in ("qsnet", "dcdnet", "phpnet", "brn", "menet"):
            assert all(pull > 0 for pull in distortions.loudness(spoilt, recipes.get(name), "blur", SIZE).values())


def test_charts_show_what_they_are_told(found):
    figure = distortions.rank_chart(found)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:8] == ["4.5"] * 8
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(found)
    bars = distortions.loudness_chart({"0..1": {"a": 2.0, "b": 4.0}, "0..255": {"a": 1.0, "b": 0.5}}, "x")
    assert [line.get_xdata().tolist() for line in bars.axes[0].lines[:2]] == [[1, 2], [1, 0.5]]


def test_l1_is_the_measure_of_pull(spoilt):
    assert distortions.verdict(spoilt, L1(), "brightness shift", 3).pull == pytest.approx(1)
