"""Service calls with arguments as people type them and plain data as the result: what Salt's modules offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0.arguments import count, data, text, texts
from vminterface.dom0.services import (
    appmenus,
    clock,
    commands,
    dialogs,
    disk,
    files,
    gui,
    images,
    monitors,
    pci,
    session,
    suspend,
    timesync,
)
from vminterface.dom0.services import (
    backup as backups,
)
from vminterface.dom0.steps import display
from vminterface.dom0.targets import running_vms
from vminterface.dom0.unpack import Limits
from vminterface.errors import VMNotRunning, printable
from vminterface.values import clock as clock_text
from vminterface.values.device import PciAddress
from vminterface.values.guimode import GuiMode
from vminterface.values.volume import Volume

__all__ = ["dialogs", "session"]

_SHOWN = 4096


def set_monitor_layout(qrexec: Qrexec, vm: str, raw: object, **more: Any) -> str:
    """See :func:`monitors.set_layout`; *raw* as in the pillar."""
    layout = display.wanted(raw)
    monitors.set_layout(qrexec, vm, layout, **more)
    return monitors.shown(layout)


def get_monitor_layout(qrexec: Qrexec, vm: str | None = None) -> list[dict[str, int]]:
    """Return the monitors of *vm*, or of dom0, as the pillar has them."""
    layout = monitors.of_dom0() if vm is None else monitors.of_vm(qrexec, vm).layout
    return monitors.as_mappings(layout)


def get_appmenus(qrexec: Qrexec, vm: str, **more: Any) -> dict[str, Any]:
    """See :func:`appmenus.get`."""
    found = appmenus.get(qrexec, vm, **more)
    entries = {entry.id: dict(entry.values) for entry in found}
    return {"entries": entries, "dropped": found.dropped, "warnings": list(found.warnings)}


def get_image(qrexec: Qrexec, vm: str, name: str, path: str, *, picture: bool = False, **more: Any) -> dict[str, int]:
    """See :func:`images.icon` and :func:`images.picture`; the PNG file is *path*."""
    path = text(path, "path")
    image = (images.picture if picture else images.icon)(qrexec, vm, text(name, "name"), **more)
    images.save(image, path)
    return {"width": image.width, "height": image.height}


def set_date_time(qrexec: Qrexec, vm: str, time: str | None = None, **more: Any) -> str:
    """See :func:`clock.set_clock`."""
    moment = None if time is None else clock_text.parse(text(time, "time"))
    return clock.set_clock(qrexec, vm, moment, **more).isoformat()


def get_date(qrexec: Qrexec, vm: str, **more: Any) -> str:
    """See :func:`clock.get_clock`."""
    return clock.get_clock(qrexec, vm, **more).isoformat()


def set_gui_mode(qrexec: Qrexec, vm: str, mode: str, **more: Any) -> str:
    """See :func:`gui.set_mode`."""
    wanted = GuiMode.parse(text(mode, "mode"))
    gui.set_mode(qrexec, vm, wanted, **more)
    return wanted.value


def resize_disk(qrexec: Qrexec, vm: str, volume: str, **more: Any) -> bool:
    """See :func:`disk.resize`."""
    disk.resize(qrexec, vm, Volume.parse(text(volume, "volume")), **more)
    return True


def detach_pci_device(qrexec: Qrexec, vm: str, address: str, **more: Any) -> bool:
    """See :func:`pci.detach`."""
    pci.detach(qrexec, vm, PciAddress.parse(text(address, "address")), **more)
    return True


def filecopy(qrexec: Qrexec, vm: str, paths: Sequence[str], **more: Any) -> dict[str, Any]:
    """See :func:`files.send`."""
    sent = files.send(qrexec, vm, [text(path, "paths") for path in paths], **more)
    return {"total_bytes": sent.total_bytes, "skipped": [printable(path, _SHOWN) for path in sent.skipped]}


def open_in_vm(qrexec: Qrexec, vm: str, path: str, **more: Any) -> bool:
    """See :func:`files.open_in_vm`."""
    return files.open_in_vm(qrexec, vm, text(path, "path"), **more)


def suspend_pre(qrexec: Qrexec, vms: Iterable[str] | None = None, with_devices: Iterable[str] = ()) -> list[str]:
    """See :func:`suspend.before`; *vms* are all that run where none are named. Returns a sentence for each failure."""
    return _told(suspend.before, qrexec, vms, with_devices)


def suspend_post(qrexec: Qrexec, vms: Iterable[str] | None = None, with_devices: Iterable[str] = ()) -> list[str]:
    """See :func:`suspend.after`; otherwise as :func:`suspend_pre`."""
    return _told(suspend.after, qrexec, vms, with_devices)


def _told(
    tell: Callable[[Qrexec, Iterable[str], Iterable[str]], list[suspend.Failure]],
    qrexec: Qrexec,
    vms: Iterable[str] | None,
    with_devices: Iterable[str],
) -> list[str]:
    devices = texts(with_devices, "with_devices")
    if vms is not None:
        return [str(failure.error) for failure in tell(qrexec, texts(vms, "vms"), devices)]
    # What runs without qrexec, as stub domains do, is nothing that services prepare.
    return [
        str(failure.error)
        for failure in tell(qrexec, running_vms(), devices)
        if failure.vm in devices or not isinstance(failure.error, VMNotRunning)
    ]


def sync_ntp_clock(qrexec: Qrexec, vm: str, **more: Any) -> bool:
    """See :func:`timesync.sync_ntp_clock`."""
    timesync.sync_ntp_clock(qrexec, vm, **more)
    return True


def vm_shell(qrexec: Qrexec, vm: str, script: str, *, stdin: str = "", **more: Any) -> dict[str, Any]:
    """See :func:`commands.shell`."""
    return _output(commands.shell(qrexec, vm, text(script, "script"), stdin=data(stdin, "stdin"), **more))


def vm_exec(qrexec: Qrexec, vm: str, argv: Sequence[Any], *, stdin: str = "", **more: Any) -> dict[str, Any]:
    """See :func:`commands.execute`; a number among the arguments is taken for its digits."""
    words = [str(word) if type(word) is int else text(word, "argv") for word in argv]
    return _output(commands.execute(qrexec, vm, words, stdin=data(stdin, "stdin"), **more))


def backup(qrexec: Qrexec, vm: str, location: str, archive: str, **more: Any) -> bool:
    """See :func:`vminterface.dom0.services.backup.backup`; *archive* is a file or pipe."""
    location = text(location, "location")
    with backups.open_archive(text(archive, "archive")) as file:
        backups.backup(qrexec, vm, location, file, **more)
    return True


def restore(
    qrexec: Qrexec,
    vm: str,
    location: str,
    path: str,
    members: Sequence[str] = (),
    *,
    total_bytes: int | None = None,
    entries: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """See :func:`vminterface.dom0.services.backup.restore`."""
    bounds = {"total_bytes": total_bytes, "entries": entries}
    limits = Limits(**{name: count(bound, name) for name, bound in bounds.items() if bound is not None})
    location, path = text(location, "location"), text(path, "path")
    came = backups.restore(qrexec, vm, location, path, texts(members, "members"), limits=limits, **more)
    return {"files": [printable(name, _SHOWN) for name in came.files], "total_bytes": came.total_bytes}


def _output(output: commands.Output) -> dict[str, Any]:
    lines = output.untrusted_stdout.splitlines()
    stdout = "\n".join(printable(line, _SHOWN) for line in lines)
    return {"status": output.status, "stdout": stdout, "stderr": output.stderr}
