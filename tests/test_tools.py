"""What trains, packs and ships the weights, at a tiny scale."""

import argparse
import dataclasses
import importlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from derainlib import images, metrics, recipes, studies, training
from derainlib.data import samples, synthetic, validation
from derainlib.models import weights
from tests.small_data import made, write

FOLDER = Path(__file__).parents[1] / "tools"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"))


def test_every_tool_is_listed_and_helps(tool, capsys):
    listed = (FOLDER / "README.md").read_text()
    for path in FOLDER.glob("*.py"):
        assert f"`{path.name}`" in listed
        with pytest.raises(SystemExit, match="0"):
            tool(path.stem).main(["--help"])
        assert f"python tools/{path.name}" in capsys.readouterr().out


def test_ship_takes_the_last_weights(tool, tmp_path, monkeypatch):
    """With the phases that led to them; a start that has become other weights since is no phase of theirs."""
    from derainlib.data.synthetic import gather

    monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
    ship = tool("ship").main
    recipe = recipes.get("srn", "tiny", options={"stages": 1, "width": 6}, ema=0.5, batch=8, patch=64)
    first = training.train(recipe, gather(), tmp_path / "first")
    ship(["mine", str(first.folder), "--data", "streets"])
    _before_phases_told_their_hardware(weights.FOLDER / "mine.json", "an abacus")
    second = training.train(recipe.replace(start="mine", steps=2), gather(), tmp_path / "second")
    ship(["mine", str(second.folder), "--data", "streets"])
    card = weights.card("mine")
    assert [phase["steps"] for phase in card["phases"]] == [4, 2]
    assert card["phases"][1]["start_sha256"] == weights.header(first.last)["sha256"]
    assert card["steps"] == 6
    assert card["megapixels"] == 0.2 == round(6 * 8 * 64**2 / 1e6, 1)
    assert card["hardware"] == f"an abacus, then {weights.card(second.last)['hardware']}"
    expected = weights.load(second.last).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in weights.load("mine").state_dict().items())
    with pytest.raises(SystemExit, match="started from other weights than the shipped mine"):
        ship(["mine", str(second.folder), "--data", "streets"])


def _before_phases_told_their_hardware(card: Path, hardware: str):
    """Makes a card what an earlier version wrote."""
    told = json.loads(card.read_text()) | {"hardware": hardware}
    for phase in told["phases"]:
        del phase["hardware"]
    card.write_text(json.dumps(told))


class TestShipFree:
    """`--free`: the licence says that no research data set's terms bind the weights, where that is so."""

    @pytest.fixture
    def ship(self, tool, tmp_path, monkeypatch):
        monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
        script = tool("ship")
        return lambda *words: script.main([*map(str, words), "--data", "photographs"])

    def run(self, folder, data, rain="allround-drawn", **changes):
        recipe = recipes.get("srn", "tiny", options={"stages": 1, "width": 6}, rain=rain, **{"steps": 1} | changes)
        return training.train(recipe, data, folder).folder

    @pytest.fixture
    def cc0(self, small_data):
        return synthetic.gather(small_data / "cc0", small_data / "splits/cc0_train.txt", rain_style="allround-drawn")

    def test_of_photographs_and_drawn_rain(self, ship, cc0, tmp_path):
        first = self.run(tmp_path / "first", cc0._replace(note=f"{cc0.note}; 1 held back for validation"))
        ship("mine", first, "--free")
        assert "no research data set's terms bind them" in weights.card("mine")["licence"]
        second = self.run(tmp_path / "second", cc0, start="mine")
        third = self.run(tmp_path / "third", cc0, start=str(second / "last.safetensors"))
        with pytest.raises(SystemExit, match=r"last\.safetensors, which it started from, is neither shipped as free"):
            ship("mine", third, "--free")
        ship("mine", second, third, "--free")
        assert len(weights.card("mine")["phases"]) == 3

    def test_a_start_that_is_bound_binds(self, ship, cc0, tmp_path):
        first = self.run(tmp_path / "first", cc0)
        ship("mine", first)
        assert "research data sets" in weights.card("mine")["licence"]
        second = self.run(tmp_path / "second", cc0, start="mine")
        with pytest.raises(SystemExit, match="mine, which it started from, is neither shipped as free"):
            ship("mine", second, "--free")

    @pytest.mark.parametrize(
        ("folders", "told"),
        [
            ({"pairs_dir": "rain800/training"}, "rainy/clean pairs of training"),
            ({"streaks_dir": "streaks"}, "rain layers of streaks"),
            ({"clean_dir": "urban100"}, "clean photographs of urban100"),
            ({"clean_dir": ""}, "clean photographs of "),
            ({"clean_dir": None}, "stand-ins"),
        ],
    )
    def test_other_data_bind(self, ship, small_data, tmp_path, folders, told):
        places = {"clean_dir": "cc0"} | folders
        sources = synthetic.gather(**{k: small_data / v for k, v in places.items() if v is not None})
        with pytest.raises(SystemExit, match=f"mine is not free.*{told}"):
            ship("mine", self.run(tmp_path / "run", sources), "--free")
        assert not (tmp_path / "shipped").exists()

    def test_rain_from_files_and_judges_bind(self, ship, small_data, cc0, tmp_path):
        layers = synthetic.rain_layers(small_data / "streaks")
        run = self.run(tmp_path / "layers", cc0._replace(layers=layers), rain="allround")
        with pytest.raises(SystemExit, match="allround rain is laid on from files"):
            ship("mine", run, "--free")
        judged = self.run(tmp_path / "judged", cc0)
        recipe = json.loads((judged / "recipe.json").read_text())
        recipe["losses"] += [{"term": "semantic", "weight": 1.0, "options": {"network": "phi"}}]
        (judged / "recipe.json").write_text(json.dumps(recipe))
        with pytest.raises(SystemExit, match="semantic judges by a network"):
            ship("mine", judged, "--free")


def test_ship_tells_no_folders(tool, tmp_path, monkeypatch):
    """A card goes out: of files it has the names alone; shipped names stay."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
    recipe = recipes.get("srn", "tiny", options={"stages": 1, "width": 6}, steps=1)
    first = training.train(recipe, synthetic.gather(), tmp_path / "first")
    second = training.train(recipe.replace(start=str(first.last)), synthetic.gather(), tmp_path / "second")
    path = second.folder / "recipe.json"
    judges = [{"weights": str(tmp_path / "vgg16.safetensors"), "layer": "conv3_3"}, {"network": "phi"}, {}]
    losses = [{"term": "some", "weight": 1.0, "options": options} for options in judges]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"losses": losses}))
    tool("ship").main(["mine", str(first.folder), str(second.folder), "--data", "streets"])
    card = weights.card("mine")
    assert str(tmp_path) not in json.dumps(card)
    assert [one["recipe"]["start"] for one in card["phases"]] == ["", "last.safetensors"]
    found = [loss["options"] for loss in card["phases"][1]["recipe"]["losses"]]
    assert found == [{"weights": "vgg16.safetensors", "layer": "conv3_3"}, {"network": "phi"}, {}]


def test_ship_takes_a_run_from_the_tar(tool, tmp_path, monkeypatch):
    """Without its checkpoints; and whether it was validated or not."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
    recipe = recipes.get("srn", "tiny", options={"stages": 1, "width": 6}, validate_every=2)
    for name, held in (("judged", validation.streets(1)), ("alone", ())):
        training.train(recipe, synthetic.gather(), tmp_path / "out" / name, validation=held)
    packed = tool("train_weights").pack_up(argparse.Namespace(out=tmp_path / "out"))
    with tarfile.open(packed) as tar:
        tar.extractall(tmp_path / "home", filter="data")
    for name, points in (("judged", 2), ("alone", 0)):
        assert not (tmp_path / "home" / name / "checkpoints").exists()
        tool("ship").main([name, str(tmp_path / "home" / name), "--data", "streets"])
        (phase,) = weights.card(name)["phases"]
        assert (phase["steps"], len(phase["curve"])) == (4, points)


class TestTrainWeights:
    """`make weights`, at the tiny scale."""

    def words(self, out, data, *more):
        tiny = ["--minutes=0.05", "--scale=tiny", "--limit=1", "--set", '{"validate_every": 1000, "patch": 32}']
        return [str(out), "--data", str(data), "--networks", "dcdnet", "menet-free", *tiny, *more]

    def test_trains_goes_on_and_packs_up(self, tool, small_data, tmp_path, capsys):
        script, out = tool("train_weights"), tmp_path / "campaign"
        assert script.main(self.words(out, small_data, "--jobs", "2")) == 0
        told = capsys.readouterr().out
        assert told.count(" steps, ") == 2
        assert "dcdnet: " in told
        assert " -> " in told
        card = weights.card(out / "dcdnet" / "last.safetensors")
        assert card["recipe"]["start"] == "dcdnet"
        assert card["options"] == weights.card("dcdnet")["options"]
        assert "4 rain layers" in card["data"]
        assert "2 rainy/clean pairs" in card["data"]
        free = weights.card(out / "menet-free" / "last.safetensors")
        assert free["recipe"]["rain"] == "allround-drawn"
        assert "cc0" in free["data"]
        assert not any(word in free["data"] for word in ("pairs", "layers"))
        with tarfile.open(out / "weights.tar") as tar:
            assert {"dcdnet/last.safetensors", "dcdnet/last.json", "dcdnet/metrics.jsonl"} <= set(tar.getnames())
        before = (out / "dcdnet" / "last.safetensors").stat().st_mtime_ns
        assert script.main(self.words(out, small_data)) == 0  # finished ones stay
        assert (out / "dcdnet" / "last.safetensors").stat().st_mtime_ns == before

    def test_a_failure_is_told_and_stops_no_other(self, tool, small_data, tmp_path, capsys):
        script, out = tool("train_weights"), tmp_path / "campaign"
        made(out / "dcdnet" / "recipe.json").write_text("of something else")
        assert script.main(self.words(out, small_data)) == 1
        told = capsys.readouterr().out
        assert f"dcdnet: failed, see {out / 'dcdnet'}.log" in told
        assert "menet-free: " in told

    def test_lists_name_what_may_train_and_nothing_else(self, tool, small_data, tmp_path):
        script = tool("train_weights")
        options = script.parse([str(tmp_path), "--data", str(small_data), "--minutes", "1"])
        script.write_lists(options)
        clean = (tmp_path / "lists/clean.txt").read_text().split()
        assert clean == [f"{folder}/{k}.png" for folder in ("bsds500/train", "urban100", "cc0") for k in range(1, 6)]
        streaks = (tmp_path / "lists/streaks.txt").read_text().split()
        assert streaks == ["garg/0.png", "garg/1.png", "garg/2.png", "raintrainh/2.png"]

    def test_a_card_that_is_missing_is_written_again(self, tool, small_data, tmp_path):
        """A kill between weights and card: the training goes on from its checkpoint and adds no phase."""
        script, out = tool("train_weights"), tmp_path / "campaign"
        words = self.words(out, small_data, "--networks", "menet-free")
        assert script.main(words) == 0
        run = out / "menet-free"
        card = weights.card(run / "last.safetensors")
        (run / "last.json").unlink()
        assert script.main(words) == 0
        again = weights.card(run / "last.safetensors")
        assert (again["sha256"], again["steps"]) == (card["sha256"], card["steps"])
        assert not (run / "phase-2").exists()

    def test_gains_that_cannot_be_told_stop_nothing(self, tool, small_data, tmp_path, monkeypatch, capsys):
        script, out = tool("train_weights"), tmp_path / "campaign"
        made(out / "menet" / "last.json").write_text("{}")
        monkeypatch.setattr(script, "train", lambda options: {"menet": 0, "dcdnet": 1})
        assert script.main(self.words(out, small_data)) == 1
        told = capsys.readouterr().out
        assert "menet: trained, but its gains cannot be told: there is no weights file" in told
        assert "dcdnet: failed" in told
        with tarfile.open(out / "weights.tar") as tar:
            assert tar.getnames() == ["menet/last.json"]

    @pytest.mark.parametrize(
        ("jobs", "networks", "minutes"),
        [
            (1, {"srn": 6}, [60]),
            (2, {"srn": 6}, [60]),  # the other job has nothing to do
            (1, {"srn": 6, "brn": 6, "phpnet": 3}, [24, 24, 12]),
            (2, {"srn": 6, "brn": 6}, [60, 60]),
            (2, {"srn": 6, "brn": 6, "phpnet": 3}, [40, 40, 20]),
            (2, {"phpnet": 3, "menet": 3, "srn": 6}, [20, 20, 40]),
            (3, {"srn": 6, "phpnet": 3, "menet": 3, "brn": 6}, [40, 20, 20, 40]),
        ],
    )
    def test_the_time_is_what_was_asked_for(self, tool, tmp_path, monkeypatch, jobs, networks, minutes):
        script = tool("train_weights")
        for name, share in networks.items():
            monkeypatch.setitem(script.NETWORKS, name, dataclasses.replace(script.NETWORKS[name], share=share))
        words = [str(tmp_path), "--minutes", "60", "--jobs", str(jobs), "--networks", *networks]
        found = script.budget(script.parse(words))
        assert found == pytest.approx(dict(zip(networks, minutes, strict=True)))
        assert script.makespan(found.values(), jobs) == pytest.approx(60)

    def test_what_is_not_there_is_left_out(self, tool, small_data, tmp_path, capsys):
        script, data = tool("train_weights"), tmp_path / "data"
        shutil.copytree(small_data, data)
        for part in ("urban100", "streaks", "rain800"):
            shutil.rmtree(data / part)
        (data / "splits" / "bsds500_train.txt").write_text("# none\n")
        options = script.parse([str(tmp_path / "out"), "--data", str(data), "--minutes", "1", "--networks", "menet"])
        script.write_lists(options)
        script.check_data(options)
        told = capsys.readouterr().err
        for part in ("bsds500", "urban100", "streaks/garg", "streaks/raintrainh", "rain800/training"):
            assert f"{part}: nothing of it may train in" in told
        assert (tmp_path / "out/lists/clean.txt").read_text().split() == [f"cc0/{k}.png" for k in range(1, 6)]
        words = script.command("menet", options, 1)
        assert not {"--streaks-dir", "--pairs-dir"} & set(words)
        assert 'rain="allround-drawn"' in words
        shutil.rmtree(data / "cc0")
        assert script.main([str(tmp_path / "out"), "--data", str(data), "--minutes", "1"]) == 2
        assert "has no photographs or pairs that may train srn" in capsys.readouterr().err

    def test_lists_are_read_as_everywhere(self, tool, small_data, tmp_path):
        script, data = tool("train_weights"), tmp_path / "data"
        shutil.copytree(small_data, data)
        untidy(data)
        options = script.parse([str(tmp_path / "out"), "--data", str(data), "--minutes", "1"])
        script.write_lists(options)
        lists = tmp_path / "out/lists"
        assert (lists / "cc0_train.txt").read_text().splitlines() == ["1.png", "a bridge.png"]
        assert (lists / "clean.txt").read_text().splitlines()[-2:] == ["cc0/1.png", "cc0/a bridge.png"]
        assert (lists / "streaks.txt").read_text().splitlines()[:3] == ["garg/0.png", "garg/1.png", "garg/2.png"]
        words = script.command("menet-free", options, 1)
        found = synthetic.gather(*(words[words.index(option) + 1] for option in ("--clean-dir", "--clean-list")))
        assert [path.name for path in found.clean] == ["1.png", "a bridge.png"]

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--minutes", "nan"], "--minutes must be positive and finite"),
            (["--minutes", "inf"], "--minutes must be positive and finite"),
            (["--set", "lr"], "takes a JSON object, such as '{\"lr\": 0.001}'; got lr"),
            (["--set", "[1]"], "takes a JSON object"),
            (["--start", "nowhere"], "--start nowhere is no folder: name a campaign"),
            (["--start", "."], "--start . has no weights of dcdnet, menet-free: name a campaign"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, tool, small_data, tmp_path, monkeypatch, capsys, words, told):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit):
            tool("train_weights").main(self.words(tmp_path / "campaign", small_data, *words))
        assert told in capsys.readouterr().err
        assert not (tmp_path / "campaign").exists()


def untidy(data: Path):
    """Makes of the data what people's folders look like: notes in a list, a name of two words, files of no image."""
    (data / "cc0/2.png").rename(data / "cc0/a bridge.png")
    (data / "splits/cc0_train.txt").write_text("\ufeff1.png\n\n# by the river\n  a bridge.png\r\n", encoding="utf-8")
    for folder in ("cc0", "streaks/garg", "camvid/train/images"):
        made(data / folder / ".DS_Store").write_text("not an image")
        (data / folder / "Thumbs.db").write_text("not an image")


def test_pack_holds_what_may_train(tool, small_data, tmp_path, capsys):
    target = tmp_path / "pack"
    assert tool("pack").main([str(target), "--data", str(small_data)]) == 0
    assert (target / "splits/cc0_train.txt").read_text().split() == [f"{k}.webp" for k in range(1, 6)]
    assert sorted(path.name for path in (target / "rain800/training").iterdir()) == ["0.webp", "1.webp"]
    assert sorted(path.name for path in (target / "streaks/raintrainh").iterdir()) == ["2.webp"]
    assert len(list((target / "bsds500").rglob("*.webp"))) == 5
    original, packed = (images.read(path) for path in (small_data / "cc0/3.png", target / "cc0/3.webp"))
    assert metrics.psnr(packed[None], original[None]).item() > 25
    script = tool("train_weights")
    script.write_lists(script.parse([str(tmp_path), "--data", str(target), "--minutes", "1"]))
    sources = synthetic.gather(target, tmp_path / "lists/clean.txt", rain_style="light")
    assert len(sources.clean) == 15
    with pytest.raises(SystemExit):
        tool("pack").main([str(target), "--data", str(small_data)])
    assert "is there already" in capsys.readouterr().err


def test_pack_that_does_not_fit(tool, small_data, tmp_path, capsys):
    assert tool("pack").main([str(tmp_path / "p"), "--data", str(small_data), "--megabytes", "0.01"]) == 1
    assert "allow more with --megabytes" in capsys.readouterr().err


def test_pack_of_untidy_folders(tool, small_data, tmp_path, capsys):
    data, target = tmp_path / "data", tmp_path / "pack"
    shutil.copytree(small_data, data)
    shutil.rmtree(data / "urban100")
    untidy(data)
    images.write(samples.street((70, 80), seed=90)[0][0], data / "camvid/train/images/0.png")
    (data / "splits/raintrainh_train.txt").write_text("# none\n")
    assert tool("pack").main([str(target), "--data", str(data)]) == 0
    told = capsys.readouterr().out
    for part in ("urban100", "streaks/raintrainh"):
        assert f"{part}: nothing of it may train in" in told
    assert (target / "splits/cc0_train.txt").read_text().splitlines() == ["1.webp", "a bridge.webp"]
    assert sorted(path.name for path in (target / "cc0").iterdir()) == ["1.webp", "a bridge.webp"]
    assert sorted(path.name for path in (target / "streaks/garg").iterdir()) == ["0.webp", "1.webp", "2.webp"]
    assert [path.name for path in (target / "camvid/train/images").iterdir()] == ["0.webp"]
    (data / "splits/cc0_train.txt").unlink()
    assert tool("pack").main([str(tmp_path / "again"), "--data", str(data)]) == 1
    assert "there is no list" in capsys.readouterr().err


def test_pack_counts_labels(tool, small_data, tmp_path, capsys):
    """However large they are: all files together stay within what was asked for, or it is refused."""
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    for k in range(4):
        images.write(samples.street((70, 80), seed=90 + k)[0][0], made(data / "camvid/train/images" / f"{k}.png"))
        made(data / "camvid/train/labels" / f"{k}.png").write_bytes(bytes(10_000))
    script, target = tool("pack"), tmp_path / "pack"
    assert script.main([str(target), "--data", str(data), "--megabytes", "0.6"]) == 0  # 24 kB of it for streets
    assert len(list((target / "camvid/train/labels").iterdir())) == 2
    assert sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) <= 600_000
    assert script.main([str(tmp_path / "all"), "--data", str(data), "--megabytes", "16"]) == 0
    assert len(list((tmp_path / "all/camvid/train/labels").iterdir())) == 4


def test_pack_means_what_it_says(tool, small_data, tmp_path, capsys):
    """Photographs are not thinned: what they take at the worst quality is just enough, and one byte less is not."""
    script, data = tool("pack"), tmp_path / "data"
    shutil.copytree(small_data / "cc0", data / "cc0")
    shutil.copytree(small_data / "splits", data / "splits")
    names = script.members(data, "cc0", "cc0_train.txt")
    size = sum(script.packed(data, name, script.WORST).bytes for name in names)
    words = ["--data", str(data), "--megabytes"]
    assert script.main([str(tmp_path / "fits"), *words, f"{size / 1e6:.6f}"]) == 0
    assert sum(path.stat().st_size for path in (tmp_path / "fits").rglob("*") if path.is_file()) <= size
    assert script.main([str(tmp_path / "does not"), *words, f"{(size - 1) / 1e6:.6f}"]) == 1
    assert "allow more with --megabytes" in capsys.readouterr().err


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tables(tool, monkeypatch):
    """`tools/tables.py` with one plan, two trainings of a tiny network."""
    script = tool("tables")
    tiny = {"options": {"width": 4, "stages": 1}, "batch": 2, "patch": 32, "precision": "no", "checkpoint_every": 1}
    plan = script.Plan(("srn/table-1",), 2, "heavy", ("skimage-heavy",), tiny)
    monkeypatch.setattr(script, "PLANS", {"srn": plan})
    return script


def test_tables_are_trained_and_kept(tables, small_data, tmp_path, capfd):
    out, results = tmp_path / "out", tmp_path / "results"
    words = [str(out), "--data", str(small_data), "--results", str(results), "--seeds", "3"]
    assert tables.main([*words, "--minutes", "1e-9"]) == 1
    assert "the time was over in the plan srn" in capfd.readouterr().out
    assert not results.exists()
    assert tables.main(words) == 0
    report = json.loads((results / "study_srn-table-1.json").read_text())
    assert [row["row"] for row in report["rows"]] == ["SRN-MSE", "SRN-SSIM", "SRN-RecSSIM"]
    assert report["budget"]["steps"] == 2
    assert report["budget"]["seeds"] == [3]
    assert report["budget"]["rain"] == "heavy"
    assert report["budget"]["clip"] == 0.0
    kept = sorted(path.stem for path in (out / "weights").glob("*.safetensors"))
    assert kept == ["srn-table-1-SRN-MSE", "srn-table-1-SRN-RecSSIM", "srn-table-1-SRN-SSIM"]
    half = weights.load(out / "weights" / "srn-table-1-SRN-MSE.safetensors")
    assert half.options["width"] == 4
    assert weights.card(out / "weights" / "srn-table-1-SRN-MSE.safetensors")["steps"] == 2


def test_tables_tell_their_cost(tables, small_data, tmp_path, capsys):
    assert tables.main([str(tmp_path), "--data", str(small_data), "--cost", "--results", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / tables.COSTS).read_text())
    assert kept["srn"]["trainings"] == 6
    assert kept["srn"]["seeds"] == 2
    assert capsys.readouterr().out.startswith("srn: 6 trainings, 0.0 hours of one core")
    assert not list(tmp_path.glob("srn/runs/*/last.safetensors"))


def test_every_plan_can_be_asked_for(tool, small_data, tmp_path):
    """Down to a step of every row, where its data are no research data."""
    script = tool("tables")
    options = script.parse([str(tmp_path), "--data", str(small_data)])
    script.write_lists(options)
    studied = [name for plan in script.PLANS.values() for name in plan.studies]
    assert len(set(studied)) == len(studied)
    assert {*studies.STUDIES} - {*studied} == {"menet/table-4"}  # for want of VGG19's weights
    for name, plan in script.PLANS.items():
        asked = script.order(plan, tmp_path / name, options)
        rows = [row for study in asked.chosen() for row in study.rows]
        if plan.streets:
            assert rows
            continue
        recipes_of = [asked.trial(row, 0).recipe for row in rows]
        judges = {
            loss.options["weights"] for recipe in recipes_of for loss in recipe.losses if loss.term == "perceptual"
        }
        assert judges - {"untrained"} == ({str(small_data / script.VGG)} if plan.vgg else set())
        assert {recipe.clip for recipe in recipes_of} == {0.0}
        assert {recipe.steps for recipe in recipes_of} == {plan.steps}


def test_tables_refuse(tool, capsys, monkeypatch, small_data):
    script = tool("tables")
    monkeypatch.delenv("DERAIN_DATA", raising=False)
    for words, told in (
        (["out"], "must name the folder of the research data"),
        (["out", "--data", str(small_data), "--minutes", "0"], "--minutes must be positive"),
        (["out", "--data", str(small_data), "--plans", "snow"], "invalid choice: 'snow'"),
        (
            ["out", "--data", str(small_data), "--plans", "brn", "--tables", "qsnet/table-4"],
            "has the table qsnet/table-4",
        ),
    ):
        with pytest.raises(SystemExit):
            script.parse(words)
        assert told in capsys.readouterr().err


def test_single_tables_of_the_plans(tool, small_data, tmp_path):
    script = tool("tables")
    options = script.parse([str(tmp_path), "--data", str(small_data), "--tables", "qsnet/table-5", "brn/table-4"])
    asked = [script.order(script.PLANS[name], tmp_path, options).studies for name in options.plans]
    assert asked == [("qsnet/table-5",), ("brn/table-4",)]


def test_ledger_on_the_page_is_the_measured_one(tool):
    script = tool("ledger")
    text = script.ledger()
    assert script.fill(f"before {script.START} old {script.END} after", text) == (
        f"before {script.START}\n\n{text}\n\n{script.END} after"
    )
    assert f"{script.START}\n\n{text}\n\n{script.END}" in script.PAGE.read_text()
    assert text.count("\n") == len(script.PLANS) + 1
