"""What a VM's agent answers to a setting: the text of ``vminterface/ack/SETTING``, and the digest that it names.

Forms: ``ok DIGEST``, ``ok DIGEST NOTE``, ``refused DIGEST REASON``; where the VM's owner does not let the agent apply
it, ``ignored DIGEST REASON`` or ``unaccepted DIGEST REASON``, which older dom0s take for none. Printable ASCII, 512
bytes at most. By the digest dom0 sees that the acknowledgement is of what the store holds now. That it is to this push,
and not to an earlier one with the same values, dom0 sees to: before it writes, it replaces the acknowledgement by
``pending``. An agent applies a setting that is pending and acknowledges it, also where no value has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values.acceptance import ACCEPT, IGNORE, REFUSE
from vminterface.values.sha256 import hexdigest

#: What dom0 puts in place of an acknowledgement. It is not removed, as a key that the VM has removed at the same time
#: would end both daemons of a QubesDB.
PENDING = "pending"
#: How a note begins where the agent has accepted a setting and let the VM be, as its owner has protected a file.
UNCHANGED = "left unchanged: "
_LIMIT = 512
_NOTE_LIMIT = 200
_FORM = regex(r"(ok|refused|ignored|unaccepted) ([0-9a-f]{16})(?: ([!-~](?:[ -~]*[!-~])?))?")
#: The first word where the VM's owner does not accept the setting, by what the owner says.
UNACCEPTED = {IGNORE: "ignored", REFUSE: "unaccepted"}


def digest(inputs: Mapping[str, str]) -> str:
    """Return the digest of a setting's *inputs* (keys' texts by field): 16 lower-case hexadecimal digits.

    They are the first of SHA-256 over ``FIELD=TEXT`` for each field, sorted by field, a NUL byte between. In either
    part a backslash becomes two, and NUL a backslash and ``0``; in a field ``=`` gets a backslash before it; so no two
    inputs share a form. Texts are UTF-8, other bytes of a key as they are (``surrogateescape``). Raises InvalidValue
    for a text that no bytes decode to.
    """
    parts = []
    for field in sorted(inputs):
        parts.append(_escaped(field).replace("=", "\\=") + "=" + _escaped(inputs[field]))
    try:
        joined = "\0".join(parts).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidValue(
            f"'{printable(', '.join(sorted(inputs)), 60)}' holds lone surrogates (expected decoded bytes)"
        ) from None
    return hexdigest(joined)[:16]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\0", "\\0")


_OWNER = {word: owner for owner, word in UNACCEPTED.items()}


class Acknowledgement(Value):
    """The agent read the inputs with that *digest*, and applied or refused them; *note* has details or the reason.

    Where *owner* is IGNORE or REFUSE it did not even try, as the VM's owner does not accept that setting.
    """

    __slots__ = ("accepted", "digest", "note", "owner")

    def __init__(self, accepted: bool, digest: str, note: str = "", owner: str = ACCEPT) -> None:
        self.accepted: Final = accepted
        self.digest: Final = digest
        self.note: Final = note
        self.owner: Final = owner

    @classmethod
    def parse(cls, untrusted_text: str) -> Acknowledgement:
        """Read what the VM wrote. Raises InvalidValue."""
        form = _FORM.fullmatch(untrusted_text) if len(untrusted_text) <= _LIMIT else None
        if form is None or (form[1] != "ok" and not form[3]):
            raise InvalidValue(
                f"'{printable(untrusted_text, 80)}' is not a valid acknowledgement"
                " (expected 'ok DIGEST', 'ok DIGEST NOTE', or 'refused', 'ignored' or 'unaccepted DIGEST REASON',"
                f" {_LIMIT} bytes at most)"
            )
        return cls(form[1] == "ok", form[2], form[3] or "", _OWNER.get(form[1], ACCEPT))

    def render(self) -> str:
        """Return the key's text: the note on one line, in printable ASCII, cut to 200 characters."""
        note = printable("; ".join(self.note.splitlines()), _NOTE_LIMIT).strip()
        if self.accepted:
            return f"ok {self.digest} {note}".rstrip()
        return f"{UNACCEPTED.get(self.owner, 'refused')} {self.digest} {note or 'no reason given'}"
