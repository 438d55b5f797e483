"""Notebooks read the benchmarks' results from one place."""

import pytest

from derainlib.errors import DerainError
from derainlib.lab import results as module
from derainlib.lab.results import results


def test_reads_what_a_benchmark_wrote():
    assert "Rain100L" in results("rain_statistics")["statistics"]


def test_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(DerainError, match=r"nothing\.json is missing: .* clone it"):
        results("nothing")
