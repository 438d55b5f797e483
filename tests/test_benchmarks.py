"""The benchmarks that tables quote run, and what they write is complete; how quick anything is stays their business."""

import argparse
import importlib
import itertools
import json
import re
import shutil
import time
from pathlib import Path

import pytest
import torch

from derainlib import images, rain, recipes
from derainlib.data import samples
from derainlib.errors import DerainError
from derainlib.models import weights
from tests.small_data import write

FOLDER = Path(__file__).parents[1] / "benchmarks"
SHARED = {"browser", "common", "textbook"}
"""Files of the folder that are no scripts, but what these share."""


@pytest.fixture
def benchmark(monkeypatch):
    for folder in ("tools", "benchmarks"):
        monkeypatch.syspath_prepend(FOLDER.with_name(folder))
    threads = torch.get_num_threads()  # scripts set what they measure with
    yield imported
    torch.set_num_threads(threads)


def imported(name: str):
    """A module of the folder, where the system has what it measures with."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "resource":
            raise
        pytest.skip("the script measures memory by the module resource, which Windows has not")


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"))


def test_network_speed(benchmark, tmp_path):
    out = tmp_path / "speed.json"
    networks = ["qsnet", "qsnet-no-sharing", "phpnet", "srn", "brn", "brn, textbook"]
    options = ["--sizes", "48", "--rounds", "1", "--networks", *networks, "--out", str(out)]
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
    assert list(found["Table 3"]) == ["qsnet-v4", "qsnet"]
    table = found["Table 3"]["qsnet-v4"]["skimage-light"]
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


def test_loss_cost(benchmark, tmp_path):
    """Of a VGG autograd keeps more than of edges, whose filters have no ReLU; L_p is what all are beside."""
    out = tmp_path / "cost.json"
    assert benchmark("loss_cost").main(["--patch", "32", "--batch", "2", "--rounds", "2", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["losses"]
    assert list(found) == ["L_p", "L_p L_e", "L_p L_e L_t", "L_p VGG16"]
    assert found["L_p"]["added seconds"] == found["L_p"]["added MB"] == 0
    assert found["L_p VGG16"]["added MB"] > 2 * found["L_p L_e"]["added MB"] > 0
    assert found["L_p VGG16"]["added seconds"] > 0


def test_network_surgery(benchmark, monkeypatch, tmp_path):
    out, script = tmp_path / "surgery.json", benchmark("network_surgery")
    monkeypatch.setattr(script, "PART", (24, 32))
    monkeypatch.setattr(script, "WINDOW", 33)
    monkeypatch.setattr(script, "CHANNELS", {"dcdnet": "stage.output"})
    assert script.main(["--networks", "dcdnet", "--scenes", "coffee", "rocket", "--out", str(out)]) == 0
    row = json.loads(out.read_text())["networks"]["dcdnet"]
    assert (
        set(row["operations"])
        == set(row["operations in light rain"])
        == {
            "cut earlier estimates → stage",
            "cut earlier maps → fusion",
        }
    )
    assert row["field"]["trained"] <= 16
    assert row["channels"]["channels"] == 3
    assert row["channels"]["silenced"] > row["channels"]["worst"] > 0


def test_loss_verdicts(benchmark, tmp_path):
    """A VGG is asked twice; here the same, so that both give the same places, of which the mean is 4.5."""
    out = tmp_path / "verdicts.json"
    assert benchmark("loss_verdicts").main(["--vgg", "untrained", "--scenes", "coffee", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["places"]
    assert found["trained"] == found["untrained"]
    assert list(found["trained"]) == ["VGG", "squared VGG"]
    assert all(len(row) == 8 and sum(row.values()) == 36 for row in found["trained"].values())


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


def test_fine_tuning(benchmark, tmp_path, monkeypatch):
    """One half of the pairs trains, the other judges; two steps at a rate of next to nothing leave the scores alone."""
    script, out = benchmark("fine_tuning"), tmp_path / "tuned.json"
    monkeypatch.setattr(script, "SETS", ("skimage-light",))
    for k in range(4):
        clean = samples.street((72, 80), seed=k)[0]
        for name, picture in ((f"rain-{k + 1}", (clean + 0.1).clamp(0, 1)), (f"norain-{k + 1}", clean)):
            (tmp_path / "data/rain100l").mkdir(parents=True, exist_ok=True)
            images.write(picture[0], tmp_path / f"data/rain100l/{name}.png")
    given = ["--data", str(tmp_path / "data"), "--networks", "qsnet", "--steps", "2", "--limit", "1"]
    given += ["--out", str(out)]
    assert script.main([*given, "--rate", "1e-9"]) == 0
    found = json.loads(out.read_text())
    assert list(script.ways("menet").values()) == [True, False]
    (tuned,) = found["networks"].values()
    assert (found["pairs"], tuned["steps"]) == (2, 2)
    assert list(tuned["sets"]) == [script.OWN, "skimage-light"]
    for scores in tuned["sets"].values():
        assert scores["after"] == pytest.approx(scores["before"], rel=1e-3)
        assert scores["before"]["psnr_rgb"] != scores["rainy input"]["psnr_rgb"]
    assert script.main([*given, "--rate", "1e30"]) == 1
    assert not list((tmp_path / "data/rain100l").glob("*.safetensors"))


def test_every_script_and_result_is_listed(benchmark):
    """README names each script and its results; a script writes what README and its own docstring say."""
    readme, stored = (FOLDER / "README.md").read_text(), {path.name for path in (FOLDER / "results").iterdir()}
    listed = dict(re.findall(r"^\| `(\w+)\.py` \| .* \| (.*) \|$", readme, re.MULTILINE))
    assert set(listed) == {path.stem for path in FOLDER.glob("*.py")} - SHARED
    for name, results in listed.items():
        script = benchmark(name)
        out = script.parser().get_default("out")
        assert out.parent == FOLDER / "results"
        assert f"benchmarks/results/{out.name}" in script.__doc__
        there = [f"`{path.name}`" for path in (out, out.with_stem(f"{out.stem}_gpu")) if path.name in stored]
        assert results == (", ".join(there) or "none yet")
    elsewhere = {name for name in stored if f"`results/{name}`" in readme and not name.startswith("clipped_")}
    of_studies = (
        stored - elsewhere - {result.strip("`") for results in listed.values() for result in results.split(", ")}
    )
    for name in of_studies:
        study = json.loads((FOLDER / "results" / name).read_text())["study"]
        assert name in [f"{kind}_{study.replace('/', '-')}.json" for kind in ("study", "clipped")]
        assert name in readme or name.startswith("study_")
        by_hand, by_plan = r"^derain study (.*?) OUT", r"^python tools/tables\.py OUT --plans .*# (.*)$"
        told = re.findall(f"{by_hand}|{by_plan}", readme, re.MULTILINE)
        assert study in " ".join(map(" ".join, told)).replace(",", " ").split()


def test_every_script_says_how_it_is_called(benchmark):
    for path in FOLDER.glob("*.py"):
        if path.stem not in SHARED:
            shown = benchmark(path.stem).parser().format_help()
            assert f"python benchmarks/{path.name}" in shown
            assert "--out OUT" in shown


def test_what_a_gpu_did_has_a_file_of_its_own(benchmark, monkeypatch, tmp_path):
    common = benchmark("common")
    given = common.parser("measures", "speed", "device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert common.parse(given, []).out == FOLDER / "results/speed_gpu.json"
    assert common.parse(given, ["--device", "cpu"]).out == FOLDER / "results/speed.json"
    assert common.parse(given, ["--out", str(tmp_path / "mine.json")]).out == tmp_path / "mine.json"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert common.parse(given, []).out == FOLDER / "results/speed.json"


def machines(found) -> list[dict]:
    """The machines that results name, however deep they lie."""
    if isinstance(found, list):
        return [machine for one in found for machine in machines(one)]
    if not isinstance(found, dict):
        return []
    own = [found["machine"]] if "machine" in found else []
    return own + [machine for name, one in found.items() if name != "machine" for machine in machines(one)]


def test_machines_are_told_by_one_set_of_facts(benchmark):
    facts = benchmark("common").machine()
    assert facts["cores"] >= 1
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert benchmark("common").machine("cpu")["gpu"] is None
    told = [m for path in (FOLDER / "results").iterdir() for m in machines(json.loads(path.read_text()))]
    assert len(told) >= 12
    for machine in told:
        assert machine.keys() <= facts.keys()


class TestCommon:
    """What the scripts share."""

    def test_calls_take_turns_after_warming_up(self, benchmark, monkeypatch):
        common, called = benchmark("common"), []
        monkeypatch.setattr(common, "now", lambda: sum(3 if name == "slow" else 1 for name in called))
        calls = {name: lambda name=name: called.append(name) for name in ("slow", "quick")}
        times = common.take_turns(calls, 3, warm_up=2)
        assert times == {"slow": [3, 3, 3], "quick": [1, 1, 1]}
        assert called == ["slow", "quick"] * 5

    def test_timing_is_median_and_quartiles(self, benchmark):
        timing = benchmark("common").timing
        assert timing([5.0, 1.0, 2.0, 4.0, 90.0]) == {"seconds": 4.0, "spread": 0.75}  # quartiles 2 and 5
        assert timing([0.123456]) == {"seconds": 0.1235, "spread": 0.0}

    @pytest.mark.parametrize(("backward", "passes"), [(False, 1), (True, 3)])
    def test_peak_counts_the_work(self, benchmark, monkeypatch, backward, passes):
        """Forward, and backward to the input and to the weights, each of 2 x 9 x in x out operations a pixel."""
        common = benchmark("common")
        monkeypatch.setattr(common, "PEAK_SHAPES", ((4, 8),))
        monkeypatch.setattr(common, "take_turns", lambda calls, rounds: {"": [2.0, 1e-3]})
        found = common.peak(torch.float32, "cpu", (1, 16, 16), 2, backward)
        assert found == pytest.approx(passes * 2 * 9 * 4 * 8 * 16 * 16 / 1e-3 / 1e9)

    def test_data_that_are_needed_are_asked_for(self, benchmark, monkeypatch, capsys):
        common = benchmark("common")
        monkeypatch.delenv("DERAIN_DATA", raising=False)
        given = common.parser("about", "some", "data", "limit", limit=5)
        assert common.parse(given, []).limit == 5
        with pytest.raises(SystemExit):
            common.parse(given, [], needs="rain100l/")
        assert "--data (or DERAIN_DATA) must name the folder that holds rain100l/" in capsys.readouterr().err

    def test_what_a_user_can_mend_is_one_line(self, benchmark, capsys):
        common = benchmark("common")

        @common.command
        def main(arguments=None):
            raise DerainError("no such weights; there are srn, brn")

        assert main([]) == 1
        assert capsys.readouterr().err == "error: no such weights; there are srn, brn\n"

    def test_results_are_written_whole_and_known_again(self, benchmark, tmp_path):
        common, path = benchmark("common"), tmp_path / "new" / "some.json"
        assert common.known(path) == {}
        common.write(path, {"share": 0.5, "Φ": [1]})
        assert common.known(path) == {"share": 0.5, "Φ": [1]}
        with pytest.raises(TypeError):
            common.write(path, {"share": torch})
        assert common.known(path)["share"] == 0.5


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


def test_a_look_inside_phpnet(benchmark, streets, tmp_path):
    out = tmp_path / "streets.json"
    assert benchmark("street_scores").main(["--inside", "--data", str(streets), "--out", str(out)]) == 0
    found = json.loads(out.read_text())["inside"]
    assert found["images"] == 2
    assert found["psnr"]["clean"]["background"] > found["psnr"]["clean"]["O"]
    # The rain is grey: where none falls a rainy photograph has the truth's colours, where some does it has not.
    assert found["angle"]["O"]["dry"] < 0.1 < found["angle"]["O"]["wet"]
    assert found["angle"]["O"]["dry"] < found["angle"]["O"]["all"] < found["angle"]["O"]["wet"]
    rainy = found["terms"]["O"]
    assert rainy["semantic"] == pytest.approx(0.05 * found["reader"]["phi"]["rainy"])
    assert rainy["colour"] < rainy["colour, centred"]
    assert rainy["colour"] < rainy["final"]
    for reader in found["reader"].values():
        assert -1 < reader["cosine"] < 1
        assert 0 < reader["clean"] < reader["rainy"]


def test_rain_speed(benchmark, tmp_path):
    out = tmp_path / "speed.json"
    assert benchmark("rain_speed").main(["--batch", "2", "--seconds", "0.01", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["batch"], found["layers"], found["machine"]["threads"]) == (2, 0, 1)
    assert {*rain.PRESETS, "31 x 31 convolution"} <= set(found["rates"]["cpu"])
    assert all(rate > 0 for rates in found["rates"]["cpu"].values() for rate in rates.values())


def test_dcdnet_cost(benchmark, capsys):
    """One row, as its own process prints it: of two stages, what is laid side by side keeps more."""
    kept = []
    for name in ("training", "training, all side by side"):
        assert benchmark("dcdnet_cost").main(["--row", name, "2", "--size", "32", "--rounds", "1"]) == 0
        row = json.loads(capsys.readouterr().out)["row"]
        assert (row["what"], row["stages"]) == (name, 2)
        assert row["seconds"] > 0
        kept.append(row["kept_bytes_per_pixel"])
    assert kept[0] < kept[1]


@pytest.fixture
def real(small_data, tmp_path):
    """A folder of data whose real/ holds six photographs."""
    shutil.copytree(small_data / "cc0", tmp_path / "data" / "real")
    return tmp_path / "data"


def test_real_photographs(benchmark, real, tmp_path):
    out, cleaned = tmp_path / "real.json", tmp_path / "cleaned"
    words = [str(cleaned), "--data", str(real), "--model", "menet", "--out", str(out)]
    assert benchmark("real_photographs").main(words) == 0
    found = json.loads(out.read_text())
    assert (found["cleaned"], found["failed"], len(list(cleaned.iterdir()))) == (6, 0, 6)
    assert found["seconds per megapixel"] > 0


def test_sparsity(benchmark, real, tmp_path):
    out, script = tmp_path / "sparsity.json", benchmark("sparsity")
    assert script.main(["--data", str(real), "--limit", "6", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    (row,) = found["sets"].values()
    assert row["images"] == 6
    assert list(row["changes"]) == list(script.CHANGES)
    assert found["images a second, BSDS500 from file"] is None


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


def test_readme_has_the_table_of_tricks(benchmark):
    found = json.loads((FOLDER / "results/training_tricks.json").read_text())["rows"]
    assert f"```\n{benchmark('training_tricks').table(found)}\n```" in (FOLDER / "README.md").read_text()


def test_every_trick_is_a_recipe_of_equally_many_pixels(benchmark):
    script = benchmark("training_tricks")
    for network, phases in script.ROWS.values():
        seen = 0
        for phase in phases:
            recipe = script.recipe_of(network, phase, 50, "")
            seen += recipe.steps * recipe.batch * recipe.patch**2
        assert seen == pytest.approx(50e6, rel=0.01)


def test_loss_sweep(benchmark, tmp_path, monkeypatch):
    script = benchmark("loss_sweep")
    sums = {name: (text, values[:2], losses) for name, (text, values, losses) in script.sweep.SUMS.items()}
    monkeypatch.setattr(script.sweep, "SUMS", sums)
    out = tmp_path / "sweep.json"
    words = ["--steps", "2", "--seeds", "0", "1", "--weights", str(tmp_path / "weights"), "--out", str(out)]
    assert script.main(words) == 0
    found = json.loads(out.read_text())
    assert found["sums"]["SSIM"]["0"] == found["sums"]["edge"]["0"]  # L1 alone is trained once
    assert found["sums"]["SSIM"]["0"] != found["sums"]["SSIM"]["0.1"]
    kept = sorted(path.name for path in (tmp_path / "weights").glob("*.safetensors"))
    assert kept == ["sweep-L1.safetensors", "sweep-SSIM-0.1.safetensors", "sweep-edge-0.1.safetensors"]
    row = found["sums"]["edge"]["0.1"]["psnr"]
    assert row["mean"] == pytest.approx(sum(row["by_seed"]) / 2, abs=1e-3)
    assert set(found["rainy"]) == {"psnr", "ssim"}
