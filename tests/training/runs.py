"""Tiny recipes for the tests of training, and how two runs are compared."""

import json
from pathlib import Path

import torch

from derainlib import recipes
from derainlib.models import weights

DYING_RUN = Path(__file__).parents[1] / "dying_run.py"


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


def assert_alike(a: Path, b: Path, start: dict[str, torch.Tensor], close: float = 1e-3):
    """After descents whose sums were rounded in another order: all weights together lie within a share of their way."""
    found, expected = parameters(a), parameters(b)
    apart, moved = (
        sum((found_ - x[name]).square().sum() for name, found_ in found.items()).sqrt() for x in (expected, start)
    )
    assert moved > 1e-3
    assert apart < close * moved


def prepared(run: Path, recipe: recipes.Recipe) -> str:
    """The folder of a run that another process will train."""
    run.mkdir(exist_ok=True)
    (run / "recipe.json").write_text(recipe.to_json())
    return str(run)


def plateau(**changes) -> recipes.Recipe:
    """Four windows of three steps; the third has a higher mean, as happens with few and different patches."""
    defaults = {"schedule": "plateau", "steps": 12, "gamma": 0.5, "window": 3, "patience": 1, "min_lr": 0.0}
    return tiny(**defaults | changes)


def balanced(scheme: str, **changes) -> recipes.Recipe:
    """Two losses of different size, on an image that the network returns and on one that follows from it."""
    losses = (recipes.Loss("mse", 100.0), recipes.Loss("ssim", 1.0, {"on": "rain", "dissimilarity": True}))
    return tiny(**{"losses": losses, "balance": scheme, "batch": 4} | changes)


def half(scheme: str = "fixed", **changes) -> recipes.Recipe:
    """Losses so large that float16 cannot hold their gradients at the scale that a training begins with."""
    return balanced(scheme, **{"precision": "fp16", "patch": 16} | changes)


def hurried(**changes) -> recipes.Recipe:
    """A recipe that has 20.75 seconds."""
    defaults = {"minutes": 20.75 / 60, "schedule": "cosine", "validate_every": 100, "checkpoint_every": 4}
    return tiny(**defaults | changes)


def plans(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "plan.jsonl").read_text().splitlines()]
