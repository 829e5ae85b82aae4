"""The answer that ends a qfile transfer: error code, checksum and the name it is about.

Source of the format: ``struct result_header`` and ``struct result_header_ext`` of Qubes' ``libqubes-rpc-filecopy``.
Integers are in the sender's native order, little-endian on every machine that Qubes runs on.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass

from vminterface.errors import RemoteProtocolError, printable_path

#: The code for "the input ended inside an entry"; every other code is a Linux errno.
LEGAL_EOF = 31415926
#: Longest name in an entry or a result, bytes.
NAME_MAX_BYTES = 16383
#: Longest possible result, bytes.
RESULT_MAX_BYTES = 20 + NAME_MAX_BYTES

_FIXED = struct.Struct("<IIQ")
_NAME_LENGTH = struct.Struct("<I")


class Refused(RemoteProtocolError):
    """The transfer ends here: an entry was refused, by the other side or by this one.

    ``code`` is the error code of the result, ``name`` the name that the result carries (None: it has no name part).
    """

    def __init__(self, code: int, untrusted_name: bytes | None, reason: str = "") -> None:
        about = f"'{printable_path(untrusted_name)}': " if untrusted_name else ""
        super().__init__(f"{about}{reason or describe(code)} ({code_name(code)})")
        self.code = code
        self.name = untrusted_name


@dataclass(frozen=True, slots=True)
class Result:
    """The one result of the receiver: *code* (0: all is well), *crc* of the bytes it took, and the last name."""

    code: int
    crc: int
    name: bytes | None = None

    @property
    def exit_status(self) -> int:
        """The exit status of a receiver that ends with this result."""
        return self.code & 0xFF

    def render(self) -> bytes:
        """Return the bytes to send; without a name they end after the checksum."""
        fixed = _FIXED.pack(self.code, 0, self.crc)
        return fixed if self.name is None else fixed + _NAME_LENGTH.pack(len(self.name)) + self.name

    @classmethod
    def parse(cls, untrusted_reply: bytes) -> Result:
        """Parse *untrusted_reply*, everything that the receiver sent.

        The name stays untrusted. Raises :class:`RemoteProtocolError` unless it is exactly one result, with or
        without (old receivers) a name.
        """
        if len(untrusted_reply) < _FIXED.size:
            raise RemoteProtocolError(
                f"the receiver ended after {len(untrusted_reply)} of the {_FIXED.size} bytes of its result"
            )
        code, _, crc = _FIXED.unpack_from(untrusted_reply)
        rest = untrusted_reply[_FIXED.size :]
        if not rest:
            return cls(code, crc)
        if len(rest) < _NAME_LENGTH.size:
            raise RemoteProtocolError("the receiver's result ends inside the length of its name")
        (length,) = _NAME_LENGTH.unpack_from(rest)
        name = rest[_NAME_LENGTH.size :]
        if length > NAME_MAX_BYTES or len(name) != length:
            raise RemoteProtocolError(
                f"the receiver's result announces a name of {length} bytes (expected at most {NAME_MAX_BYTES}) "
                f"and carries {len(name)}"
            )
        return cls(code, crc, name)


def check_result(result: Result, crc: int) -> None:
    """Accept *result* if the receiver took everything and its checksum is *crc*, the sender's own.

    Raises :class:`Refused` for an error code, :class:`RemoteProtocolError` for another checksum.
    """
    if result.code:
        raise Refused(result.code, result.name)
    if result.crc != crc:
        raise RemoteProtocolError(
            f"the files were damaged in transit: checksum {result.crc:#010x} received, {crc:#010x} sent"
        )


def code_name(code: int) -> str:
    """Return the name of *code*: ``EEXIST``, ``LEGAL_EOF``, or the number where it has none."""
    if code == LEGAL_EOF:
        return "LEGAL_EOF"
    return errno.errorcode.get(as_errno(code), f"code {code}")


def describe(code: int) -> str:
    """Return what *code* means in a transfer, in a few words."""
    meaning = _MEANINGS.get(as_errno(code))
    if meaning is None and as_errno(code) in errno.errorcode:
        meaning = os.strerror(as_errno(code)).lower()
    return meaning or "refused for an unknown reason"


def as_errno(code: int) -> int:
    """Return *code* as a positive errno: the stock receiver negates it for a badly named directory."""
    return 0x100000000 - code if code >= 0xFFFFF000 else code


_MEANINGS = {
    errno.EEXIST: "a file of that name is already there",
    errno.EILSEQ: "the name or link target has characters or a form that is not allowed",
    errno.ENOLINK: "a symbolic link that may point outside the received folder",
    errno.EINVAL: "not a regular file, folder or symbolic link with a valid time",
    errno.ENAMETOOLONG: "the name or link target is too long",
    errno.ENOENT: "its folder does not exist there, or the link target is empty",
    errno.ENOTDIR: "a part of its path is not a folder",
    errno.EDQUOT: "larger or more than the receiver accepts",
    errno.EREMOTEIO: "the stream ended without its end entry",
    LEGAL_EOF: "the stream ended inside an entry",
}
