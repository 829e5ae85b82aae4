"""Which names and symbolic links a qfile transfer may carry, so that nothing lands or points outside its folder.

The rules and their error codes are those of ``unicode.c`` in Qubes' ``libqubes-rpc-filecopy``, and its rule it is too
which characters are plain (``qfile_characters.py``): what one side sends, the other one takes.
"""

from __future__ import annotations

import errno

from vminterface.regex import regex
from vminterface.wire.qfile_characters import is_plain_character
from vminterface.wire.qfile_result import Refused

#: Longest symbolic link target, bytes: the most that Linux takes.
LINK_TARGET_MAX_BYTES = 4095

_PLAIN_ASCII = regex(rb"[ -~]*")


def is_plain(name: bytes) -> bool:
    """Return whether every character of *name* is accepted without ``allow-all-names``."""
    if _PLAIN_ASCII.fullmatch(name):
        return True
    try:
        return all(map(is_plain_character, map(ord, name.decode("utf-8"))))
    except UnicodeDecodeError:
        return False


def check_name(untrusted_name: bytes, *, allow_all_names: bool = False) -> bytes:
    """Return *untrusted_name* if it is a path below the receiving folder, in its one canonical spelling.

    Refused with EILSEQ: empty, absolute, a component that is empty, ``.`` or ``..``, a NUL byte, and, unless
    *allow_all_names*, characters that are not plain. For a folder too the code is 84; the stock receiver then sends
    0xFFFFFFAC, which is -84, by mistake (``qfile_result.as_errno`` takes both for the same).
    """
    parts = untrusted_name.split(b"/")
    if b"" in parts or b"." in parts or b".." in parts:
        raise Refused(errno.EILSEQ, untrusted_name, "not a relative path without empty, '.' and '..' parts")
    if 0 in untrusted_name:  # found in a tenth of the time of b"\0"
        raise Refused(errno.EILSEQ, untrusted_name, "a name cannot have a NUL byte")
    if not allow_all_names and not is_plain(untrusted_name):
        raise Refused(errno.EILSEQ, untrusted_name, "characters that are taken only with 'allow-all-names'")
    return untrusted_name


def check_link(name: bytes, untrusted_target: bytes, *, allow_all_names: bool = False) -> bytes:
    """Return *untrusted_target* if a symbolic link *name* (a checked name) to it stays inside what is copied.

    The target must be relative, with ``..`` only at its start and fewer of them than there are folders above
    the link within the top folder of the transfer: so a link at the top is always refused (ENOLINK), and what
    is copied is the same wherever it is put. ``.`` and doubled slashes are tolerated and count for nothing, also
    before ``..``. EILSEQ: characters as for names; ENOENT: empty; ENAMETOOLONG: over :data:`LINK_TARGET_MAX_BYTES`.
    The refusal names the target, and the link where that is empty.
    """
    if not untrusted_target:
        raise Refused(errno.ENOENT, name, "a symbolic link with an empty target")
    if len(untrusted_target) > LINK_TARGET_MAX_BYTES:
        raise Refused(errno.ENAMETOOLONG, untrusted_target)
    if 0 in untrusted_target or (not allow_all_names and not is_plain(untrusted_target)):
        raise Refused(errno.EILSEQ, untrusted_target, "characters that a link target cannot have")
    levels = name.count(b"/") - 1
    if levels < 0:
        raise Refused(errno.ENOLINK, untrusted_target, "a symbolic link that is not inside a copied folder")
    if untrusted_target.startswith(b"/"):
        raise Refused(errno.ENOLINK, untrusted_target, "a symbolic link to an absolute path")
    parts = [part for part in untrusted_target.split(b"/") if part not in (b"", b".")]
    ups = next((i for i, part in enumerate(parts) if part != b".."), len(parts))
    if ups > levels or b".." in parts[ups:]:
        raise Refused(errno.ENOLINK, untrusted_target, "a symbolic link that points outside the copied folder")
    return untrusted_target
