"""``qubes.GetImageRGBA``: send a picture of this VM, or one that the caller sends, as plain pixels.

Input: a line with its end, ``xdgicon:NAME`` (an icon of the themes here), a path, or ``-`` or ``FORMAT:-``, behind
which the picture itself follows. Output: ``W H`` in a line, then 4 bytes a pixel, R G B A, rows from the top. After
Qubes core-agent-linux's ``qubes.GetImageRGBA``, which sends the first line before it knows that there will be pixels.
"""

from __future__ import annotations

import os

from vminterface.errors import InvalidValue, VMInterfaceError, printable, printable_path
from vminterface.values.image import ICON, PICTURE
from vminterface.vm.handlers.display import icontheme, pictures
from vminterface.vm.handlers.runtime.call import Call

_ICON = "xdgicon:"
_DATA = "-"
_LINE_LIMIT = 4096


def handle(call: Call) -> None:
    """Read which picture, and send it. Raises InvalidValue, KeyNotFound (no such icon), VMInterfaceError."""
    call.refuse_argument()
    untrusted_line = call.read_line(_LINE_LIMIT)
    # What is left of a line that broke off may name another picture.
    if not untrusted_line.endswith(b"\n"):
        raise InvalidValue("the input ends inside the line that names the picture")
    desired = untrusted_line[:-1].decode("utf-8", "surrogateescape")
    if not desired or "\0" in desired:
        raise InvalidValue("no picture is named (expected xdgicon:NAME, a path, or -)")
    limits, fit = PICTURE, None
    if desired.startswith(_ICON):
        limits, fit = ICON, icontheme.SIZE
        data = _file(call, icontheme.find(call.machine, desired.removeprefix(_ICON), os.environ))
    elif desired == _DATA or desired.endswith(f":{_DATA}"):
        name = desired.removesuffix(_DATA).removesuffix(":").lower()
        if name and name not in pictures.NAMES:
            raise InvalidValue(f"'{printable(name, 40)}' is not a known picture format")
        data = call.read_all(pictures.FILE_LIMIT)
    else:
        data = _file(call, os.path.abspath(desired))
    picture = pictures.decode(call.machine, data, limits, fit=fit)
    # Only now: a caller that sees the first line may count on the pixels.
    call.write(f"{picture.width} {picture.height}\n".encode("ascii"))
    call.write(picture.rgba)


def _file(call: Call, path: str) -> bytes:
    data = call.machine.read_bytes(path, limit=pictures.FILE_LIMIT)
    if data is None:
        raise VMInterfaceError(f"{printable_path(path)}: the file does not exist")
    return data
