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
    networks = ["qsnet", "qsnet-no-sharing", "srn", "brn"]
    options = ["--sizes", "48", "--repeat", "1", "--networks", *networks, "--out", str(out)]
    assert benchmark("network_speed").main(options) == 0
    measured = json.loads(out.read_text())["measured"]
    assert [(m["size"], m["precision"]) for m in measured] == [(48, "fp32"), (48, "bf16")]
    for rows in (m["networks"] for m in measured):
        assert set(rows) == {*networks, "qsnet, plain groups"}
        assert rows["brn"]["times quicker than brn"] == 1
        assert all(row["seconds"] > 0 for row in rows.values())
    assert measured[0]["networks"]["qsnet, plain groups"]["largest difference to qsnet"] < 1e-5


def test_qsnet_tables(benchmark, tmp_path):
    out = tmp_path / "tables.json"
    options = ["--sets", "skimage-light", "--limit", "2", "--out", str(out)]
    assert benchmark("qsnet_tables").main(options) == 0
    found = json.loads(out.read_text())
    table = found["Table 3"]["skimage-light"]
    assert list(table) == ["C1", "C2", "C3", "C4", "C5", "all scales"]
    assert len({row["psnr_rgb"]["mean"] for row in table.values()}) == 6, "each decoder gives an image of its own"
    assert found["Table 4"]["difference"] == "qsnet-v4 - qsnet-v1"
    psnr = found["Table 4"]["skimage-light"]["psnr_rgb"]
    assert psnr["low"] <= psnr["mean"] <= psnr["high"]
    assert {"steps", "sha256"} == found["weights"]["qsnet"].keys()


def test_every_script_and_result_is_listed():
    listed = (FOLDER / "README.md").read_text()
    scripts = {path.name for path in FOLDER.glob("*.py")}
    assert [name for name in sorted(scripts) if f"`{name}`" not in listed] == []
