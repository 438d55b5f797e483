"""Files that are never seen half written, and files of others, which are read without executing what they hold."""

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from derainlib.errors import WeightsError, one_line

LONGEST_JSON = 2**26
"""Bytes of the longest JSON that is read: the longest of ours, a study's report, has less than a hundredth of them."""


def sync(path: str | Path):
    """Waits until a file's content, or a folder's list of names, is on the disk; Windows opens no folders for that."""
    is_folder = os.path.isdir(path)
    if is_folder and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)  # Windows syncs only what may be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: str | Path, data: bytes):
    """Writes a file whole or not at all: to a temporary file beside it, synced, then renamed.

    Args:
        path: the file; its folder must exist.
        data: its content.

    Raises:
        OSError: the folder is missing or cannot be written; nothing is left behind.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, .safetensors or PyTorch's own kind; nothing in it is executed.

    Raises:
        WeightsError: no such file, or one that is damaged or holds something else.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):  # of what it might not understand; the error says it better
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged file may raise anything; none of it was executed
        raise WeightsError(
            f"{path} is damaged or more than plain tensors; nothing in it was executed: {one_line(error)}"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no weights of one network: it must map names to tensors")
    return {str(key): value for key, value in state.items()}


def json_in(source: str | Path) -> object:
    """What a text in JSON, or a file of it, holds.

    Raises:
        OSError: the file cannot be read, or is a folder, pipe or device.
        ValueError: it is no JSON, or longer or deeper than any of ours.
    """
    if isinstance(source, Path):
        if source.exists() and not source.is_file():
            raise OSError(f"{source} is no regular file")
        with source.open("rb") as file:
            data = file.read(LONGEST_JSON + 1)
        if len(data) > LONGEST_JSON:
            raise ValueError(f"{source} has more than {LONGEST_JSON >> 20} MB")
        source = data.decode()
    try:
        return json.loads(source)
    except RecursionError:
        raise ValueError("brackets within brackets without end") from None


def _umask() -> int:
    """The process's file mode mask; mkstemp ignores it, a plain `open` would not."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
