"""Firewalls of clients, in the stores of the VMs that provide their network: compare, write, read back.

The form is Qubes R4's: below ``/qubes-firewall/ADDRESS/`` a policy and numbered rules; ``/qubes-firewall/ADDRESS``
itself, written last, tells the provider to look at them. All or nothing for each address, as far as a store without
transactions can: what could not be written whole is put back before the provider is told of anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vminterface.channel.store import KeyStore, Operation, Remove, Write
from vminterface.dom0 import groups
from vminterface.dom0.diff import Change
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


def push(settings: Mapping[str, VMSettings], outcomes: Mapping[str, Outcome], targets: Targets, *, test: bool) -> None:
    """Bring the firewalls of *settings* about and note in *outcomes* what changed or failed. *test* only compares.

    A VM that has failed already is passed over. One that is not running gets its firewall all the same, if its
    provider runs: it is to be there before the VM is.
    """
    clients = [one for vm, one in settings.items() if one.firewall is not None and outcomes[vm].ok]
    if not clients:
        return
    providers: dict[str, list[VMSettings]] = {}
    for one in clients:
        assert one.firewall is not None
        providers.setdefault(one.firewall.netvm, []).append(one)
    found = targets.find(providers, settings)
    for netvm, own in providers.items():
        for one in own:
            if netvm not in found and outcomes[one.vm].running:
                _fail(
                    outcomes[one.vm], VMNotRunning(f"{one.vm}: {netvm}, which is to keep its firewall, is not running")
                )

    def speak(netvm: str) -> None:
        lost: VMInterfaceError | None = None
        for one in providers[netvm]:
            try:
                if lost is not None:
                    raise lost
                outcomes[one.vm].changes.update(_one(one, found[netvm], test=test))
            except VMInterfaceError as error:
                # A provider that hangs costs one deadline, however many clients it has.
                lost = error if isinstance(error, ConnectionLost | DeadlineExceeded) else lost
                _fail(outcomes[one.vm], error)

    groups.run(sorted(found.keys() & providers.keys()), speak, lambda left: None)


def _fail(outcome: Outcome, error: VMInterfaceError) -> None:
    outcome.error = error


def _one(settings: VMSettings, provider: Target, *, test: bool) -> dict[str, Change]:
    """Bring about the firewall of one client; return what changed (or, in a test, would)."""
    assert settings.firewall is not None
    if provider.store.channel != "qubesdb":
        raise InvalidValue(
            f"{settings.vm}: a firewall's rules are keys of QubesDB, and {provider.vm} has none "
            "(expected a provider on Qubes R4; before that its firewall is the text of iptables)"
        )
    changes = {}
    for address, wanted in settings.firewall.keys().items():
        top = provider.path(f"{FOLDER}/{address}")
        held = _read(provider.store, top)
        if top in held and _parsed(held, top) == wanted:
            continue
        changes[f"firewall:{address}"] = Change(_shown(held, top), str(wanted))
        if not test:
            _write(settings.vm, provider, top, held, wanted)
    return changes


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


def _write(vm: str, provider: Target, top: str, held: Held, wanted: Firewall) -> None:
    new = {f"{top}/{name}": text.encode("ascii") for name, text in wanted.render().items()}
    below = {path: value for path, value in held.items() if path != top}
    try:
        _put(provider.store, [*map(Remove, below), *(Write(path, value) for path, value in new.items())])
        if {path: value for path, value in _read(provider.store, top).items() if path != top} != new:
            raise VerificationFailed(
                f"{vm}: its firewall in {provider.vm} does not hold what was written; former rules restored"
            )
        _put(provider.store, [Write(top, b"")])
    except VMInterfaceError as error:
        try:
            now = _read(provider.store, top).keys() - {top}
            _put(provider.store, [*map(Remove, sorted(now)), *(Write(path, value) for path, value in below.items())])
        except VMInterfaceError as second:
            if str(second) != str(error):
                raise type(error)(f"{error}; and the former rules could not be restored: {second}") from None
        raise


def _put(store: KeyStore, operations: Sequence[Operation]) -> None:
    for operation, outcome in zip(operations, store.batch(operations), strict=True):
        if isinstance(outcome, VMInterfaceError) and not (
            isinstance(outcome, KeyNotFound) and isinstance(operation, Remove)
        ):
            raise outcome
