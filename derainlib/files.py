"""Files that are never seen half written, and files of others, which are read without executing what they hold.

Whole files are a promise; that they are on the disk once they are written is asked for, but some drives know no such
request, and a result is then still a result.
"""

import codecs
import contextlib
import errno
import json
import os
import re
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from derainlib.errors import DataError, WeightsError, one_line

IS_WINDOWS = os.name == "nt"
PATIENCE = 2.0
"""Seconds for which a rename is tried again where Windows says that somebody looks at the file."""
_LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
"""What a request to write things to the disk may say that means lost data."""

LONGEST_JSON = 2**26
"""Bytes of the longest JSON that is read: the longest of ours, a study's report, has less than a hundredth of them."""


def sync(path: str | Path):
    """Waits until a file's content, or a folder's list of names, is on the disk, where the system can be asked.

    Windows opens no folders for that, and some network drives and containers refuse it.

    Raises:
        OSError: the disk is full or broken.
    """
    how = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR  # Windows syncs only what may be written
    try:
        handle = os.open(path, how)
    except OSError:
        return
    try:
        _flush(handle)
    finally:
        os.close(handle)


def _flush(handle: int):
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in _LOST:
            raise


def rename(source: str | Path, target: str | Path):
    """Gives a file or folder another name, at once; a file of that name is replaced.

    On Windows a virus scanner or a viewer may hold a file for a moment: it is tried again for `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if not IS_WINDOWS or time.monotonic() > end:
                raise
            time.sleep(PATIENCE / 20)


def write_atomically(path: str | Path, data: bytes):
    """Writes a file whole or not at all: to a temporary file beside it, synced, then renamed.

    A process that is killed leaves its temporary file; the next one that writes into the folder clears it away.

    Args:
        path: the file; its folder must exist.
        data: its content.

    Raises:
        OSError: the folder is missing or cannot be written; nothing is left behind.
    """
    path = Path(path)
    _clear(path.parent)
    file, temporary = _temporary(path.parent)
    try:
        with file:
            file.write(data)
            file.flush()
            _flush(file.fileno())
            with contextlib.suppress(OSError):  # drives without such modes
                os.chmod(temporary, 0o666 & ~_umask())
            if IS_WINDOWS:  # which renames no open file; elsewhere its lock lasts until it has its name
                file.close()
            rename(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)


_PREFIX, _SUFFIX = ".derain-", ".part"
_LEFT = re.compile(rf"{re.escape(_PREFIX)}[a-z0-9_]{{8}}{re.escape(_SUFFIX)}")
_CLEARED: set[Path] = set()
"""Folders that this process has cleared."""
_OLD = 60.0
"""Seconds after which a temporary file on Windows is a dead process's: nobody can remove one that is open."""


def _temporary(folder: Path) -> tuple[BinaryIO, str]:
    """A new file and its name, which is short, since others may be as long as names can be.

    It is locked while it is open, except on Windows.
    """
    while True:
        handle, name = tempfile.mkstemp(_SUFFIX, _PREFIX, folder)
        file = os.fdopen(handle, "wb")
        if IS_WINDOWS or (_locks(file) is not False and os.path.exists(name)):
            return file, name
        file.close()  # somebody who clears the folder took it in the moment before it was locked


def _clear(folder: Path):
    """Clears away, once in each process, what dead ones left in a folder; where the drive knows no locks, it stays."""
    folder = folder.absolute()
    if folder in _CLEARED:
        return
    _CLEARED.add(folder)
    found = []
    with contextlib.suppress(OSError):  # whoever may write in a folder may perhaps not list it
        found = [folder / name for name in os.listdir(folder) if _LEFT.fullmatch(name)]
    for path in found:
        with contextlib.suppress(OSError), path.open("r+b") as file:
            if not IS_WINDOWS and _locks(file):
                path.unlink()
        with contextlib.suppress(OSError):
            if IS_WINDOWS and time.time() - path.stat().st_mtime > _OLD:
                path.unlink()


def below(folder: str | Path) -> tuple[list[Path], dict[Path, str]]:
    """The files below a folder, sorted, and the folders in it that cannot be opened, with the reason.

    Whatever is hidden is left out, as are files in hidden folders. A link counts as a file, wherever it leads.
    """
    found, closed = [], []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(found), {Path(error.filename): error.strerror for error in closed}


@contextlib.contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Keeps a file for this process as long as it lasts; a process that dies lets go of it. The file stays.

    Args:
        path: the file; it is made if missing.
        wait: whether to wait while another process has it.

    Raises:
        BlockingIOError: another process has it, and it is not to be waited for.
    """
    with path.open("a+b") as file:
        while _locks(file) is False:
            if not wait:
                raise BlockingIOError(errno.EAGAIN, "another process has it", str(path))
            time.sleep(0.05)
        _HELD.append(file)
        try:
            yield
        finally:
            _HELD.remove(file)


_HELD: list[BinaryIO] = []
"""Files that this process keeps. Its forks let go of them, or they would be locked for as long as those live."""


def _let_go():
    for file in _HELD:
        file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _locks(file: BinaryIO) -> bool | None:
    """Tries to lock a file, for itself alone; None where the drive knows no locks, so that nobody is kept away."""
    try:
        if IS_WINDOWS:
            import msvcrt

            file.seek(2**30)  # behind the end, or nobody could read the file
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK) else None
    return True


def opened(path: str | Path) -> BinaryIO:
    """Opens a file for reading: a pipe would be waited for, and a device has no end.

    What was a file when somebody looked may be something else by now, so that the open one is asked.

    Raises:
        OSError: it cannot be opened, or is a folder, pipe or device.
    """

    def regular(name, flags: int) -> int:
        handle = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return handle

    return open(path, "rb", opener=regular)


def text(path: Path) -> str:
    """The text of somebody's list: UTF-8 or, with the mark that Windows puts before it, UTF-16.

    Raises:
        DataError: neither, or a file that cannot be read.
    """
    try:
        with opened(path) as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    try:
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} is not UTF-8 text (line {line}): save the list as UTF-8, one name a line") from None


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, .safetensors or PyTorch's own kind; nothing in it is executed.

    Of a whole training's checkpoint, the weights are taken, an average of them before those of the last step.

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
            # Its warnings are of what it might not understand; the error says it better.
            with opened(path) as file, warnings.catch_warnings(action="ignore"):
                state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged file may raise anything; none of it was executed
        raise WeightsError(
            f"{path} is damaged or more than plain tensors; nothing in it was executed: {one_line(error)}"
        ) from None
    nests = (name for name in _NESTS if isinstance(state, dict) and isinstance(state.get(name), dict))
    state = state[name] if (name := next(nests, "")) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no weights of one network: it must map names to tensors")
    return {str(key): value for key, value in state.items()}


_NESTS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net", "generator")
"""What checkpoints that also hold an optimiser's state, or a word on the training, call their weights."""


def json_in(source: str | Path) -> object:
    """What a text in JSON, or a file of it, holds.

    Raises:
        OSError: the file cannot be read, or is a folder, pipe or device.
        ValueError: it is no JSON, or longer or deeper than any of ours.
    """
    if isinstance(source, Path):
        with opened(source) as file:
            data = file.read(LONGEST_JSON + 1)
        if len(data) > LONGEST_JSON:
            raise ValueError(f"{source} has more than {LONGEST_JSON >> 20} MB")
        source = data.decode("utf-8-sig")  # with the mark that Windows puts before it, or without
    try:
        return json.loads(source)
    except RecursionError:
        raise ValueError("brackets within brackets without end") from None


def _umask() -> int:
    """The process's file mode mask; mkstemp ignores it, a plain `open` would not."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
