"""``vminterface rollout``: waves over the VMs of a host, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.stores import need
from vminterface.cli.main import main

VMS = ("one", "two", "three")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        monkeypatch.setenv("XENSTORED_PATH", host.path)
        monkeypatch.setenv("VMINTERFACE_ROLLOUTS", str(tmp_path / "rollouts"))
        for vm in VMS:
            host.start_vm(vm)
            host.agent(vm)
        yield host


@pytest.fixture
def rollout(host: Dom0, tmp_path: Path) -> Callable[..., int]:
    """Runs the command with a pillar of all VMs and returns its exit status."""
    pillar = tmp_path / "pillar.json"
    pillar.write_text(json.dumps({"qubes": {"vms": {vm: {"timezone": "Europe/Warsaw"} for vm in VMS}}}))
    return lambda *words: main(["rollout", *words, "--pillar", str(pillar)])


def zones(host: Dom0) -> dict[str, str | None]:
    return {vm: host.read(vm, "qubes-timezone") for vm in VMS}


def test_a_rollout_that_is_refused_stops_and_is_resumed_and_taken_back(
    host: Dom0, rollout: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    host.guests[1].reply = lambda setting, inputs: "not here" if "Europe/Warsaw" in inputs.values() else ""
    assert rollout("zones", "--canary", "three", "--waves", "2") == 1
    assert zones(host) == {"one": None, "two": None, "three": "Europe/Warsaw"}
    assert capsys.readouterr().out.splitlines() == [
        "two: failed: two refused timezone: not here; former values restored",
        "restored: one",
        "zones: stopped in wave 2 of 2: 1 done, 1 failed, 1 restored",
    ]
    host.guests[1].reply = lambda setting, inputs: ""
    assert rollout("zones", "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["units"]["two"]["state"] == "done"
    assert set(zones(host).values()) == {"Europe/Warsaw"}
    assert rollout("zones", "--restore") == 0
    assert set(zones(host).values()) == {None}
    assert "zones: taken back: 3 restored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("../x",), 1, "'../x' is not a name for a rollout"),
        (("a", "nobody"), 1, "qubes:vms:nobody is missing"),
        (("a", "--canary", "nobody"), 1, "canary: 'nobody' is not among what is rolled out"),
        (("a", "--waves", "0"), 1, "waves: '0' is not the size of a wave"),
        (("a", "--failures", "0"), 2, "--failures: expected a number from 1, got 0"),
        (("a", "--resume", "--restore"), 2, "--resume: expected without --restore"),
        (("a", "--resume"), 1, "no rollout called a was begun here"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_nothing_is_touched(
    host: Dom0, rollout: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int,
    message: str,
) -> None:  # fmt: skip
    assert rollout(*words) == status
    assert message in capsys.readouterr().err
    assert set(zones(host).values()) == {None}
