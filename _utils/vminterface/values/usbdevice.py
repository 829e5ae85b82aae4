"""One entry of ``qubes-usb-devices/NAME/…``: a USB device that a VM offers to others.

Sources: Qubes linux-utils ``udev-usb-add-change`` (writer), app-linux-usb-proxy ``core3ext.py`` (R4's reader) and R2's
and R3's ``qubesutils.py``. The name is that of sysfs with ``_`` for each dot. A description has four fields,
``VID:PID vendor model serial``, with udev's escapes ``\\xHH`` in them; up to R4.2 two, ``VID:PID vendor_model_serial``;
any other form is shown whole. As in R4 an entry with a valid name is a device whatever its other keys hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.values.vmname import VMName

#: The sub-keys that say something; ``interfaces`` since R4.3.
KEYS = ("desc", "usb-ver", "interfaces", "connected-to")
#: Characters of a description that are shown; R2's and R3's dom0 take no more.
DESC_LIMIT = 255

_NAME = regex(r"[0-9]+-[0-9]+(?:_[0-9]+)*")
_NAME_LIMIT = 40
_IDS = regex(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})")
_VERSION = regex(r"[0-9]{1,3}")
#: As R4 reads them: ``\xHH``, one of these cut short at the end, any other character behind a backslash.
_ESCAPE = regex(r"\\(?:x(?P<code>..)|x?\Z|x.\Z|(?P<plain>[^x]))", re.DOTALL)
_HEX = regex(r"[0-9A-Fa-f]+")
#: What udev leaves as it is (util_replace_chars of systemd).
_PLAIN = regex(r"[^A-Za-z0-9#+.:=@_-]")


def parse_name(text: str) -> str:
    """Read a device's name such as ``2-1_4``. Raises InvalidValue."""
    if len(text) > _NAME_LIMIT or not _NAME.fullmatch(text):
        raise InvalidValue(f"'{printable(text, 40)}' is not a valid USB device name (expected as in 2-1 or 2-1_4)")
    return text


def escape(text: str) -> str:
    """Return *text* as one field of a description: udev's ``\\xHH`` for each byte that is not plain."""
    return _PLAIN.sub(lambda c: "".join(f"\\x{byte:02x}" for byte in c[0].encode("utf-8", "surrogateescape")), text)


def resolve(untrusted_text: str) -> str:
    """Return *untrusted_text* with its escapes resolved; what is not printable ASCII then is ``_``."""

    def character(found: re.Match[str]) -> str:
        code: str | None = found["code"]
        if code is None:
            return found["plain"] or ""
        return chr(int(code, 16)) if _HEX.fullmatch(code) else "_"

    return "".join(c if " " <= c <= "~" else "_" for c in _ESCAPE.sub(character, untrusted_text))


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A device: *usb_version* is the major one, None if unknown, *interfaces* codes with ``:`` between.

    *desc* is the text of the key, whatever is in it: what is shown is :attr:`description`. *connected_to* is the VM
    that has the device now, or empty.
    """

    name: str
    desc: str
    usb_version: int | None
    interfaces: str = ""
    connected_to: str = ""
    #: The sub-keys for which a value is assumed, and what is wrong with each.
    assumed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, untrusted_name: str, untrusted_keys: Mapping[str, str]) -> UsbDevice:
        """Read one entry from the texts of its sub-keys. Raises InvalidValue for its name, and for nothing else."""
        name = parse_name(untrusted_name)
        assumed: dict[str, str] = {}
        version = untrusted_keys.get("usb-ver")
        if version is None or not _VERSION.fullmatch(version):
            shown = "no usb-ver" if version is None else f"the usb-ver '{printable(version, 40)}'"
            assumed["usb-ver"] = f"{shown} (expected a number such as 2 or 3)"
            version = None
        interfaces = untrusted_keys.get("interfaces", "")
        if not all(map(_HEX.fullmatch, _codes(interfaces))):
            assumed["interfaces"] = (
                f"the interfaces '{printable(interfaces, 40)}' (expected hexadecimal codes with ':' between)"
            )
            interfaces = ""
        connected_to = untrusted_keys.get("connected-to", "")
        if connected_to:
            try:
                VMName.parse(connected_to)
            except InvalidValue as error:
                assumed["connected-to"] = f"connected-to: {error}; treated as not attached"
                connected_to = ""
        number = None if version is None else int(version)
        return cls(name, untrusted_keys.get("desc", ""), number, interfaces, connected_to, assumed)

    @property
    def port_id(self) -> str:
        """The name as R4 writes it: ``2-1.4``."""
        return self.name.replace("_", ".")

    @property
    def ids(self) -> str:
        """``VID:PID``, four hexadecimal digits each; '' where the description has neither four fields nor two."""
        words = self.desc.split(" ")
        return words[0].lower() if len(words) in (2, 4) and _IDS.fullmatch(words[0]) else ""

    @property
    def description(self) -> str:
        """The description for people: printable ASCII, any other character ``_``, cut at 255."""
        shown = self.desc.partition(" ")[2] if self.ids else self.desc
        return resolve(shown).strip()[:DESC_LIMIT]

    @property
    def identity(self) -> tuple[str, str, str]:
        """Vendor's and product's number and serial as R4.3 takes them from the description, checked in no way."""
        words = self.desc.split(" ")
        ids = words[0].split(":")
        if len(words) != 4 or len(ids) != 2:
            return "0000", "0000", ""
        vendor, product, serial = resolve(ids[0]), resolve(ids[1]), resolve(words[3])
        return vendor, product, "" if serial == "unknown" else serial

    @property
    def interface_codes(self) -> list[str]:
        """The code of each interface, six hexadecimal digits, ``*`` for those that are missing."""
        return [code.ljust(6, "*") for code in _codes(self.interfaces)]

    def render(self) -> dict[str, str]:
        """Return the texts of the sub-keys that the VM's report writes, in that order; the proxy writes the other."""
        version = "" if self.usb_version is None else str(self.usb_version)
        return {"desc": self.desc, "usb-ver": version, "interfaces": self.interfaces}


def _codes(interfaces: str) -> list[str]:
    return [code for code in interfaces.split(":") if code]
