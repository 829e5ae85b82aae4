"""What qubesd of R4.3 replied and wrote, call after call, is what the lab's does.

``recorded/`` has two runs of core-admin 4.3.50's own API, properties, features, firewall and extensions, without Xen
and libvirt: one of many values for each call, and one of random calls, starts, pauses and ends. A step is a call
(method without ``admin.``, VM, argument, value) or the start or end of a VM, the reply, and the keys that have changed
by then in the VMs' QubesDBs; null is no reply, no key, no QubesDB. Left out are addresses in memory, UUIDs and random
numbers; the lines of texts for iptables are sorted, as some come in any order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.qubesd import Qube, Qubesd, Refused, Unanswered
from tests.functional.lab.qubesd.conftest import Keys
from tests.support.qubesdcalls import Error, ask

RECORDED = Path(__file__).parent / "recorded"
LEFT_OUT, ANY_ORDER = ("qubes-random-seed", "qubes-iptables-header"), "qubes-iptables-domainrules/"


def done(daemon: Qubesd, step: list[str]) -> Any:
    """Do one step; return the reply as it is recorded."""
    if step[0] in ("start", "stop"):
        try:
            if daemon.qubes[step[1]].running is (step[0] == "stop"):
                daemon.start_vm(step[1]) if step[0] == "start" else daemon.stop_vm(step[1])
        except (Refused, Unanswered):
            pass
        return None
    method, vm, argument, payload = [*step, "", ""][:4]
    reply = ask(daemon, f"admin.{method}", vm, argument, payload)
    return [reply.kind, reply.sentence] if isinstance(reply, Error) else reply


def shown(keys: Keys) -> dict[str, dict[str, str]]:
    """Return the QubesDBs as they are recorded."""
    return {
        vm: {
            key: "\n".join(sorted(text.split("\n"))) if key.startswith(ANY_ORDER) else text
            for key, text in found.items()
            if key not in LEFT_OUT
        }
        for vm, found in keys.items()
    }


def apply(changes: dict[str, dict[str, str | None] | None], held: dict[str, dict[str, str]]) -> None:
    """Bring what QubesDBs are to hold up to date."""
    for vm, changed in changes.items():
        if changed is None:
            del held[vm]
            continue
        known = {**held.get(vm, {}), **changed}
        held[vm] = {key: text for key, text in known.items() if text is not None}


@pytest.mark.parametrize("name", ["calls", "mixed"])
def test_each_call_has_the_reply_and_the_keys_that_were_recorded(tmp_path: Any, name: Any) -> None:
    keys = Keys()
    held: dict[str, dict[str, str]] = {}
    qubes = {
        "fedora": Qube("TemplateVM", features={"qubes-firewall": "1"}, properties={"label": "black"}),
        "sys-net": Qube(
            features={"servicevm": "1"},
            properties={"template": "fedora", "provides_network": "True", "netvm": "", "label": "red"},
        ),
        "work": Qube(properties={"template": "fedora", "label": "blue"}),
        "personal": Qube(properties={"template": "fedora", "label": "green"}),
    }
    with Qubesd(tmp_path / "qubesd.sock", qubes, keys, keys) as daemon:
        for number, (step, reply, *changes) in enumerate(json.loads((RECORDED / f"{name}.json").read_text())):
            assert (number, step, done(daemon, step)) == (number, step, reply)
            apply(changes[0] if changes else {}, held)
            assert (number, step, shown(keys)) == (number, step, held)
