"""The argument of ``qubes.VMExec``: a whole command line in the few characters that a Qubes RPC argument may have.

Source of the format: ``qubesadmin.utils.encode_for_vmexec`` (the caller) and ``qubesagent.vmexec`` (the
service). Arguments are joined by ``+``; letters, digits, ``.`` and ``_`` stand for themselves, ``-`` is ``--``,
every other byte is ``-`` and two upper-case hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

_ESCAPED = regex(rb"[^A-Za-z0-9._]")
_ARGUMENT = regex(r"(?:[A-Za-z0-9._+]|--|-[0-9A-F]{2})*")
_ESCAPE = regex(r"--|-[0-9A-F]{2}")


def encode(argv: Sequence[str | bytes]) -> str:
    """Return *argv* (program first, text as UTF-8) as the argument of ``qubes.VMExec``.

    Bytes of a file name that ``os.fsdecode`` has smuggled into a text come out as those bytes. Raises
    :class:`InvalidValue` for no program, an empty program name or a NUL byte: such a command cannot run.
    """
    if isinstance(argv, str | bytes):
        raise InvalidValue("the command is one text (expected a list of arguments)")
    return "+".join(_encode_part(part) for part in _runnable([_as_bytes(part) for part in argv]))


def decode(text: str) -> list[bytes]:
    """Return the arguments, program first, that *text* stands for.

    Raises :class:`InvalidValue` for a character outside the alphabet (a newline at the end is one), a ``-`` that
    starts no escape, lower-case hexadecimal digits, an encoded NUL byte and an empty program name.
    """
    if not _ARGUMENT.fullmatch(text):
        raise InvalidValue(
            f"'{printable(text)}' is not an encoded command (expected letters, digits, '.', '_', '+', '--' "
            "and '-' with two upper-case hexadecimal digits)"
        )
    return _runnable([_ESCAPE.sub(_unescape, part).encode("latin-1") for part in text.split("+")])


def _as_bytes(part: str | bytes) -> bytes:
    if isinstance(part, bytes):
        return part
    try:
        return part.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidValue(f"'{printable(part)}' cannot be sent as UTF-8") from None


def _runnable(argv: list[bytes]) -> list[bytes]:
    if not argv or not argv[0]:
        raise InvalidValue("the command has no program: its first argument must not be empty")
    for part in argv:
        if b"\0" in part:
            raise InvalidValue(f"argument '{printable(part)}' has a NUL byte, which a program cannot get")
    return argv


def _encode_part(part: bytes) -> str:
    return _ESCAPED.sub(lambda m: b"--" if m[0] == b"-" else b"-%02X" % m[0][0], part).decode("ascii")


def _unescape(match: re.Match[str]) -> str:
    return "-" if match[0] == "--" else chr(int(match[0][1:], 16))
