"""The command line: any words are a call, one sentence, or the help."""

from __future__ import annotations

import argparse
import contextlib
import io
from typing import Any
from unittest import mock

from tests.fuzz.target import Target, as_text, bytes_target, check_text
from tests.fuzz.targets.pillar import _settings_hold
from vminterface.cli import main, push
from vminterface.dom0.desired.settings import VMSettings
from vminterface.errors import VMInterfaceError

_PARSER = main.command_line()


def _options(data: bytes) -> argparse.Namespace:
    """Take lines for the words of a call."""
    with contextlib.redirect_stdout(io.StringIO()):
        return _PARSER.parse_args([as_text(one) for one in data.split(b"\n")])


def _options_hold(options: argparse.Namespace) -> None:
    assert callable(options.run)


def _set(data: bytes) -> list[VMSettings]:
    """Take lines for fields and values that are to be set, up to the settings that a push would get."""
    options = _PARSER.parse_args(["set", "--", "work", *(as_text(one) for one in data.split(b"\n"))])
    found: list[Any] = []

    def apply(options: argparse.Namespace, settings: list[VMSettings]) -> int:
        found.extend(settings)
        return 0

    with mock.patch.object(push, "_apply", apply):
        options.run(options)
    return found


def _run(data: bytes) -> tuple[int, str, str]:
    """Run a call that fails, or does nothing, whatever this machine is: what it prints is for a terminal."""
    out, err = io.StringIO(), io.StringIO()
    words = [as_text(one) for one in data.split(b"\n")]
    with (
        mock.patch.object(push, "_apply", return_value=0),
        mock.patch("signal.signal"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main.main(["set", "work", *words])
    return status, out.getvalue(), err.getvalue()


def _run_holds(found: tuple[int, str, str]) -> None:
    status, out, err = found
    assert status in (0, 1, 2), f"status {status}"
    assert bool(out + err) == bool(status)
    for line in (out + err).splitlines():
        check_text(line)


_FIELDS = (
    "timezone= services:cups= network:ip= network:dns= network:dns_search= keyboard= persist= confirm= timeout="
    " optional= monitors=["
    " --json --timeout --keys -- default none on off features:gui= firewall="
)

TARGETS: tuple[Target, ...] = (
    bytes_target(
        "cli.arguments", _options, b"get\nwork\ntimezone\n--json", b"diff\n--pillar\nx",
        b"call\nwork\nqubes.GetDate\n--timeout\n5", b"monitors", b"--help", b"--version", b"",
        b"agent\n--root\n/x", b"services\n--json", b"get\n--help", b"set\nwork\na=b\n--timeout\nx", b"x", b"watch",
        b"--x", b"features\nwork", b"owner", b"notices", b"handlers",
        holds=_options_hold, errors=(VMInterfaceError, SystemExit),
        words="get set diff push call monitors gui report services features handlers owner notices agent watch"
            " --json --pillar --timeout --keys --user --stdin --root -",
    ),
    bytes_target(
        "cli.set", _set, b"timezone=Europe/Warsaw",
        b"network:ip=10.137.0.12\nnetwork:gateway=10.137.0.5\nnetwork:dns=9.9.9.9,fd00::1",
        b"persist=no\nconfirm=yes\ntimeout=3",
        b"monitors=[{width: 1, height: 1, x: 0, y: 0}]", b"monitors={", b"optional=network,debug", b"x", b"a=1\na=2",
        b"a:b=1\na=2", b"timeout=nan", b"timeout=inf", b"persist=x",
        b"services:cups=on", b"keyboard=us", b"=x", b"timezone=default", holds=_settings_hold, words=_FIELDS,
    ),
    bytes_target("cli.run", _run, b"timezone=UTC", b"x\x1b=\xff", b"timezone=x\ny=\n", b"a", b"--json\nx=1",
        b"--timeout\nx", b"--\n-x=\n\x85", holds=_run_holds, words=_FIELDS,
        errors=(VMInterfaceError, SystemExit)),
)  # fmt: skip
