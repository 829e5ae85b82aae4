"""The qubesd of a lab whose release has one: it keeps what lasts of the VMs, starts and ends them, and fills QubesDBs.

Its calls are made by threads of their own; what they do with VMs is done by the thread that owns these.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from lab.dom0.host import Host
from lab.dom0.loop import Loop
from lab.qubesd import Machines, Qube, Qubesd, Refused, Unanswered
from lab.qubesd.stores import StoreWriter
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.errors import InvalidValue, ProgramFailed, printable

#: The release that has a qubesd.
RELEASE = "R4"
TEMPLATE = "template"
#: Seconds that qubesd gives qubes.WaitForNetworkUplink, which all others here have as well.
_CALL_SECONDS = 10.0
_LOCALTIME = "/etc/localtime"
_FEATURES = {"gui": "1", "os": "Linux", "qrexec": "1", "qubes-firewall": "1"}


class LabMachines(Machines):
    """The VMs of *host*, in the thread of *loop*.

    There *came* and *went* are told which VM has started and which is to end, and *inspect* that there is one less or
    that one goes on.
    """

    def __init__(
        self,
        host: Host,
        loop: Loop,
        came: Callable[[str], None],
        went: Callable[[str], None],
        inspect: Callable[[], None],
    ) -> None:
        self._host, self._loop = host, loop
        self._came, self._went, self._inspect = came, went, inspect

    def create(self, vm: str) -> int:
        """Make the domain, with its QubesDB and first process, which waits; return its number."""

        def work() -> int:
            self._host.create(vm)
            self._came(vm)
            return self._host.vm(vm).domid

        return self._loop.do(work)

    def attach(self, vm: str, netvm: str, mac: str) -> None:
        """Link it to the one that provides its network."""
        self._loop.do(lambda: self._host.attach(vm, netvm, mac))

    def detach(self, vm: str) -> None:
        """Take its link away."""
        self._loop.do(lambda: self._host.detach(vm))

    def unpause(self, vm: str) -> None:
        """Let it begin, or go on."""

        def work() -> None:
            self._host.go_on(vm)
            self._inspect()

        self._loop.do(work)

    def pause(self, vm: str) -> None:
        """Stop its processes where they are."""
        self._loop.do(lambda: self._host.vm(vm).pause())

    def call(self, vm: str, service: str, data: bytes) -> None:
        """Call a service of it as dom0's programs do. Raises ProgramFailed."""
        words = [str(self._host.paths.programs / "qrexec-client"), "-d", vm, f"root:QUBESRPC {service} dom0"]
        try:
            done = subprocess.run(words, input=data, capture_output=True, timeout=_CALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"{service} does not end within {_CALL_SECONDS:g} s") from None
        if done.returncode != 0:
            said = printable(done.stderr.decode(errors="replace").strip(), 200)
            raise ProgramFailed(f"{service} ends with status {done.returncode}: {said}")

    def destroy(self, vm: str) -> None:
        """End it."""

        def work() -> None:
            if vm in self._host.running:
                self._went(vm)
                self._host.stop(vm)
                self._inspect()

        self._loop.do(work)


class LabQubesd:
    """The daemon, and what an admin of the lab does with VMs by it. Its calls raise InvalidValue."""

    def __init__(self, host: Host, machines: Machines) -> None:
        self._host = host
        self._daemon = Qubesd(host.paths.qubesd, qubes_of(host), StoreWriter(self._open), machines)
        self._daemon.system.timezone = _zone()
        providers = [spec.name for spec in host.specs.values() if spec.provides_network]
        self._daemon.system.properties["default_netvm"] = providers[0] if providers and has_network(host) else ""

    def __enter__(self) -> LabQubesd:
        self._daemon.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._daemon.__exit__(None, None, None)

    def start(self, name: str) -> None:
        """Start a VM that does not run."""
        self._host.spec(name)
        if self._daemon.qubes[name].running:
            raise InvalidValue(f"{name} is running already")
        self._ask(lambda: self._daemon.start_vm(name))

    def stop(self, name: str) -> None:
        """End a VM as if it had shut down by itself."""
        self._host.vm(name)
        self._ask(lambda: self._daemon.stop_vm(name))

    def restart(self, name: str) -> None:
        """End a VM and start it as a new domain."""
        self.stop(name)
        self.start(name)

    def pause(self, name: str) -> None:
        """Halt a VM where it is."""
        self._host.vm(name)
        self._ask(lambda: self._daemon.pause_vm(name))

    def unpause(self, name: str) -> None:
        """Let a VM go on."""
        self._host.vm(name)
        self._ask(lambda: self._daemon.unpause_vm(name))

    def restart_daemon(self) -> None:
        """Let qubesd be away for a moment: every connection to it ends, what it keeps stays."""
        self._daemon.stop_listening()
        self._daemon.start_listening()

    def _open(self, vm: str) -> QubesDB:
        return QubesDB.open(vm, folder=str(self._host.paths.qubesdb))

    @staticmethod
    def _ask(work: Callable[[], None]) -> None:
        try:
            work()
        except (Refused, Unanswered) as error:
            raise InvalidValue(f"qubesd: {error}") from error


def environment(host: Host) -> dict[str, str]:
    """Return what programs of dom0 need in their environment, beside a path with the client, to find this qubesd."""
    return {"LAB_QUBESD_SOCKET": str(host.paths.qubesd)}


def qubes_of(host: Host) -> dict[str, Qube]:
    """Return the VMs of a lab as qubesd knows them, and the template of all of them, which no machine is there for."""
    network = has_network(host)
    providers = {spec.netvm for spec in host.specs.values()}
    template = Qube("TemplateVM", features={**_FEATURES, "prohibit-start": "a lab has no machine for a template"})
    template.properties["label"] = "black"
    qubes = {TEMPLATE: template}
    default = next((spec.name for spec in host.specs.values() if spec.provides_network), "")
    for spec in host.specs.values():
        provides = spec.provides_network or spec.name in providers
        properties = {"template": TEMPLATE, "label": "red" if provides else "blue"}
        features = {}
        if network and provides:
            properties["provides_network"], features["servicevm"] = "True", "1"
        if network and spec.netvm != default:
            properties["netvm"] = spec.netvm
        if spec.ip:
            properties["ip"] = spec.ip
        qubes[spec.name] = Qube(features=features, properties=properties)
    return qubes


def has_network(host: Host) -> bool:
    """Whether VMs have links here, and those that provide network have the program for that."""
    return host.isolation.network and shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


def _zone() -> str | None:
    try:
        return os.readlink(_LOCALTIME).partition("zoneinfo/")[2] or None
    except OSError:
        return None
