"""The papers' tables beside ours: by hand, by SciPy, and whatever report comes."""

import copy
import itertools
import json
import math
import re
import statistics

import numpy as np
import pytest
from scipy import stats

from derainlib import evaluation, metrics, papers
from derainlib.errors import DerainError
from derainlib.lab import ablations, coverage, figures, miniature, tables
from derainlib.lab import results as kept
from derainlib.lab.exercises import ablation_studies as exercises
from derainlib.models import weights

PAPER = [29.94, 31.70, 32.03, 33.15, 30.50]
OURS = [28.9, 28.7, 29.3, 28.6, 29.0]


def report(ours=OURS, paper=PAPER, sets=("holdout-heavy",), seeds=(-0.1, 0.1), rainy=28.65) -> dict:
    """A study of as many rows as there are scores, the first of them the reference, on heavy rain."""
    rows = []
    for label, mine, theirs in zip("abcdefgh", ours, paper, strict=False):
        one = {"mean": mine, "rainy": rainy, "by_seed": [mine + noise for noise in seeds], "by_image": [mine, mine]}
        if rows:
            by_seed = [mine - ours[0] + (-1) ** len(rows) * noise for noise in seeds]
            mean = mine - ours[0]
            one["difference"] = {"mean": mean, "low": mean - 0.25, "high": mean + 0.25, "by_seed": by_seed}
        scores = {"images": 2, "psnr_rgb": one, "ssim_y": {**one, "mean": 0.9, "rainy": 0.8}}
        differences = {"Rain100H": {"psnr": theirs - paper[0]}} if rows else {}
        found = {"row": label, "recipe": "menet/MSE", "paper_difference": differences, "seeds": list(range(len(seeds)))}
        rows.append(found | {"sets": dict.fromkeys(sets, scores)})
    budget = {"steps": 900, "batch": 10, "patch": 112, "seeds": list(range(len(seeds))), "scale": "quick"}
    return {"study": "x/table-1", "reference": "a", "rows": rows, "budget": budget, "seconds": 1800}


# --- numbers -------------------------------------------------------------------------------------------------------


def test_tau_and_chance_are_scipys():
    ours = report()
    expected = stats.kendalltau(OURS, PAPER, method="exact", alternative="greater")
    assert ablations.tau(ours) == pytest.approx(expected.statistic)
    assert ablations.by_chance(ours) == pytest.approx(expected.pvalue)


def test_sets_are_dealt_alike():
    one, two = report(), report(sets=("holdout-heavy", "skimage-heavy"))
    np.testing.assert_array_equal(ablations.deals(two), 2 * ablations.deals(one))
    assert ablations.by_chance(two) == ablations.by_chance(one), "a second set of the same is no second table"


def test_many_rows_are_dealt_at_random_and_the_same_each_time():
    ours = report([*OURS, 27.0, 27.5, 26.0], [*PAPER, 28.0, 28.5, 27.0])
    counts = ablations.deals(ours)
    assert len(counts) == 5000
    assert counts.mean() == pytest.approx(14, abs=0.2), "half of 28 orderings"
    assert ablations.by_chance(ours) == ablations.by_chance(ours)


def test_without_the_papers_order_there_is_no_tau():
    ours = report()
    assert coverage.agreement(ours, "ssim") == (0, 0)
    assert math.isnan(ablations.tau(ours, "ssim"))
    assert math.isnan(ablations.by_chance(ours, "ssim"))
    assert "none given" in ablations.overview({"x": ours}, "ssim")
    assert "is not known" in ablations.told(ours, "ssim")


def test_noise_is_the_spread_of_differences_by_seed():
    found = report(seeds=(-0.1, 0.1, 0.3))
    assert ablations.seed_noise(found) == pytest.approx(0.2)
    once = report(seeds=(0.0,))
    assert math.isnan(ablations.seed_noise(once)), "one seed shows no spread"
    assert list(ablations.repeated({"once": once, "x": found})) == ["x"]
    assert len(ablations.floors({"once": once}).splitlines()) == 1


def test_pixels_of_the_paper_by_hand():
    # MENET's recipe: 90,000 steps of 20 patches of 224², here 900 of 10 of 112².
    assert ablations.pixels(report()) == 100 * 2 * 4


def test_rows_below_the_rainy_input():
    assert ablations.below(report(sets=("holdout-heavy", "skimage-heavy"))) == {"d": ["holdout-heavy", "skimage-heavy"]}
    assert ablations.below(report(rainy=20.0)) == {}


def test_differences_have_a_line_for_each_set_of_the_paper():
    ours = report(sets=("holdout-heavy", "holdout-light"))
    ours["rows"][1]["paper_difference"] |= {"Test-II": {"psnr": 0.5}, "Rain100L": {"psnr": 9.0}}
    frame = ablations.differences({"x": ours}).query("row == 'b' and set == 'holdout-heavy'")
    assert dict(zip(frame["place"], frame["paper"].round(2), strict=True)) == {"Rain100H": 1.76, "Test-II": 0.5}, (
        "light rain stands beside no heavy set"
    )


def test_differences_are_told_apart_by_their_intervals():
    frame = ablations.differences({"x": report()})
    assert dict(zip(frame["row"], frame["told"], strict=True)) == {"b": False, "c": True, "d": True, "e": False}


def test_what_is_told_is_counted_by_hand():
    low, told_apart, order, _ = ablations.told(report()).splitlines()
    assert low == "no better than the rainy input: d (holdout-heavy)"
    assert told_apart.startswith("told apart from 'a': 2 of 4 differences; "), "c and d are clear of zero"
    assert "; 1 of 2 with the paper's sign" in told_apart, "d is above a in the paper, below it here"
    assert order.startswith("orderings of two rows as in the paper: 4 of 10, tau -0.20; ")


def test_scores_by_seed_are_gains_over_the_rainy_input():
    frame = ablations.by_seed({"x": report()})
    assert len(frame) == 2 * len(OURS)
    assert frame["gain"].iloc[1] == pytest.approx(28.9 + 0.1 - 28.65)


def test_scores_by_image_are_refused_where_there_are_none():
    found = report()
    assert ablations.by_image(found, "holdout-heavy").shape == (2, len(OURS))
    for row in found["rows"]:
        del row["sets"]["holdout-heavy"]["psnr_rgb"]["by_image"]
    with pytest.raises(DerainError, match="x/table-1 has no scores by image on holdout-heavy: train"):
        ablations.by_image(found, "holdout-heavy")


def test_reports_without_scores_by_image_are_left_out():
    old = report()
    del old["rows"][1]["sets"]["holdout-heavy"]["psnr_rgb"]["by_image"]
    assert list(ablations.pictured({"old": old, "new": report()})) == ["new"]


def test_closest_set_is_of_the_papers_rain():
    assert ablations.closest(report(sets=("holdout-light", "holdout-heavy"))) == "holdout-heavy"
    silent = report(sets=("holdout-light", "holdout-heavy"))
    for row in silent["rows"]:
        row["paper_difference"] = {}
    assert ablations.closest(silent) == "holdout-light"


def test_floors_by_hand():
    line = ablations.floors({"x": report(seeds=(-0.1, 0.1, 0.3))}).splitlines()[1]
    assert re.split(r"\s{2,}", line) == ["x", "0.20", "1.80", "0.50", "0.25", "0.14", "2, 4, 4, 4 of 4"]


@pytest.mark.parametrize("count", ablations.STUDENT)
def test_students_factors_are_scipys(count):
    assert ablations.STUDENT[count] == pytest.approx(stats.t.ppf(0.975, count - 1), abs=5e-4)


# --- networks ------------------------------------------------------------------------------------------------------


def test_trained_rows_are_found_by_table_and_row_in_the_papers_order(tmp_path):
    names = ("brn-table-3-CRN", "brn-table-3-BRN-x-r", "brn-table-4-SRNplus", "brn-table-9-CRN", "notes")
    for name in names:
        (tmp_path / f"{name}.safetensors").touch()
    found = ablations.trained(tmp_path)
    assert {table: list(rows) for table, rows in found.items()} == {
        "brn/table-3": ["CRN", "BRN x→r"],
        "brn/table-4": ["SRN+"],
    }
    assert found["brn/table-3"]["BRN x→r"].stem == "brn-table-3-BRN-x-r"


def test_no_two_rows_share_a_file():
    names = [table.file(row.label) for table in papers.TABLES.values() for row in table.rows]
    assert len(names) == len(set(names))


def test_what_the_rows_of_a_table_derain():
    pair = miniature.shower("chelsea", "heavy", 5, (24, 32))
    rows = ablations.trained()["brn/table-3"]
    assert list(rows) == ["CRN", "BRN x→r", "BRN r→x", "BRN"]
    shown = ablations.derained(rows, pair, "y")
    titles, images = list(shown), list(shown.values())
    crn = weights.load(rows["CRN"])(pair.rainy).background.detach().clamp(0, 1)
    for title, image, name in zip(titles, (pair.rainy, crn), ("rainy O", "CRN"), strict=False):
        assert title == f"{name}: {metrics.psnr(image, pair.clean, 'y').item():.1f} dB"
    np.testing.assert_array_equal(images[1], crn)
    assert (titles[-1], images[-1]) == ("truth B", pair.clean)
    assert len({image.numpy().tobytes() for image in images}) == 6


def test_best_rows_are_counted_by_image():
    found = report([1.0, 2.0, 3.0], PAPER[:3])
    for row, scores in zip(found["rows"], ([5, 1, 5, 5], [2, 2, 2, 2], [3, 3, 9, 3]), strict=True):
        row["sets"]["holdout-heavy"] = copy.deepcopy(row["sets"]["holdout-heavy"])
        row["sets"]["holdout-heavy"]["psnr_rgb"]["by_image"] = scores
    line = "x/table-1, 4 images of holdout-heavy; the best row is a on 2; b on 0; c on 2"
    assert ablations.best(found) == line


def test_sizes_stand_beside_both_scores():
    lines = ablations.sizes(ablations.report("brn/table-3")).splitlines()
    assert lines[0].split("  ")[0] == "brn/table-3"
    assert [line.split()[-3] for line in lines[1:]] == ["77,174", "86,390", "86,390", "95,606"]
    assert [line.split()[-1] for line in lines[1:]] == ["30.04", "30.22", "30.01", "30.47"]


# --- whatever comes ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of reports that is read in the place of the repository's."""
    for module in (coverage, kept):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    return tmp_path


def test_a_new_report_appears_and_no_longer_waits(folder):
    assert ablations.reports() == {}
    assert "brn/table-3" in ablations.waiting()
    (folder / "study_brn-table-3.json").write_text(json.dumps(report()))
    assert list(ablations.reports()) == ["brn/table-3"]
    assert "brn/table-3" not in ablations.waiting()
    assert list(ablations.views(ablations.reports()).values()) == [("brn/table-3", "holdout-heavy")]
    with pytest.raises(DerainError, match="'brn/table-1' has no report; there are brn/table-3"):
        ablations.report("brn/table-1")


def test_nothing_waits_when_all_were_run(monkeypatch):
    monkeypatch.setattr(coverage, "reports", lambda table: [report()])
    assert ablations.waiting() == "no table waits"


@pytest.mark.parametrize("measure", ["psnr", "ssim"])
@pytest.mark.parametrize("name", ablations.reports())
def test_every_report_is_drawn_and_told(name, measure):
    found = {name: ablations.report(name)}
    for text in (ablations.overview(found, measure), ablations.told(found[name], measure)):
        assert text
    assert (name in ablations.floors(found, measure)) == (name in ablations.repeated(found))
    for place in found[name]["rows"][0]["sets"]:
        for picture in (ablations.draw, ablations.order_map):
            assert len(figures.png(picture(found[name], place, measure))) < figures.LIMIT
    assert set(ablations.by_seed(found, measure)["row"]) == {row["row"] for row in found[name]["rows"]}


def test_bars_are_what_the_report_has():
    left, _, right = ablations.draw(report(), "holdout-heavy").axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([mine - 28.65 for mine in OURS])
    assert [bar.get_width() for bar in right.patches][1:] == pytest.approx([theirs - 29.94 for theirs in PAPER[1:]])
    assert right.get_title() == "the paper, Rain100H"
    assert [label.get_text() for label in left.get_yticklabels()] == list("abcde")
    *_, none = ablations.draw(report(), "holdout-heavy", "ssim").axes
    assert none.get_title() == "the paper: no such figures"


def test_a_row_below_the_rainy_input_has_another_colour():
    left, *_ = ablations.draw(report(), "holdout-heavy").axes
    colours = [bar.get_facecolor() for bar in left.patches]
    assert [colour != colours[0] for colour in colours] == [False, False, False, True, False]


def test_order_map_says_how_many_agree_and_what_ours_are():
    (ax,) = ablations.order_map(report(), "holdout-heavy").axes
    assert ax.get_title() == "Rain100H: 4 of 10"
    notes = [text.get_text() for text in ax.texts]
    assert "-0.20" in notes, "b has 0.2 dB less than a"
    (empty,) = ablations.order_map(report(), "holdout-heavy", "ssim").axes
    assert empty.get_title() == "holdout-heavy: the paper orders no rows"


def test_decibels_are_straight_up_to_one_and_told_plainly():
    figure, ax = figures.canvas()
    ax.plot([-6, 0.3], [0, 3])
    ablations.decibels(ax, "x", "y")
    figures.png(figure)
    shown = [label.get_text() for label in ax.get_xticklabels() if label.get_text()]
    assert {"−5", "−1", "0"} <= set(shown)
    zero, half, one, ten = (ax.transData.transform((value, 0))[0] for value in (0, 0.5, 1, 10))
    assert one - half == pytest.approx(half - zero)
    assert ten - one < 9 * (one - zero)


def test_labels_of_losses_are_symbols():
    assert ablations.tex("L_p L_e, GB") == "$L_{p}$ $L_{e}$, GB"
    assert ablations.tex("+ L_col") == "+ $L_{col}$"
    assert ablations.tex("SRN_x") == "SRN_x"


def test_the_clipped_study_is_kept_with_its_rainy_input():
    found = kept.results("clipped_menet-table-1")
    assert found["budget"]["clip"] == 1
    assert evaluation.RAINY in tables.study(found)


# --- exercises -----------------------------------------------------------------------------------------------------


def _double_loop(paper, ours):
    right = count = 0
    for i in range(len(paper)):
        for j in range(i):
            if paper[i] != paper[j]:
                count += 1
                right += (ours[i] > ours[j]) if paper[i] > paper[j] else (ours[i] < ours[j])
    return right / count


def _signs(paper, ours):
    theirs, mine = (np.sign(np.subtract.outer(one, one)) for one in (paper, ours))
    return ((theirs == mine) & (theirs != 0)).sum() / (theirs != 0).sum()


def _combinations(paper, ours):
    ordered = [(i, j) for i, j in itertools.permutations(range(len(paper)), 2) if paper[i] > paper[j]]
    return statistics.mean(float(ours[i] > ours[j]) for i, j in ordered)


def _library(row, reference):
    differences = row - reference
    return stats.t.interval(0.95, len(differences) - 1, differences.mean(), stats.sem(differences))


def _statistics(row, reference):
    differences = [float(one) - float(two) for one, two in zip(row, reference, strict=True)]
    half = ablations.STUDENT[len(row)] * statistics.stdev(differences) / math.sqrt(len(row))
    return [statistics.mean(differences) - half, statistics.mean(differences) + half]


def _paired_test(row, reference):
    return np.array(stats.ttest_rel(row, reference).confidence_interval(0.95))


@pytest.mark.parametrize("answer", [_double_loop, _signs, _combinations])
def test_right_shares_written_differently_are_taken(answer):
    assert exercises.confirmed.verdict(answer) == ""


@pytest.mark.parametrize("answer", [_library, _statistics, _paired_test])
def test_right_intervals_written_differently_are_taken(answer):
    assert exercises.interval.verdict(answer) == ""


@pytest.mark.parametrize("exercise", [exercises.confirmed, exercises.interval], ids=["confirmed", "interval"])
def test_exercises_know_enough_slips(exercise):
    assert len(exercise.slips) >= 5
    told = [exercise.verdict(answer) for answer in exercise.slips.values()]
    assert len(set(told)) == len(told)


def test_a_slip_of_ones_own_gets_no_strange_advice():
    verdict = exercises.interval.verdict(lambda row, reference: (0.0, 1.0))
    assert re.fullmatch(r"Not yet \(test 1 of 4\): it is off by [\d.]+\.", verdict)


def test_reports_are_not_changed_by_looking_at_them():
    found = report()
    before = copy.deepcopy(found)
    ablations.told(found)
    ablations.draw(found, "holdout-heavy")
    ablations.order_map(found, "holdout-heavy")
    assert found == before
