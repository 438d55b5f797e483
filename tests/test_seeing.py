"""Segmenters whose readings are known beforehand, intervals against a plain bootstrap, tables, and errors."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score
from torch import nn

import derainlib
from derainlib import evaluation
from derainlib.data import scenes
from derainlib.errors import DataError, DerainError
from derainlib.evaluation import RAINY
from derainlib.layers import IGNORED, Layers, Pair
from derainlib.seeing import CLEAN, Reading, difference, judge, predict, table


class Thirds(nn.Module):
    """Reads a pixel's class from its red value: 0 below 1/3, 1 below 2/3, 2 above."""

    name = "thirds"

    def forward(self, rainy, keep=False):
        red = rainy[:, :1]
        logits = torch.cat([1 / 3 - red, 1 / 6 - (red - 0.5).abs(), red - 2 / 3], 1)
        return Layers(rainy, torch.zeros_like(rainy), extras={"logits": logits})


class Subtract(nn.Module):
    """Takes a constant off the rainy image."""

    halo, stride, global_statistics = 0, 1, False

    def __init__(self, amount: float):
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(amount))

    def forward(self, rainy, keep=False):
        return Layers(rainy - self.amount, self.amount.expand_as(rainy))


RAIN = 0.25


@pytest.fixture(scope="module")
def streets() -> list[Pair]:
    """Streets whose labels `Thirds` reads without a fault before the rain, but for every fifth row without a class."""
    pairs = []
    for seed in range(5):
        clean = torch.rand(1, 3, 20, 16, generator=torch.Generator().manual_seed(seed)) * 0.7
        labels = (clean[:, 0] * 3).long()
        labels[:, ::5] = IGNORED
        pairs.append(Pair(clean + RAIN, clean, labels=labels))
    return pairs


@pytest.fixture(scope="module")
def verdict(streets):
    networks = {"perfect": Subtract(RAIN), "half": Subtract(RAIN / 2)}
    return judge({"thirds": Thirds()}, networks, streets, set_name="small streets")


def reading_of(verdict, picture) -> Reading:
    return next(reading for reading in verdict.readings if reading.picture == picture)


def flat(streets, version):
    """Predicted and true classes of all judged pixels, as scikit-learn wants them."""
    read = torch.cat([(version(pair)[:, 0].clamp(0, 1) * 3).long().clamp(0, 2) for pair in streets]).flatten()
    truth = torch.cat([pair.labels for pair in streets]).flatten()
    return read[truth != IGNORED].numpy(), truth[truth != IGNORED].numpy()


class TestJudge:
    def test_pictures_and_judges(self, verdict):
        assert [(r.judge, r.picture) for r in verdict.readings] == [
            ("thirds", picture) for picture in (CLEAN, RAINY, "perfect", "half")
        ]
        assert {r.dataset for r in verdict.readings} == {"small streets"}

    def test_clean_streets_are_read_without_a_fault(self, verdict):
        for picture in (CLEAN, "perfect"):
            assert reading_of(verdict, picture).accuracy == 1
            assert reading_of(verdict, picture).miou == 1

    @pytest.mark.parametrize(
        ("picture", "version"),
        [(RAINY, lambda pair: pair.rainy), ("half", lambda pair: pair.rainy - RAIN / 2)],
    )
    def test_scores_are_scikit_learns(self, verdict, streets, picture, version):
        read, truth = flat(streets, version)
        reading = reading_of(verdict, picture)
        np.testing.assert_array_equal(reading.counts.sum(0), confusion_matrix(truth, read, labels=[0, 1, 2]))
        assert reading.miou == pytest.approx(jaccard_score(truth, read, average="macro"))
        np.testing.assert_allclose(reading.iou, jaccard_score(truth, read, average=None))
        assert reading.accuracy == pytest.approx((truth == read).mean())

    def test_each_image_has_its_own_counts(self, verdict, streets):
        reading = reading_of(verdict, RAINY)
        for pair, counts in zip(streets, reading.counts, strict=True):
            read, truth = flat([pair], lambda pair: pair.rainy)
            np.testing.assert_array_equal(counts, confusion_matrix(truth, read, labels=[0, 1, 2]))

    def test_scores_beside_are_those_of_evaluation(self, verdict, streets):
        alone = evaluation.score(Subtract(RAIN / 2), streets, name="half", set_name="small streets")
        half = verdict.scores[1]
        assert [r.estimate for r in half.records] == [r.estimate for r in alone.records]
        assert half.summary("psnr_rgb").gain == pytest.approx(20 * np.log10(2), abs=1e-3)

    def test_limit_and_names(self, streets):
        folder = scenes.RainyScenes(scenes.drawn(range(3), (64, 80)), "streets")
        found = judge({"phi": derainlib.load("phi")}, {}, folder, limit=2)
        assert [r.images for r in found.readings] == [("drawn-0", "drawn-1")] * 2
        assert [r.counts.shape for r in found.readings] == [(2, 11, 11)] * 2
        assert found.scores == []

    def test_without_labels(self, streets):
        with pytest.raises(DataError, match="without labels"):
            judge({"thirds": Thirds()}, {}, [streets[0]._replace(labels=None)])

    def test_no_judge(self, streets):
        with pytest.raises(DerainError, match="no judge was given"):
            judge({}, {}, streets)

    def test_a_network_that_is_no_segmenter(self, streets):
        with pytest.raises(DerainError, match="Subtract reads no classes"):
            judge({"subtract": Subtract(0.1)}, {}, streets)

    @pytest.mark.parametrize("name", [CLEAN, RAINY])
    def test_names_that_are_taken(self, streets, name):
        with pytest.raises(DerainError, match=f"called '{name}'"):
            judge({"thirds": Thirds()}, {name: Subtract(0.1)}, streets)


def test_predict():
    red = torch.tensor([0.1, 0.5, 0.9]).view(1, 1, 1, 3).expand(2, 3, 2, 3)
    assert predict(Thirds(), red).tolist() == [[[0, 1, 2]] * 2] * 2


def reading(counts, judge="j", picture="p", images=None) -> Reading:
    counts = np.asarray(counts)
    return Reading(judge, picture, "d", images or tuple(map(str, range(len(counts)))), counts)


class TestIntervals:
    def counts(self, seed, images=6):
        return np.random.default_rng(seed).integers(0, 50, (images, 3, 3))

    @pytest.mark.parametrize("name", ["accuracy", "miou"])
    def test_interval_is_that_of_a_plain_bootstrap(self, name):
        """The same interval from drawn lists of images, of which each is put together anew."""
        ours, rng = reading(self.counts(0)), np.random.default_rng(7)
        drawn = []
        for _ in range(1500):
            total = ours.counts[rng.integers(6, size=6)].sum(0)
            truth, read = (np.repeat(place, total.ravel()) for place in np.indices((3, 3)).reshape(2, -1))
            drawn.append(
                (truth == read).mean()
                if name == "accuracy"
                else np.mean(
                    [((truth == k) & (read == k)).sum() / ((truth == k) | (read == k)).sum() for k in range(3)]
                )
            )
        found = ours.summary(name, ours)
        np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, (0.025, 0.975)), atol=0.015)
        assert found.low < found.mean < found.high

    def test_gain_is_drawn_with_the_same_images(self):
        """Where every image gains alike, the gain's interval is nothing, however different the images are."""
        base = np.array([[[k, 90 - k], [90 - k, k]] for k in range(10, 81, 10)])
        better = base + np.array([[5, -5], [-5, 5]])
        gain = reading(better).summary("accuracy", reading(base))
        assert gain.gain == pytest.approx(5 / 90)
        assert gain.gain_low == pytest.approx(gain.gain_high)
        assert gain.high - gain.low > 0.2

    def test_a_class_that_occurs_nowhere_does_not_count(self):
        counts = np.array([[[8, 2, 0], [0, 10, 0], [0, 0, 0]]] * 2)
        found = reading(counts).summary("miou", reading(counts))
        assert found.mean == pytest.approx((8 / 10 + 10 / 12) / 2)
        assert found.low == pytest.approx(found.mean) == found.high

    def test_seeds(self):
        """With two seeds the mean is over both, and the interval spans their difference."""
        low, high = np.array([[[6, 4], [4, 6]]] * 3), np.array([[[8, 2], [2, 8]]] * 3)
        found = difference("accuracy", [reading(low), reading(high)], [reading(low), reading(low)])
        assert found == pytest.approx({"mean": 0.1, "low": 0.0, "high": 0.2})

    @pytest.mark.parametrize(
        ("name", "ours", "theirs", "message"),
        [
            ("recall", 1, 1, "'recall' is not read"),
            ("miou", 1, 2, "1 and 2 readings"),
            ("miou", 0, 0, "0 and 0 readings"),
        ],
    )
    def test_errors(self, name, ours, theirs, message):
        one = reading(self.counts(0))
        with pytest.raises(DerainError, match=message):
            difference(name, [one] * ours, [one] * theirs)

    @pytest.mark.parametrize("change", [{"judge": "other"}, {"images": tuple("abcdef")}])
    def test_readings_that_do_not_compare(self, change):
        with pytest.raises(DerainError, match="different judges or images"):
            difference("miou", [reading(self.counts(0))], [reading(self.counts(0), **change)])


class TestTable:
    def test_text(self, verdict):
        lines = table(verdict.readings).splitlines()
        assert lines[0].split() == ["judge", "picture", "accuracy", "miou"]
        rainy = reading_of(verdict, RAINY)
        assert f"1.000 ±0.000 ({1 - rainy.miou:+.3f})" in lines[1]
        assert lines[2].startswith("thirds (5)  rainy input")
        assert lines[2].count("(+0.000)") == 2

    def test_markdown(self, verdict):
        assert table(verdict.readings, "markdown").startswith("| judge | picture | accuracy | miou |\n|")

    def test_without_the_rainy_input(self, verdict):
        with pytest.raises(DerainError, match="has not read the rainy input"):
            table([reading_of(verdict, CLEAN)])

    def test_unknown_style(self, verdict):
        with pytest.raises(DerainError, match="'html'"):
            table(verdict.readings, "html")
