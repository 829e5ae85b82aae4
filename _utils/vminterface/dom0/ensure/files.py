"""Files of dom0 that a VM shall have: compared by their checksums before and after, sent only where they differ."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure import filelist
from vminterface.dom0.ensure.filelist import FileList, Tree
from vminterface.dom0.ensure.step import Step, not_so, there
from vminterface.dom0.services import commands, files
from vminterface.dom0.transfer.send import Found, Sender
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import InvalidValue, VMInterfaceError, printable, printable_path
from vminterface.values.change import Change

INCOMING = files.INCOMING
_TIMEOUT = 1800.0

# What filelist.py reads.
_PROBE = r"""cd -- "$HOME" || exit 1
[ -e "$1" ] || [ -L "$1" ] || exit 3
find "$1" -type f -exec sha256sum -z -- {} + && printf '\0' && find "$1" ! -type f -printf '%y%p\0%l\0'"""
_REMOVE = 'cd -- "$HOME" && exec rm -rf -- "$1"'
_PUT_ASIDE = 'cd -- "$HOME" && exec mv -- "$1" "$2"'
_PUT_BACK = 'cd -- "$HOME" && rm -rf -- "$1" && exec mv -- "$2" "$1"'


def file_sent(
    qrexec: Qrexec,
    vm: str,
    path: str,
    *,
    replace: bool = False,
    allow_all_names: bool = False,
    follow_links: bool = False,
) -> Step:
    """Let ``QubesIncoming/dom0`` of *vm* have the file or folder *path* of dom0, with the same content and names.

    Permissions and times are sent, and not compared. What is there with another content is an error, or with *replace*
    gives way, and is put back if the new one does not arrive whole. With *follow_links* what is at the end of links
    that lead out of the folder is sent and compared in their place. Raises InvalidValue, FileError, SourceError,
    :class:`files.NotTaken`, else as :meth:`Qrexec.call`.
    """
    if not path.startswith("/") or os.path.normpath(path) == "/":
        raise InvalidValue(f"'{printable(path, 60)}' is not an absolute path of a file or folder to send")
    path = os.path.normpath(path)
    files.inspect([path], allow_all_names=allow_all_names, follow_links=follow_links)
    name = f"{INCOMING}/{os.path.basename(path)}"
    here = local_tree(path, follow_links=follow_links)
    found = remote_tree(qrexec, vm, name)
    shown = printable_path(name)
    if found == here:
        return Step(vm, shown)
    if found is not None and not replace:
        reason = f"{vm}: {shown} already exists with different content (expected replace: True to replace it)"
        raise files.NotTaken(reason, errno.EEXIST)

    def send() -> None:
        files.send(qrexec, vm, [path], allow_all_names=allow_all_names, follow_links=follow_links)
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
                raise VMInterfaceError(f"{error}; the former content is now {aside} in {vm}: {second}") from error
            raise
        _run(qrexec, vm, "rm", _REMOVE, aside)

    do = send if found is None else send_instead
    return Step(vm, shown, {shown: Change(_summary(found), _summary(here))}, do, done="sent")


def _run(qrexec: Qrexec, vm: str, program: str, script: str, *names: str) -> None:
    """Have the VM's user do *script*, of which *program* is the last, with files below the home."""
    argv: list[str | bytes] = ["sh", "-c", script, "sh", *map(os.fsencode, names)]
    commands.execute(qrexec, vm, argv, name=program).checked()


def local_tree(path: str, *, follow_links: bool = False) -> Tree:
    """Return what is at *path* here, as the VM would have it.

    Raises FileError, SourceError, InvalidValue for too many entries and links that cannot be followed.
    """
    top = os.path.basename(os.fsencode(path))
    tree: Tree = {}
    for found in Sender([path], follow_links=follow_links).walk():
        if found.again:
            continue
        if len(tree) >= filelist.ENTRIES:
            raise InvalidValue(f"{printable_path(path)}: has more than {filelist.ENTRIES} entries")
        try:
            tree[found.name[len(top) + 1 :]] = _kind(found)
        except OSError as error:
            raise FileError.at(os.fsdecode(found.source), error) from error
    return tree


def remote_tree(qrexec: Qrexec, vm: str, name: str) -> Tree | None:
    """Return what is at *name* below the home of the VM's user, None if nothing is.

    Raises RemoteProtocolError, OutputTooLarge, else as :meth:`Qrexec.call`.
    """
    argv: list[str | bytes] = ["sh", "-c", _PROBE, "sh", os.fsencode(name)]
    listed = FileList(vm, os.fsencode(name))
    output = commands.execute(
        qrexec, vm, argv, stdout_limit=filelist.BYTES, timeout=_TIMEOUT, name="sha256sum", into=listed
    )
    return listed.tree() if there(output) else None


def sha256(path: str | bytes) -> bytes:
    """Return the checksum of a file here, hexadecimal. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode("ascii")


def _kind(found: Found) -> tuple[str, bytes]:
    if found.kind == stat.S_IFLNK:
        return "l", os.readlink(found.source)
    return ("d", b"") if found.kind == stat.S_IFDIR else ("f", sha256(found.source))


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
