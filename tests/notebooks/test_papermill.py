"""papermill runs notebooks with other values of their parameters than those whose outputs are stored.

Those that changed, and of the others each fourth, in turn; all of them with --all-notebooks, as each week.
"""

import subprocess
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat import NotebookNode

from derainlib.lab import gate, series
from tests.notebooks.turns import TURNS, Turns, imported, sources

ROOT = Path(__file__).parents[2]
PLACES = {entry.file: place for place, entry in enumerate(series.existing(ROOT / "notebooks"))}

OTHER = {
    "photograph": ("coffee", "rocket"),
    "network": ("srn", "brn"),
    "seed": (11,),
    "thorough": (False,),  # it would take too long
    "scenes_dir": ("",),  # not everybody has one
    "vgg": ("",),  # nor these weights
}
"""Values by the parameter's name: the first that is not the notebook's own, if there is one."""

OWN = {
    "02_data_and_metrics.ipynb": {"network": ("dcdnet",)},
    "05_qsnet.ipynb": {"network": ("qsnet-v1",)},
    "05b_qsnet_losses.ipynb": {"network": ("qsnet-v1",)},
    "09_seeing_through_rain.ipynb": {"seed": (310,)},
    "09b_does_deraining_pay.ipynb": {"seed": (310,)},
    "13_network_lab.ipynb": {"network": ("phpnet",)},
    "15_ablation_studies.ipynb": {"table": ("phpnet/table-3",)},
}
"""The same by notebook, where the values above do not fit."""

ELSEWHERE = {"14_train.ipynb": "test_train runs it by papermill, with many values"}


def other(name: str, parameters: dict[str, object]) -> dict[str, object]:
    """Other values for the parameters of a notebook.

    Raises:
        KeyError: a parameter has none in the tables above.
    """
    known = OTHER | OWN.get(name, {})
    choices = {
        parameter: [value for value in known[parameter] if value != own] for parameter, own in parameters.items()
    }
    return {parameter: values[0] for parameter, values in choices.items() if values}


def shown(notebook: NotebookNode) -> list[str]:
    """What is printed, in one piece, and everything else among the outputs but what numbers widgets."""
    outputs = [output for _, output in gate.outputs(notebook)]
    data = sorted((item for output in outputs for item in output.get("data", {}).items()), key=lambda item: item[0])
    contents = [content for kind, content in data if not kind.startswith("application/")]
    return ["".join(output.get("text", "") for output in outputs), *contents]


def test_notebook_runs_with_other_values(notebook, turns, request, tmp_path):
    if reason := ELSEWHERE.get(notebook.name):
        pytest.skip(reason)
    if not request.config.option.all_notebooks:
        reason = turns.why_not(PLACES[notebook.name], sources(notebook, ROOT))
        if reason:
            pytest.skip(reason)
    run(notebook, tmp_path)


def run(path: Path, folder: Path):
    """Runs a notebook with other values, which must make a difference to what it shows."""
    stored = nbformat.read(path, as_version=4)
    values = other(path.name, gate.parameters(stored))
    assert values, "no parameter has another value than its own"
    done = papermill.execute_notebook(
        path, folder / path.name, values, kernel_name="python3", progress_bar=False, cwd=path.parent
    )
    assert shown(done) != shown(stored), f"nothing depends on {', '.join(values)}"


def test_values_for_parameters_that_no_notebook_has():
    """A name that was changed in the notebook must be changed in the table."""
    for name, values in OWN.items():
        assert values.keys() <= gate.parameters(nbformat.read(ROOT / "notebooks" / name, as_version=4)).keys()


def test_other_values_differ_from_the_notebooks_own():
    assert other("x", {"photograph": "coffee", "seed": 3, "thorough": False}) == {"photograph": "rocket", "seed": 11}
    assert other("05_qsnet.ipynb", {"network": "qsnet"}) == {"network": "qsnet-v1"}
    with pytest.raises(KeyError, match="colour"):
        other("x", {"colour": "red"})


def test_parameters_reach_the_notebook(published, tmp_path):
    run(published, tmp_path)


def test_parameters_that_nothing_uses_are_seen(copy, tmp_path):
    notebook = nbformat.read(copy, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("seed + ", "3 + ")
    nbformat.write(notebook, copy)
    with pytest.raises(AssertionError, match="nothing depends on seed"):
        run(copy, tmp_path)


class TestTurns:
    @pytest.fixture
    def repository(self, build, tmp_path) -> Path:
        """Two commits on main: a notebook of the module `derainlib/lab/figures.py`, and that module."""
        self.git(tmp_path, "init", "--initial-branch=main")
        build(tmp_path)
        self.commit(tmp_path, "derainlib/lab/figures.py")
        self.commit(tmp_path, "derainlib/rain.py")
        return tmp_path

    def git(self, folder: Path, *words: str):
        who = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)

    def commit(self, folder: Path, name: str):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.read_text() if file.exists() else ''}\n# a line more\n")
        self.git(folder, "add", ".")
        self.git(folder, "commit", "-m", name)

    def left_out(self, folder: Path) -> list[bool]:
        """For a notebook at each of four places, whether it need not run."""
        turns, files = Turns.of(folder), sources(folder / "01_rain_model.ipynb", folder)
        return [bool(turns.why_not(place, files)) for place in range(TURNS)]

    def test_unchanged_notebook_runs_at_one_of_four_commits(self, repository):
        assert sorted(self.left_out(repository)) == [False, True, True, True]

    @pytest.mark.parametrize("name", ["derainlib/lab/figures.py", "01_rain_model.ipynb", "requirements.txt"])
    def test_changed_source_makes_it_run(self, repository, name):
        if name != "01_rain_model.ipynb":
            self.commit(repository, name)
        else:
            (repository / name).write_text((repository / name).read_text() + "\n")
        assert not any(self.left_out(repository))

    def test_branch_is_compared_with_where_it_left_main(self, repository):
        self.git(repository, "switch", "--create", "branch")
        self.commit(repository, "derainlib/lab/figures.py")
        self.commit(repository, "README.md")
        assert not any(self.left_out(repository))

    def test_without_history_every_notebook_runs(self, repository, tmp_path_factory):
        other = tmp_path_factory.mktemp("archive")
        (other / "01_rain_model.ipynb").write_bytes((repository / "01_rain_model.ipynb").read_bytes())
        assert not any(self.left_out(other))

    def test_imports_are_found(self):
        code = "import derainlib.rain\ndef f():\n    from derainlib.lab import figures as f"
        assert set(imported(code)) == {"derainlib.rain", "derainlib.lab", "derainlib.lab.figures"}
