"""Each notebook's main demonstration is moved by hand and by keys while another cell trains, and looked at in both
themes; each stored notebook is opened as a page without a kernel. The looks are kept in runs/browser."""

import itertools
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from derainlib.lab import series
from tests.browser import rules, slices

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "runs" / "browser"
"""Pictures of what was looked at, which git ignores."""

STORED = [ROOT / "notebooks" / entry.file for entry in series.existing(ROOT / "notebooks")]
DEMOS = {path.stem: code for path in STORED if (code := slices.main_demo(path))}

SETTING_UP = f"""import ast, os
os.chdir({str(ROOT / "notebooks")!r})

def shown(code):
    body, names = ast.parse(code).body, {{}}
    exec(compile(ast.Module(body[:-1], []), "before", "exec"), names)
    return eval(compile(ast.Expression(body[-1].value), "demo", "eval"), names)"""
"""One kernel for all: each demonstration has its own names, as in its notebook."""

TRAINING = """import time
from torch.optim import Adam

import derainlib
from derainlib.data import samples

pair, learner = samples.load("rocket-light"), derainlib.create("qsnet")
optimiser, end = Adam(learner.parameters(), 1e-3), time.monotonic() + 900
while time.monotonic() < end and not os.path.exists({enough!r}):
    optimiser.zero_grad()
    (learner(pair.rainy).background - pair.clean).square().mean().backward()
    optimiser.step()"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def notebook(tool, tmp_path_factory):
    """The main demonstrations in a notebook of one kernel, and below them a cell that trains."""
    browser, folder = tool("browser"), tmp_path_factory.mktemp("series")
    cells = [f"shown({code!r})" for code in DEMOS.values()]
    browser.write(folder / "demos.ipynb", [SETTING_UP, *cells, TRAINING.format(enough=str(folder / "enough"))])
    with browser.jupyterlab(folder) as address, browser.window() as page:
        found = browser.Notebook(page, address, "demos.ipynb")
        found.places = {name: number for number, name in enumerate(DEMOS, 1)}
        for number in range(len(cells) + 1):
            found.run(number)
        found.start(len(cells) + 1)
        yield found
        (folder / "enough").touch()


def demonstration(notebook, name: str):
    """The box of a notebook's demonstration, in sight."""
    box = notebook.cell(notebook.places[name]).locator(".demonstration")
    box.scroll_into_view_if_needed()
    return box


def answered(notebook, box, act, what: str) -> None:
    """An act leads to another picture while the cell below goes on training."""
    picture = box.locator("img:visible").first
    before = [picture.element_handle(), picture.get_attribute("src")]
    act()
    notebook.page.wait_for_function("([img, src]) => img.src !== src", arg=before, timeout=60_000)
    assert notebook.prompt(len(notebook.places) + 1) == "[*]:", f"{what} was answered when the training was over"
    assert box.get_by_text("cannot answer").count() == 0


def other_end(control) -> str:
    """The key that moves a slider to the end where it is not."""
    now, most = (float(control.get_attribute(f"aria-value{part}")) for part in ("now", "max"))
    return "Home" if now == most else "End"


def neighbour(control) -> str:
    """The key that moves a list to the option beside: from the last one, up."""
    return control.evaluate("list => list.selectedIndex < list.length - 1 ? 'ArrowDown' : 'ArrowUp'")


@pytest.mark.parametrize("name", DEMOS)
def test_main_demonstration_answers_beside_a_training(notebook, name):
    box, keys = demonstration(notebook, name), notebook.page.keyboard
    control = box.locator("[role=slider], select, input[type=checkbox]").first
    kind = control.evaluate("part => part.getAttribute('role') || part.tagName.toLowerCase()")
    control.focus()
    if kind == "slider":
        answered(notebook, box, lambda: keys.press(other_end(control)), "the keyboard")
        place = control.locator("xpath=ancestor::*[contains(@class, 'noUi-target')]").bounding_box()
        at = (place["x"] + place["width"] * 0.4, place["y"] + place["height"] / 2)
        answered(notebook, box, lambda: notebook.page.mouse.click(*at), "the mouse")
    elif kind == "select":
        answered(notebook, box, lambda: keys.press(neighbour(control)), "the keyboard")
        answered(notebook, box, lambda: control.select_option(index=0), "the mouse")  # as the list's own window does
    else:
        answered(notebook, box, lambda: keys.press("Space"), "the keyboard")
        answered(notebook, box, control.click, "the mouse")


@pytest.mark.parametrize("name", DEMOS)
def test_every_control_has_a_name_and_is_reached_by_keys(notebook, name):
    box, page = demonstration(notebook, name), notebook.page
    controls = box.locator("[role=slider], select, input[type=checkbox], button").all()
    box.locator("[role=slider], select, input[type=checkbox], button").first.focus()
    for control in controls:
        # Between two sliders lies the number beside the first, which one can write on.
        for _ in range(2):
            if control.evaluate("part => part === document.activeElement"):
                break
            page.keyboard.press("Tab")
        assert control.evaluate("part => part === document.activeElement"), control.get_attribute("class")
        assert control.evaluate(
            "part => part.getAttribute('aria-label') || [...part.labels || []].map(one => one.textContent).join('')"
            " || part.textContent"
        ).strip()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_demonstrations_look_right(notebook, theme):
    notebook.dress(theme)
    wrong = {}
    for name in notebook.places:
        box = demonstration(notebook, name)
        notebook.page.wait_for_timeout(100)
        shot = box.screenshot(path=shots(f"{name}-{theme.split()[1].lower()}.png"))
        wrong[name] = rules.broken(notebook.cell(notebook.places[name]).locator(".jp-OutputArea"))
        assert rules.is_drawn(shot), name
    assert not any(wrong.values()), {name: found for name, found in wrong.items() if found}


def shots(name: str) -> Path:
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS / name


@pytest.fixture(scope="module")
def pages(notebook):
    """A window of the same browser, of which a process has one; it fetches nothing. And the faults of its scripts."""
    page, faults = notebook.page.context.browser.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.route("http*://**", lambda route: route.abort())
    yield page, faults
    page.close()


@pytest.mark.parametrize(
    ("path", "theme"), list(zip(STORED, itertools.cycle(["light", "dark"]))), ids=lambda one: Path(one).stem
)
def test_stored_notebook_opens_without_a_kernel(pages, tmp_path, path, theme):
    """Every picture is there, no script fails but those that a page would fetch, and what moves by itself moves."""
    page, faults = pages
    text, _ = HTMLExporter(theme=theme).from_notebook_node(nbformat.read(path, as_version=4))
    (tmp_path / "page.html").write_text(text)
    faults.clear()
    page.goto((tmp_path / "page.html").as_uri(), wait_until="domcontentloaded")
    page.wait_for_function("[...document.images].every(one => one.complete)")
    assert page.evaluate("[...document.images].filter(one => !one.naturalWidth).map(one => one.src.slice(0, 80))") == []
    for frame in page.locator(".curtain").all():
        frame.get_by_role("slider", name="line between").focus()
        before = frame.get_attribute("style")
        page.keyboard.press("ArrowRight")
        assert frame.get_attribute("style") != before
    for frame in page.locator(".zoomed").all():
        before = frame.get_attribute("style")
        frame.get_by_role("group").press("+")
        assert frame.get_attribute("style") != before
    assert [fault for fault in faults if "require" not in fault and "MathJax" not in fault] == []
    page.screenshot(path=shots(f"{path.stem}-page-{theme}.png"))
