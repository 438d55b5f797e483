"""Studies: rows that differ, trainings that are not repeated, differences and intervals that a hand can check."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from derainlib import evaluation, files, workshop
from derainlib.errors import DerainError, RecipeError
from derainlib.evaluation import Record, Scores
from derainlib.models import weights
from derainlib.papers import Row, Table
from derainlib.recipes import RECIPES
from derainlib.studies import STUDIES, Order, report, table
from derainlib.workshop import FINAL, LAST_STAGE, Outcome, Owner

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"


def row(label: str, recipe: str, **fields) -> Row:
    """A row by its recipe's name."""
    return Row(label, RECIPES[recipe], **fields)


TWO = Table(
    "made/up", "a made-up table", "with", (row("with", "dcdnet"), row("without", "dcdnet/no-refinement"))
)  # fmt: skip
THREE = Table(
    "made/broken", "a table with a row that breaks", "with",
    (row("with", "dcdnet"), row("broken", "dcdnet", changes={"lr": 1e30}), row("without", "dcdnet/no-refinement")),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """photographs/: three smooth drawn photographs of 40x48 pixels; pairs/: two of them under a constant rain."""
    path = tmp_path_factory.mktemp("data")
    for name in ("photographs", "pairs/rain", "pairs/clean"):
        (path / name).mkdir(parents=True)
    rows, columns = np.mgrid[:40, :48] / 48
    for i in range(3):
        image = np.uint8(127 + 100 * np.stack([np.sin(i + k + 3 * rows + 2 * columns * k) for k in range(3)], -1))
        Image.fromarray(image).save(path / f"photographs/{i}.png")
        if i < 2:
            Image.fromarray(image // 2).save(path / f"pairs/clean/{i}.png")
            Image.fromarray(image // 2 + 30).save(path / f"pairs/rain/{i}.png")
    return path


@pytest.fixture
def made_up(monkeypatch):
    for study in (TWO, THREE):
        monkeypatch.setitem(STUDIES, study.name, study)


def tiny(folder: Path, out: Path, *names: str, **changes) -> Order:
    defaults = {
        "scale": "tiny", "without": ("perceptual",), "data": {"clean_dir": str(folder / "photographs")},
        "changes": {"options": {"stages": 2, "width": 4}, "patch": 24}, "sets": (str(folder / "pairs"),),
    }  # fmt: skip
    return Order(names or ("made/up",), str(out), **defaults | changes)


def times(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*/last.safetensors")}


class TestRegistry:
    @pytest.mark.parametrize("name", STUDIES)
    def test_rows_are_recipes_that_differ(self, name, folder, tmp_path):
        """At the tiny scale each row is a training of its own, and full-scale recipes differ too."""
        order = Order((name,), str(tmp_path), scale="tiny", data={"clean_dir": str(folder / "photographs")})
        study = STUDIES[name]
        trials = [order.trial(row, 0) for row in study.rows]
        assert [trial.recipe.name for trial in trials] == [row.recipe.name for row in study.rows]
        assert len({trial.folder for trial in trials}) == len(study.rows) > 1
        assert {trial.recipe.steps for trial in trials} == {4}
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("study", "label", "expected"),
        [
            ("dcdnet/table-4", "single stage", {"Rain100H": {"psnr": -5.24}}),
            ("dcdnet/table-3", "no refinement", {"Rain100H": {"psnr": -0.4}}),
            ("dcdnet/table-3", "no dilation", {}),
            ("dcdnet/table-3", "ours", {}),
            ("phpnet/table-3", "+ L_col + L_seg", {"Cityscapes": {"psnr": 0.94, "ssim": 0.0556}}),
            ("phpnet/table-4", "no X", {"Cityscapes": {"psnr": -6.34, "ssim": -0.1849}}),
            (
                "menet/table-1",
                "L_p L_e L_t, GB, CA",
                {"Rain100L": {"psnr": 0.6368, "ssim": 0.0048}, "Rain100H": {"psnr": 0.6441, "ssim": 0.0378}},
            ),
            (
                "qsnet/table-5",
                "without sharing",
                {
                    "Test-I": {"psnr": -1.24, "ssim": -0.026},
                    "Test-II": {"psnr": -0.13, "ssim": -0.031},
                    "Test-III": {"psnr": -1.3, "ssim": -0.031},
                },
            ),
        ],
    )
    def test_the_papers_differences(self, study, label, expected):
        rows = report(STUDIES[study], {})["rows"]
        (found,) = (row["paper_difference"] for row in rows if row["row"] == label)
        assert found == expected

    def test_rows_by_label(self):
        study = STUDIES["dcdnet/figure-10"]
        assert [row.label for row in study.only(["T = 2"]).rows] == ["T = 2", "T = 12"]
        assert study.only([]) == study
        with pytest.raises(RecipeError, match="no row T = 99"):
            study.only(["T = 99"])


class TestOrder:
    def test_what_makes_a_row_stays(self, folder, tmp_path):
        """Shared stages reach "ours", not "single stage"; a shared width reaches both."""
        order = tiny(folder, tmp_path, changes={"options": {"stages": 3, "width": 8}, "lr": 0.002}, steps=7)
        ours, single = (order.trial(row("", name), 5).recipe for name in ("dcdnet", "dcdnet/single"))
        assert ours.options == {"stages": 3, "width": 8}
        assert single.options == {"stages": 1, "width": 8, "refinement": False}
        assert [(r.lr, r.steps, r.seed) for r in (ours, single)] == [(0.002, 7, 5)] * 2
        changed = order.trial(row("", "dcdnet", changes={"options": {"width": 2}, "lr": 0.1}), 5).recipe
        assert (changed.options, changed.lr) == ({"stages": 3, "width": 2}, 0.1)

    def test_terms_are_left_out_of_every_row(self, folder, tmp_path):
        order = tiny(folder, tmp_path)
        assert [loss.term for loss in order.trial(row("", "dcdnet"), 0).recipe.losses] == ["mse", "l1"]
        assert [loss.term for loss in order.trial(row("", "dcdnet/single"), 0).recipe.losses] == ["mse"]

    def test_vgg_weights_reach_the_rows_that_have_a_use_for_them(self, folder, tmp_path):
        asked = tiny(folder, tmp_path, without=())
        given = tiny(folder, tmp_path, without=(), data=asked.data | {"vgg": "vgg.safetensors"})
        before, after = (order.trial(row("", "dcdnet"), 0).recipe for order in (asked, given))
        assert after == before.judged_by("vgg.safetensors") != before
        for name in ("dcdnet/single", "menet/VGG16-untrained"):  # Eq. 6 alone, and a VGG that wants no weights
            before, after = (replace(o, changes={}).trial(row("", name), 0).recipe for o in (asked, given))
            assert after == before

    def test_equal_rows_of_two_tables_share_a_folder(self, folder, tmp_path):
        order = tiny(folder, tmp_path)
        ours, two, three = (order.trial(row("", f"dcdnet{name}"), 0).folder for name in ("", "/T2", "/T3"))
        assert ours == two != three
        assert order.trial(row("", "dcdnet"), 1).folder != ours
        others = tiny(folder, tmp_path, data={"data_dir": str(folder / "pairs")})
        assert others.trial(row("", "dcdnet"), 0).folder != ours

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"studies": ("made/down",)}, "no study is called 'made/down'"),
            ({"seeds": ()}, "seeds must be at least one"),
            ({"seeds": (1, 1)}, "all different"),
            ({"seeds": (-1,)}, "must not be negative"),
            ({"seeds": ("one",)}, "must be int"),
            ({"seeds": (10**9,)}, "belongs to the hold-out"),
            ({"scale": "huge"}, "scale must be one of"),
            ({"changes": {"seed": 3}}, "sets seed itself"),
            ({"changes": {"batches": 3}}, "no field batches"),
            ({"changes": {"options": {"depth": 3}}}, "no option depth"),
            ({"changes": {"options": 3}}, "options must be dict"),
            ({"changes": {"patch": 64}}, "smaller than the patch"),
            ({"without": ("beauty",)}, "no loss term is called beauty"),
            ({"without": ("ssim",)}, "no row has a term ssim"),
            ({"without": ("mse", "l1", "perceptual")}, "at least one term"),
            ({"rows": ("other",)}, "no row other"),
            ({"data": {"clean_dir": "missing"}}, "missing"),
            ({"data": {"cleen_dir": "missing"}}, "no parameter is called cleen_dir"),
            ({"sets": ("rain100k",)}, "no set is called 'rain100k'"),
            ({"sets": ("rain100l",)}, "needs the folder"),
        ],
    )
    def test_mistakes_are_told_before_any_work(self, made_up, folder, tmp_path, changes, reason):
        changes = dict(changes)
        with pytest.raises(DerainError, match=reason):
            tiny(folder, tmp_path / "out", *changes.pop("studies", ()), **changes).run()
        assert not (tmp_path / "out").exists()

    def test_rows_made_equal_by_a_shared_change(self, folder, tmp_path):
        order = tiny(folder, tmp_path / "out", "qsnet/table-4", changes={"losses": [{"term": "l1"}]}, without=())
        with pytest.raises(RecipeError, match=r"'L_C' and '\+ L_Q' would be the same training"):
            order.run()

    def test_rows_of_different_budgets(self, folder, tmp_path, monkeypatch):
        rows = (row("a", "dcdnet"), row("b", "dcdnet", changes={"batch": 5}))
        monkeypatch.setitem(STUDIES, "made/unfair", Table("made/unfair", "", "a", rows))
        with pytest.raises(RecipeError, match=r"batch is \[2, 5\] in its rows"):
            tiny(folder, tmp_path, "made/unfair").run()

    def test_a_folder_that_cannot_be_made(self, made_up, folder, tmp_path):
        (tmp_path / "out").write_text("a file")
        with pytest.raises(DerainError, match="cannot be made"):
            tiny(folder, tmp_path / "out").run()

    def test_jobs(self, made_up, folder, tmp_path):
        with pytest.raises(DerainError, match="jobs is 0"):
            tiny(folder, tmp_path).run(jobs=0)


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("studies") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, TWO.name, TWO)
        (found,) = tiny(folder, out).run()
    return out, found


@pytest.fixture
def copied(uninterrupted, tmp_path) -> Path:
    """The study's folder again, for tests that add to it."""
    return Path(shutil.copytree(uninterrupted[0], tmp_path / "copied"))


def without_seconds(found: dict) -> dict:
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in found["rows"]]
    return {name: value for name, value in found.items() if name != "seconds"} | {"rows": rows}


class TestRun:
    def test_the_report_is_what_the_weights_score(self, uninterrupted, folder):
        """Every number again from the weights on the disk, without the code under test."""
        out, found = uninterrupted
        assert json.loads((out / "made-up.json").read_text()) == found
        name, pairs = str(folder / "pairs"), evaluation.dataset(str(folder / "pairs"))
        values = {}
        for path in (out / "runs").glob("*/last.safetensors"):
            recipe, network = weights.card(path)["recipe"], weights.load(path)
            scored = evaluation.score(network, pairs)
            key = "with" if network.refinement else "without", recipe["seed"]
            values[key] = [record.estimate["psnr_rgb"] for record in scored.records]
            if network.refinement:
                network.refinement = None
                values["last", recipe["seed"]] = [
                    r.estimate["psnr_rgb"] for r in evaluation.score(network, pairs).records
                ]
        rows = {row["row"]: row["sets"][name]["psnr_rgb"] for row in found["rows"]}
        a, b, last = (np.array([values[key, 0], values[key, 1]]) for key in ("with", "without", "last"))
        assert rows["with"]["mean"] == pytest.approx(a.mean(), abs=1e-4)
        assert rows["without"]["by_seed"] == pytest.approx(b.mean(1), abs=1e-4)
        assert rows["without"]["by_image"] == pytest.approx(b.mean(0), abs=0.0051)
        assert rows["without"]["difference"]["mean"] == pytest.approx((b - a).mean(), abs=1e-4)
        assert rows["with"]["refinement"]["by_seed"] == pytest.approx((a - last).mean(1), abs=1e-4)
        assert "difference" not in rows["with"]
        assert "refinement" not in rows["without"]
        assert np.ptp(a.mean(1)) > 1e-3  # seeds matter, or the test would not see them mixed up

    def test_facts(self, uninterrupted):
        _, found = uninterrupted
        assert [row["parameters"] for row in found["rows"]] == [
            weights.card(path)["parameters"] for path in self.weights_of(uninterrupted, found)
        ]
        assert found["budget"]["seeds"] == [0, 1]
        assert (found["budget"]["steps"], found["budget"]["patch"]) == (4, 24)
        assert found["budget"]["without"] == ["perceptual"]
        assert found["budget"]["changes"] == {"options": {"stages": 2, "width": 4}, "patch": 24}
        assert found["failed"] == []
        assert "3 clean photographs" in found["data"][0]

    @staticmethod
    def weights_of(uninterrupted, found) -> list[Path]:
        out, _ = uninterrupted
        by_recipe = {weights.card(p)["recipe"]["name"]: p for p in (out / "runs").glob("*/last.safetensors")}
        return [by_recipe[row["recipe"]] for row in found["rows"]]

    def test_again_trains_nothing(self, made_up, uninterrupted, folder):
        out, found = uninterrupted
        before = times(out)
        (again,) = tiny(folder, out).run()
        assert again == found
        assert times(out) == before
        assert len(before) == 4

    def test_another_set_is_scored_without_training(self, made_up, uninterrupted, copied, folder, tmp_path):
        before = times(copied)
        (tmp_path / "one").symlink_to(folder / "pairs")
        sets = (str(folder / "pairs"), str(tmp_path / "one"))
        (more,) = tiny(folder, copied, sets=sets).run()
        assert times(copied) == before
        for old, new in zip(uninterrupted[1]["rows"], more["rows"], strict=True):
            assert list(new["sets"].values()) == [*old["sets"].values()] * 2

    def test_a_study_that_shares_rows_trains_the_rest(self, made_up, copied, folder):
        before = times(copied)
        (found,) = tiny(folder, copied, "dcdnet/table-4").run()
        assert {name: time for name, time in times(copied).items() if name in before} == before
        assert len(times(copied)) == 4 + 2  # a single stage, with two seeds
        assert [row["row"] for row in found["rows"]] == ["single stage", "no refinement", "ours"]

    def test_killed_and_run_again(self, made_up, uninterrupted, folder, tmp_path):
        """It dies in the third step of the second training: two trial steps of the check and four of the first before.

        The first training is left alone, the second goes on from its checkpoint, and the report is the same.
        """
        order = tiny(folder, tmp_path)
        code = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import torch
from dying_run import die_at_call
from derainlib import studies
from derainlib.papers import Row, Table
from derainlib.recipe import Loss, Recipe
from derainlib.studies import Order
studies.STUDIES["made/up"] = {TWO!r}
die_at_call(2 + 4 + 3, torch.optim.Adam, "step")
{order!r}.run()
"""
        killed = subprocess.run([sys.executable, "-c", code], capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        first, checkpoints = times(tmp_path), list((tmp_path / "runs").glob("*/checkpoints/step-00000002"))
        assert len(first) == 1
        assert len(checkpoints) == 2
        began = {path: path.stat().st_mtime_ns for path in checkpoints}
        (found,) = order.run()
        assert without_seconds(found) == without_seconds(uninterrupted[1])
        assert {path: path.stat().st_mtime_ns for path in checkpoints} == began
        assert first.items() <= times(tmp_path).items()

    def test_processes_give_the_same(self, made_up, uninterrupted, folder, tmp_path):
        """Two at a time, from another process pool: what one process gave."""
        (found,) = tiny(folder, tmp_path).run(jobs=2)
        assert without_seconds(found) == without_seconds(uninterrupted[1])

    def test_a_failing_row_leaves_the_others_whole(self, made_up, uninterrupted, folder, tmp_path):
        (found,) = tiny(folder, tmp_path, "made/broken").run()
        assert [(one["row"], one["seed"]) for one in found["failed"]] == [("broken", 0), ("broken", 1)]
        assert all("the loss is" in one["error"] for one in found["failed"])
        rows = {row["row"]: row for row in found["rows"]}
        assert rows["broken"]["sets"] == {}
        whole = {row["row"]: row for row in uninterrupted[1]["rows"]}
        assert {label: rows[label]["sets"] for label in whole} == {label: whole[label]["sets"] for label in whole}
        text = table(found)
        assert "failed: broken, seed 1: the loss is" in text
        assert text.count("broken") == 2

    def test_an_unexpected_error_is_named(self, made_up, folder, tmp_path, monkeypatch):
        original = workshop._score

        def fail(trial, *others):
            if trial.recipe.seed == 1:
                raise MemoryError("no room")
            original(trial, *others)

        monkeypatch.setattr(workshop, "_score", fail)
        (found,) = tiny(folder, tmp_path).run()
        assert [one["error"] for one in found["failed"]] == ["MemoryError: no room"] * 2
        assert [row["seeds"] for row in found["rows"]] == [[0], [0]]


def outcome(final: list[float], last: list[float] | None = None, seconds: int = 100) -> Outcome:
    """Scores of two or more images on the set "rain", rainy input 20 dB."""

    def scores(values, model):
        return Scores(
            model, "rain", tuple(Record(str(i), {"psnr_y": v}, {"psnr_y": 20.0}, 0.1) for i, v in enumerate(values))
        )

    card = {"data": "drawn", "hardware": "an abacus", "wall_seconds": seconds, "parameters": 1234}
    found = {("rain", FINAL): scores(final, FINAL)}
    if last:
        found["rain", LAST_STAGE] = scores(last, LAST_STAGE)
    return Outcome(card, found)


PAPER = Table(
    "p/1", "A paper, Table 1", "base",
    (row("base", "dcdnet", figures={"Rain100H": {"psnr": 30.0, "ssim": 0.9}}),
     row("more", "dcdnet", figures={"Rain100H": {"psnr": 30.5, "ssim": 0.92}}),
     row("lost", "dcdnet")),
)  # fmt: skip
OUTCOMES = {
    ("base", 0): outcome([24.0, 26.0], [23.0, 25.5]),
    ("base", 1): outcome([25.0, 27.0], [24.0, 26.5]),
    ("more", 0): outcome([25.0, 27.0], seconds=300),
    ("more", 1): outcome([25.0, 27.0]),
    ("more", 2): outcome([35.0, 37.0]),
}


class TestReport:
    def test_by_hand(self):
        """ "more" has a third seed, which its mean counts and its difference, having no partner, does not."""
        base, more, lost = report(PAPER, OUTCOMES)["rows"]
        assert base["sets"]["rain"]["psnr_y"] == {
            "mean": 25.5, "by_seed": [25.0, 26.0], "by_image": [24.5, 26.5], "rainy": 20.0,
            "refinement": {"mean": 0.75, "low": 0.5, "high": 1.0, "by_seed": [0.75, 0.75]},
        }  # fmt: skip
        found = more["sets"]["rain"]["psnr_y"]
        assert found["mean"] == pytest.approx((26 + 26 + 36) / 3, abs=1e-4)
        # Seed by seed 1 dB and 0 dB, each with probability 1/4 for both draws.
        assert found["difference"] == {"mean": 0.5, "low": 0.0, "high": 1.0, "by_seed": [1.0, 0.0]}
        assert found["by_image"] == [28.33, 30.33]  # (25 + 25 + 35) / 3, (27 + 27 + 37) / 3, as a table prints PSNR
        assert more["seconds"] == [300, 100, 100]
        assert (lost["sets"], lost["parameters"]) == ({}, None)

    def test_without_the_reference_there_are_no_differences(self):
        some = {key: value for key, value in OUTCOMES.items() if key[0] != "base"}
        more = report(PAPER, some)["rows"][1]
        assert "difference" not in more["sets"]["rain"]["psnr_y"]

    def test_table(self):
        budget = {
            "scale": "quick", "seeds": [0, 1], "steps": 1500, "batch": 8, "patch": 64,
            "changes": {"lr": 0.002}, "without": ["perceptual"],
        }  # fmt: skip
        facts = {"budget": budget, "torch": "9.9", "failed": [{"row": "lost", "seed": 0, "error": "no room"}]}
        assert table(report(PAPER, OUTCOMES) | facts).splitlines() == [
            "A paper, Table 1",
            "every row: 1,500 steps of 8 patches of 64², scale quick, seeds 0, 1, without perceptual, "
            'changed for all: {"lr": 0.002}',
            "",
            "rain (2)     parameters  s    psnr_y                        paper's difference         refinement's gain",
            "rainy input                   20.00",
            "base         1,234       100  25.50                         "
            "reference                  +0.75 [+0.50, +1.00]",
            "more         1,234       167  29.33 (+0.50 [+0.00, +1.00])  +0.50 / +0.020 (Rain100H)",
            "",
            "in brackets: difference to 'base', with its 95 % bootstrap interval over images and seeds; "
            "2 seeds show how much seeds matter, but bound it loosely",
            "0.19 hours of training on an abacus, torch 9.9; s: seconds a training",
            "failed: lost, seed 0: no room",
        ]


def without_images(found: dict) -> dict:
    """A report as earlier versions wrote it, without "by_image"."""
    bare = json.loads(json.dumps(found))
    scores = [score for row in bare["rows"] for one in row["sets"].values() for score in one.values()]
    for score in scores:
        if isinstance(score, dict):
            del score["by_image"]
    return bare


def test_reports_without_images_are_read():
    budget = {"scale": "quick", "seeds": [0, 1], "steps": 9, "batch": 8, "patch": 64, "changes": {}, "without": []}
    found = report(PAPER, OUTCOMES) | {"budget": budget, "torch": "9.9", "failed": []}
    assert table(without_images(found)) == table(found)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("study_*.json")), ids=lambda path: path.stem)
def test_published_reports_are_read(path):
    """Whatever version wrote it: every row stands in every block, with its first score."""
    found = json.loads(path.read_text())
    lines = table(found).splitlines()
    for row in found["rows"]:
        own = [line for line in lines if line.startswith(f"{row['row']}  ")]
        means = [next(iter(s[name] for name in s if name != "images"))["mean"] for s in row["sets"].values()]
        assert len(own) == len(means) > 0
        assert all(f"{mean:.2f}" in line for mean, line in zip(means, own, strict=True))


def test_two_studies_at_once_wait_for_each_other(tmp_path):
    """The lock of a folder is held by one process at a time, and goes with the process."""
    code = """
from pathlib import Path
from derainlib import files
print("ready", flush=True)
with files.locked(Path("lock"), wait=True):
    print("in")
"""
    with files.locked(tmp_path / "lock", wait=True):
        other = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1)
    assert other.communicate(timeout=60)[0] == "in\n"


def test_trainings_end_with_their_study(made_up, folder, tmp_path):
    """A process that trains for a study that was killed stops: before it begins, and between two steps."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = Owner.here()._replace(pid=ended.pid)
    trial = tiny(folder, tmp_path).trial(TWO.rows[0], 0)
    assert workshop._one(trial, (), "", gone)[1] == "the study was ended"
    assert not trial.folder.exists()
    with pytest.raises(DerainError, match="the study was ended"):
        gone.require({"step": 1})
    Owner.here().require({"step": 1})
    gone._replace(host="another machine").require({"step": 1})


def test_killed_workers_are_reported(made_up, folder, tmp_path, monkeypatch):
    """What the pool raises when the system ends one of its processes becomes an entry of the report."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    original = workshop._one

    def ended(trial, *others):
        if trial.recipe.seed == 1:
            raise TerminatedWorkerError("SIGKILL")
        return original(trial, *others)

    monkeypatch.setattr(workshop, "_one", ended)
    (found,) = tiny(folder, tmp_path).run()
    assert {one["seed"] for one in found["failed"]} == {1}
    assert all("ended from outside" in one["error"] for one in found["failed"])
