"""The command ``vminterface report``: how running VMs are, for people, for programs, for Prometheus, and as a page."""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vminterface.cli.errors import WrongCall
from vminterface.errors import printable

if TYPE_CHECKING:
    from vminterface.dom0.desired.settings import VMSettings
    from vminterface.dom0.fleet.record import HostRecord

DONE, FAILED = 0, 1

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    report = command("report", _report, "Print the memory and the offered devices that running VMs report.")
    report.add_argument("vm", nargs="?", metavar="VM")
    report.add_argument("--prometheus", action="store_true", help="print metrics in Prometheus' text format")
    report.add_argument("--html", metavar="FILE", help="write an HTML page, which needs no network and no script")
    report.add_argument(
        "--pillar", metavar="FILE", help="for both, compare the VMs with this pillar; - reads standard input"
    )
    report.add_argument("--output", metavar="FILE", help="with --prometheus, write to this file, whole or not at all")


def _report(options: argparse.Namespace) -> int:
    if options.prometheus or options.html is not None:
        return _of_host(options)
    for option, other in (("pillar", "--prometheus or --html"), ("output", "--prometheus")):
        if getattr(options, option) is not None:
            raise WrongCall(f"--{option}: expected {other} with it")
    from vminterface.dom0.inventory.targets import Targets
    from vminterface.dom0.reports import devices, table

    with Targets() as targets:
        found = devices.read(targets, None if options.vm is None else [options.vm])
    data = {vm: devices.as_data(report) for vm, report in found.items()}
    if options.json:
        print(json.dumps(data, indent=2, sort_keys=True))
    else:
        print(table.render(data, shutil.get_terminal_size().columns), end="")
    # Of the others everything is shown; but it is not all that was asked for.
    return FAILED if any(report.unread for report in found.values()) else DONE


def _of_host(options: argparse.Namespace) -> int:
    """Write metrics or a page about all VMs; the exit status is 0 if all could be read."""
    wrong = {"VM": options.vm, "--json": options.json or None}
    wrong |= {"--html": options.html} if options.prometheus else {"--output": options.output}
    for what, given in wrong.items():
        if given is not None:
            raise WrongCall(f"{'--prometheus' if options.prometheus else '--html'}: expected no {what} with it")
    record, compared = _record(options), options.pillar is not None
    if options.prometheus:
        from vminterface.dom0.fleet import prometheus

        text, path = prometheus.render(record, compared=compared), options.output
    else:
        from vminterface.dom0.fleet import page
        from vminterface.dom0.fleet.fleet import Fleet, Host

        host = Host(printable(socket.gethostname(), 80), record)
        text, path = page.render(Fleet.of(record.made, [host]), compared=compared), options.html
    if path is None:
        print(text, end="")
    else:
        from vminterface.dom0.transfer.wholefile import write_whole

        write_whole(path, [text.encode("ascii")])
    return _failed(record)


def _record(options: argparse.Namespace) -> HostRecord:
    """Return the record of this host, compared with the pillar if one is given."""
    from vminterface.dom0.fleet.inspect import host_record
    from vminterface.dom0.inventory.targets import Targets

    def parse() -> Sequence[VMSettings]:
        if options.pillar is None:
            return ()
        from vminterface.cli.pillar import load
        from vminterface.dom0.desired.settings import parse_pillar

        return parse_pillar(load(options.pillar), source=options.pillar)

    return host_record(parse, Targets)


def _failed(record: HostRecord) -> int:
    """Print what kept the record from being whole; return the exit status."""
    errors = [*record.pillar_errors, *filter(None, [record.error])]
    for error in errors:
        print(f"vminterface: {error}", file=sys.stderr)
    return FAILED if errors else DONE
