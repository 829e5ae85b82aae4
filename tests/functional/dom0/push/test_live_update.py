"""A push through a live update of the real xenstored, which keeps connections, and through the loss of a connection."""

from __future__ import annotations

import threading

import pytest

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

ZONES = ("Europe/Warsaw", "Asia/Tokyo", "America/Lima", "Africa/Cairo", "Asia/Kolkata", "UTC")


def settings(zone: str, vm: str = "work") -> VMSettings:
    return VMSettings.parse(vm, {"timezone": zone, "timeout": 60})


def test_an_acknowledgement_that_is_awaited_meanwhile_is_heard(dom0: Dom0) -> None:
    dom0.start_vm("work")
    updates: list[str] = []

    def reply(setting: str, inputs: dict[str, str]) -> str:
        if setting == "timezone" and not updates:
            assert not dom0.daemon.is_updated
            dom0.daemon.live_update()
            updates.append(setting)
        return ""

    dom0.agent("work", reply)
    with dom0.targets() as targets:
        (outcome,) = push([settings("Asia/Tokyo")], targets)
    assert (outcome.comment(), updates) == ("work: timezone set", ["timezone"])
    assert dom0.read("work", "qubes-timezone") == "Asia/Tokyo"


def test_pushes_go_on_while_it_is_updated_again_and_again(dom0: Dom0) -> None:
    for vm in ("work", "mail"):
        dom0.start_vm(vm)
        dom0.agent(vm)
    errors: list[OSError] = []

    def update() -> None:
        try:
            for _ in range(3):
                dom0.daemon.live_update()
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=update, daemon=True)
    with dom0.targets() as targets:
        thread.start()
        for zone in ZONES:
            outcomes = push([settings(zone), settings(zone, "mail")], targets)
            assert [outcome.comment() for outcome in outcomes] == ["work: timezone set", "mail: timezone set"]
        thread.join(60)
    assert errors == []
    assert dom0.daemon.is_updated
    assert [dom0.read(vm, "qubes-timezone") for vm in ("work", "mail")] == [ZONES[-1]] * 2


def test_a_push_whose_connection_breaks_restores_over_a_new_one(dom0: Dom0) -> None:
    dom0.start_vm("work")
    open_stores: list[XenStore] = []

    def open_store() -> XenStore:
        open_stores.append(dom0.store())
        return open_stores[-1]

    def reply(setting: str, inputs: dict[str, str]) -> None:
        if inputs.get("timezone") == "Asia/Tokyo":
            # As where the daemon hangs up on one client.
            open_stores[-1]._connection.close("the daemon closed the connection")

    agent = dom0.agent("work")
    with dom0.targets() as targets:
        assert push([settings("UTC")], targets)[0].ok
    agent.reply = reply
    with Targets(open_store) as targets:
        (outcome,) = push([settings("Asia/Tokyo")], targets)
    assert (outcome.restored, len(open_stores)) == (True, 2)
    assert outcome.comment().endswith("the daemon closed the connection; former values restored")
    assert dom0.read("work", "qubes-timezone") == "UTC"
