"""The campaign in short: a case or more of each class, drawn, and what it is made of: can it see a fault?"""

import itertools
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_output

if not hasattr(os, "pidfd_open"):
    pytest.skip("the campaign forks, limits and listens to processes as Linux has them", allow_module_level=True)

from tests.campaign import child, kernel, notebooks, report
from tests.campaign.child import Limits, Outcome
from tests.campaign.report import Finding

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_part_of_the_campaign(tmp_path):
    """In a process of its own, which has never had another thread. A case is seen again by `--only 'class: case'`."""
    command = [sys.executable, "-m", "tests.campaign", "--share", "0.01", "--keep", tmp_path / "found"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    rows = json.loads((tmp_path / "found").read_text())["classes"]
    assert [fault for row in rows.values() for fault in row["faults"]] == []
    assert done.returncode == 0, done.stderr[-3000:]
    assert rows.keys() == json.loads(report.RESULTS.read_text())["classes"].keys()


def test_the_page_has_the_last_results():
    results = json.loads(report.RESULTS.read_text())
    assert report.page(report.PAGE.read_text(), results) == report.PAGE.read_text()
    assert sum(row["cases"] for kind, row in results["classes"].items() if ": killed" not in kind) >= 500


# --- what the campaign sees -----------------------------------------------------------------------------------------


def says(text: str, status: int) -> int:
    sys.stderr.write(text)
    return status


MISDEEDS = {
    "computes for ever": (lambda: all(itertools.count(1)), "hangs: 1 s of the processor"),
    "waits for ever": (lambda: time.sleep(1000), "hangs"),
    "grows": (lambda: len(bytes(400 << 20)), "traceback: MemoryError"),
    "is large": (lambda: len(b"x" * (290 << 20)) * 0, "MB of memory"),
    "raises": (lambda: [][0], "traceback: IndexError: list index out of range"),
    "dies": (child.die, "dies by SIGKILL"),
    "runs a program": (lambda: os.system("true"), "runs os.system (b'true',)"),
    "calls somebody up": (lambda: socket.create_connection(("127.0.0.1", 9)), "runs socket.connect"),
    "writes elsewhere": (lambda: open("../elsewhere", "w").close(), "/elsewhere"),
    "removes elsewhere": (lambda: os.remove("../elsewhere"), "/elsewhere"),
    "says two lines": (lambda: says("derain: two\nlines\n", 2), "not one line"),
    "says control characters": (lambda: says("derain: \x1b[2J\n", 2), "not one line"),
    "says nothing": (lambda: says("", 2), "not one line"),
    "ends with another status": (lambda: says("", 5), "status 5, not 0 or 1 or 2"),
    "shows a traceback": (lambda: says("Traceback (most recent call last):\n", 0), "a traceback is shown"),
    "refuses": (lambda: says("derain: rain.png: no image\n", 2), ""),
    "works": (lambda: Path("result").write_text("rain") * 0, ""),
}
"""What a call may do, and what the campaign says of it; nothing of the last two."""


def misdeeds(folder: Path) -> dict[str, list[str]]:
    """What it says of each; for a process of one thread."""
    limits = Limits(seconds=1, megabytes=300)
    calls = {name: call for name, (call, _) in MISDEEDS.items()}
    return {name: list(child.forked(call, limits=limits, folder=folder).faults(limits)) for name, call in calls.items()}


LOOK = """
import json, sys
from pathlib import Path
from tests.test_campaign import misdeeds

print(json.dumps(misdeeds(Path(sys.argv[1]))))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("misdeeds") / "own"
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", LOOK, folder], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", MISDEEDS)
def test_misdeeds_are_seen(seen, name):
    words = MISDEEDS[name][1]
    assert any(words in fault for fault in seen[name]) if words else seen[name] == []


# --- what it sees of notebooks ---------------------------------------------------------------------------------------

INSIDE = """
import socket, sys
from pathlib import Path
from tests.campaign import kernel

kernel.begin(Path(sys.argv[1]))
for act in (
    lambda: socket.create_connection(("192.0.2.1", 9)),
    lambda: socket.getaddrinfo("example.org", 80),
    lambda: open("closed", "w"),
    lambda: open("../elsewhere", "w"),
):
    try:
        act()
    except OSError as error:
        print(error.strerror)
print(kernel.seen())
"""


def test_kernel_is_offline_and_bound_by_permissions(tmp_path):
    folder, environment = tmp_path / "own", os.environ | {"PYTHONPATH": str(ROOT)}
    folder.mkdir()
    (folder / "closed").touch(mode=0o444)
    command = [sys.executable, "-c", INSIDE, folder]
    done = subprocess.run(
        command, cwd=folder, env=environment, preexec_fn=kernel.bound, capture_output=True, text=True, check=True
    )
    *said, seen = done.stdout.splitlines()
    assert said == ["Network is unreachable"] * 2 + ["Permission denied"]
    deeds = " ".join(json.loads(seen)["deeds"])
    assert all(word in deeds for word in ("192.0.2.1", "calls up example.org", f"changes {tmp_path}/elsewhere"))


def test_each_condition_has_three_notebooks_or_more():
    runs = list(notebooks.planned())
    for conditions in ([run[2] for run in runs], [run[3] for run in runs]):
        assert min(map(conditions.count, conditions)) >= 3
    assert {run[2].name for run in runs} == {place.name for place in notebooks.PLACES}
    assert {run[3] for run in runs} == notebooks.ORDERS.keys()


def test_other_words_of_a_cell_are_seen():
    def cell(*told: str):
        return new_code_cell("rain", outputs=[new_output("stream", text=text) for text in told])

    assert list(notebooks.differing([cell("wet"), cell()], [cell("w", "et"), cell("new")])) == []
    assert list(notebooks.differing([cell("wet")], [cell("dry")])) == ["cell 0, 'rain', gives ['dry']"]
    shown = new_code_cell("demo", outputs=[new_output("execute_result", data={"text/plain": "Demo(seed: 0 … 9)"})])
    again = notebooks.demonstrations_again([cell("wet"), shown], random.Random(0))
    assert [one.source for one in again] == ["rain", "demo", "demo"]


def test_findings_are_counted_by_class(monkeypatch):
    monkeypatch.setattr(report, "AWAITED", {"b.png: hangs": "patience"})
    found = [
        Finding.of("images", "a.png", Outcome(2, processor=1.25, megabytes=99.6), []),
        Finding.of("images", "b.png", Outcome(), ["hangs"]),
        Finding.of("images", "c.png", Outcome(0), ["hangs", "dies"]),
        Finding.of("names", "d.png", Outcome(1), []),
    ]
    rows = report.figures(found)
    assert rows["images"] == {
        "cases": 3, "became": {"done": 1, "failed": 1, "refused": 1}, "seconds": 1.2, "megabytes": 100,
        "faults": ["images: c.png: hangs; dies"], "awaited": ["images: b.png: hangs"],
    }  # fmt: skip
    table = report.table({"classes": rows}).splitlines()
    assert table[2] == "| images | 3 | 1 done, 1 failed, 1 refused | 1 | 1 | 1.2 | 100 |"
    assert table[-1] == "| **together** | 4 | | 1 | 1 | | |"
    old = f"before {report.MARKS[0]} old {report.MARKS[1]} after"
    assert report.page(old, {"classes": rows}).endswith(f"| | |\n{report.MARKS[1]} after")
