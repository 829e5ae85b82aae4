"""What befalls a soak's host: VMs hang and are started again, and so are agents, daemons and the watcher."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from lab.control import Lab
from tests.soak.watcher import Watcher
from vminterface.deadline import Deadline
from vminterface.errors import VMInterfaceError

ENDED, KILLED = "watcher ended", "watcher killed"
#: The part of the VMs that hang at any time, and the part of those that are never started again.
HUNG, STAYING = 0.05, 1 / 3


class Disturbances:
    """Does one after the other to the VMs *vms* of *lab*, chosen by *chance*."""

    def __init__(
        self,
        chance: random.Random,
        lab: Lab,
        vms: Sequence[str],
        watcher: Watcher,
        *,
        release: str,
        pause: float,
        seconds: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        #: What the lab could not do; it names the lab's own trouble, or a VM's that could not be started.
        self.errors: list[str] = []
        self.hung: list[str] = []
        #: The VMs that have keys which their QubesDB in dom0 has lost.
        self._lost: set[str] = set()
        self._chance, self._lab, self._vms, self._watcher = chance, lab, vms, watcher
        self._pause, self._seconds = pause, seconds
        staying = max(1, int(len(vms) * STAYING))
        #: The VMs that are never started again, nor are their agents.
        self.staying = list(vms[:staying])
        self._restarted = list(vms[staying:])
        self._weights: dict[str, tuple[int, Callable[[], object]]] = {
            "hang": (5, self.hang),
            "VM started again": (5, lambda: self._lost.discard(self._to_a_vm("restart"))),
            "agent killed": (3, lambda: self._to_a_vm("restart-agent")),
            "xenstored started again": (1, lambda: self._ask("restart-store")),
            "watcher's pillar changed": (3, watcher.change),
            ENDED: (1, lambda: self._restart_watcher(signal.SIGTERM)),
            KILLED: (1, lambda: self._restart_watcher(signal.SIGKILL)),
        }
        if release == "R4":
            self._weights["QubesDB started again"] = 3, self.restart_qubesdb
            self._weights["qubesd started again"] = 1, lambda: self._ask("restart-qubesd")

    def work(self, stop: threading.Event) -> None:
        """Disturb until *stop* is set; then no VM hangs any more, and none has keys that dom0 has lost.

        The watcher is let be from the first quarter on, so that it has filled its caches when it is judged.
        """
        quarter = Deadline.after(self._seconds / 4)
        while not stop.wait(self._chance.uniform(0.2, 2 * self._pause)):
            names = [name for name in self._weights if not (quarter.passed and name in (ENDED, KILLED))]
            (name,) = self._chance.choices(names, [self._weights[name][0] for name in names])
            self._weights[name][1]()
            self.counts[name] += 1
            self._watcher.check_alive()
        while self.hung:
            self._ask("unpause", self.hung.pop())
        # Until then no push of a setting with such a key can succeed.
        for vm in sorted(self._lost):
            self._ask("restart", vm)

    def hang(self) -> None:
        """Let VMs hang until there are enough, and one that has hung for longest go on."""
        most = max(1, round(len(self._vms) * HUNG))
        if len(self.hung) >= most:
            self._ask("unpause", self.hung.pop(0))
        while len(self.hung) < most:
            vm = self._chance.choice([vm for vm in self._vms if vm not in self.hung])
            self.hung.append(vm)
            self._ask("pause", vm)

    def restart_qubesdb(self) -> None:
        """Start dom0's daemon of one of the VMs afresh."""
        if vm := self._to_a_vm("restart-qubesdb"):
            self._lost.add(vm)

    def _to_a_vm(self, command: str) -> str:
        """Do *command* to one of the VMs that do not hang and may be disturbed so; return its name, if there is one."""
        some = [vm for vm in self._restarted if vm not in self.hung]
        if not some:
            return ""
        vm = self._chance.choice(some)
        self._ask(command, vm)
        return vm

    def _restart_watcher(self, number: signal.Signals) -> None:
        self._watcher.stop(number)
        self._watcher.start()

    def _ask(self, command: str, vm: str = "") -> None:
        try:
            self._lab.ask(command, vm)
        except VMInterfaceError as error:
            self.errors.append(f"{command} {vm}: {error}")
