"""A push that nobody in the VM applies says what becomes of it at the VM's next start, with a qubesd or without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0
from tests.support.qubesr4 import QubesR4, whole_r4
from tests.support.stores import need
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.outcome import at_next_start
from vminterface.dom0.push.push import push

GONE = "lost at the VM's next start unless pushed again (`vminterface watch` does)"


@pytest.fixture
def r4(tmp_path: Path) -> Iterator[QubesR4]:
    with whole_r4(tmp_path) as made:
        made.start("work")
        yield made


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"services": {"cups": True}}, "it takes effect at the VM's next start, for which qubesd stores it"),
        ({"network": {"ip": "10.137.0.9", "gateway": "10.137.0.8"}, "services": {"cups": True}}, GONE),
        ({"base_template": "personal"}, f"it is {GONE}"),
    ],
    ids=["kept", "some", "lost"],
)
def test_on_r4_what_qubesd_keeps_takes_effect_then_and_the_rest_is_gone(
    r4: QubesR4, raw: dict[str, Any], said: str
) -> None:
    (outcome,) = r4.push(r4.settings(**raw))
    assert outcome.ok, outcome.comment()
    assert "no agent is running in the VM: " in outcome.comment()
    assert said in outcome.comment()


def test_what_r4_said_is_so_after_the_start(r4: QubesR4) -> None:
    r4.push(r4.settings(services={"cups": True}, base_template="personal"))
    r4.start("work")
    assert r4.host.read("work", "qubes-service/cups") == "1"
    assert r4.host.read("work", "qubes-base-template") != "personal"


def test_without_a_qubesd_all_of_it_is_gone(tmp_path: Path) -> None:
    need(fakexen.missing())
    with Dom0(tmp_path / "x") as host, host.targets() as targets:
        host.start_vm("work")
        (outcome,) = push([VMSettings.parse("work", {"timezone": "UTC", "debug": True})], targets)
    assert outcome.comment() == f"work: debug, timezone set; no agent is running in the VM: it is {GONE}"


def test_fields_are_named_where_some_last_and_some_do_not() -> None:
    said = at_next_start(["timezone", "lasting:timezone", "type"], persistent=True)
    assert said == f"timezone takes effect at the VM's next start, for which qubesd stores it; type is {GONE}"
