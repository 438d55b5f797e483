"""The benchmarks that tables quote run, and what they write is complete; how quick anything is stays their business."""

import importlib
import json
from pathlib import Path

import pytest

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
    from derainlib.models import weights

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


@pytest.mark.parametrize("name", ["srn", "brn", "qsnet", "menet"])
def test_the_textbook_step_is_the_same_step(benchmark, name, tmp_path):
    """From the same weights and samples both loops have the same losses, before a step and after it."""
    import argparse
    import itertools

    script = benchmark("training_speed")
    recipe = script.recipe_of(name, argparse.Namespace(batch=2, patch=32, rounds=1)).replace(precision="no")
    sources = script.gather(rain_style=recipe.rain)
    run = script.training._Run(recipe, sources, tmp_path, 0)
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

    from derainlib import recipes
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
            (run / "recipe.json").write_text(json.dumps({"name": row.recipe, "seed": seed}))
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
