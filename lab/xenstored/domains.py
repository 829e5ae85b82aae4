"""The domains that the store knows, what each has used of its quotas, and which of them exist at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one guest may have; the defaults of C xenstored 4.17. dom0 has no limits."""

    nodes: int = 1000
    watches: int = 128
    transactions: int = 10
    transaction_nodes: int = 1024
    node_size: int = 2048
    permissions: int = 5
    outstanding: int = 20


@dataclass(slots=True)
class Domain:
    """A domain that was introduced, or was named in a permission while it existed."""

    domid: int
    #: The tree's generation when the store first heard of it: permissions older than that are not meant for it.
    generation: int
    introduced: bool = False
    watches: int = 0
    transactions: int = 0
    outstanding: int = 0
    #: The domid that this one serves (a device model), None for most.
    target: int | None = None


class Domains:
    """Domains by domid. *exists* is the hypervisor's word on whether there is such a domain."""

    def __init__(self, exists: Callable[[int], bool]) -> None:
        self._exists = exists
        self._known: dict[int, Domain] = {0: Domain(0, 0, introduced=True)}

    def get(self, domid: int) -> Domain | None:
        """Return the domain if the store has heard of it."""
        return self._known.get(domid)

    def introduced(self, domid: int) -> Domain | None:
        """Return the domain if it was introduced."""
        domain = self._known.get(domid)
        return domain if domain and domain.introduced else None

    def meet(self, domid: int, generation: int) -> Domain | None:
        """Return the domain, remembered from now on if it is new and exists; None if it does not."""
        domain = self._known.get(domid)
        if domain is None and self._exists(domid):
            domain = self._known[domid] = Domain(domid, generation)
        return domain

    def forget(self, domid: int) -> None:
        """Drop the domain."""
        self._known.pop(domid, None)

    def younger(self, domid: int, generation: int) -> bool:
        """Whether a node of *generation* cannot have meant this domain: it is unknown, or came later."""
        domain = self._known.get(domid)
        return domain is None or domain.generation > generation
