"""Numbers: what no image holds is refused; flat, odd and large images come out finite, however they lie in memory."""

import copy
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from derainlib import create, derain, images, list_models, load
from derainlib.errors import DerainError
from derainlib.inference import DTYPES
from derainlib.models import weights
from tests.campaign.child import Limits, forked
from tests.campaign.report import Finding
from tests.campaign.stock import Stock

LIMITS = Limits(seconds=400.0)
"""For all that one network is asked in one child."""
PHOTO = np.random.default_rng(0).integers(0, 256, (20, 36, 3), dtype=np.uint8)
"""20 x 36 pixels of noise."""

Told = Iterator[tuple[str, str]]
"""Cases, and what is wrong with each, if anything."""


def campaign(stock: Stock, seed: int, share: float, wanted: Callable[[str], bool]) -> Iterator[Finding]:
    """See `tests.campaign.files.campaign`."""
    names = list_models()
    shipped = [name for name in weights.shipped() if name in names]
    if share < 1:
        names = random.Random(seed).sample(names, max(1, round(share * len(names))))
        shipped = [str(stock.folder / "tiny.safetensors")]
    asked = [("layouts in memory", name, precision, layouts) for name in names for precision in DTYPES]
    asked += [("flat images", name, precision, flat) for name in shipped for precision in DTYPES]
    asked += [("sizes", name, "fp32", sizes) for name in shipped]
    asked += [("not finite", str(stock.folder / "tiny.safetensors"), precision, not_finite) for precision in DTYPES]
    for kind, name, precision, ask in asked:
        title = f"{Path(name).stem}, {precision}"
        if wanted(f"numbers, {kind}: {title}"):
            yield from answers(
                f"numbers, {kind}", title, lambda ask=ask, name=name, precision=precision: ask(name, precision)
            )


def answers(kind: str, title: str, ask: Callable[[], Told]) -> Iterator[Finding]:
    """What a network answers in a child of its own, a finding each."""

    def tell() -> int:
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "fp16 on this processor")
        for case, fault in ask():
            print(json.dumps([case, fault]))
        return 0

    outcome = forked(tell, limits=LIMITS)
    took = outcome.processor, outcome.megabytes
    if faults := tuple(outcome.faults(LIMITS, (0,))):
        yield Finding(kind, title, "failed", faults, *took)
    for case, fault in map(json.loads, outcome.out.splitlines()):
        yield Finding(kind, f"{title}, {case}", "wrong" if fault else "right", (fault,) if fault else (), *took)


# --- what is asked --------------------------------------------------------------------------------------------------


def network(name: str) -> nn.Module:
    """By name or path, trained; untrained, but always the same, where there are no such weights."""
    if name in weights.shipped() or Path(name).suffix:
        return load(name)
    torch.manual_seed(0)
    return create(name).eval()


def layouts(name: str, precision: str) -> Told:
    """The same picture, however it lies in memory, gives the same result, in the kind that came in."""
    model = _small(name)
    floats = PHOTO.astype(np.float32) / 255
    for kind, values in {"bytes": PHOTO, "16 bits": PHOTO.astype(np.uint16) * 257, "floats": floats}.items():
        expected = derain(values, model, dtype=precision)
        for layout, lie in ARRAYS.items():
            given = lie(values)
            before = given.copy()
            found = derain(given, model, dtype=precision)
            yield f"{kind}, {layout}", _differs(found, expected.astype(given.dtype), given, before)
    pixels = torch.from_numpy(floats).permute(2, 0, 1).contiguous()
    expected = derain(pixels, model, dtype=precision)
    for layout, lie in TENSORS.items():
        given = lie(pixels)
        before = given.detach().clone()
        found = derain(given, model, dtype=precision)
        fault = _differs(found.numpy(), expected.numpy().reshape(found.shape), given.detach().numpy(), before.numpy())
        yield f"tensor, {layout}", fault or ("has a gradient" if found.requires_grad else "")


def _small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create(name).eval()


def _differs(found: np.ndarray, expected: np.ndarray, given: np.ndarray, before: np.ndarray) -> str:
    if found.dtype != given.dtype or found.shape != expected.shape:
        return f"comes out as {found.dtype} {found.shape}"
    if not np.array_equal(given, before):
        return "the caller's picture was changed"
    if not np.isfinite(found.astype(float)).all():
        return "is not finite"
    return (
        ""
        if np.array_equal(found, expected)
        else f"differs by up to {np.abs(found.astype(float) - expected.astype(float)).max():g}"
    )


def _frozen(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": np.copy,
    "permuted": lambda x: x.transpose(2, 0, 1).copy().transpose(1, 2, 0),
    "columns first": np.asfortranarray,
    "strided": lambda x: x.repeat(2, 0).repeat(3, 1)[::2, ::3],
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "part of four channels": lambda x: np.concatenate([x, x[..., :1]], -1)[..., :3],
    "not writable": _frozen,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
}
"""The same values, lying otherwise."""

TENSORS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": Tensor.clone,
    "channels last": lambda x: x[None].to(memory_format=torch.channels_last),
    "permuted": lambda x: x.permute(2, 1, 0).contiguous().permute(2, 1, 0),
    "strided": lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, ::2, ::2],
    "with a gradient": lambda x: x.clone().requires_grad_(),
    "double": Tensor.double,
}


def flat(name: str, precision: str) -> Told:
    """Constant, black, white, saturated and other extreme pictures come out finite and within [0, 1]."""
    model = network(name)
    half = np.zeros((48, 64, 3), np.float32)
    half[:, 32:] = 1
    pictures = {
        "black": np.zeros_like(half),
        "white": np.ones_like(half),
        "grey": np.full_like(half, 0.5),
        "red": np.ones_like(half) * (1, 0, 0),
        "half white": half,
        "saturated noise": np.random.default_rng(0).integers(0, 2, half.shape).astype(np.float32),
        "smallest numbers": np.full_like(half, 1e-40),
        "a point": _point(half.shape),
        "a little above one": np.full_like(half, 1.0005),
    }
    for title, picture in pictures.items():
        found = derain(picture.astype(np.float32), model, dtype=precision)
        yield (
            title,
            "" if np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1 else "is not within [0, 1]",
        )


def _point(shape: tuple) -> np.ndarray:
    found = np.zeros(shape, np.float32)
    found[20, 30] = 1
    return found


def sizes(name: str, precision: str) -> Told:
    """Too small is refused; 16 pixels and 20,000 x 64 come out in their size."""
    model = network(name)
    for height, width in ((1, 1), (1, 20_000), (15, 16), (16, 15), (0, 16)):
        yield f"{width} x {height}", _accepted(np.zeros((height, width, 3), np.uint8), model, precision)
    for height, width in ((16, 16), (16, 17), (17, 333), (64, 20_000), (20_000, 64)):
        found = derain(np.full((height, width, 3), 99, np.uint8), model, dtype=precision)
        yield f"{width} x {height}", "" if found.shape == (height, width, 3) else f"comes out as {found.shape}"


def not_finite(name: str, precision: str) -> Told:
    """NaN and infinity in a picture of any kind, and in weights, are refused: nothing comes out without a word."""
    model = network(name)
    for title, value in {"NaN": np.nan, "infinite": np.inf, "minus infinite": -np.inf}.items():
        picture = PHOTO.astype(np.float32) / 255
        picture[3, 4, 1] = value
        kinds = {
            "array": picture,
            "half precision": picture.astype(np.float16),
            "big-endian": picture.astype(">f8"),
            "tensor": torch.from_numpy(picture).permute(2, 0, 1),
            "bf16": torch.from_numpy(picture).permute(2, 0, 1).bfloat16(),
            "grey PIL image": Image.fromarray(picture[..., 1]),
        }
        for kind, given in kinds.items():
            yield f"{title} in a picture, {kind}", _accepted(given, model, precision)
        for first in (True, False):
            spoilt = copy.deepcopy(model)
            weight = (list(spoilt.parameters()) if first else list(spoilt.parameters())[::-1])[0]
            weight.data.view(-1)[0] = value
            for kind, given in {"array": PHOTO, "tensor": torch.from_numpy(PHOTO).permute(2, 0, 1) / 255}.items():
                where = "first" if first else "last"
                yield f"{title} in the {where} weights, {kind}", _accepted(given, spoilt, precision)
    huge = copy.deepcopy(model)
    for weight in huge.parameters():
        weight.data.fill_(1e30)
    yield "weights of 1e30", _accepted(PHOTO, huge, precision)
    with_nan = torch.full((3, 20, 20), float("nan"))
    try:
        images.write(with_nan, "nan.png")
    except DerainError:
        yield "NaN to be written", ""
    else:
        yield "NaN to be written", "was written"


def _accepted(given: object, model: nn.Module, precision: str) -> str:
    """What is wrong where a call must be refused."""
    try:
        found = derain(given, model, dtype=precision)
    except DerainError as error:
        return "" if str(error).isprintable() else "not one line"
    values = np.asarray(found if not isinstance(found, Tensor) else found.float(), dtype=float)
    return f"accepted, and comes out {'finite' if np.isfinite(values).all() else 'with NaN'}"
