"""One entry of ``qubes-block-devices/NAME/…``: a disk or partition that a VM offers to others.

Sources: Qubes linux-utils ``udev-block-add-change`` (writer), core-admin ``qubes/ext/block.py`` and R2's and R3's
``qubesutils.py`` (readers). An entry needs all of desc, size and mode in the form that every one of these readers
takes; the description is then shown with the characters that R4 lets through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable

#: The sub-keys that say something; ``device`` in R3 only, ``parent`` since R4.3.
REQUIRED = ("desc", "size", "mode")
OPTIONAL = ("device", "parent")
DESC_LIMIT = 255

_NAME = re.compile(r"[a-z0-9-]{1,12}")
_SIZE = re.compile(r"[0-9]{1,20}")
_DEVICE = re.compile(r"[a-z0-9/-]{1,64}")
#: A disk's name, or the USB interface of the whole stick (``2-1:1.0``).
_PARENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,63}")
_UNUSUAL = re.compile(r"[^A-Za-z0-9()+,.:=_/ -]")


def parse_name(text: str) -> str:
    """Read a device's name, 1 to 12 small letters, digits and dashes. Raises InvalidValue."""
    if not _NAME.fullmatch(text):
        raise InvalidValue(
            f"'{printable(text, 40)}' is no block device's name (expected 1 to 12 of small letters, digits and '-')"
        )
    return text


def clean_desc(text: str) -> str:
    """Return *text* as a description: each unusual character becomes ``_``, 255 characters at most."""
    return _UNUSUAL.sub("_", text[:DESC_LIMIT])


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A device: *size* in bytes, *read_only*; *device* is its file in the VM, *parent* what it is a part of, or ''."""

    name: str
    desc: str
    size: int
    read_only: bool
    device: str
    parent: str = ""

    @classmethod
    def parse(cls, untrusted_name: str, untrusted_keys: Mapping[str, str]) -> BlockDevice:
        """Read one entry from the texts of its sub-keys. Raises InvalidValue, a single line that names the device."""
        name = parse_name(untrusted_name)
        if missing := [key for key in REQUIRED if key not in untrusted_keys]:
            raise InvalidValue(f"block device {name}: no {', '.join(missing)}")
        desc, size, mode = (untrusted_keys[key] for key in REQUIRED)
        if not 1 <= len(desc) <= DESC_LIMIT or "\n" in desc:
            raise InvalidValue(
                f"block device {name}: the desc '{printable(desc, 40)}' is not 1 to {DESC_LIMIT} characters on one line"
            )
        if not _SIZE.fullmatch(size):
            raise InvalidValue(f"block device {name}: the size '{printable(size, 40)}' is not digits alone")
        if mode not in ("r", "w"):
            raise InvalidValue(f"block device {name}: the mode '{printable(mode, 40)}' is neither 'r' nor 'w'")
        device = untrusted_keys.get("device", f"/dev/{name}")
        if not _DEVICE.fullmatch(device):
            raise InvalidValue(
                f"block device {name}: the device '{printable(device, 40)}' is not 1 to 64 of small letters, digits,"
                " '/' and '-'"
            )
        parent = untrusted_keys.get("parent", "")
        if parent and not _PARENT.fullmatch(parent):
            raise InvalidValue(f"block device {name}: the parent '{printable(parent, 40)}' is no device's name")
        return cls(name, clean_desc(desc), int(size), mode == "r", device, parent)

    def render(self) -> dict[str, str]:
        """Return the texts of the sub-keys, in the order in which they are to be written."""
        keys = {"desc": self.desc, "size": str(self.size), "mode": "r" if self.read_only else "w"}
        if self.device != f"/dev/{self.name}":
            keys["device"] = self.device
        return {**keys, "parent": self.parent}
