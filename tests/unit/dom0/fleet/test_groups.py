"""What an admin asks for first, out of the records of many hosts."""

from __future__ import annotations

import json

from vminterface.dom0.fleet import groups, lines, replies
from vminterface.dom0.fleet.fleet import Fleet, Host
from vminterface.dom0.fleet.record import Condition, HostRecord, VMRecord


def vm(name: str, state: str, message: str = "", **more: object) -> VMRecord:
    conditions = (
        Condition("Running", state != "not_running"),
        Condition("Applied", state == "converged", None, "", message),
    )
    return VMRecord(name, state, conditions=conditions, **more)  # type: ignore[arg-type]


ZONE = {"timezone": {"store": "UTC", "pillar": "Europe/Warsaw"}}
OTHER = {
    "timezone": {"store": None, "pillar": "Europe/Warsaw"},
    "debug": {"store": "on", "pillar": "off", "owner": "refuse"},
}
FLEET = Fleet.of(
    1796000709,
    [
        Host(
            "paris",
            HostRecord(
                1796000700,
                "0.1.0",
                {
                    "a": vm("a", "refused", "a refused timezone: not here", agent="0.1.0", pushed=1796000000),
                    "b": vm("b", "drifted", "b: timezone", agent="0.1.0", drift=ZONE, used_kb=90, maximum_kb=100),
                    "c": vm("c", "converged", agent="0.0.9", used_kb=1, maximum_kb=0),
                },
            ),
        ),
        Host(
            "warsaw",
            HostRecord(
                1796000700,
                "0.1.0",
                {
                    "a": vm("a", "refused", "a refused timezone: not here", used_kb=20, maximum_kb=100),
                    "b": vm("b", "drifted", "b: timezone", drift=ZONE, agent="0.1.0"),
                    "c": vm("c", "drifted", "c: 2", drift=OTHER, agent="0.1.0"),
                    "d": vm("d", "not_running"),
                },
                pillar_errors=("qubes:vms:x: wrong",),
            ),
        ),
        Host("mute", error="no reply within 15 s", silent=True),
    ],
)


def test_refusals_are_grouped_by_their_reason_whatever_the_vm_is_called() -> None:
    assert groups.troubles(FLEET) == [
        {
            "state": "refused",
            "reason": "VM refused timezone: not here",
            "vms": [{"host": "paris", "vm": "a"}, {"host": "warsaw", "vm": "a"}],
        }
    ]


def test_drift_is_grouped_by_field_and_then_by_value() -> None:
    debug, zone = sorted(groups.drift(FLEET), key=lambda one: one["field"])
    assert (zone["field"], zone["vms"], zone["hosts"]) == ("timezone", 3, 2)
    assert [(one["store"], [(vm["host"], vm["vm"]) for vm in one["vms"]]) for one in zone["values"]] == [
        ("UTC", [("paris", "b"), ("warsaw", "b")]),
        (None, [("warsaw", "c")]),
    ]
    assert (debug["vms"], debug["values"][0]["owner"]) == (1, "refuse")
    assert [one["field"] for one in groups.drift(FLEET)] == ["timezone", "debug"]


def test_agents_are_counted_by_version_and_those_without_too() -> None:
    assert groups.agents(FLEET) == {"": 1, "0.0.9": 1, "0.1.0": 4}


def test_memory_lists_those_that_use_most_of_theirs() -> None:
    assert [(one["host"], one["vm"], one["percent"]) for one in groups.memory(FLEET)] == [
        ("paris", "b", 90.0), ("warsaw", "a", 20.0)
    ]  # fmt: skip
    assert len(groups.memory(FLEET, most=1)) == 1


def test_a_terminal_shows_one_line_a_host_and_what_asks_for_somebody() -> None:
    data = json.loads(json.dumps(replies.status(FLEET)))
    assert lines.render(data).splitlines() == [
        "host    VMs  ok  drift  refused  hung  failed  halted  no agent  no pillar  pillar  last push",
        "paris     3   1      1        1     .       .       .         .          .      ok     11 min",
        "warsaw    4   .      2        1     .       .       1         1          .   WRONG      never",
        "all       7   1      3        2     .       .       1         1          .",
        "mute: no reply within 15 s",
        "warsaw: pillar: qubes:vms:x: wrong",
        "refused: paris/a, warsaw/a: VM refused timezone: not here",
        "drift: timezone on 3 VMs of 2 hosts",
        "drift: debug on 1 VM of 1 host",
        "agents: none in 1 VM, 0.0.9 in 1 VM, 0.1.0 in 4 VMs",
        "memory: paris/b 90 %, warsaw/a 20 %",
        "2 of 3 hosts replied: THIS IS A PART ONLY, 2026-11-30T01:05:09Z",
    ]


def test_a_terminal_shows_drift_with_old_and_new() -> None:
    assert lines.render(replies.drift(FLEET)).splitlines() == [
        "drift: timezone on 3 VMs of 2 hosts",
        "  UTC, pillar Europe/Warsaw: paris/b, warsaw/b",
        "  none, pillar Europe/Warsaw: warsaw/c",
        "drift: debug on 1 VM of 1 host",
        "  on, pillar off, as the owner chose refuse: warsaw/c",
        "mute: no reply within 15 s",
    ]
    assert lines.render(replies.drift(Fleet.of(0, []))) == "no field differs\n"


def test_an_outputter_shows_nothing_that_a_terminal_takes_for_its_own() -> None:
    data = {"kind": "error", "error": "a\x1b[2J"}
    assert lines.render(data) == "a\\x1b[2J\n"
    assert lines.render({"kind": ["x"], "b": "\x07"}) == "kind: ['x']\nb: \\x07\n"
