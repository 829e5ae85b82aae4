"""The interfaces in a USB device's descriptors, sysfs' file ``descriptors``, as udev puts them together.

Sources: USB 2.0, 9.6.5 (interface descriptor), systemd ``udev-builtin-usb_id.c`` (``ID_USB_INTERFACES``). All
configurations and alternate settings count, so that no device can hide what it can become.
"""

from __future__ import annotations

#: Bytes of the file at most: the device's own descriptor and one configuration of the largest size.
LIMIT = 18 + 65535

_INTERFACE = 4
_HEADER, _INTERFACE_LENGTH = 3, 9
#: What fits into udev's text of 512 characters.
_CODES_MAX = 72


def interfaces(untrusted_descriptors: bytes) -> str:
    """Return ``:CCSSPP:CCSSPP:``, class, subclass and protocol of each interface once, in the descriptors' order.

    The text is empty if there is none. Whatever follows a descriptor of an impossible length is left out. So is an
    interface in the last nine bytes: udev leaves it out, and a device must be called the same with and without it.
    """
    codes: list[str] = []
    start, end = 0, len(untrusted_descriptors) - _INTERFACE_LENGTH
    while start < end and len(codes) < _CODES_MAX:
        length, kind = untrusted_descriptors[start], untrusted_descriptors[start + 1]
        if length < _HEADER or length > end:
            break
        # Class, subclass and protocol.
        code = untrusted_descriptors[start + 5 : start + 8].hex()
        if kind == _INTERFACE and code not in codes:
            codes.append(code)
        start += length
    return f":{':'.join(codes)}:" if codes else ""
