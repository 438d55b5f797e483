"""The files around the library agree with each other: pins, ranges, commands, licence."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import conftest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    """From each name in requirements.txt to its version."""
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_ranges_and_pins_name_the_same_packages(project, pins):
    # What HEIC, videos and Voilà take, no test needs; tests through a browser follow the browser of the system.
    left_out = ("heif", "video", "voila", "browser")
    extras = [group for name, group in project["optional-dependencies"].items() if name not in left_out]
    ranges = [Requirement(text) for group in (project["dependencies"], *extras) for text in group]
    assert sorted(canonicalize_name(one.name) for one in ranges) == sorted(pins)
    for one in ranges:
        assert pins[canonicalize_name(one.name)] in one.specifier, one


def test_pins_are_what_the_tests_run_with(pins):
    from importlib.metadata import version

    installed = {name: version(name).split("+")[0] for name in pins}
    assert installed == pins


def test_conda_takes_the_pins(project):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    # The build of torch for CPUs, as `make setup TORCH_INDEX=…` takes it.
    (index,) = re.findall("make setup TORCH_INDEX=(https.*)", (ROOT / "README.md").read_text())
    assert pip == {"pip": [f"--extra-index-url {index}", "-r requirements.txt", "--editable ."]}
    # Only Python and pip come from conda: a version stands in one list, requirements.txt.
    python, installer = conda
    assert installer == "pip"
    assert python.replace("python=", "") in Requirement(f"python{project['requires-python']}").specifier


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_ci_runs_the_commands_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    commands = {line.split()[1] for line in readme.splitlines() if line.startswith("make ")}
    assert {"lab", "quick", "test"} <= commands <= targets()
    assert "make test" in readme[:1500]
    (run,) = steps("test", "test")
    assert run.startswith("make ci ")
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "exec make ci"
    assert "ci: test" in (ROOT / "Makefile").read_text()


def steps(workflow: str, job: str) -> list[str]:
    """The commands of a job of a hosted workflow."""
    jobs = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text())["jobs"]
    return [step["run"] for step in jobs[job]["steps"] if "run" in step]


def test_hosted_jobs_run_what_the_readme_tells():
    """On a machine without make what its first screen has for PowerShell, then `make quick` in plain commands."""
    readme = (ROOT / "README.md").read_text()[:2500]
    (windows,) = re.findall(r"```powershell\n(.*?)```", readme, re.DOTALL)
    create, install, quick = steps("test", "elsewhere")
    assert create.removeprefix("python") == windows.splitlines()[0].removeprefix("py")
    assert install.removeprefix("${{ matrix.python }}") == windows.splitlines()[1].removeprefix(r".venv\Scripts\python")
    assert "pytest --quick" in quick
    assert "$(PYTEST) --quick" in (ROOT / "Makefile").read_text()
    assert "00_start_here.ipynb" in steps("weekly", "environment")[0]
    assert steps("weekly", "notebooks")[0].startswith("make notebooks-all ")


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    # The tests themselves run under make, which otherwise announces each folder it enters.
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
class TestMake:
    def test_help_lists_every_target(self):
        shown = make().stdout
        assert {line.split()[1] for line in shown.splitlines()} == targets()

    def test_old_python_gets_one_clear_line(self, tmp_path):
        shutil.copy(ROOT / "Makefile", tmp_path)
        (tmp_path / "requirements.txt").touch()
        (tmp_path / "pyproject.toml").touch()
        old = tmp_path / "python2"
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
        done = make(f"PYTHON={old}", "setup", folder=tmp_path)
        assert done.returncode != 0
        assert "older than Python 3.11: make PYTHON=/path/to/python3.11 setup" in done.stdout
        assert not (tmp_path / ".venv").exists()

    def test_second_setup_does_nothing(self, tmp_path):
        for name in ("Makefile", "requirements.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, tmp_path)
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv/.ready").touch()
        assert "Nothing to be done" in make("setup", folder=tmp_path).stdout
        (tmp_path / "requirements.txt").write_text("other")
        assert "pip install" in make("-n", "setup", folder=tmp_path).stdout


def test_slow_tests_exist():
    """A test that was given another name would be slow in a quick run."""
    names = "\n".join(f"{path}\n{path.read_text()}" for path in (ROOT / "tests").rglob("test_*.py"))
    assert [part for part in conftest.SLOW if part not in names] == []


def test_citation_agrees(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"] == project["name"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert (ROOT / "LICENSE").read_text().startswith(f"{project['license']} License")


def test_package_data_is_declared():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = setuptools["package-data"]["derainlib"]
    files = [path for path in (ROOT / "derainlib").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in files:
        inside = path.relative_to(ROOT / "derainlib")
        assert path.suffix == ".py" or any(inside.match(pattern) for pattern in patterns), inside


def test_import_is_quick():
    heavy = "accelerate matplotlib seaborn ipywidgets IPython skimage kornia scipy pandas"
    code = f"import sys, derainlib; print(*sorted(set('{heavy}'.split()) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_one_version(project):
    import derainlib

    assert derainlib.__version__ == project["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == project["version"]
