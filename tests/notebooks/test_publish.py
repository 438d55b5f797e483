"""What `publish` leaves in a file, and that it leaves a file alone when something is wrong."""

import json
import re
import shutil

import nbformat
import pytest

from derainlib.errors import DerainError
from derainlib.lab import publish, series


def test_output_keeps_picture_and_text_of_a_demo(published):
    notebook = nbformat.read(published, as_version=4)
    (output,) = notebook.cells[3].outputs
    assert set(output.data) == {"image/png", "text/plain"}
    assert output.data["text/plain"] == "Demo(shade: 0 … 10)"
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.derainlib.cpu_seconds >= 1


def test_second_run_changes_nothing(copy):
    before = copy.read_text()
    assert publish.publish(copy) == []
    assert copy.read_text() == before


@pytest.mark.parametrize(("cell", "message"), [("1 / 0", "raised ZeroDivisionError"), ("print('/tmp/x')", "path")])
def test_failure_leaves_the_file_alone(build, cells, tmp_path, cell, message):
    path = build(tmp_path, [cells["picture"], cell])
    before = path.read_bytes()
    assert message in "\n".join(publish.publish(path))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_unknown_notebook_is_refused(tmp_path):
    with pytest.raises(DerainError, match="no notebook of the series"):
        publish.publish(tmp_path / "42_answer.ipynb")
    assert publish.main([str(tmp_path / "42_answer.ipynb")]) == 1


def test_links_follow_the_neighbours(published, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    first = folder / "01_rain_model.ipynb"
    shutil.copy(published, first)
    second = folder / "07_srn_brn.ipynb"
    second.write_text(published.read_text().replace("01 · The rain model", "07 · SRN and BRN"))
    readme = tmp_path / "README.md"
    readme.write_text("# Mine\n<!-- contents -->old<!-- /contents -->\nrest")

    assert publish.main(["--links", str(first)]) == 0
    assert publish.link(folder) == []
    assert "[07 · SRN and BRN](07_srn_brn.ipynb) →" in nbformat.read(first, as_version=4).cells[0].source
    assert "← [01 · The rain model](01_rain_model.ipynb)" in nbformat.read(second, as_version=4).cells[0].source
    assert "| [07 · SRN and BRN](notebooks/07_srn_brn.ipynb) |" in readme.read_text()
    assert readme.read_text().startswith("# Mine\n")
    assert readme.read_text().endswith("\nrest")


def test_series_is_numbered_in_order():
    numbers = [entry.number for entry in series.SERIES]
    assert numbers == sorted(set(numbers))
    assert all(re.fullmatch(r"\d\d[b-z]?", number) for number in numbers)


def test_small_change_of_time_is_no_change(published):
    notebook = nbformat.from_dict(json.loads(published.read_text()))
    for known, measured, stored in ((40, 50.0, 40), (40, 90.0, 90), (40, 20.0, 20)):
        notebook.metadata = nbformat.from_dict({"derainlib": {"cpu_seconds": known}})
        publish.settle(notebook, measured)
        assert notebook.metadata.derainlib.cpu_seconds == stored
