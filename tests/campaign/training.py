"""Trainings that are killed, run out of disk or memory, are moved or damaged: the weights in the end are the same.

Each case trains (`tests.campaign.stock.training`) in a folder of its own, something happens, and what is left goes on
undisturbed. It then must have the weights and the history of a training to which nothing happened, bit for bit.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from derainlib import cli
from derainlib.data.synthetic import Samples
from derainlib.models import weights
from derainlib.training import loop
from derainlib.training.folder import Folder
from tests.campaign.child import Limits, Outcome, die, forked, no_more_room
from tests.campaign.inputs import MUTATIONS
from tests.campaign.report import Finding
from tests.campaign.stock import Stock, training
from tests.dying_run import die_at_call

LIMITS = Limits(seconds=60.0)
STRAY = ".DS_Store"
"""What macOS leaves in every folder."""
Act = Callable[[Path], Outcome]
"""Something that happens to the training in a folder."""

KILLS = {"start": 6, "steps": 12, "saves": 14, "validation": 6, "any moment": 12, "two workers": 6, "two processes": 6}
"""How many trainings are killed, by when; some of them several times."""
START = {"samples_of": loop, "claim": Folder, "cut_history": Folder, "__init__": torch.optim.Adam}
"""What is called before the first step, and of whom."""


def train(folder: Path, workers: int = 0, before: Callable[[], object] = lambda: None, **how) -> Outcome:
    """Trains in a child, or goes on."""

    def call() -> int:
        before()
        return cli.main(training(workers))

    return forked(call, **{"limits": LIMITS, "folder": folder} | how)


def end(folder: Path) -> tuple[str, list[dict]]:
    """What a training came to: the checksum of its weights, and its history without what the clock says."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    history = [{name: x for name, x in json.loads(line).items() if name != "samples_per_second"} for line in lines]
    return weights.header(folder / "run" / "last.safetensors")["sha256"], history


@contextlib.contextmanager
def place(stock: Stock) -> Iterator[Path]:
    """A folder for one training, with photographs."""
    with tempfile.TemporaryDirectory(prefix="training-", dir=stock.folder.parent) as folder:
        stock.give(Path(folder), "photographs")
        yield Path(folder)


def undisturbed(stock: Stock, act: Act) -> tuple[tuple, Outcome]:
    """What a training comes to if nothing happens, and what it took."""
    with place(stock) as folder:
        outcome = act(folder)
        assert outcome.status == 0, outcome
        return end(folder), outcome


def campaign(stock: Stock, seed: int, share: float, wanted: Callable[[str], bool]) -> Iterator[Finding]:
    """See `tests.campaign.files.campaign`."""
    draws = random.Random(seed)
    alone, took = undisturbed(stock, train)
    together, _ = undisturbed(stock, two)
    for kind, cases in classes(stock, draws, took.seconds, took.changes).items():
        chosen = cases if share == 1 else draws.sample(cases, max(1, round(share * len(cases))))
        how = (two, together) if kind == "killed: two processes" else (train, alone)
        for name, *acts in chosen:
            if wanted(f"training, {kind}: {name}"):
                yield judged(stock, f"training, {kind}", name, acts, *how)


def judged(stock: Stock, kind: str, name: str, acts: list[Act], go_on: Act, expected: tuple) -> Finding:
    """Lets things happen in turn, goes on undisturbed, and compares with what a training comes to then."""
    with place(stock) as folder:
        before = [act(folder) for act in acts]
        last = go_on(folder)
        kills = sum(outcome.killed == "SIGKILL" for outcome in before)
        faults = [
            fault for outcome in before if outcome.killed != "SIGKILL" for fault in outcome.faults(LIMITS, (0, 2))
        ]
        faults += [f"going on: {fault}" for fault in last.faults(LIMITS, (0,))]
        same = last.status == 0 and end(folder) == expected
        if last.status == 0 and not same:
            faults.append("other weights or another history")
        own = {path for path in (folder / "run").rglob(".*") if path.name != STRAY}
        faults += [f"left {path.name} behind" for path in own]
    became = f"the same after {kills} kill{'s' if kills > 1 else ''}" if kills else "the same"
    processor, megabytes = (max(getattr(one, what) for one in (*before, last)) for what in ("processor", "megabytes"))
    return Finding(kind, name, became if same else "not the same", tuple(faults), processor, megabytes)


# --- what happens ---------------------------------------------------------------------------------------------------


def classes(stock: Stock, draws: random.Random, seconds: float, changes: int) -> dict[str, list[tuple]]:
    """The cases by class: a name, and what happens, one after another.

    Args:
        stock: gives the stopped run.
        draws: of what is random.
        seconds, changes: what a training takes to which nothing happens, and how often it changes a file.
    """
    found = {
        f"killed: {when}": [killed(when, draws, seconds, changes) for _ in range(count)]
        for when, count in KILLS.items()
    }
    found["disk full"] = [(f"from change {n} of {changes} on", partial(full, n)) for n in range(1, changes + 1)]
    found["small disk"] = [(f"{size} kB", partial(small_disk, size)) for size in (8, 24, 48, 96, 160)]
    found["newest checkpoint damaged"] = [
        (f"{hurt.__name__} {path.name}", partial(damaged, stock, path.name, hurt, draws.random()))
        for path in sorted((stock.run / "checkpoints" / "step-00000004").iterdir())
        for hurt in (*MUTATIONS, gone)
    ]
    found["memory refused"] = [(f"{size} MB", partial(train, limits=Limits(60.0, size))) for size in (2, 4, 8, 15, 30)]
    stop = partial(killed_at_step, 4)
    found["other"] = [
        ("folder moved", stop, moved),
        ("clock jumps back", stop, partial(train, before=partial(clock, -1e9))),
        ("clock jumps ahead", stop, partial(train, before=partial(clock, 1e9))),
        ("a worker is killed", partial(train, workers=2, before=dying_worker)),
        ("started twice at once", twice),
        ("a stray file among checkpoints", stop, stray),
    ]
    return found


def gone(data: bytes, draws: random.Random) -> bytes:
    """The mutation that leaves nothing."""
    return b""


def killed(when: str, draws: random.Random, seconds: float, changes: int) -> tuple:
    """One to three kills at moments of this kind."""
    moments = [moment(when, draws, seconds, changes) for _ in range(draws.choice((1, 1, 2, 3)))]
    return ", then ".join(name for name, _ in moments), *(act for _, act in moments)


def moment(when: str, draws: random.Random, seconds: float, changes: int) -> tuple[str, Act]:
    """Its name, and the training that is killed then."""
    after, number, step = draws.uniform(0, seconds), draws.randint(1, changes), draws.randint(1, 6)
    match when:
        case "start":
            name = draws.choice(list(START))
            return name, partial(train, before=partial(die_at_call, 1, START[name], name))
        case "steps":
            return f"step {step}", partial(killed_at_step, step)
        case "saves":
            return f"change {number}", partial(train, at_change=lambda n: n == number and die())
        case "validation":
            count = draws.randint(1, 2)
            return f"validation {count}", partial(train, before=partial(die_at_call, count, loop, "judge"))
        case "any moment":
            return f"after {after:.2f} s", partial(train, kill_after=after)
        case "two workers":
            return f"after {after:.2f} s", partial(train, workers=2, kill_after=after)
        case "two processes":
            rank, before = draws.randrange(2), partial(die_at_call, step, torch.optim.Adam, "step")
            return f"process {rank}, step {step}", partial(two, dying=rank, before=before)


def killed_at_step(step: int, folder: Path) -> Outcome:
    return train(folder, before=lambda: die_at_call(step, torch.optim.Adam, "step"))


def two(folder: Path, dying: int = -1, before: Callable[[], object] = lambda: None) -> Outcome:
    """Two processes that share a training; if one of them dies, the other is killed, as a launcher does."""

    def launch() -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        children = {}
        for rank in range(2):
            if not (child := os.fork()):
                os.environ |= shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                if rank == dying:
                    before()
                status = cli.main(training())
                sys.stdout.flush()
                os._exit(status)
            children[child] = rank
        while children:
            child, status = os.wait()
            del children[child]
            if status:
                for other in children:
                    os.kill(other, 9)
                if os.WIFSIGNALED(status):
                    die()
                return os.waitstatus_to_exitcode(status)
        return 0

    return forked(launch, limits=LIMITS, folder=folder)


def full(number: int, folder: Path) -> Outcome:
    """The disk is full from some change of a file on."""
    return train(folder, at_change=lambda n: n == number and no_more_room())


def small_disk(size: int, folder: Path) -> Outcome:
    """The run lies on a disk of so many kB, where the system lets us make one; then it is brought to a larger one."""
    small = folder / "run"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", small], capture_output=True).returncode:
        return Outcome(status=0)
    try:
        outcome = train(folder)
        shutil.copytree(small, folder / "larger")
    finally:
        subprocess.run(["umount", small], check=True)
    small.rmdir()
    (folder / "larger").rename(small)
    return outcome


def damaged(stock: Stock, name: str, hurt: Callable, seed: float, folder: Path) -> Outcome:
    """A file of the newest checkpoint of a run that was stopped."""
    stock.give(folder, "run")
    path = folder / "run" / "checkpoints" / "step-00000004" / name
    path.write_bytes(hurt(path.read_bytes(), random.Random(seed)))
    return Outcome(status=0)


def moved(folder: Path) -> Outcome:
    """To another place, and with it the photographs."""
    (folder / "run").rename(folder / "elsewhere")
    shutil.copytree(folder / "elsewhere", folder / "run")
    shutil.rmtree(folder / "elsewhere")
    return Outcome(status=0)


def stray(folder: Path) -> Outcome:
    """What people and their systems leave in a folder."""
    checkpoints = folder / "run" / "checkpoints"
    (checkpoints / STRAY).write_bytes(b"\0\0\0\1Bud1")
    shutil.make_archive(str(checkpoints / "step-00000002"), "zip", checkpoints / "step-00000002")
    return Outcome(status=0)


def clock(jump: float):
    real = time.time
    time.time = lambda: real() + (jump if int(10 * real()) % 2 else 0)


def dying_worker():
    """The process that makes the third sample dies."""
    original, parent = Samples.__getitem__, os.getpid()

    def get(self, key):
        if os.getpid() != parent:
            die()
        return original(self, key)

    Samples.__getitem__ = get


def twice(folder: Path) -> Outcome:
    """A second run is started in the folder while the first is in its third step; it must refuse, and harm nothing."""
    second = []

    def both() -> int:
        original, calls = torch.optim.Adam.step, iter(range(1, 1000))

        def step(self, *args, **how):
            if next(calls) == 3:
                second.append(train(folder))
            return original(self, *args, **how)

        torch.optim.Adam.step = step
        status = cli.main(training())
        return status if second[0].status == 2 else 3

    return forked(both, limits=LIMITS, folder=folder)
