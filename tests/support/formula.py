"""The formula's states by the real ``salt-ssh``, in a VM of :mod:`tests.support.sshvm`, as on Qubes.

Salt runs with exactly the files that the VM's management VM gets from dom0, :mod:`tests.support.qubesminion`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.qubesminion import QubesMinion
from tests.support.sshvm import SshVM

Report = dict[str, dict[str, Any]]


class Applier:
    """Applies the formula's states to *vm*, by default *state*; *folder* is empty."""

    def __init__(self, folder: Path, vm: SshVM, state: str) -> None:
        self.state, self._management = state, folder / "management"
        self.dom0 = QubesMinion(folder / "dom0")
        self.dom0.environment["PATH"] = vm.environment["PATH"]
        self.dom0.enable("vminterface", "vminterface-vms", pillar=True)
        #: What the management VM was made from.
        self._made: Any = None

    def run(self, *words: str, own: Any = None, minion: str = "work") -> Any:
        """Return what ``salt-ssh`` says of a function, where the pillar's ``vminterface:`` is *own*."""
        if self._made != (own, minion):
            self.dom0.own(own or {})
            self.dom0.management_vm(self._management, minion)
            self._made = own, minion
        etc, srv = self._management / "etc", self._management / "srv"
        _, out, said = self.dom0.run("salt-ssh", f"--config-dir={etc}", "--out=json", minion, *words, srv=srv)
        assert out, said
        report = json.loads(out)[minion]
        return report["return"] if isinstance(report, dict) and "return" in report else report

    def sent(self) -> str:
        """Return the pillar that the management VM got."""
        return (self._management / "srv/pillar/combined.sls").read_text()

    def __call__(self, *options: str, own: Any = None, sls: str | None = None, minion: str = "work") -> Report:
        """Apply *sls*, empty text for all that the top files give, and return the report's lines by ``ID-module``.

        *options* are those of ``state.apply``. AssertionError where one has failed.
        """
        sls = self.state if sls is None else sls
        command = ["state.apply", sls] if sls else ["state.highstate"]
        report = self.run(*command, *options, own=own, minion=minion)
        assert isinstance(report, dict), report
        assert all("_|-" in tag for tag in report), report
        lines = {"-".join((tag.split("_|-")[1], tag.split("_|-")[0])): line for tag, line in report.items()}
        assert all(line["result"] is not False for line in lines.values()), json.dumps(lines, indent=1)
        return lines


def applier(folder: Path, vm: SshVM, state: str) -> Applier:
    """Return what applies *state* to *vm*."""
    return Applier(folder, vm, state)
