"""Tables as text have the figures of their sources."""

import copy
import re

import pytest

from derainlib.errors import DerainError
from derainlib.lab import tables
from derainlib.lab.results import FOLDER, results

STUDIES = sorted(path.stem for path in FOLDER.glob("study_*.json"))


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line)


def test_paper_has_its_figures():
    places, measures, *rows = tables.paper("brn/table-4").splitlines()
    assert places.split() == ["Rain100H"] * 3
    assert cells(measures) == ["BRN, Table IV", "psnr", "ssim", "parameters"]
    assert cells(rows[0]) == ["SRN", "29.32", "0.8980", "168,963"]
    assert len(rows) == 4


def test_what_a_paper_does_not_give_is_empty():
    line = next(line for line in tables.paper("phpnet/table-5").splitlines() if line.startswith("shared objects"))
    assert cells(line) == ["shared objects", "17.74", "0.7211"]


def test_study_has_budget_and_rainy_input():
    found = results("study_menet-table-1")
    heading, protocol, _, titles, rainy, first, *_ = tables.study(found).splitlines()
    assert heading == "every row: 1,000 steps of 8 patches of 64², seeds 0, 1", "MENET has no stages"
    assert "rain100l (100 images, PSNR in RGB)" in protocol
    assert cells(titles)[0] == "PSNR (dB) / SSIM"
    assert cells(titles)[1:] == list(found["rows"][0]["sets"])
    scores = found["rows"][0]["sets"]["rain100l"]
    assert cells(rainy)[:2] == ["rainy input", f"{scores['psnr_rgb']['rainy']:.2f} / {scores['ssim_y']['rainy']:.3f}"]
    assert cells(first)[:2] == ["L_p", f"{scores['psnr_rgb']['mean']:.2f} / {scores['ssim_y']['mean']:.3f}"]


def test_study_shows_the_sets_asked_for():
    found = results("study_menet-table-1")
    lines = tables.study(found, {"rain100l": "psnr_y"}).splitlines()
    score = found["rows"][1]["sets"]["rain100l"]["psnr_y"]["mean"]
    assert lines[1].endswith(": rain100l (100 images, PSNR in Y)")
    assert len(cells(lines[3])) == 2
    assert cells(lines[6])[1].startswith(f"{score:.2f} /")


def test_study_says_what_was_left_out_and_its_stages():
    headings = [tables.study(results(f"study_dcdnet-table-{number}")).splitlines()[0] for number in (3, 4)]
    assert headings[0].endswith(", without perceptual; T = 4")
    assert headings[1].endswith("; T = 1, 4")
    assert tables.study(results("study_brn-table-1")).splitlines()[0].endswith("; T = 3")  # changed for all rows


@pytest.mark.parametrize("measure", ["psnr_rgb", "ssim_y"])
@pytest.mark.parametrize("name", STUDIES)
def test_study_without_rainy_input_is_refused(name, measure):
    found = copy.deepcopy(results(name))
    place, scores = next(iter(found["rows"][0]["sets"].items()))
    assert "rainy input" in tables.study(found)
    del scores[measure]["rainy"]
    with pytest.raises(DerainError, match=f"{found['study']} has no rainy input on {place}"):
        tables.study(found)


@pytest.mark.parametrize("size", [224, 512])
def test_speed_has_each_network_once(size):
    heading, _, titles, *rows = tables.speed(size).splitlines()
    assert heading.startswith(f"{size} × {size} pixels, ")
    names = [cells(row)[0] for row in rows]
    assert len(names) == len(set(names))
    brn = cells(next(row for row in rows if row.startswith("brn  ")))
    assert brn[cells(titles).index("times quicker than brn")] == "1.0"
