"""``qubes.TemplateDownload``: send dom0 the package of a template, from the repositories that it names.

Input: dom0's request (``values.templaterequest``). Output: the package's bytes, which dom0 checks by its own keys.
Mirrors are tried in any order; one that breaks off is asked for the rest, one that gives nothing is left. After Qubes
core-agent-linux's ``qubes.TemplateDownload``.
"""

from __future__ import annotations

import os
import random
import re

from vminterface.errors import ProgramMissing, VMInterfaceError
from vminterface.regex import regex
from vminterface.vm.handlers.files import templaterepo
from vminterface.vm.handlers.files.templaterepo import Dnf
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.caller import Caller
from vminterface.vm.handlers.runtime.programs import GRACE, STDERR, Program

#: Seconds for dnf to find out where the package is.
FIND_TIMEOUT = 300.0
#: Times that one mirror is asked for the rest.
ATTEMPTS = 20
_URL = regex(r"(?:https?|ftp)://[!-~]{1,2000}\Z", re.ASCII)
_URLS_LIMIT = 1 << 20
_CHUNK = 65536
#: Seconds for a connection, and seconds without a byte after which one is given up.
_PATIENCE = ["--connect-timeout", "30", "--speed-limit", "1", "--speed-time", "60"]


def handle(call: Call) -> None:
    """Send the package. Raises InvalidValue, ProgramMissing, ProgramFailed, ConnectionLost, VMInterfaceError."""
    call.refuse_argument()
    with templaterepo.received(call, 60.0) as dnf:
        urls = _urls(dnf)
    if call.machine.which("curl") is None:
        raise ProgramMissing("curl is not installed (needed to fetch templates)")
    random.shuffle(urls)
    caller = Caller(call.stdout.fileno())
    sent = 0
    for url in urls:
        for _ in range(ATTEMPTS):
            whole, size = _fetch(call, caller, url, sent)
            sent += size
            if whole:
                return
            if not size:
                break
    raise VMInterfaceError(f"the package could not be fetched: {len(urls)} mirrors tried, {sent} bytes sent")


def _urls(dnf: Dnf) -> list[str]:
    words = ["--url"]
    if dnf.is_fifth and dnf.knows("download", "--allmirrors", timeout=FIND_TIMEOUT):
        words.append("--allmirrors")
    said = dnf.run("download", words, timeout=FIND_TIMEOUT, limit=_URLS_LIMIT).decode("latin-1")
    urls = [word for word in said.split() if _URL.match(word)]
    if not urls:
        raise VMInterfaceError("the repositories do not list the package")
    return urls


def _fetch(call: Call, caller: Caller, url: str, start: int) -> tuple[bool, int]:
    """Send what is at *url* from the byte *start* on; return whether that was all, and the bytes that were sent."""
    source, program_end = os.pipe()
    try:
        command = ["curl", "--fail", "--silent", "--location", *_PATIENCE, "--continue-at", str(start), "--", url]
        sent = 0
        try:
            program = Program(command, stdout=program_end, stderr=STDERR)
        finally:
            os.close(program_end)
        with program:
            while True:
                caller.wait(source)
                if not (piece := os.read(source, _CHUNK)):
                    return program.wait(timeout=GRACE) == 0, sent
                call.write(piece)
                sent += len(piece)
    finally:
        os.close(source)
