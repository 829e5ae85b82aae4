"""The list of files that a VM prints, read as it comes: within bounds of bytes, of entries, and so of dom0's memory.

First the files' checksums as of ``sha256sum -z``, then an empty record, then kind and name, and target, of everything
else. Each record ends with a NUL.
"""

from __future__ import annotations

from vminterface.errors import OutputTooLarge, RemoteProtocolError, printable, printable_path
from vminterface.regex import regex

#: Files, folders and links that a folder may have which is compared.
ENTRIES = 1 << 18
#: Bytes of the list.
BYTES = 1 << 26
#: Bytes of one record: the longest path that Linux takes, and a checksum.
_RECORD = 4096 + 66
_SHA256 = regex(rb"[0-9a-f]{64}")

#: What a file, folder or link is, by its path: ``f`` and checksum, ``d``, or ``l`` and target.
Tree = dict[bytes, tuple[str, bytes]]


class FileList:
    """Takes the list of what is at *top* in *vm*, piece by piece."""

    def __init__(self, vm: str, top: bytes) -> None:
        self._vm, self._top = vm, top
        self._tree: Tree = {}
        #: Entries that have come; a path may come more than once.
        self._count = 0
        self._rest = b""
        self._sums = True
        #: Kind and name whose target is still to come.
        self._named: bytes | None = None

    def write(self, untrusted_data: bytes) -> None:
        """Take the next piece. Raises RemoteProtocolError and OutputTooLarge."""
        *records, self._rest = (self._rest + untrusted_data).split(b"\0")
        for record in records:
            self._take(record)
        if len(self._rest) > _RECORD:
            raise RemoteProtocolError(f"a record of the list of files in {self._vm} is longer than {_RECORD} bytes")

    def tree(self) -> Tree:
        """Return what is there. Raises RemoteProtocolError where the list is not whole."""
        if self._sums or self._rest or self._named is not None:
            raise RemoteProtocolError(f"the list of files in {self._vm} is incomplete")
        return self._tree

    def _take(self, record: bytes) -> None:
        if self._sums:
            if not record:
                self._sums = False
                return
            digest, _, path = record.partition(b"  ")
            if not _SHA256.fullmatch(digest):
                raise RemoteProtocolError(f"'{printable(record, 60)}' in {self._vm} is not the checksum of a file")
            self._add(path, "f", digest)
        elif self._named is None:
            self._named = record
        else:
            kind, path, self._named = self._named[:1].decode("latin-1"), self._named[1:], None
            self._add(path, kind, record)

    def _add(self, path: bytes, kind: str, detail: bytes) -> None:
        self._count += 1
        if self._count > ENTRIES:
            raise OutputTooLarge(f"{printable_path(self._top)} in {self._vm} has more than {ENTRIES} entries")
        self._tree[path.removeprefix(self._top).removeprefix(b"/")] = (kind, detail)
