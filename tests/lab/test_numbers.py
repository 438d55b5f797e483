"""Numbers in prose follow their sources: what drifts, or has no source, is found."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from derainlib.errors import DerainError
from derainlib.lab import numbers
from derainlib.lab.results import results
from derainlib.models import weights
from derainlib.papers import TABLES

ROOT = Path(__file__).parents[2]
PRINTED = [
    "           PSNR      SSIM\nrainy   23.0 dB    0.727\nBRN     33.2 dB  +1,234\n",
    "seconds\nBRN  −0.5   2e-3\nRain100L: 8% of 12, 763f5c 4x\n-50% 1\n0% 2\n50% 3\nT=4\n",
]


def bound(source: str, text: str = "?") -> str:
    return f"It is <!-- = {source} -->{text}<!-- / --> in all."


def value(source: str) -> str:
    """What is written for a source."""
    text = numbers.written(bound(source), PRINTED)
    assert numbers.problems(text, PRINTED) == []
    return text.removeprefix(f"It is <!-- = {source} -->").removesuffix("<!-- / --> in all.")


PROSE = [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.mark.parametrize("path", PROSE, ids=[path.stem for path in PROSE])
def test_numbers_in_prose_are_those_of_their_sources(path):
    if path.suffix == ".md":
        assert numbers.problems(path.read_text()) == []
    else:
        assert numbers.wrong(nbformat.read(path, as_version=4)) == []


def test_each_source_is_read():
    assert value("number(catalogue('rain800'), 'not purely additive')") == "135"
    assert value("number(catalogue('rain800'), 'not purely additive', 2)") == "700"
    card, rain = weights.card("srn"), results("rain_statistics")["statistics"]
    assert value("card('srn/parameters'):,") == f"{card['parameters']:,}"
    assert value("results('rain_statistics/statistics/light/psnr/mean'):.1f") == f"{rain['light']['psnr']['mean']:.1f}"
    crn = TABLES["brn/table-3"].row("CRN").figures["Rain100H"]["psnr"]
    assert value("paper('brn/table-3/CRN/Rain100H/psnr'):.2f") == f"{crn:.2f}"
    assert value("paper('brn/table-3/stages')") == str(TABLES["brn/table-3"].stages)
    lost = TABLES["dcdnet/table-3"].row("no refinement").differences["Rain100H"]["psnr"]
    assert value("-paper('dcdnet/table-3/no refinement/differences/Rain100H/psnr'):.2f") == f"{-lost:.2f}"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("output('rainy')", "23.0"),
        ("output('BRN', 1, 'PSNR')", "33.2"),
        ("output('BRN', 2, 'PSNR  SSIM')", "1234"),
        ("output('BRN', 1, 'seconds'):.2f", "−0.50"),
        ("output('BRN', 2, 'seconds')", "0.002"),
        ("output('Rain100L')", "8"),
        ("output('8% of'):.0f", "12"),
        ("output('0%')", "2"),
        ("output('50%')", "3"),
        ("output('-50%')", "1"),
        ("output('T=')", "4"),
    ],
)
def test_outputs_are_read_by_the_words_of_a_line(source, text):
    assert value(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("1234.5:,.1f", "1,234.5"),
        ("output('rainy') - output('BRN', 1, 'PSNR'):+.1f", "−10.2"),
        ("round(max(2, 3.7) * 2)", "7"),
        ("0.314:.0%", "31%"),
        ("word(4)", "four"),
        ("-1:+", "−1"),
    ],
)
def test_expressions_are_computed_and_formatted(source, text):
    assert value(source) == text


def test_changed_number_is_seen_and_mended():
    text = bound("output('rainy'):.1f", "22.0")
    assert numbers.problems(text, PRINTED) == ["'22.0' is '23.0' by now: output('rainy'):.1f"]
    assert numbers.written(text, PRINTED) == bound("output('rainy'):.1f", "23.0")


def test_changed_source_is_seen():
    text = numbers.written(bound("output('rainy')"), PRINTED)
    assert "'23.0' is '23.4' by now" in numbers.problems(text, [PRINTED[0].replace("23.0", "23.4")])[0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("results('nothing/x')", r"nothing.json is missing"),
        ("results('rain_statistics/statistics/snow')", "there is no 'snow'; there are Rain100L"),
        ("card('srn/parameters/x')", "there is no 'x'; there are no further parts"),
        ("card('snow')", "snow"),
        ("paper('brn/table-99')", "there is no 'brn/table-99'"),
        ("catalogue('snow')", "snow"),
        ("output('SRN')", "is nowhere"),
        ("output('BRN')", "is 33.2 or −0.5"),
        ("output('rainy', 9)", "is nowhere"),
        ("output('Rain100L', 3)", "is nowhere"),
        ("1 / 0", "division by zero"),
        ("1 +", "cannot be read"),
        ("secret('x')", "'secret' is not defined"),
        ("'a'.upper()", "Attribute is no part"),
        ("[0][0]", "is no part"),
        ("9 ** 9", "Pow is no part"),
        ("__import__('os')", "not defined"),
    ],
)
def test_bad_source_is_named(source, message):
    text = bound(source, "5")
    (problem,) = numbers.problems(text, PRINTED)
    assert message in problem
    assert numbers.written(text, PRINTED) == text


def test_claim_holds_or_is_found():
    text = "Now <!-- ? {} -->BRN\nis ahead<!-- / -->."
    ahead, behind = (text.format(f"output('BRN', 1, 'PSNR') {sign} output('rainy')") for sign in "><")
    assert numbers.problems(ahead, PRINTED) == []
    assert "no longer holds" in numbers.problems(behind, PRINTED)[0]
    assert numbers.written(behind, PRINTED) == behind
    assert "no longer holds" in numbers.problems(text.format("3"))[0]  # not a comparison


@pytest.mark.parametrize("start", ["", "- ", "> 1. "])
def test_mark_at_the_start_of_a_line_is_refused(start):
    (problem,) = numbers.problems(f"It rains.\n{start}<!-- = 2 -->2<!-- / --> dB")
    assert "begins a line" in problem


def test_mark_without_end_is_refused():
    assert numbers.problems("Now <!-- = 2 -->2 dB") == ["a bound number is without its end, <!-- / -->"]
    assert len(numbers.problems("Now <!-- = 2 -->2, <!-- = 3 -->3<!-- / --> dB")) == 2


def test_paths_take_keys_with_slashes_and_records_by_what_they_have():
    value = {"a": 1, "a/b": {"c": 2}, "rows": [{"model": "x/y", "set": 1}, {"model": "x/y", "set": 2, "psnr": 30}]}
    assert numbers.look_up(value, "a/b/c") == 2
    assert numbers.look_up(value, "rows/0/set") == 1
    assert numbers.look_up(value, "rows/model=x/y/set=2/psnr") == 30
    with pytest.raises(DerainError, match="no 'psnr'; there are 0, 1, model=x/y, set=1, set=2"):
        numbers.look_up(value, "rows/model=x/y/psnr")


RAINY, BRN = 'output("rainy")', 'output("BRN")'


def test_notebook_is_brought_up_to_date():
    printed = new_code_cell("print()", outputs=[new_output("stream", text="rainy 25 dB")])
    table = new_code_cell("table", outputs=[new_output("display_data", data={"text/markdown": "| BRN | 7 |"})])
    prose = new_markdown_cell(f"{bound(RAINY, '24')} {bound(BRN, '7')}")
    notebook = new_notebook(cells=[printed, table, prose, new_code_cell("x = '<!-- = 1 -->2<!-- / -->'")])
    assert len(numbers.wrong(notebook)) == 1
    assert numbers.refresh(notebook)
    assert '-->25<!-- / --> in all. It is <!-- = output("BRN") -->7<' in prose.source
    assert numbers.wrong(notebook) == []
    assert not numbers.refresh(notebook)
