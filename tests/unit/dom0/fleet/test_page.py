"""The page of a fleet: whole HTML, in which nothing that a host or a VM says is anything but text."""

from __future__ import annotations

import builtins
import re
import sys
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.unit.dom0.fleet.test_fleet import FLEET
from tests.unit.dom0.fleet.test_record import HOST, WORK
from vminterface.dom0.fleet import page, record
from vminterface.dom0.fleet.fleet import Fleet, Host
from vminterface.dom0.fleet.pagetemplate import MARKS
from vminterface.dom0.fleet.record import Condition, HostRecord, VMRecord
from vminterface.errors import ProgramMissing, printable
from vminterface.values.monitor import Monitor, MonitorLayout

#: Ways to be more than text: tags, ends of attributes and of the page's parts, template marks, RTL, control characters.
EVIL = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "</style></svg></title>",
    "{{ 7*7 }}{% raw %}", "&lt;b&gt;&#60;", "javascript:alert(1)", "\u202egnp.exe\u2066", "\x00\x1b[2J\x07\x9b\r\n",
    "]]><!-- -->",
)  # fmt: skip
ONE = "".join(EVIL)


class Reader(HTMLParser):
    """Collects what the page is made of."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: dict[str, set[str]] = {}
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.setdefault(tag, set()).update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def everywhere(one: Any, text: str) -> Any:
    """Return *one* with *text* in place of each text in it, states aside."""
    if isinstance(one, str):
        return one if one in record.STATES else text
    if isinstance(one, tuple | list):
        return type(one)(everywhere(part, text) for part in one)
    if isinstance(one, dict):
        keys = [key if key in ("store", "pillar", "owner") else f"{text}{at}" for at, key in enumerate(one)]
        return {key: everywhere(part, text) for key, part in zip(keys, one.values(), strict=True)}
    if is_dataclass(one) and not isinstance(one, type | MonitorLayout):
        kept = {"type"} if isinstance(one, Condition) else set()
        changed = {f.name: everywhere(getattr(one, f.name), text) for f in fields(one) if f.name not in kept}
        return replace(one, **changed)
    return one


FULL = replace(
    WORK,
    state="refused",
    conditions=(*WORK.conditions, Condition("Applied", False, 1, "Refused", "no such zone")),
    drift={"timezone": {"store": ["a", {"b": "c"}], "pillar": "d", "owner": "refuse"}},
)
WHOLE = Fleet.of(
    1796000800,
    [
        Host("dom0-a", replace(HOST, vms={"work": FULL, "other": WORK}, pillar_errors=("wrong",))),
        Host("dom0-b", HostRecord(1, "0.1.0", error="lost")),
        Host("dom0-c", error="no reply", silent=True),
    ],
)


@pytest.mark.parametrize("text", EVIL)
def test_what_is_said_is_text_and_nothing_else_in_every_field(text: str) -> None:
    plain = read(page.render(everywhere(WHOLE, "plain")))
    evil = page.render(everywhere(WHOLE, text))
    reader = read(evil)
    assert reader.tags == plain.tags
    assert evil.isascii()
    assert {c for c in evil if c < " "} == {"\n"}
    assert "".join(reader.texts).count(printable(text)) == "".join(plain.texts).count("plain") > 25


def test_what_minions_return_reaches_the_page_as_printable_ascii() -> None:
    data = WHOLE.as_data()
    for host in data["hosts"].values():
        host["error"] = ONE
        if said := host["record"]:
            said.update(version=ONE, error=ONE, pillar={"errors": [ONE]})
            said["vms"] = {f"{name}{ONE}": vm for name, vm in said["vms"].items()}
            for vm in said["vms"].values():
                vm.update(agent=ONE, drift={ONE: {"store": ONE, "pillar": {ONE: [ONE]}, "owner": ONE}})
                for condition in vm["conditions"]:
                    condition.update(reason=ONE, message=ONE)
    data["hosts"] = {f"{name}{ONE}": host for name, host in data["hosts"].items()}
    text = page.render(Fleet.parse(data))
    reader = read(text)
    assert set(reader.tags) <= set(read(page.render(WHOLE)).tags)
    assert not {name for names in reader.tags.values() for name in names if name.startswith("on")}
    assert "&#8238;" not in text
    assert all(one.isascii() for one in reader.texts)


def test_it_needs_no_network_and_no_script() -> None:
    text = page.render(FLEET)
    reader = read(text)
    assert "script" not in reader.tags
    assert not {"src", "srcset", "data", "action"} & set().union(*reader.tags.values())
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert "url(" not in text
    assert "://" not in text


def test_every_state_has_its_own_shape_word_and_colour() -> None:
    states = [*record.STATES, page.SILENT]
    assert list(MARKS) == states
    assert len(set(MARKS.values())) == len(states)
    assert list(page.WORDS) == list(record.STATES)
    assert len(set(page.WORDS.values())) == len(record.STATES)
    vms = {state: VMRecord(state, state) for state in record.STATES}
    text = page.render(Fleet.of(1, [Host("a", HostRecord(1, "0", vms)), Host("b", error="no reply", silent=True)]))
    for state in states:
        assert f'<symbol id="m-{state}"' in text
        assert f'<svg class="m {state}" aria-hidden="true"><use href="#m-{state}"/>' in text
        # By day and by night.
        assert len(re.findall(rf"\s--{state}: #[0-9a-f]+;", text)) == 2, state


def test_totals_reasons_and_fields_that_differ_are_before_the_hosts() -> None:
    shown = " ".join(" ".join(read(page.render(WHOLE)).texts).split())
    assert "2 VMs on 3 hosts" in shown
    assert "1 host without a reply" in shown
    assert "timezone on 2 VMs of 1 host" in shown
    assert shown.index("timezone on 2 VMs") < shown.index("Hosts")
    assert "UTC , in the pillar Europe/Warsaw" in shown
    assert "the VM's owner: refuse" in shown


def test_monitors_are_drawn_to_scale() -> None:
    two = MonitorLayout((Monitor(1920, 1080, 1080, 420), Monitor(1080, 1920, 0, 0)))
    drawn = page.drawing(two)
    assert drawn.box == "0 0 3000 1920"
    assert drawn.width / drawn.height == pytest.approx(3000 / 1920, rel=0.02)
    assert drawn.width <= 160
    assert drawn.height <= 90
    assert drawn.label == "1920 x 1080 at 1080,420; 1080 x 1920 at 0,0"
    far = page.drawing(MonitorLayout((Monitor(1, 1, 32766, 32766),)))
    assert (far.box, far.width, far.height) == ("32766 32766 1 1", 90, 90)


def test_a_page_without_a_pillar_does_not_say_that_the_pillar_lacks_the_vm() -> None:
    fleet = Fleet.of(1, [Host("a", HostRecord(1, "0", {"x": VMRecord("x", record.NOT_IN_PILLAR)}))])
    assert "1 not compared" in page.render(fleet, compared=False)
    assert "1 not in the pillar" in page.render(fleet)


def test_hosts_with_troubles_are_open_up_to_a_bound() -> None:
    hosts = [Host(f"h{number:03}", HostRecord(1, "0", {"x": VMRecord("x", "drifted")})) for number in range(40)]
    assert page.render(Fleet.of(1, hosts)).count("<details open>") == page.OPEN_MAX


def test_without_jinja2_a_sentence_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.delitem(sys.modules, "jinja2", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ProgramMissing, match=r"made with Jinja2, .* \(Debian, Fedora: python3-jinja2\)"):
        page.render(FLEET)
