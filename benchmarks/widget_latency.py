"""How long a widget takes to answer while another cell trains, as a reader sees it: through JupyterLab and a browser.

    python benchmarks/widget_latency.py [--moves N] [--out OUT]

A notebook has a demonstration that changes pixels, one that runs a network, a picture with a line to drag, and two that
are enlarged together; then a cell trains QSNet, and only now anything moves. An answer that waits for the training
comes when that ends. Told are seconds from the key to the moment when another picture stands in the page, for the line
from the hand's move to the line's, for the zoom from the wheel's turn to the larger pictures. A photograph above the
server's 10 MB is uploaded meanwhile. When the training has ended the demonstrations are made again where the sliders
ended: the pictures must be those that the moves beside the training led to.

It needs playwright and Chromium, see `browser.py`. The results, benchmarks/results/widget_latency.json, have the first
of the moves, their median, their 95th percentile and the longest; and how busy the machine was otherwise.
"""

import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import browser
import common
import numpy as np
from PIL import Image

from derainlib.errors import DerainError

SETTING_UP = """import torch
import derainlib
from derainlib.data import samples
from derainlib.lab.widgets import before_after, demo, slider, upload, zoomed

pair, network = samples.load("rocket-light"), derainlib.load("srn")
mean = lambda photograph: torch.nn.functional.adaptive_avg_pool2d(photograph, 32)"""

CELLS = {
    "pixels": "demo(lambda light: pair.rainy * light / 100, light=slider(0, 100, {light}))",
    "network": "demo(lambda light: derainlib.derain(pair.rainy * light / 100, network), light=slider(0, 100, {light}))",
    "line": "before_after(pair.rainy, pair.clean)",
    "zoom": "zoomed(pair.rainy, pair.clean)",
    "upload": "upload(mean, example=pair.rainy)",
}

LIGHT = 20
"""Where the sliders start."""

PATIENCE = 30
"""Seconds within which a page must move what it moves by itself."""

TRAINING = """import time
from pathlib import Path
from torch.optim import Adam

learner = derainlib.create("qsnet")
optimiser, end = Adam(learner.parameters(), 1e-3), time.monotonic() + {seconds}
while time.monotonic() < end and not Path("enough").exists():
    optimiser.zero_grad()
    (learner(pair.rainy).background - pair.clean).square().mean().backward()
    optimiser.step()"""


def parser():
    found = common.parser(__doc__, "widget_latency")
    found.add_argument("--moves", type=int, default=50, help="of each slider (%(default)s)")
    found.add_argument("--seconds", type=float, default=300, help="that the cell trains, at most (%(default)s)")
    return found


def answer(notebook: browser.Notebook, number: int, seconds: float) -> float:
    """Seconds from a key on the slider of a cell to another picture in it."""
    picture, slider = (notebook.cell(number).locator(part).first for part in ("img", ".noUi-handle"))
    slider.focus()
    return until_changed(notebook, picture, lambda: notebook.page.keyboard.press("ArrowRight"), seconds)


def until_changed(notebook: browser.Notebook, picture, act: Callable[[], object], seconds: float) -> float:
    """Seconds from an act to another picture in the place of this one."""
    before, began = [picture.element_handle(), picture.get_attribute("src")], time.perf_counter()
    act()
    notebook.page.wait_for_function("([img, src]) => img.src !== src", arg=before, timeout=seconds * 1000)
    return time.perf_counter() - began


def shown(notebook: browser.Notebook, number: int) -> str:
    """The picture that stands in a cell, as its bytes."""
    address = notebook.cell(number).locator("img").first.get_attribute("src")
    return notebook.page.evaluate(
        "async url => Array.from(new Uint8Array(await (await fetch(url)).arrayBuffer())).join()", address
    )


def drag(notebook: browser.Notebook, number: int, moves: int) -> list[float]:
    """Seconds from each move of the hand on the picture of a cell to the line that followed it.

    Raises:
        DerainError: the line is not where the hand is.
    """
    page, frame = notebook.page, notebook.cell(number).locator(".curtain")
    box, times = frame.locator("div").bounding_box(), []
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    for share in np.linspace(0.1, 0.9, moves):
        began = time.perf_counter()
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 20)
        line = frame.locator("hr").bounding_box()
        times.append(time.perf_counter() - began)
        if abs(line["x"] + 1 - box["x"] - share * box["width"]) > 2:
            raise DerainError(f"the line is at {line['x']} pixels, the hand is not")
    page.mouse.up()
    return times


def turn(notebook: browser.Notebook, number: int, moves: int) -> list[float]:
    """Seconds from each turn of the wheel over the pictures of a cell to all of them enlarged, or made smaller again.

    Raises:
        DerainError: the pictures are not enlarged alike.
    """
    page, frame, times = notebook.page, notebook.cell(number).locator(".zoomed"), []
    frame.scroll_into_view_if_needed()
    box = frame.locator("img").first.locator("..").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
    widths = "frame => [...frame.querySelectorAll('img')].map(one => one.getBoundingClientRect().width)"
    for move in range(moves):
        before, began = frame.evaluate(widths), time.perf_counter()
        page.mouse.wheel(0, 400 if move % 2 else -400)
        while frame.evaluate(widths) == before:
            if time.perf_counter() - began > PATIENCE:
                raise DerainError(f"the wheel moved nothing in {PATIENCE} s")
        times.append(time.perf_counter() - began)
        if len({round(width) for width in frame.evaluate(widths)}) > 1:
            raise DerainError("the pictures are not enlarged alike")
    return times


def photograph(path: Path) -> float:
    """Writes a JPEG of 14 MB, which no message of the server may have; its size in MB."""
    noise = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=94, subsampling=0)
    return path.stat().st_size / 1e6


def told(times: list[float]) -> dict[str, float]:
    """What the results say of moves: seconds."""
    found = {"first": times[0], "median": np.median(times), "p95": np.quantile(times, 0.95), "longest": max(times)}
    return {name: common.rounded(float(value), 3) for name, value in found.items()}


def measure(folder: Path, moves: int, seconds: float) -> dict:
    """Everything, in a notebook of the folder.

    Raises:
        DerainError: the training was over too soon, or a picture is not the one that it would have been without it.
    """
    shows = {name: text.format(light=LIGHT) for name, text in CELLS.items()}
    again = {name: CELLS[name].format(light=LIGHT + moves) for name in ("pixels", "network")}
    cells = [SETTING_UP, *shows.values(), TRAINING.format(seconds=seconds), *again.values()]
    browser.write(folder / "latency.ipynb", cells)
    large, training, place = folder / "large.jpg", len(shows) + 1, list(shows).index
    megabytes, found = photograph(large), {}
    with browser.jupyterlab(folder) as address, browser.window() as page:
        notebook = browser.Notebook(page, address, "latency.ipynb")
        for number in range(training):
            notebook.run(number)
        notebook.start(training)
        for name in again:
            found[name] = told([answer(notebook, place(name) + 1, seconds + 60) for _ in range(moves)])
        found["line"] = told(drag(notebook, place("line") + 1, moves))
        found["zoom"] = told(turn(notebook, place("zoom") + 1, moves))
        uploading = notebook.cell(place("upload") + 1)
        choose = functools.partial(uploading.get_by_label("your photograph").set_input_files, large)
        took = until_changed(notebook, uploading.locator("img").first, choose, seconds + 60)
        found["upload"] = {"MB": common.rounded(megabytes), "seconds": common.rounded(took)}
        if notebook.prompt(training) != "[*]:":
            raise DerainError("the training was over before everything had moved: let it last longer by --seconds")
        (folder / "enough").touch()
        notebook.wait(training)
        for number, name in enumerate(again, training + 1):
            notebook.run(number)
            if shown(notebook, number) != shown(notebook, place(name) + 1):
                raise DerainError(f"{name}: moved beside the training it shows another picture than without it")
    return found


@common.command
def main(arguments=None):
    options = common.parse(parser(), arguments)
    if problem := browser.missing():
        raise DerainError(problem)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.moves, options.seconds)
    where = {"machine": common.machine("cpu"), "load average": common.rounded(os.getloadavg()[0])}
    common.write(options.out, where | {"moves": options.moves, "seconds": found})


if __name__ == "__main__":
    sys.exit(main())
