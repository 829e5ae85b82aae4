"""One client's firewall in the store of the VM that provides its network: compare, write, read back, put back.

The form is Qubes R4's: below ``/qubes-firewall/ADDRESS/`` a policy and numbered rules; ``/qubes-firewall/ADDRESS``
itself, written last, notifies the provider of them. qubesd writes the same keys, at any time: what it has written
meanwhile is written over, as it would do, but never put back to something older. Where it keeps the firewall too, that
comes first, as it then writes the keys itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vminterface.channel.store import KeyStore, Operation, Remove, Write
from vminterface.dom0.desired.firewall import FOLDER
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.dom0.desired.words import FIREWALL, NONE, PERSISTENT
from vminterface.dom0.inventory.observed import decode
from vminterface.dom0.inventory.targets import Target
from vminterface.dom0.push.persist.firewall import StoredFirewall
from vminterface.errors import InvalidValue, KeyNotFound, VerificationFailed, VMInterfaceError
from vminterface.values.change import Change
from vminterface.values.firewall import Firewall

#: How often the rules of an address are written where somebody else writes there at the same time.
ATTEMPTS = 3

Held = dict[str, bytes]


@dataclass(slots=True)
class _Rules:
    """What the provider's store held for one address of a client, and what it shall hold."""

    address: str
    top: str
    desired: Firewall
    held: Held

    @property
    def right(self) -> bool:
        """Whether the provider has been notified of the desired rules already."""
        held = self.parsed
        return self.top in self.held and held is not None and held.meaning == self.desired.meaning

    @property
    def new(self) -> Held:
        """What is to be below the address."""
        return {f"{self.top}/{name}": text.encode("ascii") for name, text in self.desired.render().items()}

    @property
    def old(self) -> Held:
        """What was below it."""
        return {path: value for path, value in self.held.items() if path != self.top}

    @property
    def texts(self) -> dict[str, str]:
        """What was below it, by the names of its keys."""
        return {path[len(self.top) + 1 :]: decode(value) for path, value in sorted(self.old.items())}

    @property
    def parsed(self) -> Firewall | None:
        """The firewall that it had; None where its keys make none."""
        return _parsed(self.texts)

    @property
    def shown(self) -> str | None:
        """What it had as one line; None where there was nothing."""
        if not self.held:
            return None
        return (
            str(parsed)
            if (parsed := self.parsed) is not None
            else "; ".join(f"{k}: {v}" for k, v in self.texts.items())
        )


@dataclass(slots=True)
class Client:
    """A VM and its *provider*, None where that does not run; *rules* are those that differ, of one or two addresses.

    *stored* is what qubesd holds where it keeps the firewall, and something else than it shall.
    """

    settings: VMSettings
    provider: Target | None
    stored: StoredFirewall | None = None
    rules: list[_Rules] = field(default_factory=list)
    #: Those of all its addresses.
    found: list[_Rules] = field(default_factory=list)

    @property
    def netvm(self) -> str:
        """The name of the provider."""
        assert self.settings.firewall is not None
        return self.settings.firewall.netvm

    @property
    def store(self) -> KeyStore:
        """The store of the provider, which has to run."""
        assert self.provider is not None
        return self.provider.store

    def path(self, name: str) -> str:
        """Return the path of a key of the provider."""
        assert self.provider is not None
        return self.provider.path(name)

    def compare(self) -> bool:
        """Find the rules that differ now; return whether there are any. Raises InvalidValue, else as the store."""
        assert self.settings.firewall is not None
        if self.provider is None:
            return self.stored is not None
        store = self.store
        if not store.per_vm:
            raise InvalidValue(
                f"{self.settings.vm}: firewall rules are keys of QubesDB, which {self.provider.vm} does not have"
                " (expected a provider on Qubes R4)"
            )
        self.found = []
        for address, desired in self.settings.firewall.keys().items():
            top = self.path(f"{FOLDER}/{address}")
            self.found.append(_Rules(address, top, desired, _read(store, top)))
        self.rules = [rules for rules in self.found if not rules.right]
        return bool(self.rules) or self.stored is not None

    def changes(self) -> Iterator[tuple[str, Change[ShownFirewall]]]:
        """Yield the fields that differ."""
        assert self.settings.firewall is not None
        if self.stored is not None:
            yield f"{PERSISTENT}{FIREWALL}", self.stored.change
        if self.rules:
            old = {f"{FOLDER}/{rules.address}": rules.shown for rules in self.rules}
            new = {f"{FOLDER}/{rules.address}": str(rules.desired) for rules in self.rules}
            words = ShownFirewall(self.settings.firewall.in_words(), new)
            yield FIREWALL, Change(ShownFirewall(self._in_words(), old), words)

    def _in_words(self) -> Any:
        """Return what the provider held as the pillar would have it; by address, where that is not one firewall."""
        assert self.settings.firewall is not None
        held = [rules for rules in self.found if rules.held]
        if not held:
            return NONE
        merged: dict[str, str] = {}
        for rules in held:
            merged |= rules.texts
        # A number has the same rule for both families, and is left out where that concerns the other one alone.
        one = len(held) == len(self.found) and all(rules.texts.items() <= merged.items() for rules in held)
        if one and (parsed := _parsed(merged)) is not None:
            return self.settings.firewall.in_words(parsed)
        each: dict[str, Any] = {}
        for rules in self.found:
            parsed = rules.parsed
            each[rules.address] = rules.shown or NONE if parsed is None else self.settings.firewall.in_words(parsed)
        return each if len(each) > 1 else next(iter(each.values()))

    def write(self) -> None:
        """Write the rules that differ, and read them back, before the provider is notified. Raises as the store."""
        for rules in self.rules:
            self._write(rules)

    def _write(self, rules: _Rules) -> None:
        store, new = self.store, rules.new
        # qubesd may have written them by now.
        there = rules.old if self.stored is None else _below(store, rules.top)
        for _ in range(ATTEMPTS):
            if there == new:
                return
            _replace(store, rules.top, there, new)
            there = _below(store, rules.top)
        if there != new:
            raise VerificationFailed(
                f"{self.settings.vm}: its firewall in {self.netvm} does not hold the written rules after {ATTEMPTS}"
                f" attempts"
            )

    def notify(self, *addresses: str) -> None:
        """Notify the provider of the rules of *addresses*. Raises as the store does."""
        _put(self.store, [Write(rules.top, b"") for rules in self.rules if rules.address in addresses])

    def put_back(self, *, notified: bool) -> bool:
        """Restore the former rules, in qubesd first, and notify the provider if it was *notified* of others.

        Returns False where somebody else's rules are there by now, which stay. Raises as the store and qubesd do.
        """
        try:
            ours = [rules for rules in self.rules if self._is_ours(rules)]
        finally:
            if self.stored is not None:
                self.stored.put_back()
        # qubesd has written what it holds, and the keys may have been others.
        for rules in ours:
            store, top, old = self.store, rules.top, rules.old
            there = _below(store, top)
            _replace(store, top, there, old)
            if notified or self.stored is not None:
                _put(store, [Write(top, b"") if top in rules.held else Remove(top)])
        return len(ours) == len(self.rules)

    def _is_ours(self, rules: _Rules) -> bool:
        """Whether nobody else has written *rules* since they were read."""
        return _below(self.store, rules.top).items() <= (rules.old.items() | rules.new.items())


def _replace(store: KeyStore, top: str, there: Held, new: Held) -> None:
    """Write *new* below *top* in place of *there*, which goes with one request, as in qubesd."""
    gone = [Remove(f"{top}/")] if there else []
    _put(store, [*gone, *(Write(path, value) for path, value in new.items())])


def _below(store: KeyStore, top: str) -> Held:
    return {path: value for path, value in _read(store, top).items() if path != top}


def _read(store: KeyStore, top: str) -> Held:
    """Return the keys at and below *top*; the provider may have changed any of them."""
    try:
        return store.tree(top)
    except KeyNotFound:
        return {}


def _parsed(texts: Mapping[str, str]) -> Firewall | None:
    """Return the firewall of these keys; None where they make none."""
    try:
        return Firewall.parse(texts)
    except InvalidValue:
        return None


def _put(store: KeyStore, operations: Sequence[Operation]) -> None:
    for operation, outcome in zip(operations, store.batch(operations), strict=True):
        if isinstance(outcome, VMInterfaceError) and not (
            isinstance(outcome, KeyNotFound) and isinstance(operation, Remove)
        ):
            raise outcome
