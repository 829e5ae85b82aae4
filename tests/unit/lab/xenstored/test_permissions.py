"""Who may do what with a node of the lab's XenStore."""

from __future__ import annotations

import pytest

from lab.xenstored.permissions import ALL, OWNER, READ, WRITE, Permission, access, void_where


def permissions(text: str) -> tuple[Permission, ...]:
    return tuple(map(Permission.parse, text.split()))


@pytest.mark.parametrize(
    ("text", "domid", "allowed"),
    [
        ("n3", 3, ALL),
        ("n3", 4, 0),
        ("r3", 4, READ),
        ("w3", 4, WRITE),
        ("b3", 4, READ | WRITE),
        ("n0 r3", 3, READ),
        ("n0 r3", 4, 0),
        ("b0 n3", 3, 0),
        ("b0 n3", 4, READ | WRITE),
        ("n0 r3 w3", 3, READ),
        ("n3", 0, ALL),
    ],
)
def test_owner_then_the_first_exception_then_the_default_decides(text: str, domid: int, allowed: int) -> None:
    assert access(permissions(text), (domid,)) == allowed


def test_a_device_model_has_what_the_domain_that_it_serves_has() -> None:
    assert access(permissions("n3"), (7, 3)) == ALL
    assert access(permissions("n0 r3"), (7, 3)) == READ


def test_an_exception_for_a_domain_that_is_gone_counts_for_nothing() -> None:
    voided = void_where(permissions("n0 b3 r4"), lambda domid: domid == 3)
    assert access(voided, (3,)) == 0
    assert access(voided, (4,)) == READ
    assert [entry.render() for entry in voided] == ["n0", "b3", "r4"]


def test_dom0_owns_everything_whatever_the_entries_say() -> None:
    assert access(permissions("n3 n0"), (0,)) & OWNER


@pytest.mark.parametrize("text", ["", "x0", "r", "r-", "rr1", "0", "nobody"])
def test_what_is_no_permission_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no permission"):
        Permission.parse(text)
