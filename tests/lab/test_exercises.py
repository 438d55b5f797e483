"""Exercises take right answers, however written, and refuse wrong ones in words: mechanism and notebooks."""

import importlib
import pkgutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from derainlib.lab import exercises
from derainlib.lab.exercises import Exercise
from tests.lab import ways, ways_of_losses, ways_of_networks


def of_the_notebooks() -> dict[str, Exercise]:
    modules = [module.name for module in pkgutil.iter_modules(exercises.__path__)]
    found = {}
    for module in modules:
        content = vars(importlib.import_module(f"{exercises.__name__}.{module}"))
        found |= {f"{module}.{name}": value for name, value in content.items() if isinstance(value, Exercise)}
    return found


ALL = of_the_notebooks()

"""Modules whose exercises do not yet have a sentence for five slips and three other ways to be right. No new one."""

WAYS = ways.WAYS | ways_of_losses.WAYS | ways_of_networks.WAYS


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
        "another shape": lambda *arguments: torch.stack([torch.as_tensor(right(*arguments))] * 2),
        "a little off": lambda *arguments: torch.as_tensor(right(*arguments)) * 1.05 + 1e-3,
        "an exception": lambda *arguments: 1 / 0,
    }


@pytest.mark.parametrize("exercise", ALL.values(), ids=ALL)
class TestOfNotebooks:
    def test_right_answer_is_taken(self, exercise):
        assert exercise.verdict(exercise.answer) == ""

    def test_wrong_answers_are_refused(self, exercise):
        wrong = dict(enumerate(exercise.wrong)) | dict(exercise.slips) | spoiled(exercise)
        taken = [name for name, answer in wrong.items() if not exercise.verdict(answer)]
        assert taken == []
        assert len(exercise.wrong) + len(exercise.slips) >= 1

    def test_slips_are_told_what_they_are(self, exercise):
        told = {sentence: exercise.verdict(answer) for sentence, answer in exercise.slips.items()}
        assert [sentence for sentence, verdict in told.items() if not verdict.endswith(f" {sentence}")] == []

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


@pytest.mark.parametrize("name", ALL)
class TestOfEachKind:
    """What a new exercise must have: `slips` beside it, and its other ways in `ways*.py` or in a test of its own."""

    def test_five_slips_have_a_sentence_and_a_right_answer_has_its_why(self, name):
        assert len(ALL[name].slips) >= 5
        assert ALL[name].why

    def test_three_other_ways_are_taken(self, name):
        module, own = name.split(".")
        ways = WAYS.get(name) or importlib.import_module(f"tests.lab.test_{module}_exercises").RIGHT[own]
        assert len(ways) >= 3
        assert [ALL[name].verdict(way) for way in ways] == [""] * len(ways)


def pushed(result: object, place: float, by: float) -> object:
    """`result` with one of its numbers moved by so many times the largest (a truth is turned round)."""
    values = torch.as_tensor(result).detach().clone()
    flat = values.reshape(-1)
    where = int(place * len(flat))
    moved = (
        ~flat[where]
        if flat.dtype == torch.bool
        else flat[where].double() + by * flat.double().abs().max().clamp(min=1e-3)
    )
    changed = flat.clone() if flat.dtype == torch.bool else flat.double()
    changed[where] = moved
    return changed.reshape(values.shape)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(place=st.floats(0, 0.999), size=st.floats(2, 1e6), sign=st.sampled_from((-1, 1)), case=st.integers(0, 20))
def test_near_miss_is_refused_wherever_it_lies(name, place, size, sign, case):
    """One number of one hidden case, off by at least twice the tolerance, in any place and direction."""
    exercise = ALL[name]
    by = sign * min(size * exercise.tolerance, 1.0)
    if not callable(exercise.answer):
        if not isinstance(exercise.answer, str | bool):
            assert exercise.verdict(pushed(exercise.answer, place, by))
        return
    bad = exercise.cases[case % len(exercise.cases)]

    def nearly(*arguments):
        result = exercise.answer(*arguments)
        same = all(map(exercises._same, arguments, bad))
        return pushed(result, place, by) if same else result

    assert exercise.verdict(nearly)


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


@pytest.mark.parametrize(("right", "slip"), [(_double, lambda x: x**2), (2.5, 3.5)], ids=["function", "value"])
def test_known_slip_gets_its_sentence_and_no_other_answer_does(right, slip):
    cases = [(torch.tensor([3.0]),), (torch.tensor([4.0]),), (torch.tensor([2.5]),)]
    exercise = Exercise("?", right, ("!",), cases, slips={"That is another sum.": slip})
    assert exercise.verdict(slip).endswith(" That is another sum.")
    for other in (lambda x: x**2 / x.abs().clamp(min=3), lambda x: x[3]) if callable(right) else (4.5, [1, 2]):
        assert exercise.verdict(other)
        assert "sum" not in exercise.verdict(other)


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
        (2.5, [2.5, torch.tensor(2.5), np.float32(2.5), 2.5001, [2.5]], [2.51, "2.5", True, float("inf"), [2.5, 2.5]]),
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


def test_check_says_why_and_shows_the_picture_of_a_right_answer_alone(double, capsys):
    double.picture = lambda answer: answer(21)
    assert [double.check(answer) for answer in (_double, ..., lambda x: x)] == [42, None, None]
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "Correct. Twice is enough."
    assert not any("enough" in line for line in rest)


def test_pictures_of_right_answers_can_be_drawn():
    for exercise in ALL.values():
        if exercise.picture:
            assert exercise.check(exercise.answer).axes
