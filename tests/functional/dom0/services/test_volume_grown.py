"""A VM's private volume is enlarged by qubesd, and its file system with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd import Qubesd, volumes
from lab.qubesd.errors import Refused, Unanswered
from tests.support.qubesd import qubes_r4
from tests.support.rpcstandin import StandIn
from tests.support.stores import need
from vminterface.channel.adminapi import AdminAPI
from vminterface.channel.qrexec.client import Call, Qrexec, Reply
from vminterface.dom0.ensure import storage
from vminterface.errors import (
    InvalidValue,
    PermissionDenied,
    ProgramMissing,
    StoreError,
    VMInterfaceError,
    VMNotFound,
    VMNotRunning,
)
from vminterface.values.change import Change

MIB, GIB = 1 << 20, 1 << 30


class Halted(Qrexec):
    """Stands for qrexec towards VMs that do not run: every call ends as the real one's."""

    def __init__(self) -> None:
        super().__init__("/usr/bin/false", in_dom0=True)

    def call(self, call: Call) -> Reply:
        raise VMNotRunning(f"{call}: the VM is not running")


@pytest.fixture
def qubesd(tmp_path: Path) -> Iterator[Qubesd]:
    with qubes_r4(tmp_path, "work") as daemon:
        yield daemon


@pytest.fixture
def api(qubesd: Qubesd) -> AdminAPI:
    return AdminAPI.open(timeout=5)


def test_a_volume_has_a_size_and_grows(qubesd: Qubesd, api: AdminAPI) -> None:
    assert api.volume_size("work", "private") == 2 * GIB
    api.resize_volume("work", "private", 3 * GIB)
    assert api.volume_size("work", "private") == qubesd.qubes["work"].volumes["private"] == 3 * GIB


def test_what_qubesd_refuses_of_a_volume_is_an_error_that_names_it(api: AdminAPI) -> None:
    with pytest.raises(StoreError, match=r"volume private of work: .*shrinking of .* is disabled"):
        api.resize_volume("work", "private", GIB)
    with pytest.raises(PermissionDenied, match="volume nothing of work"):
        api.volume_size("work", "nothing")
    with pytest.raises(VMNotFound, match="volume private of nosuch"):
        api.volume_size("nosuch", "private")


def test_a_halted_vms_volume_grows_once_and_not_in_a_test(qubesd: Qubesd) -> None:
    volumes = qubesd.qubes["work"].volumes
    changes = {"size": Change(2 * GIB, 20 * GIB)}
    would = storage.disk_resized(Halted(), "work", size=20 * GIB).run(test=True)
    assert would == (changes, "work: the private volume would be resized")
    assert volumes["private"] == 2 * GIB
    done = storage.disk_resized(Halted(), "work", size=20 * GIB).run(test=False)
    assert done == (changes, "work: the private volume resized")
    assert volumes["private"] == 20 * GIB
    again = storage.disk_resized(Halted(), "work", size=20 * GIB).run(test=False)
    assert again == ({}, "work: the private volume already has this size; its file system grows at the VM's start")


class Volume:
    """The private volume of the running VM called work: a file with an ext file system that has all of it."""

    def __init__(self, work: Path, qubesd: Qubesd, qrexec: Qrexec) -> None:
        self.path, self.qubesd, self.qrexec = work / "disk", qubesd, qrexec
        self.path.write_bytes(bytes(MIB))
        subprocess.run(["mkfs.ext2", "-q", "-b", "1024", self.path], check=True, timeout=60)
        (work / "etc/vminterface").mkdir(parents=True)
        (work / "etc/vminterface/handlers.conf").write_text("private-device = /disk\n")
        self.qube = qubesd.qubes["work"]
        self.qube.state, self.qube.volumes["private"] = "Running", MIB
        qubesd.system.serve = self.serve
        #: The services that qubesd has called.
        self.served: list[tuple[str, bytes]] = []

    def serve(self, vm: str, service: str, data: bytes) -> None:
        """Let the VM see the volume's new size, and call its service as qubesd does."""
        self.served.append((service, data))
        os.truncate(self.path, self.qube.volumes["private"])
        self.qrexec.call(Call(vm, service, user="root", stdin=data))

    def resized(self, size: int, *, test: bool = False) -> tuple[object, str]:
        return storage.disk_resized(self.qrexec, "work", device=str(self.path), size=size).run(test=test)

    @property
    def blocks(self) -> int:
        """The number of the file system's blocks (ext4(5), s_blocks_count_lo)."""
        return int.from_bytes(self.path.read_bytes()[1028:1032], "little")


@pytest.fixture
def volume(vms: StandIn, work: Path, qubesd: Qubesd, qrexec: Qrexec) -> Volume:
    need("" if shutil.which("mkfs.ext2", path="/usr/sbin:/sbin:/usr/bin") else "no mkfs.ext2 (Debian: e2fsprogs)")
    return Volume(work, qubesd, qrexec)


def test_a_running_vms_volume_grows_and_its_file_system_with_it(volume: Volume) -> None:
    changes = {"size": Change(MIB, 8 * MIB)}
    assert volume.resized(8 * MIB, test=True) == (changes, "work: the private volume would be resized")
    assert (volume.served, volume.blocks) == ([], 1024)
    assert volume.resized(8 * MIB) == (changes, "work: the private volume resized")
    assert (volume.served, volume.blocks) == ([("qubes.ResizeDisk", b"private")], 8192)
    again = f"work: the file system on {volume.path} already uses the whole volume"
    assert volume.resized(8 * MIB) == ({}, again)


def test_a_file_system_that_did_not_grow_for_qubesd_grows_afterwards(volume: Volume) -> None:
    """qubesd's reply is an error then, and the volume has its new size all the same."""

    def serve_late(vm: str, service: str, data: bytes) -> None:
        os.truncate(volume.path, volume.qube.volumes["private"])
        raise RuntimeError("the device has its former size still")

    volume.qubesd.system.serve = serve_late
    volume.resized(8 * MIB)
    assert volume.blocks == 8192


def test_a_volume_that_grew_without_its_file_system_is_said(volume: Volume, vms: StandIn) -> None:
    vms.handler("work", "qubes.ResizeDisk", "echo no such device >&2; exit 1")
    said = rf"work: the private volume now has {8 * MIB} bytes, but its file system has not grown: .*no such device"
    with pytest.raises(VMInterfaceError, match=said):
        volume.resized(8 * MIB)
    assert volume.qube.volumes["private"] == 8 * MIB


def test_what_qubesd_refuses_for_a_running_vm_is_that_error(volume: Volume, qubesd: Qubesd) -> None:
    qubesd.refuse["admin.vm.volume.Resize", "private"] = Refused("StoragePoolException", "the pool is full")
    with pytest.raises(StoreError, match="volume private of work: the pool is full"):
        volume.resized(8 * MIB)
    assert volume.qube.volumes["private"] == MIB


@pytest.mark.parametrize("payload", [b"", b"1e9", b"-1", b"0123", b"1" * 20])
def test_the_labs_qubesd_takes_no_other_size_than_the_real_one(qubesd: Qubesd, payload: bytes) -> None:
    with pytest.raises(Unanswered):
        volumes.resize(qubesd.system, "work", "private", payload)


def test_less_than_the_volume_has_is_an_error_before_anything_is_done(qubesd: Qubesd) -> None:
    with pytest.raises(InvalidValue, match=f"work: size: {GIB} is less than the {2 * GIB} bytes of the private volume"):
        storage.disk_resized(Halted(), "work", size=GIB)
    assert qubesd.qubes["work"].volumes["private"] == 2 * GIB


def test_a_size_that_lvm_has_rounded_up_to_whole_extents_is_as_asked_for(qubesd: Any) -> None:
    qubesd.qubes["work"].volumes["private"] = 716 * 4 * MIB
    step = storage.disk_resized(Halted(), "work", size=3_000_000_000)
    assert step.run(test=False)[0] == {}
    with pytest.raises(InvalidValue, match="is less than"):
        storage.disk_resized(Halted(), "work", size=715 * 4 * MIB)


def test_a_host_without_qubesd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qubesadmin", None)
    with pytest.raises(ProgramMissing, match="qubesadmin"):
        storage.disk_resized(Halted(), "work", size=GIB)
