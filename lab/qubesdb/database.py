"""What one daemon of a pair holds: a flat list of keys, in which directories are but prefixes."""

from __future__ import annotations


class Database:
    """Values by path."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def matching(self, prefix: str) -> list[str]:
        """Return the paths that start with *prefix*, sorted."""
        return sorted(path for path in self.values if path.startswith(prefix))

    def remove(self, path: str) -> bool:
        """Remove *path*, or all below it if it ends with a slash; say whether there was anything."""
        gone = self.matching(path) if path.endswith("/") else [path] if path in self.values else []
        for one in gone:
            del self.values[one]
        return bool(gone)
