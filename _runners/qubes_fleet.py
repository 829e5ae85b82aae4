"""
Many hosts seen from their Salt master: how their VMs are, what differs, what they report, whose clocks are wrong; and
a push to them batch by batch.

Each dom0 is a minion; nothing but Salt's own jobs goes there, and what a host or its VMs send is read with bounds.
A host that does not reply costs *timeout* seconds, and is named: what is shown then is a part. Lines are shown on a
terminal, one a host; ``--out=json`` shows all of it to programs. The exit status is 0 where all is well, 3 where VMs
have drifted and nothing else is wrong, and 1 where anything is.

Needs the library ``vminterface``: ``salt-run saltutil.sync_all`` copies it with this runner and its outputter to the
master, or it is installed there as a package.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import salt.client as _salt_client
import salt.utils.minions as _salt_minions
from salt.exceptions import SaltClientError

# Salt puts the synced `_utils` on the import path while it loads modules, states or grains, but not always for runners.
_SYNCED = str(Path(__file__).parent.with_name("utils"))
sys.path.append(_SYNCED)
try:
    from vminterface.dom0.desired import arguments as _arguments
    from vminterface.dom0.fleet import fleet as _fleet
    from vminterface.dom0.fleet import replies as _replies
    from vminterface.errors import InvalidValue, VMInterfaceError, printable

    MISSING = ""
except ImportError as error:
    MISSING = str(error)
finally:
    sys.path.remove(_SYNCED)

__context__: dict[str, Any]
__opts__: dict[str, Any]
__salt__: dict[str, Callable[..., Any]]

__virtualname__ = "qubes_fleet"

#: The exit status where VMs have drifted and nothing else is wrong.
DRIFT = 3
#: Seconds in which a master finds out whether a minion is still at work, at most; Salt's own time is 10.
_GATHER = 5


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_fleet: {MISSING}; run saltutil.sync_all (salt-run saltutil.sync_all on the master)"
    return __virtualname__


def status(
    tgt: Any = "*", tgt_type: str = "glob", timeout: float = 15, jid: Any = None, ret: str = ""
) -> dict[str, Any]:
    """
    Return how the VMs of many hosts are: the record of each host, and of them all what needs attention.

    One line a host: VMs that are as configured, that have drifted, that refused their settings, hang, failed or do not
    run, VMs without an agent and those that no pillar names, whether the pillar is valid, and the age of the last good
    push; then refusals by reason, fields that differ, versions of agents, and the VMs that use most of their memory.

    .. versionadded:: 0.1.0

    tgt, tgt_type
        Which minions, as for ``salt``.
    timeout
        Seconds that the hosts have; as many again may pass until it is known that one does not reply.
    jid
        The ID of a job that has run ``qubes_vm.summary``, as ``salt --async`` shows it: its returns are taken from the
        job cache (or the returner that keeps it), and no host is asked.
    ret
        A returner that the hosts send their records to, too.

    CLI Example:

    .. code-block:: bash

        salt-run qubes_fleet.status
        salt-run --out=json qubes_fleet.status 'dom0-*' timeout=30
        salt-run qubes_fleet.status jid=20261130010509123456
    """
    return _run(lambda: _status(_replies.status, tgt, tgt_type, timeout, jid, ret))


def drift(
    tgt: Any = "*", tgt_type: str = "glob", timeout: float = 15, jid: Any = None, ret: str = ""
) -> dict[str, Any]:
    """
    Return the fields in which VMs differ from the pillar, grouped: ``timezone`` on 37 VMs of 12 hosts.

    By field, and by what the store and the pillar have, the VMs of which that is so.

    .. versionadded:: 0.1.0

    tgt, tgt_type, timeout, jid, ret
        As for ``status``.

    CLI Example:

    .. code-block:: bash

        salt-run qubes_fleet.drift
    """
    return _run(lambda: _status(_replies.drift, tgt, tgt_type, timeout, jid, ret))


def report(
    tgt: Any = "*", tgt_type: str = "glob", timeout: float = 15, jid: Any = None, ret: str = "", most: int = 10
) -> dict[str, Any]:
    """
    Return what the VMs of many hosts report: memory by host, the VMs that use most of theirs, and devices.

    .. versionadded:: 0.1.0

    tgt, tgt_type, timeout, ret
        As for ``status``.
    jid
        The ID of a job that has run ``qubes_vm.report``.
    most
        How many VMs are listed by memory.

    CLI Example:

    .. code-block:: bash

        salt-run qubes_fleet.report most=20
    """

    def read() -> dict[str, Any]:
        count = _arguments.count(most, "most")
        return _replies.report(*_replied("qubes_vm.report", tgt, tgt_type, timeout, jid, ret), count)

    return _run(read)


def page(
    path: str, tgt: Any = "*", tgt_type: str = "glob", timeout: float = 15, jid: Any = None, ret: str = ""
) -> dict[str, Any]:
    """
    Write how the VMs of many hosts are as one HTML page, which needs no network and no script.

    Totals, refusals by reason, fields that differ, hosts as tiles, and of each VM its state, memory, agent, last good
    push and monitors. Needs Jinja2, which Salt brings. The exit status is that of ``status``.

    .. versionadded:: 0.1.0

    path
        The file on the master, which is written whole or not at all.
    tgt, tgt_type, timeout, jid, ret
        As for ``status``.

    CLI Example:

    .. code-block:: bash

        salt-run qubes_fleet.page /root/vms.html
        salt-run qubes_fleet.page vms.html jid=20261130010509123456
    """

    def write() -> dict[str, Any]:
        from vminterface.dom0.fleet import page as html  # here, as other functions do without it

        file = _arguments.text(path, "path")
        return _status(lambda fleet: html.write(fleet, file), tgt, tgt_type, timeout, jid, ret)

    return _run(write)


def clocks(
    tgt: Any = "*", tgt_type: str = "glob", timeout: float = 60, jid: Any = None, ret: str = "", sync: bool = False
) -> dict[str, Any]:
    """
    Return the VMs whose clocks are wrong, on all hosts, and how many are right; with *sync* bring them right.

    VMs that a host's policy does not let ask for the time are left out, and counted as such.

    The exit status is 3 where clocks are wrong that could be set, and 1 where one could not be read or set.

    .. versionadded:: 0.1.0

    tgt, tgt_type, timeout, ret
        As for ``status``.
    jid
        The ID of a job that has run ``qubes_vm.sync_clocks``.
    sync
        Whether the clocks are set, as ``qubes_vm.sync_clocks`` does.

    CLI Example:

    .. code-block:: bash

        salt-run qubes_fleet.clocks
        salt-run qubes_fleet.clocks sync=True
    """

    def read() -> dict[str, Any]:
        test = not _arguments.flag(sync, "sync")
        data = _replies.clocks(*_replied("qubes_vm.sync_clocks", tgt, tgt_type, timeout, jid, ret, test=test))
        failed = data["unknown"] or not all(one["ok"] for one in data["clocks"])
        return {**data, "retcode": 1 if failed else DRIFT if test and data["clocks"] else 0}

    return _run(read)


def push(
    name: str, tgt: Any = "*", tgt_type: str = "glob", canary: Any = None, batch: Any = "25%", failures: int = 1,
    only: Any = None, timeout: float = 60, resume: bool = False, restore: bool = False, test: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """
    Push the pillars of many hosts to their VMs, a few hosts first, and stop where one of their VMs refuses.

    On each host all VMs are pushed to at once, all of them or none. Where a host fails, or does not reply, the hosts of
    its batch give their VMs back what they had, and no other host is touched. What is done is kept on the master and
    on the hosts, so that one that was killed is resumed, or taken back as a whole. By host its ``wave``, ``state``
    (``done``, ``failed``, ``unsure`` for one that did not reply, ``restored``, ``not_restored``, ``waiting``) and
    ``message``. The exit status is 1 unless it is complete.

    .. versionadded:: 0.1.0

    name
        Name of the rollout, which no former one has: letters, digits, ``_``, ``.`` and ``-``.
    tgt, tgt_type
        Which minions, as for ``salt``.
    canary
        List of the minions that are first.
    batch
        Sizes of the batches after these: numbers or parts of the other hosts, such as ``[5, 25%]``; the last one holds
        until no host is left.
    failures
        At how many hosts that fail it stops.
    only
        List of fields (``timezone``, ``services``, ``network``, …); the others are left alone.
    timeout
        Seconds after which a host that does not report to be at work counts as silent.
    resume
        Whether to go on with one that was killed or has stopped; it knows its hosts.
    restore
        Whether to give all VMs back what they had before it.
    test
        Whether to return the batches alone, and do nothing.

    CLI Example:

    .. code-block:: bash

        salt-run qubes_fleet.push zones 'dom0-*' canary='[dom0-paris]' batch='[5, 25%]'
        salt-run qubes_fleet.push zones resume=True
        salt-run qubes_fleet.push zones restore=True
    """

    def ask(function: str, hosts: Any, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        return _replied(function, list(hosts), "list", timeout, None, "", **arguments)

    def work() -> dict[str, Any]:
        from vminterface.dom0.fleet import hostrollout, vmrollout, waves

        folder = str(Path(__opts__["cachedir"], __virtualname__))
        text, many = _arguments.text(name, "name"), _failures(failures)
        fields = None if only is None else _arguments.texts(only, "only")
        if _arguments.flag(resume, "resume") and _arguments.flag(restore, "restore"):
            raise InvalidValue("expected one of resume and restore", "resume")
        if restore:
            data = hostrollout.restore(text, ask, folder)
        elif resume:
            data = hostrollout.resume(text, ask, folder, failures=many, only=fields)
        else:
            hosts = _matching(tgt, tgt_type)
            first = [] if canary is None else _arguments.texts(canary, "canary")
            sizes = waves.sizes_of(batch)
            if _arguments.flag(test, "test"):
                return _plan(text, waves.plan(hosts, first, sizes))
            data = hostrollout.begin(text, hosts, ask, folder, canary=first, sizes=sizes, failures=many, only=fields)
        return {**data, "unknown": {}, "retcode": 0 if vmrollout.succeeded(data) else 1}

    return _run(work)


def _status(
    render: Callable[[_fleet.Fleet], dict[str, Any]], tgt: Any, tgt_type: Any, timeout: Any, jid: Any, ret: Any
) -> dict[str, Any]:
    fleet = _replies.fleet(time.time(), *_replied("qubes_vm.summary", tgt, tgt_type, timeout, jid, ret))
    return {**render(fleet), "retcode": 0 if fleet.well else DRIFT if fleet.only_drifted else 1}


def _run(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what *work* returns, shown as lines where ``salt-run`` shows it, and set the exit status."""
    try:
        data = work()
    except VMInterfaceError as error:
        where = f"{error.where}: " if isinstance(error, InvalidValue) and error.where else ""
        data = {"kind": "error", "error": f"{where}{error}", "unknown": {}, "retcode": 1}
    data.setdefault("retcode", 1 if data["unknown"] else 0)
    __context__["retcode"] = data["retcode"]
    # Salt shows this form, and no other that has more beside it, with the outputter that it names. Its state for
    # runners takes such a form for the result of states.
    called = str(__opts__.get("fun", "")).startswith(f"{__virtualname__}.")
    return {"outputter": __virtualname__, "data": data} if called else data


def _replied(
    function: str, tgt: Any, tgt_type: Any, timeout: Any, jid: Any, ret: Any, **arguments: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the hosts have returned, and by host why others have not."""
    if jid is not None:
        return _of_job(function, str(jid))
    seconds = _arguments.seconds(timeout, "timeout")
    target = tgt if isinstance(tgt, list) else _arguments.text(tgt, "tgt")
    returner, kind = _arguments.text(ret, "ret"), _arguments.text(tgt_type, "tgt_type")
    how: dict[str, Any] = {"timeout": seconds, "gather_job_timeout": max(1, min(_GATHER, int(seconds)))}
    found: dict[str, Any] = {}
    try:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(_salt_client.get_local_client(__opts__["conf_file"]))
            how |= {"tgt_type": kind, "ret": returner, "kwarg": arguments, "yield_pub_data": True}
            # Its end uses the client, which it must not outlive.
            jobs = stack.enter_context(contextlib.closing(client.cmd_iter(target, function, **how)))
            # Salt prints why it has published nothing; where JSON is asked for, nothing else may be printed.
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                published = next(jobs, None)
            if not published:
                why = printed.getvalue().strip()
                if why and not why.startswith("No minions matched"):
                    raise VMInterfaceError(f"the master cannot be asked: {printable(why, 200)}")
                raise VMInterfaceError(f"no minion of this master matches '{printable(str(target), 80)}' ({kind})")
            for reply in jobs:
                found.update({name: one["ret"] for name, one in reply.items() if "ret" in one})
    except SaltClientError as error:
        raise VMInterfaceError(f"the master cannot be asked: {error}") from error
    late = f"no reply within {seconds:g} s"
    return found, {name: late for name in published["minions"] if name not in found}


def _of_job(function: str, jid: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the hosts have returned to a former job, as the master's job cache has it."""
    job = __salt__["jobs.list_job"](jid)
    if job.get("Function") != function:
        what = printable(str(job.get("Function") or job.get("Error") or "unknown"), 80)
        raise InvalidValue(f"'{printable(jid, 40)}': {what} (expected a job of {function})", "jid")
    found = {name: _return(one) for name, one in job.get("Result", {}).items()}
    return found, {n: f"no return in job {jid}" for n in job.get("Minions", ()) if n not in found}


def _return(one: Any) -> Any:
    return one["return"] if isinstance(one, Mapping) and "return" in one else one


def _failures(value: Any) -> int:
    if not (count := _arguments.count(value, "failures")):
        raise InvalidValue("expected a number from 1, got 0", "failures")
    return count


def _matching(tgt: Any, tgt_type: str) -> list[str]:
    """Return the minions that the master knows and that match."""
    target, kind = tgt if isinstance(tgt, list) else _arguments.text(tgt, "tgt"), _arguments.text(tgt_type, "tgt_type")
    hosts = sorted(_salt_minions.CkMinions(__opts__).check_minions(target, kind)["minions"])
    if not hosts:
        raise VMInterfaceError(f"no minion of this master matches '{printable(str(target), 80)}' ({kind})")
    return hosts


def _plan(name: str, batches: list[list[str]]) -> dict[str, Any]:
    units = {host: {"wave": at, "state": "waiting", "message": ""} for at, one in enumerate(batches, 1) for host in one}
    comment = f"{name}: would reach {len(units)} hosts in {len(batches)} batches"
    return {"kind": "rollout", "rollout": name, "comment": comment, "ended": "", "units": units, "unknown": {}}
