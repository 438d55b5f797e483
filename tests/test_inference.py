"""Whole images: tiles equal the whole, in any precision the caller's network is left alone, folders survive."""

import os
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from torch import nn
from torch.nn import functional as F

from derainlib import image_profiles, images, inference, metrics, models
from derainlib.data import samples
from derainlib.errors import DerainError, ImageError, WeightsError
from derainlib.inference import clean, derain, derain_file, derain_folder, plan
from derainlib.layers import Layers
from derainlib.models import weights
from tests import icc


class Toy(nn.Module):
    """Zero-padded convolutions on a grid of `stride`: halved, convolved `depth` times, and enlarged again."""

    global_statistics = False

    def __init__(self, depth=2, stride=1):
        super().__init__()
        generator = torch.Generator().manual_seed(depth)
        self.stride, self.halo = stride, depth * stride + stride - 1
        self.weights = nn.ParameterList(torch.randn(3, 3, 3, 3, generator=generator) / 4 for _ in range(depth))
        self.sizes = []

    def forward(self, rainy, keep=False):
        self.sizes.append(rainy.shape)
        height, width = rainy.shape[-2:]
        x = F.pad(rainy, (0, -width % self.stride, 0, -height % self.stride))
        x = F.avg_pool2d(x, self.stride).to(self.weights[0].dtype)
        for weight in self.weights:
            x = F.conv2d(x, weight, padding=1).tanh()
        x = F.interpolate(x, scale_factor=self.stride)[..., :height, :width].float()
        return Layers(rainy - x, x)


class Averaging(Toy):
    """A toy that darkens by what it averages: a map of blocks, each of which sees its neighbours."""

    global_statistics = True

    def __init__(self, depth=2, stride=4):
        super().__init__(depth, stride)
        self.halo = max(self.halo, 2 * stride - 1)

    def statistics(self, rainy):
        x = F.pad(rainy, (0, -rainy.shape[3] % self.stride, 0, -rainy.shape[2] % self.stride), mode="reflect")
        return F.avg_pool2d(F.avg_pool2d(x, self.stride).square(), 3, 1, 1)

    def forward(self, rainy, keep=False, statistics=None):
        mean = self.statistics(rainy).mean((2, 3)) if statistics is None else statistics
        return Layers(super().forward(rainy).background + 0.5 - 2 * mean[:, :, None, None], rainy)


def recurrent(name: str, **options) -> nn.Module:
    """A network with random weights whose estimates lie in the middle of [0, 1], not clipped at its ends."""
    torch.manual_seed(0)
    model = models.create(name, stages=2, **options)
    for branch in model.children():
        nn.init.normal_(branch.output.weight, std=0.1)
        nn.init.constant_(branch.output.bias, 0.0 if name == "srn" else 0.5)
    return model


def inside(image: torch.Tensor) -> bool:
    """Whether most of an image varies and is not clipped, so that comparing it means something."""
    return image.std() > 0.02 and ((image > 0) & (image < 1)).float().mean() > 0.7


def photo(height, width, count=1, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


# --- windows ----------------------------------------------------------------------------------------------------------


class TestPlan:
    @settings(max_examples=200, deadline=None)
    @given(
        size=st.tuples(st.integers(16, 300), st.integers(16, 300)),
        depth=st.integers(0, 12),
        stride=st.sampled_from([1, 2, 4, 8]),
        extra=st.none() | st.integers(0, 150),
        pixels=st.integers(1, 60_000),
    )
    def test_every_pixel_is_filled_once_from_far_enough_inside(self, size, depth, stride, extra, pixels):
        model = Toy(depth, stride)
        tile = None if extra is None else max(16, 2 * model.halo + stride) + stride + extra
        filled = torch.zeros(size, dtype=torch.int)
        for window in plan(model, *size, tile, pixels):
            filled[window.rows.filled, window.columns.filled] += 1
            for span, length in zip(window, size, strict=True):
                seen, kept = span.seen, span.kept
                assert seen.start % stride == 0
                assert seen.stop - seen.start >= 16
                assert (seen.start + kept.start, seen.start + kept.stop) == (span.filled.start, span.filled.stop)
                assert seen.start == 0 or kept.start >= model.halo
                assert seen.stop == length or seen.stop - seen.start - kept.stop >= model.halo
                assert seen.stop <= length
                assert tile is None or seen.stop - seen.start < tile + stride
        assert filled.eq(1).all()

    def test_a_small_image_is_one_window(self):
        assert len(plan(Toy(), 1000, 1000, None, 1_000_000)) == 1

    def test_windows_stay_below_the_limit_and_repeat_little(self):
        model = models.create("srn")
        windows = plan(model, 4000, 6000, None, inference.WINDOW_PIXELS)
        assert max(window.pixels for window in windows) <= inference.WINDOW_PIXELS
        assert sum(window.pixels for window in windows) < 1.4 * 24_000_000

    def test_a_panorama_is_cut_across_only(self):
        assert all(window.rows.seen == slice(0, 300) for window in plan(models.create("srn"), 300, 20_000, None, 10**6))

    @settings(max_examples=200, deadline=None)
    @given(
        size=st.tuples(st.integers(16, 300), st.integers(16, 300)),
        depth=st.integers(0, 12),
        stride=st.sampled_from([1, 2, 4, 16]),
        extra=st.integers(0, 150),
    )
    def test_every_block_is_counted_once_by_a_window_that_sees_around_it(self, size, depth, stride, extra):
        model = Toy(depth, stride)
        tile = max(16, 2 * model.halo + stride) + stride + extra
        counted = torch.zeros(*(-(-side // stride) for side in size), dtype=torch.int)
        for window in plan(model, *size, tile, 1):
            own = []
            for span, length in zip(window, size, strict=True):
                blocks, first = span.blocks(stride), span.seen.start // stride
                assert 0 <= blocks.start <= blocks.stop <= -(-(span.seen.stop - span.seen.start) // stride)
                own.append(slice(blocks.start + first, blocks.stop + first))
                if blocks.start < blocks.stop:
                    start, stop = own[-1].start * stride, min(own[-1].stop * stride, length)
                    assert span.seen.start == 0 or start - model.halo >= span.seen.start
                    assert span.seen.stop == length or stop - stride + model.halo < span.seen.stop
            counted[*own] += 1
        assert counted.eq(1).all()

    def test_a_tile_without_room_between_the_halos(self):
        model = Toy(depth=20)
        with pytest.raises(DerainError, match=r"tile=40 .*at least 41"):
            plan(model, 100, 100, 40, 10**6)
        assert len(plan(model, 100, 100, 41, 10**6)) > 1

    def test_a_network_that_averages_over_the_image(self):
        model = Toy()
        model.global_statistics, model.name = True, "toy"
        with pytest.raises(DerainError, match=r"toy averages over the whole image.*tile=90"):
            clean(model, photo(80, 90), tile=50)
        assert clean(model, photo(80, 90), tile=90).shape == (1, 3, 80, 90)


# --- tensors ----------------------------------------------------------------------------------------------------------


class TestClean:
    @pytest.mark.parametrize(("depth", "stride"), [(2, 1), (5, 1), (1, 2), (2, 4), (1, 8)])
    @pytest.mark.parametrize("size", [(97, 131), (64, 203), (55, 55)])
    @pytest.mark.parametrize("tile", [40, 48, 70])
    def test_tiles_equal_the_whole(self, depth, stride, size, tile):
        model = Toy(depth, stride)
        whole = clean(model, photo(*size))
        assert len(model.sizes) == 0, "the caller's network ran"
        assert torch.equal(whole, model(photo(*size)).background.detach().clamp(0, 1))
        assert (clean(model, photo(*size), tile=tile) - whole).abs().max() < 1e-5

    def test_too_small_a_halo_would_show(self):
        model = Toy(depth=3)
        whole = clean(model, photo(97, 131))
        model.halo = 2
        assert (clean(model, photo(97, 131), tile=40) - whole).abs().max() > 1e-3

    @pytest.mark.parametrize("stride", [1, 4, 16])
    @pytest.mark.parametrize("size", [(96, 128), (97, 131), (55, 203)])
    def test_a_first_pass_averages_over_the_whole(self, stride, size):
        """Photographs are averaged one by one, and brighter ones are darkened more."""
        model = Averaging(1, stride)
        rainy = photo(*size, count=2) / 4 + torch.tensor([0.2, 0.3]).view(2, 1, 1, 1)
        rainy[..., : size[1] // 2] /= 2
        whole, tile = clean(model, rainy), 2 * model.halo + 2 * stride + 20
        windows = plan(model, *size, tile, 1)
        assert len(windows) > 1
        assert inside(whole)
        assert (clean(model, rainy, tile=tile) - whole).abs().max() < 1e-5
        model.statistics = lambda part: torch.zeros(len(part), 3, 99, 99)
        assert (clean(model, rainy, tile=tile) - whole).abs().max() > 0.1, "the average does not matter"

    def test_one_window_needs_no_first_pass(self, monkeypatch):
        shapes = []
        counted = Averaging.statistics
        monkeypatch.setattr(Averaging, "statistics", lambda self, x: shapes.append(len(x)) or counted(self, x))
        clean(Averaging(), photo(40, 40))
        assert shapes == [1]

    @pytest.mark.parametrize("name", ["srn", "srn-gru", "srn-x", "brn", "crn"])
    @pytest.mark.parametrize("size", [(131, 97), (107, 149)])
    def test_recurrent_networks(self, name, size):
        model = recurrent(name, width=6)
        whole = clean(model, photo(*size))
        assert inside(whole)
        tile = 2 * model.halo + 23
        assert len(plan(model, *size, tile, 1)) > 4
        assert (clean(model, photo(*size), tile=tile) - whole).abs().max() < 1e-5

    def test_a_recurrent_network_needs_its_whole_halo(self):
        """The declared halo is the true one: a pixel at that distance matters, one further away does not."""
        for name in ("srn", "brn"):
            model = recurrent(name, width=6).double()
            side = 2 * model.halo + 21
            rainy = photo(16, side).double().requires_grad_()
            model(rainy).background[..., side // 2].sum().backward()
            columns = rainy.grad.abs().sum((0, 1, 2)).nonzero().flatten()
            assert (columns.min(), columns.max()) == (side // 2 - model.halo, side // 2 + model.halo)

    def test_a_batch_is_cut_too(self, monkeypatch):
        monkeypatch.setattr(inference, "WINDOW_PIXELS", 3 * 20 * 20)
        model, seen = Toy(), []
        monkeypatch.setattr(Toy, "forward", lambda self, x: seen.append(len(x)) or Layers(1 - x, x))
        rainy = photo(20, 20, count=7)
        assert torch.equal(clean(model, rainy), 1 - rainy)
        assert seen == [3, 3, 1]

    def test_the_result_is_clipped(self):
        model = Toy()
        model.forward = lambda x: Layers(3 * x - 1, x)
        found = clean(model, photo(20, 20))
        assert (found.min(), found.max()) == (0, 1)

    def test_the_callers_network_is_left_alone(self):
        model = Toy()
        model.train()
        before = [weight.clone() for weight in model.weights]
        found = clean(model, photo(32, 32), dtype="bf16")
        assert model.training
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(model.weights, before, strict=True))
        assert not found.requires_grad
        assert not found.is_inference()
        assert found.dtype == torch.float32

    def test_it_runs_in_eval_mode(self):
        model = recurrent("srn", width=6)
        model.network.blocks.append(nn.Dropout(0.9))
        assert torch.equal(clean(model, photo(32, 32)), clean(model, photo(32, 32)))
        assert not torch.equal(model(photo(32, 32)).background, model(photo(32, 32)).background)

    @pytest.mark.parametrize("dtype", ["bf16", torch.bfloat16])
    def test_less_precision_stays_close(self, dtype):
        model = recurrent("brn", width=8)
        exact, rough = clean(model, photo(48, 48)), clean(model, photo(48, 48), dtype=dtype)
        assert inside(exact)
        assert 0 < (exact - rough).abs().mean() < 5e-3

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"dtype": "int8"}, "dtype must be one of fp32, bf16, fp16"),
            ({"dtype": torch.float64}, "dtype must be"),
            ({"device": "tpu-please"}, "no kind of device"),
            ({"tile": 3}, "at least"),
            ({"strength": -0.1}, r"strength must be a number from 0 to 2; got -0\.1"),
            ({"strength": 2.5}, "strength must be a number from 0 to 2"),
            ({"strength": float("nan")}, "strength must be"),
            ({"strength": "full"}, "got 'full'"),
            ({"ensemble": "no"}, "ensemble must be True or False; got 'no'"),
        ],
    )
    def test_refuses_settings(self, settings, words):
        with pytest.raises(DerainError, match=words):
            clean(Toy(), photo(64, 64), **settings)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
    def test_nan_is_no_result(self, value):
        model = recurrent("srn", width=6)
        with torch.no_grad():
            next(model.parameters()).fill_(value)
        with pytest.raises(DerainError, match=r"srn makes NaN or infinite values of this image: .* try fp32"):
            derain(photo(32, 32), model, device="cpu", dtype="bf16")

    @pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[alloc_cpu.cpp] can't allocate memory: you")])
    def test_too_little_memory_is_told(self, monkeypatch, error):
        def kernel(*_):
            raise error

        monkeypatch.setattr(Toy, "forward", lambda self, rainy, keep=False: kernel())
        with pytest.raises(DerainError, match="not enough memory for Toy and this image; try tile=256"):
            clean(Toy(), photo(32, 32), device="cpu")

    def test_other_faults_of_a_network_are_its_own(self, monkeypatch):
        monkeypatch.setattr(Toy, "forward", lambda self, rainy, keep=False: torch.ones(2) @ torch.ones(3))
        with pytest.raises(RuntimeError, match="size"):
            clean(Toy(), photo(32, 32), device="cpu")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
    def test_without_a_gpu(self):
        with pytest.raises(DerainError, match=r"'cuda' cannot be used here .*; take 'cpu'"):
            clean(Toy(), photo(64, 64), device="cuda")

    @pytest.mark.parametrize("device", ["mps", "xpu", "hpu", "vulkan", "meta", "cpu:7x"])
    def test_a_device_that_is_not_there_is_one_line(self, device):
        if torch.accelerator.is_available() and torch.accelerator.current_accelerator().type == device:
            pytest.skip("it is there")
        with pytest.raises(DerainError, match="take 'cpu'") as caught:
            clean(Toy(), photo(64, 64), device=device)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200

    def test_whatever_accelerator_there_is_computes(self, monkeypatch):
        """As in training: Apple's and Intel's too."""
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
        assert inference._device(Toy(), None) == torch.device("mps")
        assert inference._device(Toy(), "cpu") == torch.device("cpu")

    @pytest.mark.filterwarnings("ignore:fp16 on this processor")
    @pytest.mark.parametrize("name", ["qsnet", "dcdnet", "srn", "brn", "phpnet", "menet"])
    def test_half_precision_on_a_cpu(self, name):
        """Slow where the processor has no kernels for it, but right."""
        rainy = samples.street((64, 64), 3)[0][..., :32, :40]
        found = clean(weights.load(name), rainy, dtype="fp16", device="cpu")
        assert (found - clean(weights.load(name), rainy, device="cpu")).abs().max() < 0.03

    def test_slow_half_precision_is_said(self, monkeypatch):
        monkeypatch.setattr(inference, "FUSED_TYPES", {torch.float32})
        with pytest.warns(UserWarning, match="fp16 on this processor takes about ten times as long"):
            clean(Toy(), photo(32, 32), dtype="fp16", device="cpu")

    @pytest.mark.parametrize("name", sorted(models.SEGMENTERS))
    def test_a_segmenter_takes_no_rain_off(self, name):
        """Its background is the photograph itself: a result that looks as if there had been no rain."""
        for model in (models.create(name), name):
            with pytest.raises(DerainError, match=r"takes no rain off; .*brn.* do"):
                derain(np.zeros((32, 32, 3), np.uint8), model)

    @pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, torch.optim.swa_utils.AveragedModel])
    def test_what_is_wrapped_around_a_network_is_taken_off(self, wrap):
        assert torch.equal(clean(wrap(Toy()), photo(64, 64)), clean(Toy(), photo(64, 64)))

    def test_a_network_of_other_people(self):
        with pytest.raises(DerainError, match=r"Conv2d does not say what it sees .* halo, global_statistics"):
            clean(nn.Conv2d(3, 3, 3), photo(64, 64))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_gpu_by_the_same_call(self):
        model = recurrent("brn", width=8)
        found, expected = clean(model, photo(120, 130)), clean(model.cpu(), photo(120, 130), device="cpu")
        assert found.device.type == "cpu"
        assert next(model.parameters()).device.type == "cpu"
        assert (found - expected).abs().max() < 1e-3
        assert (clean(model, photo(120, 130), tile=2 * model.halo + 20) - found).abs().max() < 1e-3

    def test_a_bar_only_on_request(self, capfd):
        clean(Toy(), photo(64, 64), tile=32)
        assert capfd.readouterr() == ("", "")
        clean(Toy(), photo(64, 64), tile=32, progress=True)
        assert "9/9" in (shown := capfd.readouterr().err)
        assert "tile" in shown
        clean(Averaging(), photo(64, 64), tile=44, progress=True)
        assert "18/18" in capfd.readouterr().err, "both passes count"


def one_by_one(model, rainy) -> torch.Tensor:
    """The mean over the photograph as it is, mirrored, turned by 180°, and mirrored and turned; not clipped."""
    found = []
    for quarters in (0, 2):
        turned = torch.rot90(rainy, quarters, (2, 3))
        for copy, axes in ((turned, []), (turned.flip(3), [3])):
            found.append(torch.rot90(model(copy).background.detach().flip(axes), -quarters, (2, 3)))
    return torch.stack(found).double().mean(0).float()


class TestEnsemble:
    @pytest.mark.parametrize("model", [Toy(2, 1), Toy(1, 4), Averaging(1, 4)], ids=["toy", "blocks", "averaging"])
    @pytest.mark.parametrize("size", [(16, 16), (64, 96), (61, 40)])
    def test_the_mean_over_four_copies(self, model, size):
        rainy = photo(*size, count=2)
        expected = one_by_one(model, rainy)
        assert (expected - model(rainy).background).abs().max() > 0.01, "mirroring makes no difference"
        assert (clean(model, rainy, ensemble=True) - expected.clamp(0, 1)).abs().max() < 1e-5

    def test_rain_falls_in_each_of_the_four_copies(self):
        """The network sees each once, and none turned by 90°, where rain would fall sideways."""
        seen, rainy = [], photo(20, 30)
        model = Toy()
        model.forward = lambda x: seen.append(x) or Layers(x, x)
        assert torch.equal(clean(model, rainy, ensemble=True), rainy)
        assert len(seen) == 4
        for copy in (rainy, rainy.flip(2), rainy.flip(3), torch.rot90(rainy, 2, (2, 3))):
            assert sum(torch.equal(copy, x) for x in seen) == 1

    def test_the_mean_is_clipped_not_the_copies(self):
        model, values = Toy(), iter((1.4, 0.2, 1.4, 0.2))
        model.forward = lambda x: Layers(torch.full_like(x, next(values)), x)
        assert clean(model, photo(20, 30), ensemble=True).allclose(torch.tensor(0.8))

    @pytest.mark.parametrize("name", ["qsnet", "dcdnet", "srn"])
    def test_shipped_networks_do_not_suffer(self, name):
        """They have met rain from both sides; copies turned by 90° would cost 2 to 4 dB here."""
        pairs = [samples.load(f"{scene}-heavy") for scene in ("astronaut", "chelsea", "coffee")]
        rainy, truth = (torch.cat([getattr(p, side)[..., :128, 80:208] for p in pairs]) for side in ("rainy", "clean"))
        model = models.weights.load(name)
        alone, together = (metrics.psnr(clean(model, rainy, ensemble=e), truth).mean() for e in (False, True))
        assert together > alone - 0.1

    @pytest.mark.parametrize(
        "model",
        [Toy(), Averaging(), recurrent("srn", width=6), recurrent("brn", width=6)],
        ids=["toy", "averaging", "srn", "brn"],
    )
    @pytest.mark.parametrize("axes", [[3], [2], [2, 3]], ids=["mirrored", "upside down", "both"])
    def test_the_ensemble_of_a_mirrored_photograph_is_mirrored(self, model, axes):
        rainy = photo(33, 48) / 2 + 0.2
        found = clean(model, rainy, ensemble=True)
        assert inside(found)
        assert (clean(model, rainy.flip(axes), ensemble=True) - found.flip(axes)).abs().max() < 1e-5
        alone = clean(model, rainy.flip(axes)) - clean(model, rainy).flip(axes)
        assert alone.abs().max() > 1e-3, "one pass would have done"

    @pytest.mark.parametrize("model", [Toy(2, 1), Toy(1, 4), Averaging(1, 4)], ids=["toy", "blocks", "averaging"])
    @pytest.mark.parametrize("size", [(97, 131), (203, 55)])
    def test_tiles_equal_the_whole(self, model, size):
        rainy, tile = photo(*size, count=2), 48
        assert len(plan(model, *size, tile, 1)) > 4
        whole = clean(model, rainy, ensemble=True)
        assert (clean(model, rainy, ensemble=True, tile=tile) - whole).abs().max() < 1e-5

    def test_never_four_results_at_once(self, monkeypatch):
        alive, estimate = [], inference._estimate

        def watched(*words):
            alive.append(weakref.ref(result := estimate(*words)))
            assert sum(one() is not None for one in alive) <= 2
            return result

        monkeypatch.setattr(inference, "_estimate", watched)
        clean(Toy(), photo(32, 32), ensemble=True)
        assert len(alive) == 4

    def test_a_bar_counts_every_copy(self, capfd):
        clean(Toy(), photo(64, 40), tile=32, progress=True, ensemble=True)
        assert "24/24" in capfd.readouterr().err
        clean(Averaging(), photo(64, 64), tile=44, progress=True, ensemble=True)
        assert "72/72" in capfd.readouterr().err, "both passes count"

    def test_less_precision_stays_close(self):
        model = recurrent("brn", width=8)
        exact, rough = (clean(model, photo(48, 40), dtype=dtype, ensemble=True) for dtype in ("fp32", "bf16"))
        assert 0 < (exact - rough).abs().mean() < 5e-3


class TestStrength:
    def test_the_ends_are_exact(self):
        """0 gives the photograph back, 1 the network's word, bit for bit."""
        model, rainy = Toy(), photo(40, 50)
        assert torch.equal(clean(model, rainy, strength=0), rainy)
        assert torch.equal(clean(model, rainy, strength=1), model(rainy).background.detach().clamp(0, 1))
        assert torch.equal(clean(model, rainy, strength=0, ensemble=True, tile=32), rainy)
        wide = 3 * photo(40, 50).double() - 1
        found = clean(model, wide, strength=0)
        assert found.dtype == torch.float32
        assert torch.equal(found, wide.float().clamp(0, 1))

    @pytest.mark.parametrize("strength", [0.25, 0.7, 1.5, 2])
    @pytest.mark.parametrize("ensemble", [False, True])
    def test_so_much_of_the_rain_is_taken_off(self, strength, ensemble):
        """The rain is that before clipping."""
        model, rainy = Toy(), photo(40, 50)
        background = one_by_one(model, rainy) if ensemble else model(rainy).background.detach()
        assert not background.equal(background.clamp(0, 1))
        expected = (rainy - strength * (rainy - background)).clamp(0, 1)
        assert (clean(model, rainy, strength=strength, ensemble=ensemble) - expected).abs().max() < 1e-6

    def test_the_photograph_is_left_alone(self):
        rainy = photo(32, 32).requires_grad_()
        before = rainy.detach().clone()
        found = clean(Toy(), rainy, strength=0.5, ensemble=True)
        assert torch.equal(rainy.detach(), before)
        assert not found.requires_grad
        assert not found.is_inference()


class TestDerain:
    """The same kind of thing comes out."""

    @pytest.fixture
    def model(self):
        return Toy()

    def test_kinds(self, model, tmp_path):
        array = (photo(40, 50)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        image = Image.fromarray(array)
        image.save(tmp_path / "rainy.png")
        tensor = torch.from_numpy(array).permute(2, 0, 1) / 255
        expected = clean(model, tensor[None])[0]
        whole = np.rint(expected.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        assert np.array_equal(np.asarray(derain(tmp_path / "rainy.png", model)), whole)
        assert np.array_equal(np.asarray(derain(image, model)), whole)
        assert np.array_equal(derain(array, model), whole)
        assert torch.equal(derain(tensor, model), expected)
        twice = derain(torch.stack([tensor, tensor.flip(2)]), model)
        assert torch.allclose(twice[0], expected, atol=1e-6)
        assert torch.allclose(twice[1], derain(tensor.flip(2), model), atol=1e-6)

    def test_settings_are_handed_on(self, model):
        image = photo(24, 30)
        settings = {"ensemble": True, "strength": 0.5}
        assert torch.equal(derain(image, model, **settings), clean(model, image, **settings))
        assert len({derain(image, model, **{name: settings[name]}).sum() for name in settings}) == 2

    def test_shipped_weights_by_default(self):
        image = photo(24, 24)
        assert torch.equal(derain(image), derain(image, models.weights.load("brn")))
        assert not torch.equal(derain(image), derain(image, "srn"))

    def test_weights_from_a_file(self, tmp_path):
        model = models.create("srn", stages=1, width=6)
        models.weights.save(model, tmp_path / "mine.safetensors", {})
        assert torch.equal(derain(photo(24, 24), tmp_path / "mine.safetensors"), clean(model, photo(24, 24)))

    def test_unknown_weights(self):
        with pytest.raises(WeightsError, match="nosuch"):
            derain(photo(24, 24), "nosuch")

    def test_a_bad_image(self, tmp_path):
        with pytest.raises(ImageError, match=r"missing\.png"):
            derain(tmp_path / "missing.png")


# --- folders ----------------------------------------------------------------------------------------------------------


class TestFolder:
    @pytest.fixture
    def source(self, tmp_path) -> Path:
        """Five good images, three bad ones, and what is none of ours."""
        source = tmp_path / "rainy"
        for name in ("a.png", "b.jpg", "day1/c.PNG", "day1/deep/d.gif", "e.ppm"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 30), (10, 20, 30)).save(source / name)
        (source / "bad.png").write_text("rain")
        (source / "day1/empty.jpg").write_bytes(b"")
        (source / "day2").mkdir()
        Image.new("RGB", (5, 5)).save(source / "day2/small.png")
        for name in ("notes.txt", ".hidden.png", "day1/._c.PNG"):
            (source / name).write_text("rain")
        return source

    @staticmethod
    def files(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def test_mirrors_goes_on_and_reports(self, source, tmp_path):
        target = tmp_path / "dry"
        report = derain_folder(source, target, Toy())
        assert self.files(target) == ["a.png", "b.jpg", "day1/c.PNG", "day1/deep/d.gif.png", "e.ppm.png"]
        assert sorted(report.written) == sorted(target / name for name in self.files(target))
        assert report.skipped == []
        bad = {source / "bad.png": "text", source / "day1/empty.jpg": "empty", source / "day2/small.png": "16 x 16"}
        assert report.failed.keys() == bad.keys()
        assert all(words in report.failed[path] and str(path) in report.failed[path] for path, words in bad.items())
        assert not (target / "day2").exists(), "an empty folder for nothing"
        lines = str(report).splitlines()
        assert lines[0] == "5 written, 0 already there, 3 failed"
        assert lines[1] == "1 file left out: 1 .txt"
        assert len(lines) == 5
        assert np.array_equal(np.asarray(Image.open(target / "a.png")), np.asarray(derain(source / "a.png", Toy())))

    def test_what_is_there_is_skipped_unless_told(self, source, tmp_path):
        target = tmp_path / "dry"
        derain_folder(source, target, Toy())
        (target / "a.png").write_text("mine")
        (target / "b.jpg").unlink()
        report = derain_folder(source, target, Toy())
        assert report.written == [target / "b.jpg"]
        assert len(report.skipped) == 4
        assert (target / "a.png").read_text() == "mine"
        assert len(derain_folder(source, target, Toy(), overwrite=True).written) == 5
        assert Image.open(target / "a.png").size == (20, 30)

    def test_results_inside_the_source_are_not_cleaned_again(self, source):
        derain_folder(source, source / "dry", Toy())
        again = derain_folder(source, source / "dry", Toy())
        assert (len(again.written), len(again.skipped), len(again.failed)) == (0, 5, 3)

    def test_a_pattern(self, source, tmp_path):
        report = derain_folder(source, tmp_path / "dry", Toy(), pattern="day1/*.PNG")
        assert report.written == [tmp_path / "dry/day1/c.PNG"]
        assert report.failed == {}

    def test_what_no_ending_calls_an_image_is_counted(self, source, tmp_path):
        for name in ("photo.NEF", "photo.jxl", "day1/film.mp4", "day1/photo.nef", ".hidden/photo.jxl", "README"):
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_bytes(b"rain")
        for name in ("f.jfif", "g.jpe", "h.mpo"):
            Image.new("RGB", (20, 30)).save(source / name, "MPO" if name == "h.mpo" else "JPEG")
        report = derain_folder(source, tmp_path / "dry", Toy())
        assert {"f.jfif", "g.jpe", "h.mpo.png"} < set(self.files(tmp_path / "dry"))
        assert report.left_out == {".nef": 2, ".jxl": 1, ".mp4": 1, ".txt": 1, "without ending": 1}
        assert "6 files left out: 1 .jxl, 1 .mp4, 2 .nef, 1 .txt, 1 without ending" in str(report)
        (tmp_path / "raw").mkdir()
        (source / "photo.NEF").rename(tmp_path / "raw/photo.nef")
        with pytest.raises(DerainError, match=r"no images .*; 1 file left out: 1 \.nef"):
            derain_folder(tmp_path / "raw", tmp_path / "none", Toy())

    def test_a_folder_that_cannot_be_opened_is_a_failure(self, source, tmp_path, monkeypatch):
        def refuse(path, scandir=os.scandir):
            if str(path).endswith("day1"):
                raise PermissionError(13, "Permission denied", str(path))  # root, as whom tests run, may open any
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        report = derain_folder(source, tmp_path / "dry", Toy())
        assert len(report.written) == 3
        assert "Permission denied" in report.failed[source / "day1"]

    def test_a_pipe_that_takes_the_place_of_an_image_is_not_waited_for(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(Path, "is_file", lambda path: True)
        os.mkfifo(source / "pipe.png")
        report = derain_folder(source, tmp_path / "dry", Toy(), pattern="pipe.png")
        assert str(report.failed[source / "pipe.png"]).endswith("pipe.png: not a regular file")

    def test_results_older_than_their_photographs_stay_and_are_named(self, source, tmp_path):
        derain_folder(source, tmp_path / "dry", Toy(), pattern="*.png")
        result = next((tmp_path / "dry").glob("*.png"))
        made = result.read_bytes(), result.stat().st_mtime
        for later, words in {
            1: "",
            60: f"1 of those already there are older than their photographs: {result}; ",
        }.items():
            os.utime(source / result.name, (made[1] + later,) * 2)
            report = derain_folder(source, tmp_path / "dry", Toy(), pattern="*.png")
            assert report.written == []
            assert words in str(report)
            assert bool(words) == ("overwrite" in str(report))
            assert (result.read_bytes(), result.stat().st_mtime) == made

    def test_what_is_called_like_an_image_and_is_no_file_is_a_failure(self, source, tmp_path):
        (source / "nowhere.png").symlink_to(tmp_path / "nothing")
        (source / "round.png").symlink_to(source / "round.png")
        os.mkfifo(source / "pipe.png")
        report = derain_folder(source, tmp_path / "dry", Toy())
        reasons = {path.name: reason for path, reason in report.failed.items()}
        assert "No such file" in reasons["nowhere.png"]
        assert "not a regular file" in reasons["pipe.png"]
        assert "symbolic links" in reasons["round.png"]

    def test_two_images_of_one_result_are_refused_before_any_work(self, source, tmp_path):
        Image.new("RGB", (20, 30)).save(source / "day1/deep/d.gif.png")
        with pytest.raises(DerainError, match=r"d\.gif and .*d\.gif\.png would both become .*; rename one"):
            derain_folder(source, tmp_path / "dry", Toy())
        assert not (tmp_path / "dry").exists()

    @pytest.mark.parametrize(("first", "second"), [("photo.png", "Photo.png"), ("caf\u00e9.png", "cafe\u0301.png")])
    def test_names_that_a_drive_takes_for_one(self, first, second, tmp_path, monkeypatch):
        """Windows and macOS write both into one file: the second is a failure, not one that was there already."""
        source, target = tmp_path / "rainy", tmp_path / "dry"
        source.mkdir()
        for name in (first, second):
            Image.new("RGB", (20, 30)).save(source / name)

        def like_windows(path, *more, exists=Path.exists):
            return exists(target / first) or exists(target / second) if path.parent == target else exists(path, *more)

        monkeypatch.setattr(Path, "exists", like_windows)
        monkeypatch.setattr(Path, "samefile", lambda path, other: True)
        report = derain_folder(source, target, Toy())
        assert (len(report.written), len(report.skipped), len(report.failed)) == (1, 0, 1)
        assert "rename one" in str(report)

    def test_sixteen_bits_are_kept_or_their_loss_is_said(self, source, tmp_path):
        deep = np.random.default_rng(0).integers(0, 2**16, (20, 30), dtype=np.uint16)
        for name in ("deep.png", "deep.tif"):
            Image.fromarray(deep).save(source / name)
        report = derain_folder(source, tmp_path / "dry", Toy())
        assert [line.split(": ", 1)[1] for line in report.lost] == [
            "the source has 16 bits a colour: bits=16 (--bits 16) keeps them"
        ] * 2
        report = derain_folder(source, tmp_path / "deep", Toy(), bits=16)
        assert report.lost == []
        for name in ("deep.png", "deep.tif"):
            expected = Toy()(images.read(source / name)[None]).background.clamp(0, 1)
            assert (images.read(tmp_path / "deep" / name)[None] - expected).abs().max() < 1e-5
        assert Image.open(tmp_path / "deep/b.jpg").size == (20, 30)

    @pytest.mark.parametrize("pattern", ["/rainy/*.png", "", "."])
    def test_a_pattern_that_is_none(self, source, tmp_path, pattern):
        with pytest.raises(DerainError, match=r"pattern|no images"):
            derain_folder(source, tmp_path / "dry", Toy(), pattern=pattern or "..//")

    def test_a_full_disk_is_reported_for_each(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        report = derain_folder(source, tmp_path / "dry", Toy())
        assert len(report.failed) == 8
        assert self.files(tmp_path / "dry") == []

    def test_profiles_exif_and_alpha_go_along_and_the_report_says_what_did_not(self, source, tmp_path):
        exif = Image.Exif()
        exif[0x0112], exif[306] = 6, "2024:05:17 08:30:00"
        image = Image.new("RGBA", (20, 30), (120, 130, 140, 100))
        for name in ("a.png", "day2/f.bmp", "day2/g.webp"):
            values = {} if name.endswith("bmp") else {"exif": exif, "icc_profile": icc.P3}
            (image.convert("RGB") if name.endswith("bmp") else image).save(source / name, **values)
        Image.new("RGB", (20, 30)).save(source / "b.jpg", icc_profile=b"no profile at all")
        report = derain_folder(source, tmp_path / "dry", Toy(), keep_profile=True)
        assert [line.split(": ", 1)[0] for line in report.lost] == [str(tmp_path / "dry/b.jpg")]
        assert "damaged" in str(report).splitlines()[-1]
        for name in ("a.png", "day2/g.webp"):
            found = Image.open(tmp_path / "dry" / name)
            assert (found.mode, found.size, found.info["icc_profile"]) == ("RGBA", (30, 20), icc.P3)
            assert found.getextrema()[3] == (100, 100)
            assert found.getexif()[306] == exif[306]
            assert found.getexif().get(0x0112, 1) == 1
        derain_folder(source, tmp_path / "plain", Toy(), pattern="a.png")
        assert Image.open(tmp_path / "plain/a.png").info["icc_profile"] == image_profiles.srgb()

    def test_a_wrong_setting_stops_at_once(self, source, tmp_path):
        with pytest.raises(DerainError, match="dtype"):
            derain_folder(source, tmp_path / "dry", Toy(), dtype="int3")
        assert not (tmp_path / "dry").exists()

    def test_settings_are_handed_on(self, source, tmp_path):
        derain_folder(source, tmp_path / "dry", Toy(), ensemble=True, strength=0.5)
        expected = derain(source / "a.png", Toy(), ensemble=True, strength=0.5)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "dry/a.png")), np.asarray(expected))
        assert not np.array_equal(np.asarray(expected), np.asarray(derain(source / "a.png", Toy())))
        with pytest.raises(DerainError, match="strength must be"):
            derain_folder(source, tmp_path / "other", Toy(), strength=3)
        assert not (tmp_path / "other").exists()

    def test_refuses_folders(self, source, tmp_path):
        (tmp_path / "bare").mkdir()
        cases = [
            (tmp_path / "missing", tmp_path / "dry", {}, "no folder"),
            (source / "a.png", tmp_path / "dry", {}, "no folder"),
            (source, source / "a.png", {}, "is a file"),
            (source, source / "day1" / "..", {}, "another folder"),
            (tmp_path / "bare", tmp_path / "dry", {}, "no images"),
            (source, tmp_path / "dry", {"pattern": "*.webp"}, r"no files that match '\*\.webp'"),
        ]
        for start, end, options, words in cases:
            with pytest.raises(DerainError, match=words):
                derain_folder(start, end, Toy(), **options)
        assert not (tmp_path / "dry").exists()

    def test_nothing_is_warned_about(self, source, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            derain_folder(source, tmp_path / "dry", Toy())


class TestPictures:
    """Files of several pictures: all are cleaned, each by itself, or the file is refused; none is lost in silence."""

    @pytest.fixture
    def pictures(self) -> list[Image.Image]:
        """Smooth ones, which lossy formats keep."""
        rows, columns = np.mgrid[:20, :30] / 30
        values = [np.stack([rows + columns, k + columns - rows, k * rows + 0.5], -1) for k in (0.3, 0.9, 1.6)]
        return [Image.fromarray(np.uint8(127 + 100 * np.sin(3 * value))) for value in values]

    @staticmethod
    def save(pictures: list[Image.Image], path: Path, **options) -> Path:
        lossless = {"lossless": True} if path.suffix == ".webp" else {}
        times = {} if path.suffix == ".tif" else {"duration": [100, 50, 70], "loop": 2}
        pictures[0].save(path, save_all=True, append_images=pictures[1:], **times | lossless | options)
        return path

    @pytest.mark.parametrize("target", ["dry.png", "dry.webp", "dry.tif"])
    @pytest.mark.parametrize("source", ["rain.gif", "rain.png", "rain.webp", "rain.tif"])
    def test_each_is_cleaned_by_itself(self, pictures, tmp_path, source, target):
        path = self.save(pictures, tmp_path / source)
        assert derain_file(path, tmp_path / target, Toy()) == ""
        made = Image.open(tmp_path / target)
        assert made.n_frames == 3
        for place, rainy in enumerate(ImageSequence.all_frames(Image.open(path))):
            made.seek(place)
            found, expected = (np.asarray(x.convert("RGB"), float) for x in (made, derain(rainy.convert("RGB"), Toy())))
            assert np.abs(found - expected).mean() <= (15 if target == "dry.webp" else 0.1)
            if not {source, target} & {"rain.tif", "dry.tif"}:
                assert made.info["duration"] == [100, 50, 70][place]
                assert made.info["loop"] == 2

    @pytest.mark.parametrize(
        ("target", "bits", "words"), [("d.jpg", 8, "3 pictures, which only"), ("d.png", 16, "8 bits")]
    )
    def test_what_holds_one_is_refused(self, pictures, tmp_path, target, bits, words):
        path = self.save(pictures, tmp_path / "rain.gif")
        with pytest.raises(ImageError, match=words):
            derain_file(path, tmp_path / target, Toy(), bits=bits)
        assert not (tmp_path / target).exists()

    def test_in_a_folder(self, pictures, tmp_path):
        (tmp_path / "rainy").mkdir()
        self.save(pictures, tmp_path / "rainy/film.gif")
        assert str(derain_folder(tmp_path / "rainy", tmp_path / "dry", Toy())) == "1 written, 0 already there, 0 failed"
        assert Image.open(tmp_path / "dry/film.gif.png").n_frames == 3

    def test_alpha_of_some_goes_along(self, pictures, tmp_path):
        pictures[1].putalpha(100)
        path = self.save([picture.convert("RGBA") for picture in pictures], tmp_path / "rain.png")
        derain_file(path, tmp_path / "dry.png", Toy())
        frames = ImageSequence.all_frames(Image.open(tmp_path / "dry.png"))
        assert [frame.convert("RGBA").getextrema()[3] for frame in frames] == [(255, 255), (100, 100), (255, 255)]

    def test_a_thumbnail_is_no_picture(self, pictures, tmp_path):
        with tifffile.TiffWriter(tmp_path / "rain.tif") as tiff:
            for picture, kind in ((pictures[0], 0), (pictures[1].resize((8, 6)), 1)):
                tiff.write(np.asarray(picture), photometric="rgb", subfiletype=kind)
        assert images.header(tmp_path / "rain.tif").frames == 1
        assert derain_file(tmp_path / "rain.tif", tmp_path / "dry.jpg", Toy()) == ""

    def test_pages_that_pillow_does_not_know(self, tmp_path):
        tifffile.imwrite(tmp_path / "rain.tif", np.full((2, 20, 30, 3), 0.5, np.float32), photometric="rgb")
        with pytest.raises(ImageError, match="a TIFF file of several pictures; save each in a file of its own"):
            derain_file(tmp_path / "rain.tif", tmp_path / "dry.png", Toy())

    def test_too_many_pixels_together(self, pictures, tmp_path, monkeypatch):
        monkeypatch.setattr(images, "MAX_PIXELS", 3 * 20 * 30 - 1)
        with pytest.raises(ImageError, match="3 pictures of 30 x 20 pixels, above the limit"):
            derain_file(self.save(pictures, tmp_path / "rain.gif"), tmp_path / "dry.png", Toy())

    def test_a_damaged_one_is_one_line(self, pictures, tmp_path):
        path = self.save(pictures, tmp_path / "rain.gif")
        path.write_bytes(path.read_bytes()[:-600])
        with pytest.raises(ImageError, match="damaged"):
            derain_file(path, tmp_path / "dry.png", Toy())
        assert not (tmp_path / "dry.png").exists()
