"""The training panel in JupyterLab: started, stopped by the keyboard, and answered while it trains."""

import importlib
import re
from pathlib import Path

import pytest

CELL = """from derainlib.lab import contest, miniature, panel

scene = miniature.shower("street", "heavy", size=(24, 32))
plan = lambda: {"A": contest.entry("srn", contest.losses("l1"))}
panel.Panel(plan, panel.scenes(miniature.dry("street")), scene, steps=6_000, first=2)"""

BUSY = "import time; time.sleep(20)"


@pytest.fixture
def browser(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("browser")


def test_panel_starts_and_stops_beside_a_running_cell(browser, tmp_path):
    browser.write(tmp_path / "page.ipynb", [CELL, BUSY])
    with browser.jupyterlab(tmp_path) as address, browser.window() as page:
        notebook = browser.Notebook(page, address, "page.ipynb")
        notebook.run(0)
        live = notebook.cell(0)
        live.get_by_text("2 of 6000 steps, Start goes on; weights:").wait_for(timeout=30_000)
        notebook.start(1)
        live.get_by_role("button", name="Start").click()
        live.get_by_text(re.compile(r"\d dB")).first.wait_for(timeout=60_000)  # its line tells a score
        stop = live.get_by_role("button", name="Stop")
        stop.focus()
        page.keyboard.press("Enter")
        live.get_by_text("Start goes on; weights:").wait_for(timeout=30_000)
        assert notebook.prompt(1) == "[*]:", "the other cell should still run"
        assert live.get_by_label("seed").count() == 1
