"""DCDNet against the paper's equations, written out by hand in NumPy."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from derainlib.errors import DerainError
from derainlib.inference import clean, plan
from derainlib.layers import Pair
from derainlib.losses import MSE
from derainlib.models import blocks, create, list_models, weights
from derainlib.models.dcdnet import DenseFusion
from tests.models.by_hand import convolution, drawn, seeded

network = partial(seeded, "dcdnet")

ABLATIONS = {
    "whole": {},
    "no dilation": {"dilations": [1, 1, 1, 1]},
    "no inner": {"inner": False},
    "no outer": {"outer": False},
    "no dense": {"inner": False, "outer": False},
    "no refinement": {"refinement": False},
}
"""Table 3."""


# --- the reference: Eq. 2–5 on NumPy arrays (channels, H, W) in float64 -----------------------------------------------


def sigma(x):
    return np.where(x > 0, x, 0.2 * x)


def reference(model, rainy, dilations=(1, 2, 4, 8), inner=True, outer=True, refinement=True):
    """O_1, …, O_T and, with a refinement, B̂ of one image, each (3, H, W)."""
    p = {key: value.double().numpy() for key, value in model.state_dict().items()}

    def layer(name, x, dilation=1):
        return convolution(x, p[f"{name}.weight"], p.get(f"{name}.bias"), dilation)

    def fuse(name, maps, dense):
        """Conv1x1(Cat[newest, …, oldest])."""
        if len(maps) == 1 or not dense:
            return maps[-1]
        return layer(f"{name}.convs.{len(maps) - 2}", np.concatenate(maps[::-1]))

    estimates = [rainy.double().numpy()]
    for _ in range(model.stages):
        z = [sigma(layer("stage.input", fuse("outer", estimates, outer)))]
        for i, dilation in enumerate(dilations):
            z.append(sigma(layer(f"stage.convs.{i}", fuse("stage.fusion", z, inner), dilation)))
        estimates.append(estimates[0] - layer("stage.output", fuse("stage.fusion", z, inner)))
    if refinement:
        hidden = sigma(layer("refinement.2", sigma(layer("refinement.0", estimates[-1]))))
        estimates.append(layer("refinement.4", hidden))
    return estimates[1:]


# --- smoke, shape, counts -------------------------------------------------------------------------------------------


def test_the_network_is_listed():
    assert "dcdnet" in list_models()


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_papers_parameters_layer_by_layer():
    """Ours and what we leave out (module's head) are the all-biased reading of Eq. 2–5."""
    model = create("dcdnet")
    stage = model.stage
    ours = [
        parameters(stage.input),
        parameters(stage.fusion.convs[:-1]),
        parameters(stage.convs),
        parameters(stage.fusion.convs[-1]),
        parameters(stage.output),
        parameters(model.outer),
        parameters(model.refinement),
    ]
    #            f  1x1_l  conv_l  1x1    r  1x1_t  Eq. 5
    everything = [448, 2624, 9280, 1296, 435, 738, 2819]
    left_out = [16, 272, 0, 0, 0, 12, 35]
    assert ours == [a - b for a, b in zip(everything, left_out, strict=True)]
    assert parameters(model) == sum(ours) == 17_305
    assert sum(everything) == 17_640


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"dilations": [1, 1, 1, 1]}, 17_305),
        ({"inner": False}, 17_305 - (32 + 48 + 64 + 80) * 16 - 4 * 16),
        ({"outer": False}, 17_305 - 9 * (2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10 + 11 + 12) - 11 * 3),
        ({"inner": False, "outer": False}, 432 + 4 * (2304 + 16) + 435 + 432 + 2304 + 48),
        ({"refinement": False}, 17_305 - 432 - 2304 - 48),
        ({"stages": 1}, 17_305 - 726),
        ({"stages": 1, "refinement": False}, 13_795),
        ({"stages": 2}, 17_305 - 726 + 6 * 3 + 3),
        ({"stages": 3}, 17_305 - 726 + 6 * 3 + 3 + 9 * 3 + 3),
        ({"stages": 12, "outer": False}, 17_305 - 726),
        ({"stages": 30, "outer": False}, 17_305 - 726),
        # 27C + 864C + … at C = 24 with six dilations: f, r, six 3x3, 1x1 of 2 to 7 maps, 1x1_t, Eq. 5
        (
            {"width": 24, "dilations": [1, 2, 4, 8, 16, 32]},
            648 + 651 + 6 * 5208 + 27 * 576 + 6 * 24 + 726 + 648 + 5184 + 72,
        ),
    ],
)
def test_parameters_of_the_ablations(options, count):
    assert parameters(create("dcdnet", **options)) == count


@pytest.mark.parametrize("options", ABLATIONS.values(), ids=ABLATIONS)
@pytest.mark.parametrize("size", [(16, 16), (17, 30)])
def test_layers_have_the_shape_of_the_image(options, size):
    rainy = drawn(*size, count=2)
    layers = network(**options, stages=2, width=4)(rainy)
    assert layers.background.shape == layers.rain.shape == rainy.shape
    assert layers.background.dtype == torch.float32
    assert layers.stages == layers.rain_stages == ()
    assert layers.extras is None


@pytest.mark.parametrize(("refinement", "count"), [(True, 4), (False, 3)])
def test_keep_returns_the_stages_and_changes_nothing(refinement, count):
    rainy, model = drawn(), network(stages=3, width=4, refinement=refinement)
    layers, plain = model(rainy, keep=True), model(rainy)
    assert len(layers.stages) == len(layers.rain_stages) == count
    assert torch.equal(layers.stages[-1], layers.background)
    assert torch.equal(layers.rain_stages[-1], layers.rain)
    assert torch.equal(layers.rain, rainy - layers.background)
    assert torch.equal(layers.background, plain.background)
    assert torch.equal(layers.rain, plain.rain)


# --- exceptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"depth": 3}, "dcdnet has no option depth"),
        ({"stages": 0}, "stages must be a whole number from 1; got 0"),
        ({"stages": 2.0}, "stages must be a whole number"),
        ({"width": "16"}, "width must be a whole number"),
        ({"dilations": 4}, "dilations must be a list"),
        ({"dilations": []}, "dilations must be a list"),
        ({"dilations": "1248"}, "dilations must be a list"),
        ({"dilations": [1, 0]}, "dilation 2 must be a whole number from 1; got 0"),
        ({"inner": "no"}, "inner must be True or False; got 'no'"),
        ({"outer": 0}, "outer must be True or False"),
        ({"refinement": None}, "refinement must be True or False"),
        ({"checkpoint": 1}, "checkpoint must be True or False"),
    ],
)
def test_wrong_options_are_refused(options, complaint):
    with pytest.raises(DerainError, match=complaint):
        create("dcdnet", **options)


# --- the equations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradients", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("stages", [1, 2, 4])
@pytest.mark.parametrize("options", ABLATIONS.values(), ids=ABLATIONS)
def test_equations(options, stages, gradients):
    """Eq. 2–5, stage by stage, against arrays."""
    model, rainy = network(**options, stages=stages, width=6), drawn(count=2)
    with torch.set_grad_enabled(gradients):
        layers = model(rainy, keep=True)
    for n in range(2):
        for found, expected in zip(layers.stages, reference(model, rainy[n], **options), strict=True):
            np.testing.assert_allclose(found[n].detach(), expected, atol=1e-5)


def test_equations_at_full_size():
    model, rainy = network(), drawn(20, 25)
    with torch.no_grad():
        layers = model(rainy, keep=True)
    for found, expected in zip(layers.stages, reference(model, rainy[0]), strict=True):
        np.testing.assert_allclose(found[0], expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_a_fusion_by_hand():
    """Maps 1, 10 and 100 of one channel: the newest comes first, and each fusion has weights of its own."""
    fusion = DenseFusion(1, 3)
    with torch.no_grad():
        fusion.convs[0].weight.copy_(torch.tensor([2.0, 3.0]).view(1, 2, 1, 1))
        fusion.convs[0].bias.fill_(0.5)
        fusion.convs[1].weight.copy_(torch.tensor([5.0, 6.0, 7.0]).view(1, 3, 1, 1))
        fusion.convs[1].bias.fill_(0.25)
    one = torch.ones(1, 1, 1, 1)
    first, unfinished = fusion(one)
    second, unfinished = fusion(10 * one, unfinished)
    third, unfinished = fusion(100 * one, unfinished)
    assert (first.item(), second.item(), third.item()) == (1, 2 * 10 + 3 + 0.5, 5 * 100 + 6 * 10 + 7 + 0.25)
    assert unfinished == []


def test_gradients_are_right():
    model = network(stages=3, width=2, dilations=[1, 2]).double()
    rainy = drawn(5, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x).background, rainy)


@pytest.mark.parametrize("options", ABLATIONS.values(), ids=ABLATIONS)
def test_every_parameter_learns(options):
    model = network(**options, stages=3)
    model(drawn()).background.square().mean().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_stages_share_their_weights():
    """The gradient of the one set is the sum of those of a set a stage, and every stage has its part in it."""
    shared, rainy = network(stages=3, width=4), drawn()
    apart = copy.deepcopy(shared)
    sets = [copy.deepcopy(shared.stage) for _ in range(3)]
    order = iter(sets)
    apart.stage.forward = lambda image: next(order)(image)
    for model in (shared, apart):
        model(rainy).background.square().mean().backward()
    for parts in zip(shared.stage.parameters(), *(one.parameters() for one in sets), strict=True):
        together, *each = (part.grad for part in parts)
        torch.testing.assert_close(together, sum(each))
        assert all(gradient.abs().max() > 0 for gradient in each)


def test_eq_6_is_a_loss_on_all_stages_but_the_refined_one():
    model, pair = network(stages=3, width=4), Pair(drawn(), drawn() / 2)
    layers = model(pair.rainy, keep=True)
    loss = MSE(on="rain", stages="all", early=1.0, last=0.0)(layers, pair)
    truth = (pair.rainy - pair.clean)[0].double().numpy()
    rains = [pair.rainy[0].numpy() - image for image in reference(model, pair.rainy[0])[:3]]
    assert loss.item() == pytest.approx(sum(np.mean((rain - truth) ** 2) for rain in rains), rel=1e-5)
    loss.backward()
    assert all(not p.grad.any() for p in model.refinement.parameters())


# --- memory ---------------------------------------------------------------------------------------------------------


def kept_for_backward(model, rainy: torch.Tensor) -> int:
    """Bytes of the maps, each counted once, that a forward pass leaves behind for the backward pass."""
    storages = {}

    def note(tensor):
        if tensor.shape[-2:] == rainy.shape[-2:]:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layers = model(rainy)
    del layers
    return sum(storage.nbytes() for storage in storages.values())


def test_what_stages_keep_for_the_backward_pass_grows_linearly():
    rainy = drawn(24, 26)
    found = [kept_for_backward(network(stages=stages), rainy) for stages in (3, 6, 9, 12)]
    steps = np.diff(found)
    assert steps[0] == steps[1] == steps[2] > 0


@pytest.mark.parametrize("options", ABLATIONS.values(), ids=ABLATIONS)
def test_checkpointing_gives_equal_gradients(options):
    rainy = drawn(count=2)
    plain, thrifty = (network(**options, stages=3, width=4, checkpoint=checkpoint) for checkpoint in (False, True))
    losses = []
    for model in (plain, thrifty):
        layers = model(rainy, keep=True)
        losses.append(sum(rain.square().mean() for rain in layers.rain_stages))
        losses[-1].backward()
    assert losses[0].item() == losses[1].item()
    for (name, one), other in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_checkpointing_keeps_little():
    rainy = drawn(24, 26)
    plain, thrifty = (kept_for_backward(network(checkpoint=checkpoint), rainy) for checkpoint in (False, True))
    assert thrifty < plain / 10


def test_a_checkpointed_network_can_be_asked_without_gradients():
    plain, thrifty = network(stages=2, width=4), network(stages=2, width=4, checkpoint=True)
    with torch.no_grad():
        assert torch.equal(plain(drawn()).background, thrifty(drawn()).background)


# --- the receptive field, tiles, strips -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "halo"),
    [
        ({}, 206),
        ({"stages": 1}, 19),
        ({"stages": 2, "refinement": False}, 34),
        ({"stages": 3, "dilations": [1, 1, 1, 1]}, 20),
        ({"stages": 3, "inner": False, "outer": False, "dilations": [1, 2]}, 17),
    ],
)
def test_halo_is_exactly_the_receptive_field(options, halo):
    """The middle row's gradient reaches rows at the distance of the halo, and none beyond."""
    model = network(**options, **({} if options else {"width": 4})).double()
    assert model.halo == halo
    rainy = torch.rand(1, 3, 2 * halo + 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rainy.requires_grad_()
    model(rainy).background[:, :, halo + 2].sum().backward()
    rows = rainy.grad.abs().amax((0, 1, 3)).nonzero().flatten()
    assert (rows.min().item(), rows.max().item()) == (2, 2 * halo + 2)


def test_what_the_tiler_reads():
    model = create("dcdnet")
    assert (model.stride, model.global_statistics) == (1, False)


def visible(**options) -> torch.nn.Module:
    """A network whose estimates lie in the middle of [0, 1], not clipped at its ends."""
    model = network(**options)
    with torch.no_grad():
        for layer in model.refinement[::2]:
            layer.weight.abs_()
        model.refinement[-1].weight.mul_(0.5 / model(drawn()).background.mean())
    return model


@pytest.mark.parametrize("size", [(131, 97), (107, 149)])
def test_tiles_equal_the_whole(size):
    model, rainy = visible(stages=2, width=4), torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    whole = clean(model, rainy)
    assert whole.std() > 0.02
    assert ((whole > 0) & (whole < 1)).float().mean() > 0.7
    tile = 2 * model.halo + 17
    assert len(plan(model, *size, tile, 1)) > 4
    assert (clean(model, rainy, tile=tile) - whole).abs().max() < 1e-5


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(30, 150), st.integers(16, 20)),
    rows=st.integers(1, 80),
    count=st.integers(1, 2),
    keep=st.booleans(),
    ablation=st.sampled_from(list(ABLATIONS)),
)
def test_strips_change_nothing(size, rows, count, keep, ablation):
    model, rainy = network(**ABLATIONS[ablation], stages=3, width=4), drawn(*size, count=count)
    whole = model(rainy, keep=keep)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(blocks, "STRIP", 128 * rows * count * size[1] * 4)
        strips = model(rainy, keep=keep)
    torch.testing.assert_close(strips.background, whole.background, atol=1e-5, rtol=0)
    for ours, theirs in zip(strips.stages + strips.rain_stages, whole.stages + whole.rain_stages, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_the_input_is_left_alone_and_repeats_agree(monkeypatch):
    monkeypatch.setattr(blocks, "STRIP", 128 * 8 * 21 * 4)
    model, rainy = network(stages=3, width=4), drawn(90, 21)
    kept = rainy.clone()
    with torch.no_grad():
        first, second = model(rainy).background, model(rainy).background
    assert torch.equal(first, second)
    assert torch.equal(rainy, kept)


# --- precision, files -----------------------------------------------------------------------------------------------


def test_bf16_stays_close():
    rainy, model = drawn(40, 40), visible()
    with torch.no_grad():
        exact = model(rainy).background
        half = model.bfloat16()(rainy).background
    assert half.dtype == torch.float32
    error = (half - exact).abs().mean().item()
    assert 0 < error < 1e-2


@pytest.mark.parametrize("checkpoint", [False, True])
def test_autocast_trains_in_bf16(checkpoint):
    model = network(stages=3, width=8, checkpoint=checkpoint)
    with torch.autocast("cpu", torch.bfloat16):
        layers = model(drawn(), keep=True)
    assert all(stage.dtype == torch.float32 for stage in layers.stages)
    torch.testing.assert_close(layers.background, model(drawn()).background, atol=0.05, rtol=0)
    sum(stage.square().mean() for stage in layers.stages).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_options_survive_a_file(tmp_path):
    model = network(stages=2, width=4, dilations=(1, 3), outer=False)
    weights.save(model, tmp_path / "dry.safetensors", {})
    again = weights.load(tmp_path / "dry.safetensors")
    assert again.halo == model.halo == 2 * 6 + 2
    with torch.no_grad():
        assert torch.equal(again(drawn()).background, model(drawn()).background)
