"""One client's firewall in the store of the VM that provides its network: compare, write, read back, put back.

The form is Qubes R4's: below ``/qubes-firewall/ADDRESS/`` a policy and numbered rules; ``/qubes-firewall/ADDRESS``
itself, written last, tells the provider to look at them. qubesd writes the same keys, at any time: what it has written
meanwhile is written over, as it would do, but never put back to something older. Where it keeps the firewall too, that
comes first, as it then writes the keys itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vminterface.channel.store import KeyStore, Operation, Remove, Write
from vminterface.dom0.diff import PERSISTENT, Change
from vminterface.dom0.persistfirewall import StoredFirewall
from vminterface.dom0.settings import FIREWALL, VMSettings
from vminterface.dom0.state import decode
from vminterface.dom0.targets import Target
from vminterface.errors import InvalidValue, KeyNotFound, VerificationFailed, VMInterfaceError
from vminterface.values.firewall import Firewall

FOLDER = "qubes-firewall"
#: How often the rules of an address are written where somebody else writes there at the same time.
ATTEMPTS = 3

Held = dict[str, bytes]


@dataclass(slots=True)
class _Rules:
    """What the provider's store held for one address of a client, and what it shall hold."""

    address: str
    top: str
    wanted: Firewall
    held: Held

    @property
    def right(self) -> bool:
        """Whether the provider has been told of the wanted rules already."""
        held = _parsed(self.held, self.top)
        return self.top in self.held and held is not None and held.meaning == self.wanted.meaning

    @property
    def new(self) -> Held:
        """What is to be below the address."""
        return {f"{self.top}/{name}": text.encode("ascii") for name, text in self.wanted.render().items()}

    @property
    def old(self) -> Held:
        """What was below it."""
        return {path: value for path, value in self.held.items() if path != self.top}


@dataclass(slots=True)
class Client:
    """A VM and its *provider*, None where that does not run; *rules* are those that differ, of one or two addresses.

    *stored* is what qubesd holds where it keeps the firewall, and something else than it shall.
    """

    settings: VMSettings
    provider: Target | None
    stored: StoredFirewall | None = None
    rules: list[_Rules] = field(default_factory=list)

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
        """Look for the rules that differ now; return whether there are some. Raises InvalidValue, else as the store."""
        assert self.settings.firewall is not None
        if self.provider is None:
            return self.stored is not None
        store = self.store
        if store.channel != "qubesdb":
            raise InvalidValue(
                f"{self.settings.vm}: a firewall's rules are keys of QubesDB, and {self.provider.vm} has none "
                "(expected a provider on Qubes R4; before that its firewall is the text of iptables)"
            )
        found = []
        for address, wanted in self.settings.firewall.keys().items():
            top = self.path(f"{FOLDER}/{address}")
            found.append(_Rules(address, top, wanted, _read(store, top)))
        self.rules = [rules for rules in found if not rules.right]
        return bool(self.rules) or self.stored is not None

    def changes(self) -> Iterator[tuple[str, Change]]:
        """Yield the fields that differ."""
        if self.stored is not None:
            yield f"{PERSISTENT}{FIREWALL}", self.stored.change
        for rules in self.rules:
            yield f"firewall:{rules.address}", Change(_shown(rules.held, rules.top), str(rules.wanted))

    def write(self) -> None:
        """Write the rules that differ, and read them back; the provider is not yet told. Raises as the store does."""
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
                f"{self.settings.vm}: its firewall in {self.netvm} does not hold what was written, {ATTEMPTS} times"
            )

    def tell(self, *addresses: str) -> None:
        """Tell the provider to look at the rules of *addresses*. Raises as the store does."""
        _put(self.store, [Write(rules.top, b"") for rules in self.rules if rules.address in addresses])

    def put_back(self, *, told: bool) -> bool:
        """Put the former rules back, in qubesd first, and tell the provider if it was *told* of others.

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
            if told or self.stored is not None:
                _put(store, [Write(top, b"") if top in rules.held else Remove(top)])
        return len(ours) == len(self.rules)

    def _is_ours(self, rules: _Rules) -> bool:
        """Whether nobody else has written *rules* since they were looked at."""
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
