"""One panel for every training of the series: start, stop, seed, previews, curves over one another, weights that stay.

    recipes = {"SSIM": contest.entry("srn", contest.losses("ssim")), "MSE": contest.entry("srn", contest.losses("mse"))}
    Panel(lambda: recipes, panel.scenes(miniature.dry("street")), pair, steps=400, first=100)

It trains by `derainlib.training`, in a thread of its own, so that every control answers at once; each run has its
folder, in which it goes on after a stop, and which holds weights for `derainlib.load`. One panel trains at a time: one
that starts, or is made anew as its cell is run again, stops the other, whose weights stay. The first steps are done
before the cell ends, so that a page without a kernel shows a training, and a recipe that cannot start stops the cell.
"""

import atexit
import html
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import ipywidgets
import torch
from torch import Tensor, nn

from derainlib import metrics, training, workshop
from derainlib.data.synthetic import Sources
from derainlib.errors import DerainError, one_line
from derainlib.lab import figures, widgets
from derainlib.lab.curtain import LIVE
from derainlib.lab.greeting import WAITS, Greeting
from derainlib.layers import Pair
from derainlib.models import weights
from derainlib.recipe import Recipe

OVERLAID = 4
"""Runs that a panel shows over one another: the latest."""

_SECONDS = 2.0  # between two drawings while it trains
_TRAINS = threading.Lock()  # accelerate knows of one training in a process
_PANELS: "weakref.WeakSet[Panel]" = weakref.WeakSet()


class Course(NamedTuple):
    """How a training goes.

    Attributes:
        background: what the network makes of the scene, (1, 3, H, W).
        records: of each step, as metrics.jsonl has them; some with the scene's "psnr_rgb" in dB.
        weights: λ of each term by name.
    """

    background: Tensor
    records: Sequence[training.Record]
    weights: Mapping[str, float]


def scenes(images: Sequence[Tensor], note: str = "sample scenes in drawn rain") -> Sources:
    """What a panel's networks learn from: clean images, each (1, 3, H, W), on which the recipe's rain falls anew."""
    return Sources([image[0] for image in images], (), note)


def stop_all(but: "Panel | None" = None) -> None:
    """Stops whatever panel trains, and waits for the end of its step."""
    for panel in [*_PANELS]:
        if panel is not but:
            panel.stop(wait=True)


atexit.register(stop_all)


class Panel:
    """Trainings to start, to watch and to stop.

    Args:
        plan: called with the controls' values by name; gives the recipes to train one after the other, by title. What
            they say of steps, seed and when to score is the panel's.
        sources: what is learned from, see `scenes`.
        scene: one pair that nothing is learned from, on which the networks are scored and shown.
        steps: of each run, at first.
        first: so many of them, of each run, are done at once; more when the reader presses Start.
        seed: of the first weights and of the samples, at first.
        folder: where the runs go; a temporary one where left out, which stays until the system clears it.
        controls: further widgets by the name of `plan`'s argument.

    Raises:
        DerainError: the plan makes no recipe that can be trained.

    Attributes:
        controls: all of them by name: those of the plan, and "seed", "steps", "anew", "start", "stop".
        courses: the latest runs by label.
        folders: where each is.
        error: what ended the last training before its time; None if nothing did.
    """

    def __init__(
        self,
        plan: Callable[..., Mapping[str, Recipe]],
        sources: Sources,
        scene: Pair,
        *,
        steps: int = 400,
        first: int = 100,
        seed: int = 0,
        folder: str | Path | None = None,
        **controls: ipywidgets.Widget,
    ):
        stop_all()
        self._plan, self._sources, self._scene, self._of_plan = plan, sources, scene, dict(controls)
        self._out = Path(folder or tempfile.mkdtemp(prefix="derainlib-"))
        self._thread, self._halt, self._turn = None, threading.Event(), threading.Lock()
        self._drawn, self.error = -float("inf"), None
        self.courses: dict[str, Course] = {}
        self.folders: dict[str, Path] = {}
        self.controls = self._of_plan | _usual(steps, seed)
        for name, control in self._of_plan.items():
            widgets.dress(control, name)
        widgets.at_once(*self.controls.values())
        self._image = ipywidgets.Image(format="png", layout={"max_width": "100%", "align_self": "flex-start"})
        self._image.tooltip = "curves of the runs, and what their networks make of a scene"
        self._status, self._message, self._note = (ipywidgets.HTML() for _ in range(3))
        greeting = Greeting(self._say)
        widgets.at_once(greeting)
        self._box = ipywidgets.VBox([*self._rows(), self._note, self._status, self._message, self._image, greeting])
        self._box.add_class("demonstration")
        self._box.observe(lambda change: change["new"] is None and self.stop(), names="comm")  # the cell was closed
        self.controls["start"].on_click(lambda _: self.start())
        self.controls["stop"].on_click(lambda _: self.stop())
        _PANELS.add(self)
        self._begin(first)
        self.wait()
        if self.error:
            raise self.error

    def __repr__(self) -> str:
        return f"Panel({', '.join(self.courses)})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, object]:
        live = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        return {"text/plain": repr(self), LIVE: live} | figures.stored(bytes(self._image.value))

    @property
    def is_training(self) -> bool:
        """Whether a thread of this panel is at work."""
        return self._thread is not None and self._thread.is_alive()

    def _say(self) -> None:
        self._note.value = WAITS if widgets.waits() else ""

    def start(self) -> None:
        """Goes on with the runs that the controls ask for, or begins them; a mistake in them is told below."""
        self._say()
        if self.is_training and not self._halt.is_set():
            self._complain(DerainError("it trains already: stop it first"))
            return
        try:
            self._begin()
        except DerainError as error:
            self._complain(error)

    def stop(self, wait: bool = False) -> None:
        """Ends the training after its step; the weights stay, and Start goes on.

        Args:
            wait: come back when it has ended.
        """
        self._halt.set()
        if self.is_training and not wait:
            self._status.value = _status("stops after this step …")
        if wait:
            self.wait()

    def wait(self) -> None:
        """Comes back when nothing trains any more; an interrupted kernel stops it."""
        try:
            while self.is_training and self._thread is not threading.current_thread():
                self._thread.join(0.1)
        except KeyboardInterrupt:
            self.stop(wait=True)

    # ---- the training

    def _begin(self, first: int | None = None) -> None:
        """Starts the thread, with the recipes as the controls have them now.

        Args:
            first: stop each run after so many steps.
        """
        values = {name: control.value for name, control in self._of_plan.items()}
        steps, seed = (self.controls[name].value for name in ("steps", "seed"))
        often = {"validate_every": max(1, steps // 20), "checkpoint_every": max(1, steps)}
        recipes = {
            f"{title}, seed {seed}": recipe.replace(steps=steps, seed=seed, minutes=0.0, **often).checked()
            for title, recipe in self._plan(**values).items()
        }
        with self._turn:
            stop_all()
            self.error, self._message.value = None, ""
            self._halt.clear()
            given = recipes, first, self.controls["anew"].value
            self._thread = threading.Thread(target=self._work, args=given, daemon=True, name="derainlib panel")
            self._thread.start()

    def _work(self, recipes: Mapping[str, Recipe], first: int | None, anew: bool) -> None:
        """What the thread does: run after run, until one is stopped or fails."""
        try:
            with _TRAINS, workshop.one_thread():
                for label, recipe in recipes.items():
                    if not self._halt.is_set():
                        self._train(label, recipe, first, anew)
        except Exception as error:  # of whatever kind: a thread's would be lost
            self.error = error
            self._complain(error)
        self._draw()

    def _train(self, label: str, recipe: Recipe, first: int | None, anew: bool) -> None:
        folder = self._out / workshop.identity(recipe, self._sources.note)
        if anew:
            shutil.rmtree(folder, ignore_errors=True)
        self.courses.pop(label, None)
        self.folders[label] = folder
        done = training.train(
            recipe, self._sources, folder, validation=[self._scene], workers=0, stop_after=first,
            until=lambda run: self._watch(label, run),
        )  # fmt: skip
        if label not in self.courses:  # finished before
            network = weights.load(done.last)
            seen = cleaned(network, self._scene.rainy)
            self._keep(label, Course(seen, done.history, recipe.build_loss(network).weights))
        whole = "finished" if done.steps >= recipe.steps else "Start goes on"
        self._status.value = _status(f"{label}: {done.steps} of {recipe.steps} steps, {whole}; weights: {done.last}")

    def _watch(self, label: str, run: training.Run) -> bool:
        """Takes a step: a preview where it was scored, a drawing now and then; whether to stop."""
        history, halts = run.folder.history, self._halt.is_set()
        if halts or "psnr_rgb" in history[-1] or label not in self.courses:
            seen = cleaned(run.result(), self._scene.rainy)
        else:
            seen = self.courses[label].background
        self._keep(label, Course(seen, [*history], run.loss.weights))
        if time.monotonic() - self._drawn > _SECONDS:
            self._draw()
            step, score = history[-1]["step"], _latest(history)
            self._status.value = _status(f"{label}: {step} of {run.recipe.steps} steps{score}")
        return halts

    def _keep(self, label: str, course: Course) -> None:
        self.courses[label] = course
        for old in [*self.courses][:-OVERLAID]:
            del self.courses[old]

    # ---- what is seen

    def _draw(self) -> None:
        self._image.value = figures.png(draw(dict(self.courses), self._scene))
        self._drawn = time.monotonic()

    def _complain(self, error: Exception) -> None:
        kind = "" if isinstance(error, DerainError) else f"{type(error).__name__}: "
        self._message.value = f'<b role="alert">{html.escape(kind + one_line(error))}</b>'

    def _rows(self) -> list[ipywidgets.Box]:
        usual = [control for name, control in self.controls.items() if name not in self._of_plan]
        flow = {"flex_flow": "row wrap"}
        return [ipywidgets.Box(row, layout=flow) for row in ([*self._of_plan.values()], usual) if row]


def _usual(steps: int, seed: int) -> dict[str, ipywidgets.Widget]:
    """The controls that every panel has."""
    whole = {"style": {"description_width": "initial"}}
    narrow, wide = {"layout": {"width": "160px"}}, {"layout": {"width": "auto"}}
    return {
        "seed": ipywidgets.BoundedIntText(seed, min=0, max=2**31 - 1, description="seed", **whole, **narrow),
        "steps": ipywidgets.BoundedIntText(steps, min=1, max=100_000, description="steps", **whole, **narrow),
        "anew": ipywidgets.Checkbox(False, description="begin anew", indent=False, **wide),
        "start": ipywidgets.Button(description="Start", icon="play", tooltip="start, or go on", **wide),
        "stop": ipywidgets.Button(description="Stop", icon="stop", tooltip="stop, and keep the weights", **wide),
    }


def _status(text: str) -> str:
    return f'<span role="status">{html.escape(text)}</span>'


def _latest(history: Sequence[training.Record]) -> str:
    """The last score of a run, for its line."""
    return next((f", {record['psnr_rgb']:.1f} dB" for record in reversed(history) if "psnr_rgb" in record), "")


# --- pictures -----------------------------------------------------------------------------------------------------


def cleaned(network: nn.Module, rainy: Tensor) -> Tensor:
    """The background as a network in use gives it, on the CPU; the network goes on as it was."""
    modes = {layer: layer.training for layer in network.modules()}
    with torch.inference_mode():
        background = network.eval()(rainy.to(next(network.parameters()).device)).background
    for layer, mode in modes.items():
        layer.training = mode
    return background.cpu().clone()


def shares(course: Course) -> dict[str, list[float]]:
    """Each term's part of the weighted sum w λ |L|, by its name, of every step."""
    parts = {
        name: [record.get(f"weight_{name}", 1.0) * abs(weight * record[f"loss_{name}"]) for record in course.records]
        for name, weight in course.weights.items()
    }
    totals = [sum(at) for at in zip(*parts.values(), strict=True)]
    return {
        name: [part / max(total, 1e-30) for part, total in zip(row, totals, strict=True)] for name, row in parts.items()
    }


def draw(courses: Mapping[str, Course], scene: Pair) -> figures.Picture:
    """Runs over one another: the scene's PSNR over the steps, what each term's part of the loss is, and the scene.

    Args:
        courses: by label.
        scene: the pair that they are scored on.
    """
    figure = figures.Picture(figsize=(9, 4.8), summary=f"PSNR and pictures of {', '.join(courses)}")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3, 2))
    sums = any(len(course.weights) > 1 for course in courses.values())
    left, *right = top.subplots(1, 1 + sums, squeeze=False)[0]
    for (label, course), ink, dashes in zip(courses.items(), cycle(figures.PALETTE[3:]), cycle(("-", "--", "-.", ":"))):
        scored = [record for record in course.records if "psnr_rgb" in record]
        steps = [record["step"] for record in scored]
        left.plot(steps, [r["psnr_rgb"] for r in scored], dashes, marker=".", color=ink, label=label)
        for ax in right:
            _draw_shares(ax, label, course, dashes)
    rainy = metrics.psnr(scene.rainy, scene.clean, "rgb").item()
    left.axhline(rainy, color=figures.COLOURS["rainy"], lw=1, alpha=0.6, label="rainy")
    left.set(xlabel="step", ylabel="PSNR (dB)", title="a scene that none has learned from")
    for ax in (left, *right):
        ax.legend(fontsize=8)
    shown = {"rainy": scene.rainy} | {label: one.background for label, one in courses.items()} | {"truth": scene.clean}
    for ax, (title, image) in zip(bottom.subplots(1, len(shown)), shown.items(), strict=True):
        figures.place(ax, image, title)
    return figure


def _draw_shares(ax, label: str, course: Course, dashes: str) -> None:
    for (name, values), ink in zip(shares(course).items(), cycle(figures.PALETTE)):
        ax.plot([record["step"] for record in course.records], values, dashes, color=ink, label=f"{label}: {name}")
    ax.set(xlabel="step", ylabel="share of the weighted sum", title="who is heard", ylim=(-0.03, 1.03))
