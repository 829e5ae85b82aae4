"""The pillar's ``vminterface:``, by the real ``salt-call``: flags are words, and what is none changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.salt.conftest import REPOSITORY
from vminterface.values import acceptance
from vminterface.vm.handlers.runtime.owner import SETTINGS
from vminterface.vm.handlers.runtime.table import SERVICES

SLS = ("agent", "handlers", "library", "watch")
#: Of a table the first row is tried with every Salt, and these with the newest.
ANY_SALT = pytest.mark.any_salt


@pytest.fixture
def salt_call(tmp_path: Path) -> Callable[..., Any]:
    """Call a function with *own* as the pillar's ``vminterface:``; the paths of the agent's are below *tmp_path*."""

    def call(own: object, *words: Any) -> Any:
        config = {
            "id": "work",
            "file_client": "local",
            "root_dir": str(tmp_path / "run"),
            "file_roots": {"base": [str(tmp_path / "srv"), str(REPOSITORY / "formulas")]},
            "pillar_roots": {"base": [str(tmp_path / "pillar")]},
            "enable_fqdns_grains": False,
        }
        (tmp_path / "pillar").mkdir(exist_ok=True)
        (tmp_path / "pillar/top.sls").write_text("base: {'*': [own]}")
        (tmp_path / "pillar/own.sls").write_text(yaml.safe_dump({"vminterface": own, "qubes": {"vms": {}}}))
        (tmp_path / "srv").mkdir(exist_ok=True)
        (tmp_path / "minion").write_text(yaml.safe_dump(config))
        command = [str(Path(sys.executable).with_name("salt-call")), "-c", str(tmp_path), "--local", "--out=json"]
        done = subprocess.run(
            [*command, "--retcode-passthrough", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout)["local"]

    return call


def test_every_fault_is_told_with_its_path_and_nothing_is_changed(
    salt_call: Callable[..., Any], tmp_path: Path
) -> None:
    own = {
        "agent": {
            "library": f"{tmp_path}/vm/lib",
            "command": "bin/vminterface",
            "python": "/usr/bin/python3 -c x",
            "live_services": "of",
            "live_service": True,
            "accepts": ["network"],
        },
        "handlers": {"replace": "maybe"},
        "watch": ["pillar"],
        "handler": {},
    }
    status, lines = salt_call(own, "state.apply", ",".join(f"vminterface.{sls}" for sls in SLS))
    assert status != 0
    assert {tag.split("_|-")[1] for tag in lines} == {f"vminterface-{sls}" for sls in SLS}
    for line in lines.values():
        assert (line["result"], line["changes"]) == (False, {})
        assert line["comment"].split("\n") == [
            "vminterface:handler: unknown field (expected one of agent, handlers, prometheus, watch)",
            "vminterface:agent:accepts: is not a mapping (expected settings and services with accept, ignore, refuse)",
            "vminterface:agent:command: 'bin/vminterface' is not a path "
            "(expected an absolute one of A-Z a-z 0-9 / _ . + @ -)",
            "vminterface:agent:live_service: unknown field "
            "(expected one of accepts, command, library, live_services, python)",
            "vminterface:agent:live_services: 'of' is neither 'on' nor 'off' (nor true, false, 1, 0)",
            "vminterface:agent:python: '/usr/bin/python3 -c x' is not a path "
            "(expected an absolute one of A-Z a-z 0-9 / _ . + @ -)",
            "vminterface:handlers:replace: 'maybe' is neither 'on' nor 'off' (nor true, false, 1, 0)",
            "vminterface:watch: is not a mapping (expected pillar)",
        ]
    assert not (tmp_path / "vm").exists()


@pytest.mark.parametrize(
    "flags",
    [("yes", 2), pytest.param((1.0, ""), marks=ANY_SALT), pytest.param(([True], {"a": 1}), marks=ANY_SALT)],
)
def test_other_words_are_no_flags(salt_call: Callable[..., Any], flags: tuple[Any, ...]) -> None:
    own = {"handlers": {"replace": flags[0]}, "agent": {"live_services": flags[1]}}
    status, lines = salt_call(own, "state.apply", "vminterface.handlers", "test=True")
    assert status != 0
    ((line),) = lines.values()
    assert line["result"] is False
    assert [sentence.partition(": ")[0] for sentence in line["name"].split("\n")] == [
        "vminterface:agent:live_services",
        "vminterface:handlers:replace",
    ]


@pytest.mark.parametrize(
    ("own", "on"),
    [
        ({"handlers": {"replace": "false"}, "agent": {"live_services": "off"}}, False),
        ({"handlers": {"replace": "On"}, "agent": {"live_services": 1}}, True),
        ({"handlers": {"replace": None}, "agent": None}, False),
        (None, False),
    ],
)
def test_a_flag_is_what_its_word_says_and_an_empty_section_means_the_defaults(
    salt_call: Callable[..., Any], own: dict[str, Any] | None, on: bool
) -> None:
    status, states = salt_call(own, "state.show_sls", "vminterface.handlers,vminterface.agent")
    assert status == 0
    (command,) = (word["name"] for word in states["vminterface-handlers"]["cmd"] if "name" in word)
    assert command == f"/usr/bin/vminterface handlers install --json{' --replace' if on else ''}"
    (context,) = (word["context"] for word in states["vminterface-agent"]["file"] if "context" in word)
    assert context["agent"]["live_services"] is on


ACCEPTS = {"timezone": "refuse", "qubes.VMShell": "ignore", "other-handlers": "accept"}


def test_what_a_vm_accepts_is_a_file_that_says_whose_it_is(salt_call: Callable[..., Any], tmp_path: Path) -> None:
    with_library(tmp_path)
    for sls in ("agent", "handlers"):
        status, states = salt_call({"agent": {"accepts": ACCEPTS}}, "state.show_sls", f"vminterface.{sls}")
        assert status == 0
        (contents,) = (word["contents"] for word in states["vminterface-owner"]["file"] if "contents" in word)
        mark, *rules = contents
        assert mark.startswith("# Managed by Salt")
        assert rules == ["other-handlers = accept", "qubes.VMShell = ignore", "timezone = refuse"]
        assert set(acceptance.parse("\n".join(contents), SETTINGS, SERVICES)) == set(ACCEPTS)
    status, states = salt_call({}, "state.show_sls", "vminterface.agent")
    assert "vminterface-owner" not in states


def test_what_no_agent_would_understand_is_a_fault_with_its_path(salt_call: Callable[..., Any], tmp_path: Path) -> None:
    with_library(tmp_path)
    known = [*SETTINGS, acceptance.OTHER_SETTINGS, acceptance.OTHER_HANDLERS]
    own = {"agent": {"accepts": {"timezon": "refuse", "debug": False, "qubes.VMShel": "ignore", 7: "accept"}}}
    status, lines = salt_call(own, "state.apply", "vminterface.agent", "test=True")
    assert status != 0
    unknown = f"not a setting or a service (expected {', '.join(known)}, or one such as qubes.VMShell)"
    for line in lines.values():
        assert (line["result"], line["changes"]) == (False, {})
        assert sorted(line["name"].split("\n")) == [
            f"vminterface:agent:accepts:7: {unknown}",
            "vminterface:agent:accepts:debug: 'False' is not valid (expected accept, ignore, refuse)",
            f"vminterface:agent:accepts:qubes.VMShel: {unknown}",
            f"vminterface:agent:accepts:timezon: {unknown}",
        ]


def with_library(folder: Path) -> None:
    """Let the file roots hold the library too."""
    (folder / "srv").mkdir()
    (folder / "srv/_utils").symlink_to(REPOSITORY / "_utils")


def test_a_pillar_that_is_no_mapping_is_a_fault(salt_call: Callable[..., Any]) -> None:
    _, lines = salt_call("on", "state.apply", "vminterface.handlers", "test=True")
    ((line),) = lines.values()
    assert line["result"] is False
    assert line["name"] == "vminterface: is not a mapping (expected agent, handlers, prometheus, watch)"


def other_python(folder: Path, version: str) -> str:
    """Stand in for a Python of another *version*, of which the states ask nothing but that."""
    program = folder / f"python{version}"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("version", ["3.10", pytest.param("3.9", marks=ANY_SALT), pytest.param("2.7", marks=ANY_SALT)])
def test_a_python_that_is_too_old_is_the_one_error_and_nothing_is_changed(
    salt_call: Callable[..., Any], tmp_path: Path, version: str, test: bool
) -> None:
    own = {"agent": {"library": f"{tmp_path}/vm/lib", "command": f"{tmp_path}/vm/vminterface"}}
    own["agent"]["python"] = other_python(tmp_path, version)
    sls = ",".join(f"vminterface.{sls}" for sls in ("agent", "handlers", "library"))
    status, lines = salt_call(own, "state.apply", sls, f"test={test}")
    assert status != 0
    assert len(lines) == 3
    for line in lines.values():
        assert (line["result"], line["changes"]) == (False, {})
        assert line["name"].startswith(f"Python 3.11 or later is needed, this VM has {version} as {tmp_path}/python")
    assert not (tmp_path / "vm").exists()


def test_a_python_that_is_not_there_is_named(salt_call: Callable[..., Any], tmp_path: Path) -> None:
    own = {"agent": {"library": f"{tmp_path}/vm/lib", "python": f"{tmp_path}/nothing"}}
    status, lines = salt_call(own, "state.apply", "vminterface.library")
    assert status != 0
    ((line),) = lines.values()
    assert f"{tmp_path}/nothing does not work here" in line["comment"]


def test_what_a_package_has_brought_is_left_to_the_package_manager(
    salt_call: Callable[..., Any], tmp_path: Path
) -> None:
    command = tmp_path / "command"
    command.write_text("#!/usr/bin/python3 -P\n# The command vminterface. Part of a package.\n")
    own = {"agent": {"command": str(command)}}
    status, states = salt_call(own, "state.show_sls", "vminterface.agent,vminterface.absent")
    assert status == 0
    for name in ("vminterface-library", "vminterface-command"):
        assert "exists" in states[name]["file"]
    assert "vminterface-absent-library" not in states
    assert "vminterface-absent-package" in states

    command.write_text("#!/usr/bin/python3 -P\n# The command vminterface. Managed by Salt.\n")
    _, states = salt_call(own, "state.show_sls", "vminterface.agent,vminterface.absent")
    assert "recurse" in states["vminterface-library"]["file"]
    assert "vminterface-absent-package" not in states
