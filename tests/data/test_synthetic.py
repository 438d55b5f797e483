"""Samples depend on (seed, epoch, index) alone, and a schedule starts anywhere without skipping."""

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib.data.pairs import photographs
from derainlib.data.synthetic import HOLDOUT_SEEDS, Samples, Schedule, gather, stand_ins
from derainlib.errors import DataError
from derainlib.layers import Pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photographs")
    noise = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(noise.integers(0, 200, (40, 50, 3), dtype=np.uint8)).save(path / f"{i}.png")
    (path / "notes.txt").write_text("not an image")
    return path


def a_pair(value: float) -> Pair:
    clean = torch.full((1, 3, 40, 40), value)
    return Pair(clean + 0.25, clean)


def test_samples_do_not_depend_on_their_batch(folder):
    samples = Samples(photographs(folder), [a_pair(0.1), a_pair(0.5)], patch=24, paired=0.5)
    keys = [(e, i) for e in range(2) for i in range(4)]
    together = samples.__getitems__(keys)
    for place, key in enumerate(keys):
        alone = samples[key]
        torch.testing.assert_close(alone.rainy[0], together.rainy[place], rtol=0, atol=0)
        torch.testing.assert_close(alone.clean[0], together.clean[place], rtol=0, atol=0)


def test_seed_and_epoch_change_the_draw(folder):
    def rainy(seed, epoch):
        return Samples(photographs(folder), patch=24, seed=seed)[(epoch, 0)].rainy

    assert torch.equal(rainy(0, 0), rainy(0, 0))
    assert not torch.equal(rainy(0, 0), rainy(0, 1))
    assert not torch.equal(rainy(0, 0), rainy(1, 0))


def test_crops_come_from_their_photograph(folder):
    image = np.asarray(Image.open(folder / "2.png"))
    crop = np.uint8(np.rint(255 * Samples(photographs(folder), patch=24)[(0, 2)].clean[0].permute(1, 2, 0).numpy()))
    windows = np.lib.stride_tricks.sliding_window_view(image, (24, 24, 3)).reshape(-1, 24, 24, 3)
    assert any(np.array_equal(crop, w) or np.array_equal(crop[:, ::-1], w) for w in windows)


def test_rainy_and_clean_are_cropped_alike():
    ramp = torch.linspace(0, 0.5, 40).repeat(3, 40, 1)[None]
    pairs = [Pair(ramp + 0.25, ramp)]
    batch = Samples(pairs=pairs, patch=24).__getitems__([(e, 0) for e in range(6)])
    torch.testing.assert_close(batch.rain, torch.full_like(batch.rain, 0.25), rtol=0, atol=0.5 / 127)
    assert batch.clean.diff(dim=-1).mean((1, 2, 3)).sign().unique().tolist() == [-1, 1]


def test_the_share_of_pairs_is_the_asked_one(folder):
    samples = Samples(photographs(folder), [a_pair(0.5)], patch=16, paired=0.3, style="light")
    batch = samples.__getitems__([(e, i) for e in range(100) for i in range(4)])
    from_pairs = (batch.clean.flatten(1).std(1) == 0).float().mean().item()
    assert from_pairs == pytest.approx(0.3, abs=0.07)


def test_a_schedule_visits_each_sample_once_an_epoch():
    keys = [key for batch in Schedule(12, batch=4, first=0, last=6, seed=0) for key in batch]
    for epoch in range(2):
        order = [index for e, index in keys if e == epoch]
        assert sorted(order) == list(range(12))
        assert order != sorted(order)
    assert keys[:12] != [(0, i) for _, i in keys[12:]]


def test_a_schedule_starts_anywhere():
    whole = list(Schedule(7, batch=4, first=0, last=9, seed=3))
    assert list(Schedule(7, batch=4, first=5, last=9, seed=3)) == whole[5:]


def test_processes_and_portions_share_the_same_step():
    step = sorted(next(iter(Schedule(50, batch=8, first=2, last=3, seed=0))))
    shares = [
        key for rank in range(2) for portion in Schedule(50, 8, 2, 3, 0, rank, world=2, accumulate=2) for key in portion
    ]
    assert sorted(shares) == step


def test_what_cannot_be_sampled_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="no training data"):
        Samples()
    with pytest.raises(DataError, match="hold-out"):
        Samples(photographs(folder), seed=HOLDOUT_SEEDS[0])
    with pytest.raises(DataError, match="smaller than the patch"):
        Samples(photographs(folder), patch=64)[(0, 0)]
    with pytest.raises(DataError, match="give that folder too"):
        gather(clean_list=tmp_path / "list.txt")


def test_lists_choose_files_and_the_note_says_so(folder, tmp_path):
    (tmp_path / "two.txt").write_text("3.png\n1.png\n")
    sources = gather(folder, tmp_path / "two.txt", rain_style="light")
    assert sorted(path.name for path in sources.clean) == ["1.png", "3.png"]
    assert sources.note == f"2 clean photographs of {folder.name} (two.txt) with light rain"
    assert len(gather(folder).clean) == 4


def test_without_data_there_are_stand_ins():
    sources = gather()
    assert len(sources.clean) == len(stand_ins()) == 20
    assert "drawn streets" in sources.note
    batch = Samples(sources.clean, patch=64).__getitems__([(0, i) for i in range(0, 20, 3)])
    assert batch.rainy.shape == (7, 3, 64, 64)
    assert (batch.rainy != batch.clean).any()
