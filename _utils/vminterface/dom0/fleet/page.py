"""A fleet as one HTML file for people: totals, hosts, VMs, what differs and why; it needs no network and no script.

What hosts and VMs send has been read with bounds by the records; here all of it is escaped, by Jinja2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vminterface.dom0.desired import words
from vminterface.dom0.fleet import groups, record, replies
from vminterface.dom0.fleet.fleet import Fleet, Host
from vminterface.dom0.fleet.pagetemplate import MARKS, TEMPLATE
from vminterface.dom0.reports.table import size
from vminterface.dom0.transfer.wholefile import write_whole
from vminterface.errors import ProgramMissing, printable
from vminterface.values import moment
from vminterface.values.monitor import Monitor, MonitorLayout

#: The states of VMs as the page has them.
WORDS: Mapping[str, str] = {
    record.CONVERGED: "as configured",
    record.DRIFTED: "drifted",
    record.REFUSED: "refused",
    record.HUNG: "hung",
    record.FAILED: "failed",
    record.NOT_RUNNING: "not running",
    record.NOT_IN_PILLAR: "not in the pillar",
    record.UNKNOWN: "not compared",
}
#: The state of a host is the first of these that one of its VMs has.
_WORST = (record.FAILED, record.REFUSED, record.HUNG, record.UNKNOWN, record.DRIFTED)
SILENT = "silent"
#: Hosts with troubles that are open when the page is.
OPEN_MAX = 10
#: Characters of a text.
_TEXT_MAX = 4_096
#: Pixels of a drawing of monitors, at most.
_WIDTH, _HEIGHT = 160, 90


@dataclass(frozen=True, slots=True)
class _ShownHost:
    host: Host
    state: str
    #: How it is in a few words, and in fewer.
    summary: str
    short: str
    open: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """Monitors drawn to scale: *width* and *height* in pixels of the page, *box* and *letters* in those of monitors."""

    monitors: tuple[Monitor, ...]
    width: int
    height: int
    box: str
    letters: int
    label: str


def render(fleet: Fleet, *, compared: bool = True) -> str:
    """Return the page of *fleet*, ASCII throughout; *compared*: whether there was a pillar to compare VMs with.

    Raises ProgramMissing where there is no Jinja2.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ProgramMissing(
            "the page is made with Jinja2, which this Python does not have (Debian, Fedora: python3-jinja2)"
        ) from error
    words_of_states = WORDS if compared else {**WORDS, record.NOT_IN_PILLAR: "not compared"}
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        # Whoever has made a record: what becomes a part of the page is printable ASCII.
        finalize=lambda one: printable(one, _TEXT_MAX) if type(one) is str else one,
    )
    environment.filters.update(
        age=moment.age,
        moment=moment.render,
        line=words.line,
        size=lambda kilobytes: size(kilobytes * 1024),
        drawing=drawing,
    )
    text: str = environment.from_string(TEMPLATE).render(
        title="VMs as they are",
        fleet=fleet,
        counts=fleet.counts,
        states=record.STATES,
        words=words_of_states,
        troubled=record.TROUBLED,
        marks=MARKS,
        troubles=groups.troubles(fleet),
        drift=groups.drift(fleet),
        hosts=_hosts(fleet, words_of_states),
    )
    return text


def write(fleet: Fleet, path: str) -> dict[str, Any]:
    """Write the page of *fleet* to the file *path*; return what the runner returns of it.

    Raises FileError, ProgramMissing.
    """
    write_whole(path, [render(fleet).encode("ascii")])
    return {"kind": "page", "path": os.path.abspath(path), "counts": fleet.counts, "unknown": replies.unknown(fleet)}


def drawing(layout: MonitorLayout) -> Drawing:
    """Return *layout* as a picture to scale."""
    monitors = tuple(layout)
    left, top = min(one.x for one in monitors), min(one.y for one in monitors)
    width = max(one.x + one.width for one in monitors) - left
    height = max(one.y + one.height for one in monitors) - top
    scale = min(_WIDTH / width, _HEIGHT / height)
    label = "; ".join(f"{one.width} x {one.height} at {one.x},{one.y}" for one in monitors)
    return Drawing(
        monitors,
        width=max(1, round(width * scale)),
        height=max(1, round(height * scale)),
        box=f"{left} {top} {width} {height}",
        letters=max(1, round(14 / scale)),
        label=label,
    )


def _hosts(fleet: Fleet, words_of_states: Mapping[str, str]) -> list[_ShownHost]:
    found, opened = [], 0
    for host in fleet.hosts.values():
        is_open = not host.well and opened < OPEN_MAX
        opened += is_open
        summary, short = _summary(host, words_of_states)
        found.append(_ShownHost(host, _state(host), summary, short, is_open or len(fleet.hosts) == 1))
    return found


def _state(host: Host) -> str:
    if host.silent:
        return SILENT
    if host.record is None or host.record.error:
        return record.FAILED
    if host.record.pillar_errors:
        return record.UNKNOWN
    counts = host.record.counts
    return next((state for state in _WORST if counts[state]), record.CONVERGED)


def _summary(host: Host, words_of_states: Mapping[str, str]) -> tuple[str, str]:
    """Return how a host is, in a few words and in fewer."""
    if host.silent:
        return "no reply", "no reply"
    if host.record is None or host.record.error:
        return "not inspected", "not inspected"
    counts, vms = host.record.counts, len(host.record.vms)
    parts = [f"{counts[state]} {words_of_states[state]}" for state in record.STATES if counts[state]]
    if not parts:
        return "no VMs", "no VMs"
    return ", ".join(parts), parts[0] if len(parts) == 1 else f"{counts[record.CONVERGED]} of {vms} as configured"
