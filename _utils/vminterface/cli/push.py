"""The commands that bring VMs to what is asked for: ``vminterface set``, ``vminterface diff``, ``vminterface push``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from vminterface.cli.errors import WrongCall
from vminterface.cli.output import print_data
from vminterface.cli.pillar import load
from vminterface.cli.terminal import Style
from vminterface.errors import InvalidValue, printable

DONE, FAILED, DRIFT = 0, 1, 3

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the commands to those of the command line."""
    set_ = command("set", _set, "Set fields of one running VM and wait for its acknowledgement.")
    set_.add_argument("vm", metavar="VM")
    set_.add_argument(
        "fields",
        nargs="+",
        metavar="FIELD=VALUE",
        help="such as timezone=Europe/Warsaw, services:cups=on; an option of a push, such as persist=no",
    )
    set_.add_argument("--timeout", type=float, metavar="SECONDS", help="how long the VM may take to acknowledge")
    for name, run, text in (
        ("diff", _diff, "Print what a push would change, including monitors. Exit status 3 if there is a change."),
        ("push", _push, "Apply the pillar to the running VMs, including monitors, and wait for their acknowledgement."),
    ):
        sub = command(name, run, text)
        sub.add_argument("vms", nargs="*", metavar="VM", help="only these (default: every VM of the pillar)")
        sub.add_argument(
            "--pillar", required=True, metavar="FILE", help="YAML or JSON with qubes:vms; - reads standard input"
        )


def _set(options: argparse.Namespace) -> int:
    from vminterface.dom0.desired.settings import VMSettings

    raw: dict[str, Any] = {}
    for word in options.fields:
        field, equals, value = word.partition("=")
        group, colon, member = field.partition(":")
        if not equals or not field:
            raise WrongCall(f"'{printable(word)}' is not FIELD=VALUE (such as timezone=Europe/Warsaw)")
        if group in raw and isinstance(raw[group], dict) is not bool(colon):
            raise WrongCall(f"'{printable(group)}' is given both as a whole and in parts")
        into, key = (raw.setdefault(group, {}), member) if colon else (raw, group)
        if key in into:
            raise WrongCall(f"'{printable(field)}' is given twice")
        into[key] = _option(group, value) if not colon else value.split(",") if _is_list(field, value) else value
    raw.setdefault("require_running", True)
    if options.timeout is not None:
        raw["timeout"] = options.timeout
    return _apply(options, [VMSettings.parse(options.vm, raw)])


def _is_list(field: str, value: str) -> bool:
    """Whether the pillar has a list for *field*, whose members have commas between them here."""
    return field in ("network:dns", "network:dns_search", "provides_network:dns") and value != "default"


def _option(name: str, word: str) -> Any:
    """Return *word* as a pillar would have it if *name* is an option of a push or has members; others as they are."""
    from vminterface.cli import pillaryaml
    from vminterface.values import flags

    if name == "monitors" and word.startswith(("[", "{")):
        return pillaryaml.load(name, word)
    with contextlib.suppress(ValueError):
        if name in ("require_running", "persist", "confirm"):
            return flags.from_word({"yes": "on", "no": "off"}.get(word.lower(), word))
        if name == "timeout":
            return float(word)
        if name == "optional":
            return word.split(",")
    return word


def _push(options: argparse.Namespace) -> int:
    return _apply(options, chosen(options))


def _apply(options: argparse.Namespace, settings: Sequence[Any]) -> int:
    from vminterface.dom0.inventory.targets import Targets
    from vminterface.dom0.push.push import push

    def report(outcomes: Sequence[Any]) -> None:
        _report(options, outcomes, test=False)
        options.reported = True

    with Targets.patient_for(settings) as targets:
        outcomes = push(settings, targets, report=report)
    return DONE if all(o.as_asked for o in outcomes) else FAILED


def _diff(options: argparse.Namespace) -> int:
    from vminterface.dom0.inventory.targets import Targets
    from vminterface.dom0.push.push import diff

    settings = chosen(options)
    with Targets() as targets:
        outcomes = diff(settings, targets)
    _report(options, outcomes, test=True)
    if not all(o.as_asked for o in outcomes):
        return FAILED
    return DRIFT if any(o.changes for o in outcomes) else DONE


def _report(options: argparse.Namespace, outcomes: Sequence[Any], *, test: bool) -> None:
    from vminterface.dom0.desired import words
    from vminterface.dom0.results import returns

    data = returns.data_of(outcomes, test=test, keys=options.keys)
    lines, style = [], Style(sys.stdout)
    for vm, own in data.items():
        lines.append(style.bold(own["comment"]) if own["ok"] else style.red(own["comment"]))
        for field, change in own["changes"].items():
            old, new = (words.line(change[when]) for when in ("old", "new"))
            lines.append(f"  {vm}: {field}: {style.red(old)} -> {style.green(new)}")
    print_data(options, data, lines or ["0 VMs: nothing to do"])


def chosen(options: argparse.Namespace) -> list[Any]:
    """Return the settings of the VMs that are named, of all in the pillar where none is. Raises InvalidValue."""
    from vminterface.dom0.desired.settings import parse_pillar

    settings = parse_pillar(load(options.pillar), source=options.pillar)
    if unknown := set(options.vms) - {s.vm for s in settings}:
        raise InvalidValue(f"{options.pillar}: qubes:vms:{sorted(unknown)[0]} is missing")
    return [s for s in settings if not options.vms or s.vm in options.vms]
