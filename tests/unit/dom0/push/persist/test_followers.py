"""Which feature qubesd changes by itself with a property, and to what."""

from __future__ import annotations

from vminterface.dom0.push.persist import followers
from vminterface.values.change import Change


def test_a_vm_that_begins_to_provide_network_is_a_service_vm_and_one_that_ceases_is_none() -> None:
    assert list(followers.of({"provides_network": Change(None, True)})) == [("features:servicevm", True)]
    for off in (False, None):
        assert list(followers.of({"provides_network": Change(True, off)})) == [("features:servicevm", None)]


def test_other_changes_have_no_followers() -> None:
    assert list(followers.of({"debug": Change(None, True)})) == []
    assert frozenset({"features:servicevm"}) == followers.FOLLOWERS
