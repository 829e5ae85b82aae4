"""A kernel of a few bytes for VMs that only have to be there: it sleeps, and has no drivers, no memory's use, no agent.

A paravirtual guest as Xen's public headers have it: ``elfnote.h`` for what the domain builder is to know, ``xen.h`` and
``sched.h`` for the one call that is made.
"""

from __future__ import annotations

import struct

_BASE = 0x1000
#: ``__HYPERVISOR_sched_op(SCHEDOP_poll, {no ports, no timeout})``, again where an event has ended it. The words of the
#: request follow the code.
_CODE = bytes.fromhex(
    "b81d000000"  # mov $29, %eax
    "bf03000000"  # mov $3, %edi
    "488d3504000000"  # lea 4(%rip), %rsi
    "0f05"  # syscall
    "ebeb"  # jmp to the beginning
) + bytes(24)
#: XEN_ELFNOTE_XEN_VERSION, _GUEST_OS, _LOADER; _ENTRY and _VIRT_BASE.
_TEXTS = {5: b"xen-3.0\0", 6: b"tiny\0", 8: b"generic\0"}
_NUMBERS = {1: _BASE, 3: 0}
_ELF, _PROGRAM = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")


def image() -> bytes:
    """Return it as a file of the format ELF, for 64 bits."""
    notes = b"".join(_note(kind, text) for kind, text in _TEXTS.items())
    notes += b"".join(_note(kind, struct.pack("<Q", number)) for kind, number in _NUMBERS.items())
    code_at = _ELF.size + 2 * _PROGRAM.size
    notes_at = code_at + len(_CODE) + -len(_CODE) % 8
    header = _ELF.pack(b"\x7fELF\2\1\1", 2, 62, 1, _BASE, _ELF.size, 0, 0, _ELF.size, _PROGRAM.size, 2, 0, 0, 0)
    # PT_LOAD, readable and executable; PT_NOTE.
    load = _PROGRAM.pack(1, 5, code_at, _BASE, _BASE, len(_CODE), len(_CODE), 0x1000)
    note = _PROGRAM.pack(4, 4, notes_at, 0, 0, len(notes), len(notes), 4)
    return (header + load + note + _CODE).ljust(notes_at, b"\0") + notes


def _note(kind: int, data: bytes) -> bytes:
    name = b"Xen\0"
    return struct.pack("<III", len(name), len(data), kind) + name + data + bytes(-len(data) % 4)
