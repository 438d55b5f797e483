"""Networks whose scores are known beforehand, bootstrap intervals, tables, JSON, and the command."""

import importlib
import json
import math
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn

from derainlib import evaluation, metrics, models
from derainlib.data import export, holdout, scenes
from derainlib.errors import DataError, DerainError, WeightsError
from derainlib.evaluation import (
    RAINY,
    Record,
    Scores,
    compare,
    dataset,
    difference,
    from_json,
    interval,
    number,
    score,
    table,
    to_json,
)
from derainlib.layers import Layers, Pair
from derainlib.models import weights


class Subtract(nn.Module):
    """Takes a constant off the rainy image: on rain of that constant it is perfect."""

    halo, stride, global_statistics = 0, 1, False

    def __init__(self, amount: float):
        super().__init__()
        self.name = "subtract"
        self.amount = nn.Parameter(torch.tensor(amount))

    def forward(self, rainy, keep=False):
        return Layers(rainy - self.amount, self.amount.expand_as(rainy))


@pytest.fixture(scope="module")
def drizzle() -> list[Pair]:
    """Three scenes, dim enough that nothing clips, in a constant rain of 0.1: 20 dB on RGB."""
    scenes = torch.rand(3, 3, 24, 30, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    return [Pair(scene[None] + 0.1, scene[None]) for scene in scenes]


@pytest.fixture(scope="module")
def command():
    """benchmarks/score.py as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
        yield importlib.import_module("score")


def made_up(values, rainy, name="net", set_name="made up", measure="psnr_rgb") -> Scores:
    records = [
        Record(str(i), {measure: v}, {measure: r}, 0.1) for i, (v, r) in enumerate(zip(values, rainy, strict=True))
    ]
    return Scores(name, set_name, tuple(records))


class TestScore:
    def test_known_gain(self, drizzle):
        result = score(Subtract(0.09), drizzle, ["psnr_rgb", "psnr_y"])
        for record in result.records:
            assert record.rainy["psnr_rgb"] == pytest.approx(20, abs=1e-3)
            assert record.estimate["psnr_rgb"] == pytest.approx(40, abs=1e-3)
            assert record.estimate["psnr_y"] == pytest.approx(41.32, abs=0.01)
            assert record.seconds > 0
        assert result.summary("psnr_rgb").gain == pytest.approx(20, abs=1e-3)

    def test_settings_reach_the_network(self, drizzle):
        """Half the strength of a perfect network leaves half the rain: 6.02 dB, mirrored or not."""
        result = score(Subtract(0.1), drizzle, ["psnr_rgb"], strength=0.5, ensemble=True)
        assert result.summary("psnr_rgb").gain == pytest.approx(6.02, abs=0.01)
        seen = []
        network = Subtract(0.1)
        network.forward = lambda x: seen.append(x.shape) or Layers(x, x)
        score(network, drizzle[:1], ["psnr_rgb"], ensemble=True)
        assert len(seen) == 4

    def test_a_network_that_does_nothing_gains_nothing(self, drizzle):
        result = score(Subtract(0.0), drizzle)
        assert result.names == evaluation.SCORES
        for name in result.names:
            found = result.summary(name)
            assert (found.gain, found.gain_low, found.gain_high) == (0, 0, 0)
            assert found.mean == found.rainy

    def test_is_metrics_on_what_inference_gives(self, drizzle):
        result = score(Subtract(0.05), drizzle, ["ssim_y-down"])
        for record, pair in zip(result.records, drizzle, strict=True):
            expected = metrics.ssim((pair.rainy - 0.05).clamp(0, 1), pair.clean, "y-down").item()
            assert record.estimate["ssim_y-down"] == pytest.approx(expected, abs=1e-9)

    def test_one_image_at_a_time(self):
        made = []

        class Watched(Sequence):
            def __len__(self):
                return 4

            def __getitem__(self, index):
                assert sum(image() is not None for image in made) <= 1
                clean = torch.full((1, 3, 24, 24), 0.5)
                made.append(weakref.ref(clean))
                return Pair(clean + 0.1, clean)

        assert len(score(Subtract(0.1), Watched()).records) == 4
        assert len(made) == 4

    def test_limit_takes_the_first(self, drizzle):
        result = score(Subtract(0.1), drizzle, limit=2)
        assert [r.image for r in result.records] == ["0", "1"]
        assert len(score(Subtract(0.1), drizzle, limit=99).records) == 3

    def test_records_carry_the_names_of_the_set(self, drizzle):
        class Named(list):
            names = ("beach", "street", "tree")

        result = score(Subtract(0.1), Named(drizzle), name="net", set_name="places")
        assert [r.image for r in result.records] == ["beach", "street", "tree"]
        assert (result.model, result.dataset) == ("net", "places")

    def test_tiles_do_not_change_scores(self):
        network = models.create("srn", stages=1).eval()
        clean = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(1))
        whole, tiled = (
            score(network, [Pair(clean, clean)], ["psnr_y"], tile=tile) for tile in (70, 2 * network.halo + 8)
        )
        assert tiled.summary("psnr_y").mean == pytest.approx(whole.summary("psnr_y").mean, abs=1e-4)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"scores": ["psnr"]}, DerainError, "no score is called 'psnr'"),
            ({"scores": []}, DerainError, "no score was asked for"),
            ({"limit": 0}, DataError, "limit is 0"),
            ({"dataset": []}, DataError, "holds no pairs"),
        ],
    )
    def test_errors(self, drizzle, change, error, message):
        with pytest.raises(error, match=message):
            score(Subtract(0.1), **{"dataset": drizzle} | change)


class TestIntervals:
    def test_of_equal_values_is_a_point(self):
        assert interval(np.full(7, 3.5)) == (3.5, 3.5)

    def test_is_near_the_normal_one(self):
        values = np.random.default_rng(1).normal(30, 2, size=400)
        low, high = interval(values)
        half = 1.96 * values.std() / math.sqrt(len(values))
        assert low == pytest.approx(values.mean() - half, abs=0.05)
        assert high == pytest.approx(values.mean() + half, abs=0.05)

    def test_covers_the_truth_about_95_times_in_100(self):
        draws = np.random.default_rng(2).normal(0, 1, size=(300, 40))
        covered = sum(low <= 0 <= high for low, high in (interval(d, draws=400) for d in draws))
        assert 270 <= covered <= 297

    def test_repeats(self):
        values = np.random.default_rng(3).random(20)
        assert interval(values) == interval(values)

    def test_of_seeds_alone(self):
        """Four seeds, equal on all images, one of them higher by 1: k of four draws take it with Binomial(4, 1/4).

        P(k = 0) = 0.316 > 0.025; P(k ≤ 2) = 0.949 < 0.975 < P(k ≤ 3) = 0.996: from 0/4 to 3/4.
        """
        values = np.zeros((4, 7))
        values[2] = 1
        assert interval(values) == (0, 0.75)

    def test_one_seed_is_images_alone(self):
        """As images were drawn before there were seeds, so that stored intervals stay."""
        values = np.random.default_rng(1).normal(size=25)
        drawn = values[np.random.default_rng(0).integers(25, size=(2000, 25))].mean(axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975), method="nearest")
        assert interval(values) == pytest.approx((low, high), abs=1e-12)
        assert interval(values[None]) == interval(values)

    def test_of_seeds_and_images_adds_both_variances(self):
        """Values s_i + k_j: the mean's variance is var(s) / S + var(k) / K, whichever is the larger one."""
        rng = np.random.default_rng(2)
        seeds, images = rng.normal(size=(30, 1)), rng.normal(size=(1, 60))
        for a, b in ((1, 1), (3, 0.1), (0.1, 3)):
            low, high = interval(a * seeds + b * images, draws=4000)
            expected = 1.96 * math.sqrt(a * a * seeds.var() / 30 + b * b * images.var() / 60)
            assert (high - low) / 2 == pytest.approx(expected, rel=0.06)

    def test_gain_is_paired(self):
        rainy = np.linspace(10, 40, 20)
        found = made_up(rainy + 3, rainy).summary("psnr_rgb")
        assert found.high - found.low > 3
        assert (found.gain_low, found.gain_high) == pytest.approx((3, 3))

    def test_difference_is_that_of_scipy(self):
        """SciPy's percentile bootstrap draws other images; of 60 normal values both are near Student's t."""
        rng = np.random.default_rng(5)
        theirs = rng.normal(25, 4, size=60)
        ours = theirs + rng.normal(0.3, 1, size=60)
        found = difference(ours, theirs)
        assert found["mean"] == pytest.approx((ours - theirs).mean())
        drawn = stats.bootstrap((ours - theirs,), np.mean, n_resamples=4000, method="percentile", rng=1)
        student = stats.ttest_rel(ours, theirs).confidence_interval()
        for expected in (drawn.confidence_interval, student):
            assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=0.03)

    def test_difference_of_known_values(self):
        """Images that all gain alike leave no doubt; of two seeds, 1 apart, the interval goes from one to the other."""
        theirs = np.array([[20.0, 30.0, 40.0], [25.0, 35.0, 45.0]])
        assert difference(theirs + 2, theirs) == {"mean": 2, "low": 2, "high": 2}
        assert difference(theirs + np.array([[0], [1]]), theirs) == {"mean": 0.5, "low": 0, "high": 1}

    def test_difference_wants_the_same_images(self):
        with pytest.raises(DerainError, match=r"shape \(3,\) and \(2,\): compare the same images"):
            difference(np.zeros(3), np.zeros(2))

    def test_perfect_estimates(self):
        found = made_up([math.inf] * 3, [20.0] * 3).summary("psnr_rgb")
        assert (found.mean, found.low, found.gain) == (math.inf, math.inf, math.inf)

    def test_unknown_score(self):
        with pytest.raises(DerainError, match="'ssim_y' was not scored; there are psnr_rgb"):
            made_up([1.0], [1.0]).summary("ssim_y")


@pytest.mark.parametrize(
    ("name", "value", "sign", "expected"),
    [
        ("psnr_rgb8", 30.126, "", "30.13"),
        ("psnr", -0.126, "+", "-0.13"),
        ("ssim_y", 0.93456, "", "0.9346"),
        ("ssim", 0.01234, "+", "+0.012"),
        ("miou", 0.71249, "", "0.712"),
        ("accuracy", 0.5, "+", "+0.500"),
        ("psnr_y", None, "", "inf"),
        ("ssim_y", math.inf, "+", "+inf"),
    ],
)
def test_digits_of_scores(name, value, sign, expected):
    assert number(name, value, sign) == expected


class TestTable:
    results = (
        made_up([30.0, 32.0], [20.0, 21.0], "srn", "light"),
        made_up([31.0, 33.5], [20.0, 21.0], "brn", "light"),
        made_up([19.0, 19.0], [13.0, 13.0], "srn", "heavy"),
    )

    def test_text(self):
        lines = table(self.results).splitlines()
        assert [line.split("  ")[0] for line in lines] == ["set", *["light (2)"] * 3, *["heavy (2)"] * 2]
        assert lines[1].split()[2:] == [*RAINY.split(), "20.50"]
        assert lines[2].endswith("31.00 ±1.00 (+10.50)")
        assert lines[3].endswith("32.25 ±1.25 (+11.75)")
        assert lines[5].endswith("19.00 ±0.00 (+6.00)")

    def test_markdown(self):
        lines = table(self.results, "markdown").splitlines()
        assert lines[0] == "| set | network | psnr_rgb |"
        assert lines[1] == "| --- | --- | --- |"
        assert lines[3] == "| light (2) | srn | 31.00 ±1.00 (+10.50) |"
        assert len({line.count("|") for line in lines}) == 1

    def test_ssim_has_four_digits(self):
        assert "0.9123 ±0.0000 (+0.1000)" in table([made_up([0.91234], [0.81234], measure="ssim_y")])

    @pytest.mark.parametrize(
        ("results", "style", "message"),
        [
            ([], "text", "at least one result"),
            ([made_up([1], [1]), made_up([1], [1], measure="ssim_y")], "text", "the same scores"),
            ([made_up([1], [1])], "html", "not 'html'"),
        ],
    )
    def test_errors(self, results, style, message):
        with pytest.raises(DerainError, match=message):
            table(results, style)


class TestJSON:
    def test_round_trip(self):
        text = to_json(TestTable.results, dtype="fp32")
        assert from_json(text) == list(TestTable.results)
        found = json.loads(text)
        assert found["dtype"] == "fp32"
        assert found["results"][0]["summary"]["psnr_rgb"]["gain"] == 10.5

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": [{"model": "srn"}]}', '{"results": 3}'])
    def test_something_else(self, text):
        with pytest.raises(DataError, match="not scores in JSON"):
            from_json(text)

    def test_card(self):
        assert TestTable.results[0].card() == {"images": 2, "psnr_rgb": {"mean": 31.0, "worst": 30.0, "rainy": 20.5}}

    def test_a_table_of_cards_rounds_once(self):
        records = (Record("a", {"ssim_y": 0.940458}, {"ssim_y": 0.8}, 1.0),)
        card = Scores("net", "set", records).card()
        assert number("ssim", card["ssim_y"]["mean"]) == "0.940"


class TestDry:
    """A photograph without rain is its own truth: its score is infinite, and cleaning it can only lose."""

    truth = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    pairs = (Pair(truth, truth), Pair(truth.flip(-1), truth.flip(-1)))

    def scored(self, offset):
        return score(Subtract(offset), self.pairs, ["psnr_rgb"], name="net", set_name="dry")

    def test_summary(self):
        found = self.scored(0.1).summary("psnr_rgb")
        assert (found.rainy, found.gain, found.worst_gain) == (math.inf, -math.inf, -math.inf)
        assert found.mean == pytest.approx(found.worst, abs=1)

    def test_table_shows_no_gain(self):
        lines = table([self.scored(0.1)]).splitlines()
        assert lines[1].split()[-1] == "inf"
        assert "(" not in lines[2].split("±")[1]

    def test_json_knows_no_infinity(self):
        results = [self.scored(0.1), self.scored(0.0)]
        text = evaluation.to_json(results)
        assert "Infinity" not in text
        assert "NaN" not in text
        assert evaluation.from_json(text) == results
        assert results[0].card()["psnr_rgb"]["rainy"] is None


class TestDatasets:
    def test_names(self):
        kinds = list(holdout.KINDS)
        expected = {f"{prefix}-{kind}" for prefix in ("holdout", "skimage") for kind in kinds}
        assert set(evaluation.DATASETS) == expected | {"urban100-dry", "raintrainh", "rain100l", "rain800", "streets"}

    def test_skimage_needs_no_folder(self):
        found = dataset("skimage-light")
        assert found.names == list(holdout.SKIMAGE)
        assert found.checksum() == holdout.CHECKSUMS["light", "skimage"]

    @pytest.mark.parametrize("name", ["raintrainh", "rain100l", "rain800", "streets", "holdout-light", "urban100-dry"])
    def test_others_say_what_they_need(self, name):
        with pytest.raises(DataError, match="needs the folder that holds"):
            dataset(name)

    def test_rain800_is_none_of_the_training_pairs(self, derain_data):
        found = dataset("rain800", derain_data)
        trained = (derain_data / "splits" / "rain800_train.txt").read_text().split()
        assert len(found) == 56
        assert not {f"{name}.jpg" for name in found.names} & set(trained)

    def test_streets_are_every_sixth_of_the_test_part(self, tmp_path):
        drawn = scenes.drawn(range(7), (64, 64))
        export.write(drawn, tmp_path / "camvid" / "test", "none")
        found = dataset("streets", tmp_path)
        names = scenes.read(tmp_path / "camvid", "test").names
        assert found.names == [names[0], names[6]]
        pair = found[1]
        assert torch.equal(pair.labels[0], drawn[6].read()[1])
        assert pair.rainy.sub(pair.clean).max() > 0.1
        assert torch.equal(pair.rainy, dataset("streets", tmp_path)[1].rainy)  # the same rain for every network

    def test_a_folder_of_pairs(self, tmp_path):
        for name in ("rain", "clean"):
            (tmp_path / name).mkdir()
            Image.new("RGB", (20, 18)).save(tmp_path / name / "a.png")
        (pair,) = dataset(str(tmp_path))
        assert pair.rainy.shape == (1, 3, 18, 20)

    def test_unknown(self):
        with pytest.raises(DataError, match="no set is called 'rain12'; there are holdout-light"):
            dataset("rain12")

    @pytest.mark.slow
    def test_rain100l_as_published(self, derain_data):
        """The rainy images' scores of the whole set, which the literature gives as 26.90 dB and 0.838."""
        pairs = dataset("rain100l", derain_data)
        assert len(pairs) == 100
        measured = np.array(
            [[metrics.named(n)(p.rainy, p.clean).item() for n in ("psnr_y", "psnr_rgb", "ssim_y")] for p in pairs]
        )
        assert measured.mean(0) == pytest.approx([26.90, 25.52, 0.838], abs=0.006)

    def test_compare_scores_each_network_on_each_set(self, drizzle):
        results = compare(
            {"a": Subtract(0.0), "b": Subtract(0.1)}, {"x": drizzle, "y": drizzle[:1]}, ["ssim_y"], limit=2
        )
        assert [(r.model, r.dataset, len(r.records)) for r in results] == [
            ("a", "x", 2), ("b", "x", 2), ("a", "y", 1), ("b", "y", 1)
        ]  # fmt: skip


class TestCommand:
    @pytest.fixture
    def shipped(self, tmp_path, monkeypatch):
        """A weights folder of its own, with one small network in it."""
        monkeypatch.setattr(weights, "FOLDER", tmp_path)
        torch.manual_seed(0)
        weights.save(
            models.create("srn", stages=1),
            tmp_path / "small.safetensors",
            {"steps": 7, "scores": {"else": 1}},
        )
        return tmp_path

    def test_scores_what_is_shipped_and_updates_the_card(self, command, shipped, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(evaluation, "dataset", lambda name, folder: holdout.render("light", "skimage")[1:2])
        before = (shipped / "small.safetensors").read_bytes()
        out = tmp_path / "deep" / "scores.json"
        assert command.main(["--sets", "skimage-light", "--update-cards", "--out", str(out)]) == 0
        (result,) = from_json(out.read_text())
        assert (result.model, result.dataset, len(result.records)) == ("small", "skimage-light", 1)
        assert table([result]) in capsys.readouterr().out
        card = weights.card("small")
        assert card["steps"] == 7
        assert card["scores"] == {"else": 1, "skimage-light": result.card()}
        assert (shipped / "small.safetensors").read_bytes() == before

    def test_an_ensemble_goes_under_a_name_of_its_own(self, command, shipped, tmp_path, monkeypatch):
        monkeypatch.setattr(evaluation, "dataset", lambda name, folder: holdout.render("light", "skimage")[1:2])
        out = tmp_path / "scores.json"
        for method in ([], ["--ensemble"]):
            assert command.main(["--sets", "skimage-light", "--scores", "psnr_rgb", "--out", str(out), *method]) == 0
        alone, together = from_json(out.read_text())
        assert (alone.model, together.model) == ("small", "small (ensemble)")
        assert alone.records[0].estimate != together.records[0].estimate

    def test_the_file_keeps_what_was_not_scored_now(self, command, tmp_path):
        path = tmp_path / "scores.json"
        old = made_up([1], [0], name="old")
        assert command.others(path, [old]) == []
        path.write_text(to_json([old, made_up([2], [0], name="new"), made_up([3], [0], name="new", set_name="more")]))
        assert command.others(path, [made_up([4], [0], name="new")]) == [old, made_up([3], [0], "new", "more")]

    def test_options_after_a_colon(self, command, shipped):
        assert command.load("small:stages=3").options == {"stages": 3}
        assert command.load(f"{shipped / 'small.safetensors'}").options == {"stages": 1}

    def test_checkpoints_of_the_authors_are_converted(self, command, monkeypatch):
        monkeypatch.setattr(weights, "convert", lambda path, **options: (path, options))
        assert command.load("a/net.pth:model=brn,stages=8") == ("a/net.pth", {"model": "brn", "stages": 8})

    def test_errors_are_one_line(self, command, shipped, tmp_path, capsys):
        out = tmp_path / "scores.json"
        assert command.main(["nothing", "--out", str(out)]) == 1
        assert capsys.readouterr().err.startswith("error: no shipped weights are called 'nothing'")
        assert not out.exists()
        with pytest.raises(WeightsError, match="written name=value"):
            command.load("small:stages=1,deep")

    @pytest.mark.parametrize("partly", [["--limit", "2"], ["--dtype", "bf16"], ["--ensemble"]])
    def test_cards_get_whole_sets_in_full_precision(self, command, shipped, partly, capsys):
        with pytest.raises(SystemExit):
            command.parse([*partly, "--update-cards"])
        assert "whole sets in fp32" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("srn", "srn"),
            ("srn:stages=8", "srn:stages=8"),
            ("runs/a/best.safetensors", "a/best"),
            ("x/y/net.pth:model=brn,stages=8", "y/net:model=brn,stages=8"),
            ("c:/net.pth", "c:/net"),
        ],
    )
    def test_labels(self, command, text, expected):
        assert command.label(text) == expected

    def test_two_networks_of_one_name_are_refused(self, command, shipped, tmp_path, capsys):
        assert command.main(["small", "small", "--out", str(tmp_path / "scores.json")]) == 1
        assert "share a name" in capsys.readouterr().err

    def test_without_data_the_sets_that_need_none(self, command, shipped, monkeypatch):
        monkeypatch.delenv("DERAIN_DATA", raising=False)
        assert command.parse([]).weights == ["small"]
        assert command.parse([]).sets == [f"skimage-{kind}" for kind in holdout.KINDS]
        assert command.parse(["--data", "somewhere"]).sets == list(evaluation.DATASETS)
