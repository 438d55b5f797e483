"""What a reader does in JupyterLab and in an exported page, through a headless browser: `make ci` runs these."""

import json

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output

from derainlib import images
from derainlib.data import samples
from derainlib.lab.greeting import Greeting
from derainlib.lab.widgets import before_after, download, zoomed
from tests.browser import rules

CELL = """from derainlib.data import samples
from derainlib.lab import pieces
from derainlib.lab.widgets import before_after, upload

pieces.MOST = 2_000_000
pair = samples.load("rocket-light")
before_after(pair.rainy, pair.clean)"""


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
    assert rules.is_drawn(before)
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
    assert all(0 < found[name]["longest"] < 60 for name in ("pixels", "network", "line", "zoom"))


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


def test_keys_in_a_demonstration_stay_there(tool):
    """JupyterLab listens to the whole page: an arrow would go to the next cell, not down the list."""
    wire = Greeting(str).children[0].value
    lists = "<select><option>light<option>heavy</select>"
    with tool("browser").window() as page:
        page.set_content(
            f"<div class='demonstration'><div class='greeting'>{wire}<textarea></textarea></div>{lists}</div>"
        )
        page.evaluate("() => { onkeydown = event => { event.preventDefault(); document.title += event.key } }")
        page.wait_for_function("document.querySelector('textarea').value === 'here'")
        chosen = page.get_by_role("combobox")
        chosen.press("ArrowDown")
        assert chosen.input_value() == "heavy"
        chosen.press("Control+s")
        assert page.title() == "Controls"  # what is pressed with Control is still JupyterLab's


SLOW_KERNEL = """import time
from derainlib.lab.widgets import demo, slider
live = demo(lambda light: [[light / 10] * 20] * 20, light=slider(0, 10, 3))"""


def test_page_without_subshells_says_that_it_waits(tool, tmp_path):
    """At once where the kernel is free, and before it answers where a cell runs."""
    browser = tool("browser")
    browser.write(tmp_path / "page.ipynb", [SLOW_KERNEL, "live", "time.sleep(25)"])
    serial = {"apputils-extension/kernels-settings": {"commsOverSubshells": "disabled"}}
    with browser.jupyterlab(tmp_path, serial) as address, browser.window() as page:
        notebook = browser.Notebook(page, address, "page.ipynb")
        notebook.run(0)
        notebook.run(1)
        notebook.cell(1).get_by_text("cannot answer while a cell runs").wait_for(timeout=60_000)
        notebook.cell(1).get_by_role("slider", name="light").wait_for(timeout=30_000)
        notebook.cell(0).locator(".cm-content").click()
        for _ in range(3):  # run all: the demonstration is shown, and the next cell runs at once
            page.keyboard.press("Shift+Enter")
        notebook.cell(1).get_by_text("The kernel is busy").wait_for(timeout=60_000)
        assert notebook.prompt(2) == "[*]:"
        notebook.cell(1).get_by_text("cannot answer while a cell runs").wait_for(timeout=90_000)


def test_pictures_are_enlarged_and_moved_together(tool, tmp_path):
    """By wheel, hand and keys; over pictures that nobody clicked the wheel scrolls; the download is the image."""
    pair = samples.load("rocket-light")
    data = zoomed(pair.rainy, pair.clean, pair.clean)._repr_mimebundle_()
    link = download(pair.clean, "dry.png").value
    text = data["text/html"] + link + "<p style='height: 3000px'></p>" + data["text/html"]
    (tmp_path / "page.html").write_text(f"<meta charset='utf-8'><body style='width: 900px'>{text}")
    with tool("browser").window() as page:
        page.goto((tmp_path / "page.html").as_uri())
        frame, other = page.locator(".zoomed").all()
        box = frame.locator("section > div > div").nth(1).bounding_box()
        x, y = box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"]
        page.mouse.move(x, y)
        page.mouse.wheel(0, 50)
        page.wait_for_function("scrollY > 0")
        page.mouse.wheel(0, -50)
        page.wait_for_function("scrollY === 0")
        assert stand(frame) == [1, 50, 50]
        page.mouse.click(x, y)
        page.mouse.wheel(0, -400)  # twice as large, and what lies under the pointer stays there
        page.wait_for_function("frame => frame.querySelector('input').value > 1", arg=frame.element_handle())
        assert stand(frame) == pytest.approx([2, 75, 25], abs=0.5)
        page.mouse.down()
        page.mouse.move(x + box["width"] / 10, y - box["height"] / 10)
        page.mouse.up()
        assert stand(frame) == pytest.approx([2, 65, 35], abs=0.5)
        for key in ("ArrowLeft", "ArrowDown", "+"):
            page.keyboard.press(key)
        assert stand(frame) == pytest.approx([2.5, 60, 40], abs=0.5)
        boxes = [one.bounding_box() for one in frame.locator("img").all()]
        assert len({(round(one["width"]), round(one["y"])) for one in boxes}) == 1
        assert boxes[0]["width"] == pytest.approx(2.5 * box["width"], rel=0.01)
        frame.get_by_role("slider", name="zoom").press("Home")
        assert stand(frame)[0] == 1
        assert stand(other) == [1, 50, 50]  # each figure moves for itself
        with page.expect_download() as saved:
            page.get_by_role("link", name="save dry.png").click()
        assert saved.value.suggested_filename == "dry.png"
        assert images.read(saved.value.path()).shape == pair.clean[0].shape


def stand(frame) -> list[float]:
    """Where a figure stands: its zoom, and the per cent from left to right and from top to bottom."""
    return [float(part.input_value()) for part in frame.locator("input").all()]


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
