"""What a feature is after a push: what the pillar says, else what the VM has, else what its template has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.persist.features import in_effect
from vminterface.errors import StoreError

NAME = "net.fake-ip"


@pytest.fixture
def api() -> MemoryAPI:
    api = MemoryAPI()
    api.features[NAME] = "10.0.0.1"
    api.of_template[NAME] = "10.0.0.2"
    return api


def effective(api: MemoryAPI, persistent: dict[str, Any]) -> str | None:
    return in_effect(MemoryQubesd(api), VMSettings("work", persistent=persistent), "network:ip", NAME)


def test_what_the_pillar_says_counts_and_nobody_is_asked(api: MemoryAPI) -> None:
    assert effective(api, {"features:net.fake-ip": "10.0.0.3"}) == "10.0.0.3"
    assert api.asked == []


def test_where_the_pillar_says_nothing_vm_and_template_count(api: MemoryAPI) -> None:
    assert effective(api, {}) == "10.0.0.1"
    assert effective(api, {"features:other": "x"}) == "10.0.0.1"
    del api.features[NAME]
    assert effective(api, {}) == "10.0.0.2"
    assert set(api.asked) == {("work", NAME)}


def test_what_the_vm_is_to_forget_is_its_templates_afterwards(api: MemoryAPI) -> None:
    assert effective(api, {f"features:{NAME}": None}) == "10.0.0.2"
    assert api.asked == [("work", NAME), ("work", "template"), ("fedora", NAME)]


def test_what_the_vm_has_not_itself_it_cannot_forget(api: MemoryAPI) -> None:
    del api.features[NAME]
    assert effective(api, {f"features:{NAME}": None}) == "10.0.0.2"
    assert ("work", "template") not in api.asked


def test_a_vm_without_a_template_has_nothing_left(api: MemoryAPI) -> None:
    api.properties["template"] = ""
    assert effective(api, {f"features:{NAME}": None}) is None
    # As a template itself.
    del api.properties["template"], api.defaults["template"]
    assert effective(api, {f"features:{NAME}": None}) is None


def test_an_error_names_vm_field_and_feature(api: MemoryAPI) -> None:
    api.unreadable[NAME] = StoreError("it hangs")
    with pytest.raises(StoreError, match=r"^work: network:ip \(feature net\.fake-ip\): it hangs$"):
        effective(api, {})
