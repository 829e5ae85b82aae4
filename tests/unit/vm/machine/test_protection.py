"""Which files a VM's owner has protected."""

from __future__ import annotations

from pathlib import Path

import pytest

from vminterface.vm.machine.files import Files
from vminterface.vm.machine.protection import is_protected


@pytest.mark.parametrize("folder", ["/etc/qubes/protected-files.d", "/rw/config/protected-files.d"])
def test_a_file_is_protected_by_a_whole_line_only(tmp_path: Path, folder: str) -> None:
    files = Files(str(tmp_path))
    assert not is_protected(files, "/etc/hosts")
    files.write_file(f"{folder}/10-mine", "# /etc/hosts\n/etc/hosts.allow\n /etc/hosts\n/etc/hostname")
    assert not is_protected(files, "/etc/hosts")
    assert is_protected(files, "/etc/hostname")
    files.write_file(f"{folder}/20-mine", "/etc/hosts\n")
    assert is_protected(files, "/etc/hosts")
