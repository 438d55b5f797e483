"""benchmarks/situations.md is whole, and every test that it names exists."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from derainlib import images
from derainlib.errors import ImageError

ROOT = Path(__file__).parents[1]
VERDICTS = ("pass", "documented", "open")
"""What may be said of a situation, by its first word."""


class Situation(NamedTuple):
    """A line of the table."""

    number: int
    what: str
    now: str
    tests: list[str]


def situations() -> list[Situation]:
    rows = re.findall(r"^\| (\d+) \| (.*) \| (.*) \| (.*) \|$", (ROOT / "benchmarks/situations.md").read_text(), re.M)
    return [Situation(int(number), what, now, re.findall(r"`([^`]+)`", tests)) for number, what, now, tests in rows]


def named_in(path: str) -> set[str]:
    """A file's tests as pytest calls them."""
    found, body = set(), ast.parse((ROOT / path).read_text()).body
    for node in body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {f"{path}::{prefix}{one.name}" for one in inside if isinstance(one, ast.FunctionDef)}
    return found


def test_all_are_there_once_and_say_how_they_stand():
    rows = situations()
    assert [row.number for row in rows] == list(range(1, 56))
    for row in rows:
        verdict, *reason = row.now.split(":")
        assert verdict in VERDICTS, row
        assert reason or verdict == "pass", f"{row.number} says no reason"


@pytest.mark.parametrize("situation", situations(), ids=lambda situation: str(situation.number))
def test_its_tests_exist(situation):
    assert situation.tests
    for test in situation.tests:
        assert test.partition("::")[2].rpartition("::")[2].startswith("test_")
        assert test in named_in(test.partition("::")[0])


def test_a_name_that_is_wrong_would_show():
    assert "tests/test_situations.py::test_its_tests_exist" in named_in("tests/test_situations.py")
    assert "tests/test_situations.py::test_nothing" not in named_in("tests/test_situations.py")


def test_arrays_are_said_to_be_rgb():
    words = " ".join(images.to_tensor.__doc__.split())
    assert "in the order RGB (OpenCV's are BGR: give `image[..., ::-1]`" in words


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypisom", b"\x1aE\xdf\xa3"], ids=["mp4", "mkv"])
def test_a_video_is_told_what_to_do(start, tmp_path):
    (tmp_path / "film.png").write_bytes(start + bytes(100))
    with pytest.raises(ImageError, match=r"a video.*ffmpeg"):
        images.read(tmp_path / "film.png")
