"""Samples depend on (seed, epoch, index) alone, and a schedule starts anywhere without skipping."""

import hashlib
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import images, rain
from derainlib.data import scenes, synthetic
from derainlib.data.pairs import photographs
from derainlib.data.scenes import IGNORED, Scene
from derainlib.data.seeds import HOLDOUT_SEEDS
from derainlib.data.synthetic import Samples, Schedule, gather, stand_ins
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


def reads(monkeypatch) -> list[Path]:
    """The files that are opened from now on."""
    opened, read = [], images.read
    monkeypatch.setattr(images, "read", lambda path: opened.append(path) or read(path))
    return opened


@pytest.mark.parametrize(
    ("memory", "workers", "read_again"),
    [(24_000, 1, 0), (23_999, 1, 1), (12_000, 1, 2), (24_000, 2, 2), (24_000, 5, 4), (0, 1, 4)],
)
def test_memory_is_bounded_in_bytes(folder, monkeypatch, memory, workers, read_again):
    """Four photographs of 40x50 pixels take 24,000 bytes; those without room are read at each visit."""
    worker = None if workers == 1 else SimpleNamespace(num_workers=workers)
    monkeypatch.setattr(synthetic, "get_worker_info", lambda: worker)
    opened = reads(monkeypatch)
    samples, unbounded = (Samples(photographs(folder), patch=24, memory=m) for m in (memory, 10**9))
    for epoch in range(3):
        for index in range(4):
            assert torch.equal(samples[epoch, index].rainy, unbounded[epoch, index].rainy)
        assert len(opened) == 8 + epoch * read_again


@pytest.mark.parametrize(("room", "read_again"), [(0, False), (-1, True)])
def test_labels_count_as_memory(monkeypatch, room, read_again):
    read, opened = Scene.read, []
    monkeypatch.setattr(Scene, "read", lambda scene: opened.append(scene.name) or read(scene))
    samples = Samples(scenes.drawn(range(1), (64, 80)), patch=24, memory=4 * 64 * 80 + room)
    samples.__getitems__([(epoch, 0) for epoch in range(2)])
    assert (len(opened) == 2) == read_again


@pytest.mark.parametrize(("room", "read_again"), [(0, False), (-1, True)])
def test_both_images_of_a_pair_count_as_memory(room, read_again):
    class Pairs(list):
        opened = 0

        def __getitem__(self, index):
            self.opened += 1
            return super().__getitem__(index)

    pairs = Pairs([a_pair(0.1)])
    Samples(pairs=pairs, patch=24, memory=6 * 40 * 40 + room).__getitems__([(epoch, 0) for epoch in range(2)])
    assert (pairs.opened == 2) == read_again


def test_samples_travel_to_processes_that_start_afresh(folder):
    """As a DataLoader's workers do where processes are not forked."""
    samples = Samples(photographs(folder), [a_pair(0.1)], patch=24, paired=0.5)
    samples[0, 1]
    copy = pickle.loads(pickle.dumps(samples))
    assert torch.equal(copy[1, 2].rainy, samples[1, 2].rainy)


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
        key
        for rank in range(2)
        for portion in Schedule(50, batch=8, first=2, last=3, seed=0, rank=rank, world=2, accumulate=2)
        for key in portion
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


# --- labelled scenes ------------------------------------------------------------------------------------------------


def a_scene(seed: int = 0, varied: bool = True, size=(40, 50)) -> Scene:
    """A grey picture whose brightness is its label: brightness 20 k, of 255, for class k."""
    labels = torch.arange(size[0])[:, None].div(4, rounding_mode="floor").add(seed).expand(size) % 11
    return Scene(f"scene{seed}", (20 * labels / 255).expand(3, *size), labels, varied=varied)


@pytest.fixture(scope="module")
def labelled_folder(tmp_path_factory):
    """A training and a test split in CamVid's layout, three and one scenes."""
    path = tmp_path_factory.mktemp("camvid")
    for split, numbers in (("train", (0, 1, 2)), ("test", (3,))):
        for number in numbers:
            scene = a_scene(number)
            for kind, pixels in (("images", scene.image.permute(1, 2, 0) * 255), ("labels", scene.labels)):
                (path / split / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.rint(pixels.numpy()).astype(np.uint8)).save(path / split / kind / f"{number}.png")
    return path


def test_labels_are_cropped_with_their_scene():
    samples = Samples([a_scene(k) for k in range(4)], patch=24, style="light")
    batch = samples.__getitems__([(e, i) for e in range(5) for i in range(4)])
    assert batch.labels.shape == (20, 24, 24)
    assert batch.labels.dtype == torch.int64
    outside = batch.labels == IGNORED
    assert outside.float().mean() < 0.1
    shade = (batch.clean[:, 0] * 255 / 20).round().long()
    assert (shade == batch.labels)[~outside].float().mean() > 0.9  # where it was turned, edges between classes are soft
    assert (batch.rainy != batch.clean).any((1, 2, 3)).all()


def test_half_of_the_visits_keep_the_scenes_own_pixels():
    samples = Samples([a_scene()], patch=24, style="none")
    batch = samples.__getitems__([(e, 0) for e in range(400)])
    own = ((batch.clean[:, 0] * 255).round() == 20 * batch.labels).all(-1).all(-1)
    assert own.float().mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(batch.rainy, batch.clean)


def test_labels_change_no_draw(folder):
    """Scenes that are not varied give, bit for bit, the samples of the same photographs without labels."""
    pictures = [a_scene(k).image for k in range(4)]
    known = Samples([a_scene(k, varied=False) for k in range(4)], [a_pair(0.5)], patch=24, paired=0.3, seed=5)
    unknown = Samples(pictures, [a_pair(0.5)], patch=24, paired=0.3, seed=5)
    keys = [(e, i) for e in range(3) for i in range(4)]
    a, b = known.__getitems__(keys), unknown.__getitems__(keys)
    assert torch.equal(a.rainy, b.rainy)
    assert torch.equal(a.clean, b.clean)
    assert b.labels is None
    from_pairs = a.clean.flatten(1).std(1) == 0
    assert 0 < from_pairs.sum() < 12
    assert torch.equal(a.labels == IGNORED, from_pairs[:, None, None].expand_as(a.labels))


def test_batches_mix_labelled_and_unlabelled(folder):
    samples = Samples([*photographs(folder), a_scene()], [a_pair(0.5)], patch=24, paired=0.25)
    keys = [(e, i) for e in range(4) for i in range(5)]
    batch = samples.__getitems__(keys)
    known = (batch.labels != IGNORED).any(-1).any(-1)
    assert not known[[place for place, (_, index) in enumerate(keys) if index < 4]].any()
    assert known.sum() >= 2
    for place, key in enumerate(keys):
        alone = samples[key]
        assert torch.equal(alone.rainy[0], batch.rainy[place])
        assert (alone.labels is None) == (not known[place])
        if alone.labels is not None:
            assert torch.equal(alone.labels[0], batch.labels[place])


def test_gather_takes_the_training_split(labelled_folder, folder):
    sources = gather(scenes_dir=labelled_folder, rain_style="streets")
    assert [scene.name for scene in sources.clean] == ["0", "1", "2"]
    assert sources.note == f"3 labelled scenes of {labelled_folder.name} (train) with streets rain"
    both = gather(folder, scenes_dir=labelled_folder / "test")
    assert len(both.clean) == 5
    assert both.note == (
        f"4 clean photographs of {folder.name} with mixed rain; 1 labelled scenes of test with mixed rain"
    )
    batch = Samples(both.clean, both.pairs, patch=32).__getitems__([(0, i) for i in range(5)])
    assert [(labels != IGNORED).any().item() for labels in batch.labels] == [False] * 4 + [True]


def test_stand_ins_have_labels_where_they_are_streets():
    batch = Samples(gather().clean, patch=64).__getitems__([(0, 0), (0, 19)])
    assert IGNORED not in batch.labels[0]
    assert (batch.labels[1] == IGNORED).all()


def test_rain_on_a_scene_is_the_rain_of_its_generator(monkeypatch):
    """Geometry comes first and the rain is drawn upright on the crop, not scaled or turned with it."""
    seen = []
    plain = rain.add_rain
    monkeypatch.setattr(rain, "add_rain", lambda clean, *rest: seen.append(clean.clone()) or plain(clean, *rest))
    batch = Samples([a_scene()], patch=24, style="light")[(0, 0)]
    assert torch.equal(seen[0], batch.clean)


def test_scenes_smaller_than_the_patch_are_refused():
    with pytest.raises(DataError, match="scene0: 50x40 pixels, smaller than the patch of 48"):
        Samples([a_scene()], patch=48)[(0, 0)]


def test_labels_of_the_shipped_set(derain_data):
    sources = gather(scenes_dir=derain_data / "camvid")
    batch = Samples(sources.clean, patch=224, style="streets").__getitems__([(0, i) for i in range(0, 367, 40)])
    assert len(sources.clean) == 367
    assert batch.labels.shape == (10, 224, 224)
    assert set(batch.labels.unique().tolist()) <= {*range(11), scenes.IGNORED}


class TestTurned:
    """Samples turned by right angles, labels with them."""

    def batch(self, turned: float, count: int = 60):
        samples = Samples([a_scene(0)], patch=24, style="light", turned=turned)
        return samples.__getitems__([(epoch, 0) for epoch in range(count)])

    def test_each_is_one_of_the_three_turns(self):
        upright, turned = self.batch(0.0), self.batch(1.0)
        seen = []
        for i in range(60):
            (k,) = (k for k in (1, 2, 3) if torch.equal(upright.rainy[i].rot90(k, (1, 2)), turned.rainy[i]))
            assert torch.equal(upright.clean[i].rot90(k, (1, 2)), turned.clean[i])
            assert torch.equal(upright.labels[i].rot90(k, (0, 1)), turned.labels[i])
            seen.append(k)
        assert all(10 <= seen.count(k) <= 30 for k in (1, 2, 3))

    def test_share(self):
        upright, some = self.batch(0.0, 200), self.batch(0.3, 200)
        turned = sum(not torch.equal(a, b) for a, b in zip(upright.rainy, some.rainy, strict=True))
        assert 35 <= turned <= 85


class TestDry:
    def test_share_stays_as_it_is(self):
        samples = Samples([a_scene(0)], patch=24, style="heavy", dry=0.3)
        batch = samples.__getitems__([(epoch, 0) for epoch in range(300)])
        dry = [torch.equal(rainy, clean) for rainy, clean in zip(batch.rainy, batch.clean, strict=True)]
        assert 60 <= sum(dry) <= 120
        rainy = samples[(dry.index(False), 0)].rainy
        assert torch.equal(rainy[0], batch.rainy[dry.index(False)])  # alone as in its batch

    def test_pairs_are_left_alone(self):
        pair = a_pair(0.1)
        samples = Samples(pairs=[pair], patch=24, dry=1.0)
        assert samples[(0, 0)].rain.min() > 0.24


class TestRainAsDrawn:
    """What was drawn, and where it rains, for the losses that want them."""

    def test_comes_with_the_photographs(self, folder):
        batch = Samples(photographs(folder), patch=24, style="heavy", turned=0.5).__getitems__(
            [(0, i) for i in range(4)]
        )
        assert batch.drawn.shape == batch.location.shape == (4, 1, 24, 24)
        torch.testing.assert_close(batch.rainy, (batch.clean + batch.drawn).clamp(0, 1))
        assert (batch.clean + batch.drawn).max() > 1  # not O − B, which is clipped
        assert torch.equal(batch.location, rain.location(batch.drawn))

    def test_of_given_pairs_and_dry_crops_it_is_what_is_stored(self, folder):
        samples = Samples(photographs(folder), [a_pair(0.5)], patch=24, style="heavy", paired=0.4, dry=0.4)
        batch = samples.__getitems__([(e, i) for e in range(10) for i in range(4)])
        given, dry = (batch.clean == batch.clean[:, :1, :1, :1]).flatten(1).all(1), (batch.rain == 0).flatten(1).all(1)
        wet = ~(given | dry)
        assert min(given.sum(), dry.sum(), wet.sum()) > 2
        assert batch.drawn.shape == (40, 3, 24, 24)
        assert torch.equal(batch.drawn[~wet], batch.rain[~wet])
        assert batch.location.flatten(1).mean(1)[given].eq(1).all()
        assert not batch.location[dry].any()
        torch.testing.assert_close(batch.rainy, (batch.clean + batch.drawn).clamp(0, 1))
        assert not torch.equal(batch.drawn[wet], batch.rain[wet])

    def test_pairs_alone_have_none(self):
        batch = Samples(pairs=[a_pair(0.5)], patch=24)[0, 0]
        assert batch.drawn is batch.location is None


def test_draws_are_those_of_old():
    """No crop, turn, pair or rain may move: trainings are repeated, and what was measured on them is compared."""
    samples = Samples(stand_ins(), [a_pair(0.5)], patch=32, paired=0.3, turned=0.3, dry=0.2, seed=7)
    batch = samples.__getitems__([(1, i) for i in range(20)])
    assert hashlib.sha256(images.to_bytes(batch.clean).numpy()).hexdigest()[:16] == "cb3a48015af81234"
    assert (255 * batch.rain).mean((1, 2, 3)).tolist() == pytest.approx(
        [0, 63, 7.35, 63, 63, 0, 4.83, 63, 63, 12.24, 0, 63, 63, 12.30, 12.03, 41.80, 63, 11.91, -8.47, 0], abs=0.02
    )


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        (["rain/1.png", "clean/1.png"], ".", "give it as pairs_dir, or its clean half .*clean as clean_dir"),
        (["input/1.png", "Target/1.png"], "input", r"is the rainy half of pairs, beside target: .* as clean_dir"),
        (["images/1.png", "labels/1.png"], ".", "holds labelled streets, .*: give it as scenes_dir$"),
        (["leftImg8bit/1.png", "gtFine/1.png"], ".", "holds labelled streets"),
        (["rain-001.png", "norain-001.png"], ".", "holds rainy photographs beside clean ones: give it as pairs_dir$"),
    ],
)
def test_pairs_are_no_clean_photographs(tmp_path, names, given, words):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    with pytest.raises(DataError, match=words):
        gather(tmp_path / given)


@pytest.mark.parametrize("given", ["clean", "rain"])
def test_a_folder_that_is_only_called_so_is_taken(tmp_path, given):
    """The clean half by itself; and photographs in a folder called rain, with nothing beside it."""
    for name in ("clean", "rain") if given == "clean" else ("rain",):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name / "1.png")
    assert len(gather(tmp_path / given).clean) == 1
