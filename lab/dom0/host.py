"""dom0 of the lab: the store, the VMs, and what is done with them. The supervisor is its only user."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Protocol

from lab.dom0 import toolstack
from lab.dom0.vmlist import VMSpec
from lab.guest.vm import VM
from lab.linux import network, processes
from lab.linux.namespaces import Isolation
from lab.paths import LabPaths
from lab.qubesdb.pair import QubesDBPair
from lab.xenstored.fakexen import RealXenstored, missing
from lab.xenstored.process import OwnXenstored
from vminterface.channel.gui import FOLDER_VARIABLE as VCHAN_FOLDER_VARIABLE
from vminterface.channel.qubesdb.places import FOLDER_VARIABLE
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.dom0.history.log import FOLDER_VARIABLE as LOG_FOLDER_VARIABLE
from vminterface.dom0.push.lockfile import FOLDER_VARIABLE as LOCK_FOLDER_VARIABLE
from vminterface.errors import ConnectionLost, InvalidValue, ProgramMissing, VMInterfaceError, printable
from vminterface.keys import AGENT

#: Releases in which dom0 tells a VM its settings in a QubesDB of its own; in R2 it is the XenStore.
QUBESDB_RELEASES = ("R3", "R4")
RELEASES = ("R2", *QUBESDB_RELEASES)
_RESTART_SECONDS = 5.0


class StoreDaemon(Protocol):
    """What both XenStore daemons can do."""

    socket_path: str
    process: Any

    def start(self) -> Any: ...
    def stop(self) -> None: ...
    def create(self, domid: int) -> Any: ...
    def destroy(self, domid: int) -> None: ...
    def socket(self, domid: int) -> str: ...


def make_store(kind: str, paths: LabPaths) -> StoreDaemon:
    """Return the daemon of that *kind*, ``ours`` or ``xenstored`` (the real one). Raises ProgramMissing."""
    if kind == "ours":
        return OwnXenstored(paths.store)
    if lacking := missing():
        raise ProgramMissing(f"the real xenstored cannot run here: {lacking}")
    return RealXenstored(paths.store)


class Host:
    """All of one lab. Every method may raise VMInterfaceError."""

    def __init__(self, paths: LabPaths, specs: tuple[VMSpec, ...], store: str, release: str = "R2") -> None:
        self.paths = paths
        self.specs = {spec.name: spec for spec in specs}
        self.running: dict[str, VM] = {}
        self.isolation = Isolation.probe()
        self.store_kind = store
        self.release = release
        #: The QubesDBs by VM; none where the release has them not.
        self._qubesdbs: dict[str, QubesDBPair] = {}
        self._order = list(self.specs)
        self._next_domid = 1
        #: Who provides the network of each VM that has links now.
        self._netvms: dict[str, str] = {}
        self._daemon = make_store(store, paths)
        self._xenstore: XenStore | None = None

    @property
    def socket_path(self) -> str:
        """Where dom0's programs meet the store."""
        return self._daemon.socket_path

    @property
    def xenstore(self) -> XenStore:
        """dom0's connection to the store."""
        if self._xenstore is None:
            self._xenstore = XenStore.open(self.socket_path)
        return self._xenstore

    def up(self) -> None:
        """Start the store."""
        self.paths.vchan.mkdir(0o700)
        self._daemon.start()
        pids = {pid: processes.start_time(pid) for pid in (os.getpid(), self._daemon.process.pid)}
        self.paths.pids.write_text(json.dumps(pids))

    def down(self) -> None:
        """End everything, clients before their providers."""
        for name in reversed(self._order):
            if name in self.running:
                with contextlib.suppress(VMInterfaceError):
                    self.stop(name)
        if self._xenstore is not None:
            self._xenstore.close()
        self._daemon.stop()

    def spec(self, name: str) -> VMSpec:
        """Return the VM called *name*, running or not."""
        try:
            return self.specs[name]
        except KeyError:
            known = ", ".join(self.specs)
            raise InvalidValue(f"there is no VM '{printable(name, 40)}' in this lab (it has {known})") from None

    def vm(self, name: str) -> VM:
        """Return the running VM called *name*."""
        self.spec(name)
        if name not in self.running:
            raise InvalidValue(f"{name} is not running")
        return self.running[name]

    def start(self, name: str) -> None:
        """Start a VM as a new domain."""
        spec = self.spec(name)
        if name in self.running:
            raise InvalidValue(f"{name} is running already")
        if spec.netvm and spec.netvm not in self.running:
            raise InvalidValue(f"{name}: its netvm {spec.netvm} is not running")
        self.create(name)
        try:
            if spec.netvm:
                self.attach(name, spec.netvm)
            if name in self._qubesdbs:
                toolstack.fill_qubesdb(self._qubesdbs[name].store, name)
            self.go_on(name)
        except BaseException:
            self.stop(name)
            raise
        for client in self.running.values():
            if client.spec.netvm == name:
                self.attach(client.spec.name, name)

    def create(self, name: str) -> None:
        """Make a new domain for a VM: its agent waits, it has no link to another VM, and an empty QubesDB."""
        spec = self.spec(name)
        domid, self._next_domid = self._next_domid, self._next_domid + 1
        self._daemon.create(domid)
        vm = VM(spec, self._order.index(name), self.paths, self.isolation, domid, self._daemon.socket(domid))
        self.running[name] = vm
        try:
            toolstack.add_domain(self.xenstore, name, domid, hotplug=self.release == "R4")
            vm.make_root()
            if self.release in QUBESDB_RELEASES:
                pair = self._qubesdbs[name] = QubesDBPair(name, self.paths.qubesdb, vm.root / "run/qubes")
                pair.start()
            vm.prepare()
            if self.isolation.network:
                network.start(vm.init)
                if spec.provides_network and not spec.netvm:
                    network.add_uplink(vm.init, vm.mac)
        except BaseException:
            self.stop(name)
            raise

    def go_on(self, name: str) -> None:
        """Let the agent of a new VM start, or every process of one that is paused go on."""
        vm = self.vm(name)
        vm.unpause() if vm.paused else vm.run()

    def stop(self, name: str) -> None:
        """End a VM; its domain is released."""
        vm = self.vm(name)
        vm.stop()
        del self.running[name]
        if name in self._qubesdbs:
            self._qubesdbs.pop(name).stop()
        self._daemon.destroy(vm.domid)
        provider = self.running.get(self._netvms.pop(name, ""))
        toolstack.remove_domain(self.xenstore, name, vm.domid, provider.domid if provider else None)

    def restart_agent(self, name: str) -> None:
        """Kill the agent of a VM and start another."""
        vm = self.vm(name)
        if vm.paused:
            raise InvalidValue(f"{name} is paused")
        vm.restart_agent()

    def restart_store(self) -> None:
        """Let the XenStore daemon end all connections, as a restart that keeps its nodes does. Raises InvalidValue."""
        if not isinstance(self._daemon, OwnXenstored):
            raise InvalidValue("the real xenstored is not restarted here (expected a lab with --store ours)")
        self._daemon.restart()
        deadline = Deadline.after(_RESTART_SECONDS)
        with contextlib.suppress(ConnectionLost):
            while self.xenstore.exists("/local") and not deadline.passed:  # until it has hung up on us too
                time.sleep(0.005)
        self.xenstore.close()
        self._xenstore = None

    def restart_qubesdb(self, name: str) -> None:
        """Let dom0's QubesDB daemon of a VM start afresh, without keys. Raises InvalidValue."""
        self.vm(name)
        if name not in self._qubesdbs:
            raise InvalidValue(f"{name} has no QubesDB (expected a lab of {' or '.join(QUBESDB_RELEASES)})")
        self._qubesdbs[name].restart_dom0()

    def attach(self, name: str, netvm: str, mac: str | None = None) -> None:
        """Make the links of a VM to the one that provides its network, in place of any that it has."""
        if self._netvms.get(name, netvm) != netvm:
            self.detach(name)
        vm, provider = self.vm(name), self.vm(netvm)
        vm.mac = mac or vm.mac
        if self.isolation.network:
            network.connect(vm.init, vm.domid, provider.init, vm.mac)
        self._netvms[name] = netvm
        toolstack.add_link(self.xenstore, vm.domid, provider.domid, vm.mac)

    def detach(self, name: str) -> None:
        """Take the links of a VM away, if it has any."""
        vm, provider = self.vm(name), self.running.get(self._netvms.pop(name, ""))
        if self.isolation.network:
            network.disconnect(vm.init)
        toolstack.remove_link(self.xenstore, vm.domid, provider.domid if provider else None)

    def state(self, name: str) -> str:
        """Return ``running``, ``paused``, ``crashed`` or ``stopped``."""
        vm = self.running.get(name)
        if vm is None:
            return "stopped"
        return "paused" if vm.paused else "running" if vm.alive else "crashed"

    def status(self) -> dict[str, Any]:
        """Return plain data for an admin."""
        said = self._announced()
        return {
            "release": self.release,
            "store": self.store_kind,
            "socket": self.socket_path,
            "environment": self.environment(),
            "isolation": self.isolation.describe(),
            "network": self.isolation.network,
            "namespaces": self.isolation.vms,
            "vms": {name: self._describe(name, said.get(name)) for name in self._order},
        }

    def environment(self) -> dict[str, str]:
        """Return what programs of dom0 need in their environment to find the stores."""
        found = {
            "XENSTORED_PATH": self.socket_path,
            LOCK_FOLDER_VARIABLE: str(self.paths.locks),
            LOG_FOLDER_VARIABLE: str(self.paths.history),
            VCHAN_FOLDER_VARIABLE: str(self.paths.vchan),
        }
        if self.release in QUBESDB_RELEASES:
            found[FOLDER_VARIABLE] = str(self.paths.qubesdb)
        return found

    def _announced(self) -> dict[str, bytes | None]:
        """Return what each VM's agent says of itself, where dom0 pushes settings to."""
        if self._qubesdbs:
            return {name: pair.store.read_many([f"/{AGENT}"])[0] for name, pair in self._qubesdbs.items()}
        paths = [f"/local/domain/{vm.domid}/{AGENT}" for vm in self.running.values()]
        return dict(zip(self.running, self.xenstore.read_many(paths), strict=True))

    def _describe(self, name: str, untrusted_announcement: bytes | None) -> dict[str, Any]:
        vm, spec = self.running.get(name), self.specs[name]
        netvm = spec.netvm if vm is None else self._netvms.get(name, "")
        told: dict[str, Any] = {"netvm": netvm, "root": str(self.paths.root(name)), "screens": ""}
        if vm is None:
            return {**told, "state": "stopped", "domid": None, "init": None, "agent": "", "mac": ""}
        state = self.state(name)
        if vm.agent_status is not None:
            agent = f"ended with status {vm.agent_status}: {printable(vm.last_words())}"
        else:
            agent = printable(untrusted_announcement or b"not announced")
        if vm.screens is not None and vm.screens.alive:
            told["screens"] = vm.screens.kind
        return {**told, "state": state, "domid": vm.domid, "init": vm.init, "agent": agent, "mac": vm.mac,
                "announced": bool(untrusted_announcement) and vm.agent_status is None}  # fmt: skip
