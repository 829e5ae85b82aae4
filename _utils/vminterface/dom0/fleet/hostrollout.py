"""A rollout over hosts, from their master: each wave is one job of its hosts, and each host all or nothing.

How hosts are asked is the caller's: *ask* is given a function of the minions, hosts and arguments, and returns what
each has returned, and by host why others have not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vminterface.dom0.fleet import rollout, untrusted, waves
from vminterface.dom0.fleet.journal import DONE, FAILED, LEFT, UNSURE, Journal, Unit
from vminterface.errors import InvalidValue

#: Asks hosts: (function, hosts, arguments) → (returns, why others have not returned).
Ask = Callable[[str, Sequence[str], Mapping[str, Any]], tuple[Mapping[str, Any], Mapping[str, str]]]
#: Names of VMs that are in the message about a host.
_NAMED = 3


def begin(
    name: str,
    hosts: Sequence[str],
    ask: Ask,
    folder: str,
    *,
    canary: Sequence[str],
    sizes: Sequence[object],
    failures: int,
    only: Sequence[str] | None,
) -> dict[str, Any]:
    """Push to *hosts*, those of *canary* first, and return the result; the journal is in *folder*."""
    with Journal.begin(name, waves.plan(sorted(hosts), canary, sizes), folder) as journal:
        rollout.run(journal, *_steps(name, ask, only), failures=failures)
        return journal.as_data()


def resume(name: str, ask: Ask, folder: str, *, failures: int, only: Sequence[str] | None) -> dict[str, Any]:
    """Go on with a rollout that was killed or has stopped."""
    with Journal.open(name, folder) as journal:
        rollout.resume(journal, *_steps(name, ask, only), failures=failures)
        return journal.as_data()


def restore(name: str, ask: Ask, folder: str) -> dict[str, Any]:
    """Let all hosts give their VMs back what they had before the rollout."""
    with Journal.open(name, folder) as journal:
        rollout.restore(journal, _steps(name, ask, None)[2])
        return journal.as_data()


def _steps(name: str, ask: Ask, only: Sequence[str] | None) -> tuple[rollout.Observe, rollout.Give, rollout.Take]:
    def observe(wave: Sequence[str]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """Every host may have to give something back; what, its own journal knows. A silent one is known before."""
        returns, silent = ask("test.ping", wave, {})
        return {host: {} for host in wave}, {host: why for host, why in silent.items() if host not in returns}

    def give(wave: Sequence[str]) -> Mapping[str, Unit]:
        # Its VMs are one wave there: what is a part of all is a part of the hosts here.
        returns, silent = ask("qubes_rollout.push", wave, {"name": name, "waves": "100%", "only": only, "again": True})
        late = {host: Unit(UNSURE, f"{why}; what it has is not known") for host, why in silent.items()}
        return {**late, **{host: _given(one) for host, one in returns.items() if host in wave}}

    def take(former: Mapping[str, Any]) -> Mapping[str, str]:
        if not former:
            return {}
        returns, silent = ask("qubes_rollout.restore", list(former), {"name": name, "missing_ok": True})
        left = {host: _not_taken(one) for host, one in returns.items()}
        return {**dict(silent), **{host: why for host, why in left.items() if why}}

    return observe, give, take


def _given(reply: object) -> Unit:
    """Return the outcome of the rollout on one host."""
    try:
        data = untrusted.mapping(reply, "")
        comment = untrusted.text(data.get("comment"), "comment")
        if data.get("ended") == rollout.COMPLETE:
            return Unit(DONE, comment)
        return Unit(FAILED, f"{comment}{_reasons(data)}")
    except InvalidValue as error:
        return Unit(FAILED, untrusted.why_unread(reply, error))


def _not_taken(reply: object) -> str:
    """Return what a host could not give back, empty where it could all."""
    try:
        data = untrusted.mapping(reply, "")
        comment = untrusted.text(data.get("comment"), "comment")
        if data.get("ended") == rollout.NEVER_BEGUN or (data.get("ended") == rollout.TAKEN_BACK and not _reasons(data)):
            return ""
        return f"{comment}{_reasons(data)}"
    except InvalidValue as error:
        return untrusted.why_unread(reply, error)


def _reasons(data: Mapping[Any, Any]) -> str:
    units = untrusted.mapping(data.get("units"), "units", untrusted.VMS_MAX)
    failed = [
        untrusted.text(one.get("message"), "message")
        for one in (untrusted.mapping(unit, "units") for unit in units.values())
        if one.get("state") in (FAILED, LEFT)
    ]
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return f": {'; '.join(failed[:_NAMED])}{more}" if failed else ""
