"""Files are whole or absent on whatever drive: Windows opens no folders, some refuse syncing, modes or locks.

JSON of others is read without surprises.
"""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from derainlib import files
from derainlib.errors import DerainError


def refusing(error: int):
    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    return refuse


def test_windows_writes_whole_files_too(monkeypatch, tmp_path):
    opened = os.open

    def windows(path, flags, *more, **named):
        if os.path.isdir(path) or not flags & os.O_RDWR:
            raise PermissionError(f"{path} cannot be opened so")
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", windows)
    files.write_atomically(tmp_path / "some.txt", b"rain")
    files.sync(tmp_path / "some.txt")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("some.txt", b"rain")]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EPERM, errno.ENOTSUP])
def test_a_drive_that_knows_neither_syncing_nor_modes(monkeypatch, tmp_path, code):
    for name in ("fsync", "chmod"):
        monkeypatch.setattr(os, name, refusing(code))
    files.write_atomically(tmp_path / "some.txt", b"rain")
    files.sync(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("some.txt", b"rain")]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_data_that_are_lost_are_an_error(monkeypatch, tmp_path, code):
    monkeypatch.setattr(os, "fsync", refusing(code))
    with pytest.raises(OSError, match=os.strerror(code)):
        files.write_atomically(tmp_path / "some.txt", b"rain")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["r" * 246 + ".txt", "\u96e8" * 81 + ".txt"])
def test_names_as_long_as_they_may_be(tmp_path, name):
    files.write_atomically(tmp_path / name, b"rain")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"rain")]


def test_a_file_that_windows_holds_for_a_moment(monkeypatch, tmp_path):
    replaced, calls = os.replace, []

    def held(*names):
        calls.append(names)
        if len(calls) < 3:
            raise PermissionError(13, "used by another process")
        return replaced(*names)

    monkeypatch.setattr(os, "replace", held)
    with pytest.raises(PermissionError):
        files.write_atomically(tmp_path / "some.txt", b"rain")
    monkeypatch.setattr(files, "IS_WINDOWS", True)
    files.write_atomically(tmp_path / "some.txt", b"rain")
    assert (tmp_path / "some.txt").read_bytes() == b"rain"


LOCKING = """
import os, sys
from pathlib import Path
from derainlib import files
with files.locked(Path("lock")):
    if not os.fork():
        print("alone", flush=True)
        os._exit(len(sys.stdin.read()))
    os._exit(0)
"""
"""Locks, starts a process, and dies; the other lives until its input ends."""


def test_one_process_at_a_time(tmp_path):
    with files.locked(tmp_path / "lock"):
        with pytest.raises(BlockingIOError), files.locked(tmp_path / "lock"):
            pass
        other = subprocess.run([sys.executable, "-c", LOCKING], cwd=tmp_path, capture_output=True, text=True)
        assert "BlockingIOError" in other.stderr
    with files.locked(tmp_path / "lock"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on Windows")
def test_what_a_process_started_keeps_nobody_away_once_it_died(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", LOCKING], cwd=tmp_path, text=True, **pipes) as other:
        assert other.stdout.readline() == "alone\n"
        assert other.wait(60) == 0
        with files.locked(tmp_path / "lock"):
            pass


DYING = """
import os, sys
from derainlib import files
files.rename = lambda *names: os._exit(1) if sys.argv[1] == "dies" else print(*names, flush=True) or sys.stdin.read()
files.write_atomically("some.txt", b"rain")
"""
"""Dies, or waits for the end of its input, just before the file gets its name."""


def test_what_a_killed_process_left_is_cleared_and_nothing_else(monkeypatch, tmp_path):
    subprocess.run([sys.executable, "-c", DYING, "dies"], cwd=tmp_path)
    left = list(tmp_path.iterdir())
    (tmp_path / ".derain-settings").touch()
    (tmp_path / ".derain-12345678.part").mkdir()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", DYING, "waits"], cwd=tmp_path, text=True, **pipes) as other:
        living = Path(tmp_path, other.stdout.readline().split()[0])
        assert len(left) == 1
        assert not left[0].exists()  # the other cleared it, too, before it wrote
        files.write_atomically(tmp_path / "more.txt", b"rain")
        kept = {living.name, ".derain-settings", ".derain-12345678.part", "more.txt"}
        assert {path.name for path in tmp_path.iterdir()} == kept
        other.stdin.close()


def test_on_windows_only_old_files_are_taken_for_dead_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "IS_WINDOWS", True)
    for name, age in {"young_ones": 1, "old_ones": 3600}.items():
        path = tmp_path / f".derain-{name[:3]}12345.part"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    files.write_atomically(tmp_path / "some.txt", b"rain")
    assert {path.name for path in tmp_path.iterdir()} == {"some.txt", ".derain-you12345.part"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on Windows")
def test_a_pipe_is_not_waited_for(tmp_path):
    """Nor one that took the place of a file after somebody looked."""
    os.mkfifo(tmp_path / "rain.png")
    with pytest.raises(OSError, match="not a regular file"):
        files.opened(tmp_path / "rain.png")
    with pytest.raises(DerainError, match="not a regular file"):
        files.text(tmp_path / "rain.png")


def test_a_drive_without_locks(monkeypatch, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    with files.locked(tmp_path / "lock"), files.locked(tmp_path / "lock"):
        pass


def test_json_of_a_text_and_of_a_file(tmp_path):
    path = tmp_path / "some.json"
    path.write_text('{"rain": 1}')
    assert files.json_in(path) == files.json_in('{"rain": 1}') == {"rain": 1}


@pytest.mark.parametrize(
    ("text", "words"), [("[" * 100_000, "brackets within brackets"), ("9" * 5000, "digits"), ("{", "Expecting")]
)
def test_what_is_no_json(text, words):
    with pytest.raises(ValueError, match=words):
        files.json_in(text)


def test_json_of_what_has_no_end(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="not a regular file"):
        files.json_in(Path("/dev/zero") if Path("/dev/zero").exists() else tmp_path)
    monkeypatch.setattr(files, "LONGEST_JSON", 10)
    (tmp_path / "long.json").write_text("1" * 11)
    with pytest.raises(ValueError, match="more than"):
        files.json_in(tmp_path / "long.json")


def test_a_message_is_one_line():
    """Names of files may have any characters."""
    assert str(DerainError("no folder two\nlines\x1b[2J \u202e雨")) == r"no folder two\nlines\x1b[2J \u202e雨"
