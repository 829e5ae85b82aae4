"""What the library's smallest objects have in common: two of one class that hold the same are equal.

Those that the command and a VM's agent load at each start are written out on this base. Data classes would do the same,
but Python makes them anew at each start, and takes longer for that than for the rest of it.
"""

from __future__ import annotations


class Value:
    """Holds what its class names in ``__slots__``, each set once, when it is made."""

    __slots__: tuple[str, ...] = ()

    def _held(self) -> tuple[object, ...]:
        return tuple([getattr(self, name) for name in self.__slots__])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._held() == other._held()

    def __hash__(self) -> int:
        return hash(self._held())

    def __repr__(self) -> str:
        held = zip(self.__slots__, self._held(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={one!r}' for name, one in held)})"
