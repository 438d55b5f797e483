"""The training loop: one readable loop for every network and every loss, on one device or many.

Accelerate puts it on the devices there are (`accelerate launch` for several GPUs or machines) and holds the mixed
precision; the loop itself stays visible here. A run leaves a folder:

    recipe.json             what was trained
    start.sha256            where it started from weights, their checksum: it goes on only beside the same ones
    metrics.jsonl           a JSON object a step: epoch, lr, loss, each term (loss_<term>), its weight where a balance
                            moves it (weight_<term>), samples_per_second; with fp16 the scale of the gradients (it
                            halves where a step is skipped, since they were not finite); psnr_rgb, ssim_y when
                            validated (segmenters: miou, accuracy)
    plan.jsonl              where it is for `minutes`: how many steps were planned, and when (`derainlib.pace`)
    checkpoints/step-N/     everything needed to go on; the newest two are kept
    last.safetensors/.json  the final weights, with their card: what the training is for
    best.safetensors/.json  the weights with the best validation PSNR (segmenters: mIoU), to look into

No score chooses what it then judges: the final weights are shipped, and `Job` validates on photographs that it holds
back from the training. With a recipe's `ema`, validation and both files have the average of the weights in their place.

A checkpoint is written to a temporary folder, synced and renamed, so a run killed at any moment goes on from a whole
one. It then ends with the same weights as an uninterrupted run, since every draw depends on (seed, epoch, index) alone.
"""

import dataclasses
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from derainlib import files, memory, metrics, recipes
from derainlib.data import scenes
from derainlib.data import validation as judging
from derainlib.data.synthetic import Samples, Schedule, Sources, gather
from derainlib.errors import DataError, RecipeError
from derainlib.layers import Layers, Pair
from derainlib.models import weights
from derainlib.pace import Pace
from derainlib.recipe import Recipe, check_type

KEPT_CHECKPOINTS = 2
LOG_SECONDS = 1.0
"""Progress is shown at most this often; metrics.jsonl has every step."""
AUTOMATIC = -1
"""Workers: as many as there are cores to spare."""
FOREVER = 2**31
"""More steps than any training does."""
SMALLEST_SCALE = 2.0**-24
"""The scale of fp16's gradients at which a training gives up: forty steps in a row were skipped to come here."""

Record = dict[str, float]
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


class Plateau:
    """The schedule "plateau": the learning rate drops when the training loss stops improving.

    PyTorch's ReduceLROnPlateau on the mean loss of windows of steps, since a single step's loss is mostly noise. The
    loss is the one that all processes share, so that they drop together; the state is part of every checkpoint.

    Args:
        optimizer: whose learning rate it lowers.
        recipe: gives window, patience, gamma and min_lr.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe):
        self.window, self.losses = recipe.window, []
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=recipe.gamma,
            patience=recipe.patience - 1,  # torch counts the windows that are forgiven
            threshold=0.0,  # any improvement counts; torch's relative one would misread losses below zero
            threshold_mode="abs",
            min_lr=recipe.min_lr,
            eps=0.0,
        )

    def observe(self, loss: float):
        """Takes the loss of one step, and lowers the learning rate where a window ends on a plateau."""
        self.losses.append(loss)
        if len(self.losses) == self.window:
            self.scheduler.step(sum(self.losses) / self.window)
            self.losses = []

    def state_dict(self) -> dict:
        """What a checkpoint keeps; the learning rate itself is in the optimiser's state."""
        return {"losses": self.losses, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict):
        """Goes on from a checkpoint."""
        self.losses = state["losses"]
        self.scheduler.load_state_dict(state["scheduler"])


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of a network that holds the moving average of its weights: average ← d · average + (1 − d) · weights.

    The first update copies the weights, so the random start has no part in it. After n updates d is the smaller of
    `decay` and (1 + n) / (10 + n): until the average spans as many steps as it may, it spans about a ninth of those
    done, and so forgets the first of them. Buffers with fractions (the statistics of normalisations) are averaged too;
    counts are copied.

    Args:
        network: what `update_parameters` will be called with after each step.
        decay: d in the long run; 1 / (1 − d) steps are then averaged.
    """

    def update(average: list[Tensor], current: list[Tensor], count: Tensor):
        if average[0].is_floating_point():
            done = int(count)
            get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))(average, current, count)
        else:
            for copy, original in zip(average, current, strict=True):
                copy.copy_(original)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


class _Progress:
    """What a checkpoint holds beside weights and optimiser: it follows accelerate's state_dict protocol."""

    def __init__(self):
        self.step, self.seconds, self.best = 0, 0.0, float("-inf")

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict):
        vars(self).update(state)


class _Learned:
    """The parameters that a loss learns with the network (uncertainty weights), as a part of every checkpoint."""

    def __init__(self, loss: torch.nn.Module):
        self.parameters = {name: p for name, p in loss.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict:
        return {name: parameter.detach().cpu() for name, parameter in self.parameters.items()}

    def load_state_dict(self, state: dict):
        with torch.no_grad():
            for name, value in state.items():
                self.parameters[name].copy_(value)


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
        clock: tells the time in seconds.

    Returns:
        Where everything is, and the history.

    Raises:
        RecipeError: `out` holds another recipe's run, or loss or gradients became infinite or NaN for good.
        DataError: the data do not fit.
    """
    if recipe.criterion == "miou" and len(validation) and validation[0].labels is None:
        raise DataError(f"recipe {recipe.name} is judged by mIoU: give it validation pairs with labels")
    run = _Run(recipe, sources, Path(out), workers, compiled, clock)
    run.start()
    if recipe.minutes:
        run.time_validation(validation)
    last = min(stop_after or FOREVER, FOREVER if recipe.minutes else recipe.steps)
    with _bar(None if last == FOREVER else last, run.progress.step, progress and run.main) as bar:
        for record in run.steps(last):
            step = int(record["step"])
            if step % recipe.validate_every == 0 or run.is_over():
                record |= run.validate(validation)
            if run.main:
                run.log(record)
                bar(record)
                for observer in observers:
                    observer(record)
            if step % recipe.checkpoint_every == 0 or step == last or run.is_over():
                run.checkpoint()
    return run.finish()


def samples_of(recipe: Recipe, sources: Sources) -> Samples:
    """The samples that a recipe is trained on.

    Raises:
        DataError: the data do not fit, or the recipe's seed is the hold-out's.
    """
    return Samples(
        sources.clean, sources.pairs, patch=recipe.patch, style=recipe.rain, paired=recipe.paired, seed=recipe.seed,
        layers=sources.layers, turned=recipe.turned, dry=recipe.dry,
    )  # fmt: skip


class _Run:
    """One training: the objects that the loop needs, and the folder it writes."""

    def __init__(
        self,
        recipe: Recipe,
        sources: Sources,
        folder: Path,
        workers: int,
        compiled: bool,
        clock: Callable[[], float],
    ):
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        self.recipe, self.sources, self.folder = recipe, sources, folder
        self.clock, self.began, self.validating = clock, clock(), 0.0
        self.samples = samples_of(recipe, sources)
        memory.keep_freed()
        AcceleratorState._reset_state()  # or a second run in one process could not choose another precision
        self.accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),  # named, so that several processes also find each other on CPUs
            mixed_precision=recipe.precision,
            gradient_accumulation_steps=recipe.accumulate,
        )
        _scale_on_the_cpu(self.accelerator)
        self.workers = _spare_cores(self.accelerator) if workers == AUTOMATIC else workers
        self.main = self.accelerator.is_main_process
        self.start_sha256 = weights.header(recipe.start)["sha256"] if recipe.start else ""
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            network = recipe.build_model()
        network.to(self.accelerator.device, memory_format=torch.channels_last)
        self.average = averaged(network, recipe.ema) if recipe.ema else None  # before accelerate wraps its `forward`
        if compiled:  # the function, not the module: so names stay, and accelerate's wrapping goes around it
            network.forward = torch.compile(network.forward)
        self.loss = recipe.build_loss(network).to(self.accelerator.device)
        learned = _Learned(self.loss)
        trained = [*network.parameters(), *learned.parameters.values()]
        fused = recipe.precision != "fp16"  # a fused step is not skipped by the scaler, as accelerate expects it
        adam = torch.optim.Adam(trained, recipe.lr, fused=fused)
        self.network, self.optimizer = self.accelerator.prepare(network, adam)
        self.progress = _Progress()
        self.accelerator.register_for_checkpointing(self.progress)
        self.plateau = Plateau(self.optimizer, recipe) if recipe.schedule == "plateau" else None
        if self.plateau:
            self.accelerator.register_for_checkpointing(self.plateau)
        if learned.parameters:
            self.accelerator.register_for_checkpointing(learned)
        if self.average:
            self.accelerator.register_for_checkpointing(self.average)
        self.pace: Pace | None = None
        self.history: list[Record] = []

    # ---- starting and going on

    def start(self):
        """Makes the folder, or reads the newest whole checkpoint in it."""
        self._claim_folder()
        whole = _checkpoints(self.folder)
        if whole:
            self.accelerator.load_state(str(whole[-1]))
        self._cut_history()
        if self.recipe.minutes:
            self.pace = Pace(60 * self.recipe.minutes, self.folder / "plan.jsonl", writes=self.main)
        self.began -= self.progress.seconds

    def _claim_folder(self):
        path = self.folder / "recipe.json"
        if path.exists():
            found = Recipe.from_json(path)
            # How a path to the start is written says nothing: the weights' checksum, below, decides.
            if found.replace(start=self.recipe.start if found.start else "") != self.recipe:
                raise RecipeError(
                    f"{self.folder} holds a run of another recipe ({found.name}); choose another folder or delete it"
                )
        started = self.folder / "start.sha256"
        if started.exists() and started.read_text().strip() != self.start_sha256:
            raise RecipeError(
                f"{self.recipe.start} holds other weights than those that the run in {self.folder} started from; "
                "bring them back, or choose another folder"
            )
        self.accelerator.wait_for_everyone()
        if self.main:
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            for left in (self.folder / "checkpoints").glob(".*"):
                shutil.rmtree(left)
            files.write_atomically(path, self.recipe.to_json().encode())
            if self.recipe.start:
                files.write_atomically(started, f"{self.start_sha256}\n".encode())
        self.accelerator.wait_for_everyone()

    def _cut_history(self):
        """Keeps the records up to the checkpoint: a killed run may have logged steps after it."""
        path = self.folder / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
            self.history = [r for r in map(json.loads, lines) if r["step"] <= self.progress.step]
        if self.main:
            files.write_atomically(path, "".join(json.dumps(r) + "\n" for r in self.history).encode())
        self.accelerator.wait_for_everyone()

    # ---- the loop

    def is_over(self) -> bool:
        """Whether all steps are done."""
        done = self.progress.step
        return self.pace.is_over(done) if self.pace else done >= self.recipe.steps

    def steps(self, last: int) -> Iterable[Record]:
        """Does the steps up to `last`, or until it is over, one record each."""
        if self.is_over():
            return
        done, process = self.progress.step, self.accelerator
        schedule = Schedule(
            len(self.samples), batch=self.recipe.batch, first=done, last=last, seed=self.recipe.seed,
            rank=process.process_index, world=process.num_processes, accumulate=self.recipe.accumulate,
        )  # fmt: skip
        loader = DataLoader(
            self.samples,
            batch_sampler=schedule,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            pin_memory=process.device.type == "cuda",
        )
        self.network.train()
        began, portions = self.clock(), []
        for pair in loader:
            portions.append(self._portion(pair.to(process.device)))
            if not process.sync_gradients:
                continue
            self.progress.step += 1
            if self.average and not self.optimizer.step_was_skipped:
                self.average.update_parameters(self._plain())
            record = {
                "step": self.progress.step,
                "epoch": self.progress.step * self.recipe.batch / len(self.samples),
            }
            record |= {"lr": self.optimizer.param_groups[0]["lr"]}
            record |= {name: sum(p[name] for p in portions) / len(portions) for name in portions[0]}
            if self.plateau:
                self.plateau.observe(record["loss"])
            if process.scaler:
                record["scale"] = self._scale()
            record["samples_per_second"] = self.recipe.batch / (self.clock() - began)
            if self.pace:
                self.pace.observe(self.progress.step, *self._time())
            yield {name: _rounded(name, value) for name, value in record.items()}
            if self.is_over():
                return
            began, portions = self.clock(), []

    def _portion(self, pair: Pair) -> Record:
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
        if not all(map(_is_finite, values)):
            raise self._diverged(f"the loss is {values[0]}")
        names = ["loss", *(f"loss_{name}" for name in terms), *(f"weight_{name}" for name in latest)]
        return dict(zip(names, values, strict=True))

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

    # ---- what is written

    def validate(self, validation: Sequence[Pair]) -> Record:
        """Scores on the validation pairs; keeps the weights if none before were better by the recipe's criterion."""
        if not len(validation):
            return {}
        began = self.clock()
        scores = self._score(validation)
        self.validating = self.clock() - began
        if scores[self.recipe.criterion] > self.progress.best:
            self.progress.best = scores[self.recipe.criterion]
            self._save_weights("best", {f"validation_{name}": score for name, score in scores.items()})
        return {name: round(score, 4 if name == "psnr_rgb" else 5) for name, score in scores.items()}

    def time_validation(self, validation: Sequence[Pair]):
        """Guesses from one pair how long a validation takes."""
        if len(validation):
            began = self.clock()
            self._score([validation[0]])
            self.validating = (self.clock() - began) * math.ceil(len(validation) / self.accelerator.num_processes)

    def _score(self, validation: Sequence[Pair]) -> Record:
        """The scores of the recipe's criterion, the same in every process."""
        return {"psnr_rgb": self._beauty, "miou": self._reading}[self.recipe.criterion](validation)

    def _beauty(self, validation: Sequence[Pair]) -> Record:
        """Mean PSNR and SSIM of the backgrounds."""
        scores = []
        for pair, layers in self._estimates(validation):
            estimate = layers.background
            named = (metrics.psnr(estimate, pair.clean, "rgb"), metrics.ssim(estimate, pair.clean, "y"))
            scores.append(torch.stack([score.mean().float() for score in named]))
        totals = torch.stack(scores).sum(0) if scores else torch.zeros(2, device=self.accelerator.device)
        psnr, ssim = (self.accelerator.reduce(totals, "sum") / len(validation)).tolist()
        return {"psnr_rgb": psnr, "ssim_y": ssim}

    def _reading(self, validation: Sequence[Pair]) -> Record:
        """mIoU and pixel accuracy of the classes, over the pixels of all pairs together."""
        from accelerate.utils import gather_object

        counts = []
        for pair, layers in self._estimates(validation):
            logits = layers.extras["logits"]
            confusion = metrics.Confusion(logits.shape[1])
            confusion.update(logits.argmax(1), pair.labels)
            counts.append(confusion.counts)
        counts = torch.stack(gather_object(counts))  # a process may have had no pair
        confusion = metrics.Confusion(counts.shape[-1])
        confusion.counts = counts.sum(0)
        return {"miou": confusion.miou, "accuracy": confusion.accuracy}

    def _estimates(self, validation: Sequence[Pair]) -> Iterable[tuple[Pair, Layers]]:
        """This process's share of the pairs, and what the network makes of them."""
        network = self._result().eval()
        for i in range(self.accelerator.process_index, len(validation), self.accelerator.num_processes):
            pair = validation[i].to(self.accelerator.device)
            with torch.inference_mode(), torch.compiler.set_stance("force_eager"):  # or each size would be compiled
                layers = network(pair.rainy)
            yield pair, layers
        network.train()

    def checkpoint(self):
        """Writes checkpoints/step-N whole or not at all, then drops the oldest.

        A finite loss can have a gradient that is not, so what would be kept is looked at before.
        """
        trained = (parameter for group in self.optimizer.param_groups for parameter in group["params"])
        if not all(parameter.isfinite().all() for parameter in trained):
            raise self._diverged("the weights are infinite or NaN")
        name = f"step-{self.progress.step:08d}"
        temporary, final = (self.folder / "checkpoints" / prefix for prefix in (f".{name}", name))
        self.progress.seconds = self.clock() - self.began
        self.accelerator.save_state(str(temporary))
        self.accelerator.wait_for_everyone()
        if self.main:
            for path in temporary.iterdir():
                files.sync(path)
            files.sync(temporary)
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
            files.sync(final.parent)
            for old in _checkpoints(self.folder)[:-KEPT_CHECKPOINTS]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def log(self, record: Record):
        """Adds a line to metrics.jsonl."""
        self.history.append(record)
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def finish(self) -> Result:
        """Writes the final weights, and says where everything is."""
        named = ("psnr_rgb", "ssim_y", "miou", "accuracy")
        latest = self.history[-1] if self.history else {}
        self._save_weights("last", {f"validation_{name}": latest[name] for name in named if name in latest})
        best = self.folder / "best.safetensors"
        last = self.folder / "last.safetensors"
        seconds = self.clock() - self.began
        return Result(self.folder, self.progress.step, seconds, last, best if best.exists() else last, self.history)

    def _save_weights(self, name: str, scores: Record):
        if not self.main:
            return
        card = {
            "recipe": json.loads(self.recipe.to_json()),
            "data": self.sources.note,
            **({"start_sha256": self.start_sha256} if self.recipe.start else {}),
            "steps": self.progress.step,
            "megapixels": round(self.progress.step * self.recipe.batch * self.recipe.patch**2 / 1e6, 1),
            "hardware": _hardware(self.accelerator),
            "wall_seconds": round(self.clock() - self.began),
            **scores,
        }
        weights.save(self._result(), self.folder / f"{name}.safetensors", card)

    def _plain(self) -> nn.Module:
        """The network that is trained, without what spreads it over processes."""
        return self.accelerator.unwrap_model(self.network)

    def _result(self) -> nn.Module:
        """The network that the training is for: the average, where there is one."""
        return self.average.module if self.average else self._plain()


def _scale_on_the_cpu(accelerator):
    """Half precision on the CPU as on a GPU: accelerate would train in float32 there, without a word."""
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu")


def _spare_cores(accelerator) -> int:
    """Cores that a process can have make its samples: none where the cores train."""
    if accelerator.device.type == "cpu":
        return 0
    return max(1, (os.cpu_count() or 1) // accelerator.num_processes - 1)


def _checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints, oldest first."""
    return sorted((folder / "checkpoints").glob("step-*"))


def _as_it_is(batch: Pair) -> Pair:
    """The samples come as a batch already."""
    return batch


def _rounded(name: str, value: float) -> float:
    """A weight may be 1e-9 and matter, since its loss is as large."""
    if name.startswith("weight_"):
        return float(f"{value:.6g}")
    return round(value, 8) if isinstance(value, float) else value


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")


def _hardware(accelerator) -> str:
    if accelerator.device.type == "cuda":
        return f"{accelerator.num_processes} x {torch.cuda.get_device_name()}"
    return f"{accelerator.num_processes} x CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


class _bar:
    """A progress bar that shows the loss and the last validation score; nothing when it is off."""

    def __init__(self, total: int | None, done: int, show: bool):
        from tqdm import tqdm

        self.bar = tqdm(total=total, initial=done, unit="step", disable=not show, mininterval=LOG_SECONDS)

    def __enter__(self) -> Callable[[Record], None]:
        return self.update

    def update(self, record: Record):
        self.bar.set_postfix({k: f"{v:.4f}" for k, v in record.items() if k in ("loss", "psnr_rgb")}, refresh=False)
        self.bar.update()

    def __exit__(self, *_):
        self.bar.close()


@dataclass(frozen=True)
class Job:
    """A training asked for by names: what the command line and the notebook hand over, checked before any work."""

    recipe: str
    """Name of the recipe, see `derainlib.recipes.list_recipes`."""
    out_dir: str
    """The run's folder."""
    scale: str = "quick"
    """"full", "quick" or "tiny"."""
    start: str = ""
    """Weights to start from, a shipped name or a .safetensors file; empty for the recipe's."""
    vgg: str = ""
    """File of VGG weights for the recipe's perceptual terms; empty for what the recipe says."""
    data_dir: str = ""
    """Folder of rainy/clean pairs."""
    data_list: str = ""
    """Text file that names the pairs to use."""
    clean_dir: str = ""
    """Folder of clean photographs, for rain made on the fly."""
    clean_list: str = ""
    """Text file that names the photographs to use."""
    scenes_dir: str = ""
    """Folder of labelled streets, in the layout of CamVid or Cityscapes, for rain made on the fly."""
    streaks_dir: str = ""
    """Folder of rain layers, streaks on black, for rain that is laid on from files."""
    streaks_list: str = ""
    """Text file that names the layers to use."""
    steps: int = 0
    """Optimiser steps; 0 leaves the recipe's."""
    minutes: float = 0.0
    """Time for the training in the place of steps; 0 leaves the recipe's steps."""
    changes: dict = field(default_factory=dict)
    """Other fields of the recipe to change, by name."""
    workers: int = AUTOMATIC
    """Processes that make samples; −1 takes the cores that there are to spare, where a GPU trains."""
    compiled: bool = False
    """Whether torch.compile makes the network quicker; worth its minute at the start on a GPU."""

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            check_type(spec.name, getattr(self, spec.name), spec.type)
        if self.workers < AUTOMATIC:
            raise RecipeError(f"workers is {self.workers}; give a number of processes, or {AUTOMATIC} to leave it open")

    @classmethod
    def of(cls, parameters: dict) -> "Job":
        """A job from parameters by name.

        Raises:
            RecipeError: an unknown, missing or mistyped parameter.
        """
        known = [spec.name for spec in dataclasses.fields(cls)]
        unknown = [name for name in parameters if name not in known]
        if unknown:
            raise RecipeError(f"no parameter is called {', '.join(unknown)}; there are {', '.join(known)}")
        missing = [name for name in ("recipe", "out_dir") if not parameters.get(name)]
        if missing:
            raise RecipeError(f"parameter {' and '.join(missing)} must be given")
        return cls(**parameters)

    def plan(self) -> tuple[Recipe, Sources]:
        """The recipe and the data, both checked."""
        if self.minutes and (self.steps or "steps" in self.changes):
            raise RecipeError("a training has steps or minutes: give one of them")
        if "minutes" in self.changes:
            raise RecipeError(
                "minutes are given by themselves (--minutes), so that a finished training gets a new phase"
            )
        given = {name: getattr(self, name) for name in ("steps", "minutes", "start")}
        changes = self.changes | {name: value for name, value in given.items() if value}
        recipe = recipes.get(self.recipe, self.scale, **changes)
        if self.vgg:
            recipe = recipe.judged_by(self.vgg)
        return recipe, self.sources(recipe.rain)

    def sources(self, rain: str) -> Sources:
        """What to train on, in this rain.

        Raises:
            DataError: folders or lists that do not fit.
        """
        try:
            return gather(
                self.clean_dir, self.clean_list, pairs_dir=self.data_dir, pairs_list=self.data_list, rain_style=rain,
                scenes_dir=self.scenes_dir, streaks_dir=self.streaks_dir, streaks_list=self.streaks_list,
            )  # fmt: skip
        except DataError as error:
            no_pairs = self.data_dir and not self.data_list and str(error).startswith(str(Path(self.data_dir)))
            if no_pairs and not self.clean_dir and Path(self.data_dir).is_dir():
                raise DataError(f"{error}; clean photographs alone are given as clean_dir (--clean-dir)") from None
            raise

    def run(self, observers: Iterable[Observer] = (), progress: bool = False) -> Result:
        """Trains, validating on what is held back of the data (`derainlib.data.validation`); segmenters on streets.

        Where too little was given to hold any back, drawn streets judge. The streets of segmenters are those of the
        folder's split "val", or drawn ones where it has none, in the rain of the training.

        A training for minutes whose folder holds a finished training goes on from its weights, with other draws, in
        the sub-folder phase-2; the next one in phase-3, from those of phase-2.
        """
        return self.phase()._run(observers, progress)

    def phase(self) -> "Job":
        """This job, or the phase of it that is to be done now."""
        folder, start, number = Path(self.out_dir), self.start, 1
        while self.minutes and (folder / "last.json").exists():  # the card is written after the weights
            number += 1
            folder, start = Path(self.out_dir) / f"phase-{number}", str(folder / "last.safetensors")
        if number == 1:
            return self
        seed = recipes.get(self.recipe, self.scale, **self.changes).seed + number - 1
        return dataclasses.replace(self, out_dir=str(folder), start=start, changes=self.changes | {"seed": seed})

    def _run(self, observers: Iterable[Observer], progress: bool) -> Result:
        recipe, sources = self.plan()
        sources, judged = self._hold_back(recipe, sources)
        return train(
            recipe, sources, self.out_dir, validation=judged, workers=self.workers, compiled=self.compiled,
            observers=observers, progress=progress,
        )  # fmt: skip

    def _hold_back(self, recipe: Recipe, sources: Sources) -> tuple[Sources, Sequence[Pair]]:
        """What is left to train on, and what judges."""
        if not recipe.validation:
            return sources, ()
        if recipe.criterion == "miou":
            return sources, self._streets(recipe)
        if self.clean_dir or self.data_dir or self.scenes_dir:
            left, held = judging.hold_back(sources, recipe.validation)
            if len(held):
                return left, held
        return sources, judging.streets(recipe.validation)

    def _streets(self, recipe: Recipe) -> Sequence[Pair]:
        if self.scenes_dir and "val" in scenes.splits(self.scenes_dir):
            streets = scenes.read(self.scenes_dir, "val", scenes.CAMVID)
        else:
            streets = scenes.drawn(range(judging.STREETS, judging.STREETS + recipe.validation))
        apart = max(1, len(streets) // recipe.validation)  # neighbours in a video look alike
        return scenes.RainyScenes(streets[::apart][: recipe.validation], recipe.rain)
