"""Files on Windows, where no folder can be opened, and only what may be written can be synced."""

import os

from derainlib import files


def test_windows_writes_whole_files_too(monkeypatch, tmp_path):
    opened = os.open

    def windows(path, flags, *more, **named):
        if os.path.isdir(path) or not flags & os.O_RDWR:
            raise PermissionError(f"{path} cannot be opened so")
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(files.sys, "platform", "win32")
    monkeypatch.setattr(os, "open", windows)
    files.write_atomically(tmp_path / "some.txt", b"rain")
    files.sync(tmp_path / "some.txt")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("some.txt", b"rain")]
