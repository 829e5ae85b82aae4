"""How ``qubes.OpenInVM`` carries a file: 256 bytes with its name, NUL to the end, then its content until EOF.

The answer is the changed content alone, or nothing. Source: Qubes core-agent-linux ``dvm2.h``, ``qopen-in-vm.c``
and ``vm-file-editor.c`` (every release; the ``VMInterface`` document speaks of qfile, which was never used).
"""

from __future__ import annotations

from dataclasses import dataclass

from vminterface.errors import LocalProtocolError, RemoteProtocolError, printable, printable_path
from vminterface.regex import regex

#: Bytes of the header. A name has one less: there is always a NUL.
HEADER_SIZE = 256

_VIEW_ONLY = b"view-only-"
_UNUSUAL = regex(rb"[^A-Za-z0-9._+@-]")


@dataclass(frozen=True, slots=True)
class Header:
    """The name to give to the file, fit for a file system, and whether changes are not sent back."""

    name: str
    view_only: bool

    @classmethod
    def parse(cls, untrusted_header: bytes) -> Header:
        """Read the first 256 bytes. Unusual characters of the name become ``_``, one for each byte.

        Raises RemoteProtocolError for a header of another size, a name that fills it or is empty, ``.`` or ``..``, has
        a ``/`` or a control character, and for anything but NUL behind the name. A dot or dash may come first, as in
        ``.gitignore``: what opens the file is given its whole path, which never starts so.
        """
        if len(untrusted_header) != HEADER_SIZE:
            raise RemoteProtocolError(f"a file name in {len(untrusted_header)} bytes (expected {HEADER_SIZE})")
        untrusted_name, nul, padding = untrusted_header.partition(b"\0")
        if not nul or padding.strip(b"\0"):
            raise RemoteProtocolError(f"'{printable(untrusted_name, 60)}' is not a file name with NUL to its end")
        view_only = untrusted_name.startswith(_VIEW_ONLY)
        untrusted_name = untrusted_name.removeprefix(_VIEW_ONLY)
        if untrusted_name in (b"", b".", b"..") or any(byte < 0x20 or byte in (0x2F, 0x7F) for byte in untrusted_name):
            raise RemoteProtocolError(
                f"'{printable(untrusted_name, 60)}' cannot be the name of a file to open"
                " (expected neither '.' nor '..', no '/' and no control character)"
            )
        return cls(_UNUSUAL.sub(b"_", untrusted_name).decode("ascii"), view_only)


def header(path: bytes, *, view_only: bool = False) -> bytes:
    """Return the header for the file at *path*: of its base name, the last bytes that there is room for.

    Raises LocalProtocolError if *path* names no file.
    """
    name = path.rpartition(b"/")[2]
    if name in (b"", b".", b"..") or b"\0" in name:
        raise LocalProtocolError(f"'{printable_path(path, 60)}' does not name a file that can be sent")
    prefix = _VIEW_ONLY if view_only else b""
    return (prefix + name[-(HEADER_SIZE - 1 - len(prefix)) :]).ljust(HEADER_SIZE, b"\0")
