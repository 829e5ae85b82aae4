"""Each push leaves one line in the history: who, which VM, which field, old and new, and what came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.history.log import History
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import diff, push
from vminterface.errors import ConnectionLost, VMInterfaceError

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMINTERFACE_LOG_DIR", str(tmp_path / "log"))
    return tmp_path / "log"


def pushed(dom0: Dom0, *settings: VMSettings) -> None:
    with dom0.targets() as targets:
        push(settings, targets)


def lines() -> list[dict[str, Any]]:
    """Return all entries, the oldest first; the chain is whole."""
    assert History().verify().ok
    return list(History().newest_first())[::-1]


def test_a_push_is_one_line_with_its_vms_fields_old_and_new(dom0: Dom0) -> None:
    for vm in ("work", "mail"):
        dom0.start_vm(vm)
    pushed(dom0, VMSettings.parse("work", {"timezone": "UTC"}), VMSettings.parse("mail", {"debug": True}))
    pushed(
        dom0,
        VMSettings.parse("work", {"timezone": "Asia/Tokyo"}),
        VMSettings.parse("mail", {"debug": True}),
        VMSettings.parse("gone", {"debug": True}),
    )
    first, second = lines()
    assert sorted(first["vms"]) == ["mail", "work"]
    assert second["vms"] == {
        "work": {"outcome": "changed", "changes": {"timezone": {"old": "UTC", "new": "Asia/Tokyo"}}}
    }
    assert (second["unchanged"], second["not_running"]) == (["mail"], ["gone"])
    assert second["by"]["pid"] == os.getpid()
    assert second["time"] >= first["time"]


def test_a_diff_leaves_none(dom0: Dom0) -> None:
    dom0.start_vm("work")
    with dom0.targets() as targets:
        diff([VMSettings.parse("work", {"timezone": "UTC"})], targets)
    assert lines() == []


def test_what_a_vm_refuses_is_there_with_what_was_tried(dom0: Dom0) -> None:
    dom0.start_vm("work")
    dom0.agent("work", reply=lambda setting, inputs: "no such zone here" if setting == "timezone" else "")
    pushed(dom0, VMSettings.parse("work", {"timezone": "UTC", "debug": True}))
    (line,) = lines()
    own = line["vms"]["work"]
    assert own["outcome"] == "refused"
    assert own["changes"] == {"timezone": {"old": "default", "new": "UTC"}, "debug": {"old": "default", "new": "on"}}
    assert "no such zone here" in own["comment"]
    assert own["comment"].endswith("former values restored")


def test_what_may_be_secret_is_a_digest_unless_the_admin_wants_it(
    dom0: Dom0, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dom0.start_vm("work")
    for value in ("opensesame", "opensesame2", "opensesame"):
        pushed(dom0, VMSettings.parse("work", {"vm_config": {"token": value}}))
    assert b"opensesame" not in (folder / "push.jsonl").read_bytes()
    changes = [line["vms"]["work"]["changes"]["vm_config:token"] for line in lines()]
    assert changes[0]["old"] == "default"
    assert changes[0]["new"].startswith("hmac-sha256:")
    assert changes[0]["new"] == changes[1]["old"] == changes[2]["new"] != changes[1]["new"]
    monkeypatch.setenv("VMINTERFACE_HISTORY_VALUES", "plain")
    pushed(dom0, VMSettings.parse("work", {"vm_config": {"token": "sim"}}))
    assert lines()[-1]["vms"]["work"]["changes"] == {"vm_config:token": {"old": "opensesame", "new": "sim"}}


def test_what_a_vm_wrote_is_there_in_printable_ascii(dom0: Dom0) -> None:
    dom0.start_vm("work")
    with dom0.store() as store:
        store.write(f"/local/domain/{dom0.domids['work']}/qubes-timezone", b'\x1b[2J"\xe2\x80\xae\n')
    pushed(dom0, VMSettings.parse("work", {"timezone": "UTC"}))
    (line,) = lines()
    old = line["vms"]["work"]["changes"]["timezone"]["old"]
    assert old.isascii()
    assert old.isprintable()


def test_a_push_that_reaches_no_store_is_there_as_failed(dom0: Dom0) -> None:
    def lost() -> Any:
        raise ConnectionLost("the XenStore is gone")

    with pytest.raises(VMInterfaceError), Targets(lost) as targets:
        push([VMSettings.parse("work", {"timezone": "UTC"})], targets)
    (line,) = lines()
    assert line["not_reached"] == ["work"]
    assert "the XenStore is gone" in line["error"]


def test_a_push_is_as_good_where_its_line_cannot_be_written(
    dom0: Dom0, folder: Path, notices: pytest.LogCaptureFixture
) -> None:
    folder.write_text("not a folder")
    dom0.start_vm("work")
    with dom0.targets() as targets:
        (outcome,) = push([VMSettings.parse("work", {"timezone": "UTC"})], targets)
    assert outcome.ok
    said = [message for logger, _, message in notices.record_tuples if logger == "vminterface"]
    assert said == [f"this push is not in the history: {folder}/push.jsonl: Not a directory"]
    with dom0.guest_store("work") as guest:
        assert guest.read("qubes-timezone") == b"UTC"
