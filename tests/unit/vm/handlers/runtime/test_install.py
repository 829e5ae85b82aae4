"""Handlers are put where qrexec looks for them; what the distribution has there is left alone, or kept and restored."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.handlers import VM
from vminterface.errors import VMInterfaceError
from vminterface.vm.handlers.runtime.entry import CONFIGURATIONS, FORMER_MARKS, MARK, PROGRAMS, configuration, entry
from vminterface.vm.handlers.runtime.install import REPLACED, Installation, install, remove
from vminterface.vm.handlers.runtime.table import SERVICES
from vminterface.vm.machine.machine import Machine

PYTHON, LIBRARY = "/usr/bin/python3", "/usr/lib/vminterface"
STOCK = "#!/bin/sh\nexec stock\n"


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    return VM(tmp_path / "vm")


def installed(vm: VM, *, replace: bool = False, test: bool = False, library: str = LIBRARY) -> Installation:
    return install(Machine(str(vm.root)), python=PYTHON, library=library, replace=replace, test=test)


def files(vm: VM) -> dict[str, tuple[int, object]]:
    return {path: what for path, what in vm.content().items() if not stat.S_ISDIR(what[0])}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let this process write no file longer than *size* bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_every_service_of_the_table_gets_its_two_files(vm: VM) -> None:
    done = installed(vm)
    assert done.changes == dict.fromkeys(SERVICES, "installed")
    assert done.left == []
    assert done.comment() == f"service handlers: {len(SERVICES)} installed"
    desired = {}
    for name, row in SERVICES.items():
        text = entry(name, LIBRARY, PYTHON)
        desired[f"{PROGRAMS[1:]}/{name}"] = (stat.S_IFREG | 0o755, text.encode())
        if text := configuration(row):
            desired[f"{CONFIGURATIONS[1:]}/{name}"] = (stat.S_IFREG | 0o644, text.encode())
    assert files(vm) == desired


def test_a_second_time_changes_nothing(vm: VM) -> None:
    installed(vm)
    before = {path: os.lstat(vm.root / path).st_ino for path in files(vm)}
    assert installed(vm).changes == {}
    assert installed(vm).comment() == "service handlers: up to date"
    assert {path: os.lstat(vm.root / path).st_ino for path in files(vm)} == before


def test_programs_of_a_former_version_are_replaced(vm: VM) -> None:
    (former,) = FORMER_MARKS
    program = entry("qubes.GetDate", LIBRARY, PYTHON)
    vm.write(f"{PROGRAMS}/qubes.GetDate", program.replace(MARK, former), 0o755)
    assert "qubes.GetDate" not in installed(vm).left
    assert (vm.root / PROGRAMS[1:] / "qubes.GetDate").read_text() == program


@pytest.mark.parametrize("replace", [False, True])
def test_a_look_says_what_would_be_done_and_does_nothing(vm: VM, replace: bool) -> None:
    vm.write(f"{PROGRAMS}/qubes.GetDate", STOCK, 0o755)
    vm.write(f"{PROGRAMS}/qubes.Gone", entry("qubes.Gone", LIBRARY), 0o755)
    before = vm.content()
    would = installed(vm, replace=replace, test=True)
    assert vm.content() == before
    assert would.changes["qubes.Gone"] == "removed"
    assert "would be installed" in would.comment(test=True)
    assert installed(vm, replace=replace) == would


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (f"{PROGRAMS}/qubes.OpenInVM", STOCK),
        (f"{CONFIGURATIONS}/qubes.OpenInVM", "# waits\nwait-for-session=1\n"),
        (f"{PROGRAMS}/qubes.OpenInVM", b"\x7fELF" + bytes(100_000)),
        # A text that names ours is not one of ours.
        (f"{PROGRAMS}/qubes.OpenInVM", "#!/bin/sh\n# vminterface.vm.handlers.runtime.run\n"),
    ],
)
def test_a_handler_of_the_vms_own_is_left_alone(vm: VM, path: str, content: str | bytes) -> None:
    vm.write(path, content, 0o755)
    done = installed(vm)
    assert done.left == ["qubes.OpenInVM"]
    assert done.comment() == f"service handlers: {len(SERVICES) - 1} installed, 1 left as the VM has them"
    named = {name for name in files(vm) if name.endswith("/qubes.OpenInVM")}
    assert named == {path[1:]}
    kept = content if isinstance(content, bytes) else content.encode()
    assert files(vm)[path[1:]] == (stat.S_IFREG | 0o755, kept)


@pytest.mark.parametrize("target", ["/dev/tcp/localhost/80", "qubes.VMShell", "../../usr/lib/qubes/open-in-vm"])
def test_links_are_the_vms_own_wherever_they_lead(vm: VM, target: str) -> None:
    place = vm.write(f"{PROGRAMS}/qubes.OpenInVM")
    place.unlink()
    place.symlink_to(target)
    assert installed(vm).left == ["qubes.OpenInVM"]
    assert place.readlink() == Path(target)
    assert installed(vm, replace=True).changes == {"qubes.OpenInVM": "replaced"}
    assert place.read_text() == entry("qubes.OpenInVM", LIBRARY, PYTHON)
    assert installed(vm).changes == {"qubes.OpenInVM": "restored"}
    assert place.readlink() == Path(target)


def test_what_a_service_does_with_an_argument_is_the_vms_own_where_the_service_is(vm: VM) -> None:
    vm.write(f"{PROGRAMS}/qubes.VMShell", STOCK, 0o755)
    assert installed(vm).left == ["qubes.VMShell", "qubes.VMShell+WaitForSession"]
    assert not (vm.root / f"{PROGRAMS[1:]}/qubes.VMShell+WaitForSession").exists()


def test_what_is_replaced_is_kept_out_of_qrexecs_sight_and_comes_back(vm: VM) -> None:
    program = vm.write(f"{PROGRAMS}/qubes.SetDateTime", STOCK, 0o750)
    text = vm.write(f"{CONFIGURATIONS}/qubes.SetDateTime", "# stock\n")
    before = files(vm)
    assert installed(vm, replace=True).changes["qubes.SetDateTime"] == "replaced"
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert text.read_text() == "force-user = 'root'\n"
    assert {p.name for p in program.parent.iterdir()} == set(SERVICES)
    assert vm.read(f"{REPLACED}/qubes-rpc/qubes.SetDateTime") == STOCK
    assert installed(vm, replace=True).changes == {}

    assert installed(vm).changes == {"qubes.SetDateTime": "restored"}
    assert {path: files(vm)[path] for path in before} == before
    assert installed(vm).changes == {}


def test_without_a_configuration_of_its_own_a_restored_handler_gets_none(vm: VM) -> None:
    vm.write(f"{PROGRAMS}/qubes.SetDateTime", STOCK, 0o755)
    before = files(vm)
    installed(vm, replace=True)
    assert remove(Machine(str(vm.root))).changes["qubes.SetDateTime"] == "restored"
    assert files(vm) == before


def test_what_a_package_has_put_there_since_is_what_comes_back(vm: VM) -> None:
    vm.write(f"{PROGRAMS}/qubes.GetDate", STOCK, 0o755)
    installed(vm, replace=True)
    vm.write(f"{PROGRAMS}/qubes.GetDate", STOCK + "# newer\n", 0o755)
    assert installed(vm).changes == {}
    assert installed(vm, replace=True).changes == {"qubes.GetDate": "replaced"}
    assert installed(vm).changes == {"qubes.GetDate": "restored"}
    assert vm.read(f"{PROGRAMS}/qubes.GetDate") == STOCK + "# newer\n"


def test_what_was_kept_of_a_package_that_is_gone_does_not_come_back(vm: VM) -> None:
    place = vm.write(f"{PROGRAMS}/qubes.GetDate", STOCK, 0o755)
    installed(vm, replace=True)
    place.unlink()
    assert installed(vm).changes == {"qubes.GetDate": "installed"}
    remove(Machine(str(vm.root)))
    assert files(vm) == {}


#: Room for nothing, and for a configuration alone.
@pytest.mark.parametrize("room", [0, 64])
@pytest.mark.parametrize("own", [None, "", "# own\n", "same"])
@pytest.mark.parametrize("service", ["qubes.GetDate", "qubes.SetDateTime", "qubes.OpenInVM"])
def test_on_a_full_disk_the_vm_keeps_what_it_has(vm: VM, service: str, own: str | None, room: int) -> None:
    program = vm.write(f"{PROGRAMS}/{service}", STOCK, 0o755)
    if own is not None:
        vm.write(f"{CONFIGURATIONS}/{service}", configuration(SERVICES[service]) if own == "same" else own)
    before = {path: what for path, what in files(vm).items() if path.endswith(service)}
    installed(vm)
    for _ in range(2):
        with files_of_at_most(room), pytest.raises(VMInterfaceError, match=service):
            installed(vm, replace=True)
        assert program.read_text() == STOCK
    assert remove(Machine(str(vm.root))).changes.get(service) in (None, "restored")
    assert {path: what for path, what in files(vm).items() if REPLACED[1:] not in path} == before

    installed(vm, replace=True)
    assert program.read_text() == entry(service, LIBRARY, PYTHON)
    assert installed(vm).changes == {service: "restored"}
    assert {path: files(vm).get(path) for path in files(vm) if path.endswith(service)} == before


def test_what_a_full_disk_has_left_half_done_is_made_whole_without_replacing(vm: VM) -> None:
    vm.write(f"{PROGRAMS}/qubes.SetDateTime", STOCK, 0o755)
    text = vm.write(f"{CONFIGURATIONS}/qubes.SetDateTime", "# own\n")
    installed(vm)
    with files_of_at_most(64), pytest.raises(VMInterfaceError):
        installed(vm, replace=True)
    assert text.read_text() == "force-user = 'root'\n"
    assert installed(vm, test=True).changes == {"qubes.SetDateTime": "restored"}
    assert installed(vm).changes == {"qubes.SetDateTime": "restored"}
    assert text.read_text() == "# own\n"
    assert installed(vm).changes == {}


@pytest.mark.parametrize("service", ["qubes.VMExecGUI", "qubes.VMExec"])
@pytest.mark.parametrize("own", [None, "# own\n"])
def test_a_program_that_a_package_has_put_back_costs_no_configuration(vm: VM, service: str, own: str | None) -> None:
    program = vm.write(f"{PROGRAMS}/{service}", STOCK, 0o755)
    text = vm.root / CONFIGURATIONS[1:] / service
    if own is not None:
        vm.write(f"{CONFIGURATIONS}/{service}", own)
    installed(vm, replace=True)
    for ending in ("# newer\n", "# newest\n"):
        program.write_text(STOCK + ending)
        assert installed(vm, replace=True).changes == {service: "replaced"}
    assert remove(Machine(str(vm.root))).changes[service] == "restored"
    assert program.read_text() == STOCK + "# newest\n"
    assert (text.read_text() if text.exists() else None) == own


@pytest.mark.parametrize("own", [None, "# own\n"])
def test_a_program_that_a_package_has_put_back_gets_its_configuration_again(vm: VM, own: str | None) -> None:
    program = vm.write(f"{PROGRAMS}/qubes.SetDateTime", STOCK, 0o755)
    text = vm.root / CONFIGURATIONS[1:] / "qubes.SetDateTime"
    if own is not None:
        vm.write(f"{CONFIGURATIONS}/qubes.SetDateTime", own)
    installed(vm, replace=True)
    program.write_text(STOCK + "# newer\n")
    assert installed(vm).changes == {"qubes.SetDateTime": "restored"}
    assert program.read_text() == STOCK + "# newer\n"
    assert (text.read_text() if text.exists() else None) == own
    assert installed(vm).changes == {}


def test_a_handler_in_the_place_of_a_users_is_not_that_users(vm: VM) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    program = vm.write(f"{PROGRAMS}/qubes.SetDateTime", STOCK, 0o755)
    os.chown(program, 1000, 1000)
    installed(vm, replace=True)
    assert (program.stat().st_uid, program.stat().st_gid) == (0, 0)
    remove(Machine(str(vm.root)))
    assert (program.stat().st_uid, program.stat().st_gid) == (1000, 1000)


@pytest.mark.parametrize("spoil", ["text", "mode", "configuration", "no configuration"])
def test_what_has_changed_in_one_of_ours_is_put_right(vm: VM, spoil: str) -> None:
    installed(vm)
    before = files(vm)
    program, text = (vm.root / f"{folder[1:]}/qubes.SetDateTime" for folder in (PROGRAMS, CONFIGURATIONS))
    if spoil == "text":
        program.write_text(program.read_text() + "# more\n")
    elif spoil == "mode":
        program.chmod(0o644)
    elif spoil == "configuration":
        text.write_text("force-user = 'user'\n")
    else:
        text.unlink()
    assert installed(vm).changes == {"qubes.SetDateTime": "updated"}
    assert files(vm) == before


def test_a_configuration_that_the_service_no_longer_has_is_removed(vm: VM) -> None:
    installed(vm)
    text = vm.write(f"{CONFIGURATIONS}/qubes.GetDate", "force-user = 'root'\n")
    assert installed(vm).changes == {"qubes.GetDate": "updated"}
    assert not text.exists()


def test_another_place_of_the_library_updates_all(vm: VM) -> None:
    installed(vm)
    assert installed(vm, library="/opt/vminterface").changes == dict.fromkeys(SERVICES, "updated")


def test_a_service_that_is_no_longer_shipped_is_removed(vm: VM) -> None:
    vm.write(f"{PROGRAMS}/qubes.Gone", entry("qubes.Gone", LIBRARY), 0o755)
    vm.write(f"{CONFIGURATIONS}/qubes.Gone", "force-user = 'root'\n")
    vm.write(f"{PROGRAMS}/qubes.Other", STOCK, 0o755)
    assert installed(vm).changes["qubes.Gone"] == "removed"
    assert [path for path in files(vm) if path.endswith("qubes.Gone")] == []
    assert vm.read(f"{PROGRAMS}/qubes.Other") == STOCK


def test_an_installation_that_was_cut_short_is_finished(vm: VM) -> None:
    vm.write(f"{CONFIGURATIONS}/qubes.SetDateTime", "force-user = 'root'\n")
    assert installed(vm).changes["qubes.SetDateTime"] == "installed"
    remove(Machine(str(vm.root)))
    assert files(vm) == {}


@pytest.mark.parametrize("replace", [False, True])
def test_what_an_admin_has_protected_is_never_touched(vm: VM, replace: bool) -> None:
    installed(vm)
    place = vm.write(f"{PROGRAMS}/qubes.GetDate", entry("qubes.GetDate", "/opt/mine"), 0o755)
    vm.write("/etc/qubes/protected-files.d/mine", f"{PROGRAMS}/qubes.GetDate\n")
    before = place.read_text()
    assert installed(vm, replace=replace).changes == {}
    assert remove(Machine(str(vm.root))).changes.keys() == SERVICES.keys() - {"qubes.GetDate"}
    assert place.read_text() == before


def test_all_is_taken_away_again(vm: VM) -> None:
    installed(vm)
    done = remove(Machine(str(vm.root)))
    assert done.changes == dict.fromkeys(SERVICES, "removed")
    assert files(vm) == {}
    assert remove(Machine(str(vm.root))).changes == {}


def test_no_empty_folder_is_left_and_what_others_have_there_stays(vm: VM) -> None:
    before = set(vm.root.rglob("*"))
    installed(vm)
    (vm.root / "etc/vminterface").mkdir(exist_ok=True)
    (vm.root / "etc/qubes/theirs").mkdir(parents=True)
    remove(Machine(str(vm.root)))
    assert set(vm.root.rglob("*")) - before == {vm.root / "etc/qubes", vm.root / "etc/qubes/theirs"}
