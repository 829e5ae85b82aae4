"""The part of a demo that R4 alone has: what qubesd keeps of a VM, and gives it again when it starts."""

from __future__ import annotations

import time
from typing import Any

from lab.control import Lab
from lab.demo.checks import heading, print_changes, require
from lab.demo.settings import Settings
from lab.dom0.saltdir import SaltDir, by_vm
from vminterface.deadline import Deadline
from vminterface.dom0.desired.words import PERSISTENT
from vminterface.dom0.inventory.targets import Targets

VM, PROVIDER = "work", "sys-net"
ADDRESS = "10.137.0.12"
SERVICE, NAME, VALUE = "crond", "greeting", "written by a state"
#: A folder that the VM keeps, a key at once, and the least video memory of the VM, a key from its next start on.
DOCS, VIDEORAM = "/home/user/docs", 16384
FEATURES = {"custom-persist.docs": DOCS, "gui-videoram-min": VIDEORAM}
#: No firewall service runs in the lab's provider, and for its word a push would wait the usual time.
_TIMEOUT = 2
RULES = ["action=accept specialtarget=dns", "action=accept dsthost=mirror.example.org proto=tcp dstports=443-443"]
_SECONDS = 30.0


class Persistence:
    """The steps, on the lab *lab* with the Salt of *salt*, after those of *settings*."""

    def __init__(self, lab: Lab, salt: SaltDir, settings: Settings) -> None:
        self.lab, self.salt, self.settings = lab, salt, settings
        self.own = settings.own[VM]
        self.firewall = "network" not in self.own

    def run(self) -> None:
        """Do it all. Raises Broken, VMInterfaceError."""
        heading(f"A firewall, a service, features and a value that qubesd keeps for {VM}")
        if self.firewall:
            self.own |= {"firewall": {"policy": "drop", "rules": RULES}, "netvm": PROVIDER, "timeout": _TIMEOUT}
        else:
            reason = self.settings.no_network()
            self.settings.left_out.append(f"firewall of {VM}: {reason}")
            print(f"  (without {self.settings.left_out[-1]})")
        self.own |= {"services": {SERVICE: True}, "vm_config": {NAME: VALUE}, "features": FEATURES}
        fields = {f"services:{SERVICE}", f"vm_config:{NAME}", *(f"features:{name}" for name in FEATURES)}
        fields |= {"firewall"} if self.firewall else set()
        changes = self.highstate()
        kept = {name.removeprefix(PERSISTENT) for name in changes if name.startswith(PERSISTENT)}
        require(kept == fields, f"qubesd keeps {', '.join(sorted(fields))}")
        self.check()
        for vm in (VM, PROVIDER) if self.firewall else (VM,):
            heading(f"{vm} is restarted, as a new domain with an empty QubesDB")
            self.lab.ask("restart", vm)
            self.lab.wait_for_agents(Deadline.after(_SECONDS))
            self.check(restarted=True)
        changes = self.highstate()
        again = {name for name in changes if name.startswith(PERSISTENT) or name.partition(":")[0] in fields}
        require(not again | (fields & changes.keys()), "the same pillar changes nothing of that")

    def highstate(self) -> dict[str, dict[str, Any]]:
        """Push the pillar; return what was changed in the VM."""
        self.salt.add_to_pillar({"qubes": {"vms": self.settings.own}})
        code, report = self.salt.highstate()
        (line,) = by_vm(report, [VM]).values()
        print_changes(line)
        require(code == 0 and all(result.ok is True for result in report), "the run succeeded")
        return line.changes

    def check(self, *, restarted: bool = False) -> None:
        """Hold what the VM and its provider have now against what was asked for."""
        with Targets() as targets:
            own, provider = (targets.one(vm).store.tree("/") for vm in (VM, PROVIDER))
        require(own.get(f"/vm-config/{NAME}") == VALUE.encode(), f"{VM}: /vm-config/{NAME} is '{VALUE}'")
        require(own.get("/persist/docs") == DOCS.encode(), f"{VM}: /persist/docs is {DOCS}")
        if restarted:
            require(
                own.get("/qubes-gui-videoram-min") == str(VIDEORAM).encode(), f"{VM}: its least video memory is set"
            )
        # An agent that has just started announces itself before it has applied all.
        end = Deadline.after(_SECONDS)
        while SERVICE not in self.settings.facts(VM)[3] and not end.passed:
            time.sleep(0.2)
        require(SERVICE in self.settings.facts(VM)[3], f"{VM}: the service {SERVICE} is on")
        if self.firewall:
            base = f"/qubes-firewall/{ADDRESS}/"
            held = [text.decode() for path, text in sorted(provider.items()) if path.startswith(base)]
            require(held == [*RULES, "drop"], f"{PROVIDER}: its QubesDB has the rules of {VM}")
