"""The table of services: a column for each VM, and what does not fit beside goes on below."""

from __future__ import annotations

from vminterface.cli import services

DATA = {"cups": {"does": "prints", "on_in": []}, "qubes-network": {"does": "serves", "on_in": ["ProxyVM", "NetVM"]}}


def test_each_vm_has_a_column_and_what_a_service_does_stands_behind() -> None:
    table = services._table(DATA, {"work": {"cups": "on"}, "personal": {"qubes-network": "off"}}, 80)
    assert list(table) == [
        "SERVICE        work     personal",
        "cups           on       default   prints",
        "qubes-network  default  off       serves; on in ProxyVM, NetVM",
    ]


def test_without_vms_there_is_what_services_do_alone() -> None:
    assert list(services._table(DATA, {}, 80)) == [
        "cups           prints",
        "qubes-network  serves; on in ProxyVM, NetVM",
    ]


def test_vms_that_do_not_fit_beside_each_other_go_on_below() -> None:
    states = {f"vm-called-{number}": {"cups": "on"} for number in range(5)}
    lines = list(services._table({"cups": DATA["cups"]}, states, 40))
    assert lines == [
        "SERVICE  vm-called-0  vm-called-1",
        "cups     on           on",
        "",
        "SERVICE  vm-called-2  vm-called-3",
        "cups     on           on",
        "",
        "SERVICE  vm-called-4",
        "cups     on           prints",
    ]


def test_a_name_that_a_domain_made_up_is_printable_and_bounded() -> None:
    (head, _) = services._table({"cups": DATA["cups"]}, {"\x1b[2J" + "x" * 99: {}}, 80)
    assert head.isprintable()
    assert len(head) < 60
