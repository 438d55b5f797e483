"""Notebooks in places where they were not written, and files that a reader of one uploads.

Every run is offline, in a kernel of its own, on a copy of the checkout. No notebook claims that its cells may run in
any order; but a reader may go back to any demonstration.
"""

import base64
import html
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tests.campaign import child, inputs, kernel, places
from tests.campaign.child import Limits, Outcome, forked
from tests.campaign.files import listed
from tests.campaign.report import Finding
from tests.campaign.stock import Stock
from tests.hostile_files import CONTENTS, encoded, half, png

ROOT = Path(__file__).parents[2]
PARTS_OF_IT = ("derainlib", "data", "notebooks", "benchmarks/results")
"""What notebooks need of a checkout."""
QUICK = 20
"""Seconds of the processor that a notebook stores for itself, at most, to be run here."""
LIMITS = Limits(seconds=600.0)
SHOWN = ("Demo(", "Curtain(", "Zoomed(")
"""How the text form of a demonstration begins."""

TINY = new_notebook(
    cells=[
        new_code_cell("seed = 3"),
        new_code_cell(
            "from derainlib.data import samples\nfrom derainlib.lab.results import results\n"
            "from derainlib.lab.widgets import demo, slider\n\nrainy = samples.load('street-heavy').rainy"
        ),
        new_code_cell("demo(lambda shade: shade / 10 * rainy, shade=slider(0, 10, seed))"),
        new_code_cell("print('B̂', len(results('loss_verdicts')) > 0)"),
    ]
)
"""A notebook of a minute's work, for the short form."""


class Place(NamedTuple):
    """Where, and in what surroundings, notebooks run."""

    name: str
    folder: str = "checkout"
    """Of the copy of the checkout."""
    closed: bool = False
    """Whether nothing in it can be written."""
    environment: Mapping[str, str] = MappingProxyType({})
    """Variables; those of the language otherwise as with most readers."""


ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PLACES = (
    Place("in a read-only checkout", closed=True),
    Place("in a folder with spaces and umlauts", folder="Größe & Übung, (zwei)  ½"),
    Place("under a C locale", environment=ASCII),
)
ALL = Place("in all places at once", "Größe & Übung, (zwei)  ½", True, ASCII)


# --- the order of cells ---------------------------------------------------------------------------------------------


def twice(cells: Sequence[NotebookNode], draws: random.Random) -> list[NotebookNode]:
    """All, and all again in the same kernel."""
    return [*cells, *cells]


def demonstrations_again(cells: Sequence[NotebookNode], draws: random.Random) -> list[NotebookNode]:
    """All, and then the demonstrations in a random order."""
    shown = [cell for cell in cells if any(text.startswith(SHOWN) for text in texts(cell))]
    return [*cells, *draws.sample(shown, len(shown))]


ORDERS = {"twice in one kernel": twice, "demonstrations again, in a random order": demonstrations_again}


def texts(cell: NotebookNode) -> list[str]:
    """What a cell gives in words: what is printed, and the text forms of what is shown."""
    streams = ["".join(output.text for output in cell.outputs if output.output_type == "stream")]
    return [*filter(None, streams), *(o.data["text/plain"] for o in cell.outputs if "text/plain" in o.get("data", {}))]


# --- runs -----------------------------------------------------------------------------------------------------------


def campaign(stock: Stock, seed: int, share: float, wanted: Callable[[str], bool]) -> Iterator[Finding]:
    """See `tests.campaign.files.campaign`; in a part of it, a tiny notebook stands for those of the series."""
    draws = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="notebooks-", dir=stock.folder.parent) as folder:
        runs = list(planned()) if share >= 1 else [("tiny", TINY, ALL, "twice in one kernel")]
        for name, notebook, place, order in runs:
            told = f"{name}, {place.name}, {order}"
            if wanted(f"notebooks: {told}"):
                yield ran(Path(folder), told, notebook, place, ORDERS[order](code(notebook), draws))
    child.warm_up(stock.folder, partial(meets, "intact.png", encoded("PNG")))
    cases = list(uploads())
    if share < 1:
        cases = draws.sample(cases, max(8, round(share * len(cases))))
    for upload in cases:
        if wanted(f"uploads: {upload.name}"):
            yield met(stock, upload)


def planned() -> Iterator[tuple[str, NotebookNode, Place, str]]:
    """The quick notebooks, each in one place and one order, by turns."""
    read = {path: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    quick = {path: one for path, one in read.items() if one.metadata.derainlib.cpu_seconds <= QUICK}
    for number, (path, notebook) in enumerate(quick.items()):
        order = [*ORDERS][(number + number // len(PLACES)) % len(ORDERS)]
        yield path.stem, notebook, PLACES[number % len(PLACES)], order


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def ran(folder: Path, name: str, notebook: NotebookNode, place: Place, cells: Sequence[NotebookNode]) -> Finding:
    """Runs cells of a notebook, and compares what each gives with what it stores."""
    checkout, own = copied(folder / "copies", place), folder / "own"
    shutil.rmtree(own, ignore_errors=True)
    (own / "home/.ipython/profile_default/startup").mkdir(parents=True)
    (own / "home/.ipython/profile_default/startup/00-watch.py").write_text(kernel.START_UP.format(folder=str(folder)))
    written = new_notebook(
        cells=[new_code_cell(cell.source) for cell in cells] + [new_code_cell(kernel.ENDING)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(written, own / "run.ipynb")
    before, used = listed(checkout), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaign.kernel", own / "run.ipynb", checkout / "notebooks"],
        env=environment(own, checkout) | place.environment,
        preexec_fn=kernel.bound,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMITS.seconds,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    faults, megabytes = [], 0.0
    if done.returncode:
        faults.append(f"traceback: {(done.stderr.strip().splitlines() or ['no word'])[-1][:300]}")
    else:
        *given, last = nbformat.read(own / "run.ipynb", as_version=4).cells
        seen = json.loads(texts(last)[0])
        megabytes = seen["megabytes"]
        faults += Outcome(0, megabytes=megabytes, deeds=seen["deeds"]).faults(LIMITS)
        faults += differing(cells, given)
    faults += [f"changed {path}" for path, is_now in listed(checkout).items() if before.get(path) != is_now][:5]
    became = f"{'wrong' if faults else 'right'} {place.name}"
    return Finding("notebooks", name, became, tuple(faults), processor, megabytes)


def differing(stored: Sequence[NotebookNode], given: Sequence[NotebookNode]) -> Iterator[str]:
    """Cells that give other words than they store; those that store nothing only have to run."""
    for number, (old, new) in enumerate(zip(stored, given, strict=True)):
        if texts(old) and texts(old) != texts(new):
            yield f"cell {number}, {old.source[:40]!r}, gives {str(texts(new))[:200]}"


def copied(folder: Path, place: Place) -> Path:
    """A checkout as the place wants it, made once."""
    checkout = folder / str(1 + (ALL, *PLACES).index(place)) / place.folder
    if not checkout.exists():
        for part in PARTS_OF_IT:
            shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        if place.closed:
            for path in (checkout, *checkout.rglob("*")):
                path.chmod(0o555 if path.is_dir() else 0o444)
    return checkout


def environment(own: Path, checkout: Path) -> dict[str, str]:
    """Variables of a reader whose home is new, and who has one processor."""
    (own / "tmp").mkdir()
    known = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "XDG_", "IPY", "JUP"))
    }
    return known | {
        "HOME": str(own / "home"),
        "TMPDIR": str(own / "tmp"),
        "PYTHONPATH": os.pathsep.join((str(checkout), str(ROOT))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "LANG": "C.UTF-8",
    }


# --- uploads --------------------------------------------------------------------------------------------------------


class Upload(NamedTuple):
    """A file that a reader chooses."""

    name: str
    file: str
    """What the page calls it."""
    make: Callable[[], bytes]
    refused: bool | None = True
    """Whether it must be; None where either is right."""


ODD_NAMES = (
    *places.NAMES, "../../out.png", "..\\..\\out.png", "/etc/passwd", "a/../../b\n\n<img src=x onerror=alert(1)>.png",
    "雨" * 300 + ".png", "\ud800.png", "", "..", "\0.png", "~root.png", "x" * 100_000,
)  # fmt: skip


def uploads() -> Iterator[Upload]:
    """Damaged and hostile files, bombs, and intact ones under odd names."""
    yield Upload("truncated JPEG", "street.jpg", lambda: half(encoded("JPEG")))
    yield Upload("a text", "street.jpg", lambda: b"It rains.\n" * 50)
    yield Upload("nothing", "street.jpg", bytes)
    yield Upload("a header of 100 megapixels", "street.png", lambda: png(10_000, 10_000, rows=b"\0"))
    yield Upload("49.99 megapixels", "street.png", partial(inputs.tall, 4166), refused=False)
    for name, (make, refused) in inputs.BOMBS.items():
        yield Upload(f"bomb, {name}", name, make, refused or "below" in name or None)
    for name, (data, _) in CONTENTS.items():
        yield Upload(f"by hand, {name}", name, partial(bytes, data))
    for name in ODD_NAMES:
        for kind, data in (("intact", encoded("PNG")), ("damaged", b"rain")):
            yield Upload(f"{kind} {name!a:.40}", name, partial(bytes, data), kind == "damaged")


def met(stock: Stock, upload: Upload) -> Finding:
    """What a demonstration in a child makes of the file."""
    data = upload.make()
    with tempfile.TemporaryDirectory(prefix="upload-", dir=stock.folder.parent) as place:
        outcome = forked(partial(meets, upload.file, data), folder=Path(place), limits=Limits())
        allowed = {True: (2,), False: (0,), None: (0, 2)}[upload.refused]
        faults = [*outcome.faults(Limits(), allowed), *(f"left {name} behind" for name in listed(Path(place)))]
    return Finding.of("uploads", upload.name, outcome, faults)


def meets(name: str, data: bytes) -> int:
    """Chooses a file in a demonstration; 2, and the line, if there is one under it."""
    import torch

    from derainlib.lab.widgets import upload

    tempfile.tempdir = os.getcwd()
    live = upload(lambda image: 1 - image[..., :64, :64], torch.full((3, 64, 64), 0.5))
    shown = live.picture
    try:
        send(live.controls["photograph"]._wire, name, data)
    except Exception as error:  # the kernel writes it into its log
        del error
    line = html.unescape(re.sub("<[^>]+>", "", live._message.value))
    if line:
        print(f"derain: {line}", file=sys.stderr)
    return 2 if line else 0 if live.picture != shown else 5


def send(wire, name: str, data: bytes, piece: int = 3_000_000):
    """What the page does with a file."""
    for at in range(0, max(1, len(data)), piece):
        part = base64.b64encode(data[at : at + piece]).decode()
        told = {"run": 1, "name": name, "size": len(data), "at": at, "data": part}
        wire.set_state({"value": json.dumps(told)})
