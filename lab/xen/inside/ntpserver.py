"""A time server for the tests of clocks: answers each NTP question (RFC 5905, client mode) with a time of its own."""

from __future__ import annotations

import socket
import struct
import sys
import time

#: Seconds between NTP's beginning, 1900, and the Unix clock's.
_BEGINNING = 2_208_988_800
_CLIENT, _SERVER = 3, 4
#: Version 4, a server; stratum 1, which asks nobody; ask again after 2^4 s; exact to 2^-20 s; no delay, no error.
_HEAD = struct.pack(">BBbbII4s", 4 << 3 | _SERVER, 1, 4, -20, 0, 0, b"LOCL")


def main(seconds: float) -> None:
    """Serve for ever the time that is *seconds* ahead of this machine's now, however its clock is set later."""
    ahead = time.time() + seconds - time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("", 123))
        while True:
            question, asker = port.recvfrom(512)
            now = _stamp(time.monotonic() + ahead)
            if len(question) >= 48 and question[0] & 7 == _CLIENT:
                # When the clock was right last, what the asker said of its own time, when it came, and now.
                port.sendto(_HEAD + now + question[40:48] + now + _stamp(time.monotonic() + ahead), asker)


def _stamp(moment: float) -> bytes:
    return struct.pack(">II", int(moment) + _BEGINNING & 0xFFFFFFFF, int(moment % 1 * 2**32))


if __name__ == "__main__":
    main(float(sys.argv[1]))
