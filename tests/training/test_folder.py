"""The folder of a run: one training on one set of data, nobody else's files touched, a whole checkpoint found."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import files, training
from derainlib.data import pairs, validation
from derainlib.data.fingerprint import fingerprint
from derainlib.data.synthetic import Samples, gather
from derainlib.errors import DataError, ImageError, RecipeError
from derainlib.layers import Pair
from derainlib.models import weights
from tests.training.runs import DYING_RUN, assert_same, prepared, tiny


@pytest.fixture
def photographs(folder, tmp_path) -> Path:
    """A copy of them, to be changed."""
    return shutil.copytree(folder, tmp_path / "photographs")


def contents(run: Path) -> dict[str, tuple[bytes, int]]:
    """The bytes and the time of each file."""
    found = [path for path in run.rglob("*") if path.is_file()]
    return {str(path.relative_to(run)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


class TestData:
    def change(self, photographs: Path, how: str):
        match how:
            case "another name":
                (photographs / "1.png").rename(photographs / "9.png")
            case "another size":
                Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(
                    photographs / "1.png"
                )
            case "one more":
                shutil.copy(photographs / "1.png", photographs / "9.png")
            case "one less":
                (photographs / "1.png").unlink()

    @pytest.mark.parametrize("how", ["another name", "another size", "one more", "one less"])
    def test_a_run_goes_on_only_with_its_data(self, photographs, tmp_path, how):
        run = tmp_path / "run"
        training.train(tiny(), gather(photographs), run, stop_after=2)
        before = contents(run)
        self.change(photographs, how)
        with pytest.raises(DataError, match=r"holds a run on other data \(5 clean .*names, sizes or order") as caught:
            training.train(tiny(), gather(photographs), run)
        assert str(caught.value).isprintable()
        assert contents(run) == before

    def test_a_folder_may_be_moved(self, photographs, uninterrupted, tmp_path):
        run = tmp_path / "run"
        training.train(tiny(), gather(photographs), run, stop_after=3)
        moved = photographs.rename(tmp_path / "elsewhere")
        assert_same(training.train(tiny(), gather(moved), run).last, uninterrupted.last)

    def test_a_list_counts_by_what_it_names(self, photographs, tmp_path):
        found = []
        for lines in ("0\n1\n", "# two\n0\n1\n", "0\n2\n"):
            (tmp_path / "list.txt").write_text(lines)
            found.append(fingerprint(gather(photographs, tmp_path / "list.txt"))["sha256"])
        assert found[0] == found[1] != found[2]

    def test_pairs_count_with_both_files_and_without_those_held_back(self, photographs, tmp_path):
        for side in ("rain", "clean"):
            shutil.copytree(photographs, tmp_path / "pairs" / side)
        whole = gather(pairs_dir=tmp_path / "pairs")
        part = whole._replace(pairs=torch.utils.data.Subset(whole.pairs, [0, 3]))
        before = [fingerprint(sources) for sources in (whole, part)]
        assert [found["files"] for found in before] == [10, 4]
        self.change(tmp_path / "pairs/clean", "another size")
        again = gather(pairs_dir=tmp_path / "pairs")
        assert fingerprint(again)["sha256"] != before[0]["sha256"]
        assert fingerprint(part._replace(pairs=torch.utils.data.Subset(again.pairs, [0, 3]))) == before[1]

    def test_pictures_in_memory_count_with_their_pixels(self, folder):
        sources, image = gather(folder), torch.rand(1, 3, 24, 24)
        kinds = [sources._replace(clean=clean) for clean in ([image[0]], [1 - image[0]], [image[0], image[0]])]
        kinds += [sources._replace(clean=(), pairs=[Pair(image, image)] * count) for count in (1, 2)]
        assert len({fingerprint(kind)["sha256"] for kind in kinds}) == 5

    def test_a_run_of_an_earlier_version_goes_on_with_a_word(self, photographs, uninterrupted, tmp_path):
        run = tmp_path / "run"
        training.train(tiny(), gather(photographs), run, stop_after=3)
        (run / "data.json").unlink()
        for sums in run.glob("checkpoints/*/sha256.json"):
            sums.unlink()
        with pytest.warns(UserWarning, match="does not tell what its run was trained on"):
            assert_same(training.train(tiny(), gather(photographs), run).last, uninterrupted.last)
        assert json.loads((run / "data.json").read_text())["files"] == 5

    @pytest.mark.parametrize("text", ["", "[]", "{}", "\xff"])
    def test_a_note_that_is_damaged(self, photographs, tmp_path, text):
        training.train(tiny(), gather(photographs), tmp_path / "run", stop_after=2)
        (tmp_path / "run/data.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=r"data\.json cannot be read"):
            training.train(tiny(), gather(photographs), tmp_path / "run")


@pytest.mark.parametrize("closed", ["", "checkpoints"])
def test_a_closed_folder_is_refused_before_anything_is_logged(photographs, tmp_path, closed, monkeypatch):
    run, made = tmp_path / "run", files.tempfile.TemporaryFile
    training.train(tiny(), gather(photographs), run, stop_after=2)
    before = contents(run)

    def refuse(dir):
        if Path(dir) == run / closed:
            raise PermissionError(13, "Permission denied", str(dir))  # root, as whom tests run, may write in any
        return made(dir=dir)

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(RecipeError, match=r"nothing can be saved in .*\(Permission denied\)"):
        training.train(tiny(), gather(photographs), run)
    assert contents(run) == before


class TestFinished:
    def test_nothing_of_it_is_written(self, folder, uninterrupted, tmp_path):
        run = shutil.copytree(uninterrupted.folder, tmp_path / "run")
        before = contents(run)
        again = training.train(tiny().replace(name="another"), gather(folder), run)
        assert contents(run) == before
        assert (again.steps, again.history) == (6, uninterrupted.history)
        assert again.seconds == pytest.approx(uninterrupted.seconds, abs=1)

    def test_its_checkpoints_may_be_deleted(self, folder, uninterrupted, tmp_path):
        run = shutil.copytree(uninterrupted.folder, tmp_path / "run")
        shutil.rmtree(run / "checkpoints")
        assert training.train(tiny(), gather(folder), run).steps == 6
        assert_same(run / "last.safetensors", uninterrupted.last)
        assert not list((run / "checkpoints").iterdir())

    def test_weights_without_a_checkpoint_are_not_trained_over(self, folder, tmp_path):
        training.train(tiny(), gather(folder), tmp_path, stop_after=3)
        shutil.rmtree(tmp_path / "checkpoints")
        with pytest.raises(RecipeError, match="weights of 3 steps and no checkpoint to go on from"):
            training.train(tiny(), gather(folder), tmp_path)

    def job(self, folder: Path, run: Path, steps: int, **changes) -> training.Job:
        changes = {"patch": 24, "options": {"stages": 1, "width": 8}} | changes
        return training.Job("srn", str(run), "tiny", clean_dir=str(folder), steps=steps, changes=changes)

    def test_more_steps_are_a_phase(self, folder, tmp_path):
        """The steps asked for are those of all phases: what was asked for once is done once."""
        first = self.job(folder, tmp_path, 3).run()
        before = contents(tmp_path)
        for _ in range(2):
            second = self.job(folder, tmp_path, 5).run()
            card = weights.card(second.last)
            assert (second.folder.name, card["steps"]) == ("phase-2", 2)
            assert card["start_sha256"] == weights.header(first.last)["sha256"]
        third = self.job(folder, tmp_path, 9).run()
        assert (third.folder.name, weights.card(third.last)["steps"]) == ("phase-3", 4)
        assert {name: held for name, held in contents(tmp_path).items() if "phase" not in name} == before
        assert self.job(folder, tmp_path, 3).run().folder == tmp_path

    def test_what_differs_is_named(self, folder, tmp_path):
        self.job(folder, tmp_path, 3).run()
        with pytest.raises(RecipeError, match=r"another recipe \(srn: steps 3 there, 2 here\); end it as it began"):
            self.job(folder, tmp_path, 2).run()
        with pytest.raises(
            RecipeError, match=r"steps 3 there, 5 here, lr 0.001 there, 0.5 here\); choose another folder"
        ):
            self.job(folder, tmp_path, 5, lr=0.5).run()

    def test_a_run_that_is_not_finished_is_not_prolonged(self, folder, tmp_path):
        job = self.job(folder, tmp_path, 4)
        training.train(job.plan()[0], job.plan()[1], tmp_path, stop_after=2)
        with pytest.raises(RecipeError, match=r"steps 4 there, 6 here\); end it as it began \(a longer training"):
            self.job(folder, tmp_path, 6).run()


class TestCheckpoints:
    def test_what_others_put_there_stays(self, folder, uninterrupted, tmp_path):
        training.train(tiny(), gather(folder), tmp_path, stop_after=4)
        there = tmp_path / "checkpoints"
        for name in (
            ".DS_Store",
            "step-00000004.zip",
            "._step-00000004",
            "step-00000009 (copy)/model",
            ".mine/a",
            "Icon",
        ):
            (there / name).parent.mkdir(exist_ok=True)
            (there / name).write_text("mine")
        (there / ".step-00000006").mkdir()
        before = {name for name in os.listdir(there) if not name.endswith("6")}
        (there / "step-00000004/.DS_Store").write_text("mine")
        assert_same(training.train(tiny(), gather(folder), tmp_path).last, uninterrupted.last)
        assert set(os.listdir(there)) - before == {"step-00000006"}
        assert before - set(os.listdir(there)) == {"step-00000002"}

    def damage(self, checkpoint: Path, how: str):
        path = checkpoint / "optimizer.bin"
        match how:
            case "a bit":
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
            case "cut":
                path.write_bytes(path.read_bytes()[:-100])
            case "gone":
                path.unlink()
            case "empty":
                shutil.rmtree(checkpoint)
                checkpoint.mkdir()

    @pytest.mark.parametrize("how", ["a bit", "cut", "gone", "empty"])
    def test_the_newest_whole_one_is_found_and_said(self, folder, uninterrupted, tmp_path, how):
        training.train(tiny(), gather(folder), tmp_path, stop_after=4)
        self.damage(tmp_path / "checkpoints/step-00000004", how)
        with pytest.warns(UserWarning, match="step-00000004 is damaged .* goes on from step-00000002"):
            result = training.train(tiny(), gather(folder), tmp_path)
        assert [record["step"] for record in result.history] == [1, 2, 3, 4, 5, 6]
        assert_same(result.last, uninterrupted.last)
        found = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
        assert found == ["step-00000004", "step-00000004.damaged", "step-00000006"]

    def test_without_any_whole_one_nothing_is_begun_anew(self, folder, tmp_path):
        training.train(tiny(), gather(folder), tmp_path, stop_after=4)
        for path in (tmp_path / "checkpoints").iterdir():
            self.damage(path, "cut")
        before = contents(tmp_path)
        for _ in range(2):
            with pytest.raises(RecipeError, match=r"no checkpoint can be read \(.*step-00000004: optimizer.bin is not"):
                training.train(tiny(), gather(folder), tmp_path)
        assert contents(tmp_path) == before


class TestAlone:
    def test_a_second_training_is_refused(self, folder, tmp_path):
        with files.locked(tmp_path / "run.lock"), pytest.raises(RecipeError, match="another process trains in"):
            training.train(tiny(), gather(folder), tmp_path)
        assert os.listdir(tmp_path) == ["run.lock"]

    def test_one_that_began_meanwhile_is_refused_too(self, folder, tmp_path):
        refused = []

        def begin(record: training.Record):
            if record["step"] == 3:
                other = [sys.executable, DYING_RUN, folder, "never", tmp_path]
                refused.append(subprocess.run(other, capture_output=True, text=True, timeout=300).stderr)

        result = training.train(tiny(), gather(folder), tmp_path, observers=[begin])
        assert "another process trains in" in refused[0].splitlines()[-1]
        assert result.steps == 6

    def test_processes_that_make_samples_let_go_with_the_training(self, folder, uninterrupted, tmp_path):
        """A killed training's workers live for some seconds more."""
        run = prepared(tmp_path / "run", tiny())
        code = "import sys; from tests import dying_run; dying_run.with_workers(*sys.argv[1:])"
        done = subprocess.run([sys.executable, "-c", code, folder, "step", run], capture_output=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
        assert_same(training.train(tiny(), gather(folder), run).last, uninterrupted.last)


class TestSamples:
    """What is wrong with the data is said before the first step, or in one line."""

    def test_too_small_ones_are_named_before_the_first_step(self, photographs, tmp_path):
        for name in ("7.png", "8.png"):
            Image.new("RGB", (48, 20)).save(photographs / name)
        with pytest.raises(DataError, match=r"smaller than the patch of 24: .*7.png \(48x20\), .*8.png") as caught:
            training.train(tiny(), gather(photographs), tmp_path / "run")
        assert "1.png" not in str(caught.value)
        assert not (tmp_path / "run").exists()

    def test_too_small_pairs_are_named_too(self, photographs, tmp_path):
        Image.new("RGB", (20, 48)).save(photographs / "7.png")
        for side in ("rain", "clean"):
            shutil.copytree(photographs, tmp_path / "pairs" / side)
        sources = gather(pairs_dir=tmp_path / "pairs")
        assert isinstance(sources.pairs, pairs.PairFolder)
        with pytest.raises(DataError, match=r"7.png \(20x48\)"):
            Samples(pairs=sources.pairs, patch=24).check_sizes()
        left, _ = validation.hold_back(sources._replace(pairs=sources.pairs[:5]), 1)
        Samples(pairs=left.pairs, patch=24).check_sizes()

    def test_headers_that_cannot_be_read_are_named_too(self, photographs, tmp_path):
        (photographs / "7.png").write_bytes(b"")
        with pytest.raises(DataError, match=r"cannot be read: .*7.png: the file is empty; `derain check`"):
            training.train(tiny(), gather(photographs), tmp_path / "run")

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_damaged_one_is_one_line(self, photographs, tmp_path, workers):
        whole = (photographs / "2.png").read_bytes()
        (photographs / "2.png").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ImageError) as caught:
            training.train(tiny(), gather(photographs), tmp_path / "run", workers=workers)
        assert str(caught.value).startswith(f"{photographs / '2.png'}: damaged")
        assert str(caught.value).isprintable()

    def test_a_worker_that_is_killed_is_one_line(self, folder, tmp_path, monkeypatch):
        def die(*_):
            if torch.utils.data.get_worker_info():
                os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(Samples, "_read_photograph", die)
        with pytest.raises(DataError, match="ended from outside") as caught:
            training.train(tiny(), gather(folder), tmp_path, workers=1)
        assert str(caught.value).isprintable()
