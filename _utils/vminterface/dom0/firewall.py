"""Firewalls of clients, in the stores of the VMs that provide their network: compare, write, read back, tell.

The form is Qubes R4's: below ``/qubes-firewall/ADDRESS/`` a policy and numbered rules; ``/qubes-firewall/ADDRESS``
itself, written last, tells the provider to look at them. All or nothing for each client, as far as a store without
transactions can: what could not be written whole is put back before the provider is told of anything, what it does not
take is put back too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vminterface.channel.store import KeyStore, Operation, Remove, Write
from vminterface.dom0 import firewallanswers, groups
from vminterface.dom0.diff import Change
from vminterface.dom0.firewallanswers import Told
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.state import decode
from vminterface.dom0.targets import Target, Targets
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    KeyNotFound,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.firewall import Firewall

FOLDER = "qubes-firewall"

Held = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the provider's store holds for one address of a client, and what it shall hold."""

    address: str
    top: str
    held: Held
    wanted: Firewall

    @property
    def right(self) -> bool:
        """Whether the provider has been told of the wanted rules already."""
        return self.top in self.held and _parsed(self.held, self.top) == self.wanted


@dataclass(frozen=True, slots=True)
class Client:
    """A VM whose firewall differs in the store of its provider."""

    settings: VMSettings
    outcome: Outcome
    provider: Target
    rules: list[Rules]

    def note(self) -> None:
        """Add what changes to the outcome of the VM."""
        for rules in self.rules:
            self.outcome.changes[f"firewall:{rules.address}"] = Change(_shown(rules.held, rules.top), str(rules.wanted))


def look(wanted: Mapping[str, VMSettings], outcomes: Mapping[str, Outcome], targets: Targets) -> list[Client]:
    """Return the clients whose firewall differs; what keeps one from being looked at is noted in its outcome.

    One that is not running gets its firewall all the same, if its provider runs: it is to be there before the VM is.
    """
    providers: dict[str, list[VMSettings]] = {}
    for vm, one in wanted.items():
        if one.firewall is not None and outcomes[vm].ok:
            providers.setdefault(one.firewall.netvm, []).append(one)
    if not providers:
        return []
    found = targets.find(providers, wanted)
    for netvm in providers.keys() - found.keys():
        for one in providers[netvm]:
            if outcomes[one.vm].running:
                outcomes[one.vm].error = VMNotRunning(
                    f"{one.vm}: {netvm}, which is to keep its firewall, is not running"
                )
    clients = []

    def speak(netvm: str) -> None:
        lost: VMInterfaceError | None = None
        for one in providers[netvm]:
            try:
                if lost is not None:
                    raise lost
                client = _compared(one, outcomes[one.vm], found[netvm])
                if client.rules:
                    clients.append(client)
            except VMInterfaceError as error:
                # A provider that hangs costs one deadline, however many clients it has.
                lost = error if isinstance(error, ConnectionLost | DeadlineExceeded) else lost
                outcomes[one.vm].error = error

    groups.run(sorted(found.keys() & providers.keys()), speak, lambda left: None)
    return clients


def _compared(settings: VMSettings, outcome: Outcome, provider: Target) -> Client:
    assert settings.firewall is not None
    if provider.store.channel != "qubesdb":
        raise InvalidValue(
            f"{settings.vm}: a firewall's rules are keys of QubesDB, and {provider.vm} has none "
            "(expected a provider on Qubes R4; before that its firewall is the text of iptables)"
        )
    rules = []
    for address, wanted in settings.firewall.keys().items():
        top = provider.path(f"{FOLDER}/{address}")
        rules.append(Rules(address, top, _read(provider.store, top), wanted))
    return Client(settings, outcome, provider, [one for one in rules if not one.right])


def push(clients: Sequence[Client]) -> None:
    """Bring the firewalls of *clients* about, and note in the outcomes what changed or failed.

    A VM that has failed already is passed over.
    """
    providers: dict[str, list[Client]] = {}
    for client in clients:
        if client.outcome.ok:
            providers.setdefault(client.provider.vm, []).append(client)
    groups.run(list(providers.values()), _tell_all, _wait)


def _tell_all(clients: Sequence[Client]) -> list[tuple[Client, Told]]:
    """Write the rules of the clients of one provider and tell it of them."""
    told = []
    lost: VMInterfaceError | None = None
    for client in clients:
        try:
            if lost is not None:
                raise lost
            told.append((client, _tell(client)))
        except VMInterfaceError as error:
            lost = error if isinstance(error, ConnectionLost | DeadlineExceeded) else lost
            client.outcome.error = error
        else:
            client.note()
    return told


def _tell(client: Client) -> Told:
    store = client.provider.store
    told = False
    try:
        answers = Told.about_to_be(client.settings, client.provider, [rules.address for rules in client.rules])
        for rules in client.rules:
            _write(client, rules)
        told = True
        _put(store, [Write(rules.top, b"") for rules in client.rules])
    except VMInterfaceError as error:
        raise _put_back(client, error, told=told) from error
    return answers


def _write(client: Client, rules: Rules) -> None:
    store = client.provider.store
    new = {f"{rules.top}/{name}": text.encode("ascii") for name, text in rules.wanted.render().items()}
    old = rules.held.keys() - {rules.top}
    _put(store, [*map(Remove, sorted(old)), *(Write(path, value) for path, value in new.items())])
    if {path: value for path, value in _read(store, rules.top).items() if path != rules.top} != new:
        raise VerificationFailed(
            f"{client.settings.vm}: its firewall in {client.provider.vm} does not hold what was written; "
            "former rules restored"
        )


def _wait(told: Sequence[tuple[Client, Told]]) -> None:
    """Wait until the provider has handled the rules; put back those that it has not."""
    firewallanswers.wait([one for _, one in told])
    for client, one in told:
        if one.error is not None:
            client.outcome.error = _put_back(client, one.error, told=True)
            for rules in client.rules:
                client.outcome.changes.pop(f"firewall:{rules.address}", None)
        elif one.note:
            client.outcome.note = "; ".join(filter(None, (client.outcome.note, one.note)))


def _put_back(client: Client, first: VMInterfaceError, *, told: bool) -> VMInterfaceError:
    """Put the former rules back, and tell the provider if it was *told* of others. Return the error to report."""
    store = client.provider.store
    try:
        for rules in client.rules:
            top, held = rules.top, rules.held
            gone = _read(store, top).keys() - (held.keys() & {top})
            kept = [Write(path, value) for path, value in held.items() if path != top]
            _put(store, [*map(Remove, sorted(gone)), *kept])
            if told and top in held:
                _put(store, [Write(top, b"")])
    except VMInterfaceError as error:
        if str(error) != str(first):
            return type(first)(f"{first}; and the former rules could not be restored: {error}")
    return first


def _read(store: KeyStore, top: str) -> Held:
    """Return the keys at and below *top*; the provider may have changed any of them."""
    try:
        return store.tree(top)
    except KeyNotFound:
        return {}


def _parsed(held: Held, top: str) -> Firewall | None:
    """Return the firewall of these keys; None where they make none."""
    try:
        return Firewall.parse({path[len(top) + 1 :]: decode(value) for path, value in held.items() if path != top})
    except InvalidValue:
        return None


def _shown(held: Held, top: str) -> str | None:
    below = {path[len(top) + 1 :]: decode(value) for path, value in sorted(held.items()) if path != top}
    parsed = _parsed(held, top)
    return None if not held else str(parsed) if parsed is not None else "; ".join(f"{k}: {v}" for k, v in below.items())


def _put(store: KeyStore, operations: Sequence[Operation]) -> None:
    for operation, outcome in zip(operations, store.batch(operations), strict=True):
        if isinstance(outcome, VMInterfaceError) and not (
            isinstance(outcome, KeyNotFound) and isinstance(operation, Remove)
        ):
            raise outcome
