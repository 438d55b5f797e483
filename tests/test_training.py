"""Training: it learns, it survives being killed, and it gives the same weights however it is run."""

import json
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import losses, metrics, recipes, training
from derainlib.data import export, scenes, validation
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


@pytest.fixture(scope="module")
def streets(tmp_path_factory) -> Path:
    """Two drawn streets to train on and one to judge by, in CamVid's layout."""
    path, drawn = tmp_path_factory.mktemp("streets"), scenes.drawn(range(3), (64, 80))
    for split, part in (("train", drawn[:2]), ("val", drawn[2:])):
        export.write(part, path / split, "none")
    return path


def tiny(**changes) -> recipes.Recipe:
    return recipes.get("srn", "tiny", options={"stages": 1, "width": 8}, **({"steps": 6, "patch": 24} | changes))


def parameters(path: Path) -> dict[str, torch.Tensor]:
    return dict(weights.load(path).state_dict())


def assert_same(a: Path, b: Path):
    """Bit for bit."""
    expected = parameters(b)
    for name, value in parameters(a).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=lambda m, n=name: f"{n}: {m}")


def initial(recipe: recipes.Recipe) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return recipe.build_model().state_dict()


@pytest.fixture
def descent(monkeypatch):
    """Plain descent in Adam's place, w ← w − lr · g: the weights of two trainings are then as alike as their gradients.

    Adam's first steps have the size of lr whatever the gradient's, its rounding included. They also have it whatever
    the gradient is multiplied by, and would hide a sum in the place of a mean.
    """
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)


def assert_alike(a: Path, b: Path, start: dict[str, torch.Tensor], close: float = 1e-3):
    """After descents whose sums were rounded in another order: all weights together lie within a share of their way."""
    found, expected = parameters(a), parameters(b)
    apart, moved = (
        sum((found_ - x[name]).square().sum() for name, found_ in found.items()).sqrt() for x in (expected, start)
    )
    assert moved > 1e-3
    assert apart < close * moved


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


def prepared(run: Path, recipe: recipes.Recipe) -> str:
    """The folder of a run that another process will train."""
    run.mkdir(exist_ok=True)
    (run / "recipe.json").write_text(recipe.to_json())
    return str(run)


@pytest.fixture
def killed(folder) -> Callable[[str, Path, recipes.Recipe], None]:
    """Trains in a process that kills itself at a given moment."""

    def train_until(when: str, run: Path, recipe: recipes.Recipe):
        command = [sys.executable, HERE / "dying_run.py", folder, when, prepared(run, recipe)]
        done = subprocess.run(command, capture_output=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-3000:]

    return train_until


@pytest.mark.parametrize("when", ["step", "save"])
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_equals_uninterrupted(uninterrupted, folder, killed, tmp_path, when, workers):
    run = tmp_path / "run"
    killed(when, run, tiny())
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
def test_killed_and_resumed_equals_uninterrupted_on_a_plateau(uninterrupted_plateau, folder, killed, tmp_path, when):
    run = tmp_path / "run"
    killed(when, run, plateau())
    result = training.train(plateau(), gather(folder), run)
    assert [r["lr"] for r in result.history] == [r["lr"] for r in uninterrupted_plateau.history]
    assert_same(result.last, uninterrupted_plateau.last)


def balanced(scheme: str, **changes) -> recipes.Recipe:
    """Two losses of different size, on an image that the network returns and on one that follows from it."""
    losses = (recipes.Loss("mse", 100.0), recipes.Loss("ssim", 1.0, {"on": "rain", "dissimilarity": True}))
    return tiny(**{"losses": losses, "balance": scheme, "batch": 4} | changes)


@pytest.fixture(scope="module")
def uninterrupted_balance(folder, tmp_path_factory) -> dict[str, training.Result]:
    schemes = ("loss", "gradient", "uncertainty")
    return {s: training.train(balanced(s), gather(folder), tmp_path_factory.mktemp(s)) for s in schemes}


@pytest.mark.parametrize("scheme", ["loss", "gradient"])
def test_weights_of_a_balance_are_in_every_record(uninterrupted_balance, scheme):
    for record in uninterrupted_balance[scheme].history:
        weights = record["weight_mse"], record["weight_ssim_rain"]
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        losses = 100 * record["loss_mse"], record["loss_ssim_rain"]
        assert record["loss"] == pytest.approx(sum(w * x for w, x in zip(weights, losses, strict=True)), rel=1e-4)
        if scheme == "loss":
            assert weights[0] == pytest.approx(losses[1] / sum(losses), rel=1e-4)


def test_uncertainty_weights_are_learned(uninterrupted_balance):
    """Adam's first steps have the size of lr: s rises where the loss is above ½, else it falls; w = ½ exp(−s)."""
    recipe = balanced("uncertainty")
    history = uninterrupted_balance["uncertainty"].history
    assert history[0]["weight_mse"] == 0.5
    for name, weight in (("mse", 100), ("ssim_rain", 1)):
        sign = 1 if weight * history[0][f"loss_{name}"] > 1 else -1
        assert history[1][f"weight_{name}"] == pytest.approx(0.5 * np.exp(-sign * recipe.lr), rel=1e-5)


def test_a_fixed_sum_logs_no_weights(uninterrupted):
    assert not [name for record in uninterrupted.history for name in record if name.startswith("weight")]


@pytest.mark.parametrize("when", ["step", "save"])
def test_killed_and_resumed_equals_uninterrupted_with_learned_weights(
    uninterrupted_balance, folder, killed, tmp_path, when
):
    run = tmp_path / "run"
    killed(when, run, balanced("uncertainty"))
    result = training.train(balanced("uncertainty"), gather(folder), run)
    expected = uninterrupted_balance["uncertainty"]
    for name in ("loss", "weight_mse", "weight_ssim_rain"):
        assert [r[name] for r in result.history] == [r[name] for r in expected.history]
    assert_same(result.last, expected.last)


@pytest.mark.parametrize("scheme", ["loss", "gradient", "uncertainty"])
def test_a_balance_trains_in_half_precision(folder, tmp_path, scheme):
    result = training.train(balanced(scheme, precision="bf16", steps=2), gather(folder), tmp_path)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in parameters(result.last).values())


@pytest.mark.parametrize("kind", ["fixed", "uncertainty"])
def test_accumulated_portions_train_like_whole_batches(folder, tmp_path, kind, descent):
    whole = training.train(balanced(kind), gather(folder), tmp_path / "a")
    portions = training.train(balanced(kind, accumulate=2), gather(folder), tmp_path / "b")
    assert [r["step"] for r in portions.history] == [r["step"] for r in whole.history]
    assert_alike(portions.last, whole.last, initial(balanced(kind)))


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


def test_the_best_weights_are_not_the_latest(folder, tmp_path, monkeypatch):
    scores = iter((30.0, 31.0, 29.0))
    monkeypatch.setattr(metrics, "psnr", lambda *_: torch.tensor([next(scores)]))
    image = torch.rand(1, 3, 24, 24)
    result = training.train(tiny(validate_every=2), gather(folder), tmp_path, validation=[Pair(image, image)])
    card = weights.card(result.best)
    assert (card["steps"], card["validation_psnr_rgb"]) == (4, 31.0)


def test_a_clipped_gradient_has_the_length_asked_for(folder, tmp_path, descent):
    """Plain descent goes as far, times lr."""
    recipe = tiny(steps=1, clip=0.01, lr=1.0)
    found, start = parameters(training.train(recipe, gather(folder), tmp_path).last), initial(recipe)
    moved = sum((value - start[name]).square().sum() for name, value in found.items()).sqrt()
    assert moved.item() == pytest.approx(0.01, rel=0.01)


def test_bf16_trains_after_a_run_in_another_precision(uninterrupted, folder, tmp_path):
    result = training.train(tiny(precision="bf16"), gather(folder), tmp_path)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in parameters(result.last).values())


def half(scheme: str = "fixed", **changes) -> recipes.Recipe:
    """Losses so large that float16 cannot hold their gradients at the scale that a training begins with."""
    return balanced(scheme, **{"precision": "fp16", "patch": 16} | changes)


SCHEMES = ("fixed", "loss", "gradient", "uncertainty")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_float16_trains(folder, tmp_path, scheme):
    """Its first loss is that of float32, rounded; its scale falls until the weights move."""
    result = training.train(half(scheme, steps=8), gather(folder), tmp_path / "half")
    whole = training.train(half(scheme, precision="no", steps=1), gather(folder), tmp_path / "whole")
    losses = result.history[0]["loss"], whole.history[0]["loss"]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert "scale" not in whole.history[0]
    scales = [record["scale"] for record in result.history]
    assert all(after in (before, before / 2) for before, after in zip([2.0**16, *scales], scales, strict=False))
    start = initial(half(scheme))
    for name, value in parameters(result.last).items():
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_overflows_is_skipped(folder, tmp_path, clip, accumulate):
    """Nothing of it stays in the weights, in the learned ones or in Adam's averages; the schedule goes on."""
    recipe = half("uncertainty", clip=clip, accumulate=accumulate, schedule="cosine")
    result = training.train(recipe, gather(folder), tmp_path, stop_after=2)
    assert [record["scale"] for record in result.history] == [2.0**15, 2.0**14]
    expected = initial(recipe)
    assert all(torch.equal(value, expected[name]) for name, value in parameters(result.last).items())
    assert [record["weight_mse"] for record in result.history] == [0.5, 0.5]
    rates = [recipe.learning_rate(step) for step in range(2)]
    assert [record["lr"] for record in result.history] == pytest.approx(rates, rel=1e-4)
    (adam,) = (tmp_path / "checkpoints").glob("*-00000002/optimizer.bin")
    assert torch.load(adam)["state"] == {}


@pytest.mark.parametrize("scheme", ["gradient", "uncertainty"])
def test_stopped_and_resumed_equals_uninterrupted_in_float16(folder, tmp_path, scheme):
    """The scale is a part of the checkpoint; with a new one, steps would be skipped again."""
    whole = training.train(half(scheme), gather(folder), tmp_path / "whole")
    training.train(half(scheme), gather(folder), tmp_path / "parts", stop_after=3)
    result = training.train(half(scheme), gather(folder), tmp_path / "parts")
    for name in ("loss", "scale", "weight_mse"):
        assert [record[name] for record in result.history] == [record[name] for record in whole.history]
    assert_same(result.last, whole.last)


def test_gradients_that_never_fit_into_float16_stop_with_a_reason(folder, tmp_path):
    recipe = half(losses=(recipes.Loss("mse", 1e25),), steps=100, batch=1)
    with pytest.raises(RecipeError, match=r"no step is taken any more \(step 41\): use precision 'bf16' or 'no'"):
        training.train(recipe, gather(folder), tmp_path)


# --- the average of the weights --------------------------------------------------------------------------------------


def after_each_step(recipe: recipes.Recipe, sources, run: Path) -> list[dict[str, torch.Tensor]]:
    """The weights and buffers after each step, in float64."""
    states = [parameters(training.train(recipe, sources, run, stop_after=n).last) for n in range(1, recipe.steps + 1)]
    return [{name: value.double() for name, value in state.items()} for state in states]


@pytest.mark.parametrize("network", ["srn", "espnet"])
def test_the_average_is_the_one_by_hand(folder, streets, tmp_path, network):
    """Also of a segmenter's statistics; of the counts of batches beside them the newest is kept."""
    options = {"stages": 1, "width": 8} if network == "srn" else {"width": 8}
    sources = gather(folder) if network == "srn" else gather(scenes_dir=streets)
    recipe = recipes.get(network, "tiny", options=options, steps=6, patch=24, schedule="constant")
    states = after_each_step(recipe, sources, tmp_path / "plain")
    average = states[0]
    for done, state in enumerate(states[1:], 1):
        decay = min(0.3, (1 + done) / (10 + done))  # 2/11, 3/12, then 0.3
        average = {name: decay * average[name] + (1 - decay) * value for name, value in state.items()}
    found = parameters(training.train(recipe.replace(ema=0.3), sources, tmp_path / "average").last)
    assert found.keys() == average.keys()
    for name, value in found.items():
        expected = average[name] if value.is_floating_point() else states[-1][name]
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
        if name.endswith("weight"):
            assert (value - states[-1][name]).abs().max() > 1e-5, name


def test_the_average_is_what_is_judged(folder, tmp_path):
    clean = torch.rand(1, 3, 24, 24)
    validation = [Pair((clean * 0.8 + 0.2), clean)]
    recipe = tiny(ema=0.9, lr=1e-2, validate_every=6)
    result = training.train(recipe, gather(folder), tmp_path, validation=validation)
    with torch.inference_mode():
        background = weights.load(result.last)(validation[0].rainy).background
    score = metrics.psnr(background, clean, "rgb").item()
    assert result.history[-1]["psnr_rgb"] == pytest.approx(score, abs=1e-3)
    assert_same(result.best, result.last)


@pytest.fixture(scope="module")
def uninterrupted_average(folder, tmp_path_factory) -> training.Result:
    return training.train(balanced("uncertainty", ema=0.9), gather(folder), tmp_path_factory.mktemp("average"))


@pytest.mark.parametrize("when", ["step", "save"])
def test_killed_and_resumed_equals_uninterrupted_with_an_average(uninterrupted_average, folder, killed, tmp_path, when):
    run, recipe = tmp_path / "run", balanced("uncertainty", ema=0.9)
    killed(when, run, recipe)
    assert_same(training.train(recipe, gather(folder), run).last, uninterrupted_average.last)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_an_average_of_half_precision_is_in_float32_and_leaves_out_skipped_steps(folder, tmp_path, precision):
    recipe = half(precision=precision, ema=0.9)
    result = training.train(recipe, gather(folder), tmp_path, stop_after=2)
    start = initial(recipe)
    for name, value in parameters(result.last).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, start[name]) is (precision == "fp16"), name
    (file,) = (tmp_path / "checkpoints").glob("*-00000002/custom_checkpoint_1.pkl")
    assert torch.load(file)["n_averaged"] == (0 if precision == "fp16" else 2)


# --- minutes ---------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass with each step of the optimiser, and a microsecond whenever it is asked."""

    def __init__(self, seconds: Callable[[int], float]):
        self.now, self.step, self.seconds = 1000.0, 0, seconds

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now

    def train(self, recipe: recipes.Recipe, folder: Path, run: Path, **how) -> training.Result:
        """A training whose time it tells."""
        original = torch.optim.Adam.step

        def step(*args, **kwargs):
            self.step += 1
            self.now += self.seconds(self.step)
            return original(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", step)
            return training.train(recipe, gather(folder), run, clock=self, **how)


def slower(step: int) -> float:
    """Seconds that a step takes."""
    return 1.0 if step < 10 else 2.0


def hurried(**changes) -> recipes.Recipe:
    """A recipe that has 20.75 seconds."""
    defaults = {"minutes": 20.75 / 60, "schedule": "cosine", "validate_every": 100, "checkpoint_every": 4}
    return tiny(**defaults | changes)


def plans(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "plan.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def slowing(folder, tmp_path_factory) -> training.Result:
    return Clock(slower).train(hurried(), folder, tmp_path_factory.mktemp("slowing"))


def test_the_time_decides_how_many_steps_there_are(slowing):
    """Planned when the first step after three has been timed, and after 30 %, 60 % and 85 % of the time.

    Step 11 ends at 13 s: the latest four took 1.5 s each, so five more are planned; after step 14, at 19 s, no more.
    """
    found = plans(slowing.folder)
    assert [(plan["step"], plan["steps"]) for plan in found] == [(4, 20), (7, 20), (11, 16), (14, 14)]
    assert [plan["seconds_per_step"] for plan in found] == pytest.approx([1, 1, 1.5, 2], rel=1e-3)
    assert slowing.steps == 14
    card = weights.card(slowing.last)
    assert (card["steps"], card["wall_seconds"], card["recipe"]["minutes"]) == (14, 19, 20.75 / 60)
    assert card["megapixels"] == round(14 * 2 * 24**2 / 1e6, 1)


def test_the_learning_rate_falls_without_a_jump(slowing):
    recipe, found, progress = hurried(), plans(slowing.folder), 0.0
    for step, record in enumerate(slowing.history):
        plan = next((plan for plan in reversed(found) if plan["step"] < step), None)
        progress += (1 - plan["progress"]) / (plan["steps"] - plan["step"]) if plan else 0.0
        assert record["lr"] == pytest.approx(recipe.lr * (1 + np.cos(np.pi * progress)) / 2, abs=1e-7)
    assert [record["lr"] for record in slowing.history][:5] == [recipe.lr] * 5, "until the first plan nothing falls"


def test_a_validation_at_the_end_has_its_time(folder, tmp_path):
    """Two seconds went into timing a validation, four into the last one: there were fourteen for steps."""
    clock = Clock(lambda step: 1.0)

    class Slow(list):
        def __getitem__(self, index):
            clock.now += 2.0
            return super().__getitem__(index)

    image = torch.rand(1, 3, 24, 24)
    result = clock.train(hurried(), folder, tmp_path, validation=Slow([Pair(image, image)] * 2))
    assert result.steps == 14
    assert result.seconds == pytest.approx(20, abs=0.01)
    assert "psnr_rgb" in result.history[-1]
    assert result.history[-1]["lr"] < 0.03 * hurried().lr, "the schedule ends with the steps"


def test_a_machine_that_gets_quicker_is_given_more_steps(folder, tmp_path):
    """After step 6 a step takes a tenth of the time: without a look at the steps, half of the time would be left."""
    clock = Clock(lambda step: 1.0 if step <= 6 else 0.1)
    result = clock.train(hurried(), folder, tmp_path)
    assert clock.now - 1000 == pytest.approx(60 * hurried().minutes, rel=0.1)
    assert result.steps == plans(tmp_path)[-1]["steps"] > 2 * plans(tmp_path)[0]["steps"]


def test_time_that_runs_out_ends_a_training_before_there_is_a_plan(folder, tmp_path):
    result = Clock(lambda step: 8.0).train(hurried(), folder, tmp_path)
    assert result.steps == weights.card(result.last)["steps"] == 2
    assert result.seconds == pytest.approx(16, abs=0.01)


@pytest.mark.parametrize("when", ["a pause", "step"])
def test_killed_and_resumed_equals_uninterrupted_by_the_same_plans(slowing, folder, killed, tmp_path, when):
    """Whatever the clock says: it runs ten times as fast here."""
    run, recipe = tmp_path / "run", hurried(checkpoint_every=2)
    run.mkdir()
    (run / "plan.jsonl").write_text((slowing.folder / "plan.jsonl").read_text())
    if when == "step":
        killed(when, run, recipe)
    else:
        training.train(recipe, gather(folder), run, stop_after=9)
    result = Clock(lambda step: 0.1).train(recipe, folder, run)
    assert plans(run) == plans(slowing.folder)
    assert [record["lr"] for record in result.history] == [record["lr"] for record in slowing.history]
    assert_same(result.last, slowing.last)


def test_plans_made_after_the_newest_checkpoint_are_kept(slowing, folder, tmp_path):
    """It is killed after step 7, right after its second plan, and goes on from step 4."""

    def die(record: training.Record):
        if record["step"] == 7:
            raise KeyboardInterrupt

    clock = Clock(slower)
    with pytest.raises(KeyboardInterrupt):
        clock.train(hurried(), folder, tmp_path, observers=[die])
    before = plans(tmp_path)
    assert [plan["step"] for plan in before] == [4, 7]
    clock.step = 4
    result = clock.train(hurried(), folder, tmp_path)
    assert plans(tmp_path)[:2] == before
    assert [plan["steps"] for plan in plans(tmp_path)] == [plan["steps"] for plan in plans(slowing.folder)]
    assert_same(result.last, slowing.last)


# --- compiled --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_compiled_network_trains_like_a_plain_one(folder, tmp_path, monkeypatch, precision, descent):
    """Under the same names, its average included; validation, whose images have all sizes, compiles nothing."""
    real, sizes = torch.compile, set()

    def backend(graph, inputs):
        sizes.update(tuple(x.shape[-2:]) for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 4)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function: real(function, backend=backend))
    judges = [Pair(*torch.rand(2, 1, 3, *size)) for size in ((24, 40), (32, 24))]
    recipe = tiny(precision=precision, ema=0.9, validate_every=2, checkpoint_every=2, lr=1e-2)
    plain = training.train(recipe, gather(folder), tmp_path / "plain", validation=judges)
    training.train(recipe, gather(folder), tmp_path / "run", validation=judges, compiled=True, stop_after=4)
    result = training.train(recipe, gather(folder), tmp_path / "run", validation=judges)  # goes on uncompiled
    assert parameters(result.last).keys() == parameters(plain.last).keys()
    assert_alike(result.last, plain.last, initial(recipe), CLOSE[precision])
    assert [r["psnr_rgb"] for r in result.history if "psnr_rgb" in r] == pytest.approx(
        [r["psnr_rgb"] for r in plain.history if "psnr_rgb" in r], abs=0.01
    )
    assert (24, 24) in sizes
    assert not sizes & {(24, 40), (32, 24)}


# --- many processes --------------------------------------------------------------------------------------------------

CLOSE = {"no": 1e-3, "bf16": 0.05, "fp16": 0.02}
"""How alike the ways of weights are in a precision, several times its rounding; losses are means of more values."""
SHARED = {
    "plateau": plateau(lr=1e-2),
    "average": balanced("fixed", ema=0.9),
    "gradient": balanced("gradient", lr=1e-2),
    "uncertainty": balanced("uncertainty"),
    "float16": half("uncertainty"),
    "minutes": hurried(minutes=1000.0, lr=1e-2),
}
"""Recipes whose learning rate, weights, learned weights or scale follow losses and gradients of all processes, or whose
time they share."""


def shared(kind: str, run: Path) -> Path:
    """The folder of such a run; the number of steps in its time is planned already."""
    prepared(run, SHARED[kind])
    if SHARED[kind].minutes:
        late = 0.96 * 60 * SHARED[kind].minutes  # after the last correction
        plan = {"step": 2, "elapsed": late, "seconds_per_step": 1.0, "progress": 0.0, "steps": 6}
        (run / "plan.jsonl").write_text(json.dumps(plan) + "\n")
    return run


@pytest.fixture(scope="module")
def two_processes(folder, tmp_path_factory) -> Path:
    """The folder of the runs of all these recipes, trained by two processes."""
    path = tmp_path_factory.mktemp("two")
    runs = [shared(kind, path / kind) for kind in SHARED]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run([*launch, HERE / "dying_run.py", folder, "descent", *runs], capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return path


@pytest.mark.parametrize("kind", SHARED)
def test_two_processes_train_like_one(two_processes, folder, tmp_path, kind, descent):
    expected = training.train(SHARED[kind], gather(folder), shared(kind, tmp_path))
    card = weights.card(two_processes / kind / "last.safetensors")
    assert card["hardware"].startswith("2 x CPU")
    close = CLOSE[SHARED[kind].precision]
    assert_alike(two_processes / kind / "last.safetensors", expected.last, initial(SHARED[kind]), close)
    history = [json.loads(line) for line in (two_processes / kind / "metrics.jsonl").read_text().splitlines()]
    for name in (name for name in history[0] if name.startswith(("loss", "weight", "scale"))):
        assert [r[name] for r in history] == pytest.approx([r[name] for r in expected.history], rel=close / 10)


def test_observers_see_every_record(folder, tmp_path):
    seen = []
    result = training.train(tiny(), gather(folder), tmp_path, observers=[seen.append])
    assert seen == result.history


def test_another_recipe_in_the_folder_is_refused(folder, tmp_path):
    training.train(tiny(), gather(folder), tmp_path, stop_after=2)
    with pytest.raises(RecipeError, match="another recipe"):
        training.train(tiny(lr=5e-4), gather(folder), tmp_path)


def test_a_run_goes_on_only_beside_the_weights_that_it_started_from(uninterrupted, folder, tmp_path):
    start, run = tmp_path / "start.safetensors", tmp_path / "run"
    before = uninterrupted.last.read_bytes()
    start.write_bytes(before)
    recipe = recipes.get("srn", "tiny", start=str(start), patch=24)
    assert recipe.options == {"stages": 1, "width": 8}
    training.train(recipe, gather(folder), run, stop_after=2)
    network = weights.load(start)
    torch.nn.init.zeros_(next(network.parameters()))
    weights.save(network, start, {})
    with pytest.raises(RecipeError, match="holds other weights than those that the run"):
        training.train(recipe, gather(folder), run)
    start.write_bytes(before)
    card = weights.card(training.train(recipe, gather(folder), run).last)
    assert card["start_sha256"] == weights.header(uninterrupted.last)["sha256"]
    assert "start_sha256" not in weights.card(uninterrupted.last)


def test_a_training_goes_on_under_another_name(folder, uninterrupted, tmp_path):
    """As a study does with a row that another study began."""
    training.train(tiny().replace(name="begun"), gather(folder), tmp_path, stop_after=3)
    assert_same(training.train(tiny(), gather(folder), tmp_path).last, uninterrupted.last)
    assert weights.card(tmp_path / "last.safetensors")["recipe"]["name"] == "srn"


def test_an_exploding_loss_stops_with_a_reason(folder, tmp_path):
    with pytest.raises(RecipeError, match="lower lr"):
        training.train(tiny(lr=1e30, losses=(recipes.Loss("mse"),)), gather(folder), tmp_path)


class Steep(torch.nn.Module):
    """A loss that is zero with a gradient that is NaN, as roots are at zero."""

    def forward(self, layers, pair):
        return (0 * layers.background).sqrt().mean()


def test_weights_that_are_not_finite_are_not_kept(folder, tmp_path, monkeypatch):
    """Those of the last step, of which no later loss would tell."""
    monkeypatch.setitem(losses.TERMS, "steep", Steep)
    with pytest.raises(RecipeError, match="the weights are infinite or NaN after step 1; the newest checkpoint"):
        training.train(tiny(steps=1, losses=(recipes.Loss("steep"),)), gather(folder), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_batch_that_cannot_be_shared_out_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="multiple of 3"):
        training.train(tiny(accumulate=3), gather(folder), tmp_path)


WIDTHS = {"phpnet": 8, "phi": 8, "espnet": 8, "pspnet": 16}
"""Networks whose narrowest form has more than four channels."""


@pytest.mark.filterwarnings("ignore:this loss judges by a segmenter")
@pytest.mark.parametrize("name", recipes.list_recipes())
def test_every_recipe_trains_at_its_tiny_scale(name, folder, tmp_path):
    options = recipes.get(name, "tiny").options | {"width": WIDTHS.get(name.partition("/")[0], 4)}
    result = training.train(recipes.get(name, "tiny", steps=1, batch=1, options=options), gather(folder), tmp_path)
    assert result.steps == 1
    assert np.isfinite(result.history[0]["loss"])


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


# --- segmenters -------------------------------------------------------------------------------------------------------


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


def test_a_frozen_segmenter_judges_and_stays_what_it_is(folder, tmp_path):
    """Labels of drawn streets, read by a segmenter from a file: its loss counts, and nothing of it is trained."""
    from derainlib import models

    torch.manual_seed(0)
    weights.save(models.create("phi", width=8, k=2), tmp_path / "phi.safetensors", {})
    losses = (
        recipes.Loss("charbonnier"),
        recipes.Loss("semantic", 0.05, {"network": str(tmp_path / "phi.safetensors")}),
    )
    recipe = tiny(losses=losses, batch=4, steps=2)
    loss = recipe.build_loss()
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    sources = gather()
    labelled = sources._replace(clean=sources.clean[:4])
    with_it = training.train(recipe, labelled, tmp_path / "a")
    without = training.train(tiny(losses=losses[:1], batch=4, steps=2), labelled, tmp_path / "b")
    assert with_it.history[0]["loss_semantic"] > 0.1
    different = parameters(with_it.last), parameters(without.last)
    assert any(not torch.equal(value, different[1][name]) for name, value in different[0].items())
