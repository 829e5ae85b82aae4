"""``qubes.TemplateSearch`` and ``qubes.TemplateDownload``: which templates there are, and the package of one.

A VM with network asks the repositories that dom0 names; dom0 itself has none. What it sends is worth nothing until
dom0's own copy of the repository's key has accepted it. Source: Qubes core-admin-client ``qvm_template.py``.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vminterface.channel import process
from vminterface.channel.process import Conversation, Progress
from vminterface.channel.qrexec.client import Call, Qrexec, checked_timeout
from vminterface.deadline import Deadline
from vminterface.dom0.services.reply import accepted
from vminterface.dom0.transfer.wholefile import FileError, WholeFile
from vminterface.errors import (
    InvalidValue,
    ProgramFailed,
    ProgramMissing,
    RemoteProtocolError,
    VerificationFailed,
    printable,
)
from vminterface.values import template
from vminterface.values.template import PREFIX, Template
from vminterface.values.templaterequest import KEYS, LIMIT, TemplateRequest

SEARCH, DOWNLOAD = "qubes.TemplateSearch", "qubes.TemplateDownload"
#: dom0's repositories of templates, and what says its release.
REPOSITORIES = "/etc/qubes/repo-templates"
RELEASE = "/etc/os-release"
#: Bytes of a package at most, unless its size is known; and of dom0's disk that stay free.
SIZE_LIMIT = 16 << 30
RESERVE = 500 << 20
#: What every package begins with (rpm, ``lib/rpmlead.h``).
_LEAD = b"\xed\xab\xee\xdb"
_KEYED = ("gpgkey", "sslclientcert", "sslclientkey")
#: Seconds for dom0's own programs, which read all of a package.
_CHECK_TIMEOUT = 1800.0


def request(
    spec: str,
    *,
    files: Sequence[str] | None = None,
    release: str | None = None,
    enable: Sequence[str] = (),
    disable: Sequence[str] = (),
    refresh: bool = False,
) -> TemplateRequest:
    """Return the request for the package *spec* from the repositories in *files*, by default all of dom0's.

    *release* is that of Qubes (``4.3``), by default dom0's own. Keys are sent along where they are in dom0's folder of
    keys. Raises InvalidValue, FileError.
    """
    release = _release() if release is None else release
    config = "\n".join(_read(path).decode("utf-8", "surrogateescape") for path in _files(files))
    repositories = (*(("enablerepo", name) for name in enable), *(("disablerepo", name) for name in disable))
    return TemplateRequest(spec, config, release, repositories, refresh, _keys(config, release))


def search(qrexec: Qrexec, vm: str, desired: TemplateRequest, *, timeout: float = 600.0) -> list[Template]:
    """Return the templates that the repositories have, as *vm* finds out. Raises as :meth:`Qrexec.call`."""
    limit = template.REPLY_LIMIT
    reply = qrexec.call(Call(vm, SEARCH, stdin=desired.render(), stdout_limit=limit, timeout=timeout))
    return accepted(vm, SEARCH, template.parse_reply, reply)


def as_data(found: Template) -> dict[str, Any]:
    """Return *found* as plain data, its ``package`` among it, as :func:`download` takes it."""
    return {**asdict(found), "built": found.built.isoformat(), "package": found.package}


def download(
    qrexec: Qrexec,
    vm: str,
    desired: TemplateRequest,
    path: str,
    key: str,
    *,
    size: int | None = None,
    progress: Progress | None = None,
    timeout: float = 12 * 3600.0,
) -> int:
    """Let *vm* fetch the package *desired* into the new file *path* of dom0 and return its bytes.

    The file is there only when it is signed with *key*, a file of dom0's; *size* is that of the search. Raises
    InvalidValue, FileError, RemoteProtocolError, VerificationFailed (the signature), ProgramMissing, OutputTooLarge,
    else as :meth:`Qrexec.call`.
    """
    what = f"{DOWNLOAD} in {vm}"
    checked_timeout(timeout)
    rpmkeys = shutil.which("rpmkeys")
    if rpmkeys is None:
        raise ProgramMissing(f"{what}: rpmkeys is not installed (needed to check packages)")
    _read(key)
    if os.path.lexists(path):
        raise InvalidValue(f"{printable(path)} already exists (expected the path of a new file)", "path")
    limit = SIZE_LIMIT if size is None else size
    data = desired.render()
    with WholeFile(path, reserve=RESERVE) as file:
        package = _Package(file, what)
        qrexec.call(
            Call(vm, DOWNLOAD, stdin=data, stdout_limit=limit, stdout_to=package, progress=progress, timeout=timeout)
        )
        if size is not None and file.size != size:
            raise RemoteProtocolError(f"{what}: {file.size} bytes were received (expected {size})")
        package.check_begun()
        _verify(file.unfinished(), key, rpmkeys, what)
        file.put(replace=False)
        return file.size


class _Package:
    """Takes a package as it comes, if it begins as one."""

    def __init__(self, file: WholeFile, what: str) -> None:
        self._file, self._what = file, what
        self._lead = b""

    def write(self, untrusted_data: bytes) -> None:
        """Take the next piece. Raises RemoteProtocolError, FileError."""
        if len(self._lead) < len(_LEAD):
            self._lead += untrusted_data[: len(_LEAD) - len(self._lead)]
            if not _LEAD.startswith(self._lead):
                raise RemoteProtocolError(f"{self._what}: the received data is not an RPM package")
        self._file.write(untrusted_data)

    def check_begun(self) -> None:
        """Raise RemoteProtocolError unless a package has begun."""
        if self._lead != _LEAD:
            raise RemoteProtocolError(f"{self._what}: no package was received")


def _verify(path: str, key: str, rpmkeys: str, what: str) -> None:
    """Raise VerificationFailed unless the package at *path* is signed with *key* and no part of it is unsigned."""
    with tempfile.TemporaryDirectory(prefix="vminterface-rpmdb-") as database:
        for words in (
            ["--import", key],
            ["--define=_pkgverify_level all", "--define=_pkgverify_flags 0x0", "-K", "--", path],
        ):
            argv = [rpmkeys, f"--dbpath={database}", *words]
            deadline = Deadline.after(_CHECK_TIMEOUT)
            ended = process.run(argv, "rpmkeys", deadline, Conversation(stdout_limit=1 << 16), env={"LC_ALL": "C"})
            if words[0] == "--import":
                if ended.status:
                    said = printable(ended.untrusted_stderr, 200)
                    raise ProgramFailed(f"{printable(key)}: rpmkeys does not accept the key: {said}", ended.status)
            elif ended.status or ended.untrusted_stdout != os.fsencode(path) + b": digests signatures OK\n":
                raise VerificationFailed(f"{what}: the package is not signed with {printable(key)}")


def _files(files: Sequence[str] | None) -> list[str]:
    if files is not None:
        return list(files)
    try:
        names = sorted(name for name in os.listdir(REPOSITORIES) if name.endswith(".repo"))
    except OSError as error:
        raise FileError.at(REPOSITORIES, error) from error
    return [f"{REPOSITORIES}/{name}" for name in names]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return file.read(LIMIT)
    except OSError as error:
        raise FileError.at(path, error) from error


def _release() -> str:
    found = re.search(r"^VERSION_ID=[\"']?(\d+\.\d+)", _read(RELEASE).decode("utf-8", "replace"), re.MULTILINE)
    if found is None:
        raise InvalidValue(f"{RELEASE} does not name the release of Qubes (expected VERSION_ID such as 4.3)", "release")
    return found[1]


def _keys(config: str, release: str) -> dict[str, bytes]:
    """Return the keys and certificates that *config* names and dom0 has in its folder of these, by their names."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(config)
    except configparser.Error as error:
        raise InvalidValue(f"the repositories cannot be read: {printable(str(error).splitlines()[0])}") from None
    found = {}
    for section in parser.sections():
        for option in _KEYED:
            for word in parser.get(section, option, fallback="").split():
                path = word.replace("$releasever", release).replace("${releasever}", release).removeprefix("file://")
                name = path.removeprefix(KEYS)
                if name != path and "/" not in name and os.path.isfile(path):
                    found[name] = _read(path)
    return found


def full_name(name: str) -> str:
    """Return the package of the template called *name*, which may be that already."""
    return name if name.startswith((PREFIX, "*")) else f"{PREFIX}{name}"
