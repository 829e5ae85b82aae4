"""What the runner returns as lines for a terminal: one a host, and only what needs attention.

Everything shown is made printable once more: an outputter is given any data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vminterface.dom0.desired import words
from vminterface.dom0.reports.table import size
from vminterface.errors import printable, printable_value
from vminterface.values import moment

#: Names that are listed of a group, and characters of one of them.
_LISTED, _NAME = 5, 40
#: Columns of the line of a host, by the name of the count.
_COLUMNS = (
    ("ok", "converged"),
    ("drift", "drifted"),
    ("refused", "refused"),
    ("hung", "hung"),
    ("failed", "failed"),
    ("halted", "not_running"),
    ("no agent", "no_agent"),
    ("no pillar", "not_in_pillar"),
)


def render(data: Mapping[str, Any]) -> str:
    """Return *data*, what a function of the runner ``qubes_fleet`` returns, as text; others as plain text too."""
    kind = data.get("kind")
    lines = _KINDS.get(kind if isinstance(kind, str) else "", _other)
    return "\n".join(lines(data)) + "\n"


def _status(data: Mapping[str, Any]) -> Iterable[str]:
    made = moment.parse(data["made"])
    rows = [("host", "VMs", *(title for title, _ in _COLUMNS), "pillar", "last push")]
    for name, host in data["hosts"].items():
        one = host["record"]
        if one is None or one["error"]:
            continue
        vms = one["vms"].values()
        pushed = max((moment.parse(vm["pushed"]) for vm in vms if vm["pushed"]), default=None)
        age = "never" if pushed is None else moment.age(moment.parse(one["made"]) - pushed)
        counts = (_count(one["counts"][key]) for _, key in _COLUMNS)
        rows.append((_short(name), str(len(vms)), *counts, "ok" if one["pillar"]["valid"] else "WRONG", age))
    total = data["counts"]
    rows.append(("all", str(total["vms"]), *(_count(total[key]) for _, key in _COLUMNS), "", ""))
    yield from _table(rows)
    for name, host in data["hosts"].items():
        if text := host["error"] or (host["record"] or {}).get("error"):
            yield f"{_short(name)}: {printable(text)}"
        for wrong in ((host["record"] or {}).get("pillar") or {}).get("errors", []):
            yield f"{_short(name)}: pillar: {printable(wrong)}"
    for one in data["troubles"]:
        yield f"{one['state']}: {_names(one['vms'])}: {printable(one['reason'])}"
    for one in data["drift"]:
        yield _drifted(one)
    agents = {version or "none": count for version, count in data["agents"].items()}
    yield f"agents: {', '.join(f'{printable(v)} in {_vms(c)}' for v, c in agents.items()) or 'no VM runs'}"
    top = (f"{_short(one['host'])}/{_short(one['vm'])} {one['percent']:.0f} %" for one in data["memory"][:_LISTED])
    yield f"memory: {', '.join(top) or 'no VM reports it'}"
    hosts = f"{total['replied']} of {total['hosts']} hosts replied"
    yield f"{hosts}{'' if total['replied'] == total['hosts'] else ': THIS IS A PART ONLY'}, {moment.render(made)}"


def _drift(data: Mapping[str, Any]) -> Iterable[str]:
    for one in data["drift"]:
        yield _drifted(one)
        for value in one["values"]:
            owner = f", as the owner chose {printable_value(value['owner'])}" if "owner" in value else ""
            store, pillar = (printable(words.line(value[side]), 60) for side in ("store", "pillar"))
            yield f"  {store}, pillar {pillar}{owner}: {_names(value['vms'])}"
    yield from _unknown(data)
    if not data["drift"]:
        yield "no field differs"


def _report(data: Mapping[str, Any]) -> Iterable[str]:
    rows = [("host", "VMs", "used", "of", "block", "usb")]
    for name, host in data["hosts"].items():
        if host["error"]:
            continue
        used, most = (size(host[key] * 1024) for key in ("used_kb", "maximum_kb"))
        rows.append((_short(name), str(host["vms"]), used, most, str(host["block"]), str(host["usb"])))
    yield from _table(rows)
    for one in data["memory"]:
        used, most = (size(one[key] * 1024) for key in ("used_kb", "maximum_kb"))
        yield f"{_short(one['host'])}/{_short(one['vm'])}: {one['percent']:.0f} %, {used} of {most}"
    for one in data["devices"]:
        yield f"{_short(one['host'])}: {one['kind']} {printable(one['port'])}: {printable(one['description'])}"
    for one in data["warnings"]:
        yield f"{_short(one['host'])}: {printable(one['warning'])}"
    yield from _unknown(data)


def _clocks(data: Mapping[str, Any]) -> Iterable[str]:
    for one in data["clocks"]:
        yield f"{_short(one['host'])}/{_short(one['vm'])}: {printable(one['comment'])}"
    yield f"{_vms(data['right'])} right"
    if data["left_out"]:
        yield f"{_vms(data['left_out'])} left out by dom0's policy"
    yield from _unknown(data)


def _rollout(data: Mapping[str, Any]) -> Iterable[str]:
    for name, unit in data["units"].items():
        if unit["state"] in ("failed", "unsure", "not_restored"):
            state = unit["state"].replace("_", " ")
            yield f"{_short(name)}: {state}: {printable(unit['message'], 400)}"
    for state in ("restored", "waiting"):
        if names := [name for name, unit in data["units"].items() if unit["state"] == state]:
            listed = ", ".join(map(_short, names[:_LISTED]))
            yield f"{state}: {listed}{', ...' if len(names) > _LISTED else ''}"
    yield printable(data["comment"], 400)


def _page(data: Mapping[str, Any]) -> Iterable[str]:
    counts = data["counts"]
    hosts = f"{counts['hosts']} host{'' if counts['hosts'] == 1 else 's'}"
    yield f"{printable(data['path'], 400)}: {_vms(counts['vms'])} of {hosts}"
    yield from _unknown(data)


def _error(data: Mapping[str, Any]) -> Iterable[str]:
    yield printable(data["error"], 400)


def _other(data: Mapping[str, Any]) -> Iterable[str]:
    for name, one in data.items():
        yield f"{printable(str(name))}: {printable_value(one, 200)}"


def _drifted(one: Mapping[str, Any]) -> str:
    hosts = "1 host" if one["hosts"] == 1 else f"{one['hosts']} hosts"
    return f"drift: {printable(one['field'])} on {_vms(one['vms'])} of {hosts}"


def _unknown(data: Mapping[str, Any]) -> Iterable[str]:
    for name, text in data["unknown"].items():
        yield f"{_short(name)}: {printable(text)}"


def _names(vms: Sequence[Mapping[str, str]]) -> str:
    listed = ", ".join(f"{_short(one['host'])}/{_short(one['vm'])}" for one in vms[:_LISTED])
    return listed if len(vms) <= _LISTED else f"{_vms(len(vms))} ({listed}, ...)"


def _vms(count: int) -> str:
    return "1 VM" if count == 1 else f"{count} VMs"


def _count(number: int) -> str:
    return str(number) if number else "."


def _short(name: str) -> str:
    return printable(name, _NAME)


def _table(cells: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([row[0].ljust(widths[0]), *rest]).rstrip() if first else ""


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Iterable[str]]] = {
    "status": _status,
    "drift": _drift,
    "report": _report,
    "clocks": _clocks,
    "page": _page,
    "rollout": _rollout,
    "error": _error,
}
