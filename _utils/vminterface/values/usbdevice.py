"""One entry of ``qubes-usb-devices/NAME/…``: a USB device that a VM offers to others.

Sources: Qubes linux-utils ``udev-usb-add-change`` (writer), app-linux-usb-proxy ``core3ext.py`` and R2's and R3's
``qubesutils.py`` (readers). The name is that of sysfs with ``_`` for each dot; a description has four fields,
``VID:PID vendor model serial``, with udev's escapes ``\\xHH`` in them, or any other form, which is then shown whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable
from vminterface.values.vmname import VMName

REQUIRED = ("desc", "usb-ver")
OPTIONAL = ("interfaces", "connected-to")
DESC_LIMIT = 255
#: R2 and R3 took 1 and 2 alone, because their writer knew no more.
VERSIONS = ("1", "2", "3")

_NAME = re.compile(r"[0-9]+-[0-9]+(?:_[0-9]+)*")
_NAME_LIMIT = 40
_IDS = re.compile(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})")
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})")
_INTERFACES = re.compile(r"(?::?[0-9a-f]{6}(?::[0-9a-f]{6})*:?)?")
_INTERFACES_LIMIT = 255
#: What udev leaves as it is (util_replace_chars of systemd).
_PLAIN = re.compile(r"[^A-Za-z0-9#+.:=@_-]")


def parse_name(text: str) -> str:
    """Read a device's name such as ``2-1_4``. Raises InvalidValue."""
    if len(text) > _NAME_LIMIT or not _NAME.fullmatch(text):
        raise InvalidValue(f"'{printable(text, 40)}' is no USB device's name (expected as in 2-1 or 2-1_4)")
    return text


def escape(text: str) -> str:
    """Return *text* as one field of a description: udev's ``\\xHH`` for each byte that is not plain."""
    return _PLAIN.sub(lambda c: "".join(f"\\x{byte:02x}" for byte in c[0].encode("utf-8", "surrogateescape")), text)


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A device: *ids* is ``VID:PID`` or empty, *description* its vendor, model and serial in readable form.

    *desc* is the text of the key, and *connected_to* the VM that has the device now, or empty.
    """

    name: str
    desc: str
    usb_version: int
    interfaces: str = ""
    connected_to: str = ""

    @classmethod
    def parse(cls, untrusted_name: str, untrusted_keys: Mapping[str, str]) -> UsbDevice:
        """Read one entry from the texts of its sub-keys. Raises InvalidValue, a single line that names the device."""
        name = parse_name(untrusted_name)
        if missing := [key for key in REQUIRED if key not in untrusted_keys]:
            raise InvalidValue(f"USB device {name}: no {', '.join(missing)}")
        desc, version = (untrusted_keys[key] for key in REQUIRED)
        if not 1 <= len(desc) <= DESC_LIMIT or "\n" in desc:
            raise InvalidValue(
                f"USB device {name}: the desc '{printable(desc, 40)}' is not 1 to {DESC_LIMIT} characters on one line"
            )
        if version not in VERSIONS:
            raise InvalidValue(f"USB device {name}: the usb-ver '{printable(version, 40)}' is not 1, 2 or 3")
        interfaces = untrusted_keys.get("interfaces", "")
        if len(interfaces) > _INTERFACES_LIMIT or not _INTERFACES.fullmatch(interfaces):
            raise InvalidValue(
                f"USB device {name}: the interfaces '{printable(interfaces, 40)}' are not class codes with ':' between"
            )
        connected_to = untrusted_keys.get("connected-to", "")
        if connected_to:
            try:
                VMName.parse(connected_to)
            except InvalidValue as error:
                raise InvalidValue(f"USB device {name}: connected-to: {error}") from None
        return cls(name, desc, int(version), interfaces, connected_to)

    @property
    def ids(self) -> str:
        """``VID:PID``, four hexadecimal digits each; '' where the description has not four fields."""
        words = self.desc.split(" ")
        return words[0].lower() if len(words) == 4 and _IDS.fullmatch(words[0]) else ""

    @property
    def description(self) -> str:
        """The description for people: printable ASCII, every other character ``_``."""
        words = self.desc.split(" ")
        text = " ".join(words[1:]) if self.ids else self.desc
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
        return "".join(c if " " <= c <= "~" else "_" for c in text)

    def render(self) -> dict[str, str]:
        """Return the texts of the sub-keys that the VM's report writes, in that order; the proxy writes the other."""
        return {"desc": self.desc, "usb-ver": str(self.usb_version), "interfaces": self.interfaces}
