"""What a VM's keys hold where qubesd writes some of them at each start: ``default`` is what it writes then."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.persist.live import Adapted, adapt, decided_by, later, without_network
from vminterface.errors import StoreError
from vminterface.keys import read_value
from vminterface.values.memorysize import MemorySize
from vminterface.values.service import ServiceState

ON, OFF = ServiceState.ON, ServiceState.OFF
METER = "services:meminfo-writer"
US, PL = read_value("keyboard", "us++"), read_value("keyboard", "pl++")
IP6 = read_value("network:ip6", "fd09::12")


pytestmark = pytest.mark.usefixtures("no_zone_of_dom0")


def adapted(
    api: MemoryAPI,
    desired: dict[str, Any],
    persistent: dict[str, Any] | None = None,
    *,
    expected: bool = True,
    persist: bool | None = True,
    **more: Any,
) -> Adapted:
    one = VMSettings("work", desired, persistent or {}, persist=persist, **more)
    return adapt(one, MemoryQubesd(api, available=expected, expected=expected))


def live(api: MemoryAPI, desired: dict[str, Any], persistent: dict[str, Any] | None = None, **more: Any) -> Any:
    return adapted(api, desired, persistent, **more).live.desired


class TestDefaults:
    def test_a_value_is_what_the_key_is_to_hold(self, api: MemoryAPI) -> None:
        made = adapted(api, {"keyboard": PL, "services:cups": ON})
        assert made.live.desired == made.persistent.desired == {"keyboard": PL, "services:cups": ON}
        assert made.remarks == ()
        assert api.asked == []

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("keyboard", US),
            ("debug", False),
            ("default_user", "user"),
            ("network:mac", read_value("network:mac", "00:16:3e:5e:6c:00")),
        ],
    )
    def test_a_default_is_what_qubesd_writes_at_a_start(self, api: MemoryAPI, field: str, value: Any) -> None:
        network = {"network:ip": read_value("network:ip", "10.137.0.12")} if field.startswith("network") else {}
        assert live(api, {field: None, **network})[field] == value

    def test_without_a_qubesd_a_default_is_no_key(self, api: MemoryAPI) -> None:
        assert live(api, {"keyboard": None, "debug": None}, expected=False) == {"keyboard": None, "debug": None}
        assert api.asked == []

    def test_a_push_that_qubesd_does_not_keep_takes_what_is_set_there_now(self, api: MemoryAPI) -> None:
        api.properties["keyboard_layout"] = "pl++"
        assert live(api, {"keyboard": None}, persist=False) == {"keyboard": PL}
        assert live(api, {"keyboard": None}, persist=True) == {"keyboard": US}

    def test_a_service_has_no_key_by_default(self, api: MemoryAPI) -> None:
        assert live(api, {"services:cups": None}) == {"services:cups": None}

    def test_a_vm_without_network_has_no_keys_of_it(self, api: MemoryAPI) -> None:
        api.defaults["ip6"] = "fd09::12"
        assert live(api, {"network:ip": None, "network:ip6": None}, netvm="") == {
            "network:ip": None,
            "network:ip6": None,
        }

    def test_an_error_names_the_field_and_the_property(self, api: MemoryAPI) -> None:
        api.unreadable["debug"] = StoreError("no")
        with pytest.raises(StoreError, match=r"^work: debug \(property debug\): no$"):
            live(api, {"debug": None})

    def test_defaults_of_what_only_qubesd_writes_are_left_out_with_a_note(self, api: MemoryAPI) -> None:
        made = adapted(api, {"updateable": None, "persistence": None, "debug": True})
        assert made.live.desired == {"debug": True}
        assert made.remarks == (
            "the default of updateable, persistence takes effect at the VM's next start, when qubesd writes it",
        )


class TestKeyboard:
    def test_the_keymap_beside_a_default_is_left_to_the_gui_daemon(self, api: MemoryAPI) -> None:
        assert live(api, {"keyboard": None, "keymap": None}) == {"keyboard": US}
        keymap = read_value("keymap", "pl")
        assert live(api, {"keyboard": PL, "keymap": keymap}) == {"keyboard": PL, "keymap": keymap}
        assert live(api, {"keymap": None}) == {"keymap": None}

    def test_a_vm_whose_windows_nobody_has_is_given_none(self, api: MemoryAPI) -> None:
        api.defaults["guivm"] = ""
        assert live(api, {"keyboard": None}) == {"keyboard": None}

    def test_the_layout_of_a_guivm_that_the_push_sets_counts(self, api: MemoryAPI) -> None:
        api.properties["keyboard_layout"] = "pl++"
        assert live(api, {"keyboard": None}, {"guivm": "sys-gui"}) == {"keyboard": PL}
        assert ("sys-gui", "keyboard_layout") in api.asked
        # It draws its own windows.
        assert live(api, {"keyboard": None}, {"guivm": "work"}) == {"keyboard": US}

    def test_a_guivm_that_is_to_be_forgotten_is_the_default_one(self, api: MemoryAPI) -> None:
        api.properties["guivm"] = "sys-gui"
        api.defaults["guivm"] = ""
        assert live(api, {"keyboard": None}, {"guivm": None}) == {"keyboard": None}
        assert live(api, {"keyboard": None}, {"guivm": ""}) == {"keyboard": None}
        assert live(api, {"keyboard": None}) == {"keyboard": US}


class TestServices:
    @pytest.mark.parametrize(("flag", "value"), [(True, ON), (False, OFF), (None, None), ("1", ON), ("", OFF)])
    def test_the_feature_of_the_update_check_is_its_service_at_a_start(
        self, api: MemoryAPI, flag: Any, value: Any
    ) -> None:
        assert live(api, {}, {"features:check-updates": flag}) == {"services:qubes-update-check": value}

    def test_the_service_itself_counts_more(self, api: MemoryAPI) -> None:
        desired = {"services:qubes-update-check": OFF}
        assert live(api, desired, {"features:check-updates": True}) == desired

    def test_a_service_known_by_a_hash_has_no_key_when_it_is_off(self, api: MemoryAPI) -> None:
        name = "services:app-dispvm.org.mozilla.firefox.desktop-with-a-name-that-is-long-enough"
        assert live(api, {name: OFF}) == {name: None}
        assert live(api, {name: ON}) == {name: ON}
        assert live(api, {"services:cups": OFF}) == {"services:cups": OFF}

    @pytest.mark.parametrize(("maxmem", "value"), [("4000", ON), ("0", OFF)])
    def test_the_meter_is_on_where_qubesd_balances_memory(self, api: MemoryAPI, maxmem: str, value: Any) -> None:
        api.properties["maxmem"] = maxmem
        made = adapted(api, {METER: None})
        assert (made.live.desired, made.remarks) == ({METER: value}, ())

    def test_the_memory_that_the_push_sets_counts(self, api: MemoryAPI) -> None:
        api.properties["maxmem"] = "0"
        assert live(api, {METER: None}, {"maxmem": MemorySize.parse(800)}) == {METER: ON}
        assert live(api, {METER: None}, {"maxmem": MemorySize.parse(0, zero=True)}) == {METER: OFF}
        assert live(api, {METER: None}, {"maxmem": None}) == {METER: ON}

    def test_a_word_of_the_pillar_about_the_meter_does_not_last(self, api: MemoryAPI) -> None:
        remark = f"{METER} holds until the VM's next start, because qubesd always writes it then"
        assert adapted(api, {METER: OFF}).remarks == (remark,)
        assert adapted(api, {METER: OFF}, expected=False).remarks == ()


class TestNetwork:
    REMARK = "network: none holds until the VM's next start, when qubesd sets one (netvm: none is persistent)"

    @pytest.mark.parametrize(
        ("netvm", "held", "default", "expected"),
        [
            ("", "sys-net", "sys-net", False),
            ("sys-net", "", "", True),
            ("default", "", "sys-net", True),
            ("default", "sys-net", "", False),
            (None, "sys-net", "", True),
            (None, "", "sys-net", False),
        ],
    )
    def test_none_does_not_last_where_the_vm_has_a_netvm(
        self, api: MemoryAPI, netvm: str | None, held: str, default: str, expected: bool
    ) -> None:
        api.properties["netvm"], api.defaults["netvm"] = held, default
        assert adapted(api, {"network:ip": None}, netvm=netvm).remarks == ((self.REMARK,) if expected else ())

    def test_where_nobody_can_say_it_is_said_to_be_safe(self, api: MemoryAPI) -> None:
        api.unreadable["netvm"] = StoreError("no")
        assert adapted(api, {"network:ip": None}, persist=False).remarks == (self.REMARK,)
        with pytest.raises(StoreError, match=r"^work: netvm \(property netvm\): no$"):
            adapted(api, {"network:ip": None})
        with pytest.raises(StoreError, match=r"^work: netvm \(property netvm\): no$"):
            adapted(api, {"network:ip": None}, netvm="default")

    def test_only_an_address_that_is_to_be_gone_is_no_network(self) -> None:
        assert without_network(VMSettings("work", {"network:ip": None}))
        assert not without_network(VMSettings("work", {"network:ip": IP6}))
        assert not without_network(VMSettings("work", {}))


def test_an_anonymous_vm_has_no_zone_of_the_defaults(api: MemoryAPI) -> None:
    api.features["anon-timezone"] = "1"
    zone = read_value("timezone", "UTC")
    made = adapted(api, {"timezone": zone}, from_defaults=frozenset({"timezone"}))
    assert made.live.desired == {"timezone": None, "lasting:timezone": None}
    assert made.persistent.desired == {"timezone": None}
    assert made.remarks == ("the timezone of the defaults is left out, because the VM has the feature anon-timezone",)


def test_a_zone_that_qubesd_writes_unknown_to_us_is_left_out(api: MemoryAPI) -> None:
    assert live(api, {"timezone": None, "debug": True}) == {"debug": True, "lasting:timezone": None}


@pytest.mark.parametrize(
    ("fields", "rewritten", "expected"),
    [
        (["provides_network", "autostart", "guivm"], False, ["guivm", "provides_network"]),
        (["features:check-updates"], False, []),
        (["features:net.fake-ip"], False, ["features:net.fake-ip"]),
        (["features:net.fake-ip", "guivm"], True, ["guivm"]),
        (["features:my-own", "timezone"], False, []),
    ],
)
def test_which_fields_a_running_vm_has_at_its_next_start_only(
    fields: list[str], rewritten: bool, expected: list[str]
) -> None:
    assert later(fields, rewritten=rewritten) == expected


def test_settings_are_decided_by_features_and_properties() -> None:
    one = VMSettings("work", {"timezone": None, METER: ON, "network:gateway": None}, {"memory": None})
    assert decided_by(one) == {
        "feature vm-config.vminterface-timezone",
        "feature anon-timezone",
        "property maxmem",
        "property memory",
    }
    assert decided_by(VMSettings("work", {"services:cups": ON})) == {"feature service.cups"}
