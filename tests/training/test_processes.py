"""One training in many processes, and with a compiled network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from derainlib import training
from derainlib.data.synthetic import gather
from derainlib.layers import Pair
from derainlib.models import weights
from tests.training.runs import (
    DYING_RUN,
    assert_alike,
    balanced,
    half,
    hurried,
    initial,
    parameters,
    plateau,
    prepared,
    tiny,
)

CLOSE = {"no": 1e-3, "bf16": 0.05, "fp16": 0.02}
"""How alike losses, and the ways of weights, are in a precision: several times its rounding."""


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
    done = subprocess.run([*launch, DYING_RUN, folder, "descent", *runs], capture_output=True, timeout=600)
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
