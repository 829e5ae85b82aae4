"""Where dom0 takes a backup from: files and pipes, and what never comes out of them."""

from __future__ import annotations

import os
import threading
import time

import pytest

from vminterface.dom0 import rpc
from vminterface.dom0.services import backup
from vminterface.dom0.steps import storage
from vminterface.dom0.wholefile import FileFault
from vminterface.errors import DeadlineExceeded, InvalidValue, ServiceFailed


def test_a_backup_may_come_from_a_pipe(work, qrexec, tmp_path):
    data = os.urandom(300_000)
    os.mkfifo(tmp_path / "pipe")

    def write():
        with open(tmp_path / "pipe", "wb") as pipe:
            pipe.write(data[:1000])
            pipe.flush()
            time.sleep(0.3)
            pipe.write(data[1000:])

    writer = threading.Thread(target=write)
    writer.start()
    rpc.backup(qrexec, "work", f"{work}/home/user/b.tar", str(tmp_path / "pipe"), timeout=20)
    writer.join()
    assert (work / "home/user/b.tar").read_bytes() == data


@pytest.mark.parametrize("written", [None, b"", b"a beginning"], ids=["nobody opens it", "nothing", "a beginning"])
def test_a_pipe_that_gives_nothing_costs_the_calls_time(vms, qrexec, tmp_path, written):
    vms.handler("work", backup.BACKUP, "cat >/dev/null")
    os.mkfifo(tmp_path / "pipe")
    held = None if written is None else os.open(tmp_path / "pipe", os.O_RDWR)
    if written:
        os.write(held, written)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"qubes\.Backup in work"):
        rpc.backup(qrexec, "work", "/b", str(tmp_path / "pipe"), timeout=0.5)
    assert time.monotonic() - began < 5
    vms.handler("work", backup.BACKUP, "exit 7")
    with pytest.raises(ServiceFailed, match="exit status 7"):
        rpc.backup(qrexec, "work", "/b", str(tmp_path / "pipe"), timeout=60)
    assert time.monotonic() - began < 10
    if held is not None:
        os.close(held)
    with pytest.raises(InvalidValue, match="expected a file"):
        storage.backup_made(qrexec, "work", str(tmp_path / "pipe"), "/b")


def test_an_archive_that_cannot_be_read_is_named(work, qrexec, tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileFault, match=str(path)):
            rpc.backup(qrexec, "work", f"{work}/home/user/b.tar", str(path))
    with pytest.raises(FileFault, match=r"/proc/self/mem"):
        rpc.backup(qrexec, "work", f"{work}/home/user/b.tar", "/proc/self/mem")
