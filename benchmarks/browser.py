"""JupyterLab in a headless browser: through it the latency of widgets is measured, and the browser tests look at it.

It needs what nothing else here does: the Python package `playwright` (the extra `browser`) and a Chromium that the
system installed (Debian: `apt-get install chromium`); `missing` tells what is not there.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from derainlib.errors import DerainError

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "codemirror-extension/plugin": {"defaultConfig": {"autoClosingBrackets": False}},
}
"""What JupyterLab must not ask, nor fetch, nor add to what is typed."""


def executable() -> str | None:
    """The browser's program."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def missing() -> str:
    """Why there is no browser to look through; nothing, where there is one."""
    if not importlib.util.find_spec("playwright"):
        return "no Python package playwright: pip install playwright"
    return "" if executable() else f"no browser among {', '.join(NAMES)}: install your system's chromium"


@contextlib.contextmanager
def jupyterlab(folder: Path, settings: Mapping[str, Mapping] | None = None) -> Iterator[str]:
    """JupyterLab on a folder, as `make lab` starts it, but with nobody's own settings; gives its address.

    Args:
        folder: where its notebooks lie.
        settings: further ones of JupyterLab's, by extension and plugin, as in `SETTINGS`.

    Raises:
        DerainError: it did not start within two minutes.
    """
    with tempfile.TemporaryDirectory() as home, socket.socket() as free:
        for name, values in (SETTINGS | dict(settings or {})).items():
            path = Path(home, "settings", "@jupyterlab", f"{name}.jupyterlab-settings")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        places = {"JUPYTER_CONFIG_DIR": home, "JUPYTERLAB_SETTINGS_DIR": str(Path(home, "settings"))}
        places["JUPYTERLAB_WORKSPACES_DIR"] = str(Path(home, "workspaces"))
        words = ["--no-browser", f"--port={port}", "--IdentityProvider.token=", "--allow-root"]
        words += ["--expose-app-in-browser"]  # or a page could not be asked for another theme
        command = [sys.executable, "-m", "jupyterlab", *words, f"--ServerApp.root_dir={folder}"]
        log = Path(home, "log")
        with log.open("w") as file:
            server = subprocess.Popen(command, env=os.environ | places, stdout=file, stderr=subprocess.STDOUT)
        try:
            _await(f"http://127.0.0.1:{port}/api", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:  # a busy kernel keeps it
                server.kill()


def _await(address: str, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address)
            return
        except OSError:
            time.sleep(0.3)
    raise DerainError(f"JupyterLab did not start: {log.read_text()[-500:]}")


@contextlib.contextmanager
def window(dark: bool = False) -> Iterator:
    """A page of a headless Chromium, 1280 x 1000 pixels.

    Args:
        dark: the reader's system asks for dark pages.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=QUIET)
        scheme = "dark" if dark else "light"
        yield browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme=scheme)
        browser.close()


def write(path: Path, cells: Sequence[str]) -> Path:
    """A notebook of these code cells, not yet run."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=list(map(new_code_cell, cells)), metadata=kernel), path)
    return path


class Notebook:
    """A notebook in JupyterLab, used as a reader does.

    Args:
        page: what `window` gives.
        address: what `jupyterlab` gives.
        name: the file in JupyterLab's folder.
    """

    def __init__(self, page, address: str, name: str):
        self.page = page
        page.goto(f"{address}/doc/tree/{name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
        page.get_by_text("| Idle").wait_for(timeout=90_000)

    def dress(self, theme: str) -> None:
        """Change JupyterLab's colours: "JupyterLab Light" or "JupyterLab Dark"."""
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        self.page.wait_for_selector(f'[data-jp-theme-name="{theme}"]', state="attached")

    def cell(self, number: int):
        """A cell, the first being 0."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def start(self, number: int) -> None:
        """Run a cell, and do not wait for it."""
        before = self.prompt(number)
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.until(lambda: self.prompt(number) != before, 10)

    def run(self, number: int, seconds: float = 120) -> None:
        """Run a cell to its end."""
        self.start(number)
        self.wait(number, seconds)

    def wait(self, number: int, seconds: float = 120) -> None:
        """Wait for the end of a cell, and for the widgets that came with it.

        Raises:
            DerainError: it ended with an error.
        """
        self.until(lambda: self.prompt(number).strip("[]:").isdecimal(), seconds)
        error = self.cell(number).locator('[data-mime-type="application/vnd.jupyter.error"]')
        if error.count():
            raise DerainError(f"cell {number} ended with {error.first.text_content()[-500:]}")

    def prompt(self, number: int) -> str:
        """What stands left of a cell: "[ ]:" before it ran, "[*]:" while it runs, its number afterwards."""
        return self.cell(number).locator(".jp-InputPrompt").text_content()

    def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait until something is true.

        Raises:
            DerainError: it was not, in so many seconds.
        """
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                raise DerainError(f"nothing came of it in {seconds:.0f} s")
            self.page.wait_for_timeout(50)
