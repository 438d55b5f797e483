"""Exercises that check an answer, give hints one at a time, and show a solution.

A notebook's exercises live in the module of the notebook's name (`rain_model.py` for `01_rain_model.ipynb`),
so the notebook itself stays short:

    from derainlib.lab.exercises import rain_model as exercises

    # below a Markdown cell with <!-- exercise screen_blend --><!-- /exercise screen_blend -->, which `publish` fills
    # with the question, so that it can be read where no kernel runs
    def screen(background, rain): ...
    exercises.screen_blend.check(screen)
    # exercises.screen_blend.hint()
    # exercises.screen_blend.solution()

Each exercise names wrong answers as well as the right one, most of them with what to tell whoever gives them; the tests
see that the former are refused with that sentence and the latter taken, however it was written.
"""

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass
class Exercise:
    """A question, and how its answer is judged.

    Attributes:
        text: the question, in Markdown.
        answer: the right value (a number, string, bool, tensor or array), or a function that computes it.
        hints: from a nudge to nearly the answer.
        cases: where `answer` is a function: the arguments, a tuple each, with which an answer must agree with
            it. They are not shown to the reader. At least three, with different results, so that no constant
            passes.
        wrong: answers that a reader may well give and that must be refused; each a value or a function like
            `answer`.
        slips: more of them, by the sentence that whoever answers so should read.
        why: what the answer is good for, in Markdown; it is told once the answer is right.
        picture: where the answer changes a picture: a function of the right answer that returns what to show.
        tolerance: the largest difference that counts as equal, relative to the largest magnitude in the right
            result.
    """

    text: str
    answer: object
    hints: Sequence[str]
    cases: Sequence[tuple] = ()
    wrong: Sequence[object] = ()
    slips: Mapping[str, object] = field(default_factory=dict)
    why: str = ""
    picture: Callable[[object], object] | None = None
    tolerance: float = 1e-4
    _given: int = field(default=0, init=False, repr=False)

    @property
    def markdown(self) -> str:
        """The question, in Markdown."""
        return textwrap.dedent(self.text).strip()

    def question(self):
        """The question, as a notebook shows it."""
        from IPython.display import Markdown

        return Markdown(self.markdown)

    def check(self, answer: object) -> object:
        """Print whether `answer` is right, and if not what is wrong with it; return its picture if it has one."""
        if trouble := self.verdict(answer):
            print(trouble)
            return None
        print(f"Correct. {self.why}".strip())
        return self.picture(answer) if self.picture else None

    def hint(self) -> None:
        """Print the next hint; after the last one it starts again."""
        number = self._given % len(self.hints)
        self._given += 1
        print(f"Hint {number + 1} of {len(self.hints)}: {self.hints[number]}")

    def solution(self) -> None:
        """Print the answer: the source of a function, else the value; then why."""
        code = inspect.getsource(self.answer) if callable(self.answer) else str(self.answer)
        print(textwrap.dedent(code).strip())
        if self.why:
            print(f"\n{self.why}")

    def verdict(self, answer: object) -> str:
        """What is wrong with `answer`, in one line; empty if it is right."""
        trouble = self._judged(answer)
        known = (said for said, wrong in self.slips.items() if trouble and self._agrees(answer, wrong))
        return f"{trouble} {next(known, '')}".strip()

    def _agrees(self, answer: object, wrong: object) -> bool:
        """Whether `answer` is this slip: it would be right if the slip were."""
        return not dataclasses.replace(self, answer=wrong)._judged(answer)

    def _judged(self, answer: object) -> str:
        if answer is None or answer is ...:
            return "Not answered yet: put your answer in place of the dots."
        if not callable(self.answer):
            return self._compare(answer, self.answer)
        if not callable(answer):
            return f"Not a function: define one and hand over its name, not a {type(answer).__name__}."
        for number, case in enumerate(self.cases, 1):
            where = f"test {number} of {len(self.cases)}"
            given = tuple(map(_copy, case))
            try:
                result = answer(*given)
            except Exception as error:  # whatever the reader's function raises is a finding, not a failure of ours
                return f"Not yet ({where}): your function raised {type(error).__name__}: {error}"
            if result is None or result is ...:
                return "Not answered yet: the function returns nothing."
            if not all(_same(argument, original) for argument, original in zip(given, case, strict=True)):
                return f"Not yet ({where}): your function changes its arguments; work on a copy."
            if trouble := self._compare(result, self.answer(*map(_copy, case))):
                return f"Not yet ({where}): {trouble}"
        return ""

    def _compare(self, given: object, right: object) -> str:
        if isinstance(right, str | bool):
            same = isinstance(given, type(right)) and _plain(given) == _plain(right)
            return "" if same else f"{given!r} is not the answer."
        try:
            mine, theirs = _array(right), _array(given)
        except (TypeError, ValueError):
            return f"{type(given).__name__} is no number: give one, or a tensor."
        if mine.size == theirs.size == 1:  # a score of a batch of one is a number
            theirs = theirs.reshape(mine.shape)
        if mine.shape != theirs.shape:
            return f"the shape is {theirs.shape}, it should be {mine.shape}."
        if not np.isfinite(theirs).all():
            return "there are values that are not finite."
        worst = float(np.abs(mine - theirs).max(initial=0.0))
        if worst > self.tolerance * max(float(np.abs(mine).max(initial=0.0)), 1e-12):
            return f"it is off by {worst:.3g}."
        return ""


def _array(value: object) -> np.ndarray:
    if isinstance(value, str | bool | Callable):
        raise TypeError
    if isinstance(value, Tensor):
        value = value.detach().cpu()
    return np.asarray(value, dtype=np.float64)


def _plain(value: object) -> object:
    return " ".join(value.lower().split()) if isinstance(value, str) else value


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value.copy() if isinstance(value, np.ndarray) else value


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
