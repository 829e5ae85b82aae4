"""Who makes a push: the user, the one who became that user, the program, and the Salt job."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vminterface.errors import printable
from vminterface.regex import regex

#: What the kernel says of a login where there is none: a service.
_NO_LOGIN = 2**32 - 1
#: Words of a command line that name what is done: a function of Salt, a command of ours.
_FUNCTION, _COMMAND = regex(r"[a-z_]+\.[a-z_]+"), regex(r"[a-z]+")


def _job() -> Mapping[str, Any]:
    """Return what Salt keeps of the job that this thread works for, ``jid`` and ``user`` among it; or nothing."""
    # Where this program is Salt it has loaded that; the library itself loads nothing of Salt.
    context: Any = sys.modules.get("salt.utils.ctx")
    if context is None:
        return {}
    # Salt 3006 has a class for it.
    get = getattr(context, "get_request_context", None) or (lambda: context.RequestContext.current)
    job: Mapping[str, Any] = get().get("data", {})
    return job


def author() -> dict[str, Any]:
    """Return who makes the push that begins now, as plain data; what is not known is left out.

    ``user`` is whom this process runs as, ``sudo`` who called sudo(8), ``login`` who logged in, whatever became of that
    since (/proc/self/loginuid), ``job`` and ``job_user`` the Salt job and who published it.
    """
    job = _job()
    found = {
        "user": _name(os.getuid()),
        "sudo": os.environ.get("SUDO_USER"),
        "login": _login(),
        "program": program(),
        "pid": os.getpid(),
        "job": job.get("jid"),
        "job_user": job.get("user"),
    }
    return {what: printable(one, 100) if isinstance(one, str) else one for what, one in found.items() if one}


def program() -> str:
    """Return what this program is called and which of its commands or functions it runs.

    What else is on the command line is left out, as values may be secret.
    """
    name, *words = sys.argv or [""]
    path = Path(name)
    name = (path.parent.name if path.name == "__main__.py" else path.name) or "python"
    form = _FUNCTION if name.startswith("salt") else _COMMAND
    return " ".join([name, *[word for word in words if form.fullmatch(word)][:1]])


def _login() -> str | None:
    try:
        with open("/proc/self/loginuid", encoding="ascii") as file:
            number = int(file.read(20))
    except (OSError, ValueError):
        return None
    return None if number == _NO_LOGIN else _name(number)


def _name(number: int) -> str:
    import pwd  # here, as Salt's faces load this file for every salt-call

    try:
        return pwd.getpwuid(number).pw_name
    except (KeyError, OSError):
        return str(number)
