"""A dom0 with VMs for tests: the real xenstored, and domains as the toolstack makes them, each with its guest's end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.xenstored.fakexen import RealXenstored
from vminterface import keys
from vminterface.channel.store import KeyStore
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.errors import ConnectionLost, DeadlineExceeded, VMInterfaceError
from vminterface.values.acknowledgement import PENDING, Acknowledgement, digest
from vminterface.values.announcement import Announcement
from vminterface.vm.handlers.runtime import owner

SETTINGS = frozenset(owner.SETTINGS)
_WATCHED = [*(row.name.rstrip("/*") for row in keys.TABLE), keys.ACKNOWLEDGEMENTS]


class Dom0:
    """The host: ``start_vm`` and ``stop_vm`` do what ``xl`` does in the store."""

    def __init__(self, root: Path) -> None:
        self.daemon = RealXenstored(root)
        self.domids: dict[str, int] = {}
        self.guests: list[ScriptedAgent] = []
        self._next = 1

    def __enter__(self) -> Self:
        self.daemon.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for guest in self.guests:
            guest.stop()
        self.daemon.stop()

    @property
    def path(self) -> str:
        """The socket of the host's xenstored."""
        return self.daemon.socket_path

    def store(self) -> XenStore:
        """A new connection of dom0."""
        return XenStore.open(self.path)

    def targets(self) -> Targets:
        """Where the library finds this host's VMs."""
        return Targets(self.store)

    def start_vm(self, name: str) -> int:
        """Make a domain, with the nodes and permissions that the toolstack gives it; return its domid."""
        domid, self._next = self._next, self._next + 1
        self.daemon.create(domid)
        home = f"/local/domain/{domid}"
        with self.store() as store:
            store.write(home, b"")
            store.set_permissions(home, ["n0", f"r{domid}"])
            store.write(f"{home}/name", name.encode())
            store.write(f"{home}/domid", str(domid).encode())
        self.domids[name] = domid
        return domid

    def stop_vm(self, name: str) -> None:
        """End a domain and remove its nodes."""
        domid = self.domids.pop(name)
        self.daemon.destroy(domid)
        with self.store() as store:
            store.remove(f"/local/domain/{domid}")

    def guest_store(self, name: str) -> XenStore:
        """A connection from inside the VM, with its domid's permissions."""
        return XenStore.open(self.daemon.socket(self.domids[name]), window=16)

    def read(self, name: str, key: str) -> str | None:
        """What dom0 sees under *key* of the VM called *name*."""
        with self.store() as store:
            value = store.read_many([f"/local/domain/{self.domids[name]}/{key}"])[0]
        return None if value is None else value.decode()

    def dump(self) -> dict[str, bytes]:
        """Everything that dom0 has written; what VMs say below their own node comes at a time of their choosing."""
        with self.store() as store:
            return {path: value for path, value in store.tree("/").items() if f"/{keys.ACKNOWLEDGEMENTS}/" not in path}

    def agent(
        self,
        name: str,
        reply: Callable[[str, dict[str, str]], str | None] = lambda setting, inputs: "",
        settings: frozenset[str] = SETTINGS,
        unaccepted: Mapping[str, str] | None = None,
    ) -> ScriptedAgent:
        """Let an agent of *settings* work in the VM; *reply* gives the reason for which it refuses one, "" to accept,
        None to stay silent. *unaccepted* is what the VM's owner does not accept."""
        guest = ScriptedAgent(self.guest_store(name), reply, settings, unaccepted)
        self.guests.append(guest)
        return guest


class ScriptedAgent(threading.Thread):
    """Stands for ``vminterface agent`` where a test must choose its answers; it changes nothing in any machine.

    It speaks the agent's side of the protocol through a guest's own connection: announces itself as soon as dom0
    lets it, and acknowledges each setting with the digest of its inputs, anew where that is pending.
    """

    def __init__(
        self,
        store: KeyStore,
        reply: Callable[[str, dict[str, str]], str | None],
        settings: frozenset[str] = SETTINGS,
        unaccepted: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self.reply, self._settings = reply, settings
        self.announced = threading.Event()
        self._store, self._ending = store, threading.Event()
        self._acknowledged: dict[str, str] = {}
        #: What its VM's owner does not accept, by setting.
        self.unaccepted = dict(unaccepted or {})
        self.start()

    def stop(self) -> None:
        self._ending.set()
        self.join(5)
        self._store.close()

    def run(self) -> None:
        try:
            with self._store.watch(_WATCHED) as watch:
                while not self._ending.is_set():
                    self._work()
                    try:
                        watch.next(Deadline.after(0.1))
                    except DeadlineExceeded:
                        continue
        except (ConnectionLost, DeadlineExceeded):
            return

    def _work(self) -> None:
        try:
            if not self.announced.is_set():
                said = Announcement("0", self._settings - self.unaccepted.keys(), self.unaccepted)
                self._store.write(keys.AGENT, said.render().encode())
                self.announced.set()
        except VMInterfaceError:
            return  # dom0 has not yet made the node
        names = sorted(self._settings - self.unaccepted.keys())
        said_now = self._store.read_many([keys.acknowledgement(setting) for setting in names])
        pending = {setting for setting, said in zip(names, said_now, strict=True) if said == PENDING.encode()}
        texts = self._texts()
        for setting in names:
            inputs = keys.inputs_of(setting, texts)
            mark = digest(inputs)
            known = bool(inputs) or setting in self._acknowledged
            if known and (setting in pending or self._acknowledged.get(setting) != mark):
                reason = self.reply(setting, inputs)
                if reason is not None:
                    text = Acknowledgement(accepted=not reason, digest=mark, note=reason).render()
                    self._store.write(keys.acknowledgement(setting), text.encode())
                    self._acknowledged[setting] = mark

    def _texts(self) -> dict[str, str]:
        names = [row.name for row in keys.TABLE if not row.family]
        for folder in ("qubes-service",):
            try:
                names += [f"{folder}/{member}" for member in self._store.list(folder)]
            except VMInterfaceError:
                continue
        values = zip(names, self._store.read_many(names), strict=True)
        rows = {name: keys.for_name(name) for name in names}
        return {row.field: observed.decode(v) for n, v in values if v is not None and (row := rows[n]) is not None}
