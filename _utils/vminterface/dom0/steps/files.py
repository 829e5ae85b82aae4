"""Files of dom0 that a VM shall have: compared by their checksums before and after, sent only where they differ."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0.services import commands, files
from vminterface.dom0.steps import filelist
from vminterface.dom0.steps.filelist import FileList, Tree
from vminterface.dom0.steps.step import Step, not_so, there
from vminterface.dom0.wholefile import FileFault
from vminterface.errors import InvalidValue, VMInterfaceError, printable

INCOMING = files.INCOMING
_TIMEOUT = 1800.0

# What filelist.py reads.
_LOOK = r"""cd -- "$HOME" || exit 1
[ -e "$1" ] || [ -L "$1" ] || exit 3
find "$1" -type f -exec sha256sum -z -- {} + && printf '\0' && find "$1" ! -type f -printf '%y%p\0%l\0'"""
_REMOVE = 'cd -- "$HOME" && exec rm -rf -- "$1"'
_PUT_ASIDE = 'cd -- "$HOME" && exec mv -- "$1" "$2"'
_PUT_BACK = 'cd -- "$HOME" && rm -rf -- "$1" && exec mv -- "$2" "$1"'


def file_sent(qrexec: Qrexec, vm: str, path: str, *, replace: bool = False, allow_all_names: bool = False) -> Step:
    """Let ``QubesIncoming/dom0`` of *vm* have the file or folder *path* of dom0, with the same content and names.

    Permissions and times are sent, and not compared. What is there with another content is an error, or with *replace*
    gives way, and is put back if the new one does not arrive whole. Raises InvalidValue, FileFault,
    :class:`files.NotTaken`, else as :meth:`Qrexec.call`.
    """
    if not path.startswith("/") or os.path.normpath(path) == "/":
        raise InvalidValue(f"'{printable(path, 60)}' is no absolute path of a file or folder to send")
    path = os.path.normpath(path)
    files.look([path], allow_all_names=allow_all_names)
    name = f"{INCOMING}/{os.path.basename(path)}"
    here = local_tree(path)
    found = remote_tree(qrexec, vm, name)
    shown = printable(name)
    if found == here:
        return Step(vm, shown)
    if found is not None and not replace:
        reason = f"{vm}: {shown} is there with another content (replace: True puts this one in its place)"
        raise files.NotTaken(reason, errno.EEXIST)

    def send() -> None:
        files.send(qrexec, vm, [path], allow_all_names=allow_all_names)
        if remote_tree(qrexec, vm, name) != here:
            raise not_so(vm, shown)

    def send_instead() -> None:
        aside = f"{INCOMING}/.replaced-{os.urandom(6).hex()}"
        _run(qrexec, vm, "mv", _PUT_ASIDE, name, aside)
        try:
            send()
        except VMInterfaceError as error:
            try:
                _run(qrexec, vm, "mv", _PUT_BACK, name, aside)
            except VMInterfaceError as second:
                raise VMInterfaceError(f"{error}; what was there before is now {aside} in {vm}: {second}") from error
            raise
        _run(qrexec, vm, "rm", _REMOVE, aside)

    do = send if found is None else send_instead
    return Step(vm, shown, {shown: {"old": _summary(found), "new": _summary(here)}}, do, done="sent")


def _run(qrexec: Qrexec, vm: str, program: str, script: str, *names: str) -> None:
    """Have the VM's user do *script*, of which *program* is the last, with files below the home."""
    argv: list[str | bytes] = ["sh", "-c", script, "sh", *map(os.fsencode, names)]
    commands.execute(qrexec, vm, argv, name=program).checked()


def local_tree(path: str) -> Tree:
    """Return what is at *path* here, as the VM would have it. Raises FileFault, InvalidValue for too many entries."""
    top = os.fsencode(path)
    tree: Tree = {}
    try:
        for found in _walk(top):
            if len(tree) >= filelist.ENTRIES:
                raise InvalidValue(f"{printable(path)}: has more than {filelist.ENTRIES} entries")
            tree[found[len(top) :].lstrip(b"/")] = _kind(found)
    except OSError as error:
        raise FileFault.at(os.fsdecode(error.filename or path), error) from error
    return tree


def remote_tree(qrexec: Qrexec, vm: str, name: str) -> Tree | None:
    """Return what is at *name* below the home of the VM's user, None if nothing is.

    Raises RemoteProtocolError, OutputTooLarge, else as :meth:`Qrexec.call`.
    """
    argv: list[str | bytes] = ["sh", "-c", _LOOK, "sh", os.fsencode(name)]
    listed = FileList(vm, os.fsencode(name))
    output = commands.execute(
        qrexec, vm, argv, stdout_limit=filelist.BYTES, timeout=_TIMEOUT, name="sha256sum", into=listed
    )
    return listed.tree() if there(output) else None


def sha256(path: str | bytes) -> bytes:
    """Return the checksum of a file here, hexadecimal. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode("ascii")


def _walk(top: bytes) -> Iterator[bytes]:
    """Yield everything that would be sent: no pipe, socket or device."""
    todo = [top]
    while todo:
        path = todo.pop()
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode):
            yield path
        if stat.S_ISDIR(mode):
            todo += [os.path.join(path, name) for name in sorted(os.listdir(path), reverse=True)]


def _kind(path: bytes) -> tuple[str, bytes]:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return "l", os.readlink(path)
    return ("d", b"") if stat.S_ISDIR(mode) else ("f", sha256(path))


def _summary(tree: Tree | None) -> str | None:
    """Return in a few words what *tree* is: a file's checksum, or a folder's number of entries and checksum of all."""
    if tree is None:
        return None
    if list(tree) == [b""] and tree[b""][0] == "f":
        return f"sha256 {tree[b''][1].decode('ascii')}"
    whole = hashlib.sha256()
    for path in sorted(tree):
        kind, detail = tree[path]
        # No path and no link's target has a NUL.
        whole.update(kind.encode("utf-8") + path + b"\0" + detail + b"\0")
    count = sum(kind == "f" for kind, _ in tree.values())
    return f"{count} file{'' if count == 1 else 's'} in {len(tree)} entries, sha256 of all {whole.hexdigest()}"
