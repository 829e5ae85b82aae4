"""Lets qubesd attach a running VM's network anew, with the addresses that it holds by then, and checks the provider.

Setting the property ``netvm`` does that, also to what it is; qubesd then writes the VM's keys and the provider's. Until
the provider has the keys, what comes from the VM's new address is dropped there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from vminterface import keys
from vminterface.channel.adminapi import Property
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import NETVM
from vminterface.dom0.inventory.observed import decode
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.inventory.targets import Target, Targets
from vminterface.dom0.push.interrupt import NOTICED_WITHIN
from vminterface.errors import DeadlineExceeded, Interrupted, VerificationFailed, VMNotRunning
from vminterface.values.change import Change

#: The keys of a provider that list the addresses of its clients.
CONNECTED, CONNECTED6 = "connected-ips", "connected-ips6"
_FIELD = "network:reattach"


def planned(qubesd: Qubesd, settings: VMSettings, changes: Mapping[str, Change[Any]]) -> bool:
    """Return whether a push of *settings* attaches the VM, if it runs; *changes* are those of what qubesd keeps.

    Raises as AdminAPI does.
    """
    vm = settings.vm
    if NETVM not in changes:
        return settings.reattach and bool(_netvm(qubesd, vm).value)
    if (new := changes[NETVM].new) is None:
        new = qubesd.call(vm, NETVM, "property netvm", lambda api: api.property_default(vm, NETVM))
    return bool(new)


def anew(qubesd: Qubesd, vm: str) -> None:
    """Let qubesd attach the running *vm* to its provider anew. Raises as AdminAPI does."""
    netvm = _netvm(qubesd, vm)
    if netvm.value:
        _set(qubesd, vm, netvm.value)
        if netvm.default:
            # It is the same provider, so that nothing is attached a second time.
            _set(qubesd, vm, None)


def check(qubesd: Qubesd, targets: Targets, settings: VMSettings, routed_ip: str | None, stop: threading.Event) -> None:
    """Wait until the keys of the VM's provider name its addresses: there is the time that *settings* give.

    *routed_ip* is its IPv4 address where that is not what the VM is shown. Raises VerificationFailed where the keys do
    not come, Interrupted once *stop* is set, VMNotRunning where the provider does not run, else as AdminAPI and the
    store do.
    """
    vm, seconds = settings.vm, settings.timeout
    netvm = _netvm(qubesd, vm).value
    target = targets.find([netvm], timeout=seconds).get(netvm)
    if target is None:
        raise VMNotRunning(f"{vm}: {netvm}, which provides its network, is not running")
    ip, ip6 = (keys.text_of(field, settings.desired.get(field)) for field in ("network:ip", "network:ip6"))
    listed = [(key, text) for key, text in ((CONNECTED, ip), (CONNECTED6, ip6)) if text is not None]
    needed = [f"qubes-firewall/{text}{more}" for text in (routed_ip or ip, ip6) if text for more in ("", "/policy")]
    needed += [] if ip is None else [f"mapped-ip/{routed_ip or ip}/visible-ip"]
    deadline = Deadline.after(seconds)
    with target.store.watch(
        [target.path(key) for key in (CONNECTED, CONNECTED6, "mapped-ip", "qubes-firewall")]
    ) as watch:
        while missing := _missing(target, listed, needed):
            if stop.is_set():
                raise Interrupted(f"{vm}: interrupted before {netvm} received {missing}")
            if deadline.passed:
                raise VerificationFailed(
                    f"{vm}: its network was attached again, but {netvm} did not receive {missing} within {seconds:g} s"
                )
            with contextlib.suppress(DeadlineExceeded):
                watch.next(Deadline.after(min(NOTICED_WITHIN, deadline.remaining)))


def _missing(target: Target, listed: Sequence[tuple[str, str]], needed: Sequence[str]) -> str:
    """Return what the provider has not of addresses in lists and of keys, empty text where it has all."""
    names = [*(key for key, _ in listed), *needed]
    values = dict(zip(names, target.store.read_many([target.path(key) for key in names]), strict=True))
    for key, address in listed:
        if address not in decode(values[key] or b"").split():
            return f"{address} in {key}"
    return next((key for key in needed if values[key] is None), "")


def _netvm(qubesd: Qubesd, vm: str) -> Property:
    return qubesd.call(vm, _FIELD, "property netvm", lambda api: api.property(vm, NETVM))


def _set(qubesd: Qubesd, vm: str, netvm: str | None) -> None:
    qubesd.call(vm, _FIELD, "property netvm", lambda api: api.set_property(vm, NETVM, netvm))
