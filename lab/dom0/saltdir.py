"""A dom0's Salt in a folder of its own: the shipped modules, formula and pillar, and what the admin adds to these."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.linux import processes
from lab.paths import PROJECT
from vminterface.errors import DeadlineExceeded, ProgramFailed

_RUN_SECONDS = 60.0
#: The folders of this checkout that Salt copies to its minion, under the file root.
_SYNCED = ("_modules", "_states", "_grains", "_beacons", "_utils")
_CALL = "from salt.scripts import salt_call; salt_call()"


@dataclass(frozen=True, slots=True)
class StateResult:
    """What a run's report says of one state, or of one VM of the push; *name* is its ID, or the VM's."""

    name: str
    ok: bool
    changes: dict[str, Any]
    comment: str


class SaltDir:
    """The configuration below *folder*; its runs find the lab's dom0 by this process's environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        tree, etc, pillar = folder / "srv", folder / "etc", folder / "pillar"
        for each in (tree, etc, pillar):
            each.mkdir(parents=True)
        for name in _SYNCED:
            if (PROJECT / name).is_dir():
                (tree / name).symlink_to(PROJECT / name)
        (tree / "top.sls").write_text("base:\n  dom0:\n    - vminterface\n")
        (pillar / "top.sls").write_text("base:\n  dom0:\n    - qubes\n    - own\n")
        config = {
            "id": "dom0",
            "file_client": "local",
            "root_dir": str(folder / "root"),
            "file_roots": {"base": [str(tree), str(PROJECT / "formulas")]},
            "pillar_roots": {"base": [str(pillar), str(PROJECT / "pillar")]},
            "log_level": "quiet",
            "log_level_logfile": "quiet",
        }
        if os.geteuid() != 0:
            config["user"] = _user()
        (etc / "minion").write_text(json.dumps(config, indent=1))  # JSON is YAML too
        self.add_to_pillar({})

    def add_to_pillar(self, data: dict[str, Any]) -> None:
        """Let the admin's own pillar file, which is merged over the shipped one, be *data*."""
        (self._folder / "pillar" / "own.sls").write_text(json.dumps(data) + "\n")

    def add_states(self, name: str, data: dict[str, Any]) -> None:
        """Let the admin's own states file *name* be *data*."""
        (self._folder / "srv" / f"{name}.sls").write_text(json.dumps(data) + "\n")

    def highstate(self, *words: str) -> tuple[int, list[StateResult]]:
        """Run ``salt-call --local state.highstate``, or *words*; return its exit status and report.

        Raises DeadlineExceeded, and ProgramFailed where it gives no report.
        """
        status, out, err = self._run(*(words or ["state.highstate"]))
        return status, parse_report(status, out, err)

    def call(self, *words: str) -> Any:
        """Return what the function of *words* returns. Raises DeadlineExceeded, ProgramFailed."""
        status, out, err = self._run(*words)
        try:
            return json.loads(out)["local"]
        except (ValueError, KeyError, TypeError):
            raise ProgramFailed(f"salt-call returned nothing (status {status}): {(err or out)[-2000:]}") from None

    def _run(self, *words: str) -> tuple[int, str, str]:
        """Run ``salt-call --local`` with *words*; return its exit status and output. Raises DeadlineExceeded."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        # Salt itself may be on the path; the library must come through Salt's own sync.
        others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and not _is_ours(p)]
        if others:
            environment["PYTHONPATH"] = os.pathsep.join(others)
        options = ["--local", "-c", str(self._folder / "etc"), "--out=json", "--retcode-passthrough"]
        command = [sys.executable, "-c", _CALL, *options, *words]
        with processes.started(
            command, env=environment, cwd=self._folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=_RUN_SECONDS)
            except subprocess.TimeoutExpired:
                raise DeadlineExceeded(f"salt-call: no end within {_RUN_SECONDS:g} s") from None
        processes.kill_group(process)
        return process.returncode, out, err


def parse_report(status: int, out: str, err: str) -> list[StateResult]:
    """Return what a run printed as its report. Raises ProgramFailed where that is none."""
    try:
        report = json.loads(out)["local"]
        if not isinstance(report, dict):
            raise ValueError(" ".join(map(str, report)))
    except (ValueError, KeyError, TypeError) as error:
        said = (err or out or str(error)).strip()
        raise ProgramFailed(f"salt-call gave no report (status {status}): {said[-2000:]}") from None
    return [
        StateResult(key.split("_|-")[1], told["result"], told["changes"], told["comment"])
        for key, told in sorted(report.items(), key=lambda item: item[1]["__run_num__"])
    ]


def by_vm(report: list[StateResult], vms: Iterable[str]) -> dict[str, StateResult]:
    """Return what the push of the report says of each of *vms*; the comment is empty where there was no more to say."""
    (push,) = (one for one in report if one.name == "vminterface-push")
    whole, *lines = push.comment.splitlines()
    failed = re.search(r"failed \(([^)]*)\)", whole)
    names = failed[1].split(", ") if failed else []
    return {
        vm: StateResult(
            vm,
            vm not in names,
            push.changes.get(vm, {}),
            "\n".join(line for line in lines if re.match(rf"{re.escape(vm)}[: ]", line)),
        )
        for vm in vms
    }


def _is_ours(path: str) -> bool:
    return Path(path).resolve() in (PROJECT, PROJECT / "_utils")


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
