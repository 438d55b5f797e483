"""A training planned for the time there is: how many steps fit into it, and how far along its schedule each one is.

The first steps, after those that warm up, tell how long a step takes; from this the number of steps is planned, and
planned again where more of the time is gone. A schedule is written over its progress from 0 to 1. A plan made at step s
with N steps in all takes the progress of that moment and lets what is left of it grow evenly up to step N: the rest of
the schedule is stretched or shrunk, and the learning rate does not jump. Up to the first plan the progress is 0.

Every plan is a line of `plan.jsonl`. A run that is killed and goes on replays them, whatever its clock says, and only
then plans anew; so it ends with the same weights as a run with the same plans that was not killed.
"""

import json
from pathlib import Path

from derainlib import files

WARM_UP = 3
"""Steps of a process that say nothing: memory is found, kernels are chosen, networks compiled."""
FIRST_SECONDS, FIRST_SHARE = 20.0, 0.03
"""How long the steps before the first plan are timed: in seconds, and as a share of all time; the smaller counts."""
CORRECTIONS = (0.1, 0.3, 0.6, 0.85, 0.95)
"""Shares of the time, or of the steps planned, whichever is reached first, after which it is planned anew: on a machine
that gets quicker a training would else be done early, at a learning rate that has fallen too soon."""


class Pace:
    """The plans of one run.

    Args:
        seconds: the time for everything, what is done after the last step included.
        path: the file of the plans; those in it are replayed.
        writes: whether to write it; of several processes, which plan alike, only one does.
    """

    def __init__(self, seconds: float, path: Path, writes: bool = True):
        self.seconds, self.path, self.writes = seconds, path, writes
        lines = path.read_text().splitlines() if path.exists() else []
        self.plans = [json.loads(line) for line in lines]
        self._seen, self._since, self._previous = 0, None, None

    def progress(self, step: int) -> float:
        """How far along the schedule step `step` is, counted from 0."""
        plan = self._plan(step)
        if plan is None or plan["steps"] <= plan["step"]:
            return plan["progress"] if plan else 0.0
        return plan["progress"] + (1 - plan["progress"]) * (step - plan["step"]) / (plan["steps"] - plan["step"])

    def is_over(self, step: int) -> bool:
        """Whether `step` steps are all that were planned."""
        plan = self._plan(step)
        return plan is not None and step >= plan["steps"]

    def observe(self, step: int, elapsed: float, ending: float):
        """Takes the time after a step, and plans where it is time to.

        Args:
            step: steps done.
            elapsed: seconds of the run so far, those before it was killed included.
            ending: seconds that what follows the last step will take.
        """
        self._seen += 1
        took = 0.0 if self._previous is None else elapsed - self._previous
        self._previous = elapsed
        if self._since is None or (self.plans and step <= self.plans[-1]["step"]):
            if self._seen >= WARM_UP:
                self._since = step, elapsed
        else:
            took = (elapsed - self._since[1]) / (step - self._since[0])
            if self._is_due(step, elapsed):
                self._add(step, elapsed, took, step + max(0, int((self.seconds - ending - elapsed) / took)))
                self._since = step, elapsed
        replayed = bool(self.plans) and step < self.plans[-1]["step"]
        if not replayed and not self.is_over(step) and elapsed + took + ending > self.seconds:
            self._add(step, elapsed, took, step)

    def _plan(self, step: int) -> dict | None:
        """The plan that holds at a step."""
        return next((plan for plan in reversed(self.plans) if plan["step"] <= step), None)

    def _is_due(self, step: int, elapsed: float) -> bool:
        if not self.plans:
            return elapsed - self._since[1] >= min(FIRST_SECONDS, FIRST_SHARE * self.seconds)
        latest = self.plans[-1]
        planned = max(1, latest["steps"] - latest["step"])
        gone = latest["elapsed"] / self.seconds
        # What the plan says is gone by now: its own moment, and what of the rest its steps have used up.
        supposed = gone + (1 - gone) * (step - latest["step"]) / planned
        return any(gone < share <= max(elapsed / self.seconds, supposed) for share in CORRECTIONS)

    def _add(self, step: int, elapsed: float, took: float, steps: int):
        progress = self.progress(step)
        self.plans.append(
            {"step": step, "elapsed": elapsed, "seconds_per_step": took, "progress": progress, "steps": steps}
        )
        if self.writes:
            files.write_atomically(self.path, "".join(json.dumps(plan) + "\n" for plan in self.plans).encode())
