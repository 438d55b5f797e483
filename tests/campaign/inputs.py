"""Hostile contents: images, weights, pickles, recipes, cards, lists and runs, each with the call that meets it.

What draws the cases of a class takes the stock and a source of random numbers. Mutations come without end; what is made
by hand is always the same.
"""

import dataclasses
import itertools
import json
import os
import pickle
import random
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load, save

from derainlib import cli
from derainlib.data.synthetic import gather
from derainlib.errors import DerainError
from derainlib.models import weights
from derainlib.recipe import Recipe
from derainlib.training import Job
from tests.campaign.stock import Stock, training
from tests.hostile_files import FLOATS, HOSTILE, PHOTO, chunk, encoded, png, tiff

Call = Callable[[], int | None]
Draws = random.Random
Put = Callable[[Path], object]


class Case(NamedTuple):
    """One hostile input, and what meets it."""

    name: str
    call: Call
    needs: tuple[str, ...]
    """What is in order in its folder: names of the stock."""
    put: Put
    """Puts what is hostile into the folder."""
    refused: bool = False
    """Whether only a refusal is right."""
    makes: tuple[str, ...] = ()
    """What the call may make where it is not refused: names in the folder."""
    changes: tuple[str, ...] = ()
    """What it, or what happens meanwhile, may change in any case."""
    user: int | None = None
    """Under whom it is called."""


def derain(*words: str) -> Call:
    return partial(cli.main, list(words))


def library(call: Callable, *args) -> Call:
    """A call of the library, whose refusals are told as the command line tells them."""

    def tell() -> int:
        try:
            call(*args)
        except DerainError as error:
            print(f"derain: {error}", file=sys.stderr)
            return 2
        return 0

    return tell


def written(name: str, data: bytes) -> Put:
    """Puts one file."""

    def put(folder: Path):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return put


def replaced(name: str, change: Callable[[bytes], bytes]) -> Put:
    """Changes a file that is there."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


TINY, RAINY = "tiny.safetensors", "rainy.png"
MODEL = ("--model", TINY)


def image_case(name: str, path: str, put: Put, **more) -> Case:
    return Case(name, derain("image", path, "out.png", *MODEL), (TINY,), put, makes=("out.png",), **more)


def folder_case(name: str, put: Put, **more) -> Case:
    """A case whose file lies in `in/`, beside one in order."""
    return Case(name, derain("folder", "in", "out", *MODEL), (TINY,), put, makes=("out",), **more)


def weights_case(name: str, data: bytes, **more) -> Case:
    call = derain("image", RAINY, "out.png", "--model", "other.safetensors")
    return Case(name, call, (RAINY,), written("other.safetensors", data), makes=("out.png",), **more)


def resume_case(name: str, put: Put, **more) -> Case:
    return Case(name, derain(*training()), ("photographs", "run"), put, changes=("run",), **more)


# --- mutations ------------------------------------------------------------------------------------------------------

LIES = [struct.pack(f"{order}I", value) for order in "<>" for value in (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)]
"""Four bytes that stand for a size somewhere."""


def flipped(data: bytes, draws: Draws) -> bytes:
    found = bytearray(data)
    for _ in range(draws.choice((1, 1, 2, 8, 64))):
        found[draws.randrange(len(found))] ^= 1 << draws.randrange(8)
    return bytes(found)


def truncated(data: bytes, draws: Draws) -> bytes:
    return data[: draws.randrange(len(data))]


def lying(data: bytes, draws: Draws) -> bytes:
    at = draws.randrange(4, min(200, len(data) - 4))
    return data[:at] + draws.choice(LIES) + data[at + 4 :]


def holed(data: bytes, draws: Draws) -> bytes:
    """A part of it is zero, missing, or there twice."""
    first, last = sorted(draws.sample(range(len(data)), 2))
    return data[:first] + draws.choice((bytes(last - first), b"", 2 * data[first:last])) + data[last:]


MUTATIONS = (flipped, truncated, lying, holed)


# --- images ---------------------------------------------------------------------------------------------------------


def seeds() -> dict[str, bytes]:
    """An intact file of every format."""
    photo = Image.fromarray(PHOTO)
    return {
        "rgb.png": encoded("PNG"),
        "palette.png": encoded("PNG", photo.quantize(32)),
        "alpha.png": encoded("PNG", photo.convert("RGBA")),
        "grey16.png": encoded("PNG", Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 257)),
        "photo.jpg": encoded("JPEG", quality=90),
        "progressive.jpg": encoded("JPEG", progressive=True),
        "cmyk.jpg": encoded("JPEG", photo.convert("CMYK")),
        "photo.webp": encoded("WEBP"),
        "lossless.webp": encoded("WEBP", lossless=True),
        "deflated.tif": encoded("TIFF", compression="tiff_deflate"),
        "lzw.tif": encoded("TIFF", compression="tiff_lzw"),
        "floats.tif": tiff(FLOATS, photometric="rgb"),
        "planes16.tif": tiff(np.moveaxis(PHOTO, -1, 0).astype(np.uint16), photometric="rgb", planarconfig="separate"),
        "photo.bmp": encoded("BMP"),
        "photo.gif": encoded("GIF", photo.convert("L")),
        "photo.ppm": encoded("PPM"),
        "photo.avif": encoded("AVIF"),
        "photo.jp2": encoded("JPEG2000"),
    }


def mutated_images(stock: Stock, draws: Draws, mutation: Callable, surface: str = "image") -> Iterator[Case]:
    """Files of every format in turn, spoilt in one way; without end."""
    for number, (name, data) in enumerate(itertools.cycle(seeds().items())):
        spoilt = mutation(data, draws)
        if surface == "image":
            yield image_case(f"{number} {name}", name, written(name, spoilt))
        else:
            yield folder_case(f"{number} {name}", written(f"in/{name}", spoilt))


def pairs_with_mutations(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Scores on pairs, of which one photograph is spoilt; without end."""
    call = derain("score", TINY, "--sets", "pairs")
    for number, mutation in enumerate(itertools.cycle(MUTATIONS)):
        path = f"pairs/{draws.choice(('rain', 'clean'))}/{draws.randrange(3)}.png"
        put = replaced(path, partial(mutation, draws=draws))
        yield Case(f"{number} {mutation.__name__} {path}", call, (TINY, "pairs"), put)


def hostile_images(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Those of the tests of images: each is refused by the command line, too."""
    for hostile in HOSTILE:
        yield image_case(
            ascii(hostile.name), hostile.name, lambda folder, h=hostile: h.make(folder / h.name), refused=True
        )


def tall(height: int) -> bytes:
    """A black PNG of 12,000 pixels a row, which is never held unpacked."""
    packer, row = zlib.compressobj(1), bytes(12_000 * 3 + 1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    empty = chunk(b"IDAT", zlib.compress(b""))
    return png(12_000, height, rows=b"").replace(empty, chunk(b"IDAT", packed))


def many_frames() -> bytes:
    """A GIF of 60 pictures of 4 megapixels."""
    file = BytesIO()
    frames = (Image.new("L", (2000, 2000), number) for number in range(60))
    next(frames).save(file, "GIF", save_all=True, append_images=frames)
    return file.getvalue()


def large_profile() -> bytes:
    """A PNG whose colour profile unpacks to 256 MB."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()
    return png(64, 64, rows=bytes(64 * 193), between=chunk(b"iCCP", b"x\0\0" + packed))


def nested_zip() -> bytes:
    data = bytes(2**24)
    for _ in range(3):
        file = BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", data)
        data = file.getvalue()
    return data


BOMBS: dict[str, tuple[Callable[[], bytes], bool]] = {
    "160 megapixels.png": (partial(tall, 13_334), True),
    "below 160 megapixels.png": (partial(tall, 13_333), False),
    "2 megapixels.png": (partial(tall, 150), False),
    "promised only.png": (partial(png, 12_000, 13_000, rows=b"\0"), True),
    "frames.gif": (many_frames, False),
    "profile.png": (large_profile, False),
    "nested.zip.png": (nested_zip, True),
}
"""Small files that promise, or really hold, very much; and whether they must be refused."""


def bombs(stock: Stock, draws: Draws) -> Iterator[Case]:
    for name, (make, refused) in BOMBS.items():
        yield image_case(name, name, lambda folder, n=name, m=make: (folder / n).write_bytes(m()), refused=refused)


# --- weights --------------------------------------------------------------------------------------------------------


class Payload:
    """Executes what it says when it is unpickled."""

    def __init__(self, call: Callable, *args):
        self.told = call, args

    def __reduce__(self):
        return self.told


PAYLOADS = {
    "os.system": Payload(os.system, "touch EXECUTED"),
    "eval": Payload(eval, "open('EXECUTED', 'w')"),
    "exec": Payload(exec, "import pathlib; pathlib.Path('EXECUTED').touch()"),
    "open": Payload(open, "EXECUTED", "w"),
    "torch.load": Payload(torch.load, "other.pth"),
    "torch.hub": Payload(torch.hub.load_state_dict_from_url, "http://127.0.0.1:9/x"),
}
"""What pickles are made of that whoever trusts them would regret."""


def pickles() -> dict[str, bytes]:
    """By payload and place: alone, in a state, beside tensors, and in the format that torch had before its archives."""
    found = {}
    for name, payload in PAYLOADS.items():
        found[f"{name} alone"] = pickle.dumps(payload)
        found[f"{name} as state"] = torch_file({"conv0.0.weight": payload})
        found[f"{name} beside"] = torch_file({"state_dict": {"conv0.0.weight": torch.zeros(2)}, "epoch": payload})
        found[f"{name} old"] = torch_file({"conv0.0.weight": payload}, _use_new_zipfile_serialization=False)
    return found


def torch_file(value: object, **how) -> bytes:
    file = BytesIO()
    torch.save(value, file, **how)
    return file.getvalue()


def pickles_as_weights(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Given to `convert`, and under our own ending to `image`."""
    for name, data in pickles().items():
        call = derain("convert", "other.pth", "out.safetensors")
        yield Case(f"convert {name}", call, (), written("other.pth", data), refused=True)
        yield weights_case(f"image {name}", data, refused=True)


def pickles_in_checkpoints(stock: Stock, draws: Draws) -> Iterator[Case]:
    """In each file of the newest checkpoint of a run that goes on, without checksums that would tell."""

    def put_alone(path: str, data: bytes) -> Put:
        def put(folder: Path):
            (folder / path).write_bytes(data)
            (folder / path).with_name("sha256.json").unlink(missing_ok=True)

        return put

    names = [path.name for path in sorted((stock.run / "checkpoints").iterdir())[-1].iterdir()]
    payloads = itertools.cycle(pickles().items())
    for file in names:
        for name, data in itertools.islice(payloads, 4):
            yield resume_case(f"{file} {name}", put_alone(f"run/checkpoints/step-00000004/{file}", data))


def mutated_weights(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Without end."""
    data = (stock.folder / TINY).read_bytes()
    for number, mutation in enumerate(itertools.cycle(MUTATIONS)):
        yield weights_case(f"{number} {mutation.__name__}", mutation(data, draws))


def crafted_weights(stock: Stock, draws: Draws) -> Iterator[Case]:
    """With the right checksum: only what they hold is wrong."""
    state = load((stock.folder / TINY).read_bytes())
    first = next(iter(state))

    def crafted(tensors: dict, model: str = "srn", options: str = '{"stages": 1, "width": 6}') -> bytes:
        return save(tensors, {"model": model, "options": options, "sha256": weights._checksum(tensors)})

    def changed(change: Callable) -> bytes:
        return crafted({name: change(value.clone()) for name, value in state.items()})

    tensors = {
        "NaN": changed(lambda x: x.fill_(float("nan"))),
        "one NaN": crafted(
            state
            | {first: state[first].clone().flatten().index_fill(0, torch.tensor(0), float("nan")).view_as(state[first])}
        ),
        "infinite": changed(lambda x: x.fill_(float("inf"))),
        "1e38": changed(lambda x: x.fill_(1e38)),
        "float64": changed(torch.Tensor.double),
        "complex": changed(lambda x: x.to(torch.complex64)),
        "integers": changed(lambda x: x.to(torch.int8)),
        "booleans": changed(lambda x: x > 0),
        "none": crafted({}),
        "one missing": crafted({name: value for name, value in state.items() if name != first}),
        "one more": crafted(state | {"more": torch.zeros(3)}),
        "empty": changed(lambda x: x[:0]),
        "a number": changed(lambda x: x.sum()),
        "names of two lines": crafted({f"{name}\n\x1b[31m": value for name, value in state.items()}),
    }
    for name, data in tensors.items():
        yield weights_case(name, data, refused=name not in ("float64", "1e38"))
    options = (
        '{"stages": 1000000000, "width": 6}', '{"stages": -1, "width": 6}', '{"stages": 1, "width": 10000000}',
        '{"stages": 1, "width": 1000000000000000}', '{"stages": 1.5, "width": 6}', '{"stages": "1", "width": 6}',
        '{"stages": null}', '{"evil": 1}', '{"self": 1}', "[]", "{}", "null", "1e999", "[[[[", '{"stages": NaN}',
        "[" * 100_000, '{"stages": ' + "9" * 5000 + "}", '"\\ud800"', "\x1b[2J\n",
    )  # fmt: skip
    for number, text in enumerate(options):
        yield weights_case(f"options {number} {text[:40]!r}", crafted(state, options=text), refused=True)
    for model in ("", "os.system", "../../etc/passwd", "espnet", "srn\n", "\x1b[31m", "s" * 100_000):
        yield weights_case(f"model {model[:20]!r}", crafted(state, model), refused=True)


# --- texts: recipes, cards, lists, parameters -----------------------------------------------------------------------

VALUES = (
    -1, 0, 10**20, -(10**20), 1e308, float("nan"), float("inf"), "", "x", "\n\x1b[31m", "../" * 50, None, True, [], {},
    [[]], {"stages": 10**12}, {"stages": 1, "width": 10**9}, {"width": 10**15}, {"a\nb": 1}, "9" * 5000, [1e308] * 3,
    [{"term": "ssim", "weight": -1}], [{"term": "ssim", "options": {"window": 10**9}}], [{"term": "\n"}],
)  # fmt: skip
"""What no field of a recipe wants, or only one."""

TEXTS = {
    "empty": b"",
    "null": b"null",
    "list": b"[1, 2]",
    "text": b'"a recipe"',
    "number": b"1e999",
    "not closed": b'{"name": "srn"',
    "deep": b"[" * 100_000,
    "deep object": b'{"options": ' * 50_000,
    "long number": b'{"steps": ' + b"9" * 5000 + b"}",
    "utf-16": '{"name": "srn"}'.encode("utf-16"),
    "latin-1": '{"name": "Stra\xdfe"}'.encode("latin-1"),
    "nulls": bytes(1000),
    "surrogate": b'{"name": "\\ud800", "source": ""}',
    "binary": bytes(range(256)) * 20,
    "twice": b'{"name": "a", "name": "b"}',
    "python": b"__import__('os').system('touch EXECUTED')",
    "yaml": b"!!python/object/apply:os.system ['touch EXECUTED']",
}
"""What takes the place of a text in JSON."""


def recipe_text() -> dict:
    from derainlib import recipes

    return json.loads(recipes.get("srn", "tiny", options={"stages": 1, "width": 8}).to_json())


def recipe_case(name: str, data: bytes, **more) -> Case:
    return Case(name, library(Recipe.from_json, Path("recipe.json")), (), written("recipe.json", data), **more)


def recipes_by_value(stock: Stock, draws: Draws) -> Iterator[Case]:
    """A field has a value that it does not want; without end."""
    fields = recipe_text()
    while True:
        field, value = draws.choice(list(fields)), draws.choice(VALUES)
        data = json.dumps(fields | {field: value}).encode()
        yield recipe_case(f"{field} = {value!r}"[:60], data)


def recipes_by_text(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Other texts, then mutations without end."""
    for name, data in TEXTS.items():
        yield recipe_case(name, data, refused=True)
    data = json.dumps(recipe_text(), indent=2).encode()
    for number, mutation in enumerate(itertools.cycle(MUTATIONS)):
        yield recipe_case(f"{number} {mutation.__name__}", mutation(data, draws))


def cards(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Other texts, then mutations without end."""
    call = library(weights.card, TINY)
    for name, data in TEXTS.items():
        yield Case(name, call, (TINY,), written("tiny.json", data), refused=True)
    for number, mutation in enumerate(itertools.cycle(MUTATIONS)):
        put = replaced("tiny.json", partial(mutation, draws=draws))
        yield Case(f"{number} {mutation.__name__}", call, (TINY, "tiny.json"), put)


def lists(stock: Stock, draws: Draws) -> Iterator[Case]:
    """Lists of photographs: other texts, names that lead elsewhere, then mutations without end."""
    call = library(gather, "photographs", "list.txt")
    contents = TEXTS | {
        "parents": b"../../../etc/passwd\n",
        "absolute": b"/etc/passwd\n",
        "device": b"/dev/zero\n",
        "control characters": b"0.png\n\x1b[2J.png\n",
        "null": b"0.png\n\0.png\n",
        "long": b"n" * 5000 + b"\n",
        "many": b"0.png\n" * 200_000,
        "a folder": b".\n",
        "returns": b"0.png\r1.png\r\n2.png\n",
    }
    for name, data in contents.items():
        refused = name not in ("many", "returns", "empty")
        yield Case(name, call, ("photographs",), written("list.txt", data), refused=refused)
    intact = "".join(f"{number}.png\n" for number in range(12)).encode() * 5
    for number, mutation in enumerate(itertools.cycle(MUTATIONS)):
        put = written("list.txt", mutation(intact, draws))
        yield Case(f"{number} {mutation.__name__}", call, ("photographs",), put)


def parameters(stock: Stock, draws: Draws) -> Iterator[Case]:
    """What papermill may hand to the training notebook; without end."""
    usual = {"recipe": "srn", "out_dir": "run", "scale": "tiny", "clean_dir": "photographs", "changes": {}}
    fields = [field.name for field in dataclasses.fields(Job)]
    while True:
        field, value = draws.choice(fields), draws.choice(VALUES)
        call = library(lambda given: Job.of(given).plan(), usual | {field: value})
        yield Case(f"{field} = {value!r}"[:60], call, ("photographs",), lambda folder: None)


# --- runs that go on ------------------------------------------------------------------------------------------------


def mutated_runs(stock: Stock, draws: Draws) -> Iterator[Case]:
    """One file of a stopped run is spoilt; without end."""
    found = [path for path in sorted(stock.run.rglob("*")) if path.is_file() and path.stat().st_size]
    names = [str(path.relative_to(stock.folder)) for path in found]
    for number, name in enumerate(itertools.cycle(names)):
        mutation = draws.choice(MUTATIONS)
        yield resume_case(f"{number} {mutation.__name__} {name}", replaced(name, partial(mutation, draws=draws)))


def runs_with_other_texts(stock: Stock, draws: Draws) -> Iterator[Case]:
    for name, data in TEXTS.items():
        for file in ("recipe.json", "metrics.jsonl"):
            yield resume_case(f"{file} {name}", written(f"run/{file}", data), refused=file == "recipe.json")
