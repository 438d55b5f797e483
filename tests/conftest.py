"""Fixtures that every part of the tests shares; what a run leaves out and why; where its time goes."""

import importlib.util
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent

LONGEST = 12
"""Groups of tests whose CPU time is told one by one; the others are summed up."""

SLOW = (
    "as_a_process",
    "average_is_the_one_by_hand",
    "forms_agree",
    "killed_and",
    "live_session",
    "machine_that_gets_quicker",
    "minutes_are_added",
    "processes_weigh",
    "qsnet_tables",
    "sixth_network",
    "training_speed",
    "trains_prints_and_goes_on",
    "TestTrainWeights",
    "two_processes",
)
"""Parts of the names of tests that take seconds each: whole trainings, processes that are killed, kernels."""

BEGUN, DESELECTED = pytest.StashKey[float](), pytest.StashKey[int]()


def pytest_addoption(parser):
    group = parser.getgroup("derainlib")
    group.addoption("--quick", action="store_true", help="leave out notebooks, research data and what is slow")
    group.addoption("--browser", action="store_true", help="what looks through a browser, too: make ci does")
    group.addoption("--all-notebooks", action="store_true", help="every notebook by papermill, too, not only its turn")


def pytest_collection_modifyitems(config, items):
    """What is left out is skipped rather than deselected, so that the end of the run says what it did not look at."""
    looking = [item for item in items if item.path.is_relative_to(HERE / "browser")]
    if looking and (reason := why_no_browser(config)):
        for item in looking:
            item.add_marker(pytest.mark.skip(reason))
    if config.option.quick:
        for item in items:
            if reason := why_not_quick(item):
                item.add_marker(pytest.mark.skip(f"not in a quick run: {reason}"))


def why_no_browser(config: pytest.Config) -> str:
    """What keeps tests through a browser out of this run; nothing, if they belong there."""
    if not config.option.browser:
        return "through a browser: make ci"
    spec = importlib.util.spec_from_file_location("browser", HERE.parent / "benchmarks/browser.py")
    browser = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(browser)
    return browser.missing()


def why_not_quick(item: pytest.Item) -> str:
    """What keeps a test out of a quick run; nothing, if it belongs there."""
    if item.path.is_relative_to(HERE / "notebooks"):
        return "about notebooks"
    if "derain_data" in item.fixturenames:
        return "needs research data"
    return "slow" if item.get_closest_marker("slow") or any(part in item.nodeid for part in SLOW) else ""


def pytest_runtest_setup(item):
    item.stash[BEGUN] = cpu_seconds()


@pytest.fixture(autouse=True)
def threads_stay():
    """A test that leaves PyTorch another number of threads changes the sums, bit by bit, of those that come after."""
    before = torch.get_num_threads()
    yield
    found = torch.get_num_threads()
    torch.set_num_threads(before)
    assert found == before, f"PyTorch is left with {found} threads, not the {before} of before"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Every test reports its CPU time, with that of the processes that it started and waited for."""
    report = yield
    if call.when == "teardown" and BEGUN in item.stash:
        report.user_properties.append(("cpu", cpu_seconds() - item.stash[BEGUN]))
    return report


def pytest_deselected(items):
    """Counts what -k and -m leave out: a process of several, which all leave out the same, has to tell it."""
    config = items[0].config
    config.stash[DESELECTED] = config.stash.get(DESELECTED, 0) + len(items)
    if hasattr(config, "workeroutput"):
        config.workeroutput["deselected"] = config.stash[DESELECTED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    node.config.stash[DESELECTED] = getattr(node, "workeroutput", {}).get("deselected", 0)


def pytest_terminal_summary(terminalreporter, config):
    """What was left out, by reason, and where the CPU time went: a table of a few lines each."""
    reports = [one for some in terminalreporter.stats.values() for one in some if isinstance(one, pytest.TestReport)]
    skipped = left_out(terminalreporter.stats.get("skipped", ()), config.stash.get(DESELECTED, 0))
    table(terminalreporter, "left out", skipped, "tests")
    table(terminalreporter, "CPU time", times(reports), "s")


def left_out(skipped: Iterable, deselected: int) -> Counter:
    """How many tests did not run, by reason."""
    places = (report.longrepr for report in skipped)
    counts = Counter(where[2].removeprefix("Skipped: ") for where in places if isinstance(where, tuple))
    if deselected:
        counts["not chosen by -k or -m"] = deselected
    return counts


def times(reports: list[pytest.TestReport]) -> Counter:
    """CPU seconds by group of tests: a file, or a folder where it has several files about one thing."""
    counts = Counter()
    for report in reports:
        file = Path(report.nodeid.split("::")[0])
        group = file.stem if file.parent.name in ("tests", "notebooks") else file.parent.name
        counts[group] += sum(value for name, value in report.user_properties if name == "cpu")
    largest = Counter(dict(counts.most_common(LONGEST)))
    largest["everything else"] = counts.total() - largest.total()
    largest["together"] = counts.total()
    return largest


def table(terminalreporter, title: str, counts: Counter, unit: str):
    if counts.total() >= 1:
        terminalreporter.section(title)
        for what, count in counts.items():
            terminalreporter.line(f"{count:7.0f} {unit:6} {what}")


def cpu_seconds() -> float:
    """What this process used, and those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.fixture(scope="session")
def derain_data() -> Path:
    """The folder of research data, named by the environment variable DERAIN_DATA; tests skip without it."""
    folder = os.environ.get("DERAIN_DATA")
    if not folder:
        pytest.skip("set DERAIN_DATA to the folder that holds bsds500/, rain800/, rain100l/ … to run this test")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"DERAIN_DATA={folder} is not a folder")
    return path


@pytest.fixture
def generator() -> torch.Generator:
    """A local, seeded source of random numbers."""
    return torch.Generator().manual_seed(0)
