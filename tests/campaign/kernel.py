"""A notebook run elsewhere, in a process of its own; and what its kernel sees of itself, from within.

python -m tests.campaign.kernel NOTEBOOK FOLDER     # runs it in place, with that as the current folder
"""

import ctypes
import errno
import json
import os
import resource
import sys
from pathlib import Path

from tests.campaign.child import Watch

START_UP = """from pathlib import Path
from tests.campaign import kernel

kernel.begin(Path({folder!r}))
del Path, kernel
"""
"""IPython's start-up file of such a kernel."""

ENDING = "from tests.campaign import kernel\n\nprint(kernel.seen())"
"""The last cell."""

CALLING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")
MAY_OVERRIDE = 1
"""Linux's number of the right of root to write where permissions forbid it (CAP_DAC_OVERRIDE)."""
DROP = 24
"""PR_CAPBSET_DROP."""

watches: list["Offline"] = []
"""The one of this kernel."""


class Offline(Watch):
    """There is no network, and whoever asks for it is noted."""

    def __call__(self, event: str, arguments: tuple):
        super().__call__(event, arguments)
        if event in CALLING and not (event == "socket.connect" and not isinstance(arguments[1], tuple)):
            self.deeds.append(f"calls up {arguments[-1 if event == 'socket.connect' else 0]}")
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))


def begin(folder: Path):
    """From now on this process has no network, and what it changes outside of the folder is noted."""
    watches.append(Offline(folder, lambda number: None))
    sys.addaudithook(watches[0])


def seen() -> str:
    """What it did that it must not, and the most memory that it had; as JSON."""
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return json.dumps({"deeds": watches[0].deeds[:5], "megabytes": megabytes, "encoding": sys.getfilesystemencoding()})


def bound():
    """Permissions hold for what this process starts, even under root (whose Python others may be unable to read)."""
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(DROP, MAY_OVERRIDE, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the right to override permissions cannot be given up")


def main(notebook: str, folder: str):
    import nbformat

    from derainlib.lab import publish

    read = nbformat.read(notebook, as_version=4)
    try:
        publish.execute(read, Path(folder))
    finally:
        nbformat.write(read, notebook)


if __name__ == "__main__":
    main(*sys.argv[1:])
