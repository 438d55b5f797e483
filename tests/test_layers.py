"""The list of extras holds: networks keep what it says, losses ask for what it says, and nobody for anything else."""

import math
import re
from contextlib import suppress
from inspect import signature
from pathlib import Path

import pytest
import torch

from derainlib.errors import DerainError
from derainlib.layers import EXTRAS, Layers, Pair, unnumbered
from derainlib.losses import TERMS
from derainlib.losses.semantic import Recognition
from derainlib.losses.term import Comparison
from derainlib.models import SEGMENTERS, VARIANTS, create

ROOT = Path(__file__).parents[1]
SIZE = {"N": 2, "H": 16, "W": 32}
"""Sides that no network fills up."""
CLASSES = 11
SMALL = {"width": 16, "k": 2, "units": 2, "stages": 2}
"""Options that make a network quick, where it has them."""


def image() -> torch.Tensor:
    return torch.rand(SIZE["N"], 3, SIZE["H"], SIZE["W"], generator=torch.Generator().manual_seed(0))


def agrees(found: torch.Size, listed: str, **values) -> bool:
    """Whether a shape is the listed one; C may be anything."""
    sides = listed.split(", ")
    return len(found) == len(sides) and all(
        side == "C" or length == math.ceil(eval(side, {}, SIZE | {"K": CLASSES} | values))
        for length, side in zip(found, sides, strict=True)
    )


@pytest.mark.parametrize("name", [*VARIANTS, *SEGMENTERS])
def test_networks_keep_what_is_listed(name):
    build, fixed = (VARIANTS | SEGMENTERS)[name]
    network = create(name, **{k: v for k, v in SMALL.items() if k in signature(build).parameters and k not in fixed})
    with torch.inference_mode():
        kept = network.eval()(image(), keep=True).extras or {}
    for key, extra in kept.items():
        listed, number = EXTRAS[unnumbered(key)], re.search(r"\d+$", key)
        assert any(name.startswith(writer) for writer in listed.written_by.split(", ")), key
        assert agrees(extra.shape, listed.shape, s=network.stride, i=int(number[0]) if number else None), key
    due = {key for key, listed in EXTRAS.items() if name in listed.written_by.split(", ")}
    assert due <= {unnumbered(key) for key in kept}


def asked_for(name: str, monkeypatch) -> set[str]:
    """The extras that a loss looks for, by itself, on "coarse", or judging by a network."""
    asked, term = set(), TERMS[name]
    monkeypatch.setattr(Layers, "kept", lambda self, key: asked.add(key) or [])
    choices = [{}] + [{"on": "coarse"}] * ("on" in signature(term).parameters)
    choices += [{"network": torch.nn.Identity()}] * issubclass(term, Recognition)
    for options in choices:
        with suppress(DerainError):  # there is nothing to be found
            term(**options)(Layers(image(), image()), Pair(image(), image()))
    return asked


@pytest.mark.parametrize("name", TERMS)
def test_losses_ask_for_what_is_listed(name, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no VGG
    readers = {key: extra.read_by.split(", ") for key, extra in EXTRAS.items()}
    compares = issubclass(TERMS[name], Comparison)
    expected = {key for key, words in readers.items() if name in words or (compares and "comparisons" in words)}
    assert asked_for(name, monkeypatch) == expected


def test_nobody_asks_for_anything_else():
    """By its name in the code, or in a notebook."""
    files = [path for folder in ("derainlib", "benchmarks", "notebooks") for path in (ROOT / folder).rglob("*.*")]
    texts = [path.read_text().replace('\\"', '"') for path in files if path.suffix in (".py", ".ipynb")]
    found = {key for text in texts for key in re.findall(r'\bextras\[f?"(.+?)"\]', text)}
    assert {"logits", "coarse", "hidden_{t}"} <= found
    assert {unnumbered(re.sub(r"\{.*\}$", "1", key)) for key in found} <= set(EXTRAS)


def test_numbered_extras_come_in_their_order():
    first, second, other = (torch.full((1,), float(i)) for i in range(3))
    layers = Layers(first, first, extras={"decoded_1": first, "decoded_12": second, "scale_1": other, "coarse": other})
    assert [x.item() for x in layers.kept("decoded_i")] == [0, 1]
    assert layers.kept("coarse") == [other]
    assert layers.kept("logits") == layers._replace(extras=None).kept("coarse") == []


@pytest.mark.parametrize("name", ["decoded_1", "glow"])
def test_unlisted_names_are_refused(name):
    with pytest.raises(DerainError, match=f"no network keeps '{name}'; there are scale_i, decoded_i, coarse"):
        Layers(image(), image()).kept(name)
