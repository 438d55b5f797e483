"""Writing files so that a reader, or a process killed in the middle, never sees half of one."""

import os
import tempfile
from pathlib import Path


def sync(path: str | Path):
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
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


def _umask() -> int:
    """The process's file mode mask; mkstemp ignores it, a plain `open` would not."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
