"""``python -m lab``: dom0 and VMs on this machine, to try things out and to test with."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from lab.control import Lab
from lab.dom0.host import RELEASES
from lab.paths import LabPaths
from vminterface.errors import VMInterfaceError

_ONE_VM = {
    "start": "start a VM that was stopped",
    "stop": "stop a VM and release its domain",
    "restart": "stop a VM and start it as a new domain",
    "pause": "pause a VM: stop each of its processes",
    "unpause": "resume a paused VM",
    "restart-agent": "kill the agent of a VM and start another",
    "restart-qubesdb": "restart dom0's QubesDB daemon of a VM, which then has no keys",
    "screens": "start an X server with several monitors on display :0 of a VM",
}

_DAEMONS = {
    "restart-store": "end all connections to the XenStore daemon, as a restart that keeps its nodes does",
    "restart-qubesd": "stop qubesd and start it again",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="dom0 and VMs on this one machine, without Xen.")
    parser.add_argument("--dir", metavar="DIR", help="the lab's folder (default: $LAB_DIR, else .lab)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the store and the VMs")
    up.add_argument("--vms", type=Path, metavar="FILE", help='JSON such as [{"name": "work", "netvm": "sys-net"}, …]')
    up.add_argument("--store", choices=("ours", "xenstored"), default="ours", help="the XenStore daemon")
    up.add_argument(
        "--release", choices=RELEASES, default="R2", help="R2: XenStore; R3: a QubesDB for each VM; R4: and a qubesd"
    )
    up.add_argument("--screens", action="store_true", help="give each VM an X server")
    status = commands.add_parser("status", help="show what runs")
    status.add_argument("--json", action="store_true", help="print JSON for programs")
    for name in ("shell", "exec"):
        command = commands.add_parser(name, help="run a command in a VM (default: a shell)")
        command.add_argument("vm")
        command.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    for name, text in _ONE_VM.items():
        commands.add_parser(name, help=text).add_argument("vm")
    for name, text in _DAEMONS.items():
        commands.add_parser(name, help=text)
    commands.add_parser("logs", help="print the log of a VM's agent").add_argument("vm")
    commands.add_parser("down", help="stop everything and remove what it has left")
    demo = commands.add_parser("demo", help="demonstrate everything, then clean up")
    demo.add_argument("--release", choices=("R2", "R4"), action="append", help="only this one (default: both)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 0, 1 if something failed, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    lab = Lab(LabPaths.find(options.dir))
    try:
        return _do(lab, options)
    except VMInterfaceError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _do(lab: Lab, options: argparse.Namespace) -> int:
    command = options.command
    if command == "up":
        status = lab.up(options.vms, options.store, release=options.release, screens=options.screens)
        _print_status(status)
        print("\nFor programs of dom0:")
        for name, value in status["environment"].items():
            print(f"  export {name}={shlex.quote(value)}")
        print(f"  export PATH={shlex.quote(str(lab.paths.programs))}:$PATH")
        if status["python_path"]:
            print(f"  export PYTHONPATH={shlex.quote(status['python_path'])}${{PYTHONPATH:+:$PYTHONPATH}}")
    elif command == "status":
        status = lab.ask("status")
        if options.json:
            print(json.dumps(status, indent=2))
        else:
            _print_status(status)
    elif command in ("shell", "exec"):
        words = [word for number, word in enumerate(options.words) if number or word != "--"] or ["/bin/bash"]
        line, variables = lab.command_in(options.vm, words)
        if "LAB_ROOT" in variables:
            print(
                f"lab: this runs on the host: {options.vm} is only the folder {variables['LAB_ROOT']}", file=sys.stderr
            )
        sys.stdout.flush()
        os.execvpe(line[0], line, variables)
    elif command == "logs":
        if options.vm not in lab.ask("status")["vms"]:
            raise VMInterfaceError(f"there is no VM '{options.vm}' in this lab")
        print(lab.paths.vm_log(options.vm).read_text(errors="replace"), end="")
    elif command == "down":
        lab.down()
    elif command == "demo":
        from lab.demo.run import demo

        return demo(options.release)
    elif command == "screens":
        print(f"{options.vm}: {lab.ask(command, options.vm)} on display :0")
    else:
        lab.ask(command, getattr(options, "vm", ""))
    return 0


def _print_status(status: dict[str, Any]) -> None:
    print(f"release: {status['release']}, store: {status['store']} at {status['socket']}\n{status['isolation']}\n")
    print(f"{'VM':<12} {'domid':<6} {'state':<8} {'netvm':<10} {'screens':<24} agent")
    for name, told in status["vms"].items():
        domid = "-" if told["domid"] is None else told["domid"]
        netvm, screens, agent = (told[key] or "-" for key in ("netvm", "screens", "agent"))
        print(f"{name:<12} {domid:<6} {told['state']:<8} {netvm:<10} {screens:<24} {agent}")


if __name__ == "__main__":
    raise SystemExit(main())
