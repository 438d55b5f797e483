"""What a user does with real photographs: `derain image` on pairs of Rain100L and on real ones."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from derainlib import cli, images, metrics

PAIRS, PHOTOGRAPHS, LARGEST = 3, 2, 1_000_000


def take(folder: Path, count: int) -> list[Path]:
    """Files of a folder, evenly spread over it, none above `LARGEST` pixels."""
    small = [path for path in sorted(folder.iterdir()) if np.prod(Image.open(path).size) <= LARGEST]
    return small[:: len(small) // count][:count]


@pytest.fixture(autouse=True)
def two_threads():
    """These images are whole; the other tests' single thread would take its time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count())
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("model", ["srn", "brn"])
def test_pairs_gain(model, derain_data, tmp_path):
    gains, similar = [], []
    for rainy in take(derain_data / "rain100l" / "rain", PAIRS):
        out = tmp_path / f"{rainy.stem}.png"
        assert cli.main(["image", str(rainy), str(out), "--model", model, "--dtype", "bf16"]) == 0
        before, after, truth = (images.read(p)[None] for p in (rainy, out, derain_data / "rain100l/clean" / rainy.name))
        assert after.shape == before.shape
        gains.append((metrics.psnr(after, truth, "y") - metrics.psnr(before, truth, "y")).item())
        similar.append(metrics.ssim(after, truth, "y").item())
    assert np.mean(gains) > 4
    assert np.mean(similar) > 0.91


def test_real_photographs_keep_their_size_and_lose_some_light(derain_data, tmp_path):
    """Rain adds light: what comes back is the same scene, not brighter, and not the input."""
    for rainy in take(derain_data / "real", PHOTOGRAPHS):
        out = tmp_path / f"{rainy.stem}.png"
        assert cli.main(["image", str(rainy), str(out), "--model", "srn", "--dtype", "bf16"]) == 0
        before, after = images.read(rainy), images.read(out)
        assert after.shape == before.shape
        assert -0.1 < (after - before).mean() < 0.01
        assert (after - before).abs().mean() > 1e-3
        assert np.corrcoef(after.flatten(), before.flatten())[0, 1] > 0.9
