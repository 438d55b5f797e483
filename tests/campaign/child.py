"""A call in a forked child of a warmed-up process: what it said, what it cost, and what it did that it must not."""

import contextlib
import importlib
import io
import json
import math
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

NOBODY = 65534
"""The user of permission cases; root may do everything."""
EXECUTING = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "socket.connect"}
"""Python's audit events of whoever runs programs or calls others up."""
CHANGING = {
    "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.truncate": 1, "shutil.rmtree": 1, "os.chmod": 1,
    "os.rename": 2, "os.link": 2, "os.symlink": 2,
}  # fmt: skip
"""Audit events that change files, and how many of their arguments are paths."""


@dataclass(frozen=True)
class Limits:
    """What a call may take."""

    seconds: float = 10.0
    """Of the processor. Nor may it wait for so long without using it; so other work on the machine does no harm."""
    megabytes: float = 2048.0
    """Resident at once; so many more may be mapped than the process had before."""
    user: int | None = None
    """Under whom, if not under who started the campaign."""


@dataclass(frozen=True)
class Outcome:
    """What became of a call."""

    status: int | None = None
    """What it returned; None if it raised, was killed, or hung."""
    out: str = ""
    err: str = ""
    raised: str = ""
    """The traceback, if it raised."""
    killed: str = ""
    """The signal that ended it."""
    processor: float = 0.0
    seconds: float = 0.0
    megabytes: float = 0.0
    deeds: Sequence[str] = ()
    """What it ran, or changed outside of its folder."""
    changes: int = 0
    """How many times it was about to change a file."""

    def faults(self, limits: Limits, allowed: Sequence[int] = (0, 1, 2)) -> Iterator[str]:
        """What is wrong with it: anything but a status, and one line where that is 2."""
        if self.killed:
            hung = self.killed in ("SIGXCPU", "SIGALRM")
            yield f"hangs: {self.processor:.0f} s of the processor" if hung else f"dies by {self.killed}"
        elif self.raised:
            yield f"traceback: {self.raised.strip().splitlines()[-1][:200]}"
        elif self.status not in allowed:
            yield f"status {self.status}, not {' or '.join(map(str, allowed))}: {(self.err or self.out)[:200]!r}"
        elif self.status == 2 and not (self.err.startswith("derain: ") and self.err[:-1].isprintable()):
            yield f"not one line: {self.err[:200]!r}"
        elif "Traceback" in self.err + self.out:
            yield f"a traceback is shown: {self.err[-200:]!r}"
        if self.megabytes > limits.megabytes:
            yield f"{self.megabytes:.0f} MB of memory"
        yield from self.deeds


@dataclass
class Watch:
    """Sees, by Python's audit events, what a process runs and which files it is about to change.

    Args:
        folder: changes outside of it are misdeeds; None allows them.
        at_change: called with the number of a change just before it happens.
    """

    folder: Path | None
    at_change: Callable[[int], None]
    deeds: list[str] = field(default_factory=list)
    changes: int = 0
    pid: int = field(default_factory=os.getpid)

    def __call__(self, event: str, arguments: tuple):
        if os.getpid() != self.pid:  # a worker's
            return
        own = event == "socket.connect" and not isinstance(arguments[1], tuple)  # to a process on this machine
        if event in EXECUTING and not own:
            self.deeds.append(f"runs {event} {arguments!r}"[:200])
        for path in _changed(event, arguments):
            if self.folder and not f"{path}/".startswith((f"{self.folder}/", "/dev/null/")):
                self.deeds.append(f"changes {path}")
            self.changes += 1
            self.at_change(self.changes)


def _changed(event: str, arguments: tuple) -> list[str]:
    """The files that an event is about to make, change or take away."""
    if event == "open":
        path, _, flags = arguments
        paths = [path] if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) else []
    else:
        # What rmtree does inside of a folder has names relative to it.
        paths = [] if event == "os.remove" and arguments[-1] != -1 else arguments[: CHANGING.get(event, 0)]
    return [os.path.abspath(os.fsdecode(path)) for path in paths if isinstance(path, str | bytes | os.PathLike)]


def forked(
    call: Callable[[], int | None],
    *,
    limits: Limits | None = None,
    folder: Path | None = None,
    at_change: Callable[[int], None] = lambda number: None,
    kill_after: float | None = None,
) -> Outcome:
    """Calls something in a child of this process, which must have no threads, and waits for it and its children.

    Args:
        call: its value is the exit status; None stands for 0. It may prepare the child as it likes.
        limits: what it may take.
        folder: where it works, and the only place that it may change.
        at_change: see `Watch`.
        kill_after: seconds after which SIGKILL hits it.
    """
    limits, began = limits or Limits(), time.monotonic()
    reader, writer = os.pipe()
    sys.stdout.flush()
    if not (child := os.fork()):
        os.setpgid(0, 0)
        _live(call, limits, Watch(folder, at_change), writer)
    os.close(writer)
    data, stuck = _heard(reader, child, limits.seconds, math.inf if kill_after is None else began + kill_after)
    _, status, usage = os.wait4(child, 0)
    _end_group(child)
    found = Outcome(**json.loads(data)) if data else Outcome()
    number = signal.SIGALRM if stuck else os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not number and not data:
        found = replace(found, raised=f"ended with status {os.waitstatus_to_exitcode(status)} without a word")
    return replace(
        found,
        killed=signal.Signals(number).name if number else "",
        processor=usage.ru_utime + usage.ru_stime,
        seconds=time.monotonic() - began,
        megabytes=usage.ru_maxrss / 1024,
    )


def _heard(reader: int, child: int, patience: float, end: float) -> tuple[bytes, bool]:
    """What the child wrote before its end, and whether it was killed because it waited for something in vain.

    Its end is asked for by itself: children of its own may keep the pipe open.

    Args:
        reader: the pipe.
        child: its number.
        patience: seconds for which it may wait.
        end: when to kill it in any case, by the monotonic clock.
    """
    handle, data, used, stuck = os.pidfd_open(child), b"", "", False
    try:
        while True:
            ready, *_ = select.select([reader, handle], [], [], max(0.0, min(patience, end - time.monotonic())))
            if reader in ready and (part := os.read(reader, 1 << 16)):
                data += part
            elif handle in ready:
                return data, stuck
            elif not ready:
                before, used = used, _used(child)
                if time.monotonic() >= end or used == before:
                    os.kill(child, signal.SIGKILL)  # it may just have ended by itself, and what it said counts
                    stuck, end = time.monotonic() < end, math.inf
            else:  # it closed the pipe, and is about to end
                time.sleep(0.001)
    finally:
        os.close(handle)
        os.close(reader)


def _used(child: int) -> str:
    """What a process has used of the processor; something new for one that would use it if it got it."""
    state, *numbers = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return f"{time.monotonic()}" if state in "RD" else f"{numbers[10]} {numbers[11]}"


def _end_group(leader: int):
    """Kills what a child left behind: workers of a training that was killed."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _live(call: Callable, limits: Limits, watch: Watch, writer: int):
    """The child's life."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", how, write_through=True) for how in ("strict", "backslashreplace")
    )
    found = Outcome()
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # what libraries in C say
            os.dup2(nowhere, number)
        sys.stdout, sys.stderr = out, err
        if watch.folder:
            os.chdir(watch.folder)
        _restrict(limits)
        sys.addaudithook(watch)
        found = replace(found, status=int(call() or 0))
    except BaseException as error:
        status = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else None
        found = replace(found, status=status, raised="" if status is not None else traceback.format_exc())
    finally:
        texts = {
            name: stream.buffer.getvalue().decode("utf-8", "replace") for name, stream in (("out", out), ("err", err))
        }
        told = asdict(replace(found, **texts, deeds=watch.deeds[:5], changes=watch.changes))
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(told).encode())
        os._exit(0)


def _restrict(limits: Limits):
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    memory, most = mapped + int(limits.megabytes * 2**20), resource.getrlimit(resource.RLIMIT_AS)[1]
    if most == resource.RLIM_INFINITY or memory < most:  # a child's child cannot have more
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    seconds = max(1, round(limits.seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.user is not None and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(limits.user)
        os.setuid(limits.user)


def die(*_):
    """Ends the process at once, as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_more_room():
    """From now on every file is full, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def warm_up(folder: Path, *calls: Callable[[], object]):
    """Loads into this process what the calls load in children of it, so that the next ones need not.

    Nothing is called here: no thread may start in a process that forks.
    """
    sys.dont_write_bytecode = True
    for call in calls:
        found = forked(lambda call=call: call() or print(*sys.modules), folder=folder, limits=Limits(60.0))
        for name in found.out.splitlines()[-1].split():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
