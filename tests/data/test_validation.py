"""What judges a training is kept out of it, is the same each time, and is nothing that networks are compared on."""

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import metrics
from derainlib.data import holdout, validation
from derainlib.data.synthetic import HOLDOUT_SEEDS, Samples, gather


def draw(path, seed: int, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(60, 120, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.fixture
def photographs(tmp_path):
    """Twenty clean photographs, and their folder."""
    return tmp_path, [draw(tmp_path / f"{i:02}.png", i) for i in range(20)]


def test_photographs_are_held_back_evenly_and_do_not_train(photographs):
    folder, pixels = photographs
    left, held = validation.hold_back(gather(folder), 2)
    assert [path.name for path in left.clean] == [f"{i:02}.png" for i in range(20) if i not in (5, 15)]
    for pair, i in zip(held, (5, 15, 5, 15), strict=True):
        assert torch.equal((pair.clean[0] * 255).round().byte(), pixels[i])
    assert left.note.endswith("; 2 held back for validation")
    seen = Samples(left.clean, patch=30)
    assert len(seen) == 18


def test_the_choice_depends_on_the_names_alone(photographs):
    folder, _ = photographs
    sources = gather(folder)
    left, held = validation.hold_back(sources, 2)
    again, same = validation.hold_back(sources._replace(clean=sources.clean[::-1]), 2)
    assert again.clean == left.clean[::-1]
    assert same.checksum() == held.checksum()


def test_each_is_judged_in_light_and_in_heavy_rain():
    held = validation.streets(2)
    light, heavy = held[:2], held[2:]
    for one, other in zip(light, heavy, strict=True):
        assert torch.equal(one.clean, other.clean)
        assert metrics.psnr(one.rainy, one.clean, "rgb") > metrics.psnr(other.rainy, other.clean, "rgb") + 5
    assert validation.SEED in HOLDOUT_SEEDS
    assert validation.SEED not in {kind.seed for kind in holdout.KINDS.values()}


@pytest.mark.parametrize(("wanted", "held"), [(1, 1), (2, 2), (5, 2)])
def test_never_more_than_a_tenth(photographs, wanted, held):
    left, pairs = validation.hold_back(gather(photographs[0]), wanted)
    assert (len(left.clean), len(pairs)) == (20 - held, 2 * held)


def test_of_nine_photographs_none_is_spared(tmp_path):
    for i in range(9):
        draw(tmp_path / f"{i}.png", i)
    sources = gather(tmp_path)
    left, held = validation.hold_back(sources, 5)
    assert left == sources
    assert len(held) == 0


def test_pairs_are_held_back_where_there_is_nothing_else(tmp_path):
    rainy, clean = ([draw(tmp_path / side / f"{i:02}.png", i + seed) for i in range(10)]
                    for side, seed in (("rain", 0), ("clean", 100)))  # fmt: skip
    left, held = validation.hold_back(gather(pairs_dir=tmp_path), 5)
    (pair,) = held
    assert torch.equal((pair.rainy[0] * 255).round().byte(), rainy[5])
    assert torch.equal((pair.clean[0] * 255).round().byte(), clean[5])
    assert [torch.equal((left.pairs[i].clean[0] * 255).round().byte(), clean[i]) for i in range(5)] == [True] * 5
    assert torch.equal((left.pairs[5].clean[0] * 255).round().byte(), clean[6])
    assert left.note.endswith("; 1 held back for validation")
    assert Samples(left.clean, left.pairs, patch=30)[0, 8].rainy.shape == (1, 3, 30, 30)


def test_of_a_large_photograph_the_middle_is_judged(tmp_path):
    pixels = [draw(tmp_path / f"{i}.png", i, size=(600, 20)) for i in range(10)]
    _, held = validation.hold_back(gather(tmp_path), 1)
    assert torch.equal((held[0].clean[0] * 255).round().byte(), pixels[5][:, :, 60:540])


def test_labelled_scenes_are_held_back_too(tmp_path):
    from derainlib.data import export, scenes

    export.write(scenes.drawn(range(10), (64, 80)), tmp_path / "streets", "none")
    sources = gather(scenes_dir=tmp_path / "streets")
    left, held = validation.hold_back(sources, 1)
    assert len(left.clean) == 9
    assert (held[0].clean[0] - sources.clean[5].read()[0]).abs().max() < 1e-6


def test_streets_that_judge_are_always_the_same():
    first, again = validation.streets(1), validation.streets(2)
    assert len(first) == 2
    assert torch.equal(first[0].rainy, again[0].rainy)
    assert torch.equal(first[1].rainy, again[2].rainy)
