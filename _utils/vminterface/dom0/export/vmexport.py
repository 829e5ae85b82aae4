"""What is exported of one VM: values by their place in the pillar, and what is left out of it and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vminterface.dom0.desired import words
from vminterface.errors import printable
from vminterface.values.network import ClientNetwork, ProviderNetwork

#: Where the pillar has a value below a VM: ``("timezone",)``, ``("services", "cups")``.
Path = tuple[str, ...]

#: Members without which a mapping makes no sense.
NEEDED: dict[str, tuple[str, ...]] = {"network": ClientNetwork.NEEDED, "provides_network": ProviderNetwork.NEEDED}
#: Fields from which others follow that the pillar does not name.
_BROUGHT_BY: dict[str, str] = {"network": "type", "provides_network": "type", "keymap": "keyboard"}
#: The order in which values are tried, by field: others are read with the first ones, the last with others.
_ORDER = {"type": 0, "netvm": 1, "provides_network": 2, "network": 3, "keymap": 4, "firewall": 6}
_BETWEEN = 5
#: Characters of a reason, and of a value in it.
_REASON, SHOWN = 300, 60


@dataclass(slots=True)
class VMExport:
    """One VM on its way into a pillar."""

    vm: str
    values: dict[Path, Any] = field(default_factory=dict)
    #: Why something that the VM has is not among the values, by its place.
    left_out: dict[Path, str] = field(default_factory=dict)
    #: Sentences about the VM as a whole.
    notes: list[str] = field(default_factory=list)
    #: Why there is nothing of it, and whether that is as it should be.
    error: str = ""
    expected: bool = False

    def leave_out(self, path: Path, reason: str) -> None:
        """Note why something is not among the values; both may have texts of the VM in them."""
        self.values.pop(path, None)
        self.left_out.setdefault(tuple(printable(part, SHOWN) for part in path), printable(reason, _REASON))

    def fail(self, reason: str) -> None:
        """Leave the whole VM out."""
        self.error = printable(reason, _REASON)

    def raw(self) -> dict[str, Any]:
        """Return the values as the pillar has them below the VM's name."""
        found: dict[str, Any] = {}
        for path, value in sorted(self.values.items()):
            if len(path) == 1:
                found[path[0]] = value
            else:
                found.setdefault(path[0], {})[path[1]] = value
        return found

    def complete(self) -> None:
        """Leave mappings out that lack what they need."""
        for group, needed in NEEDED.items():
            there = [path for path in self.values if len(path) == 2 and path[0] == group]
            missing = [name for name in needed if (group, name) not in self.values]
            if there and missing:
                for path in there:
                    self.leave_out(path, f"the pillar's {group} also needs {' and '.join(needed)}")

    def drop(self, field_: str, reason: str) -> bool:
        """Leave the value out that *field_* names, such as ``network:dns``, or from which alone it comes.

        Return whether there was one.
        """
        parts = tuple(field_.removeprefix(words.PERSISTENT).split(":"))
        for path in (parts[:2], parts[:1]):
            if path in self.values:
                self.leave_out(path, reason)
                self.complete()
                return True
        source = _BROUGHT_BY.get(parts[0])
        if source and (source,) in self.values and not any(path[0] == parts[0] for path in self.values):
            self.leave_out((source,), f"it also sets {parts[0]}: {reason}")
            return True
        return False

    def units(self) -> list[list[Path]]:
        """Return the places of the values, those of a mapping that needs some of them together.

        What others are read with comes first.
        """
        found: dict[Path, list[Path]] = {}
        for path in sorted(self.values, key=lambda path: (_ORDER.get(path[0], _BETWEEN), path)):
            found.setdefault(path[:1] if path[0] in NEEDED else path, []).append(path)
        return [*found.values()]
