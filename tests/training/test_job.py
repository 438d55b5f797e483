"""A training asked for by names: what is held back, segmenters, and the names that parameters had."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import metrics, recipes, training
from derainlib.data import scenes, validation
from derainlib.data.synthetic import gather
from derainlib.errors import DataError, RecipeError
from derainlib.layers import Pair
from derainlib.models import weights


def test_what_judges_is_held_back_from_the_training(folder, tmp_path):
    """Five photographs are too few to spare one: drawn streets judge then; of ten, one is."""
    changes = {"patch": 24, "options": {"stages": 1, "width": 8}}
    job = training.Job("srn", str(tmp_path / "few"), "tiny", clean_dir=str(folder), changes=changes)
    few = job.run()
    assert "held back" not in weights.card(few.last)["data"]
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for i in range(10):
        Image.open(folder / f"{i % 5}.png").save(photographs / f"{i}.png")
    job = training.Job("srn", str(tmp_path / "ten"), "tiny", clean_dir=str(photographs), changes=changes)
    ten = job.run()
    card = weights.card(ten.last)
    assert card["data"] == "10 clean photographs of photographs with mixed rain; 1 held back for validation"
    assert ten.history[0]["epoch"] == pytest.approx(2 / 9)
    with torch.inference_mode():
        network, (_, held) = weights.load(ten.last), validation.hold_back(gather(photographs), 1)
        scores = [metrics.psnr(network(pair.rainy).background, pair.clean, "rgb").item() for pair in held]
    assert ten.history[-1]["psnr_rgb"] == card["validation_psnr_rgb"] == pytest.approx(np.mean(scores), abs=1e-3)


def test_eq_7_of_dcdnet_trains_with_the_real_vgg(derain_data, folder, tmp_path):
    """As printed: the L1 of pixels and of VGG features, beside Eq. 6; `--vgg` names the file."""
    vgg = str(derain_data / "vgg16" / "vgg16_to_relu3_3.safetensors")
    changes = {"patch": 24, "options": {"stages": 2, "width": 4}, "lr": 3e-3, "schedule": "constant"}
    job = training.Job("dcdnet", str(tmp_path), "tiny", steps=20, vgg=vgg, clean_dir=str(folder), changes=changes)
    assert [(loss.term, loss.weight) for loss in job.plan()[0].losses] == [("mse", 1), ("l1", 1), ("perceptual", 1)]
    with warnings.catch_warnings(action="error", category=UserWarning):  # of random weights, for example
        history = job.run().history
    for name in ("loss_perceptual", "loss_l1"):
        values = [record[name] for record in history]
        assert 0 < np.mean(values[-5:]) < np.mean(values[:5])


def test_a_segmenter_learns_and_keeps_the_weights_with_the_best_miou(streets, tmp_path):
    changes = {"lr": 1e-2, "batch": 4, "patch": 48, "validate_every": 10, "options": {"width": 16}}
    job = training.Job("espnet", str(tmp_path), "tiny", scenes_dir=str(streets), steps=30, changes=changes)
    result = job.run()
    scored = [record for record in result.history if "miou" in record]
    assert [record["step"] for record in scored] == [10, 20, 30]
    assert np.mean([r["loss"] for r in result.history[-5:]]) < 0.9 * np.mean([r["loss"] for r in result.history[:5]])
    best = max(scored, key=lambda record: record["miou"])
    card = weights.card(result.best)
    assert card["steps"] == best["step"]
    assert card["validation_miou"] == pytest.approx(best["miou"], abs=1e-5)
    (scene,) = scenes.read(streets, "val")
    image, labels = scene.read()
    with torch.inference_mode():
        found = weights.load(result.best)(image[None]).extras["logits"].argmax(1)[0]
    known = labels != scenes.IGNORED
    # Loaded weights lie otherwise in memory: of two classes that are nearly as likely, another pixel may get the other.
    assert card["validation_accuracy"] == pytest.approx((found == labels)[known].float().mean().item(), abs=1e-3)
    classes = [k for k in range(11) if ((found == k) | (labels == k))[known].any()]
    each = [((found == k) & (labels == k)).sum() / ((found == k) | (labels == k))[known].sum() for k in classes]
    assert card["validation_miou"] == pytest.approx(np.mean(each), abs=0.01)


def test_miou_needs_labels(folder, tmp_path):
    image = torch.rand(1, 3, 24, 24)
    with pytest.raises(DataError, match="validation pairs with labels"):
        training.train(recipes.get("espnet", "tiny"), gather(folder), tmp_path, validation=[Pair(image, image)])


def test_parameters_go_by_their_old_names_too():
    asked = {"recipe": "srn", "out_dir": "run"}
    job = training.Job("srn", "run", pairs_dir="mine", pairs_list="some.txt")
    assert training.Job.of(asked | {"data_dir": "mine", "data_list": "some.txt"}) == job
    assert training.Job.of(asked | {"pairs_dir": "mine", "data_dir": "", "pairs_list": "some.txt"}) == job
    with pytest.raises(RecipeError, match="pairs_dir was called data_dir once: give one of them"):
        training.Job.of(asked | {"pairs_dir": "mine", "data_dir": "other"})


def test_what_a_command_line_took_for_a_number_is_a_name():
    """As papermill's -p does with a folder called 2024, or with a dict."""
    asked = {"recipe": "srn", "out_dir": 7}
    job = training.Job.of(asked | {"clean_dir": 2024, "start": 1.5, "changes": '{"batch": 4}'})
    assert job == training.Job("srn", "7", clean_dir="2024", start="1.5", changes={"batch": 4})
    for wrong in ({"clean_dir": True}, {"changes": "batch=4"}, {"steps": "4"}):
        with pytest.raises(RecipeError, match=f"{next(iter(wrong))} must be"):
            training.Job.of(asked | wrong)
