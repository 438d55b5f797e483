"""Trained weights on disk: a safetensors file, and beside it a card that says where the numbers come from.

`brn.safetensors` holds the tensors, and in its header the network's name, its options and a checksum, so that
a file alone is enough to rebuild the network. `brn.json`, the card, holds whatever the training wants remembered
(data, steps, hardware, scores). Nothing here executes code from a file: not from ours, not from the authors'.
"""

import hashlib
import json
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from derainlib import files, models
from derainlib.errors import WeightsError, one_line
from derainlib.models import create
from derainlib.models.recurrent import BRN, SRN

FOLDER = Path(__file__).parents[1] / "weights"
"""Where the shipped weights lie."""


def shipped() -> list[str]:
    """The names of the weights that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def save(model: nn.Module, path: str | Path, card: dict) -> None:
    """Writes a network's weights and, beside them, their card (`<stem>.json`).

    Each file is complete or absent, never half-written, whatever stops the process.

    Args:
        model: a network made by `create` or `load`.
        path: a file name that ends in .safetensors; missing folders are made.
        card: what to remember about these weights; anything JSON can hold. The network's name, options, number of
            parameters and the weights' checksum are added.

    Raises:
        WeightsError: a network that `create` cannot rebuild, another file ending, or a card that JSON cannot hold.
    """
    path = _safetensors(path)
    if not hasattr(model, "name"):
        raise WeightsError(f"{type(model).__name__} was not made by derainlib.create, so it could not be rebuilt")
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    header = {"model": model.name, "options": json.dumps(model.options), "sha256": _checksum(tensors)}
    facts = {"model": model.name, "options": model.options, "sha256": header["sha256"]}
    facts["parameters"] = sum(p.numel() for p in model.parameters())
    try:
        text = json.dumps(card | facts, indent=2, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the card of {path.name} cannot be written as JSON: {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, to_safetensors(tensors, metadata=header))
    files.write_atomically(path.with_suffix(".json"), text.encode())


def load(name_or_path: str | Path, **overrides) -> nn.Module:
    """Rebuilds a trained network, in eval mode on the CPU.

    Args:
        name_or_path: shipped weights by name (see `shipped`), or a .safetensors file written by `save`.
        overrides: options to change, for example `stages=8`; they must leave the shapes of the weights alone.

    Raises:
        WeightsError: unknown name, missing or damaged file, or weights that do not fit the network.
        DerainError: an option that the network does not have.
    """
    path = _find(name_or_path)
    header, tensors = _read(path)
    name, options = header["model"], header["options"] | overrides
    with torch.device("meta"):  # takes no memory, however large a network the header speaks of
        expected = create(name, **options).state_dict()
    if wrong := _misfits(tensors, expected):
        raise WeightsError(f"{path} does not fit {name} with {overrides or 'its options'}: {wrong}")
    return _filled(create(name, **options), tensors, path)


def _misfits(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """What the tensors of a network lack or have too many of, or the first one of another shape; "" if they fit."""
    if apart := sorted(tensors.keys() ^ expected.keys()):
        where = "in the file alone" if apart[0] in tensors else "in the network alone"
        return f"{apart[0]} is {where}" + (f", and {len(apart) - 1} more differ" if apart[1:] else "")
    shapes = ((key, tuple(tensors[key].shape), tuple(target.shape)) for key, target in expected.items())
    return next(
        (f"{key} has the shape {found}, it should be {to_be}" for key, found, to_be in shapes if found != to_be), ""
    )


def _filled(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """The network with these weights, in eval mode.

    Raises:
        WeightsError: some are numbers of another kind.
    """
    for key, target in network.state_dict().items():
        if tensors[key].is_floating_point() != target.is_floating_point():
            raise WeightsError(f"{path} is damaged: {key} holds {tensors[key].dtype}, no {target.dtype}")
    network.load_state_dict(tensors)
    return network.eval()


def copy(name_or_path: str | Path, network: nn.Module) -> None:
    """Copies weights into a network of the same form; options without weights, such as `stages`, may differ.

    Raises:
        WeightsError: no such weights, damaged ones, or those of a network with other layers.
    """
    trained = load(name_or_path)
    if trained.name != network.name:
        raise WeightsError(f"{name_or_path} holds weights of {trained.name}, not of {network.name}")
    try:
        network.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise WeightsError(f"{name_or_path} does not fit this {network.name}: {one_line(error)}") from None


def header(name_or_path: str | Path) -> dict:
    """What the file of weights itself tells: the network's name (model), its options, the tensors' checksum (sha256).

    Raises:
        WeightsError: unknown name, missing or damaged file.
    """
    return _read(_find(name_or_path))[0]


def card(name_or_path: str | Path) -> dict:
    """What is remembered about weights: their data, steps, hardware, scores.

    Raises:
        WeightsError: unknown name, missing or damaged file, or a card that belongs to other weights.
    """
    path = _find(name_or_path)
    header, _ = _read(path)
    try:
        facts = files.json_in(path.with_suffix(".json"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"the card of {path} cannot be read: {one_line(error)}") from None
    if not isinstance(facts, dict) or facts.get("sha256") != header["sha256"]:
        raise WeightsError(f"{path.with_suffix('.json')} is the card of other weights than {path.name}")
    return facts


def is_card(path: Path) -> bool:
    """Whether a file is a card of weights, whichever they are."""
    try:
        return {"model", "sha256"} <= files.json_in(path).keys()
    except (OSError, ValueError, AttributeError):
        return False


# --- the authors' checkpoints ---------------------------------------------------------------------------------------

_WRAPPINGS = re.compile(r"^((module|_orig_mod|net|netG|model|generator)\.)+")
"""What DataParallel, torch.compile and other people's training code put before the names."""

_GATES = {"lstm": "ifog", "gru": "zb"}
"""The authors keep one convolution per gate; ours is these, stacked in this order."""

_UNUSED = re.compile(r"res_conv[45]_r\.")
"""Two blocks that the authors' BRN declares, stores, and never runs."""


def convert(path: str | Path, model: str | None = None, **options) -> nn.Module:
    """Turns a public checkpoint of SRN (PReNet) or BRN by their authors into our network, in eval mode.

    The file is read without executing what is pickled in it. Every tensor must find its place; only the two residual
    blocks that the authors' BRN stores without using them are left out.

    Args:
        path: the authors' .pth file.
        model: one of `list_models()`, for example "brn"; by default the tensors' names and shapes decide. They cannot
            tell "srn" from "srn-direct": "srn" is taken, as in the authors' public checkpoints, with a warning.
        options: options of the network, for example `stages=8`, which no checkpoint tells.

    Raises:
        WeightsError: a missing, damaged or foreign file, or tensors that do not fit the network.
    """
    path = Path(path)
    state = {_WRAPPINGS.sub("", key): tensor for key, tensor in files.tensors(path).items()}
    _require_finite(state, path)
    network = create(model or _guess(state, path), **options)
    if not isinstance(network, SRN | BRN) or network.name == "brn-gru":
        raise WeightsError(f"the authors published no {network.name}, so there is no checkpoint to convert")
    converted = {key: _take(state, key, target, network, path) for key, target in network.state_dict().items()}
    unexpected = [key for key in state if not (isinstance(network, BRN) and _UNUSED.match(key))]
    if unexpected:
        raise WeightsError(f"{path} is no {network.name}: it also holds {', '.join(unexpected)}")
    return _filled(network, converted, path)


def _take(state: dict[str, Tensor], key: str, target: Tensor, network: nn.Module, path: Path) -> Tensor:
    """Our parameter `key`, of `target`'s shape, from the authors' tensors, which are taken out of `state`."""
    sources = _authors_keys(key, network.cell)
    missing = [source for source in sources if source not in state]
    if missing:
        raise WeightsError(f"{path} is no {network.name}: it lacks {', '.join(missing)}")
    parts = [state.pop(source) for source in sources]
    shape = (len(target) // len(parts), *target.shape[1:])
    for source, part in zip(sources, parts, strict=True):
        if part.shape != shape:
            raise WeightsError(
                f"{path} is no {network.name}: {source} has the shape {tuple(part.shape)}, it should be {shape}"
            )
    if key.endswith("candidate.weight"):  # the authors put the state before the input there
        parts = [torch.cat(part.chunk(2, 1)[::-1], 1) for part in parts]
    return torch.cat(parts)


def _authors_keys(key: str, cell: str) -> list[str]:
    """The authors' names of what our parameter `key` is made of: rain.blocks.0.second.bias → res_conv1_r.2.bias."""
    branch, *layers, kind = key.split(".")
    suffix = "_r" if branch == "rain" else ""
    match layers:
        case ["input"]:
            names = [f"conv0{suffix}.0"]
        case ["output"]:
            names = [f"conv{suffix}.0"]
        case ["blocks", number, place]:
            names = [f"res_conv{int(number) + 1}{suffix}.{0 if place == 'first' else 2}"]
        case ["cell", "gates"]:
            names = [f"conv_{gate}{suffix}.0" for gate in _GATES[cell]]
        case ["cell", "candidate"]:
            names = [f"conv_g{suffix}.0"]
    return [f"{name}.{kind}" for name in names]


def _guess(state: dict[str, Tensor], path: Path) -> str:
    """The network that a checkpoint's names and shapes speak for."""

    def inputs(layer: str) -> int:
        weight = state.get(f"{layer}.0.weight")
        return weight.shape[1] if weight is not None and weight.ndim == 4 else 0

    blocks = len({key.split(".")[0] for key in state if re.match(r"res_conv\d+\.", key)})
    shape = inputs("conv0_r"), inputs("conv0"), inputs("conv_i_r"), inputs("conv_i"), inputs("conv_z"), blocks
    known = {
        (0, 6, 0, 64, 0, 5): "srn",
        (0, 6, 0, 64, 0, 18): "srn+",
        (0, 6, 0, 0, 64, 5): "srn-gru",
        (0, 3, 0, 64, 0, 5): "srn-x",
        (6, 9, 96, 96, 0, 5): "brn",
        (6, 9, 64, 64, 0, 5): "crn",
        (6, 9, 96, 64, 0, 5): "brn-x2r",
        (6, 9, 64, 96, 0, 5): "brn-r2x",
    }
    if shape not in known:
        raise WeightsError(f"{path} holds none of the networks that the authors published as SRN or BRN")
    if known[shape] == "srn":
        warnings.warn(
            f"{path.name} could be srn or srn-direct, whose tensors look alike; taken as srn, the residual "
            "form, as in the authors' public checkpoints",
            stacklevel=3,
        )
    return known[shape]


# --- files ----------------------------------------------------------------------------------------------------------


def _safetensors(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path}: weights are .safetensors files; the authors' .pth files go through `derain convert` first"
        )
    return path


def _find(name_or_path: str | Path) -> Path:
    if name_or_path in shipped():
        return FOLDER / f"{name_or_path}.safetensors"
    if Path(name_or_path).name == name_or_path and not Path(name_or_path).suffix:
        raise WeightsError(
            f"no shipped weights are called {name_or_path!r}; there are "
            f"{', '.join(sorted(shipped(), key=_reads_streets)) or 'none'}; or give the path of a .safetensors file"
        )
    path = _safetensors(name_or_path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    return path


def _reads_streets(name: str) -> bool:
    """Whether shipped weights are those of a segmenter, by their card: who looks for a derainer wants none."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["model"] in models.SEGMENTERS


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """Header (model, options, sha256) and tensors of a file that `save` wrote, checked against its checksum."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {one_line(error)}") from None
    if not {"model", "options", "sha256"} <= header.keys():
        raise WeightsError(f"{path} was not written by derainlib: its header names no network")
    if header["sha256"] != _checksum(tensors):
        raise WeightsError(f"{path} is damaged: its tensors do not match their checksum")
    try:
        options = dict(files.json_in(header["options"]))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path} is damaged: its options cannot be read: {one_line(error)}") from None
    _require_finite(tensors, path)
    return header | {"options": options}, tensors


def _require_finite(tensors: dict[str, Tensor], path: Path) -> None:
    wrong = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if wrong:
        more = " …" if len(wrong) > 1 else ""
        raise WeightsError(f"{path} holds NaN or infinite values ({wrong[0]}{more}); take an earlier checkpoint")


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}\n".encode())
        digest.update(tensors[key].contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
