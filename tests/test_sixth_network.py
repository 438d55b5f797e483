"""A network, a loss and a paper of another package: trained, tiled, studied, scored and listed like our own.

The package lies in a temporary folder as pip would put it into an environment, and everything runs in processes of its
own. Nothing in derainlib knows of it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]

FILES = {
    "sixth/__init__.py": "",
    "sixth/network.py": '''
from torch import nn

from derainlib.layers import Layers


class Sixth(nn.Module):
    """R = W ∗ ReLU(V ∗ O)."""

    halo, stride, global_statistics = 2, 1, False

    def __init__(self, width: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1))
        self.shared = self.layers[2].weight

    def forward(self, rainy, keep=False):
        rain = self.layers(rainy.to(self.shared.dtype)).to(rainy.dtype)
        return Layers(rainy - rain, rain)


VARIANTS = {"sixth": (Sixth, {}), "sixth-wide": (Sixth, {"width": 8})}
''',
    "sixth/loss.py": '''
from derainlib.losses.term import Comparison


class Fourth(Comparison):
    """Mean of (estimate − truth)⁴."""

    name = "fourth"

    def compare(self, estimate, truth):
        return (estimate - truth).pow(4).mean(1, keepdim=True)
''',
    "sixth/paper.py": """
from derainlib.papers.table import Row, Table, on
from derainlib.recipe import Loss, Recipe

LOSSES = (Loss("l1"), Loss("fourth"))
TABLES = (
    Table(
        "sixth/table-1", "Sixth, Table 1: width", "narrow",
        (
            Row("narrow", Recipe("sixth", "Table 1", "sixth", losses=LOSSES), on("Rain100L")(30.0, 0.9)),
            Row("wide", Recipe("sixth/wide", "Table 1", "sixth-wide", losses=LOSSES), on("Rain100L")(30.5, 0.92)),
            Row("DDN", None, on("Rain100L")(29.0, 0.8)),
        ),
    ),
)
""",
    "sixth-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: sixth\nVersion: 1.0\n",
    "sixth-1.0.dist-info/entry_points.txt": """
[derainlib.models]
sixth = sixth.network
[derainlib.losses]
sixth = sixth.loss
[derainlib.papers]
sixth = sixth.paper
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The package; photographs/ of 40x48 pixels, and pairs/: two of them under a constant rain."""
    path = tmp_path_factory.mktemp("sixth")
    for name, text in FILES.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)
    for name in ("photographs", "pairs/rain", "pairs/clean"):
        (path / name).mkdir(parents=True)
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 200, (40, 48, 3), np.uint8)
        Image.fromarray(image).save(path / f"photographs/{i}.png")
        if i < 2:
            Image.fromarray(image).save(path / f"pairs/clean/{i}.png")
            Image.fromarray(image + 30).save(path / f"pairs/rain/{i}.png")
    return path


COMMANDS = {
    "models": ["models"],
    "train": ["train", "sixth", "run", "--scale", "tiny", "--clean-dir", "photographs"],
    "score": ["score", "run/last.safetensors", "--sets", "pairs", "--scores", "psnr_rgb"],
    "whole": ["image", "pairs/rain/0.png", "whole.png", "--model", "run/last.safetensors", "--tile", "64"],
    "tiled": ["image", "pairs/rain/0.png", "tiled.png", "--model", "run/last.safetensors", "--tile", "20"],
    "half": ["image", "pairs/rain/0.png", "half.png", "--model", "run/last.safetensors", "--dtype", "bf16"],
    # Two more processes, which must find it themselves.
    "study": ["study", "sixth/table-1", "study", "--scale", "tiny", "--clean-dir", "photographs", "--sets", "pairs",
              "--seeds", "0", "--jobs", "2"],
}  # fmt: skip


@pytest.fixture(scope="module")
def shown(folder) -> dict[str, list[str]]:
    """The lines that each command prints, and what Python knows by name."""
    code = f"""
from derainlib import cli, losses, papers, recipes, studies
for name, words in {COMMANDS!r}.items():
    print("##", name)
    assert cli.main(words) == 0
print("## names")
print(*recipes.list_recipes()[-2:], list(losses.TERMS)[-1], losses.Fourth.name, list(studies.STUDIES)[-1])
print(papers.get("sixth/table-1").row("DDN").paper)
"""
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = [part.splitlines() for part in done.stdout.split("## ")[1:]]
    return {name: lines for name, *lines in parts}


def test_it_is_listed(shown):
    assert [line.split()[0] for line in shown["models"]][-2:] == ["sixth", "sixth-wide"]
    assert shown["names"] == ["sixth sixth/wide fourth fourth sixth/table-1", "{'Rain100L': (29.0, 0.8)}"]


def test_it_is_trained_and_scored(folder, shown):
    logged = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert len(logged) == 4
    assert {"loss_l1", "loss_fourth"} <= set(logged[-1])
    header, rainy, scored = shown["score"][:3]
    assert "psnr_rgb" in header
    assert "18.59" in rainy  # 20 log10(255 / 30)
    assert "last" in scored


def test_it_is_tiled(folder, shown):
    whole, tiled = (np.asarray(Image.open(folder / f"{name}.png"), int) for name in ("whole", "tiled"))
    assert np.abs(whole - tiled).max() <= 1  # what is rounded to 8 bits may round the other way
    assert (whole != np.asarray(Image.open(folder / "pairs/rain/0.png"))).any()


def test_it_runs_in_half_precision(folder, shown):
    whole, half = (np.asarray(Image.open(folder / f"{name}.png"), int) for name in ("whole", "half"))
    assert np.abs(whole - half).max() <= 4


def test_it_is_studied(folder, shown):
    assert any("+0.50 / +0.020 (Rain100L)" in line for line in shown["study"])
    found = json.loads((folder / "study/sixth-table-1.json").read_text())
    assert [row["row"] for row in found["rows"]] == ["narrow", "wide"]
    assert [row["parameters"] for row in found["rows"]] == [223, 443]  # 27w + w + 27w + 3
    assert found["failed"] == []
