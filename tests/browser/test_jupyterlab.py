"""What a reader does in JupyterLab and in an exported page, through a headless browser: `make ci` runs these."""

import importlib
import io
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from derainlib.data import samples
from derainlib.lab.widgets import before_after

CELL = """from derainlib.data import samples
from derainlib.lab import pieces
from derainlib.lab.widgets import before_after, upload

pieces.MOST = 2_000_000
pair = samples.load("rocket-light")
before_after(pair.rainy, pair.clean)"""


@pytest.fixture
def tool(monkeypatch):
    """Gives a module of benchmarks/."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module


def is_drawn(screenshot: bytes) -> bool:
    """Whether there is anything but a plain ground."""
    return np.asarray(Image.open(io.BytesIO(screenshot)).convert("L")).std() > 10


def use(page, frame) -> None:
    """Moves the line by hand and by keys, and enlarges, each by what a screen reader would call it."""
    line, zoom = (frame.get_by_role("slider", name=name) for name in ("line between rainy and derained", "zoom"))
    box = frame.locator("div").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert place(frame) == pytest.approx(0.25, abs=0.01)
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert place(frame) == pytest.approx(0.26, abs=0.01)
    assert float(line.input_value()) == pytest.approx(26, abs=1)
    before = frame.locator("div").screenshot()
    assert is_drawn(before)
    zoom.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert frame.locator("div").screenshot() != before
    assert frame.locator("div").bounding_box() == box


def place(frame) -> float:
    """Where the line is, as a share of the picture's width."""
    line, box = frame.locator("hr").bounding_box(), frame.locator("div").bounding_box()
    return (line["x"] + line["width"] / 2 - box["x"]) / box["width"]


def test_widgets_answer_while_a_cell_trains(tool, tmp_path):
    """Sliders, the line and an upload above the server's limit; the script refuses pictures that are not the serial."""
    out = tmp_path / "latency.json"
    assert tool("widget_latency").main(["--moves", "3", "--seconds", "400", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["seconds"]
    assert found["upload"]["MB"] > 10
    assert all(0 < found[name]["longest"] < 60 for name in ("pixels", "network", "line"))


def test_line_and_files_in_jupyterlab(tool, tmp_path):
    """In the dark: JupyterLab keeps no key for itself, and a file that is too large is refused at once, in words."""
    browser = tool("browser")
    browser.write(tmp_path / "page.ipynb", [CELL, "upload(lambda image: image, example=pair.rainy)"])
    (tmp_path / "large.jpg").write_bytes(bytes(3_000_000))
    (tmp_path / "notes.jpg").write_bytes(b"no photograph")
    dark = {"apputils-extension/themes": {"theme": "JupyterLab Dark"}}
    with browser.jupyterlab(tmp_path, dark) as address, browser.window(dark=True) as page:
        notebook = browser.Notebook(page, address, "page.ipynb")
        notebook.run(0)
        notebook.run(1)
        use(page, notebook.cell(0).locator(".curtain"))
        button = notebook.cell(1).get_by_label("your photograph")
        for name, answer in (
            ("large", "large.jpg has 3 MB, more than 2: choose a smaller one"),
            ("notes", "ImageError"),
        ):
            button.set_input_files(tmp_path / f"{name}.jpg")
            notebook.cell(1).get_by_text(answer).wait_for(timeout=30_000)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_exported_page_needs_no_kernel(tool, tmp_path, dark):
    pair = samples.load("rocket-light")
    data = before_after(pair.rainy, pair.clean)._repr_mimebundle_()
    kinds = ("text/html", "text/plain", "image/jpeg")  # as published: without the widget of a kernel
    output = new_output("execute_result", {kind: data[kind] for kind in kinds}, execution_count=1)
    cell = new_code_cell("before_after(rainy, clean)", outputs=[output], execution_count=1)
    exporter = HTMLExporter(theme="dark" if dark else "light")
    text, _ = exporter.from_notebook_node(nbformat.from_dict(new_notebook(cells=[cell, cell | {"id": "another"}])))
    (tmp_path / "page.html").write_text(text)
    with tool("browser").window(dark) as page:
        page.goto((tmp_path / "page.html").as_uri())
        frames = page.locator(".curtain")
        use(page, frames.nth(1))
        assert place(frames.nth(0)) == pytest.approx(0.5, abs=0.01)  # each moves for itself
