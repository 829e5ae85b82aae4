"""The runner ``qubes_fleet`` through Salt's own loader, over a client that returns what hosts have returned.

A real master with two minions, one of which hangs, is in tests/system/test_fleet.py.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.client
import salt.loader
import salt.utils.minions
from salt.exceptions import SaltClientError

from tests.functional.salt.conftest import REPOSITORY
from tests.unit.dom0.fleet.test_record import HOST
from vminterface.dom0.fleet.record import HostRecord, VMRecord

pytestmark = pytest.mark.any_salt
WELL = HostRecord(1796000709, "0.1.0", {"work": VMRecord("work", "converged")})
DRIFTED = HostRecord(1796000709, "0.1.0", {"work": VMRecord("work", "drifted")})


#: What Salt's own client prints by target where it publishes nothing.
UNPUBLISHED = {
    "nobody": "No minions matched the target. No command was sent, no jid was assigned.",
    "lost": "Failed to connect to the Master, is the Salt Master running?",
}


class Client:
    """Stands for ``salt.client.LocalClient``: hosts reply what is in *returns*, others are silent."""

    def __init__(self, returns: dict[str, Any], silent: tuple[str, ...] = ()) -> None:
        self.returns, self.silent = returns, silent
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    def cmd_iter(self, tgt: str, fun: str, **how: Any) -> Iterator[dict[str, Any]]:
        self.asked.append((tgt, fun, how))
        if tgt in UNPUBLISHED:
            print(UNPUBLISHED[tgt])
            yield {}
            return
        yield {"jid": "1", "minions": [*self.returns, *self.silent]}
        for name, one in self.returns.items():
            yield {name: {"ret": one(fun, how["kwarg"]) if callable(one) else one, "retcode": 0}}
        yield {name: {"failed": True} for name in self.silent}


@pytest.fixture
def runner(minion_opts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Calls a function of the runner over *client* and returns what it returns; as ``salt-run`` does with *cli*."""

    def call(function: str, *arguments: Any, client: Client, cli: bool = False, **options: Any) -> Any:
        monkeypatch.setattr(salt.client, "get_local_client", lambda path: contextlib.nullcontext(client))
        opts = {**minion_opts, "cachedir": str(tmp_path), "runner_dirs": [str(REPOSITORY / "_runners")]}
        if cli:
            opts["fun"] = f"qubes_fleet.{function}"
        context: dict[str, Any] = {}
        runners = salt.loader.runner(opts, context=context)
        found = runners[f"qubes_fleet.{function}"](*arguments, **options)
        assert context["retcode"] == (found["data"] if cli else found)["retcode"]
        return found

    return call


def test_the_status_of_a_fleet_is_that_of_all_its_hosts_and_says_which_are_silent(runner: Callable[..., Any]) -> None:
    client = Client({"paris": WELL.as_data(), "warsaw": HOST.as_data()}, silent=("mute",))
    found = runner("status", "dom0-*", client=client, timeout=3)
    assert found["retcode"] == 1
    assert found["counts"]["hosts"] == 3
    assert found["hosts"]["mute"]["error"] == found["unknown"]["mute"] == "no reply within 3 s"
    assert found["hosts"]["paris"]["record"] == WELL.as_data()
    assert [(tgt, fun, how["timeout"], how["gather_job_timeout"]) for tgt, fun, how in client.asked] == [
        ("dom0-*", "qubes_vm.summary", 3.0, 3)
    ]
    json.dumps(found)


@pytest.mark.parametrize(
    ("returns", "retcode"),
    [
        ({"paris": WELL.as_data()}, 0),
        ({"paris": WELL.as_data(), "warsaw": DRIFTED.as_data()}, 3),
        ({"paris": DRIFTED.as_data(), "warsaw": "'qubes_vm.summary' is not available."}, 1),
    ],
)
def test_the_exit_status_tells_drift_from_what_is_worse(
    runner: Callable[..., Any], returns: dict[str, Any], retcode: int
) -> None:
    assert runner("status", client=Client(returns))["retcode"] == retcode
    assert runner("drift", client=Client(returns))["retcode"] == retcode


def test_on_a_command_line_the_result_comes_with_its_outputter(
    runner: Callable[..., Any], minion_opts: dict[str, Any]
) -> None:
    found = runner("status", client=Client({"paris": WELL.as_data()}), cli=True)
    assert set(found) == {"outputter", "data"}
    show = salt.loader.outputters(minion_opts)[found["outputter"]]
    assert show(found["data"]).splitlines()[1].split()[:3] == ["paris", "1", "1"]
    assert json.loads(show({"kind": "status"})) == {"kind": "status"}


def test_reports_and_clocks_are_asked_for_by_their_functions(runner: Callable[..., Any]) -> None:
    silent: dict[str, Any] = {"memory": {}, "block_devices": {}, "usb_devices": {}, "warnings": []}
    client = Client({"paris": {"work": silent}})
    assert runner("report", client=client)["hosts"]["paris"]["vms"] == 1
    client.returns = {"paris": {"work": {"ok": True, "changes": {}, "comment": "work is right"}}}
    assert runner("clocks", client=client)["right"] == 1
    assert runner("clocks", client=client, sync=True)["right"] == 1
    late = {"ok": True, "changes": {"clock": {"old": "60 s behind", "new": "right"}}, "comment": "work: clock set"}
    for reply, sync, retcode in ((late, False, 3), (late, True, 0), ({**late, "ok": False}, False, 1)):
        client.returns = {"paris": {"work": reply}}
        assert runner("clocks", client=client, sync=sync)["retcode"] == retcode
    asked = [(fun, how["kwarg"]) for _, fun, how in client.asked]
    tests = (True, False, True, False, True)
    assert asked == [("qubes_vm.report", {}), *(("qubes_vm.sync_clocks", {"test": test}) for test in tests)]


def test_a_page_is_written_and_says_which_hosts_are_silent(
    runner: Callable[..., Any], minion_opts: dict[str, Any], tmp_path: Path
) -> None:
    client, file = Client({"paris": WELL.as_data(), "warsaw": DRIFTED.as_data()}, silent=("mute",)), tmp_path / "p.html"
    found = runner("page", str(file), "dom0-*", client=client, cli=True)
    text = file.read_text()
    assert all(f"<h3>{name}</h3>" in text for name in ("mute", "paris", "warsaw"))
    assert (found["data"]["path"], found["data"]["retcode"]) == (str(file), 1)
    shown = salt.loader.outputters(minion_opts)[found["outputter"]](found["data"])
    assert shown.splitlines() == [f"{file}: 2 VMs of 3 hosts", "mute: no reply within 15 s"]
    found = runner("page", str(tmp_path / "no/p.html"), client=client)
    assert (found["error"], found["retcode"]) == (f"{tmp_path}/no: No such file or directory", 1)


class Lost(Client):
    def cmd_iter(self, tgt: str, fun: str, **how: Any) -> Iterator[dict[str, Any]]:
        raise SaltClientError("the master does not run")


@pytest.mark.parametrize(
    ("client", "arguments", "error"),
    [
        (Client({}), {"tgt": "nobody"}, "no minion of this master matches 'nobody' (glob)"),
        (
            Client({}),
            {"tgt": "lost"},
            "the master cannot be asked: Failed to connect to the Master, is the Salt Master running?",
        ),
        (Client({}), {"tgt": 5}, "tgt: 5 is not valid (expected text: quote it where text is meant)"),
        (Client({}), {"timeout": 0}, "timeout: 0 is not valid (expected seconds, more than 0 and at most 3600)"),
        (Lost({}), {}, "the master cannot be asked: the master does not run"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    runner: Callable[..., Any],
    client: Client,
    arguments: dict[str, Any],
    error: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = runner("status", client=client, **arguments)
    assert (found["error"], found["retcode"]) == (error, 1)
    assert capsys.readouterr().out == ""


class Host:
    """A dom0 of a rollout: *refuses* is whether a VM of it refuses its settings."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses, self.has = refuses, "old"

    def __call__(self, function: str, arguments: dict[str, Any]) -> Any:
        if function == "test.ping":
            return True
        if function == "qubes_rollout.restore":
            assert arguments["missing_ok"]
            self.has = "old"
            return {"ended": "taken back", "comment": "zones: taken back", "units": {}}
        assert function == "qubes_rollout.push"
        assert arguments == {"name": "zones", "waves": "100%", "only": None, "again": True}
        if self.refuses:
            units = {"work": {"wave": 1, "state": "failed", "message": "work refused timezone"}}
            return {"ended": "stopped", "comment": "zones: stopped", "units": units}
        self.has = "new"
        return {"ended": "complete", "comment": "zones: complete", "units": {}}


class Fleet(Client):
    """Hosts that a job reaches by their names."""

    def cmd_iter(self, tgt: Any, fun: str, **how: Any) -> Iterator[dict[str, Any]]:
        some = {name: host for name, host in self.returns.items() if name in tgt}
        yield from Client(some, tuple(name for name in self.silent if name in tgt)).cmd_iter("list", fun, **how)


NAMES = [f"dom0-{number}" for number in range(6)]


@pytest.fixture
def rolled(runner: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Rolls out over a fleet whose hosts the master knows, one canary first and then two at a time."""

    def minions(self: Any, tgt: str, tgt_type: str) -> dict[str, list[str]]:
        return {"minions": [] if tgt == "nobody" else NAMES}

    monkeypatch.setattr(salt.utils.minions.CkMinions, "check_minions", minions)
    return lambda client, **how: runner("push", "zones", client=client, **{"canary": ["dom0-3"], "batch": 2, **how})


def states(found: dict[str, Any]) -> dict[str, list[str]]:
    by_state: dict[str, list[str]] = {}
    for name, one in found["units"].items():
        by_state.setdefault(one["state"], []).append(name)
    return by_state


def test_a_host_that_fails_stops_the_rollout_and_its_batch_has_what_it_had(rolled: Callable[..., Any]) -> None:
    hosts = {name: Host(refuses=name == "dom0-1") for name in NAMES}
    found = rolled(Fleet(hosts))
    assert found["retcode"] == 1
    assert states(found) == {
        "done": ["dom0-3"], "restored": ["dom0-0"], "failed": ["dom0-1"], "waiting": ["dom0-2", "dom0-4", "dom0-5"]
    }  # fmt: skip
    assert found["units"]["dom0-1"]["message"] == "zones: stopped: work refused timezone"
    assert {name for name, host in hosts.items() if host.has == "new"} == {"dom0-3"}
    hosts["dom0-1"].refuses = False
    assert rolled(Fleet(hosts), resume=True)["retcode"] == 0
    assert {host.has for host in hosts.values()} == {"new"}
    assert rolled(Fleet(hosts), restore=True)["ended"] == "taken back"
    assert {host.has for host in hosts.values()} == {"old"}


def test_a_host_that_is_silent_is_known_before_its_batch_is_touched(rolled: Callable[..., Any]) -> None:
    hosts = {name: Host() for name in NAMES if name != "dom0-1"}
    found = rolled(Fleet(hosts, silent=("dom0-1",)), timeout=2)
    assert states(found)["failed"] == ["dom0-1"]
    assert found["units"]["dom0-1"]["message"] == "no reply within 2 s"
    assert {name for name, host in hosts.items() if host.has == "new"} == {"dom0-3"}


def test_a_test_returns_the_batches_and_asks_no_host(rolled: Callable[..., Any]) -> None:
    found = rolled(Fleet({}), test=True)
    assert {name: one["wave"] for name, one in found["units"].items()} == {
        "dom0-3": 1, "dom0-0": 2, "dom0-1": 2, "dom0-2": 3, "dom0-4": 3, "dom0-5": 4
    }  # fmt: skip
    assert found["retcode"] == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"tgt": "nobody"}, "no minion of this master matches 'nobody' (glob)"),
        ({"canary": ["dom0-9"]}, "canary: 'dom0-9' is not among what is rolled out"),
        ({"failures": 0}, "failures: expected a number from 1, got 0"),
        ({"resume": True, "restore": True}, "resume: expected one of resume and restore"),
        ({"resume": True}, "no rollout called zones was begun here"),
    ],
)
def test_a_wrong_rollout_is_one_sentence(rolled: Callable[..., Any], arguments: dict[str, Any], error: str) -> None:
    assert rolled(Fleet({}), **arguments)["error"] == error
