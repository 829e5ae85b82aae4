"""One entry of ``qubes-block-devices/NAME/…``: a disk or partition that a VM offers to others.

Sources: Qubes linux-utils ``udev-block-add-change`` (writer), core-admin ``qubes/ext/block.py`` (R4's reader) and R2's
and R3's ``qubesutils.py``. As in R4 an entry with a valid name is a device whatever its other keys hold: for what is
missing or malformed a value is assumed, and the device records that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.values.transliterate import to_ascii

#: The sub-keys that say something; ``device`` in R3 only, ``parent`` since R4.3.
KEYS = ("desc", "size", "mode", "device", "parent")
#: Characters of a description that are shown; R2's and R3's dom0 take no more.
DESC_LIMIT = 255
#: Characters of a description that a store takes.
_STORED_LIMIT = 3071

_NAME = regex(r"[a-z0-9-]{1,12}")
_SIZE = regex(r"[0-9]{1,20}")
_MODE = regex(r"[rw]")
_DEVICE = regex(r"[a-z0-9/-]{1,64}")
_UNUSUAL = regex(r"[^A-Za-z0-9()+,.:=_/ -]")
_UNPRINTABLE = regex(r"[^ -~]")
_UNPRINTABLE_OR_BLANK = regex(r"[^!-~]")


def parse_name(text: str) -> str:
    """Read a device's name, 1 to 12 small letters, digits and dashes. Raises InvalidValue."""
    if not _NAME.fullmatch(text):
        raise InvalidValue(
            f"'{printable(text, 40)}' is not a valid block device name (expected 1 to 12 of small letters, digits and"
            " '-')"
        )
    return text


def clean_desc(untrusted_text: str) -> str:
    """Return a description as it is shown: R4's characters, any other is ``_``; what is not ASCII is left out."""
    return _UNUSUAL.sub("_", _ascii(untrusted_text)[:DESC_LIMIT])


def stored_desc(text: str) -> str:
    """Return a description as it is written: printable ASCII, letters without their accents."""
    return _UNPRINTABLE.sub("_", to_ascii(text))[:_STORED_LIMIT]


def _ascii(untrusted_text: str) -> str:
    return untrusted_text.encode("ascii", "ignore").decode()


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A device: *size* in bytes, *read_only*, *device* its file in the VM.

    *parent* is what it is a part of: a disk's name, the USB interface of a whole stick (``2-1:1.0``), the port of a
    SATA disk (``ata9``), or ''.
    """

    name: str
    desc: str
    size: int
    read_only: bool
    device: str
    parent: str = ""
    #: The sub-keys for which a value is assumed, and what is wrong with each.
    assumed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, untrusted_name: str, untrusted_keys: Mapping[str, str]) -> BlockDevice:
        """Read one entry from the texts of its sub-keys. Raises InvalidValue for its name, and for nothing else."""
        name = parse_name(untrusted_name)
        assumed: dict[str, str] = {}

        def text(key: str, form: re.Pattern[str], otherwise: str, expected: str) -> str:
            untrusted_text = untrusted_keys.get(key)
            if untrusted_text is not None and form.fullmatch(untrusted_text):
                return untrusted_text
            shown = f"no {key}" if untrusted_text is None else f"the {key} '{printable(untrusted_text, 40)}'"
            assumed[key] = f"{shown} (expected {expected}; '{otherwise}' is assumed)"
            return otherwise

        size = text("size", _SIZE, "0", "1 to 20 digits")
        mode = text("mode", _MODE, "w", "'r' or 'w'")
        device = f"/dev/{name}"
        if "device" in untrusted_keys:
            device = text("device", _DEVICE, device, "1 to 64 of small letters, digits, '/' and '-'")
        desc = clean_desc(untrusted_keys.get("desc", ""))
        parent = _UNPRINTABLE_OR_BLANK.sub("_", _ascii(untrusted_keys.get("parent", "")))
        return cls(name, desc, int(size), mode == "r", device, parent, assumed)

    def render(self) -> dict[str, str]:
        """Return the texts of the sub-keys, in the order in which they are to be written."""
        keys = {"desc": self.desc, "size": str(self.size), "mode": "r" if self.read_only else "w"}
        if self.device != f"/dev/{self.name}":
            keys["device"] = self.device
        return {**keys, "parent": self.parent}
