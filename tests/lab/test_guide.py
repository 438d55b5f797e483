"""The series' guide: paths, "you are here", the questions at each end, and the glossary."""

import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from derainlib.lab import series
from derainlib.lab.exercises import start_here
from derainlib.lab.series import Entry

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
GLOSSARY = (FOLDER / series.GLOSSARY).read_text()


def rows(heading: str) -> list[list[str]]:
    """The rows of the glossary's table below a heading, as cells."""
    part = GLOSSARY.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@cache
def prose(link: str) -> str:
    """The Markdown of the notebooks that a cell with a link names, parts that follow them included."""
    number = re.match(r"\[(\d\d)", link)[1]
    texts = [nbformat.read(path, as_version=4).cells for path in sorted(FOLDER.glob(f"{number}*.ipynb"))]
    return "\n".join(cell.source for cells in texts for cell in cells if cell.cell_type == "markdown")


@cache
def sources() -> str:
    paths = [*(ROOT / "derainlib").rglob("*.py"), *FOLDER.glob("*.ipynb")]
    return "\n".join(path.read_text("utf-8").replace('\\"', '"') for path in paths)


def test_every_symbol_is_used_where_it_is_taught_and_known_to_the_code():
    for symbol, _, code, *letters, taught in rows("Symbols"):
        assert len(letters) == 5, symbol
        for letter in re.findall(r"\$(.+?)\$", symbol):
            assert letter in prose(taught), f"{letter} is not in {taught}"
        assert code.strip("`") in sources(), code


def test_every_term_is_used_where_it_is_taught_and_known_to_the_code():
    for term, sentence, taught, code in rows("Terms"):
        assert re.search(re.escape(term).replace(r"\ ", r"\s+"), prose(taught), re.IGNORECASE), (
            f"{term} not in {taught}"
        )
        assert code.strip("`") in sources(), code
        assert re.fullmatch(r"[^.]+(\.[^.]+)*\.", sentence), f"{term}: one sentence"


def test_no_term_stands_twice():
    for heading in ("Symbols", "Terms"):
        names = [row[0] for row in rows(heading)]
        assert len(names) == len(set(names))


def test_links_of_the_glossary_lead_somewhere():
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", GLOSSARY)
    assert len(links) > 50
    assert [link for link in links if not (FOLDER / link).exists()] == []


ENTRIES = [Entry("00_a", "A", "a", 30, 1), Entry("01_b", "B", "b"), Entry("07_c", "C", "c", 90, 2, ("01", "99"))]
ENTRIES.append(Entry("07b_d", "D", "d"))


def test_second_part_follows_its_first_on_every_path_and_builds_on_it():
    assert [entry.number for entry in series.on_path("student", ENTRIES)] == ["00", "01", "07", "07b"]
    assert ENTRIES[3].builds_on == ("07",)
    assert ENTRIES[1].builds_on == ()


def test_here_says_place_next_stop_time_and_what_is_needed():
    assert series.here(ENTRIES[2], ENTRIES) == (
        "**You are here**: student 3 of 4, then [07b](07b_d.ipynb) · researcher 2 of 3, then [07b](07b_d.ipynb) · "
        "90 minutes · level ●●○ · builds on [01](01_b.ipynb)"
    )


def test_contents_have_the_paths_and_a_row_for_each_notebook():
    text = series.contents(ENTRIES, "x/")
    assert "- **engineer** (which network, on what data, at what cost, about 0 hours): [00](x/00_a.ipynb)" in text
    assert "| [07 · C](x/07_c.ipynb) | c | 90 | ●●○ | [01](x/01_b.ipynb) |" in text
    assert "[glossary](x/glossary.md)" in text


def test_every_notebook_is_on_a_path_and_is_studied_in_90_minutes_and_needs_one_before_it():
    numbers = [entry.number for entry in series.SERIES]
    assert {entry.number[:2] for entry in series.SERIES} == {n for _, path in series.PATHS.values() for n in path}
    for entry in series.SERIES:
        assert entry.minutes <= 90
        assert 1 <= entry.level <= 3
        assert all(numbers.index(need) < numbers.index(entry.number) for need in entry.builds_on)


@pytest.mark.parametrize("entry", series.existing(FOLDER), ids=lambda entry: entry.name)
def test_questions_are_four_to_six_with_answers(entry):
    text = series.questionnaire(entry)
    asked = re.findall(r"^\*\*\d\.\*\* (.+)$", text, re.MULTILINE)
    answers = re.findall(r"<summary>Answer</summary>\n\n(.+?)\n\n</details>", text, re.DOTALL)
    assert 4 <= len(asked) == len(answers) <= 6
    assert all("?" in question or question.endswith(".") for question in asked)
    assert all(len(answer.split()) >= 6 for answer in answers)
    assert text.count("<!-- = output(") == 0, "a notebook's own output may not be there: take card, paper or results"


def test_no_questions_are_left_of_a_notebook_that_is_gone():
    names = {path.stem for path in Path(series.__file__).with_name("questions").glob("*.md")}
    assert names <= {entry.name for entry in series.SERIES}


def test_questions_and_exercises_are_filled_in_and_the_mark_of_the_questions_is_put_where_it_is_missing():
    entry = next(entry for entry in series.SERIES if entry.number == "00")
    mark = "<!-- exercise tenth -->\n<!-- /exercise tenth -->"
    notebook = new_notebook(
        cells=[new_markdown_cell(mark), new_markdown_cell("It rained.\n\n## Further reading\n\nThe sky.")]
    )
    assert series.filled(notebook, entry, [entry])
    assert start_here.tenth.markdown in notebook.cells[0].source
    before, after = notebook.cells[1].source.split("## Further reading")
    assert before.startswith("It rained.\n\n<!-- questions -->\n\n## Do you remember?\n\n**1.** ")
    assert before.endswith("</details>\n\n<!-- /questions -->\n\n")
    assert after == "\n\nThe sky."
    assert not series.filled(notebook, entry, [entry])
