"""The speed benchmark runs, and the forms that it compares agree; how quick they are is its own business."""

import importlib
import json
from pathlib import Path

import pytest


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("recurrent_speed")


def test_forms_agree(benchmark, tmp_path):
    out = tmp_path / "results" / "speed.json"
    assert benchmark.main(["--sizes", "48", "--stages", "3", "--rounds", "1", "--out", str(out)]) == 0
    results = json.loads(out.read_text())
    for allocator in ("allocator as it is", "allocator keeps memory"):
        assert set(results[allocator]["peak GFLOP/s"]) == {"float32", "bfloat16"}
        measured = results[allocator]["measured"]
        assert [m["network"] for m in measured] == ["srn", "brn"]
        for forms in (m["forms"] for m in measured):
            assert forms["textbook fp32"]["times faster"] == 1
            assert forms["ours fp32"]["largest difference"] < 1e-5
            assert 0 < forms["ours bf16"]["mean difference"] < 2e-3
            assert all(form["seconds"] > 0 and form["GFLOP/s"] > 0 for form in forms.values())
