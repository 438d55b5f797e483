"""The list of planted faults fits this tree, and its script tells a fault that is seen from one that is not."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests import planted_faults
from tests.planted_faults import FAULTS, Fault, PlantError, planted

ROOT = Path(__file__).parents[1]
SUM = Fault("a sign", "tests/test_sum.py", "a + b", "a - b")


@pytest.fixture(scope="module")
def files() -> dict[Path, str]:
    return planted_faults.texts(ROOT)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_can_be_planted(fault, files):
    """Its text stands in one place, what it becomes is still Python or JSON, and there are tests to see it."""
    path, text = planted(fault, files)
    assert text != files[path]
    ast.parse(text) if path.suffix == ".py" else json.loads(text)
    assert planted_faults.named(fault.tests, ROOT)


def test_faults_are_in_all_parts_and_papers(files):
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) == 65
    touched = {path.parts[:2] for path in (planted(fault, files)[0] for fault in FAULTS)}
    folders = ("data", "models", "losses", "papers", "lab", "weights")
    assert {("derainlib", folder) for folder in folders} <= touched
    papers = {planted(fault, files)[0].stem for fault in FAULTS if "papers" in planted(fault, files)[0].parts}
    assert papers == {"qsnet", "phpnet", "dcdnet", "recurrent", "menet"}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"x.py": "a * b"}, "stands in: nowhere"),
        ({"x.py": "a + b, a + b"}, "2 x x.py"),
        ({"x.py": "a + b", "y.py": "a + b"}, "1 x x.py, 1 x y.py"),
        ({"x.py": "a + b", "y.py": "b + a"}, "1 x x.py, 1 x y.py"),
    ],
)
def test_a_text_that_does_not_stand_in_one_place_is_refused(contents, message):
    fault = replace(SUM, others=(("b + a", "b - a"),))
    with pytest.raises(PlantError, match=message):
        planted(fault, {Path(name): text for name, text in contents.items()})


def test_another_layout_and_whole_files():
    fault = replace(SUM, others=(("b + a", str.upper),))
    assert planted(fault, {Path("x.py"): "b + a  # sum"}) == (Path("x.py"), "B + A  # SUM")


def test_missing_tests_are_left_out_if_there_is_another(tree):
    assert planted_faults.named("tests/test_s*.py tests/test_none.py", tree) == ["tests/test_sum.py"]
    with pytest.raises(PlantError, match=r"no tests tests/test_none\.py"):
        planted_faults.named("tests/test_none.py", tree)


@pytest.fixture
def tree(tmp_path) -> Path:
    """A tree with a function that its test sees, and one that it does not."""
    for name, text in {
        "derainlib/sums.py": "def add(a, b):\n    return a + b\n\n\ndef double(a):\n    return 2 * a\n",
        "tests/test_sum.py": "from derainlib.sums import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def judged(tree, monkeypatch):
    """Judges faults by a pytest that only asks what 1 + 2 is, and whose exit status is 2 where it cannot ask."""

    def ask(tree, tests, *flags):
        known = {}
        try:
            exec((tree / "derainlib/sums.py").read_text(), known)
        except SyntaxError:
            return 2, "1 error"
        right = 4 if "tests/test_red.py" in tests[0] else 3
        return (0, "1 passed") if known["add"](1, 2) == right else (1, f"FAILED {tests[0]} - 1 failed")

    (tree / "tests/test_red.py").touch()
    monkeypatch.setattr(planted_faults, "run", ask)
    return lambda *faults: planted_faults.judge_all(faults, tree, jobs=2)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (SUM, "caught"),
        (Fault("a factor", "tests/test_sum.py", "2 * a", "3 * a"), "missed"),
        (Fault("no Python", "tests/test_sum.py", "def add(a", "def add(a,,"), "error: pytest ended with 2: 1 error"),
        (Fault("no text", "tests/test_sum.py", "a ** b", ""), "error: its text must stand in one place"),
        (Fault("no tests", "tests/test_none.py", "2 * a", "3 * a"), "error: there are no tests"),
        (Fault("red before", "tests/test_red.py", "2 * a", "3 * a"), "error: red without the fault"),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_caught_missed_and_what_is_neither(judged, fault, outcome):
    (result,) = judged(fault)
    assert result.outcome.startswith(outcome)


def test_one_fault_leaves_nothing_to_the_next(judged):
    names = ["one", "two", "three", "four"]
    assert [result.outcome for result in judged(*(replace(SUM, name=name) for name in names))] == ["caught"] * 4


def test_results_are_shown_and_kept(tree, monkeypatch, capsys):
    """By the real pytest, which must see the copy's code and not that of this tree."""
    monkeypatch.setattr(planted_faults, "FAULTS", (SUM,))
    file = tree / "found.json"
    file.write_text('{"before": {}}')
    assert planted_faults.main(["--tree", str(tree), "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert list(found) == ["before", "after"]
    assert found["after"]["caught"] == 1
    (result,) = found["after"]["faults"]
    assert (result["file"], result["by"]) == ("derainlib/sums.py", "tests/test_sum.py::test_add")
    assert "1 of 1 faults caught" in capsys.readouterr().out


def test_unknown_names(capsys):
    assert planted_faults.main(["--only", "no fault"]) == 2
    assert "no fault is called no fault; there are EXIF" in capsys.readouterr().err
