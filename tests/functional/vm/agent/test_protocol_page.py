"""docs/protocol.md: its texts are valid, its digests right, and its smallest agent is one to a push of dom0."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.paths import PROJECT
from tests.support.lab_store import wait_until
from tests.support.qubesdb import QubesHost
from vminterface import keys
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.push import push
from vminterface.values.acknowledgement import Acknowledgement, digest
from vminterface.values.announcement import Announcement

PAGE = (PROJECT / "docs/protocol.md").read_text(encoding="utf-8")
#: Stands for Qubes' programs of these names, in a VM whose QubesDB is in $FOLDER.
PROGRAM = f"""#!{sys.executable} -B
import os, sys
sys.path.insert(0, {str(PROJECT / "_utils")!r})
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.deadline import Deadline
with QubesDB.open(None, 60.0, folder=os.environ["FOLDER"]) as store:
    path = sys.argv[1]
    match os.path.basename(sys.argv[0]):
        case "qubesdb-read":
            [value] = store.read_many([path])
            sys.exit(1) if value is None else print(value.decode())
        case "qubesdb-write":
            store.write(path, sys.argv[2].encode())
        case "qubesdb-watch":
            with store.watch([path]) as watch:
                print("watching", file=open(os.environ["FOLDER"] + "/watching", "a"))
                watch.next(Deadline.after(120))
"""


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_announcements_of_the_page_are_valid() -> None:
    [block] = fences("text announcement")
    first, second = map(Announcement.parse, block.splitlines())
    assert first.settings <= {key.setting for key in keys.TABLE}
    assert first.settings >= {"name", "timezone", "services", "network"}
    assert second.unaccepted == {"network": "refuse"}


def test_the_acknowledgements_of_the_page_are_valid() -> None:
    [block] = fences("text acknowledgement")
    assert [Acknowledgement.parse(line).accepted for line in block.splitlines()] == [True, True, False]


def test_the_digests_of_the_page_are_right() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| `([0-9a-f]{16})` \|$", PAGE, re.MULTILINE)
    assert {setting for setting, _, _ in rows} == {"timezone", "network", "services"}
    for _, said, expected in rows:
        texts = {}
        for name, text in re.findall(r"`([^`]+)` is `([^`]+)`", said):
            key = keys.for_name(name)
            assert key is not None
            texts[key.field] = text
        assert digest(texts) == expected
    assert digest({}) in PAGE


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[QubesHost]:
    """A VM called work, with the page's smallest agent, whose machine is a folder with one time zone."""
    [script] = fences("sh")
    root, programs = tmp_path / "vm", tmp_path / "bin"
    for folder in (root / "etc", root / "zoneinfo/Europe", programs):
        folder.mkdir(parents=True)
    (root / "zoneinfo/Europe/Warsaw").write_text("TZif")
    for name in ("qubesdb-read", "qubesdb-write", "qubesdb-watch"):
        (programs / name).write_text(PROGRAM)
        (programs / name).chmod(0o755)
    for place, own in (("/usr/share/zoneinfo", root / "zoneinfo"), ("/etc/localtime", root / "etc/localtime")):
        assert place in script
        script = script.replace(place, str(own))
    with QubesHost(tmp_path / "host") as host:
        host.start_vm("work")
        environment = {**os.environ, "FOLDER": str(host.folder / "work"), "PATH": f"{programs}:{os.environ['PATH']}"}
        process = subprocess.Popen(["sh", "-c", script], env=environment, start_new_session=True)
        try:
            yield host
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def test_the_smallest_agent_of_the_page_acknowledges_a_push_and_refuses_one(agent: QubesHost, tmp_path: Path) -> None:
    watching = agent.folder / "work/watching"

    def outcome(zone: str) -> tuple[bool, str]:
        with agent.targets() as targets:
            [one] = push([VMSettings.parse("work", {"timezone": zone, "timeout": 60, "persist": False})], targets)
        return bool(one.ok), one.comment()

    assert wait_until(watching.exists, 60)
    assert outcome("Europe/Warsaw") == (True, "work: timezone set")
    assert os.readlink(tmp_path / "vm/etc/localtime") == str(tmp_path / "vm/zoneinfo/Europe/Warsaw")
    assert wait_until(lambda: watching.read_text().count("\n") >= 2, 60)
    assert outcome("Asia/Tokyo") == (
        False,
        "work refused timezone: no such time zone in this VM; former values restored",
    )
