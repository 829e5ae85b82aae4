"""dom0's desktop of Qubes, as far as its menu goes: a user with a home, and a stand-in for ``qvm-sync-appmenus``.

The stand-in writes the files that Qubes' own program makes of what the VM answers, in its form (desktop-linux-common
``qubesappmenus/receive.py``, ``create_template``).
"""

from __future__ import annotations

import grp
import pwd
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.rpcstandin import StandIn

_SYNC = """#!{python}
import pathlib, subprocess, sys
vm = sys.argv[1]
(pathlib.Path("{home}") / "synced").open("a").write(" ".join(sys.argv[1:]) + "\\n")
folder = pathlib.Path("{home}/.local/share/qubes-appmenus") / vm / "apps.templates"
folder.mkdir(parents=True, exist_ok=True)
command = ["{client}", "-d", vm, "DEFAULT:QUBESRPC qubes.GetAppmenus dom0"]
answer = subprocess.run(command, stdout=-1, check=True).stdout.decode("ascii")
found = {{}}
for line in answer.splitlines():
    if line:
        id_, _, rest = line.partition(".desktop:")
        key, _, value = rest.partition("=")
        found.setdefault(id_, {{}})[key] = value
for old in folder.iterdir():
    if old.stem not in found and old.stem != "qubes-start":
        old.unlink()
for id_, values in found.items():
    lines = ["[Desktop Entry]", "Version=1.0", "Type=Application", "X-Qubes-VmName=%VMNAME%", "Icon=%XDGICON%"]
    lines += [f"{{key}}=%VMNAME%: {{values[key]}}" for key in ("Name", "GenericName") if key in values]
    if "StartupWMClass" in values:
        lines.append(f"StartupWMClass=%VMNAME%:{{values['StartupWMClass']}}")
    if "Categories" in values:
        known = [name for name in values["Categories"].split(";") if name in ("Network", "WebBrowser")]
        values["Categories"] = ";".join(known) + ";"
    values["Categories"] = values.get("Categories", "") + "X-Qubes-VM;"
    lines += [f"{{key}}={{values[key]}}" for key in ("Comment", "Categories") if key in values]
    lines.append(f"Exec=qvm-run -q -a --service -- %VMNAME% qubes.StartApp+{{id_}}")
    (folder / f"{{id_}}.desktop").write_text("".join(f"{{line}}\\n" for line in lines))
"""


class Desktop:
    """The user ``desk`` with *home*, whose menu it is; programs are put beside those of *vms*."""

    def __init__(self, vms: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self._vms = vms
        home.mkdir()
        sync = _SYNC.format(python=sys.executable, home=home, client=vms.client)
        self.program("qvm-sync-appmenus", sync)
        # Another user's programs are run by this one here.
        self.program("runuser", f'#!/bin/sh\necho "$*" >>{home}/runuser\nshift 3\nexec "$@"\n')
        monkeypatch.setattr(grp, "getgrnam", {"qubes": SimpleNamespace(gr_mem=["desk", "other"])}.__getitem__)
        monkeypatch.setattr(pwd, "getpwnam", {"desk": SimpleNamespace(pw_dir=str(home))}.__getitem__)

    def program(self, name: str, text: str) -> None:
        """Let dom0 have the program *name*."""
        path = self._vms.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def folder(self, vm: str) -> Path:
        """Return where the entries of *vm* are."""
        return self.home / ".local/share/qubes-appmenus" / vm / "apps.templates"

    def synced(self) -> list[str]:
        """Return the VMs that the program was run for."""
        log = self.home / "synced"
        return log.read_text().splitlines() if log.exists() else []
