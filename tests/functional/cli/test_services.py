"""What ``vminterface services`` finds on Qubes R4: keys of the VMs that run, and features of those that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd.stores import StoreWriter
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from vminterface.channel.qubesdb.places import FOLDER_VARIABLE
from vminterface.cli import main
from vminterface.values.service import hash_of


@dataclass
class Shown:
    """A function that returns the services' table as data, and the host whose services they are."""

    host: QubesHost
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> Any:
        assert main.main(["services", *words, "--json"]) == 0
        return json.loads(self.capsys.readouterr().out)


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shown]:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "qdb"))
    monkeypatch.setenv("XENSTORED_PATH", "/nonexistent")
    with (
        QubesHost(tmp_path / "qdb") as host,
        qubes_r4(tmp_path, "work", "personal", live=StoreWriter(host.store)) as qubesd,
    ):
        host.start_vm("work")
        qubesd.qubes["work"].state = "Running"
        qubesd.qubes["personal"].features.update({"service.cups": "1", "service.crond": ""})

        yield Shown(host, capsys)


def test_vms_that_do_not_run_are_shown_as_qubesd_keeps_them(shown: Shown) -> None:
    with shown.host.store("work") as store:
        store.write("/qubes-service/cups", b"0")
        store.write("/qubes-service/own", b"1")
    services = shown()
    assert services["cups"]["states"] == {"personal": "on", "sys-net": "default", "work": "off"}
    assert services["crond"]["states"] == {"personal": "off", "sys-net": "default", "work": "default"}
    assert services["own"] == {
        "does": "",
        "on_in": [],
        "states": {"personal": "default", "sys-net": "default", "work": "on"},
    }


def test_a_vm_that_does_not_run_is_shown_alone_as_qubesd_keeps_it(shown: Shown) -> None:
    services = shown("personal")
    assert (services["cups"]["state"], services["crond"]["state"]) == ("on", "off")


def test_a_long_name_leaves_the_columns_of_all_others_as_they_are(shown: Shown, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = f"app-dispvm.{'x' * 236}"
    with shown.host.store("work") as store:
        store.write(f"/hash-app-dispvm/{hash_of('x' * 236)}", b"x" * 236)
    assert main.main(["services"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.split("  ")[0]) for line in lines if not line.startswith(long)) <= 48
    assert [line.split() for line in lines if line.startswith(long)] == [[long, "default", "default", "on"]]
