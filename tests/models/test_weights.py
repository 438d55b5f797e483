"""Weights on disk: what is saved comes back, what is damaged or foreign is refused in one line, nothing is executed."""

import json
import os
import pickle
import re

import pytest
import torch
from safetensors.torch import save_file

from derainlib.errors import DerainError, WeightsError
from derainlib.models import SEGMENTERS, VARIANTS, create, list_models, weights


@pytest.fixture
def model():
    return create("brn", width=4, stages=2)


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "net.safetensors"
    weights.save(model, path, {"steps": 7, "scores": {"psnr_y": 30.5}})
    return path


def one_line(caught) -> str:
    """The message of an exception, of which there is one line."""
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether two networks hold the same numbers under the same names."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --- save, load, card -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_every_network_comes_back(name, tmp_path):
    model = create(name).to(memory_format=torch.channels_last)
    weights.save(model, tmp_path / "net.safetensors", {})
    back = weights.load(tmp_path / "net.safetensors")
    assert (back.name, back.options, back.training) == (name, {}, False)
    assert equal(model, back)


def test_options_come_back_and_may_be_overridden(model, saved):
    assert weights.load(saved).options == {"width": 4, "stages": 2}
    longer = weights.load(str(saved), stages=5)
    assert (longer.stages, longer.options) == (5, {"width": 4, "stages": 5})
    assert equal(model, longer)


def test_card_says_what_it_was_told_and_what_is_so(model, saved):
    card = weights.card(saved)
    assert card["steps"] == 7
    assert card["scores"] == {"psnr_y": 30.5}
    assert (card["model"], card["options"]) == ("brn", {"width": 4, "stages": 2})
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card == json.loads(saved.with_suffix(".json").read_text())


def test_saving_makes_folders_and_leaves_nothing_else(model, tmp_path):
    weights.save(model, tmp_path / "a" / "b" / "net.safetensors", {})
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == ["net.json", "net.safetensors"]


@pytest.mark.parametrize("broken", ["net.safetensors", "net.json"])
def test_a_save_that_fails_leaves_each_file_whole(model, saved, monkeypatch, broken):
    before = {p.name: p.read_bytes() for p in saved.parent.iterdir()}
    replace = os.replace

    def failing(source, target):
        if os.fspath(target).endswith(broken):
            raise OSError("the disk is full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(OSError, match="full"):
        weights.save(model, saved, {"steps": 8})
    assert {p.name for p in saved.parent.iterdir()} == before.keys()
    assert (saved.parent / broken).read_bytes() == before[broken]
    weights.load(saved)


@pytest.mark.parametrize(
    ("card", "file", "complaint"),
    [
        ({"x": object()}, "net.safetensors", "cannot be written as JSON"),
        ({}, "net.pth", ".safetensors"),
        ({}, "net", ".safetensors"),
    ],
)
def test_what_cannot_be_saved(model, tmp_path, card, file, complaint):
    with pytest.raises(WeightsError, match=re.escape(complaint)) as caught:
        weights.save(model, tmp_path / file, card)
    one_line(caught)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_module_cannot_be_saved(tmp_path):
    with pytest.raises(WeightsError, match="Linear was not made by"):
        weights.save(torch.nn.Linear(2, 2), tmp_path / "net.safetensors", {})


def test_copying_into_a_network_of_other_stages(model, saved):
    network = create("brn", width=4, stages=6)
    weights.copy(saved, network)
    assert equal(model, network)
    assert network.stages == 6


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [("crn", {"width": 4}, "holds weights of brn, not of crn"), ("brn", {}, "does not fit this brn")],
)
def test_copying_into_another_network(saved, name, options, complaint):
    with pytest.raises(WeightsError, match=complaint) as caught:
        weights.copy(saved, create(name, **options))
    one_line(caught)


# --- shipped --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", weights.shipped())
def test_shipped_weights_work_and_have_a_card(name):
    model = weights.load(name)
    assert model.name in VARIANTS | SEGMENTERS
    assert weights.card(name)["model"] == model.name
    bound, free = "whose terms allow research only", "no research data set's terms bind them"
    assert (bound in weights.card(name)["licence"]) != (free in weights.card(name)["licence"])
    rainy = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert model(rainy).background.isfinite().all()


def test_shipped_names_are_found_in_the_folder(saved, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", saved.parent)
    assert weights.shipped() == ["net"]
    assert weights.load("net").name == "brn"
    assert weights.card("net")["steps"] == 7


def test_unknown_names_are_refused_with_the_known_ones(saved, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", saved.parent)
    with pytest.raises(WeightsError, match="no shipped weights are called 'nett'; there are net;") as caught:
        weights.load("nett")
    one_line(caught)


# --- wrong files ----------------------------------------------------------------------------------------------------


def damaged(path, how):
    data = bytearray(path.read_bytes())
    match how:
        case "empty":
            data.clear()
        case "cut":
            del data[len(data) // 2 :]
        case "cut by a byte":
            del data[-1]
        case "one bit":
            data[-100] ^= 4
        case "text":
            data[:] = b"this is not a safetensors file, whatever its name says"
        case "huge header":
            data[:8] = (2**62).to_bytes(8, "little")
        case "long":
            data += b"more"
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["empty", "cut", "cut by a byte", "one bit", "text", "huge header", "long"])
@pytest.mark.parametrize("read", [weights.load, weights.card])
def test_damaged_files_are_refused(saved, how, read):
    damaged(saved, how)
    with pytest.raises(WeightsError, match="damaged") as caught:
        read(saved)
    assert str(saved) in one_line(caught)


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="there is no weights file") as caught:
        weights.load(tmp_path / "net.safetensors")
    one_line(caught)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "net.safetensors").mkdir()
    with pytest.raises(WeightsError, match="there is no weights file"):
        weights.load(tmp_path / "net.safetensors")


def test_pth_files_are_sent_to_the_converter(tmp_path):
    with pytest.raises(WeightsError, match="derain convert"):
        weights.load(tmp_path / "net.pth")


def test_a_safetensors_file_of_somebody_else(tmp_path):
    save_file({"weight": torch.ones(3)}, tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match="not written by derainlib"):
        weights.load(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"model": "brm"}, DerainError, "no network is called 'brm'"),
        ({"model": "srn"}, WeightsError, "does not fit srn"),
        ({"options": "{"}, WeightsError, "damaged"),
        ({"options": "[1]"}, WeightsError, "damaged"),
        ({"options": "[" * 100_000}, WeightsError, "brackets within brackets"),
        ({"options": '{"width": 4096}'}, WeightsError, "has the shape"),
        ({"options": '{"width": 5000}'}, DerainError, "width is at most 4096"),
    ],
)
def test_headers_that_do_not_fit(model, tmp_path, change, error, complaint):
    tensors = model.state_dict()
    header = {"model": "brn", "options": '{"width": 4}', "sha256": weights._checksum(tensors)} | change
    save_file(tensors, tmp_path / "net.safetensors", metadata=header)
    with pytest.raises(error, match=complaint) as caught:
        weights.load(tmp_path / "net.safetensors")
    one_line(caught)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_numbers_that_are_no_weights(model, tmp_path, dtype):
    tensors = model.state_dict()
    first = next(iter(tensors))
    tensors[first] = tensors[first].to(dtype)
    header = {"model": "brn", "options": '{"width": 4}', "sha256": weights._checksum(tensors)}
    save_file(tensors, tmp_path / "net.safetensors", metadata=header)
    with pytest.raises(WeightsError, match=f"{first} holds {dtype}, no torch.float32"):
        weights.load(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("override", "error", "complaint"),
    [
        ({"width": 5}, WeightsError, "does not fit brn"),
        ({"cell": "gru"}, WeightsError, "does not fit brn"),
        ({"stages": 0}, DerainError, "stages must be a whole number"),
        ({"depth": 2}, DerainError, "has no option depth"),
    ],
)
def test_overrides_that_do_not_fit(saved, override, error, complaint):
    with pytest.raises(error, match=complaint) as caught:
        weights.load(saved, **override)
    one_line(caught)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": "brn"}', None])
def test_cards_that_are_missing_broken_or_of_other_weights(saved, content):
    file = saved.with_suffix(".json")
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(WeightsError, match="card") as caught:
        weights.card(saved)
    one_line(caught)
    weights.load(saved)


# --- the authors' checkpoints ---------------------------------------------------------------------------------------


def authors_form(model: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """Our network's numbers under the authors' names and in their layout, dead blocks included."""
    state, found = model.state_dict(), {}
    for branch, suffix in (("network", ""), ("background", ""), ("rain", "_r")):
        for key in [k for k in state if k.startswith(branch)]:
            _, *layers, kind = key.split(".")
            match layers:
                case ["input"]:
                    found[f"conv0{suffix}.0.{kind}"] = state[key]
                case ["output"]:
                    found[f"conv{suffix}.0.{kind}"] = state[key]
                case ["blocks", n, place]:
                    found[f"res_conv{int(n) + 1}{suffix}.{2 * (place == 'second')}.{kind}"] = state[key]
                case ["cell", "gates"]:
                    names = "ifog" if model.cell == "lstm" else "zb"
                    for gate, part in zip(names, state[key].chunk(len(names)), strict=True):
                        found[f"conv_{gate}{suffix}.0.{kind}"] = part
                case ["cell", "candidate"]:
                    part = state[key]
                    if kind == "weight":
                        part = torch.cat([part[:, 32:], part[:, :32]], 1)  # the state comes first there
                    found[f"conv_g{suffix}.0.{kind}"] = part
    if hasattr(model, "rain"):
        for n, place, (kind, shape) in [
            (n, place, layer)
            for n in (4, 5)
            for place in (0, 2)
            for layer in (("weight", (32, 32, 3, 3)), ("bias", (32,)))
        ]:
            found[f"res_conv{n}_r.{place}.{kind}"] = torch.full(shape, 9.0)
    return {prefix + key: value.clone() for key, value in found.items()}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", ["srn", "srn-x", "srn-gru", "srn+", "brn", "crn", "brn-x2r", "brn-r2x"])
@pytest.mark.filterwarnings("ignore:.*srn-direct")
def test_converter_undoes_the_authors_layout(name, prefix, tmp_path):
    model = create(name)
    torch.save(authors_form(model, prefix), tmp_path / "net.pth")
    for found in (weights.convert(tmp_path / "net.pth"), weights.convert(tmp_path / "net.pth", model=name)):
        assert (found.name, found.training) == (name, False)
        assert equal(model, found)


@pytest.mark.parametrize("nest", ["state_dict", "params", "params_ema", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.", "module._orig_mod."])
def test_weights_are_found_in_the_checkpoint_of_a_training(nest, prefix, tmp_path):
    model = create("brn")
    torch.save({nest: authors_form(model, prefix), "epoch": 7, "optimizer": {"lr": [1e-3]}}, tmp_path / "net.pth")
    assert equal(model, weights.convert(tmp_path / "net.pth"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    state = authors_form(create("brn"))
    state["conv_i.0.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"NaN or infinite values \(conv_i.0.weight\)") as caught:
        weights.convert(tmp_path / "net.pth")
    one_line(caught)
    network = create("srn", stages=1, width=8)
    next(network.parameters()).data[0] = value
    weights.save(network, tmp_path / "net.safetensors", {})
    with pytest.raises(WeightsError, match="NaN or infinite values"):
        weights.load(tmp_path / "net.safetensors")


def test_convert_takes_options_and_the_direct_form(tmp_path):
    torch.save(authors_form(create("srn-direct")), tmp_path / "net.pth")
    found = weights.convert(str(tmp_path / "net.pth"), model="srn-direct", stages=3)
    assert (found.residual, found.stages) == (False, 3)


def test_convert_says_that_it_takes_the_residual_form(tmp_path):
    torch.save(authors_form(create("srn")), tmp_path / "net.pth")
    with pytest.warns(UserWarning, match="could be srn or srn-direct") as warned:
        found = weights.convert(tmp_path / "net.pth")
    assert found.residual
    assert warned[0].filename == __file__


def test_converted_weights_can_be_saved(tmp_path):
    torch.save(authors_form(create("brn")), tmp_path / "net.pth")
    found = weights.convert(tmp_path / "net.pth", stages=8)
    weights.save(found, tmp_path / "net.safetensors", {"source": "somewhere"})
    back = weights.load(tmp_path / "net.safetensors")
    assert back.stages == 8
    assert equal(found, back)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.pop("res_conv3_r.2.bias"), "it lacks res_conv3_r.2.bias"),
        (lambda s: s.pop("conv_o.0.weight"), "it lacks conv_o.0.weight"),
        (lambda s: s.update({"extra.0.weight": torch.ones(1)}), "it also holds extra.0.weight"),
        (lambda s: s.update({"res_conv6.0.weight": torch.ones(1)}), "it also holds res_conv6.0.weight"),
        (lambda s: s.update({"res_conv6_r.0.weight": torch.ones(1)}), "it also holds res_conv6_r.0.weight"),
        (
            lambda s: s.update({"conv0.0.weight": torch.ones(32, 6, 3, 3)}),
            r"conv0.0.weight has the shape \(32, 6, 3, 3\)",
        ),
        (lambda s: s.update({"conv_i.0.weight": torch.ones(32, 3)}), "conv_i.0.weight"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused_by_key(tmp_path, change, complaint):
    state = authors_form(create("brn"))
    change(state)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=complaint) as caught:
        weights.convert(tmp_path / "net.pth", model="brn")
    assert "is no brn" in one_line(caught)


def test_only_the_dead_blocks_of_brn_are_left_out(tmp_path):
    state = authors_form(create("srn")) | {"res_conv4_r.0.weight": torch.ones(1)}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="it also holds res_conv4_r"):
        weights.convert(tmp_path / "net.pth", model="srn")


@pytest.mark.parametrize("keys", [["weight"], ["conv0.0.weight", "conv.0.weight"], []])
def test_checkpoints_of_other_networks_are_not_guessed(tmp_path, keys):
    for shape in [(32, 6, 3, 3), (32,), ()]:
        torch.save({key: torch.ones(shape) for key in keys}, tmp_path / "net.pth")
        with pytest.raises(WeightsError, match="none of the networks") as caught:
            weights.convert(tmp_path / "net.pth")
        one_line(caught)


def test_what_was_never_published_is_not_converted(tmp_path):
    torch.save(authors_form(create("srn-gru")), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="published no brn-gru"):
        weights.convert(tmp_path / "net.pth", model="brn-gru")


class Malicious:
    """Pickles to a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "writer", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))], ids=["torch", "pickle"]
)
def test_no_pickled_code_is_executed(tmp_path, writer):
    trap = tmp_path / "executed"
    writer({"conv0.0.weight": Malicious(trap)}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="nothing in it was executed") as caught:
        weights.convert(tmp_path / "net.pth")
    one_line(caught)
    assert not trap.exists()
    torch.load(tmp_path / "net.pth", weights_only=False) if writer is torch.save else pickle.loads(
        (tmp_path / "net.pth").read_bytes()
    )
    assert trap.exists(), "the trap itself is broken"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "damaged"),
        (b"not a checkpoint", "damaged"),
        (b"PK\x03\x04" + bytes(200), "damaged"),
        (None, "there is no"),
    ],
)
def test_damaged_checkpoints_are_refused(tmp_path, content, complaint):
    path = tmp_path / "net.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=complaint) as caught:
        weights.convert(path)
    assert str(path) in one_line(caught)


@pytest.mark.parametrize("thing", [[1, 2], {"a": 1}, {"state_dict": {"a": 1}}, torch.ones(2)])
def test_checkpoints_that_hold_something_else(tmp_path, thing):
    torch.save(thing, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="it must map names to tensors"):
        weights.convert(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("srn_rain100l.pth", "srn"),
        ("srn_rain100h.pth", "srn"),
        ("brn_rain100l.pth", "brn"),
        ("brn_rain100h.pth", "brn"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*srn-direct")
def test_the_public_checkpoints_convert(derain_data, file, name):
    model = weights.convert(derain_data / "authors" / file)
    assert model.name == name
    assert sum(p.numel() for p in model.parameters()) == {"srn": 168_963, "brn": 375_526}[name]
