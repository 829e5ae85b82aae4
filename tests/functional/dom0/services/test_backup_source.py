"""Where dom0 takes a backup from: files and pipes, and what never comes out of them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure import storage
from vminterface.dom0.services import backup
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import DeadlineExceeded, InvalidValue, ServiceFailed


def test_a_backup_may_come_from_a_pipe(work: Path, qrexec: Qrexec, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    os.mkfifo(tmp_path / "pipe")

    def write() -> None:
        with open(tmp_path / "pipe", "wb") as pipe:
            pipe.write(data[:1000])
            pipe.flush()
            time.sleep(0.3)
            pipe.write(data[1000:])

    writer = threading.Thread(target=write)
    writer.start()
    backup.backup_file(qrexec, "work", f"{work}/home/user/b.tar", str(tmp_path / "pipe"), timeout=20)
    writer.join()
    assert (work / "home/user/b.tar").read_bytes() == data


@pytest.mark.parametrize("written", [None, b"", b"a beginning"], ids=["nobody opens it", "nothing", "a beginning"])
def test_a_pipe_that_gives_nothing_costs_the_calls_time(
    vms: StandIn, qrexec: Qrexec, tmp_path: Path, written: bytes | None
) -> None:
    vms.handler("work", backup.BACKUP, "cat >/dev/null")
    os.mkfifo(tmp_path / "pipe")
    held = None if written is None else os.open(tmp_path / "pipe", os.O_RDWR)
    if held is not None and written:
        os.write(held, written)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"qubes\.Backup in work"):
        backup.backup_file(qrexec, "work", "/b", str(tmp_path / "pipe"), timeout=0.5)
    assert time.monotonic() - began < 5
    vms.handler("work", backup.BACKUP, "exit 7")
    with pytest.raises(ServiceFailed, match="exit status 7"):
        backup.backup_file(qrexec, "work", "/b", str(tmp_path / "pipe"), timeout=60)
    assert time.monotonic() - began < 10
    if held is not None:
        os.close(held)
    with pytest.raises(InvalidValue, match="is not a regular file"):
        storage.backup_made(qrexec, "work", str(tmp_path / "pipe"), "/b")


def test_an_archive_that_cannot_be_read_is_named(work: Path, qrexec: Qrexec, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileError, match=str(path)):
            backup.backup_file(qrexec, "work", f"{work}/home/user/b.tar", str(path))
    with pytest.raises(FileError, match=r"/proc/self/mem"):
        backup.backup_file(qrexec, "work", f"{work}/home/user/b.tar", "/proc/self/mem")
