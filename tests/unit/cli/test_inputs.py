"""What a file of the command line may be: no end, no writer and no name are one sentence each."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from vminterface.cli import inputs
from vminterface.errors import InvalidValue


def refused(path: str) -> str:
    with pytest.raises(InvalidValue) as caught:
        inputs.read(path)
    return str(caught.value)


def test_a_file_that_is_longer_than_a_pillar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LIMIT", 1 << 20)
    with (tmp_path / "long").open("wb") as file:
        file.truncate(1 << 20)
    assert len(inputs.read(str(tmp_path / "long"))) == 1 << 20
    with (tmp_path / "long").open("ab") as file:
        file.write(b"x")
    assert refused(str(tmp_path / "long")) == f"{tmp_path}/long: is too long (expected at most 1 MiB)"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "/dev/null"])
def test_a_device_is_refused(path: str) -> None:
    assert refused(path).startswith(f"{path}: cannot be read: ")


def test_a_folder_and_a_name_without_a_letter_are_refused(tmp_path: Path) -> None:
    assert refused(str(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"
    assert refused("") == "'': is not the name of a file (expected a file, or - for standard input)"


def test_bytes_that_are_not_utf_8_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: b\nc: Z\xfcrich\n")
    assert refused(str(tmp_path / "latin")) == f"{tmp_path}/latin:2: the byte \\xfc is not valid UTF-8"


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    read, write = os.pipe()

    def say() -> None:
        os.write(write, b"a: b\r\nc: d\n")
        os.close(write)

    writer = threading.Timer(0.05, say)
    writer.start()
    try:
        assert inputs.read(f"/dev/fd/{read}") == "a: b\nc: d\n"
    finally:
        writer.join()
        os.close(read)


def test_a_pipe_that_nobody_writes_to_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "PATIENCE", 0.05)
    os.mkfifo(tmp_path / "fifo")
    said = f"{tmp_path}/fifo: cannot be read: did not end within 0 s"
    assert refused(str(tmp_path / "fifo")) == said
    silent = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        assert refused(str(tmp_path / "fifo")) == said
    finally:
        os.close(silent)
