"""A TCP port, as ``qubes.ConnectTCP`` has it for its argument (Qubes core-qrexec, ``libqrexec/exec.c``)."""

from __future__ import annotations

from vminterface.errors import InvalidValue, printable

HIGHEST = 65535


def parse_port(text: str) -> int:
    """Read a port, 1 to 65535 in digits without leading zeros. Raises InvalidValue."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and text[0] != "0" and int(text) <= HIGHEST):
        raise InvalidValue(f"'{printable(text, 40)}' is not a valid port (expected 1 to {HIGHEST}, no leading zero)")
    return int(text)
