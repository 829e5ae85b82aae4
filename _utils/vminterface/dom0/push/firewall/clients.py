"""Firewalls of many clients, each in the store of the VM that provides its network: part of the push of the client.

Where qubesd keeps them they go to it first; it is last in a push, so that nothing which fails before has reached it.

All or nothing for each client, as far as a store without transactions can: what could not be written whole is put back
before the provider is notified of anything, and what its firewall service does not handle is put back too.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import groups
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.firewall import acknowledgements as firewall_acknowledgements
from vminterface.dom0.push.firewall.acknowledgements import Notified
from vminterface.dom0.push.firewall.client import Client
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.persist.firewall import StoredFirewall
from vminterface.dom0.push.persist.routed import Routed
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Interrupted,
    InvalidValue,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
    VMStarting,
)


class Firewalls:
    """The firewalls of *vms* that differ. What prevents one from being read or written is in its outcome.

    The providers are met over connections of their own, as another thread may be speaking to them as VMs meanwhile.
    *lost* holds the errors of those that hang or are gone, and is shared by all parts of a push: each of them costs one
    deadline, the longest of its clients', however many these are. A VM that is not running gets its firewall all the
    same, if its provider runs: it is to be there before the VM is. *routed* has what qubesd holds of them. Once *stop*
    is set nothing is written but what was there before.
    """

    def __init__(
        self,
        vms: Sequence[str],
        desired: Mapping[str, VMSettings],
        outcomes: Mapping[str, Outcome],
        targets: Targets,
        lost: dict[str, VMInterfaceError],
        routed: Mapping[str, Routed],
        stop: threading.Event,
    ) -> None:
        #: Those that differ.
        self.clients: list[Client] = []
        self._desired, self._outcomes, self._lost, self._routed = desired, outcomes, lost, routed
        self._targets = targets.another()
        self._stop = stop
        providers: dict[str, list[VMSettings]] = {}
        for vm in vms:
            if (firewall := desired[vm].firewall) is not None and outcomes[vm].ok:
                providers.setdefault(firewall.netvm, []).append(desired[vm])
        groups.run(list(providers.items()), self._observe, lambda left: None)

    def _observe(self, provider: tuple[str, Sequence[VMSettings]]) -> None:
        netvm, clients = provider
        channel = self._desired[netvm].channel if netvm in self._desired else "auto"
        patient = max(clients, key=lambda one: one.timeout)
        for one in clients:
            outcome = self._outcomes[one.vm]
            try:
                if netvm in self._lost:
                    raise self._lost[netvm]
                errors: dict[str, VMInterfaceError] = {}
                target = self._targets.find([netvm], errors, channel=channel, timeout=patient.timeout).get(netvm)
                if isinstance(errors.get(netvm), VMStarting):
                    begun = Deadline.after(patient.wait_before_writing)
                    target = self._targets.wait_for(netvm, self._stop, begun, timeout=patient.timeout)
                elif netvm in errors:
                    raise errors[netvm]
                if target is None and outcome.running:
                    raise VMNotRunning(f"{one.vm}: {netvm}, which applies its firewall, is not running")
                client = Client(one, target, self._routed[one.vm].stored)
                if client.compare():
                    self.clients.append(client)
            except VMInterfaceError as error:
                self._fail(one.vm, netvm, error)

    def note(self) -> None:
        """Add to the outcomes what would change."""
        for client in self.clients:
            outcome = self._outcomes[client.settings.vm]
            if outcome.ok:
                outcome.changes.update(client.changes())

    def push(self) -> None:
        """Bring the firewalls about. VMs that have failed meanwhile are passed over."""
        providers: dict[str, list[Client]] = {}
        for client in self.clients:
            if self._outcomes[client.settings.vm].ok:
                providers.setdefault(client.netvm, []).append(client)
        groups.run(list(providers.values()), self._notify_all, self._wait)

    def close(self) -> None:
        """Hang up."""
        self._targets.close()

    def _notify_all(self, clients: Sequence[Client]) -> list[Notified]:
        """Write the rules of the clients of one provider and notify it."""
        notified = []
        for client in clients:
            vm, netvm = client.settings.vm, client.netvm
            try:
                if client.provider is not None and netvm in self._lost:
                    raise self._lost[netvm]
                if self._stop.is_set():
                    raise Interrupted(f"{vm}: interrupted before its firewall in {netvm} was written")
                # Much may have happened since they were read.
                if client.compare() and (one := self._notify(client)) is not None:
                    notified.append(one)
            except VMInterfaceError as error:
                self._fail(vm, netvm, error)
        return notified

    def _notify(self, client: Client) -> Notified | None:
        """Let qubesd keep the rules, write them and notify the provider; None where there is nobody to wait for."""
        is_notified, notified = False, None
        if client.stored is not None and not self._keep(client, client.stored):
            return None
        try:
            if client.rules:
                client.write()
                notified = Notified.about_to_be(client)
                is_notified = True
                client.notify(*(rules.address for rules in client.rules))
        except VMInterfaceError as error:
            self._fail(client.settings.vm, client.netvm, error, self._put_back(client, error, notified=is_notified))
            return None
        self._outcomes[client.settings.vm].changes.update(client.changes())
        return notified

    def _keep(self, client: Client, stored: StoredFirewall) -> bool:
        """Let qubesd keep the rules; return whether it does."""
        try:
            stored.set()
        except VMInterfaceError as error:
            more = self._put_back(client, error, notified=False)
            self._outcomes[client.settings.vm].error = type(error)(f"{error}{more}")
            return False
        return True

    def _wait(self, notified: Sequence[Notified]) -> None:
        """Wait until the provider has handled the rules; put back those that it has not."""
        firewall_acknowledgements.wait([one for one in notified if one.client.settings.confirm], self._stop)
        for one in notified:
            settings, netvm = one.client.settings, one.client.netvm
            outcome = self._outcomes[settings.vm]
            if one.error is not None:
                self._fail(settings.vm, netvm, one.error, self._put_back(one.client, one.error, notified=True))
            elif not settings.confirm:
                outcome.add_note(f"the acknowledgement of {netvm} was not waited for")
            elif one.counts and not one.known:
                outcome.add_note(
                    f"no firewall service in {netvm} replied within {settings.timeout:g} s, "
                    "so the rules take effect when one starts there"
                )
            elif one.counts:
                late = DeadlineExceeded(
                    f"{settings.vm}: the firewall service of {netvm} did not handle its rules "
                    f"within {settings.timeout:g} s"
                )
                more = self._put_back(one.client, late, notified=True)
                outcome.error = DeadlineExceeded(f"{late}{more}")
            if outcome.error is not None:
                for name, _ in one.client.changes():
                    outcome.changes.pop(name, None)

    def _put_back(self, client: Client, first: VMInterfaceError, *, notified: bool) -> str:
        """Put the former rules back. Return what is to be added to the sentence of the *first* error."""
        outcome = self._outcomes[client.settings.vm]
        try:
            if not client.put_back(notified=notified):
                return "; changes made there by another program meanwhile are kept"
        except VMInterfaceError as error:
            outcome.restored = False
            why = "" if str(first) in str(error) else f": {error}"
            return f"; the former rules could not be restored{why}"
        outcome.restored = True
        return ""

    def _fail(self, vm: str, netvm: str, error: VMInterfaceError, more: str = "") -> None:
        """Note the error of the provider's store, with *more* after it."""
        starting = isinstance(error, VMStarting)
        if starting or isinstance(error, ConnectionLost | DeadlineExceeded):
            self._lost.setdefault(netvm, error)
        # Ours name both already.
        ours = isinstance(error, Interrupted | InvalidValue | VMNotRunning | VerificationFailed) and not starting
        whose = "" if ours else f"{vm}: its firewall in {netvm}: "
        self._outcomes[vm].error = type(error)(f"{whose}{error}{more}") if whose or more else error
