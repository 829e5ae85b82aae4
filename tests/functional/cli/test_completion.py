"""bash, zsh and fish complete the command: its words, VMs that run, fields and what they may be, services, files."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.stores import need
from vminterface.cli import candidates
from vminterface.cli.completion import SCRIPTS
from vminterface.cli.main import main

ROOT = Path(__file__).parents[3]


@pytest.fixture
def dom0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "x") as host:
        for vm in ("work", "workshop"):
            host.start_vm(vm)
        host.start_vm("-rf ~; $(id)")
        monkeypatch.setenv("XENSTORED_PATH", host.path)
        yield host


def words(capsys: pytest.CaptureFixture[str], *line: str) -> list[str]:
    assert main(["completion", "words", "--", *line]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    kind, *found = said.out.splitlines()
    return [kind] if kind != "words" else [one.partition("\t")[0] for one in found]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (["ge"], ["get"]),
        (["--v"], ["--version"]),
        (["nosuch", ""], []),
        (["get", ""], ["work", "workshop"]),
        (["get", "work", "timez"], ["timezone"]),
        (["get", "work", "timezone", "network:d"], ["network:dns_search", "network:dns"]),
        (["set", "works"], ["workshop"]),
        (["set", "work", "debu"], ["debug="]),
        (["set", "work", "debug="], ["debug=default", "debug=on", "debug=off"]),
        (["set", "work", "services:cups=d"], ["services:cups=default"]),
        (["set", "work", "services:qubes-up"], ["services:qubes-update-check=", "services:qubes-updates-proxy="]),
        (["set", "work", "timezone=Europe/Wars"], ["timezone=Europe/Warsaw"]),
        (["set", "work", "netvm=works"], ["netvm=workshop"]),
        (["set", "work", "debug=on", "persis"], ["persistence=", "persist="]),
        (["set", "work", "--time"], ["--timeout"]),
        (["set", "work", "--timeout", ""], []),
        (["set", "--timeout", "5", "w"], ["work", "workshop"]),
        (["set", "--json", "--", "w"], ["work", "workshop"]),
        (["push", "--pillar", ""], ["files"]),
        (["push", "--pillar", "x", "--pi"], []),
        (["agent", "--root", ""], ["dirs"]),
        (["call", "work", "qubes.GetD"], ["qubes.GetDate"]),
        (["handlers", ""], ["install", "check", "remove"]),
        (["completion", ""], ["bash", "zsh", "fish", "words"]),
        ([], sorted(set())),
    ],
)
def test_what_may_come_next(dom0: Dom0, capsys: pytest.CaptureFixture[str], line: list[str], found: list[str]) -> None:
    if line:
        assert sorted(words(capsys, *line)) == sorted(found)
    else:
        assert {"get", "set", "push", "export", "check"} <= set(words(capsys))


def test_of_a_pillar_that_is_given_its_vms_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XENSTORED_PATH", "/nonexistent")
    (tmp_path / "p.sls").write_text("qubes: {vms: {one: {}, two: {}, 'a b': {}, dom0: {}}}")
    assert words(capsys, "push", "--pillar", str(tmp_path / "p.sls"), "") == ["one", "two"]
    assert words(capsys, "push", "--pillar", str(tmp_path / "gone.sls"), "") == []
    assert words(capsys, "get", "") == []


def test_every_field_that_can_be_set_is_named_with_what_it_does() -> None:
    fields = candidates._fields()
    assert {"timezone", "network:ip", "services:cups", "features:gui", "provides_network", "optional"} <= fields.keys()
    assert [name for name in fields if ":" not in name and not fields[name][0]] == []


def test_a_store_that_hangs_is_not_waited_for(
    dom0: Dom0, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    monkeypatch.setattr(candidates, "WITHIN", 0.5)
    process = dom0.daemon.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        assert words(capsys, "get", "") == []
        assert time.monotonic() - start < 5
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.fixture
def path(dom0: Dom0, tmp_path: Path) -> str:
    """A path on which the command is found, and nothing that takes long."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "vminterface"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}/_utils exec {sys.executable} -m vminterface "$@"\n')
    command.chmod(0o755)
    for shell, text in SCRIPTS.items():
        (tmp_path / f"script.{shell}").write_text(text)
    (tmp_path / "some file.sls").touch()
    return f"{folder}:{os.environ['PATH']}"


def fish(path: str, tmp_path: Path, line: str) -> list[str]:
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source script.fish; complete -C {line!r}"],
        cwd=tmp_path, env={**os.environ, "PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return [one.partition("\t")[0] for one in done.stdout.splitlines()]


def test_fish_completes(path: str, tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        need("fish is not installed")
    assert fish(path, tmp_path, "vminterface expo") == ["export"]
    assert fish(path, tmp_path, "vminterface get ") == ["work", "workshop"]
    assert sorted(fish(path, tmp_path, "vminterface set work services:cups=o")) == [
        "services:cups=off",
        "services:cups=on",
    ]
    assert fish(path, tmp_path, "vminterface check some") == ["some file.sls"]


class Terminal:
    """A shell on a terminal of its own, to which keys are typed."""

    def __init__(self, path: str, folder: Path, *argv: str) -> None:
        own = {"TERM": "dumb", "INPUTRC": "/dev/null", "HISTFILE": "/dev/null", "COLUMNS": "200", "PS1": "ready> "}
        env = {**os.environ, **own, "PATH": path, "HOME": str(folder), "ZDOTDIR": str(folder)}
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, env)
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait(self, pattern: str, seconds: float = 30.0) -> str:
        """Return what is shown from now until *pattern* is there."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown)):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.shown!r}"
            if select.select([self.master], [], [], left)[0]:
                self.shown += os.read(self.master, 65536).decode(errors="replace")
        text, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return text

    def close(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.master)


START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source ./script.bash; echo set-up-$((1+1))\n"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -U compinit; compinit -u -D; bindkey -e; source ./script.zsh; echo set-up-$((1+1))\n",
    ),
}


@pytest.mark.parametrize("shell", [*START])
def test_a_shell_completes_what_is_typed(path: str, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        need(f"{shell} is not installed")
    argv, begin = START[shell]
    terminal = Terminal(path, tmp_path, *argv)
    try:
        terminal.type(begin)
        terminal.wait("set-up-2")
        for typed, completed in (
            ("expo", "export"),
            ("get worksh", "get workshop"),
            ("set work timezone=Europe/Wars", "set work timezone=Europe/Warsaw"),
            ("set work services:cup", "set work services:cups="),
            ("set work services:cups=of", "set work services:cups=off"),
            ("check some", "check some file.sls"),
            ("call work qubes.GetD", "call work qubes.GetDate"),
        ):
            # Tab; then to the beginning of the line, which becomes the output of another command.
            terminal.type(f"vminterface {typed}\t\x01echo LINE: \n")
            assert terminal.wait(r"\nLINE: [^\r\n]*\r").rpartition("LINE: ")[2].rstrip() == f"vminterface {completed}"
    finally:
        terminal.close()
