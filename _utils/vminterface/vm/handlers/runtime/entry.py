"""The files of the qrexec agent: the program of a service, and its configuration.

Places and forms: Qubes core-qrexec, ``qubes-rpc-config/README`` and ``libqrexec/exec.c``.
"""

from __future__ import annotations

from vminterface.vm.handlers.runtime.table import Service

#: The folder of programs, and that of configurations; each file is named after its service.
PROGRAMS = "/etc/qubes-rpc"
CONFIGURATIONS = "/etc/qubes/rpc-config"
#: The line by which a program is known to be one of these.
MARK = "from vminterface.vm.handlers.runtime.run import main\n"
#: That line in programs that former versions have installed; installing replaces them.
FORMER_MARKS = ("from vminterface.vm.handlers.run import main\n",)


def entry(service: str, library: str, python: str = "/usr/bin/python3", root: str = "/") -> str:
    """Return the text of the program that answers *service*; its file needs mode 0755.

    *library* is the folder in which the package ``vminterface`` is. The interpreter takes nothing from the environment
    and from ``site-packages``: that is safer where root is served, and takes a quarter of its start away. The second
    line is a plain string to Python; the agent of R2 and R3, which hands every such file to the shell, runs it.
    """
    return f"""#!{python} -IS
"exec" "{python}" "-IS" "$0" "$@"
import sys
sys.path.insert(0, {library!r})
{MARK}sys.exit(main({service!r}, {root!r}))
"""


def configuration(service: Service) -> str:
    """Return the text of the service's configuration, empty if it needs no file.

    ``force-user`` is known from core-qrexec 4.2.12 on, and ignored before that: then dom0 chooses the user.
    """
    lines = []
    if service.as_root:
        lines.append("force-user = 'root'\n")
    if service.waits_for_session:
        # R4.1 and the first of R4.2 read it by this very pattern, with no blank and a number; all later ones take it.
        lines.append("wait-for-session=1\n")
    return "".join(lines)
