"""Weights: saved and loaded whole, refused in one line, and converted from the authors' checkpoints."""

import pickle

import numpy as np
import pytest
import torch

from derainlib import metrics
from derainlib.data import pairs
from derainlib.errors import DerainError, WeightsError
from derainlib.models import create, weights
from tests.models.test_recurrent import reference


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return create("srn", stages=2, width=6)


@pytest.fixture
def path(model, tmp_path):
    weights.save(model, tmp_path / "some.safetensors", {"data": "none", "steps": 3})
    return tmp_path / "some.safetensors"


def authors_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The checkpoint that the authors' code would have written for a network of ours with ConvLSTM cells."""
    state = {}
    for key, value in model.state_dict().items():
        branch, *layers, kind = key.split(".")
        suffix = "_r" if branch == "rain" else ""
        if layers == ["cell", "gates"]:
            for gate, part in zip("ifog", value.chunk(4), strict=True):
                state[f"module.conv_{gate}{suffix}.0.{kind}"] = part
        elif layers[0] == "blocks":
            state[f"module.res_conv{int(layers[1]) + 1}{suffix}.{0 if layers[2] == 'first' else 2}.{kind}"] = value
        else:
            state[f"module.conv{'0' if layers == ['input'] else ''}{suffix}.0.{kind}"] = value
    return state


class TestSaveAndLoad:
    def test_come_back_whole(self, model, path):
        again = weights.load(path)
        assert (again.name, again.options, again.training) == ("srn", {"stages": 2, "width": 6}, False)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))

    def test_card_says_what_and_how_many(self, model, path):
        card = weights.card(path)
        assert (card["data"], card["steps"], card["model"]) == ("none", 3, "srn")
        assert card["parameters"] == sum(p.numel() for p in model.parameters())

    def test_stages_may_change(self, path):
        assert weights.load(path, stages=5).stages == 5

    def test_every_shipped_network_loads_and_has_a_card(self):
        assert set(weights.shipped()) >= {"srn", "brn"}
        for name in weights.shipped():
            card = weights.card(name)
            assert weights.load(name).name == card["model"]
            assert {"data", "licence", "steps", "hardware", "wall_seconds", "scores"} <= card.keys()
            assert (weights.FOLDER / f"{name}.safetensors").stat().st_size <= 8 * 2**20

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda data: data[: len(data) // 2], "damaged"),
            (lambda data: b"", "damaged"),
            (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "checksum"),
            (lambda data: b"<html>" + data, "damaged"),
        ],
    )
    def test_damaged_files_are_refused(self, path, damage, message):
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(WeightsError, match=message) as caught:
            weights.load(path)
        assert "\n" not in str(caught.value)

    def test_foreign_and_missing_files_are_refused(self, path, tmp_path):
        with pytest.raises(WeightsError, match="no shipped weights are called 'prenet'"):
            weights.load("prenet")
        with pytest.raises(WeightsError, match="there is no weights file"):
            weights.load(tmp_path / "missing.safetensors")
        with pytest.raises(WeightsError, match="derain convert"):
            weights.load(tmp_path / "net.pth")
        with pytest.raises(WeightsError, match="does not fit"):
            weights.load(path, width=8)
        with pytest.raises(DerainError, match="no option"):
            weights.load(path, depth=8)

    def test_what_cannot_be_saved_leaves_nothing(self, model, tmp_path):
        for broken, name, card in (
            (model, "a.pth", {}),
            (model, "a.safetensors", {"what": object()}),
            (torch.nn.Conv2d(3, 3, 3), "a.safetensors", {}),
        ):
            with pytest.raises(WeightsError):
                weights.save(broken, tmp_path / name, card)
        assert list(tmp_path.iterdir()) == []


class TestConvert:
    @pytest.mark.parametrize("name", ["srn", "srn-x", "srn+", "brn", "crn", "brn-x2r", "brn-r2x"])
    def test_every_network_is_recognised_and_comes_back(self, name, tmp_path):
        model = create(name, stages=1)
        torch.save(authors_state(model), tmp_path / "net.pth")
        if name == "srn":
            with pytest.warns(UserWarning, match="srn-direct"):
                converted = weights.convert(tmp_path / "net.pth", stages=1)
        else:
            converted = weights.convert(tmp_path / "net.pth", stages=1)
        assert converted.name == name
        for key, value in model.state_dict().items():
            assert torch.equal(converted.state_dict()[key], value)

    def test_only_the_unused_blocks_are_dropped(self, tmp_path):
        state = authors_state(create("brn"))
        state["module.res_conv4_r.0.weight"] = torch.zeros(32, 32, 3, 3)
        torch.save(state, tmp_path / "net.pth")
        assert weights.convert(tmp_path / "net.pth").name == "brn"
        torch.save(state | {"module.extra.weight": torch.zeros(1)}, tmp_path / "net.pth")
        with pytest.raises(WeightsError, match=r"extra\.weight"):
            weights.convert(tmp_path / "net.pth")

    def test_missing_tensors_are_named(self, tmp_path):
        state = authors_state(create("brn"))
        del state["module.conv_f.0.bias"]
        torch.save(state, tmp_path / "net.pth")
        with pytest.raises(WeightsError, match=r"lacks conv_f\.0\.bias"):
            weights.convert(tmp_path / "net.pth", model="brn")

    def test_pickled_code_is_not_executed(self, tmp_path):
        trace = tmp_path / "executed"

        class Malicious:
            def __reduce__(self):
                return open, (str(trace), "w")

        torch.save({"conv0.0.weight": Malicious()}, tmp_path / "net.pth")
        (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious()))
        for name in ("net.pth", "plain.pth"):
            with pytest.raises(WeightsError, match="nothing in it was executed"):
                weights.convert(tmp_path / name)
        assert not trace.exists()

    def test_foreign_files_are_refused(self, tmp_path):
        torch.save({"a": torch.zeros(3)}, tmp_path / "net.pth")
        with pytest.raises(WeightsError, match="none of the networks"):
            weights.convert(tmp_path / "net.pth")
        torch.save([torch.zeros(3)], tmp_path / "net.pth")
        with pytest.raises(WeightsError, match="must map names to tensors"):
            weights.convert(tmp_path / "net.pth")
        with pytest.raises(WeightsError, match="there is no checkpoint"):
            weights.convert(tmp_path / "missing.pth")


class TestAuthorsWeights:
    """The authors' public checkpoints, run through the converter."""

    @pytest.fixture(params=[("srn", "srn_rain100l.pth", 6), ("brn", "brn_rain100l.pth", 8)], ids=["srn", "brn"])
    def converted(self, request, derain_data):
        name, file, stages = request.param
        return weights.convert(derain_data / "authors" / file, model=name, stages=stages)

    def test_every_stage_is_the_authors_network(self, converted):
        """Against the equations in NumPy, with the authors' weights, on a drawn scene."""
        rows, columns = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 24), indexing="ij")
        scene = torch.stack([rows, columns, (rows - columns).abs()])[None] * 0.7
        scene[..., 5:15, 10] += 0.25  # a streak
        with torch.inference_mode():
            layers = converted(scene, keep=True)
        backgrounds, rains = reference(converted, converted.name, scene[0].double().numpy())
        for ours, theirs in zip((*layers.stages, *layers.rain_stages), (*backgrounds, *rains), strict=True):
            np.testing.assert_allclose(ours[0].numpy(), theirs, atol=1e-5)

    def test_they_clean_rain100l_as_published(self, converted, derain_data):
        """Rain100L's first pair on Y: 28.15 dB in the rain, about 10 dB more without."""
        pair = pairs.read(derain_data / "rain100l")[0]
        with torch.inference_mode():
            background = converted(pair.rainy).background
        before = metrics.psnr(pair.rainy, pair.clean, "y").item()
        assert metrics.psnr(background, pair.clean, "y").item() > before + 8
        assert metrics.ssim(background, pair.clean, "y").item() > 0.97
