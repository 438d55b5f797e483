"""The benchmarks that tables quote run, and what they write is complete; how quick anything is stays their business."""

import argparse
import dataclasses
import importlib
import itertools
import json
import shutil
import tarfile
import time
from pathlib import Path

import pytest
import torch

from derainlib import images, metrics, rain, recipes, training
from derainlib.data import samples, synthetic, validation
from derainlib.models import weights

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_network_speed(benchmark, tmp_path):
    out = tmp_path / "speed.json"
    networks = ["qsnet", "qsnet-no-sharing", "phpnet", "srn", "brn", "brn, textbook"]
    options = ["--sizes", "48", "--repeat", "1", "--networks", *networks, "--out", str(out)]
    assert benchmark("network_speed").main(options) == 0
    measured = json.loads(out.read_text())["measured"]
    assert [(m["size"], m["precision"]) for m in measured] == [(48, "fp32"), (48, "bf16")]
    for rows in (m["networks"] for m in measured):
        assert set(rows) == {*networks, "qsnet, plain groups"}
        assert rows["brn"]["times quicker than brn"] == 1
        assert all(row["seconds"] > 0 for row in rows.values())
    assert measured[0]["networks"]["qsnet, plain groups"]["largest difference to qsnet"] < 1e-5
    textbook = measured[0]["networks"]["brn, textbook"]
    assert textbook["times quicker than brn, textbook"] == 1
    assert textbook["largest difference to brn"] < 1e-4


def test_training_speed(benchmark, tmp_path):
    out, script = tmp_path / "speed.json", benchmark("training_speed")
    assert script.shipped() == ["brn", "dcdnet", "menet", "phpnet", "qsnet", "srn"]
    for label in ("before", "now"):
        options = ["--networks", "qsnet", "srn", "--batch", "2", "--patch", "32", "--rounds", "1", "--threads", "1"]
        assert script.main([*options, "--label", label, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert list(found["before"]["2 x 32², 1 thread"]) == ["qsnet", "srn"]
    for row in found["now"]["2 x 32², 1 thread"].values():
        assert list(row["per cent of a step"]) == ["data", "forward", "loss", "backward", "optimiser", "record"]
        assert sum(row["per cent of a step"].values()) == pytest.approx(100, abs=0.5)
        assert row["per cent of the peak"] == pytest.approx(100 * row["GFLOP/s"] / row["peak GFLOP/s"], rel=0.02)
        ratio = row["steps a second"] / row["textbook steps a second"]
        assert row["times quicker than the textbook"] == pytest.approx(ratio, rel=0.02)
    assert found["now"]["2 x 32², 1 thread"]["srn"]["stages"] == weights.card("srn")["options"]["stages"]


@pytest.fixture
def made_weights(benchmark, monkeypatch):
    """Cards as if `make weights` had trained the last phase, with `start`, as `ship.py` leaves it, at no file."""
    trained, card = benchmark("train_weights"), weights.card

    def changed(name):
        facts, how = card(name), trained.NETWORKS[name]
        last = facts["phases"][-1]["recipe"] | trained.COMMON | how.changes
        last |= {"losses": list(how.losses), "minutes": 5.0, "start": "last.safetensors"}
        return facts | {"phases": [{"recipe": last}]}

    monkeypatch.setattr(weights, "card", changed)


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("name", ["srn", "brn", "qsnet", "menet"])
def test_the_textbook_step_is_the_same_step(benchmark, name, made, request, tmp_path):
    """From the same weights and samples both loops have the same losses, before a step and after it."""
    if made:
        request.getfixturevalue("made_weights")
    script = benchmark("training_speed")
    recipe = script.recipe_of(name, argparse.Namespace(batch=2, patch=32, rounds=1)).replace(precision="no")
    if made:
        assert (recipe.rain, recipe.minutes, recipe.ema) == ("allround-drawn", 0, 0)
        assert recipe.dry
        assert recipe.turned
    sources = script.gather(rain_style=recipe.rain)
    run = script.training.Run(recipe, sources, tmp_path, workers=0, clock=time.monotonic)
    run.start()
    ours = [record["loss"] for record in itertools.islice(run.steps(2), 2)]
    plainly = list(itertools.islice(script.textbook_steps(recipe, sources, "cpu"), 2))
    assert plainly == pytest.approx(ours, rel=1e-3)


def test_qsnet_tables(benchmark, tmp_path):
    out = tmp_path / "tables.json"
    options = ["--sets", "skimage-light", "--limit", "2", "--out", str(out)]
    assert benchmark("qsnet_tables").main(options) == 0
    found = json.loads(out.read_text())
    table = found["Table 3"]["skimage-light"]
    assert list(table) == ["C1", "C2", "C3", "C4", "C5", "all scales"]
    assert len({row["psnr_rgb"]["mean"] for row in table.values()}) == 6, "each decoder gives an image of its own"
    assert found["Table 4"]["difference"] == "qsnet-v4 - qsnet-v1"
    assert found["Table 5"]["difference"] == "qsnet-v4 - qsnet-no-sharing"
    for table in ("Table 4", "Table 5"):
        psnr = found[table]["skimage-light"]["psnr_rgb"]
        assert psnr["low"] <= psnr["mean"] <= psnr["high"]
    assert {"steps", "sha256"} == found["weights"]["qsnet"].keys()


def test_balance_cost(benchmark, tmp_path):
    out = tmp_path / "cost.json"
    options = ["--patches", "32", "--batch", "2", "--rounds", "2", "--precisions", "no", "--out", str(out)]
    script = benchmark("balance_cost")
    assert script.main(options) == 0
    (case,) = json.loads(out.read_text())["measured"]
    assert (case["recipe"], case["patch"], case["batch"]) == ("menet/GB", 32, 2)
    assert list(case["schemes"]) == ["fixed", "loss", "gradient", "uncertainty", "gradient, the plain way"]
    assert case["schemes"]["fixed"]["extra per cent"] == 0
    assert all(row["seconds"] > 0 for row in case["schemes"].values())


def test_balance_cost_compares_the_same_weights(benchmark):
    import torch

    from derainlib.layers import Pair

    script, recipe = benchmark("balance_cost"), recipes.get("menet/GB", "tiny")
    torch.manual_seed(0)
    network, pair = recipe.build_model(), Pair(*torch.rand(2, 2, 3, 32, 32))
    found = []
    for name in ("gradient", "gradient, the plain way"):
        total, _ = script.losses(recipe, network)[name](network(pair.rainy, keep=True), pair)
        network.zero_grad()
        total.backward()
        found.append((total.item(), network.shared.grad.norm().item()))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_every_script_and_result_is_listed():
    listed = (FOLDER / "README.md").read_text()
    scripts = {path.name for path in FOLDER.glob("*.py")}
    assert [name for name in sorted(scripts) if f"`{name}`" not in listed] == []


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Two drawn streets where `street_scores.py` looks for CamVid's test part."""
    from derainlib.data import export, scenes

    folder = tmp_path_factory.mktemp("data")
    export.write(scenes.drawn(range(2), (64, 80)), folder / "camvid" / "test", "none")
    return folder


def test_street_scores(benchmark, streets, tmp_path):
    out = tmp_path / "streets.json"
    options = ["menet", "--judges", "phi", "--data", str(streets), "--out", str(out)]
    assert benchmark("street_scores").main(options) == 0
    found = json.loads(out.read_text())
    assert [(r["judge"], r["picture"]) for r in found["readings"]] == [
        ("phi", picture) for picture in ("clean", "rainy input", "menet")
    ]
    for reading in found["readings"]:
        assert reading["miou"]["low"] <= reading["miou"]["mean"] <= reading["miou"]["high"]
        assert len(reading["iou"]) == 11
    rainy = found["readings"][1]["accuracy"]["mean"]
    assert all(reading["accuracy"]["rainy"] == rainy for reading in found["readings"])
    (scores,) = found["scores"]
    assert (scores["model"], found["images"], set(found["steps"])) == ("menet", 2, {"menet", "phi"})
    assert scores["psnr_rgb"]["gain"] > 0


def test_street_scores_of_a_study(benchmark, streets, tmp_path, capsys):
    """Each row's networks are those of its recipe, one for each seed, compared with the reference row's."""
    from derainlib import models, studies
    from derainlib.models import weights

    script, out, folder = benchmark("street_scores"), tmp_path / "streets.json", tmp_path / "study"
    options = ["--study", str(folder), "--judges", "phi", "--data", str(streets), "--out", str(out)]
    out.write_text('{"readings": "measured before"}')
    assert script.main(options) == 1
    assert "let the study end first" in capsys.readouterr().err
    for number, row in enumerate(studies.get(script.STUDY).rows):
        for seed in (3, 7):
            run = folder / "runs" / f"{number}-{seed}"
            run.mkdir(parents=True)
            (run / "recipe.json").write_text(json.dumps({"name": row.recipe.name, "seed": seed}))
            # The reference row keeps the rain; the others darken, each and each seed differently.
            network = models.create("phpnet", refinement=False, width=16)
            for parameter in network.output.parameters():
                parameter.data.fill_(0.02 * number * seed if parameter.ndim == 1 else 0)
            weights.save(network, run / "last.safetensors", {})
    assert script.main(options) == 0
    found = json.loads(out.read_text())
    assert found["readings"] == "measured before"
    scored, rows = ({row["row"]: row for row in found[part]} for part in ("study scores", "study"))
    for label, darker in zip(scored, (0, 0.1, 0.2), strict=True):
        change = scored[label]["difference"]["psnr_rgb"]
        assert change["low"] <= change["mean"] <= change["high"]
        assert change["mean"] == pytest.approx(scored[label]["psnr_rgb"] - scored["L_acc"]["psnr_rgb"])
        assert (change["mean"] == 0) == (darker == 0)
    assert list(rows) == ["L_acc", "+ L_col", "+ L_col + L_seg"]
    assert {row["seeds"] for row in rows.values()} == {2}
    assert rows["L_acc"]["difference"]["miou"] == {"mean": 0, "low": 0, "high": 0}
    for row in rows.values():
        change = row["difference"]["accuracy"]
        assert change["low"] <= change["mean"] <= change["high"]
        assert change["mean"] == pytest.approx(row["accuracy"] - rows["L_acc"]["accuracy"])
    assert len({row["accuracy"] for row in rows.values()}) == 3


def test_ship_takes_the_last_weights(benchmark, tmp_path, monkeypatch):
    """With the phases that led to them; a start that has become other weights since is no phase of theirs."""
    from derainlib.data.synthetic import gather

    monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
    ship = benchmark("ship").main
    recipe = recipes.get("srn", "tiny", options={"stages": 1, "width": 6}, ema=0.5)
    first = training.train(recipe, gather(), tmp_path / "first")
    ship(["mine", str(first.folder), "--data", "streets"])
    second = training.train(recipe.replace(start="mine", steps=2), gather(), tmp_path / "second")
    ship(["mine", str(second.folder), "--data", "streets"])
    card = weights.card("mine")
    assert [phase["steps"] for phase in card["phases"]] == [4, 2]
    assert card["phases"][1]["start_sha256"] == weights.header(first.last)["sha256"]
    assert card["steps"] == 6
    expected = weights.load(second.last).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in weights.load("mine").state_dict().items())
    with pytest.raises(SystemExit, match="started from other weights than the shipped mine"):
        ship(["mine", str(second.folder), "--data", "streets"])


class TestShipFree:
    """`--free`: the licence says that no research data set's terms bind the weights, where that is so."""

    @pytest.fixture
    def ship(self, benchmark, tmp_path, monkeypatch):
        monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
        script = benchmark("ship")
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
            ({"data_dir": "rain800/training"}, "rainy/clean pairs of training"),
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


def test_ship_tells_no_folders(benchmark, tmp_path, monkeypatch):
    """A card goes out: of files it has the names alone; shipped names stay."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
    recipe = recipes.get("srn", "tiny", options={"stages": 1, "width": 6}, steps=1)
    first = training.train(recipe, synthetic.gather(), tmp_path / "first")
    second = training.train(recipe.replace(start=str(first.last)), synthetic.gather(), tmp_path / "second")
    path = second.folder / "recipe.json"
    judges = [{"weights": str(tmp_path / "vgg16.safetensors"), "layer": "conv3_3"}, {"network": "phi"}, {}]
    losses = [{"term": "some", "weight": 1.0, "options": options} for options in judges]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"losses": losses}))
    benchmark("ship").main(["mine", str(first.folder), str(second.folder), "--data", "streets"])
    card = weights.card("mine")
    assert str(tmp_path) not in json.dumps(card)
    assert [one["recipe"]["start"] for one in card["phases"]] == ["", "last.safetensors"]
    found = [loss["options"] for loss in card["phases"][1]["recipe"]["losses"]]
    assert found == [{"weights": "vgg16.safetensors", "layer": "conv3_3"}, {"network": "phi"}, {}]


def test_ship_takes_a_run_from_the_tar(benchmark, tmp_path, monkeypatch):
    """Without its checkpoints; and whether it was validated or not."""
    monkeypatch.setattr(weights, "FOLDER", tmp_path / "shipped")
    recipe = recipes.get("srn", "tiny", options={"stages": 1, "width": 6}, validate_every=2)
    for name, held in (("judged", validation.streets(1)), ("alone", ())):
        training.train(recipe, synthetic.gather(), tmp_path / "out" / name, validation=held)
    packed = benchmark("train_weights").pack_up(argparse.Namespace(out=tmp_path / "out"))
    with tarfile.open(packed) as tar:
        tar.extractall(tmp_path / "home", filter="data")
    for name, points in (("judged", 2), ("alone", 0)):
        assert not (tmp_path / "home" / name / "checkpoints").exists()
        benchmark("ship").main([name, str(tmp_path / "home" / name), "--data", "streets"])
        (phase,) = weights.card(name)["phases"]
        assert (phase["steps"], len(phase["curve"])) == (4, points)


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    """A folder as DERAIN_DATA names one, with a handful of drawn pictures in each part."""
    data = tmp_path_factory.mktemp("data")
    lists = {"bsds500_train": "bsds500", "urban100_train": "urban100", "cc0_train": "cc0"}
    for seed, (split, folder) in enumerate(lists.items()):
        names = [f"train/{k}.png" if folder == "bsds500" else f"{k}.png" for k in range(6)]
        for k, name in enumerate(names):
            images.write(samples.street((70, 80), seed=10 * seed + k)[0][0], made(data / folder / name))
        made(data / "splits" / f"{split}.txt").write_text("\n".join(names[1:]) + "\n")
    for k in range(3):
        clean = samples.street((70, 80), seed=50 + k)[0]
        rainy = rain.add_rain(clean, "light", [rain.generator(k)]).rainy
        images.write(torch.cat([clean[0], rainy[0]], 2), made(data / "rain800/training" / f"{k}.png"))
        layer = rain.draw("heavy", (70, 80), [rain.generator(k)])[0].clamp(0, 1).expand(3, -1, -1)
        for folder in ("garg", "raintrainh"):
            images.write(layer, made(data / "streaks" / folder / f"{k}.png"))
    (data / "splits/rain800_train.txt").write_text("0.png\n1.png\n")
    (data / "splits/raintrainh_train.txt").write_text("2.png\n")
    return data


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class TestTrainWeights:
    """`make weights`, at the tiny scale."""

    def words(self, out, data, *more):
        tiny = ["--minutes=0.05", "--scale=tiny", "--limit=1", "--set", '{"validate_every": 1000, "patch": 32}']
        return [str(out), "--data", str(data), "--networks", "dcdnet", "menet-free", *tiny, *more]

    def test_trains_goes_on_and_packs_up(self, benchmark, small_data, tmp_path, capsys):
        script, out = benchmark("train_weights"), tmp_path / "campaign"
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

    def test_a_failure_is_told_and_stops_no_other(self, benchmark, small_data, tmp_path, capsys):
        script, out = benchmark("train_weights"), tmp_path / "campaign"
        made(out / "dcdnet" / "recipe.json").write_text("of something else")
        assert script.main(self.words(out, small_data)) == 1
        told = capsys.readouterr().out
        assert f"dcdnet: failed, see {out / 'dcdnet'}.log" in told
        assert "menet-free: " in told

    def test_lists_name_what_may_train_and_nothing_else(self, benchmark, small_data, tmp_path):
        script = benchmark("train_weights")
        options = script.parse([str(tmp_path), "--data", str(small_data), "--minutes", "1"])
        script.write_lists(options)
        clean = (tmp_path / "lists/clean.txt").read_text().split()
        assert clean == [f"{folder}/{k}.png" for folder in ("bsds500/train", "urban100", "cc0") for k in range(1, 6)]
        streaks = (tmp_path / "lists/streaks.txt").read_text().split()
        assert streaks == ["garg/0.png", "garg/1.png", "garg/2.png", "raintrainh/2.png"]

    def test_a_card_that_is_missing_is_written_again(self, benchmark, small_data, tmp_path):
        """A kill between weights and card: the training goes on from its checkpoint and adds no phase."""
        script, out = benchmark("train_weights"), tmp_path / "campaign"
        words = self.words(out, small_data, "--networks", "menet-free")
        assert script.main(words) == 0
        run = out / "menet-free"
        card = weights.card(run / "last.safetensors")
        (run / "last.json").unlink()
        assert script.main(words) == 0
        again = weights.card(run / "last.safetensors")
        assert (again["sha256"], again["steps"]) == (card["sha256"], card["steps"])
        assert not (run / "phase-2").exists()

    def test_gains_that_cannot_be_told_stop_nothing(self, benchmark, small_data, tmp_path, monkeypatch, capsys):
        script, out = benchmark("train_weights"), tmp_path / "campaign"
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
    def test_the_time_is_what_was_asked_for(self, benchmark, tmp_path, monkeypatch, jobs, networks, minutes):
        script = benchmark("train_weights")
        for name, share in networks.items():
            monkeypatch.setitem(script.NETWORKS, name, dataclasses.replace(script.NETWORKS[name], share=share))
        words = [str(tmp_path), "--minutes", "60", "--jobs", str(jobs), "--networks", *networks]
        found = script.budget(script.parse(words))
        assert found == pytest.approx(dict(zip(networks, minutes, strict=True)))
        assert script.makespan(found.values(), jobs) == pytest.approx(60)

    def test_what_is_not_there_is_left_out(self, benchmark, small_data, tmp_path, capsys):
        script, data = benchmark("train_weights"), tmp_path / "data"
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
        assert not {"--streaks-dir", "--data-dir"} & set(words)
        assert 'rain="allround-drawn"' in words
        shutil.rmtree(data / "cc0")
        assert script.main([str(tmp_path / "out"), "--data", str(data), "--minutes", "1"]) == 2
        assert "has no photographs or pairs that may train srn" in capsys.readouterr().err

    def test_lists_are_read_as_everywhere(self, benchmark, small_data, tmp_path):
        script, data = benchmark("train_weights"), tmp_path / "data"
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
    def test_what_makes_no_sense_is_refused(self, benchmark, small_data, tmp_path, monkeypatch, capsys, words, told):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit):
            benchmark("train_weights").main(self.words(tmp_path / "campaign", small_data, *words))
        assert told in capsys.readouterr().err
        assert not (tmp_path / "campaign").exists()


def untidy(data: Path):
    """Makes of the data what people's folders look like: notes in a list, a name of two words, files of no image."""
    (data / "cc0/2.png").rename(data / "cc0/a bridge.png")
    (data / "splits/cc0_train.txt").write_text("\ufeff1.png\n\n# by the river\n  a bridge.png\r\n", encoding="utf-8")
    for folder in ("cc0", "streaks/garg", "camvid/train/images"):
        made(data / folder / ".DS_Store").write_text("not an image")
        (data / folder / "Thumbs.db").write_text("not an image")


def test_pack_holds_what_may_train(benchmark, small_data, tmp_path, capsys):
    target = tmp_path / "pack"
    assert benchmark("pack").main([str(target), "--data", str(small_data)]) == 0
    assert (target / "splits/cc0_train.txt").read_text().split() == [f"{k}.webp" for k in range(1, 6)]
    assert sorted(path.name for path in (target / "rain800/training").iterdir()) == ["0.webp", "1.webp"]
    assert sorted(path.name for path in (target / "streaks/raintrainh").iterdir()) == ["2.webp"]
    assert len(list((target / "bsds500").rglob("*.webp"))) == 5
    original, packed = (images.read(path) for path in (small_data / "cc0/3.png", target / "cc0/3.webp"))
    assert metrics.psnr(packed[None], original[None]).item() > 25
    script = benchmark("train_weights")
    script.write_lists(script.parse([str(tmp_path), "--data", str(target), "--minutes", "1"]))
    sources = synthetic.gather(target, tmp_path / "lists/clean.txt", rain_style="light")
    assert len(sources.clean) == 15
    with pytest.raises(SystemExit):
        benchmark("pack").main([str(target), "--data", str(small_data)])
    assert "is there already" in capsys.readouterr().err


def test_pack_that_does_not_fit(benchmark, small_data, tmp_path, capsys):
    assert benchmark("pack").main([str(tmp_path / "p"), "--data", str(small_data), "--megabytes", "0.01"]) == 1
    assert "allow more with --megabytes" in capsys.readouterr().err


def test_pack_of_untidy_folders(benchmark, small_data, tmp_path, capsys):
    data, target = tmp_path / "data", tmp_path / "pack"
    shutil.copytree(small_data, data)
    shutil.rmtree(data / "urban100")
    untidy(data)
    images.write(samples.street((70, 80), seed=90)[0][0], data / "camvid/train/images/0.png")
    (data / "splits/raintrainh_train.txt").write_text("# none\n")
    assert benchmark("pack").main([str(target), "--data", str(data)]) == 0
    told = capsys.readouterr().out
    for part in ("urban100", "streaks/raintrainh"):
        assert f"{part}: nothing of it may train in" in told
    assert (target / "splits/cc0_train.txt").read_text().splitlines() == ["1.webp", "a bridge.webp"]
    assert sorted(path.name for path in (target / "cc0").iterdir()) == ["1.webp", "a bridge.webp"]
    assert sorted(path.name for path in (target / "streaks/garg").iterdir()) == ["0.webp", "1.webp", "2.webp"]
    assert [path.name for path in (target / "camvid/train/images").iterdir()] == ["0.webp"]
    (data / "splits/cc0_train.txt").unlink()
    assert benchmark("pack").main([str(tmp_path / "again"), "--data", str(data)]) == 1
    assert "there is no list" in capsys.readouterr().err


def test_pack_counts_labels(benchmark, small_data, tmp_path, capsys):
    """However large they are: all files together stay within what was asked for, or it is refused."""
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    for k in range(4):
        images.write(samples.street((70, 80), seed=90 + k)[0][0], made(data / "camvid/train/images" / f"{k}.png"))
        made(data / "camvid/train/labels" / f"{k}.png").write_bytes(bytes(10_000))
    script, target = benchmark("pack"), tmp_path / "pack"
    assert script.main([str(target), "--data", str(data), "--megabytes", "0.6"]) == 0  # 24 kB of it for streets
    assert len(list((target / "camvid/train/labels").iterdir())) == 2
    assert sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) <= 600_000
    assert script.main([str(tmp_path / "all"), "--data", str(data), "--megabytes", "16"]) == 0
    assert len(list((tmp_path / "all/camvid/train/labels").iterdir())) == 4


def test_pack_means_what_it_says(benchmark, small_data, tmp_path, capsys):
    """Photographs are not thinned: what they take at the worst quality is just enough, and one byte less is not."""
    script, data = benchmark("pack"), tmp_path / "data"
    shutil.copytree(small_data / "cc0", data / "cc0")
    shutil.copytree(small_data / "splits", data / "splits")
    names = script.members(data, "cc0", "cc0_train.txt")
    size = sum(script.packed(data, name, script.WORST).bytes for name in names)
    words = ["--data", str(data), "--megabytes"]
    assert script.main([str(tmp_path / "fits"), *words, f"{size / 1e6:.6f}"]) == 0
    assert sum(path.stat().st_size for path in (tmp_path / "fits").rglob("*") if path.is_file()) <= size
    assert script.main([str(tmp_path / "does not"), *words, f"{(size - 1) / 1e6:.6f}"]) == 1
    assert "allow more with --megabytes" in capsys.readouterr().err


def test_rain_statistics_has_medians(benchmark):
    found = benchmark("rain_statistics").summary([{"along": along} for along in (1.0, 2.0, 9.0)])
    assert found == {"along": {"mean": 4.0, "sd": 3.56, "median": 2.0}}


class TestSpeedrun:
    def test_runs_until_the_goal(self, benchmark, small_data, tmp_path, monkeypatch):
        script = benchmark("speedrun")
        scores = iter([{"rain100l": 30.0, "fresh_gain": 1.0}, {"rain100l": 32.5, "fresh_gain": 2.0}])
        monkeypatch.setattr(script, "judge", lambda path, data, seed: next(scores) | {"seed": seed})
        entry = recipes.get("menet/edge-fixed", "tiny", model="menet", rain="layers", steps=6, paired=0.0)
        monkeypatch.setitem(script.ENTRIES["sprint"], "menet", entry)
        out = tmp_path / "speedrun.json"
        assert script.main(["sprint", "--data", str(small_data), "--looks", "3", "--out", str(out)]) == 0
        found = json.loads(out.read_text())["sprint"]["menet"]
        first, second = found["curve"]  # the third look is not needed
        assert (first["step"], second["step"], second["rain100l"]) == (2, 4, 32.5)
        assert 0 < first["minutes"] < second["minutes"]
        assert first["seed"] == found["recipe"]["seed"] + 1
        assert second["megapixels"] == pytest.approx(4 * 2 * 32**2 / 1e6, abs=1e-3)

    def test_heavy_networks_do_not_race_as_feathers(self, benchmark, small_data, tmp_path, monkeypatch, capsys):
        script = benchmark("speedrun")
        monkeypatch.setitem(script.ENTRIES["featherweight"], "srn", recipes.get("srn", "tiny", rain="light"))
        words = ["featherweight", "--entry", "srn", "--data", str(small_data), "--out", str(tmp_path / "r.json")]
        assert script.main(words) == 1
        assert "has 168,963 parameters; this race allows 17,305" in capsys.readouterr().err

    def test_judged_in_rain_that_nobody_has_seen(self, benchmark, derain_data):
        script = benchmark("speedrun")
        one, other = (script.rained(derain_data, seed)[0] for seed in (1, 2))
        assert torch.equal(one.clean, other.clean)
        assert not torch.equal(one.rainy, other.rainy)


def test_training_tricks(benchmark, small_data, tmp_path, monkeypatch, capsys):
    script = benchmark("training_tricks")
    monkeypatch.setattr(script, "SETS", {"skimage-dry": "psnr_rgb8"})
    row = "menet", (script.Phase(0.5, {"patch": 32, "batch": 2}), script.Phase(0.5, {"patch": 48, "batch": 1}))
    monkeypatch.setattr(script, "ROWS", {"grows": row, "later": row})
    words = ["--data", str(small_data), "--megapixels", "0.02", "--limit", "1", "--out", str(tmp_path / "t.json")]
    assert script.main([*words, "--rows", "grows"]) == 0
    first = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert list(first) == ["grows"]
    assert script.main(words) == 0  # what is there is not trained again
    found = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert found["grows"] == first["grows"]
    assert list(found["later"]["scores"]) == ["skimage-dry"]
    assert capsys.readouterr().out.count("min, {") == 2


def test_every_trick_is_a_recipe_of_equally_many_pixels(benchmark):
    script = benchmark("training_tricks")
    for network, phases in script.ROWS.values():
        seen = 0
        for phase in phases:
            recipe = script.recipe_of(network, phase, 50, "")
            seen += recipe.steps * recipe.batch * recipe.patch**2
        assert seen == pytest.approx(50e6, rel=0.01)
