"""The steps of a push, in memory: what is read, written, waited for and put back, and whose error is whose."""

from __future__ import annotations

import pytest

from tests.support.pushworld import BOTH, FIREWALL, WARSAW, World, error_of
from vminterface import keys
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import NO_AGENT
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Interrupted,
    InvalidValue,
    SettingRefused,
    StoreError,
    VMInterfaceError,
    VMNotRunning,
    VMStarting,
)
from vminterface.values.acknowledgement import digest
from vminterface.values.change import Change


class TestDiff:
    def test_it_finds_what_a_push_would_change_and_writes_nothing(self, world: World) -> None:
        guest = world.vm(qubes_timezone=b"UTC")
        outcome = world.found(BOTH)
        assert list(outcome.changes) == ["timezone", "services:cups"]
        assert guest.done == []
        assert world.pushed(BOTH).changes == outcome.changes
        assert world.found(BOTH).changes == {}

    def test_what_an_agent_has_refused_of_what_is_there_is_an_error(self, world: World) -> None:
        guest = world.vm(qubes_timezone=b"Europe/Warsaw")
        text = f"refused {digest({'timezone': 'Europe/Warsaw'})} no such zone"
        guest.keys[f"/{keys.acknowledgement('timezone')}"] = text.encode()
        assert error_of(world.found(WARSAW)) == (SettingRefused, "work refused timezone: no such zone")
        # With other changes it is asked for anew in any case.
        assert world.found(BOTH).ok
        assert world.pushed(WARSAW).ok

    def test_what_qubesd_would_keep_and_the_firewall_are_in_it(self, world: World) -> None:
        world.qubes()
        world.vm()
        world.vm("sys-net")
        outcome = world.found({**WARSAW, **FIREWALL})
        assert {"persistent:timezone", "timezone", "persistent:firewall", "firewall"} <= outcome.changes.keys()
        assert world.api.calls == []

    def test_an_error_of_one_vm_is_its_own(self, world: World) -> None:
        world.vm()
        assert isinstance(world.found({"netvm": "sys-net"}).error, InvalidValue)


class TestPush:
    def test_all_of_it_is_written_and_acknowledged(self, world: World) -> None:
        guest = world.vm()
        outcome = world.pushed(BOTH)
        assert outcome.comment() == "work: services:cups, timezone set"
        assert {path: guest.keys[path] for path in ("/qubes-timezone", "/qubes-service/cups")} == {
            "/qubes-timezone": b"Europe/Warsaw",
            "/qubes-service/cups": b"1",
        }
        assert (outcome.awaited, outcome.running, outcome.persistent) == (True, True, False)
        assert outcome.ended == world.clock.now

    def test_one_field_of_several_keys_is_told_with_those_that_stay(self, world: World) -> None:
        guest = world.vm(qubes_ip=b"10.137.0.12", qubes_gateway=b"10.137.0.5", qubes_netmask=b"255.255.255.255")
        guest.keys |= {"/qubes-primary-dns": b"10.139.1.1", "/qubes-secondary-dns": b"10.139.1.9"}
        network = {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": ["10.139.1.1", "10.139.1.2"]}
        outcome = world.pushed({"network": network})
        assert outcome.fields == {
            "network:dns": Change(["10.139.1.1", "10.139.1.9"], ["10.139.1.1", "10.139.1.2"]),
        }

    def test_a_keymap_that_no_vm_with_a_qubesdb_reads_is_no_difference(self, world: World) -> None:
        world.vm(keyboard_layout=b"pl++", qubes_keyboard=b"another")
        assert world.pushed({"keyboard": "pl"}).changes == {}

    def test_the_second_time_nothing_is_written(self, world: World) -> None:
        guest = world.vm()
        world.pushed(BOTH)
        guest.done.clear()
        outcome = world.pushed(BOTH)
        assert (outcome.changes, guest.done, outcome.comment()) == ({}, [], "work is already as configured")

    def test_each_has_its_outcome_in_the_order_of_the_settings(self, world: World) -> None:
        world.vm("b")
        world.vm("a")
        settings = [VMSettings.parse(vm, WARSAW) for vm in ("b", "off", "a")]
        outcomes = world.all_pushed(*settings)
        assert [(one.vm, one.running, one.ok) for one in outcomes] == [
            ("b", True, True),
            ("off", False, True),
            ("a", True, True),
        ]
        assert world.kept == world.reported == [outcomes]
        assert world.recorded == [(["b", "off", "a"], outcomes)]
        assert world.locks.taken == ["b", "off", "a"]
        assert {*world.locks.released} == {"a", "b", "off"}

    def test_what_the_agent_refuses_is_put_back_and_no_change(self, world: World) -> None:
        guest = world.vm(qubes_timezone=b"UTC")
        guest.reply = lambda setting: "no such zone" if guest.keys["/qubes-timezone"] != b"UTC" else ""
        outcome = world.pushed(WARSAW)
        assert outcome.comment() == "work refused timezone: no such zone; former values restored"
        assert guest.keys["/qubes-timezone"] == b"UTC"
        assert (outcome.changes, list(outcome.tried)) == ({}, ["timezone"])

    def test_an_agent_that_does_not_reply_costs_the_vms_time(self, world: World) -> None:
        world.vm().reply = lambda setting: None
        outcome = world.pushed({**WARSAW, "timeout": 3})
        assert error_of(outcome) == (DeadlineExceeded, "work: the agent did not acknowledge timezone within 3 s")
        assert outcome.restored
        assert round(world.clock.now, 3) == 3.0

    def test_without_an_agent_it_says_who_applies_it(self, world: World) -> None:
        world.vm(agent="")
        outcome = world.pushed(WARSAW)
        assert NO_AGENT in outcome.comment()
        assert outcome.unheard

    def test_without_confirmation_nobody_is_waited_for(self, world: World) -> None:
        guest = world.vm()
        assert "was not waited for" in world.pushed({**WARSAW, "confirm": False}).comment()
        assert guest.watched == []
        # Nobody has read it, so the next one is not taken for read either.
        guest.reply = lambda setting: None
        assert "neither this push nor the one before" in world.pushed({"timezone": "UTC", "confirm": False}).comment()

    def test_once_it_is_to_end_nothing_is_written(self, world: World) -> None:
        guest = world.vm()
        world.stop.set()
        assert error_of(world.pushed(WARSAW)) == (Interrupted, "work: interrupted before anything was written")
        assert guest.done == []

    def test_what_its_owner_does_not_accept_is_left_out(self, world: World) -> None:
        guest = world.vm(agent="services unaccepted_timezone")
        outcome = world.pushed(BOTH)
        assert list(outcome.unaccepted) == ["timezone"]
        assert list(outcome.changes) == ["services:cups"]
        assert guest.written == ["/qubes-service/cups"]

    def test_what_it_does_not_accept_only_afterwards_is_put_back(self, world: World) -> None:
        guest = world.vm()

        def reply(setting: str) -> str:
            guest.keys[f"/{keys.AGENT}"] = b"1 0.1.0 services unaccepted_timezone"
            return ""

        guest.reply = reply
        outcome = world.pushed(BOTH)
        assert list(outcome.unaccepted) == ["timezone"]
        assert "/qubes-timezone" not in guest.keys
        assert outcome.ok

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (StoreError("no"), "work: no; the former values could not be restored"),
            (ConnectionLost("gone"), "work: may have a part of its new values: gone"),
        ],
    )
    def test_what_cannot_be_written_names_the_vm(self, world: World, error: VMInterfaceError, words: str) -> None:
        guest = world.vm()
        guest.fails["/qubes-timezone"] = error
        outcome = world.pushed(WARSAW)
        assert str(outcome.error) == words
        assert (outcome.changes, outcome.restored) == ({}, False)

    def test_what_has_never_begun_leaves_the_agent_alone(self, world: World) -> None:
        """Its acknowledgement, of the values that are there, is not taken away."""
        guest = world.vm()
        world.pushed({"timezone": "UTC"})
        before = dict(guest.keys)
        for raw in (FIREWALL, {}):
            world.stop.set()
            assert not world.pushed({**WARSAW, **raw}).ok
        assert guest.keys == before

    def test_what_cannot_be_read_is_the_vms_error(self, world: World) -> None:
        world.vm().fails["/"] = StoreError("no")
        world.vm("other")
        outcomes = world.all_pushed(*(VMSettings.parse(vm, WARSAW) for vm in ("work", "other")))
        assert error_of(outcomes[0]) == (StoreError, "work: no")
        assert outcomes[1].ok


class TestRunning:
    def test_a_vm_that_does_not_run_has_nothing_to_do(self, world: World) -> None:
        outcome = world.pushed(WARSAW)
        assert (outcome.running, outcome.error, outcome.persistent) == (False, None, False)

    def test_it_is_an_error_where_the_pillar_says_so(self, world: World) -> None:
        outcome = world.pushed({**WARSAW, "require_running": True})
        assert error_of(outcome) == (VMNotRunning, "work is not running (require_running is set)")

    def test_with_a_qubesd_it_has_what_lasts(self, world: World) -> None:
        world.qubes()
        outcome = world.pushed(WARSAW)
        assert outcome.persistent
        assert world.api.features == {"vm-config.vminterface-timezone": "Europe/Warsaw"}
        assert list(outcome.changes) == ["persistent:timezone"]

    def test_what_it_cannot_have_at_its_next_start_is_an_error(self, world: World) -> None:
        world.qubes()
        raw = {"network": {"ip": "10.137.0.77", "gateway": "10.137.0.5"}, "persist": False}
        assert str(world.pushed(raw).error).startswith("work: network:ip: qubesd has attached the VM with 10.137.0.12")

    def test_one_that_starts_is_waited_for_and_that_is_of_its_time(self, world: World) -> None:
        world.xen.vms["work"] = 1
        guest = world.vm("later")
        guest.reply = lambda setting: None

        def meanwhile() -> None:
            if world.clock.now >= 2.0 and "later" in world.stores:
                world.stores["work"] = world.stores.pop("later")

        world.clock.meanwhile = meanwhile
        outcome = world.pushed({**WARSAW, "timeout": 10})
        assert str(outcome.error) == "work: the agent did not acknowledge timezone within 8 s"
        assert set(world.opened) == {("work", 10.0)}

    def test_one_that_has_no_store_in_time_is_still_starting(self, world: World) -> None:
        world.xen.vms["work"] = 1
        world.vm("other")
        outcome = world.pushed({**WARSAW, "timeout": 4})
        assert error_of(outcome) == (
            VMStarting,
            "work is starting: it does not have a QubesDB yet (waited for 2 s)",
        )
        assert outcome.running

    def test_one_whose_daemon_is_dead_is_named(self, world: World) -> None:
        world.xen.vms["work"] = 1
        world.dead.add("work")
        outcome = world.pushed(WARSAW)
        assert isinstance(outcome.error, ConnectionLost)
        assert "its QubesDB in dom0 is dead" in str(outcome.error)
        assert outcome.running


class TestXenStore:
    """A VM that is met there, because its settings say so."""

    def keys(self, world: World, **held: bytes) -> dict[str, bytes]:
        world.xen.vms["work"] = 7
        base = "/local/domain/7/"
        world.xen.keys |= {f"{base}name": b"work", f"{base}vminterface": b""}
        world.xen.keys |= {base + name.replace("_", "-"): value for name, value in held.items()}
        return world.xen.keys

    def test_it_is_written_there(self, world: World) -> None:
        held = self.keys(world)
        assert world.pushed({**WARSAW, "channel": "xenstore"}).ok
        assert held["/local/domain/7/qubes-timezone"] == b"Europe/Warsaw"

    def test_a_name_that_it_cannot_have_is_an_error(self, world: World) -> None:
        self.keys(world)
        outcome = world.pushed({"services": {"app.x": "on"}, "channel": "xenstore"})
        assert error_of(outcome) == (
            InvalidValue,
            "work: XenStore cannot hold the service 'app.x' (expected a name without dots)",
        )
        outcome = world.pushed({"vm_config": {"a.b": "x"}, "channel": "xenstore"})
        assert str(outcome.error) == "work: XenStore cannot hold the key 'a.b' (expected a name without dots)"
        # What has a hash for its name is read from a QubesDB alone.
        app = f"app-dispvm.{'x' * 60}"
        outcome = world.pushed({"services": {app: "on"}, "channel": "xenstore"})
        assert str(outcome.error) == f"work: XenStore cannot hold the service '{app}' (expected a name without dots)"
        assert world.xen.done == []

    def test_a_name_with_a_hash_is_for_a_qubesdb(self, world: World) -> None:
        world.vm()
        assert world.pushed({"services": {f"app-dispvm.{'x' * 60}": "on"}}).ok

    def test_one_that_needs_nothing_keeps_no_other_from_it(self, world: World) -> None:
        held = self.keys(world, qubes_timezone=b"Europe/Warsaw")
        world.xen.vms["mail"] = 8
        held |= {"/local/domain/8/name": b"mail", "/local/domain/8/vminterface": b""}
        raw = {**WARSAW, "channel": "xenstore"}
        outcomes = world.all_pushed(*(VMSettings.parse(vm, raw) for vm in ("work", "mail")))
        assert [len(one.changes) for one in outcomes] == [0, 1]
        assert held["/local/domain/8/qubes-timezone"] == b"Europe/Warsaw"

    def test_one_that_has_stopped_meanwhile_is_no_vm_without_an_agent(self, world: World) -> None:
        held = self.keys(world)
        # Its agent may not have been there before dom0 made the node for its replies.
        del held["/local/domain/7/vminterface"]
        world.xen.meanwhile.append(held.clear)
        assert isinstance(world.pushed({**WARSAW, "channel": "xenstore"}).error, VMNotRunning)

    def test_one_whose_agent_was_waiting_has_a_part_of_the_time_for_it(self, world: World) -> None:
        held = self.keys(world)
        del held["/local/domain/7/vminterface"]
        outcome = world.pushed({**WARSAW, "channel": "xenstore", "timeout": 10})
        assert outcome.unheard
        assert round(world.clock.now, 3) == 4.0


class TestQubesd:
    def test_what_it_cannot_keep_begins_nothing_else(self, world: World) -> None:
        world.qubes()
        guest = world.vm()
        world.api.fails["vm-config.vminterface-timezone"] = StoreError("no")
        outcome = world.pushed(WARSAW)
        assert str(outcome.error) == "work: timezone (feature vm-config.vminterface-timezone): no"
        assert guest.done == []
        assert (outcome.vm, outcome.running, outcome.restored) == ("work", True, None)

    def test_of_a_vm_that_does_not_run_that_is_known_too(self, world: World) -> None:
        world.qubes()
        world.api.fails["vm-config.vminterface-timezone"] = StoreError("no")
        world.api.stores.add("vm-config.vminterface-timezone")
        outcome = world.pushed(WARSAW)
        assert (outcome.vm, outcome.running, outcome.restored) == ("work", False, True)
        assert world.api.features == {}

    def test_a_running_vm_moves_to_the_address_that_its_provider_has(self, world: World) -> None:
        world.qubes()
        world.vm(qubes_ip=b"10.137.0.12")
        world.vm("sys-net", agent="")
        network = {"ip": "10.137.0.77", "gateway": "10.137.0.5", "reattach": True}
        outcome = world.pushed({"network": network, "timeout": 2})
        assert "sys-net did not receive 10.137.0.77 in connected-ips within 2 s" in str(outcome.error)
        # At the end of this program nobody waits.
        world.stop.set()
        assert isinstance(world.pushed({"network": network, "timeout": 2}).error, Interrupted)

    def test_an_address_that_it_has_until_its_next_start_waits(self, world: World) -> None:
        world.qubes()
        guest = world.vm(qubes_ip=b"10.137.0.12", qubes_gateway=b"10.137.0.5", qubes_netmask=b"255.255.255.255")
        outcome = world.pushed({"network": {"ip": "10.137.0.77", "gateway": "10.137.0.5"}})
        assert outcome.ok
        assert [str(one) for one in outcome.waiting.values()] == ["10.137.0.12"]
        assert guest.keys["/qubes-ip"] == b"10.137.0.12"

    def test_one_that_it_is_not_attached_with_is_refused(self, world: World) -> None:
        world.qubes()
        world.vm(qubes_ip=b"10.137.0.12")
        raw = {"network": {"ip": "10.137.0.77", "gateway": "10.137.0.5"}, "persist": False}
        assert str(world.pushed(raw).error).startswith("work: network:ip: qubesd has attached the VM with 10.137.0.12")

    def test_the_pillars_error_is_the_outcomes(self, world: World) -> None:
        world.vm()
        outcome = world.pushed({"netvm": "sys-net"})
        assert (outcome.vm, type(outcome.error)) == ("work", InvalidValue)

    def test_what_fails_afterwards_is_taken_back_there_too(self, world: World) -> None:
        world.qubes()
        guest = world.vm()
        guest.reply = lambda setting: "no such zone" if "/qubes-timezone" in guest.keys else ""
        outcome = world.pushed(WARSAW)
        assert isinstance(outcome.error, SettingRefused)
        assert world.api.features == {}
        assert outcome.restored

    def test_what_cannot_be_read_is_an_error_before_it_is_asked_for_anything(self, world: World) -> None:
        world.qubes()
        world.vm().fails["/"] = StoreError("no")
        outcome = world.pushed(WARSAW)
        assert (error_of(outcome), outcome.running) == ((StoreError, "work: no"), True)
        assert world.api.calls == []

    def test_providers_to_be_are_kept_first(self, world: World) -> None:
        world.qubes()
        one = VMSettings.parse("work", {"netvm": "sys-vpn"})
        other = VMSettings.parse("sys-vpn", {"provides_network": "on"})
        world.qubesd.__dict__["names"] = frozenset({"work", "sys-vpn"})
        assert all(outcome.ok for outcome in world.all_pushed(one, other))
        names = [name for name, _ in world.api.calls]
        assert names.index("provides_network") < names.index("netvm")


class TestFirewall:
    def test_it_is_last_and_its_changes_are_the_vms(self, world: World) -> None:
        guest, provider = world.vm(), world.vm("sys-net", agent="")
        outcome = world.pushed({**WARSAW, **FIREWALL})
        assert list(outcome.changes) == ["timezone", "firewall"]
        assert provider.keys["/qubes-firewall/10.137.0.5/policy"] == b"drop"
        assert guest.keys["/qubes-timezone"] == b"Europe/Warsaw"

    def test_where_it_cannot_be_nothing_else_is_begun(self, world: World) -> None:
        guest = world.vm()
        assert isinstance(world.pushed({**WARSAW, **FIREWALL}).error, VMNotRunning)
        assert guest.done == []

    def test_a_vm_whose_agent_refuses_keeps_its_former_one(self, world: World) -> None:
        world.vm().reply = lambda setting: "no"
        provider = world.vm("sys-net", agent="")
        assert isinstance(world.pushed({**WARSAW, **FIREWALL}).error, SettingRefused)
        assert provider.done == []

    def test_a_client_that_does_not_run_has_it_all_the_same(self, world: World) -> None:
        provider = world.vm("sys-net", agent="")
        outcome = world.pushed(FIREWALL)
        assert (outcome.running, list(outcome.changes)) == (False, ["firewall"])
        assert "/qubes-firewall/10.137.0.5" in provider.keys

    def test_one_that_is_not_handled_puts_all_of_it_back(self, world: World) -> None:
        guest, provider = world.vm(qubes_timezone=b"UTC"), world.vm("sys-net", agent="")
        provider.keys["/qubes-firewall-handled/10.137.0.9"] = b"4"
        outcome = world.pushed({**WARSAW, **FIREWALL})
        assert "did not handle its rules" in outcome.comment()
        assert guest.keys["/qubes-timezone"] == b"UTC"
        assert outcome.changes == {}
