"""What one network interface has, in the words that ``ip`` of iproute2 takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

#: Of addresses and routes that only the link knows (linux/rtnetlink.h).
LINK_SCOPE = 253
#: What the kernel gives every IPv6 route that is added without a metric.
USUAL_METRIC_6 = 1024

_PARTS = ("addresses", "routes", "neighbours")


@dataclass(frozen=True, slots=True)
class Link:
    """Addresses such as ``10.137.0.12/32``, routes ``default via 10.137.0.5 onlink``, neighbours ``IP lladdr MAC``."""

    up: bool
    addresses: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    neighbours: frozenset[str] = frozenset()
    #: Number of the group of interfaces; 0 is every interface's first.
    group: int = 0

    def with_own(self, old: Link, new: Link) -> Link:
        """Return this state with what is *old* taken out and what is *new* put in, up if *new* is.

        A group is taken over from *new*, but never given back: firewall rules for it should stay in force.
        """
        return replace(
            self,
            up=new.up,
            group=new.group or self.group,
            addresses=self.addresses - old.addresses | new.addresses,
            routes=self.routes - old.routes | new.routes,
            neighbours=self.neighbours - old.neighbours | new.neighbours,
        )

    def words(self) -> dict[str, list[str]]:
        """Return what a record holds of this: everything but whether the interface is up, and its group."""
        return {part: sorted(getattr(self, part)) for part in _PARTS}

    @classmethod
    def of_words(cls, record: Any) -> Link:
        """Return the link of a record, up. Raises TypeError or KeyError for one that is not whole."""
        addresses, routes, neighbours = (frozenset(map(str, record[part])) for part in _PARTS)
        return cls(True, addresses, routes, neighbours)
