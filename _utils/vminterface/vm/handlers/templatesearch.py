"""``qubes.TemplateSearch``: ask the repositories that dom0 names which templates there are.

Input: dom0's request (``values.templaterequest``). Output: rows of ``values.template``. After Qubes core-agent-linux's
``qubes.TemplateSearch``, which runs dnf as well.
"""

from __future__ import annotations

from vminterface.values.template import FIELDS, REPLY_LIMIT
from vminterface.vm.handlers.files import templaterepo
from vminterface.vm.handlers.runtime.call import Call

#: Seconds for dnf, which fetches the repositories' lists at first: dom0 waits 600.
TIMEOUT = 570.0
_FORMAT = "".join(f"%{{{name}}}|" for name in FIELDS)


def handle(call: Call) -> None:
    """Answer with the rows. Raises InvalidValue, ProgramMissing, ProgramFailed, DeadlineExceeded."""
    call.refuse_argument()
    with templaterepo.received(call, 60.0) as dnf:
        # The fifth puts nothing between two packages.
        form = _FORMAT + ("\\n" if dnf.is_fifth else "")
        call.write(dnf.run("repoquery", [f"--qf={form}"], timeout=TIMEOUT, limit=REPLY_LIMIT))
