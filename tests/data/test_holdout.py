"""The hold-out stays what it was: bytes, bands, seeds, and photographs that no training has seen.

A change of the rain's rendering moves the checksums. That is a decision, not an accident: scores made so far
stop being comparable, so weights are scored again, and cards and checksums rewritten, in the same change.
"""

from math import inf
from pathlib import Path

import pytest
import torch

from derainlib import images, metrics, rain
from derainlib.data import holdout, pairs
from derainlib.data.audit import shared
from derainlib.data.holdout import BSDS500, CHECKSUMS, KINDS, SETS, SKIMAGE, SOURCES, URBAN100
from derainlib.data.synthetic import HOLDOUT_SEEDS, Samples
from derainlib.errors import DataError

# PSNR on RGB of the rainy input, mean over the images, in dB.
BANDS = {"light": (25.5, 27.5), "heavy": (11.5, 14.5), "veil": (13.5, 16.5), "wide": (20, 23), "dry": (inf, inf)}
BANDS |= {f"side-{kind}": BANDS[kind] for kind in ("light", "heavy")}


@pytest.fixture(scope="module")
def rendered(request):
    """Hold-outs by (kind, source), rendered once."""
    made = {}

    def get(kind, source):
        if (kind, source) not in made:
            folder = None if source == "skimage" else request.getfixturevalue("derain_data")
            made[kind, source] = holdout.holdout(kind, source, folder)
        return made[kind, source]

    return get


def test_real_layers_lie_on_photographs_as_they_are(derain_data):
    """The paper's heavy rain, from layers that train nothing: what is added is the layer, wherever nothing is white."""
    found = holdout.raintrainh(derain_data)
    names = (derain_data / "splits" / "raintrainh_test.txt").read_text().split()
    assert not set(names) & set((derain_data / "splits" / "raintrainh_train.txt").read_text().split())
    folder = derain_data / "streaks" / "raintrainh"
    layers = [images.read(folder / name) for name in sorted(names, key=lambda name: int(Path(name).stem))]
    assert len(found) == 17
    assert set(found.names) < set(BSDS500)
    for i in (1, 6):  # the second, and the third mirrored
        pair, layer = found[i], layers[i % 4]
        layer = layer.flip(-1) if i == 6 else layer
        free = pair.clean[0] + layer < 1
        torch.testing.assert_close((pair.rainy - pair.clean)[0][free], layer[free])
        assert (pair.rainy[0][~free] == 1).all()
    assert 11.5 < sum(metrics.psnr(pair.rainy, pair.clean).item() for pair in found) / 17 < 14.5


@pytest.mark.parametrize(("kind", "source"), SETS)
class TestPixels:
    def test_checksum(self, rendered, kind, source):
        assert rendered(kind, source).checksum() == CHECKSUMS[kind, source]

    def test_rainy_input_is_in_its_band(self, rendered, kind, source):
        scores = [metrics.psnr(pair.rainy, pair.clean).item() for pair in rendered(kind, source)]
        low, high = BANDS[kind]
        assert low <= sum(scores) / len(scores) <= high

    def test_pairs(self, rendered, kind, source):
        found = rendered(kind, source)
        assert found.names == list(SOURCES[source])
        assert len(found) == len(SOURCES[source])
        for pair in found:
            assert pair.rainy.shape == pair.clean.shape
            assert pair.rainy.shape[:2] == (1, 3)
            assert min(pair.rainy.shape[2:]) >= 280
            for image in (pair.rainy, pair.clean):
                assert image.dtype == torch.float32
                assert torch.equal((image * 255).round() / 255, image)
            assert torch.equal(pair.rainy, pair.clean) == (kind == "dry")


class TestFixed:
    def test_every_hold_out_has_a_checksum_of_its_own(self):
        assert list(CHECKSUMS) == [*SETS, ("layers", "raintrainh")]
        assert len(set(CHECKSUMS.values())) == len(CHECKSUMS)

    def test_one_changed_pixel_is_seen(self, rendered):
        found = rendered("light", "skimage")[:]
        expected = found.checksum()
        rainy, clean = found._pixels[0]
        found._pixels[0] = rainy.clone(), clean
        assert found.checksum() == expected
        found._pixels[0][0][0, 5, 5] ^= 1
        assert found.checksum() != expected

    def test_tuning_the_presets_does_not_move_it(self, monkeypatch):
        expected = holdout.render("light", "skimage").checksum()
        for name in rain.PRESETS:
            monkeypatch.setitem(rain.PRESETS, name, rain.RainStyle())
        assert holdout.render("light", "skimage").checksum() == expected

    def test_other_pixels_are_refused(self, monkeypatch):
        monkeypatch.setitem(CHECKSUMS, ("light", "skimage"), "0" * 64)
        with pytest.raises(DataError, match=r"checksum .*, not 000000000000…: other photographs"):
            holdout.holdout("light", "skimage")

    def test_parts(self, rendered):
        found = rendered("heavy", "skimage")
        part = found[1:3]
        assert part.names == list(SKIMAGE)[1:3]
        assert torch.equal(part[0].rainy, found[1].rainy)
        assert torch.equal(found[-1].clean, found[len(found) - 1].clean)
        with pytest.raises(IndexError):
            found[len(found)]


class TestTurned:
    @pytest.mark.parametrize("kind", ["light", "heavy"])
    def test_what_falls_down_falls_sideways(self, rendered, kind):
        upright, side = rendered(kind, "skimage")[0], rendered(f"side-{kind}", "skimage")[0]
        assert torch.equal(side.rainy.rot90(-1, (2, 3)), upright.rainy)
        assert torch.equal(side.clean.rot90(-1, (2, 3)), upright.clean)


class TestUnseen:
    def test_seeds_are_kept_from_training(self):
        seeds = [kind.seed for kind in KINDS.values() if not kind.turned]
        assert len(set(seeds)) == len(seeds)
        assert all(seed in HOLDOUT_SEEDS for seed in seeds)
        scene = [(torch.rand(1, 3, 32, 32),) * 2]
        for seed in seeds:
            with pytest.raises(DataError, match="belongs to the hold-out"):
                Samples(pairs=scene, patch=16, seed=seed)

    def test_no_two_images_share_their_rain(self, rendered):
        for kind in ("light", "heavy"):
            first, second = (p.rain[0, 0, :300, :300] for p in list(rendered(kind, "skimage"))[:2])
            assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1] < 0.3

    @pytest.mark.parametrize(("listed", "count", "names"), [("bsds500", 209, BSDS500), ("urban100", 40, URBAN100)])
    def test_no_name_is_in_the_training_split(self, derain_data, listed, count, names):
        lines = (derain_data / "splits" / f"{listed}_train.txt").read_text().split()
        assert len(lines) == count
        assert not {line.rpartition("/")[2].removesuffix(".jpg") for line in lines} & set(names)
        assert len(set(names)) == 20

    @pytest.mark.slow
    def test_no_photograph_is_anywhere_in_the_training_data(self, derain_data):
        """By what they show, not by name: turned, mirrored and re-saved copies count."""
        chosen = pairs.photographs(derain_data / "bsds500", [f"test/{name}" for name in BSDS500])
        trained = pairs.photographs(derain_data / "bsds500", derain_data / "splits" / "bsds500_train.txt")
        paired = pairs.read(
            derain_data / "rain800" / "training",
            "rain800",
            derain_data / "splits" / "rain800_train.txt",
            check=False,
        )
        assert len(shared(chosen, chosen[:5])) == 5
        assert not shared(chosen, trained)
        assert not shared(chosen, paired)


class TestErrors:
    def test_unknown_kind(self):
        with pytest.raises(DataError, match="no hold-out is called 'snow'; there are light, heavy, veil"):
            holdout.holdout("snow")

    def test_unknown_source(self):
        with pytest.raises(DataError, match="'imagenet'; there are bsds500, skimage"):
            holdout.holdout("light", "imagenet")

    def test_it_never_rains_on_buildings(self):
        with pytest.raises(DataError, match="it never rains on urban100 in the hold-out; its only kind is 'dry'"):
            holdout.holdout("light", "urban100")

    def test_photographs_need_a_folder(self):
        with pytest.raises(DataError, match="without data, use the source 'skimage'"):
            holdout.holdout("light", "bsds500")

    def test_missing_photograph(self, tmp_path):
        with pytest.raises(DataError, match=r"100099\.jpg is missing"):
            holdout.holdout("light", "bsds500", tmp_path)
