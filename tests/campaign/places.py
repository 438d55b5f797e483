"""Hostile places: odd names, links, devices and pipes, closed files and folders, and what vanishes meanwhile."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from derainlib.data.synthetic import gather
from derainlib.models import weights
from derainlib.recipe import Recipe
from tests.campaign.child import NOBODY
from tests.campaign.inputs import (
    MODEL,
    RAINY,
    TINY,
    Call,
    Case,
    Draws,
    Put,
    derain,
    folder_case,
    image_case,
    library,
    torch_file,
    written,
)
from tests.campaign.stock import Stock, training
from tests.hostile_files import encoded

Act = Callable[[Path], object]

NAMES = (
    "two\nlines.png", "\x1b[31mred.png", "\u202ereversed.png", "bell\x07.png", "tab\t.png", " .png", "-rf.png",
    "'; rm.png", "$(touch EXECUTED).png", "`touch EXECUTED`.png", "%s%n.png", "{0}.png", "*.png", "[a].png",
    "\u00e9.png", "e\u0301.png", "雨" * 80 + ".png", "n" * 250 + ".png", os.fsdecode(b"\xff\xfe.png"), "a.png.png",
    ".png", "CON.png", "\\back.png", "nul\u2028.png",
)  # fmt: skip


def names(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Odd names of intact photographs, which come out under them, and of damaged ones, which are named in a line."""
    for name in NAMES:
        for kind, data in (("intact", encoded("PNG")), ("damaged", b"rain")):
            refused = kind == "damaged"
            yield image_case(f"{kind} {name!a:.40}", f"./{name}", written(name, data), refused=refused)
            yield folder_case(f"folder, {kind} {name!a:.40}", written(f"in/{name}", data))


# --- links, devices, pipes ------------------------------------------------------------------------------------------


def linked(target: str) -> Act:
    return lambda path: path.symlink_to(target)


KINDS: dict[str, Act] = {
    "endless": linked("/dev/zero"),
    "nothing": linked("/dev/null"),
    "random": linked("/dev/urandom"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "dangling": linked("nowhere"),
    "own memory": linked("/proc/self/mem"),
    "own input": linked("/dev/stdin"),
}
"""What may stand where a file is wanted."""

RECIPE = library(Recipe.from_json, Path("recipe.json"))
CARD = library(weights.card, TINY)
LIST = library(gather, "photographs", "list.txt")
TO_IMAGE = derain("image", RAINY, "out.png", *MODEL)
TO_FOLDER = derain("folder", "in", "out", *MODEL)
CONVERT = derain("convert", "other.pth", "out.safetensors")
SCORE = derain("score", TINY, "--sets", "pairs")
TRAIN = derain(*training())

WANTED: dict[str, tuple[Call, tuple[str, ...]]] = {
    "tiny.safetensors": (TO_IMAGE, (RAINY,)),
    "other.pth": (CONVERT, ()),
    "recipe.json": (RECIPE, ()),
    "tiny.json": (CARD, (TINY,)),
    "list.txt": (LIST, ("photographs",)),
}
"""Files, beside images, and the calls that want them."""


def special(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Links, devices, pipes and folders in the place of files, of targets, and within a folder."""
    for kind, make in KINDS.items():
        yield image_case(f"{kind} in.png", "in.png", at("in.png", make), refused=True)
        yield folder_case(f"{kind} in/a.png", at("in/a.png", make))
        for name, (call, needs) in WANTED.items():
            yield Case(f"{kind} {name}", call, needs, at(name, make), refused=True)
    for kind in ("pipe", "folder", "endless"):
        yield Case(f"target {kind}", TO_IMAGE, (RAINY, TINY), at("out.png", KINDS[kind]), refused=True)
    for kind in ("loop", "dangling"):  # what leads nowhere may be replaced
        yield Case(f"target {kind}", TO_IMAGE, (RAINY, TINY), at("out.png", KINDS[kind]), makes=("out.png",))
    victim = both(written("victim.png", b"mine"), at("out.png", linked("victim.png")))
    overwrite = derain("image", RAINY, "out.png", *MODEL, "--overwrite")
    yield Case("target linked to another file", overwrite, (RAINY, TINY), victim, makes=("out.png",))
    yield folder_case("folder linked into itself", at("in/loop", linked("..")))


def at(name: str, make: Act) -> Put:
    """Puts something else than a file."""

    def put(folder: Path):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make(folder / name)

    return put


def both(*puts: Put) -> Put:
    return lambda folder: [put(folder) for put in puts]


# --- permissions ----------------------------------------------------------------------------------------------------


def closed(name: str, mode: int = 0) -> Put:
    return lambda folder: (folder / name).chmod(mode)


READ_ONLY = 0o555
PHOTO = written("in/a.png", encoded("PNG"))


def permissions(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Under a user who may not."""
    image, folder = (TO_IMAGE, (RAINY, TINY)), (TO_FOLDER, (TINY,))
    train, again, score = (TRAIN, ("photographs",)), (TRAIN, ("photographs", "run")), (SCORE, (TINY, "pairs"))
    other = written("in/b.png", encoded("PNG")), written("in/sub/b.png", encoded("PNG"))
    for case in (
        Case("photograph", *image, closed(RAINY), refused=True),
        Case("weights", *image, closed(TINY), refused=True),
        Case("target's folder", *image, closed(".", READ_ONLY), refused=True),
        Case("a photograph of a folder", *folder, both(PHOTO, other[0], closed("in/b.png")), makes=("out",)),
        Case("a folder", *folder, both(PHOTO, closed("in")), refused=True),
        Case("a sub-folder", *folder, both(PHOTO, other[1], closed("in/sub")), makes=("out",)),
        Case("results", *folder, both(PHOTO, at("out", Path.mkdir), closed("out", READ_ONLY)), makes=("out",)),
        Case("results cannot be made", *folder, both(PHOTO, closed(".", READ_ONLY))),
        Case("pairs", *score, closed("pairs/rain"), refused=True),
        Case("one of the pairs", *score, closed("pairs/rain/1.png"), refused=True),
        Case("recipe", RECIPE, (), both(written("recipe.json", b"{}"), closed("recipe.json")), refused=True),
        Case("card", CARD, (TINY, "tiny.json"), closed("tiny.json"), refused=True),
        Case("list", LIST, ("photographs",), both(written("list.txt", b"0.png\n"), closed("list.txt")), refused=True),
        Case("photographs", *train, closed("photographs"), refused=True),
        Case("a photograph to train on", *train, closed("photographs/3.png"), refused=True, changes=("run",)),
        Case("run's folder", *train, closed(".", READ_ONLY), refused=True),
        Case("run", *again, closed("run", READ_ONLY), refused=True),
        Case("run's recipe", *again, closed("run/recipe.json"), refused=True, changes=("run",)),
        Case("run's checkpoints", *again, closed("run/checkpoints"), refused=True, changes=("run",)),
        Case("checkpoint", CONVERT, (), both(written("other.pth", torch_file({})), closed("other.pth")), refused=True),
    ):
        yield case._replace(user=NOBODY)


# --- what vanishes --------------------------------------------------------------------------------------------------


def at_first_open(name: str, happens: Act, call: Call) -> Call:
    """The call, with something happening just before the first file whose path ends so is opened."""

    def run() -> int | None:
        waiting = [happens]

        def hook(event: str, arguments: tuple):
            if waiting and event == "open" and str(arguments[0]).endswith(name):
                waiting.pop()(Path())

        sys.addaudithook(hook)
        return call()

    return run


HAPPENINGS: dict[str, Act] = {
    "the photograph goes": lambda here: (here / "in/b.png").unlink(),
    "the folder goes": lambda here: shutil.rmtree(here / "in"),
    "the photograph is a pipe": lambda here: ((here / "in/b.png").unlink(), os.mkfifo(here / "in/b.png")),
    "the photograph is another": lambda here: (here / "in/b.png").write_bytes(b"rain"),
}
RESULTS: dict[str, Act] = {
    "results go": lambda here: shutil.rmtree(here / "out"),
    "results are a file": lambda here: (shutil.rmtree(here / "out"), (here / "out").write_bytes(b"")),
}


def vanishing(stock: Stock, draws: Draws) -> Iterator[Case]:
    """What was there when it was listed is gone, or something else, when it is opened."""
    photos = both(*(written(f"in/{name}.png", encoded("PNG")) for name in "abc"))
    for file, happenings in {"in/a.png": HAPPENINGS, "in/b.png": HAPPENINGS | RESULTS}.items():
        for name, happens in happenings.items():
            call = at_first_open(file, happens, TO_FOLDER)
            yield Case(f"{name}, at {file}", call, (TINY,), photos, changes=("in", "out"))
    call = at_first_open("list.txt", lambda here: (here / "list.txt").unlink(), LIST)
    put = written("list.txt", b"0.png\n")
    yield Case("the list goes", call, ("photographs",), put, refused=True, changes=("list.txt",))
    for name, go in {"photographs/0.png": Path.unlink, "photographs": shutil.rmtree}.items():
        call = at_first_open("metrics.jsonl", lambda here, go=go, name=name: go(here / name), TRAIN)
        yield Case(f"{name} goes while training", call, ("photographs",), nothing, changes=("run", "photographs"))


def nothing(folder: Path):
    """Puts nothing hostile: what is hostile happens later."""
