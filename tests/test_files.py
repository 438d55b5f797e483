"""Files on Windows, where no folder can be opened, and only what may be written can be synced; JSON of others."""

import os
from pathlib import Path

import pytest

from derainlib import files
from derainlib.errors import DerainError


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
    with pytest.raises(OSError, match="no regular file"):
        files.json_in(Path("/dev/zero") if Path("/dev/zero").exists() else tmp_path)
    monkeypatch.setattr(files, "LONGEST_JSON", 10)
    (tmp_path / "long.json").write_text("1" * 11)
    with pytest.raises(ValueError, match="more than"):
        files.json_in(tmp_path / "long.json")


def test_a_message_is_one_line():
    """Names of files may have any characters."""
    assert str(DerainError("no folder two\nlines\x1b[2J \u202e雨")) == r"no folder two\nlines\x1b[2J \u202e雨"
