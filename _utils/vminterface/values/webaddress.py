"""An address that a VM's user is to be shown: what ``qubes.OpenURL`` takes, one line.

Source: Qubes core-agent-linux ``qubes.OpenURL`` (the three kinds, in small letters). Beyond that, an address has a host
and is one word: what else a caller sends would be read by every program between the handler and the browser.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue, printable

#: Bytes with the line's end; browsers and servers take no longer ones for sure.
LIMIT = 65536
SCHEMES = ("http://", "https://", "ftp://")
_SHOWN = 80


def parse(untrusted_line: bytes) -> str:
    """Return the address in *untrusted_line*, whose end may be missing. Raises InvalidValue."""
    try:
        address = untrusted_line.removesuffix(b"\n").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidValue(f"'{printable(untrusted_line, _SHOWN)}' is not a valid address: it is not UTF-8") from None
    scheme = next((scheme for scheme in SCHEMES if address.startswith(scheme)), None)
    if scheme is None:
        expected = ", ".join(SCHEMES)
        raise InvalidValue(f"'{printable(address, _SHOWN)}' is not a valid address (expected one of {expected} first)")
    if len(untrusted_line) > LIMIT:
        raise InvalidValue(
            f"'{printable(address, _SHOWN)}' is too long an address (expected at most {LIMIT - 1} bytes)"
        )
    refused = f"'{printable(address, _SHOWN)}' is not a valid address"
    if not address.isprintable() or any(character.isspace() for character in address):
        raise InvalidValue(f"{refused}: it has blanks or control characters")
    if address.removeprefix(scheme)[:1] in ("", "/", "?", "#"):
        raise InvalidValue(f"{refused}: it has no host")
    return address


def render(address: str) -> bytes:
    """Return the line that names *address*. Raises InvalidValue."""
    try:
        line = f"{address}\n".encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"'{printable(address, _SHOWN)}' is not a valid address: it is not UTF-8") from None
    parse(line)
    return line
