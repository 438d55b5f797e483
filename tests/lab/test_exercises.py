"""Exercises take right answers and refuse wrong ones: the mechanism, and every notebook's."""

import importlib
import pkgutil

import numpy as np
import pytest
import torch

from derainlib.lab import exercises
from derainlib.lab.exercises import Exercise


def of_the_notebooks() -> dict[str, Exercise]:
    modules = [module.name for module in pkgutil.iter_modules(exercises.__path__)]
    found = {}
    for module in modules:
        content = vars(importlib.import_module(f"{exercises.__name__}.{module}"))
        found |= {f"{module}.{name}": value for name, value in content.items() if isinstance(value, Exercise)}
    return found


ALL = of_the_notebooks()


def results(exercise: Exercise) -> list[torch.Tensor]:
    return [torch.as_tensor(exercise.answer(*case)) for case in exercise.cases]


def spoiled(exercise: Exercise) -> dict[str, object]:
    """Answers that are wrong for any exercise."""
    if not callable(exercise.answer):
        other = not exercise.answer if isinstance(exercise.answer, bool) else float("nan")
        return {
            "none": None,
            "dots": ...,
            "other": other,
            "a list": [[1, 2], [3, 4]],
            "a function": lambda: 0,
        }
    right, (first, *_) = exercise.answer, results(exercise)
    return {
        "none": None,
        "a value": first,
        "nothing": lambda *_: None,
        "the first result always": lambda *_: first,
        "zero": lambda *arguments: 0 * torch.as_tensor(right(*arguments)),
        "not finite": lambda *arguments: torch.as_tensor(right(*arguments)) * float("nan"),
        "another shape": lambda *arguments: torch.as_tensor(right(*arguments))[None],
        "a little off": lambda *arguments: torch.as_tensor(right(*arguments)) * 1.05 + 1e-3,
        "an exception": lambda *arguments: 1 / 0,
    }


@pytest.mark.parametrize("exercise", ALL.values(), ids=ALL)
class TestOfNotebooks:
    def test_right_answer_is_taken(self, exercise):
        assert exercise.verdict(exercise.answer) == ""

    def test_wrong_answers_are_refused(self, exercise):
        wrong = dict(enumerate(exercise.wrong)) | exercise.mistakes | spoiled(exercise)
        taken = [name for name, answer in wrong.items() if not exercise.verdict(answer)]
        assert taken == []
        assert len(exercise.wrong) + len(exercise.mistakes) >= 1

    def test_mistake_is_told_by_its_sentence(self, exercise):
        for sentence, answer in exercise.mistakes.items():
            assert exercise.verdict(answer).endswith(f" {sentence}")

    def test_says_and_helps(self, exercise, capsys):
        assert exercise.question().data
        assert len(exercise.hints) >= 1
        exercise.solution()
        assert capsys.readouterr().out.strip()

    def test_no_constant_can_pass(self, exercise):
        if callable(exercise.answer):
            assert len(exercise.cases) >= 3
            different = {tuple(result.double().flatten().tolist()) for result in results(exercise)}
            assert len(different) >= 2


def _double(x):
    return 2 * x


@pytest.fixture
def double() -> Exercise:
    cases = [(torch.arange(3.0),), (torch.ones(2, 2),), (torch.tensor(-1.5),)]
    return Exercise("Double `x`.", _double, ("Add it to itself.", "`2 * x`"), cases, why="Twice is enough.")


def test_function_is_judged_by_all_cases(double):
    assert double.verdict(lambda x: x + x) == ""
    assert "it is off by" in double.verdict(lambda x: x**2)
    assert "test 1 of 3" in double.verdict(torch.zeros_like)


@pytest.mark.parametrize("kind", ["function", "value"])
def test_spoiled_answers_are_refused(double, kind):
    exercise = double if kind == "function" else Exercise("?", 2.5, ("3 − ½",))
    assert [name for name, answer in spoiled(exercise).items() if not exercise.verdict(answer)] == []


def test_changed_argument_is_refused_and_the_next_check_is_unharmed(double):
    assert "changes its arguments" in double.verdict(lambda x: x.mul_(2))
    assert double.verdict(_double) == ""


def test_unanswered_is_told_from_wrong(double):
    for answer in (None, ..., lambda x: ..., lambda x: None):
        assert double.verdict(answer).startswith("Not answered yet")


@pytest.mark.parametrize(
    ("right", "taken", "refused"),
    [
        (2.5, [2.5, torch.tensor(2.5), np.float32(2.5), 2.5001], [2.51, "2.5", True, float("inf"), [2.5]]),
        (True, [True], [False, 1, "True"]),
        ("valid", ["valid", " Valid "], ["same", 1]),
        (
            torch.ones(2, 3),
            [np.ones((2, 3)), [[1, 1, 1], [1, 1, 1]]],
            [1, torch.ones(3, 2), torch.zeros(2, 3)],
        ),
    ],
    ids=["number", "bool", "word", "tensor"],
)
def test_values_are_compared_by_kind(right, taken, refused):
    exercise = Exercise("?", right, ("!",))
    assert [exercise.verdict(answer) for answer in taken] == [""] * len(taken)
    assert all(exercise.verdict(answer) for answer in refused)


def test_hints_come_in_order_and_again(double, capsys):
    for _ in range(3):
        double.hint()
    hints = ["Hint 1 of 2: Add it to itself.", "Hint 2 of 2: `2 * x`", "Hint 1 of 2: Add it to itself."]
    assert capsys.readouterr().out.splitlines() == hints


def test_solution_is_the_source_that_was_checked(double, capsys):
    double.solution()
    assert capsys.readouterr().out == "def _double(x):\n    return 2 * x\n\nTwice is enough.\n"


def test_check_prints_the_verdict(double, capsys):
    double.check(_double)
    double.check(...)
    assert capsys.readouterr().out.splitlines()[0] == "Correct."
