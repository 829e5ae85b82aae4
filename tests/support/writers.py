"""Programs of dom0 that write to a VM at the same time: each a process of its own, which does one round at a time.

Run as a module it is such a program. For each line of JSON that it reads (``["push", VM, {pillar…}]`` or
``["update", VM, {path: value…}]``) it does that, and prints what came of it; ``fork`` is a push by a child of its own,
which may be killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.warm import WarmPython
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.push import push
from vminterface.dom0.results.barekeys import BareKeys
from vminterface.errors import VMInterfaceError

PROJECT = Path(__file__).resolve().parents[2]


class Writer:
    """One such program; *environment* says where the host's stores are."""

    def __init__(self, environment: dict[str, str]) -> None:
        paths = os.pathsep.join([str(PROJECT), str(PROJECT / "_utils")])
        self.process = WarmPython(
            ["tests.support.writers"], env={**os.environ, **environment, "PYTHONPATH": paths},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begin(self, *what: Any) -> None:
        """Let it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Wait for what came of it: ``ok``, ``comment`` and ``changes``."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def end(self) -> None:
        """End the program."""
        self.process.kill()
        self.process.communicate()


def _do(kind: str, vm: str, what: dict[str, Any]) -> dict[str, Any]:
    try:
        if kind == "fork":
            if child := os.fork():
                killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
                return {"ok": not killed, "comment": "killed" if killed else "", "changes": {}}
            with suppress(BaseException):
                os._exit(not _do("push", vm, what)["ok"])
            os._exit(1)
        if kind == "lock":
            _HELD.append(VMLocks())
            assert _HELD[-1].take(vm)
            return {"ok": True, "comment": "locked", "changes": {}}
        if kind == "update":
            with BareKeys(what.pop("channel"), vm) as keys:
                return {"ok": True, "comment": "", "changes": keys.update(what)}
        with Targets() as targets:
            (outcome,) = push([VMSettings.parse(vm, what)], targets)
        changes = {name: [change.old, change.new] for name, change in outcome.fields.items()}
        return {"ok": outcome.ok, "comment": outcome.comment(), "changes": changes}
    except VMInterfaceError as error:
        return {"ok": False, "comment": str(error), "changes": {}}


_HELD: list[VMLocks] = []

if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_do(*json.loads(line))), flush=True)
