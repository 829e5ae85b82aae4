"""The operations of a push on one VM's keys, in their turn; how they fail; and what is put back, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.memorystore import MemoryStore
from tests.support.virtualtime import Clock
from vminterface import keys
from vminterface.channel.store import KeyStore, Operation, Read, Write
from vminterface.dom0.desired.diff import compare
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Target
from vminterface.dom0.push import keychanges
from vminterface.dom0.push.acknowledgements import to_be_given_anew
from vminterface.dom0.push.keychanges import check_there, name_lost, of_vm, put, restore, take_back, withdraw, write
from vminterface.dom0.push.outcome import Outcome, Work
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    KeyNotFound,
    PermissionDenied,
    RemoteProtocolError,
    SettingRefused,
    StoreError,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.change import Change

NAME, ZONE = {"/name": b"work"}, {"/qubes-timezone": b"UTC"}
AGENT = {"/vminterface/agent": b"1 0.1.0 network services timezone"}
NETWORK = {"/qubes-ip": b"10.137.0.12", "/qubes-netmask": b"255.255.255.255", "/qubes-gateway": b"10.137.0.5"}
WARSAW = {"timezone": "Europe/Warsaw"}
OTHER_GATEWAY = {"network": {"ip": "10.137.0.12", "gateway": "10.137.0.9"}}
LATE = DeadlineExceeded("work: the agent did not acknowledge timezone within 5 s")


class Store(MemoryStore):
    """One that reads some keys otherwise than they were written."""

    def __init__(self, *held: dict[str, bytes], per_vm: bool = True) -> None:
        super().__init__({path: value for one in held for path, value in one.items()}, per_vm=per_vm)
        self.misread: dict[str, Any] = {}

    def _outcome(self, one: Operation) -> Any:
        if isinstance(one, Read) and one.path in self.misread:
            return self.misread[one.path]
        return super()._outcome(one)


class XenStore(Store):
    """One for all VMs, with transactions: what fails in one is undone."""

    transactions = True

    def __init__(self, *held: dict[str, bytes]) -> None:
        super().__init__(*held, per_vm=False)

    def transaction(self, work: Any, *, attempts: int = 8, timeout: float | None = None) -> Any:
        before = dict(self.keys)
        try:
            return work(self)
        except VMInterfaceError:
            self.keys = before
            raise


@pytest.fixture
def store() -> Store:
    return Store(NAME, AGENT, ZONE, NETWORK)


@pytest.fixture
def xen() -> XenStore:
    return XenStore(NAME, AGENT, ZONE, NETWORK)


def compared(store: MemoryStore, raw: dict[str, Any], *, domid: int | None = None) -> Work:
    """Return a push of *raw* as far as it is compared."""
    target = Target("work", domid, store, "/")
    settings = VMSettings.parse("work", raw)
    state = observed.read([target], {"work": settings.desired})["work"]
    changes = compare(settings.desired, state.values, per_vm=store.per_vm)
    work = Work(settings, target, state, Outcome("work", changes))
    work.texts = {name: Change(state.texts.get(name), keys.text_of(name, c.new)) for name, c in changes.items()}
    return work


def written(store: MemoryStore, raw: dict[str, Any], **more: Any) -> Work:
    """Return a push of *raw* that has written its keys; what it did is forgotten."""
    work = compared(store, raw, **more)
    write(work, to_be_given_anew(work))
    store.done.clear()
    return work


def done(store: MemoryStore) -> list[tuple[str, bytes | None]]:
    """Return what was written and removed, in turn."""
    return [(one.path, one.value if isinstance(one, Write) else None) for one in store.done]


class Again:
    """What opens a store that hung up anew."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.asked = 0

    def again(self, target: Target) -> Target:
        self.asked += 1
        return self._store.target(target.vm)


def restored(work: Work, error: VMInterfaceError = LATE, store: MemoryStore | None = None) -> Again:
    again = Again(store or work.target.store)  # type: ignore[arg-type]  # it is one of these
    targets: Any = again
    work.fail(error)
    restore(work, targets)
    return again


class TestWrite:
    def test_marks_are_around_it_and_the_acknowledgement_goes_first(self, store: Store, clock: Clock) -> None:
        clock.now = 1.5
        work = compared(store, WARSAW)
        write(work, {"timezone"})
        assert done(store) == [
            ("/vminterface/push", b"writing 1500000"),
            ("/vminterface/ack/timezone", b"pending"),
            ("/qubes-timezone", b"Europe/Warsaw"),
            ("/vminterface/push", b"written 1500000"),
        ]
        assert store.keys["/qubes-timezone"] == b"Europe/Warsaw"

    def test_a_flag_is_gone_while_its_group_changes(self, store: Store) -> None:
        work = compared(store, OTHER_GATEWAY)
        write(work, ())
        assert done(store) == [("/qubes-ip", None), ("/qubes-gateway", b"10.137.0.9"), ("/qubes-ip", b"10.137.0.12")]

    def test_a_network_that_comes_has_its_flag_last(self) -> None:
        store = Store(NAME, AGENT)
        write(compared(store, OTHER_GATEWAY), ())
        paths = [path for path, _ in done(store)]
        assert paths[-1] == "/qubes-ip"
        assert len(paths) == len(set(paths)) == 3

    def test_a_network_that_goes_has_its_flag_gone_first(self, store: Store) -> None:
        write(compared(store, {"network": "none"}), ())
        assert done(store)[0] == ("/qubes-ip", None)
        assert {value for _, value in done(store)} == {None}
        assert not NETWORK.keys() & store.keys.keys()

    def test_in_a_transaction_no_flag_has_to_go_and_the_end_alone_is_marked(self, xen: XenStore, clock: Clock) -> None:
        clock.now = 2.0
        work = compared(xen, OTHER_GATEWAY)
        write(work, {"services", "network"})
        assert done(xen) == [
            ("/vminterface/ack/network", b"pending"),
            ("/vminterface/ack/services", b"pending"),
            ("/qubes-gateway", b"10.137.0.9"),
            ("/vminterface/push", b"written 2000000"),
        ]

    def test_where_there_is_to_be_no_key_older_spellings_go_too(self) -> None:
        store = Store(NAME, {"/qubes-vm-updatable": b"True"})
        write(compared(store, {"updateable": "default"}), ())
        assert done(store) == [("/qubes-vm-updateable", None), ("/qubes-vm-updatable", None)]

        store.done.clear()
        write(compared(store, {"updateable": True}), ())
        assert done(store) == [("/qubes-vm-updateable", b"True")]

    def test_each_group_that_changes_has_its_flag_gone_first(self) -> None:
        """One group has a flag and the other has none yet; the fields come in any order."""
        store = Store(NAME, {"/qubes-netvm-network": b"10.137.2.0", "/qubes-netvm-gateway": b"10.137.2.1"})
        held = {"provides_network:network": "10.137.2.0", "provides_network:gateway": "10.137.2.1"}
        texts = {"network:gateway": "10.137.0.5", "provides_network:gateway": "10.137.2.9"}
        put(store, store.target("work"), texts, held, (), afresh=False)
        (first, gone), *_, (last, text) = done(store)
        assert (first, gone) == ("/qubes-netvm-network", None)
        assert (last, text) == ("/qubes-netvm-network", b"10.137.2.0")
        store.done.clear()
        texts_gone: dict[str, str | None] = {"provides_network:gateway": None, "provides_network:network": None}
        put(store, store.target("work"), texts_gone, held, (), afresh=False)
        assert done(store)[0] == ("/qubes-netvm-network", None)

    def test_bytes_that_are_not_utf_8_are_written_as_they_were(self, store: Store) -> None:
        put(store, store.target("work"), {"timezone": "\udcff\u00e9"}, {}, (), afresh=False)
        assert store.keys["/qubes-timezone"] == b"\xff\xc3\xa9"

    def test_afterwards_the_state_is_what_was_written(self, store: Store) -> None:
        store.keys["/vminterface/ack/timezone"] = b"ok 0123456789abcdef"
        store.keys["/qubes-debug-mode"] = b"1"
        work = compared(store, {**WARSAW, "debug": "default"})
        write(work, {"timezone"})
        assert (work.begun, work.written, work.introduced) == (True, True, False)
        assert work.state.texts["timezone"] == "Europe/Warsaw"
        assert "debug" not in work.state.texts
        assert work.state.acknowledgements == {}

    def test_a_vm_that_could_not_reply_until_now_may_have_an_agent(
        self, xen: XenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        granted: list[tuple[KeyStore, int, str]] = []
        monkeypatch.setattr(keychanges, "grant", lambda *of: granted.append(of))
        del xen.keys["/vminterface/agent"]
        work = compared(xen, WARSAW, domid=7)
        write(work, ())
        assert granted == [(xen, 7, "/")]
        assert (work.introduced, work.state.can_acknowledge) == (True, True)
        write(work, ())
        assert len(granted) == 1
        assert not work.introduced
        write(compared(xen, WARSAW), ())
        assert len(granted) == 1

    def test_a_store_that_has_lost_its_keys_may_have_lost_an_agents_word(self) -> None:
        store = Store(AGENT)
        assert written(store, WARSAW).introduced

    def test_there_what_is_to_be_gone_is_written_to_be_removed(self) -> None:
        store = Store(AGENT, ZONE)
        work = compared(store, {"timezone": "UTC", "services": {"cups": "default", "crond": "on"}, "network": "none"})
        write(work, ())
        assert ("/qubes-service/cups", b"") in done(store)
        assert done(store).index(("/qubes-service/cups", b"")) + 1 == done(store).index(("/qubes-service/cups", None))
        # The flag of the network goes before all that belongs to it.
        assert done(store)[:2] == [("/qubes-ip", b""), ("/qubes-ip", None)]
        assert "/qubes-service/cups" not in store.keys

    def test_a_flag_that_is_there_is_not_written_empty(self) -> None:
        store = Store(AGENT, NETWORK)
        write(compared(store, OTHER_GATEWAY), ())
        assert ("/qubes-ip", b"") not in done(store)
        assert store.keys["/qubes-ip"] == b"10.137.0.12"


class TestFailures:
    @pytest.mark.parametrize("value", [b"UTC", b"", b"Europe/Warsaw "])
    def test_what_reads_otherwise_was_not_written(self, store: Store, value: bytes) -> None:
        work = compared(store, WARSAW)
        store.misread["/qubes-timezone"] = value
        with pytest.raises(VerificationFailed, match=r"^work: timezone does not hold the written value$"):
            write(work, ())

    def test_nor_was_what_is_still_there_removed(self) -> None:
        store = Store(NAME, {"/qubes-vm-updatable": b"True", "/qubes-vm-updateable": b"True"})
        work = compared(store, {"updateable": "default"})
        store.misread["/qubes-vm-updatable"] = b"True"
        with pytest.raises(VerificationFailed, match=r"^work: updateable does not hold"):
            write(work, ())

    def test_an_error_of_reading_it_back_is_raised(self, store: Store) -> None:
        work = compared(store, WARSAW)
        store.misread["/qubes-timezone"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^no$"):
            write(work, ())

    def test_so_is_one_of_writing_or_removing_it(self, store: Store) -> None:
        for raw in (WARSAW, {"timezone": "default"}):
            work = compared(store, raw)
            store.fails["/qubes-timezone"] = PermissionDenied("no")
            with pytest.raises(PermissionDenied):
                write(work, ())
            store.fails.clear()

    def test_so_is_one_of_removing_what_is_not_there_afterwards(self, store: Store) -> None:
        work = compared(store, {"timezone": "default"})
        store.fails["/qubes-timezone"] = PermissionDenied("no")
        store.misread["/qubes-timezone"] = KeyNotFound("it is not")
        with pytest.raises(PermissionDenied):
            write(work, ())

    def test_what_is_gone_already_need_not_be_removed(self, store: Store) -> None:
        work = compared(store, {"timezone": "default"})
        del store.keys["/qubes-timezone"]
        write(work, ())
        assert work.written

    def test_without_transactions_some_of_it_may_be_there_then(self, store: Store, xen: XenStore) -> None:
        for one, begun in ((store, True), (xen, False)):
            work = compared(one, WARSAW)
            one.fails["/qubes-timezone"] = StoreError("no")
            with pytest.raises(StoreError):
                write(work, ())
            assert (work.begun, work.written) == (begun, False)

    def test_a_vm_that_has_stopped_is_written_nothing(self, xen: XenStore) -> None:
        work = compared(xen, WARSAW)
        del xen.keys["/name"]
        with pytest.raises(VMNotRunning, match=r"^work stopped while its settings were written$"):
            write(work, ())
        assert xen.keys["/qubes-timezone"] == b"UTC"
        xen.fails["/name"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^no$"):
            write(work, ())

    def test_in_a_store_of_its_own_it_cannot_be_missing(self, store: Store) -> None:
        check_there(store, store.target("work"))
        del store.keys["/name"]
        check_there(store, store.target("work"))

    def test_in_a_store_of_all_it_can(self, xen: XenStore) -> None:
        check_there(xen, xen.target("work"))
        del xen.keys["/name"]
        with pytest.raises(VMNotRunning):
            check_there(xen, xen.target("work"))


class TestWhoseErrorItIs:
    @pytest.mark.parametrize("error", [ConnectionLost("a"), DeadlineExceeded("b"), RemoteProtocolError("c")])
    def test_a_lost_store_is_asked_no_more(self, xen: XenStore, error: VMInterfaceError) -> None:
        work = compared(xen, WARSAW)
        xen.fails["/name"] = StoreError("asked")
        assert of_vm(work, error) is error

    def test_a_vm_that_has_stopped_is_refused_anything(self, xen: XenStore) -> None:
        work = compared(xen, WARSAW)
        del xen.keys["/name"]
        assert isinstance(of_vm(work, PermissionDenied("no")), VMNotRunning)

    def test_another_error_names_the_vm_once(self, xen: XenStore) -> None:
        work = compared(xen, WARSAW)
        error = of_vm(work, PermissionDenied("no"))
        assert (type(error), str(error)) == (PermissionDenied, "work: no")
        assert of_vm(work, error) is error

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ({}, "work: nothing was written: gone"),
            ({"changes": False}, "work: gone"),
            ({"begun": True}, "work: gone"),
            ({"begun": True, "restored": True}, "work: gone"),
            ({"begun": True, "restored": False}, "work: may have a part of its new values: gone"),
            (
                {"begun": True, "restored": False, "written": True},
                "work: still has its new values, which could not be restored: gone",
            ),
            (
                {"begun": True, "restored": False, "transactions": True},
                "work: has either all of its new values or none: gone",
            ),
            (
                {"begun": True, "restored": False, "written": True, "transactions": True},
                "work: still has its new values, which could not be restored: gone",
            ),
        ],
    )
    def test_with_a_lost_store_it_is_said_how_the_vm_is_left(
        self, store: Store, xen: XenStore, state: dict[str, Any], words: str
    ) -> None:
        work = compared(xen if state.get("transactions") else store, WARSAW)
        work.begun, work.written = state.get("begun", False), state.get("written", False)
        if not state.get("changes", True):
            work.outcome.changes = {}
        work.outcome.restored = state.get("restored")
        work.fail(ConnectionLost("gone"))
        name_lost(work)
        assert (type(work.outcome.error), str(work.outcome.error)) == (ConnectionLost, words)
        name_lost(work)
        assert str(work.outcome.error) == words

    def test_other_errors_stay_as_they_are(self, store: Store) -> None:
        work = compared(store, WARSAW)
        name_lost(work)
        assert work.outcome.error is None
        work.fail(StoreError("no"))
        name_lost(work)
        assert str(work.outcome.error) == "no"


class TestRestore:
    def test_the_former_value_is_put_back_and_the_agent_asked_for_its_word(self, store: Store, clock: Clock) -> None:
        work = written(store, WARSAW)
        restored(work)
        assert done(store) == [
            ("/vminterface/push", b"writing 0"),
            ("/vminterface/ack/timezone", b"pending"),
            ("/qubes-timezone", b"UTC"),
            ("/vminterface/push", b"written 0"),
        ]
        assert (work.outcome.restored, work.outcome.error) == (True, LATE)

    def test_what_was_not_there_is_removed(self) -> None:
        store = Store(NAME)
        work = written(store, WARSAW)
        restored(work)
        assert done(store) == [("/qubes-timezone", None)]
        assert work.outcome.restored

    def test_a_network_is_put_back_with_its_flag(self, store: Store) -> None:
        work = written(store, OTHER_GATEWAY)
        restored(work)
        assert {path: store.keys[path] for path in NETWORK} == NETWORK
        paths = [path for path, _ in done(store) if not path.startswith("/vminterface")]
        assert paths == ["/qubes-ip", "/qubes-gateway", "/qubes-ip"]

    def test_a_flag_that_was_left_out_when_the_writing_broke_off_comes_back(self, store: Store) -> None:
        work = compared(store, OTHER_GATEWAY)
        store.fails["/qubes-gateway"] = StoreError("no")
        with pytest.raises(StoreError):
            write(work, ())
        store.fails.clear()
        del store.keys["/qubes-ip"]
        restored(work, StoreError("no"))
        assert {path: store.keys[path] for path in NETWORK} == NETWORK

    def test_a_flag_of_another_value_is_its_former_one_again(self, store: Store) -> None:
        work = compared(store, {"network": {"ip": "10.137.0.77", "gateway": "10.137.0.5"}})
        del store.keys["/qubes-ip"]
        restored(work, StoreError("no"))
        assert store.keys["/qubes-ip"] == b"10.137.0.12"

    def test_what_another_program_has_set_meanwhile_stays(self, store: Store) -> None:
        store.keys["/qubes-debug-mode"] = b"1"
        work = written(store, {**WARSAW, "debug": "off"})
        store.keys["/qubes-timezone"] = b"Asia/Tokyo"
        restored(work, StoreError("no"))
        assert store.keys["/qubes-timezone"] == b"Asia/Tokyo"
        assert store.keys["/qubes-debug-mode"] == b"1"
        assert (type(work.outcome.error), str(work.outcome.error)) == (
            StoreError,
            "no; timezone was set by another program meanwhile and is kept",
        )
        assert work.outcome.restored

    def test_so_does_a_flag(self, store: Store) -> None:
        work = written(store, {"network": {"ip": "10.137.0.77", "gateway": "10.137.0.5"}})
        store.keys["/qubes-ip"] = b"10.137.0.99"
        restored(work)
        assert store.keys["/qubes-ip"] == b"10.137.0.99"
        assert "network:ip was set by another program" in str(work.outcome.error)

    def test_what_it_has_removed_stays_removed(self, store: Store) -> None:
        work = written(store, WARSAW)
        del store.keys["/qubes-timezone"]
        restored(work)
        assert "/qubes-timezone" not in store.keys
        assert str(work.outcome.error).endswith("timezone was set by another program meanwhile and is kept")

    def test_a_new_flag_that_it_has_removed_does_not_come_back_alone(self) -> None:
        store = Store(NAME, AGENT)
        work = written(store, OTHER_GATEWAY)
        del store.keys["/qubes-ip"]
        restored(work)
        assert not NETWORK.keys() & store.keys.keys()

    def test_where_that_is_all_nothing_is_restored(self, store: Store) -> None:
        work = written(store, WARSAW)
        store.keys["/qubes-timezone"] = b"Asia/Tokyo"
        restored(work)
        assert (work.outcome.restored, work.target.store.read("/qubes-timezone")) == (None, b"Asia/Tokyo")
        assert {path for path, _ in done(store)} == {"/vminterface/push", "/vminterface/ack/timezone"}

    def test_what_has_its_former_value_again_is_no_other_programs(self, store: Store) -> None:
        work = written(store, WARSAW)
        store.keys["/qubes-timezone"] = b"UTC"
        restored(work)
        assert (work.outcome.restored, work.outcome.error) == (None, LATE)

    def test_what_the_step_before_could_not_restore_is_not_restored(self, store: Store) -> None:
        work = written(store, WARSAW)
        work.outcome.restored = False
        restored(work)
        assert work.outcome.restored is False

    def test_a_store_whose_keys_are_lost_since_has_all_of_it_written_to_the_vm(self, store: Store) -> None:
        store.keys |= {"/qubes-service/crond": b"1"}
        work = written(store, {**WARSAW, "services": {"cups": "on", "crond": "default"}})
        store.keys.clear()
        restored(work)
        assert store.keys["/qubes-timezone"] == b"UTC"
        assert store.keys["/qubes-service/crond"] == b"1"
        assert done(store)[done(store).index(("/qubes-service/cups", b"")) + 1] == ("/qubes-service/cups", None)
        assert work.outcome.restored

    def test_there_a_setting_is_whole_again_also_what_has_not_changed(self, store: Store) -> None:
        work = written(store, OTHER_GATEWAY)
        store.keys.clear()
        restored(work)
        assert {path: store.keys.get(path) for path in NETWORK} == NETWORK

    def test_a_vm_that_was_started_again_since_gets_no_address_alone(self, store: Store) -> None:
        work = written(store, {"network": {"ip": "10.137.0.77", "gateway": "10.137.0.9"}})
        again = Store(NAME, AGENT)
        restored(work, ConnectionLost("the daemon closed the connection"), again)
        assert not NETWORK.keys() & again.keys.keys()
        assert (type(work.outcome.error), work.outcome.restored) == (VMNotRunning, None)

    @pytest.mark.parametrize(
        ("error", "asked"),
        [(ConnectionLost("a"), 1), (RemoteProtocolError("b"), 1), (DeadlineExceeded("c"), 0), (StoreError("d"), 0)],
    )
    def test_one_that_hung_up_may_serve_a_new_connection(
        self, store: Store, error: VMInterfaceError, asked: int
    ) -> None:
        work = written(store, WARSAW)
        other = Store(store.keys)
        assert restored(work, error, other).asked == asked
        assert (other if asked else store).keys["/qubes-timezone"] == b"UTC"
        assert work.outcome.restored

    def test_a_vm_that_has_stopped_has_nothing_to_be_restored(self, xen: XenStore) -> None:
        work = written(xen, WARSAW)
        work.outcome.restored = True
        del xen.keys["/name"]
        restored(work)
        assert isinstance(work.outcome.error, VMNotRunning)
        assert work.outcome.restored is None

    @pytest.mark.parametrize(
        ("first", "second", "kind", "words"),
        [
            (LATE, StoreError("full"), VerificationFailed, f"{LATE}; the former values could not be restored: full"),
            (SettingRefused("x"), ConnectionLost("y"), SettingRefused, "x; the former values could not be restored: y"),
            (StoreError("x"), DeadlineExceeded("y"), StoreError, "x; the former values could not be restored: y"),
            (StoreError("a: x"), StoreError("x"), VerificationFailed, "a: x; the former values could not be restored"),
            # How the VM is left is said with its name.
            (ConnectionLost("gone"), ConnectionLost("gone"), ConnectionLost, "gone"),
            (RemoteProtocolError("x"), RemoteProtocolError("x"), RemoteProtocolError, "x"),
        ],
    )
    def test_what_cannot_be_restored_is_said_once(
        self, store: Store, first: VMInterfaceError, second: VMInterfaceError, kind: type, words: str
    ) -> None:
        work = written(store, WARSAW)
        store.fails["/qubes-timezone"] = second
        restored(work, first)
        assert (type(work.outcome.error), str(work.outcome.error)) == (kind, words)
        assert work.outcome.restored is False


class TestTakeBack:
    def test_what_others_have_set_is_named(self, store: Store) -> None:
        work = written(store, {**WARSAW, "debug": "on"})
        store.keys["/qubes-debug-mode"] = b"0"
        assert take_back(work, work.texts) == ["debug"]
        assert store.keys["/qubes-timezone"] == b"UTC"


class TestWithdraw:
    """The agent announces after the push that the VM's owner does not accept a setting."""

    def announced(self, work: Work, word: bytes = b"unaccepted_timezone") -> None:
        observed.note_acknowledgement(work.state, keys.AGENT, b"1 0.1.0 services " + word)

    def test_that_setting_alone_is_put_back(self, store: Store) -> None:
        work = written(store, {**WARSAW, "services": {"cups": "on"}})
        self.announced(work)
        withdraw(work)
        assert store.keys["/qubes-timezone"] == b"UTC"
        assert store.keys["/qubes-service/cups"] == b"1"
        assert list(work.outcome.unaccepted) == ["timezone"]
        assert list(work.outcome.unaccepted["timezone"].changes) == ["timezone"]
        assert list(work.outcome.changes) == ["services:cups"]
        assert list(work.settings.desired) == ["services:cups"]
        assert (work.outcome.error, work.outcome.note) == (None, "")

    def test_where_all_is_accepted_nothing_happens(self, store: Store) -> None:
        work = written(store, WARSAW)
        withdraw(work)
        assert (store.done, work.outcome.unaccepted, list(work.outcome.changes)) == ([], {}, ["timezone"])

    def test_what_this_push_has_not_changed_stays(self, store: Store) -> None:
        work = written(store, {"timezone": "UTC", "services": {"cups": "on"}})
        self.announced(work)
        withdraw(work)
        assert store.done == []
        assert list(work.outcome.unaccepted) == ["timezone"]

    def test_what_another_program_has_set_meanwhile_stays(self, store: Store) -> None:
        work = written(store, WARSAW)
        store.keys["/qubes-timezone"] = b"Asia/Tokyo"
        self.announced(work)
        withdraw(work)
        assert work.outcome.note == "timezone was set by another program meanwhile and is kept"
        assert work.outcome.changes == {}

    def test_what_cannot_be_put_back_is_the_vms_error(self, store: Store) -> None:
        work = written(store, WARSAW)
        store.fails["/qubes-timezone"] = StoreError("no")
        self.announced(work)
        withdraw(work)
        assert str(work.outcome.error) == "work: no"
        assert list(work.outcome.changes) == ["timezone"]
        assert list(work.outcome.unaccepted) == ["timezone"]

    def test_of_a_lost_store_it_stays_as_it_is(self, store: Store) -> None:
        work = written(store, WARSAW)
        lost = ConnectionLost("gone")
        store.fails["/qubes-timezone"] = lost
        self.announced(work)
        withdraw(work)
        assert work.outcome.error is lost
