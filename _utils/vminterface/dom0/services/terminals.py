"""``qubes.ShowInTerminal``: show a VM's user a text in a terminal, until it is put away.

Source: Qubes core-agent-linux ``qubes.ShowInTerminal``; the terminal is raw, so that a line's end needs its carriage
return, and each key comes as it is pressed.
"""

from __future__ import annotations

from collections.abc import Iterator

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import NOISE, Captured
from vminterface.errors import InvalidValue

SERVICE = "qubes.ShowInTerminal"
#: Bytes of a text.
LIMIT = 1 << 20
#: Keys that put the text away: Enter in two forms, Ctrl-C, Ctrl-D, Escape, q.
KEYS = frozenset(b"\r\n\x03\x04\x1bq")
_ASK = "\n[Enter closes this window] "


def show(qrexec: Qrexec, vm: str, text: str, *, timeout: float = 600.0) -> bool:
    """Show *text* to the user of *vm*; True: put away by a key, False: the window was closed.

    Raises InvalidValue for a text of more than LIMIT bytes, DeadlineExceeded after *timeout* seconds, else as
    :meth:`Qrexec.call`.
    """
    data = f"{text.rstrip()}\n{_ASK}".replace("\n", "\r\n").encode("utf-8", "replace")
    if len(data) > LIMIT:
        raise InvalidValue(f"the text has {len(data)} bytes (expected at most {LIMIT})", "text")
    typed = Captured()

    def shown_until_a_key() -> Iterator[bytes | None]:
        yield data
        while KEYS.isdisjoint(typed.untrusted_data):
            yield None

    qrexec.call(Call(vm, SERVICE, stdin=shown_until_a_key(), stdout_limit=NOISE, stdout_to=typed, timeout=timeout))
    return not KEYS.isdisjoint(typed.untrusted_data)
