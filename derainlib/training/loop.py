"""The training loop, which stays visible here; `Run.steps` and `Run.portion` are its heart.

Accelerate puts it on the devices there are (`accelerate launch` for several GPUs or machines) and holds the mixed
precision.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from derainlib import memory
from derainlib.data.fingerprint import fingerprint
from derainlib.data.synthetic import Samples, Schedule, Sources
from derainlib.errors import DataError, DerainError, RecipeError
from derainlib.layers import Pair
from derainlib.pace import Pace
from derainlib.recipe import Recipe
from derainlib.training.folder import Folder, Record
from derainlib.training.judging import judge
from derainlib.training.state import Learned, Plateau, Progress, averaged

LOG_SECONDS = 1.0
"""Progress is shown at most this often; metrics.jsonl has every step."""
AUTOMATIC = -1
"""Workers: as many as there are cores to spare."""
FOREVER = 2**31
"""More steps than any training does."""
SMALLEST_SCALE = 2.0**-24
"""The scale of fp16's gradients at which a training gives up: forty steps in a row were skipped to come here."""

Observer = Callable[[Record], None]


@dataclass(frozen=True)
class Result:
    """What a training left behind."""

    folder: Path
    """The run's folder."""
    steps: int
    """Steps done, those before a resume included."""
    seconds: float
    """Wall time, likewise."""
    last: Path
    """The final weights: the training's result."""
    best: Path
    """The weights with the best validation score, to look into; the final ones where there was no validation."""
    history: list[Record]
    """The lines of metrics.jsonl."""


def train(
    recipe: Recipe,
    sources: Sources,
    out: str | Path,
    *,
    validation: Sequence[Pair] = (),
    workers: int = AUTOMATIC,
    compiled: bool = False,
    observers: Iterable[Observer] = (),
    progress: bool = False,
    stop_after: int | None = None,
    until: Callable[["Run"], bool] = lambda run: False,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Trains the recipe's network, or goes on with it where `out` already holds checkpoints of the same recipe.

    Args:
        recipe: what to train.
        sources: what to train on, see `derainlib.data.synthetic.gather`.
        out: the run's folder.
        validation: pairs of one image each, scored every `recipe.validate_every` steps; by the criterion "miou" they
            must have labels.
        workers: processes that make samples; the samples are the same with any number. By default a core each where a
            GPU trains, which must not wait for rain, and none where the cores train themselves.
        compiled: whether torch.compile makes the network quicker, which takes a minute or more at the start. Names in
            checkpoints and weights stay the same; the last digits of the weights may not.
        observers: called with each record of metrics.jsonl, on the main process.
        progress: whether to show a bar.
        stop_after: stop, with a checkpoint, once this many steps are done in all.
        until: asked after each step with the run, in every process; stop there, with a checkpoint, where it is true.
        clock: tells the time in seconds.

    Returns:
        Where everything is, and the history.

    Raises:
        RecipeError: `out` holds another recipe's run, another process trains in it, no checkpoint in it can be read,
            loss or gradients became infinite or NaN for good, or the network cannot be trained in bf16 on this CPU.
        DataError: the data do not fit, or are others than those of the run in `out`.
    """
    from tqdm import tqdm

    if recipe.criterion == "miou" and len(validation) and validation[0].labels is None:
        raise DataError(f"recipe {recipe.name} is judged by mIoU: give it validation pairs with labels")
    run = Run(recipe, sources, Path(out), workers=workers, compiled=compiled, clock=clock)
    with run.folder.alone(), _workers_errors():
        run.start()
        if recipe.minutes and not run.is_over():
            run.time_validation(validation)
        last = min(stop_after or FOREVER, FOREVER if recipe.minutes else recipe.steps)
        shown = {"total": None if last == FOREVER else last, "initial": run.progress.step, "unit": "step"}
        with tqdm(**shown, disable=not (progress and run.main), mininterval=LOG_SECONDS) as bar:
            for record in run.steps(last):
                step = int(record["step"])
                if step % recipe.validate_every == 0 or run.is_over():
                    record |= run.validate(validation)
                if run.main:
                    run.folder.log(record)
                    bar.set_postfix({k: f"{record[k]:.4f}" for k in ("loss", "psnr_rgb") if k in record}, refresh=False)
                    bar.update()
                    for observer in observers:
                        observer(record)
                stopped = until(run)
                if stopped or step % recipe.checkpoint_every == 0 or step == last or run.is_over():
                    run.checkpoint()
                if stopped:
                    break
        return run.finish()


@contextlib.contextmanager
def _workers_errors() -> Iterator[None]:
    """Errors of the processes that make samples, in one line: torch puts their stacks into the message."""
    try:
        yield
    except DerainError as error:
        stack, _, words = str(error).rpartition(f"{type(error).__name__}: ")
        if "DataLoader worker" not in stack:
            raise
        raise type(error)(words.strip()) from None
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise DataError(
            "a process that makes samples was ended from outside; was there enough memory? fewer workers "
            "(--workers 0) need less, and the newest checkpoint is whole"
        ) from None


def samples_of(recipe: Recipe, sources: Sources) -> Samples:
    """The samples that a recipe is trained on.

    Raises:
        DataError: the data do not fit, or the recipe's seed is the hold-out's.
    """
    return Samples(
        sources.clean, sources.pairs, patch=recipe.patch, style=recipe.rain, paired=recipe.paired, seed=recipe.seed,
        layers=sources.layers, turned=recipe.turned, dry=recipe.dry,
    )  # fmt: skip


class Run:
    """One training: the objects that the loop needs, and what it does with them.

    Args:
        recipe, sources, workers, compiled, clock: as in `train`.
        folder: the run's folder.
    """

    def __init__(
        self,
        recipe: Recipe,
        sources: Sources,
        folder: Path,
        *,
        workers: int = AUTOMATIC,
        compiled: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.recipe, self.note, self.clock = recipe, sources.note, clock
        self.began, self.validating = clock(), 0.0
        self.samples = samples_of(recipe, sources)
        self.samples.check_sizes()
        memory.keep_freed()
        self.accelerator = _accelerator(recipe)
        self.workers = _spare_cores(self.accelerator) if workers == AUTOMATIC else workers
        self.main = self.accelerator.is_main_process
        self.folder = Folder(folder, recipe, fingerprint(sources), self.accelerator)
        self.finished = False
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            network = recipe.build_model()
        _check_kernels(network, self.accelerator)
        network.to(self.accelerator.device, memory_format=torch.channels_last)
        self.average = averaged(network, recipe.ema) if recipe.ema else None  # before accelerate wraps its `forward`
        if compiled:  # the function, not the module: so names stay, and accelerate's wrapping goes around it
            network.forward = torch.compile(network.forward)
        self.loss = recipe.build_loss(network).to(self.accelerator.device)
        learned = Learned(self.loss)
        trained = [*network.parameters(), *learned.parameters.values()]
        fused = recipe.precision != "fp16"  # a fused step is not skipped by the scaler, as accelerate expects it
        adam = torch.optim.Adam(trained, recipe.lr, fused=fused)
        self.network, self.optimizer = self.accelerator.prepare(network, adam)
        self.plateau = Plateau(self.optimizer, recipe) if recipe.schedule == "plateau" else None
        self.progress, self.pace = Progress(), None
        states = (self.progress, self.plateau, learned if learned.parameters else None, self.average)
        self.accelerator.register_for_checkpointing(*filter(None, states))  # by their order, old checkpoints' too

    def start(self):
        """Makes the folder, or goes on from the newest whole checkpoint in it.

        Where the training is finished, as its weights' card says, nothing is written any more.
        """
        self.folder.claim()
        done = self.folder.finished()
        if not self.folder.restore():
            self.progress.step = done  # without checkpoints, as who wants to save room may leave it
        if self.recipe.minutes:
            self.pace = Pace(60 * self.recipe.minutes, self.folder.path / "plan.jsonl", writes=self.main)
        self.finished = 0 < done == self.progress.step and self.is_over()
        if done and not self.finished and not self.folder.checkpoints():
            raise RecipeError(
                f"{self.folder.path} holds weights of {done} steps and no checkpoint to go on from; choose another "
                "folder, perhaps with these weights as start"
            )
        if not self.finished:
            self.folder.require_writable()
        self.folder.cut_history(self.progress.step)
        self.began -= self.progress.seconds

    # ---- the loop

    def is_over(self) -> bool:
        """Whether all steps are done."""
        done = self.progress.step
        return self.pace.is_over(done) if self.pace else done >= self.recipe.steps

    def steps(self, last: int) -> Iterable[Record]:
        """Does the steps up to `last`, or until it is over, one record each."""
        if self.is_over():
            return
        _set_training(self.network, self.recipe)
        began, portions = self.clock(), []
        for pair in self.batches(last):
            portions.append(self.portion(pair.to(self.accelerator.device)))
            if not self.accelerator.sync_gradients:
                continue
            self.progress.step += 1
            if self.average and not self.optimizer.step_was_skipped:
                self.average.update_parameters(self._plain())
            record = self._record(portions)
            if self.plateau:
                self.plateau.observe(record["loss"])
            record["samples_per_second"] = self.recipe.batch / (self.clock() - began)
            if self.pace:
                self.pace.observe(self.progress.step, *self._time())
            yield {name: _rounded(name, value) for name, value in record.items()}
            if self.is_over():
                return
            began, portions = self.clock(), []

    def batches(self, last: int) -> DataLoader:
        """This process's portions of the batches up to step `last`."""
        process = self.accelerator
        schedule = Schedule(
            len(self.samples), batch=self.recipe.batch, first=self.progress.step, last=last, seed=self.recipe.seed,
            rank=process.process_index, world=process.num_processes, accumulate=self.recipe.accumulate,
        )  # fmt: skip
        on_gpu = process.device.type == "cuda"
        how = {"collate_fn": _as_it_is, "num_workers": self.workers, "pin_memory": on_gpu}
        return DataLoader(self.samples, batch_sampler=schedule, **how)

    def portion(self, pair: Pair) -> Record:
        """Forward and backward of one portion of a batch, and the optimiser's step where the batch is whole."""
        process, recipe = self.accelerator, self.recipe
        if not self.plateau:
            step = self.progress.step
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(self.pace.progress(step) if self.pace else step / recipe.steps)
        with process.accumulate(self.network):
            with process.autocast():
                layers = self.network(pair.rainy.contiguous(memory_format=torch.channels_last), keep=True)
            total, terms = self.loss(layers, pair)
            process.backward(total)
            if process.sync_gradients and recipe.clip:
                process.clip_grad_norm_(self.network.parameters(), recipe.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
        latest = self.loss.latest  # the same in every process
        values = torch.stack([total.detach(), *terms.values()]).float()
        values = [*process.reduce(values, "mean").tolist(), *(weight.item() for weight in latest.values())]
        if not all(map(math.isfinite, values)):
            raise self._diverged(f"the loss is {values[0]}")
        names = ["loss", *(f"loss_{name}" for name in terms), *(f"weight_{name}" for name in latest)]
        return dict(zip(names, values, strict=True))

    def _record(self, portions: list[Record]) -> Record:
        """What is logged of a step: the means of its portions, and how far it is."""
        step = self.progress.step
        record = {"step": step, "epoch": step * self.recipe.batch / len(self.samples)}
        record |= {"lr": self.optimizer.param_groups[0]["lr"]}
        record |= {name: sum(portion[name] for portion in portions) / len(portions) for name in portions[0]}
        return record | ({"scale": self._scale()} if self.accelerator.scaler else {})

    def _time(self) -> list[float]:
        """Seconds of the run so far, and of a validation: the first process's, so that all plan alike."""
        from accelerate.utils import broadcast

        seconds = [self.clock() - self.began, self.validating]
        return broadcast(torch.tensor(seconds, device=self.accelerator.device)).tolist()

    def _diverged(self, how: str) -> RecipeError:
        return RecipeError(
            f"{how} after step {self.progress.step}; the newest checkpoint is whole: lower lr, set clip, or use "
            "precision 'no'"
        )

    def _scale(self) -> float:
        """The scale of the gradients after a step."""
        scale = self.accelerator.scaler.get_scale()
        if scale < SMALLEST_SCALE:
            raise RecipeError(
                f"the gradients are infinite or NaN in fp16, so no step is taken any more (step {self.progress.step}): "
                "use precision 'bf16' or 'no'"
            )
        return scale

    # ---- what is judged and kept

    def validate(self, validation: Sequence[Pair]) -> Record:
        """Scores on the validation pairs; keeps the weights if none before were better by the recipe's criterion."""
        if not len(validation):
            return {}
        began = self.clock()
        scores = judge(self.result(), validation, self.recipe.criterion, self.accelerator)
        self.validating = self.clock() - began
        if scores[self.recipe.criterion] > self.progress.best:
            self.progress.best = scores[self.recipe.criterion]
            self._save("best", scores)
        return {name: round(score, 4 if name == "psnr_rgb" else 5) for name, score in scores.items()}

    def time_validation(self, validation: Sequence[Pair]):
        """Guesses from one pair how long a validation takes."""
        if len(validation):
            began = self.clock()
            judge(self.result(), [validation[0]], self.recipe.criterion, self.accelerator)
            self.validating = (self.clock() - began) * math.ceil(len(validation) / self.accelerator.num_processes)

    def checkpoint(self):
        """Keeps everything that is needed to go on.

        A finite loss can have a gradient that is not, so what would be kept is looked at before.
        """
        trained = (parameter for group in self.optimizer.param_groups for parameter in group["params"])
        if not all(parameter.isfinite().all() for parameter in trained):
            raise self._diverged("the weights are infinite or NaN")
        self.progress.seconds = self.clock() - self.began
        self.folder.checkpoint(self.progress.step)

    def finish(self) -> Result:
        """Writes the final weights, unless they were finished before, and says where everything is."""
        history = self.folder.history
        latest = history[-1] if history else {}
        scores = {name: latest[name] for name in ("psnr_rgb", "ssim_y", "miou", "accuracy") if name in latest}
        if not self.finished:
            self._save("last", scores)
        last, best = (self.folder.path / f"{name}.safetensors" for name in ("last", "best"))
        seconds = self.progress.seconds if self.finished else self.clock() - self.began
        return Result(self.folder.path, self.progress.step, seconds, last, best if best.exists() else last, history)

    def _save(self, name: str, scores: Record):
        """Writes weights, with the card's facts on the training and its validation."""
        step, recipe = self.progress.step, self.recipe
        facts = {
            "data": self.note,
            "steps": step,
            "megapixels": round(step * recipe.batch * recipe.patch**2 / 1e6, 1),
            "wall_seconds": round(self.clock() - self.began),
        }
        self.folder.save(name, self.result(), facts | {f"validation_{what}": score for what, score in scores.items()})

    def _plain(self) -> nn.Module:
        """The network that is trained, without what spreads it over processes."""
        return self.accelerator.unwrap_model(self.network)

    def result(self) -> nn.Module:
        """The network that the training is for: the average, where there is one."""
        return self.average.module if self.average else self._plain()


def _accelerator(recipe: Recipe):
    """Accelerate's view of the devices and of the other processes."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # or a second run in one process could not choose another precision
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # named, so that several processes also find each other on CPUs
        mixed_precision=recipe.precision,
        gradient_accumulation_steps=recipe.accumulate,
    )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        # Half precision on the CPU as on a GPU: accelerate would train in float32 there, without a word.
        accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu")
    return accelerator


def _set_training(network: nn.Module, recipe: Recipe):
    """Training mode, but for the statistics that the recipe keeps."""
    network.train()
    for layer in network.modules():
        if recipe.frozen_statistics and isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()


def _check_kernels(network: nn.Module, accelerator):
    """Refuses a network whose gradients the CPU's bf16 kernels get wrong.

    oneDNN as PyTorch 2.13 has it, on processors with bf16 instructions: the gradient of a dilated convolution's weights
    is NaN, or the process dies, if it has more than 16 input channels and their number is no multiple of 16.

    Raises:
        RecipeError: the network has such a layer, and would be trained in bf16 on the CPU.
    """
    if accelerator.device.type != "cpu" or accelerator.mixed_precision != "bf16":
        return
    for name, layer in network.named_modules():
        dilated = isinstance(layer, nn.Conv2d) and max(layer.dilation) > 1
        if dilated and layer.in_channels > 16 and layer.in_channels % 16:
            raise RecipeError(
                f"{name}, a dilated convolution with {layer.in_channels} input channels, cannot be trained in bf16 on "
                "a CPU, whose kernels get its gradient wrong: choose widths in multiples of 16, or precision 'no'"
            )


def _spare_cores(accelerator) -> int:
    """Cores that a process can have make its samples: none where the cores train."""
    if accelerator.device.type == "cpu":
        return 0
    return max(1, (os.cpu_count() or 1) // accelerator.num_processes - 1)


def _as_it_is(batch: Pair) -> Pair:
    """The samples come as a batch already."""
    return batch


def _rounded(name: str, value: float) -> float:
    """A weight may be 1e-9 and matter, since its loss is as large."""
    if name.startswith("weight_"):
        return float(f"{value:.6g}")
    return round(value, 8) if isinstance(value, float) else value
