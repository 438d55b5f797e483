"""Training: it learns, it survives being killed, and it gives the same weights however it is run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import recipes, training
from derainlib.data.synthetic import gather
from derainlib.errors import DataError, RecipeError
from derainlib.layers import Pair
from derainlib.models import weights

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Five smooth drawn photographs of 40x48 pixels."""
    path = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[:40, :48] / 48
    for i in range(5):
        image = np.stack([np.sin(i + k + 3 * rows + 2 * columns * k) for k in range(3)], -1)
        Image.fromarray(np.uint8(127 + 100 * image)).save(path / f"{i}.png")
    return path


def tiny(**changes) -> recipes.Recipe:
    return recipes.get("srn", "tiny", options={"stages": 1, "width": 8}, **({"steps": 6, "patch": 24} | changes))


def parameters(path: Path) -> dict[str, torch.Tensor]:
    return dict(weights.load(path).state_dict())


def assert_same(a: Path, b: Path, atol=0.0):
    expected = parameters(b)
    for name, value in parameters(a).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory) -> training.Result:
    return training.train(tiny(), gather(folder), tmp_path_factory.mktemp("run"))


def test_a_run_leaves_what_it_promises(uninterrupted):
    names = {path.name for path in uninterrupted.folder.iterdir()}
    assert names == {"recipe.json", "metrics.jsonl", "checkpoints", "last.safetensors", "last.json"}
    kept = sorted(path.name for path in (uninterrupted.folder / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000006"]
    lines = [json.loads(line) for line in (uninterrupted.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines == uninterrupted.history
    assert recipes.Recipe.from_json(uninterrupted.folder / "recipe.json") == tiny()
    card = weights.card(uninterrupted.last)
    assert card["steps"] == 6
    assert card["recipe"]["name"] == "srn"
    assert card["wall_seconds"] >= 0


@pytest.mark.parametrize("when", ["step", "save"])
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_equals_uninterrupted(uninterrupted, folder, tmp_path, when, workers):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(tiny().to_json())
    run = tmp_path / "run"
    killed = subprocess.run([sys.executable, HERE / "dying_run.py", recipe, run, folder, when], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    whole = [path.name for path in (run / "checkpoints").glob("step-*")]
    assert whole == ["step-00000002"]
    result = training.train(tiny(), gather(folder), run, workers=workers)
    assert [record["step"] for record in result.history] == [1, 2, 3, 4, 5, 6]
    assert not list((run / "checkpoints").glob(".*"))
    assert_same(result.last, uninterrupted.last)


def test_stopped_and_resumed_equals_uninterrupted(uninterrupted, folder, tmp_path):
    training.train(tiny(), gather(folder), tmp_path, stop_after=3)
    result = training.train(tiny(), gather(folder), tmp_path)
    assert_same(result.last, uninterrupted.last)


def plateau(**changes) -> recipes.Recipe:
    """Four windows of three steps; the third has a higher mean, as happens with few and different patches."""
    defaults = {"schedule": "plateau", "steps": 12, "gamma": 0.5, "window": 3, "patience": 1, "min_lr": 0.0}
    return tiny(**defaults | changes)


def observed(recipe, losses) -> list[float]:
    """The learning rate after each loss, with the state handed on at every step as a checkpoint does."""
    weight = torch.nn.Parameter(torch.zeros(1))
    rates, saved = [], None
    optimizer = torch.optim.Adam([weight], recipe.lr)
    for loss in losses:
        schedule = training.Plateau(optimizer, recipe)
        if saved:
            schedule.load_state_dict(json.loads(json.dumps(saved)))
        schedule.observe(loss)
        saved = schedule.state_dict()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("shift", [0, -10])
def test_plateau_drops_where_the_hand_says(shift):
    """Windows of two steps, patience of two: their means are 5, 4, 4, 4.5 | 3, 3, 3 | 3 …; a tie is no improvement.

    A loss may be below zero, as −SSIM is; only differences count.
    """
    recipe = plateau(lr=1e-3, gamma=0.1, window=2, patience=2, min_lr=1e-5)
    losses = [6, 4, 5, 3, 4, 4, 5, 4, 3, 3, 3, 3, 2, 4, 3, 3, 3, 3, 3, 3]
    drops = {8: 1e-4, 14: 1e-5}  # after 8 losses; the third drop would pass the smallest learning rate
    expected, rate = [], 1e-3
    for count in range(1, len(losses) + 1):
        rate = drops.get(count, rate)
        expected.append(rate)
    assert observed(recipe, [loss + shift for loss in losses]) == pytest.approx(expected)


def test_plateau_never_drops_while_the_loss_falls():
    rates = observed(plateau(lr=1e-3, window=1), np.linspace(1, 0, 30).tolist())
    assert rates == [1e-3] * 30


@pytest.fixture(scope="module")
def uninterrupted_plateau(folder, tmp_path_factory) -> training.Result:
    return training.train(plateau(), gather(folder), tmp_path_factory.mktemp("plateau"))


def test_plateau_lowers_the_learning_rate_of_a_run(uninterrupted_plateau):
    recipe = plateau()
    history = uninterrupted_plateau.history
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], recipe.lr)
    schedule = training.Plateau(optimizer, recipe)
    for record in history:
        assert record["lr"] == pytest.approx(optimizer.param_groups[0]["lr"])
        schedule.observe(record["loss"])
    assert [record["lr"] / recipe.lr for record in history] == [1] * 9 + [0.5] * 3


@pytest.mark.parametrize("when", ["step", "save"])
def test_killed_and_resumed_equals_uninterrupted_on_a_plateau(uninterrupted_plateau, folder, tmp_path, when):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(plateau().to_json())
    run = tmp_path / "run"
    killed = subprocess.run([sys.executable, HERE / "dying_run.py", recipe, run, folder, when], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    result = training.train(plateau(), gather(folder), run)
    assert [r["lr"] for r in result.history] == [r["lr"] for r in uninterrupted_plateau.history]
    assert_same(result.last, uninterrupted_plateau.last)


def test_two_processes_train_like_one(uninterrupted_plateau, folder, tmp_path):
    """Where the learning rate follows the loss, which is a mean over the processes."""
    recipe = tmp_path / "recipe.json"
    recipe.write_text(plateau().to_json())
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [*launch, HERE / "dying_run.py", recipe, tmp_path / "run", folder, "never"],
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    card = weights.card(tmp_path / "run" / "last.safetensors")
    assert card["hardware"].startswith("2 x CPU")
    # Gradients are averaged in another order, and Adam's first steps have the size of lr whatever the gradient's.
    assert_same(tmp_path / "run" / "last.safetensors", uninterrupted_plateau.last, atol=1e-5)


def test_accumulated_portions_train_like_whole_batches(folder, tmp_path):
    whole = training.train(tiny(batch=4), gather(folder), tmp_path / "a")
    portions = training.train(tiny(batch=4, accumulate=2), gather(folder), tmp_path / "b")
    assert [r["step"] for r in portions.history] == [r["step"] for r in whole.history]
    assert_same(portions.last, whole.last, atol=1e-5)


def test_training_learns_and_keeps_the_best(folder, tmp_path):
    clean = torch.rand(1, 3, 24, 24) * 0.5
    validation = [Pair((clean + 0.2).clamp(0, 1), clean)]
    recipe = tiny(steps=40, batch=4, validate_every=20, lr=3e-3, losses=(recipes.Loss("mse"),))
    result = training.train(recipe, gather(folder), tmp_path, validation=validation)
    losses = [record["loss"] for record in result.history]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    scored = [record for record in result.history if "psnr_rgb" in record]
    assert [record["step"] for record in scored] == [20, 40]
    assert weights.card(result.best)["validation_psnr_rgb"] == pytest.approx(
        max(r["psnr_rgb"] for r in scored), abs=1e-3
    )


def test_bf16_trains_after_a_run_in_another_precision(uninterrupted, folder, tmp_path):
    result = training.train(tiny(precision="bf16"), gather(folder), tmp_path)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in parameters(result.last).values())


def test_observers_see_every_record(folder, tmp_path):
    seen = []
    result = training.train(tiny(), gather(folder), tmp_path, observers=[seen.append])
    assert seen == result.history


def test_another_recipe_in_the_folder_is_refused(folder, tmp_path):
    training.train(tiny(), gather(folder), tmp_path, stop_after=2)
    with pytest.raises(RecipeError, match="another recipe"):
        training.train(tiny(lr=5e-4), gather(folder), tmp_path)


def test_an_exploding_loss_stops_with_a_reason(folder, tmp_path):
    with pytest.raises(RecipeError, match="lower lr"):
        training.train(tiny(lr=1e30, losses=(recipes.Loss("mse"),)), gather(folder), tmp_path)


def test_a_batch_that_cannot_be_shared_out_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="multiple of 3"):
        training.train(tiny(accumulate=3), gather(folder), tmp_path)


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_every_recipe_trains_at_its_tiny_scale(name, folder, tmp_path):
    recipe = recipes.get(
        name, "tiny", steps=1, batch=1, patch=16, options=recipes.get(name, "tiny").options | {"width": 4}
    )
    result = training.train(recipe, gather(folder), tmp_path)
    assert result.steps == 1
    assert np.isfinite(result.history[0]["loss"])
