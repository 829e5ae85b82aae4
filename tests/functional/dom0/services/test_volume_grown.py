"""A VM's private volume is enlarged by qubesd, and its file system with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.qubesd import Qubesd
from tests.support.qubesd import qubes_r4
from vminterface.channel.adminapi import AdminAPI
from vminterface.channel.qrexec import Answer, Qrexec
from vminterface.dom0.steps import storage
from vminterface.errors import InvalidValue, PermissionDenied, ProgramMissing, StoreError, VMNotFound, VMNotRunning

GIB = 1 << 30


class Halted(Qrexec):
    """Stands for qrexec towards VMs that do not run: every call ends as the real one's."""

    def __init__(self) -> None:
        super().__init__("/usr/bin/false", in_dom0=True)

    def call(self, vm: str, service: str, *args: object, **more: object) -> Answer:  # type: ignore[override]
        raise VMNotRunning(f"{service} in {vm}: the VM is not running")


@pytest.fixture
def qubesd(tmp_path: Path) -> Iterator[Qubesd]:
    with qubes_r4(tmp_path, "work") as daemon:
        yield daemon


@pytest.fixture
def api(qubesd: Qubesd) -> AdminAPI:
    return AdminAPI.open(timeout=5)


def test_a_volume_has_a_size_and_grows(qubesd, api):
    assert api.volume_size("work", "private") == 2 * GIB
    api.resize_volume("work", "private", 3 * GIB)
    assert api.volume_size("work", "private") == qubesd.qubes["work"].volumes["private"] == 3 * GIB


def test_what_qubesd_refuses_of_a_volume_is_an_error_that_names_it(api):
    with pytest.raises(StoreError, match=r"volume private of work: .*shrinking of .* is disabled"):
        api.resize_volume("work", "private", GIB)
    with pytest.raises(PermissionDenied, match="volume nothing of work"):
        api.volume_size("work", "nothing")
    with pytest.raises(VMNotFound, match="volume private of nosuch"):
        api.volume_size("nosuch", "private")


def test_a_halted_vms_volume_grows_once_and_not_in_a_test(qubesd):
    volumes = qubesd.qubes["work"].volumes
    changes = {"size": {"old": 2 * GIB, "new": 20 * GIB}}
    would = storage.disk_resized(Halted(), "work", size=20 * GIB).run(test=True)
    assert would == (changes, "work: the private volume would be resized")
    assert volumes["private"] == 2 * GIB
    done = storage.disk_resized(Halted(), "work", size=20 * GIB).run(test=False)
    assert done == (changes, "work: the private volume resized")
    assert volumes["private"] == 20 * GIB
    again = storage.disk_resized(Halted(), "work", size=20 * GIB).run(test=False)
    assert again == ({}, "work: the private volume is already as asked for; its file system grows at the VM's start")


def test_less_than_the_volume_has_is_an_error_before_anything_is_done(qubesd):
    with pytest.raises(InvalidValue, match=f"work: size: {GIB} is less than the {2 * GIB} bytes of the private volume"):
        storage.disk_resized(Halted(), "work", size=GIB)
    assert qubesd.qubes["work"].volumes["private"] == 2 * GIB


def test_a_host_without_qubesd_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "qubesadmin", None)
    with pytest.raises(ProgramMissing, match="qubesadmin"):
        storage.disk_resized(Halted(), "work", size=GIB)
