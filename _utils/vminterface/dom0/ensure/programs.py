"""Commands run in a VM, and service handlers put there."""

from __future__ import annotations

import hashlib
import os

from vminterface.channel.qrexec.client import Qrexec, checked_timeout
from vminterface.dom0.ensure.step import Facts, Step, not_so, there
from vminterface.dom0.services import commands
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import InvalidValue, RemoteProtocolError, printable, printable_lines, printable_path
from vminterface.values import rpcname
from vminterface.values.change import Change

#: Where a VM looks for handlers that its admin has added; it lasts in VMs that are made from a template too.
HANDLERS = "/usr/local/etc/qubes-rpc"
#: Bytes of a handler.
HANDLER_LIMIT = 1 << 24
_OUTPUT_LIMIT = 1 << 20
_SHOWN = 4096

_PROBE = '[ -e "$1" ] || exit 3; sha256sum <"$1" && { [ ! -x "$1" ] || echo x; }'
# The checksum is for a connection that breaks: to cat that is the same as the end.
_INSTALL = """umask 022; mkdir -p -- "$1" && new=$(mktemp -- "$1/.new.XXXXXX") || exit 1
cat >"$new" && echo "$3  $new" | sha256sum -c --status && chmod 0755 -- "$new" && mv -fT -- "$new" "$1/$2" && exit 0
rm -f -- "$new"; exit 1"""


def command_run(
    qrexec: Qrexec,
    vm: str,
    command: str,
    *,
    unless: str | None = None,
    onlyif: str | None = None,
    root: bool = False,
    timeout: float = 60.0,
) -> Step:
    """Run *command* in the shell of *vm*, but not if there *unless* ends with status 0 or *onlyif* with another one."""
    # A probe alone may make no call, which would check it.
    checked_timeout(timeout)
    what = f"'{printable(commands.checked_script(command).strip(), 80)}'"
    for guard, runs_if_true in ((onlyif, True), (unless, False)):
        if guard is not None:
            status = commands.shell(qrexec, vm, guard, root=root, stdout_limit=_OUTPUT_LIMIT, timeout=timeout).status
            if (status == 0) is not runs_if_true:
                return Step(vm, what, already=f"does not need to run ({'onlyif' if runs_if_true else 'unless'})")

    def run() -> Facts:
        output = commands.shell(qrexec, vm, command, root=root, stdout_limit=_OUTPUT_LIMIT, timeout=timeout).checked()
        said = {"stdout": printable_lines(output.untrusted_stdout[:_SHOWN]), "stderr": output.stderr}
        return {stream: text for stream, text in said.items() if text}

    return Step(vm, what, {"command": Change("not run", "run")}, run, done="run")


def handler_installed(qrexec: Qrexec, vm: str, service: str, content: bytes, *, folder: str = HANDLERS) -> Step:
    """Let *vm* answer *service* (``NAME`` or ``NAME+ARGUMENT``) by the program *content*, in *folder*."""
    name, plus, argument = service.partition("+")
    rpcname.descriptor(name, argument)
    if not folder.startswith("/"):
        raise InvalidValue(f"'{printable(folder, 60)}' is not an absolute path of a folder")
    if not content.startswith((b"#!", b"\x7fELF")):
        raise InvalidValue("the handler is not a program (expected a file that begins with '#!', or an ELF binary)")
    digest = hashlib.sha256(content).hexdigest()
    place = f"{folder}/{name}{plus}{argument}"
    found = _handler(qrexec, vm, place)
    what = f"the handler {place}"
    if found == digest:
        return Step(vm, what)

    def install() -> None:
        argv = ["sh", "-c", _INSTALL, "sh", folder, f"{name}{plus}{argument}", digest]
        commands.execute(qrexec, vm, argv, root=True, stdin=content, name=f"the installation of {service}").checked()
        if _handler(qrexec, vm, place) != digest:
            raise not_so(vm, what)

    return Step(vm, what, {place: Change(found, digest)}, install, done="installed")


def read_handler(path: str) -> bytes:
    """Return the program in dom0's file *path*. Raises FileError, InvalidValue."""
    try:
        with open(path, "rb") as file:
            content = file.read(HANDLER_LIMIT + 1)
    except OSError as error:
        raise FileError.at(os.fspath(path), error) from error
    if len(content) > HANDLER_LIMIT:
        raise InvalidValue(f"{printable_path(path)}: is too long (expected at most {HANDLER_LIMIT} bytes)")
    return content


def _handler(qrexec: Qrexec, vm: str, place: str) -> str | None:
    """Return the checksum of the handler at *place*, with a note if nobody may run it, None if there is none."""
    output = commands.execute(
        qrexec, vm, ["sh", "-c", _PROBE, "sh", place], root=True, stdout_limit=_SHOWN, name="sha256sum"
    )
    if not there(output):
        return None
    words = output.untrusted_stdout.decode("latin-1").split()
    if len(words) not in (2, 3) or len(words[0]) != 64 or not words[0].isalnum() or not words[0].isascii():
        raise RemoteProtocolError(f"'{printable(output.untrusted_stdout, 60)}' in {vm} is not the checksum of a file")
    return words[0] if len(words) == 3 else f"{words[0]}, not executable"
