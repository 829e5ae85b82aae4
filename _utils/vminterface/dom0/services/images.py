"""``qubes.GetImageRGBA``: a picture or an icon of a VM, as raw pixels that are packed into a PNG file here.

Sources: Qubes core-agent-linux ``qubes.GetImageRGBA``, linux-utils ``qubesimgconverter`` (what is asked, limits).
"""

from __future__ import annotations

from os import PathLike

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import accepted
from vminterface.dom0.transfer.wholefile import write_whole
from vminterface.errors import InvalidValue, printable
from vminterface.values.image import ICON, PICTURE, Image, Limits

SERVICE = "qubes.GetImageRGBA"
_NAME_LIMIT = 4096


def icon(qrexec: Qrexec, vm: str, name: str, *, timeout: float = 60.0) -> Image:
    """Return the icon *name* of the VM's theme (``firefox``), or the one in its file of that absolute path.

    Raises InvalidValue, RemoteProtocolError, else as :meth:`Qrexec.call`.
    """
    return _ask(qrexec, vm, _line(name if name.startswith("/") else f"xdgicon:{name}"), ICON, timeout)


def picture(qrexec: Qrexec, vm: str, path: str, *, timeout: float = 60.0) -> Image:
    """Return the picture in the VM's file *path*, an absolute one. Raises as :func:`icon`."""
    if not path.startswith("/"):
        raise InvalidValue(f"'{printable(path, 60)}' is not an absolute path")
    return _ask(qrexec, vm, _line(path), PICTURE, timeout)


def save(image: Image, path: str | PathLike[str]) -> None:
    """Write *image* to *path* as PNG, at once or not at all. Raises FileError."""
    write_whole(path, image.png())


def _line(request: str) -> bytes:
    line = request.encode("utf-8", "surrogateescape")
    if not request.partition(":")[2].strip() and not request.startswith("/"):
        raise InvalidValue("the name of an icon is empty")
    if len(line) > _NAME_LIMIT or any(byte < 0x20 or byte == 0x7F for byte in line):
        raise InvalidValue(
            f"'{printable(request, 60)}' does not name a picture (expected at most {_NAME_LIMIT} bytes, no control"
            f" characters)"
        )
    return line + b"\n"


def _ask(qrexec: Qrexec, vm: str, line: bytes, limits: Limits, timeout: float) -> Image:
    reply = qrexec.call(Call(vm, SERVICE, stdin=line, stdout_limit=limits.reply_size, timeout=timeout))
    return accepted(vm, SERVICE, lambda untrusted_reply: Image.parse(untrusted_reply, limits), reply)
