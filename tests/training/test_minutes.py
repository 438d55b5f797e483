"""A training for minutes: as many steps as fit, and a schedule that ends with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from derainlib import recipes, training
from derainlib.data.synthetic import gather
from derainlib.layers import Pair
from derainlib.models import weights
from tests.training.runs import assert_same, hurried, plans


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
