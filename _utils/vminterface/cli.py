"""The command ``vminterface``: what the Salt states do, for those who do not use Salt that day; and the VM's agent.

Exit status: 0 nothing to do or done, 1 something was refused or failed, 2 usage, 3 (``diff`` alone) there is drift.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from vminterface import __version__, cli_errors, cli_handlers, cli_report, cli_rpc, cli_services, cli_watch
from vminterface.cli_errors import USAGE, Parser, WrongCall
from vminterface.cli_pillar import load
from vminterface.errors import InvalidValue, ResourcesExhausted, VMInterfaceError, printable

DONE, FAILED, DRIFT = 0, 1, 3
#: By Ctrl-C; by SIGTERM it is 143, by SIGHUP 129.
ENDED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; an error is one line on stderr, or an object on stdout."""
    as_json = cli_errors.wants_json(sys.argv[1:] if argv is None else argv)
    try:
        options = _parser().parse_args(argv)
    except WrongCall as error:
        cli_errors.show(str(error), as_json=as_json)
        return USAGE
    as_json = getattr(options, "json", False)
    more = getattr(options, "with_error", None)
    if threading.current_thread() is threading.main_thread():
        # What is under way comes to its end, as at Ctrl-C; commands that stay have handlers of their own.
        signal.signal(signal.SIGTERM, _end)
        # A terminal that is closed; what nohup(1) starts goes on.
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, _end)
    try:
        return int(options.run(options))
    except VMInterfaceError as error:
        from vminterface.dom0.returns import sentence

        text = sentence(error)
        cli_errors.show(text, as_json=as_json, more=more and more(text))
        return USAGE if isinstance(error, WrongCall) else FAILED
    except (RuntimeError, MemoryError) as error:
        if (exhausted := ResourcesExhausted.of(error)) is None:
            raise
        cli_errors.show(str(exhausted), as_json=as_json, more=more and more(str(exhausted)))
        return FAILED
    except KeyboardInterrupt as interrupt:
        _print_errors(str(interrupt), as_json)
        return ENDED
    except SystemExit as interrupt:
        _print_errors("\n".join(getattr(interrupt, "__notes__", ())), as_json)
        raise
    except BrokenPipeError:
        # The reader went away (`vminterface get work | head -1`): nobody is left to tell.
        sys.stderr.close()
        return FAILED


def _print_errors(text: str, as_json: bool) -> None:
    """Print what came of a push that was interrupted."""
    cli_errors.show(text or ("interrupted" if as_json else ""), as_json=as_json)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="vminterface",
        description="Configure the VMs of this Xen or Qubes host, and see that they listened.",
        epilog="Exit status: 0 nothing to do or done, 1 refused or failed, 2 usage, 3 drift (diff alone).",
    )
    parser.add_argument("--version", action="version", version=f"vminterface {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    get = command("get", _get, "Show what the store holds of a VM, or of all running VMs.")
    get.add_argument("vm", nargs="?", metavar="VM")
    get.add_argument("fields", nargs="*", metavar="FIELD", help="such as timezone, network:ip, services:cups")
    set_ = command("set", _set, "Set fields of one running VM and wait until it has them.")
    set_.add_argument("vm", metavar="VM")
    set_.add_argument(
        "fields",
        nargs="+",
        metavar="FIELD=VALUE",
        help="such as timezone=Europe/Warsaw, services:cups=on; an option of a push, such as persist=no",
    )
    set_.add_argument("--timeout", type=float, metavar="SECONDS", help="how long the VM may take to acknowledge")
    for name, run, text in (
        ("diff", _diff, "Show what a push would change; it tells no monitors. Exit status 3 if anything would."),
        ("push", _push, "Bring running VMs to what the pillar says, but for monitors, and wait until they have it."),
    ):
        sub = command(name, run, text)
        sub.add_argument("vms", nargs="*", metavar="VM", help="these alone (default: every VM of the pillar)")
        sub.add_argument(
            "--pillar", required=True, metavar="FILE", help="YAML or JSON with qubes:vms; - reads standard input"
        )
    cli_rpc.add(command)
    cli_report.add(command)
    cli_services.add(command)
    cli_handlers.add(command)
    agent = command("agent", _agent, "Run in a VM: watch what dom0 says, apply it, acknowledge it.")
    agent.add_argument("--root", default="/", metavar="DIR", help="where this VM's files are (default: /)")
    agent.add_argument(
        "--live-services", action="store_true", help="start or stop the systemd unit that has a service's name"
    )
    for sub in commands.choices.values():
        if sub is not agent:
            sub.add_argument("--json", action="store_true", help="print JSON for programs")
    cli_watch.add(command)
    return parser


def _print(options: argparse.Namespace, data: Any, lines: Sequence[str]) -> None:
    print(json.dumps(data, indent=2, sort_keys=True) if options.json else "\n".join(lines))


def _get(options: argparse.Namespace) -> int:
    from vminterface.dom0 import returns, state
    from vminterface.dom0.targets import Targets
    from vminterface.errors import KeyNotFound

    with Targets() as targets:
        if options.vm is None:
            states, faults = state.observe(targets, targets.running())
        else:
            states, faults = state.read_all([targets.one(options.vm)])
    if options.vm in faults:
        raise faults[options.vm]
    held = {vm: one.texts for vm, one in sorted(states.items())}
    if missing := [f for f in options.fields if f not in held[options.vm]]:
        raise KeyNotFound(f"{options.vm}: no key for {', '.join(missing)}")
    data = {
        vm: {f: text for f, text in returns.fields(texts).items() if f in (options.fields or texts)}
        for vm, texts in held.items()
    }
    lines = [f"{vm}: {f}: {text}" for vm, own in data.items() for f, text in own.items()]
    _print(options, data | {vm: {"error": str(error)} for vm, error in faults.items()}, lines)
    for error in () if options.json else faults.values():
        print(f"vminterface: {error}", file=sys.stderr)
    return FAILED if faults else DONE


def _set(options: argparse.Namespace) -> int:
    from vminterface.dom0.settings import VMSettings

    raw: dict[str, Any] = {}
    for word in options.fields:
        field, equals, value = word.partition("=")
        group, colon, member = field.partition(":")
        if not equals or not field:
            raise WrongCall(f"'{printable(word)}' is not FIELD=VALUE (such as timezone=Europe/Warsaw)")
        if group in raw and isinstance(raw[group], dict) is not bool(colon):
            raise WrongCall(f"'{printable(group)}' is given as a whole and by part")
        into, key = (raw.setdefault(group, {}), member) if colon else (raw, group)
        if key in into:
            raise WrongCall(f"'{printable(field)}' is given twice")
        into[key] = (value.split(",") if member == "dns" else value) if colon else _option(group, value)
    raw.setdefault("require_running", True)
    if options.timeout is not None:
        raw["timeout"] = options.timeout
    return _apply(options, [VMSettings.parse(options.vm, raw)])


def _option(name: str, word: str) -> Any:
    """Return *word* as a pillar would have it if *name* is an option of a push; what is of another kind, as it is."""
    from vminterface.values import flags

    with contextlib.suppress(ValueError):
        if name in ("require_running", "persist", "confirm"):
            return flags.from_word({"yes": "on", "no": "off"}.get(word.lower(), word))
        if name == "timeout":
            return float(word)
    return word


def _push(options: argparse.Namespace) -> int:
    return _apply(options, _chosen(options))


def _apply(options: argparse.Namespace, settings: Sequence[Any]) -> int:
    from vminterface.dom0.push import push
    from vminterface.dom0.targets import Targets

    with Targets() as targets:
        outcomes = push(settings, targets)
    _report(options, outcomes, test=False)
    return DONE if all(o.ok for o in outcomes) else FAILED


def _diff(options: argparse.Namespace) -> int:
    from vminterface.dom0.push import diff
    from vminterface.dom0.targets import Targets

    settings = _chosen(options)
    with Targets() as targets:
        outcomes = diff(settings, targets)
    _report(options, outcomes, test=True)
    if not all(o.ok for o in outcomes):
        return FAILED
    return DRIFT if any(o.changes for o in outcomes) else DONE


def _report(options: argparse.Namespace, outcomes: Sequence[Any], *, test: bool) -> None:
    from vminterface.dom0 import returns

    data = returns.data_of(outcomes, test=test)
    lines = []
    for vm, own in data.items():
        lines.append(own["comment"])
        lines += [f"  {vm}: {field}: {c['old']} -> {c['new']}" for field, c in own["changes"].items()]
    _print(options, data, lines or ["0 VMs: nothing to do"])


def _chosen(options: argparse.Namespace) -> list[Any]:
    from vminterface.dom0.settings import parse_pillar

    settings = parse_pillar(load(options.pillar), source=options.pillar)
    if unknown := set(options.vms) - {s.vm for s in settings}:
        raise InvalidValue(f"{options.pillar}: no qubes:vms:{sorted(unknown)[0]} there")
    return [s for s in settings if not options.vms or s.vm in options.vms]


def _agent(options: argparse.Namespace) -> int:
    from vminterface.vm import agent

    return agent.run(root=options.root, live_services=options.live_services)
