"""What programs print that tell of the network, in forms that nobody knows: one error of ours, never another."""

from __future__ import annotations

import pytest

from tests.support.memorymachine import MemoryMachine
from vminterface.errors import VMInterfaceError
from vminterface.vm.net import iproute2, nft

TABLES = b'{"nftables": [{"table": {"family": "ip", "name": "qubes"}}]}'


@pytest.mark.parametrize(
    "printed",
    [
        b"x",
        b"{}",
        b"[7]",
        b"[[]]",
        b'[{"ifname": "eth0"}]',
        b"[" * 9999,
        b'[{"ifname": "eth0", "flags": 7}]',
        b"\xff",
    ],
)
def test_what_ip_prints_is_a_link_or_one_error(printed: bytes) -> None:
    machine = MemoryMachine(programs={"ip": printed})
    with pytest.raises(VMInterfaceError, match=r"^ip -j "):
        iproute2.read(machine, "eth0")


@pytest.mark.parametrize("printed", [b"x", b"[7]", b"[" * 9999])
def test_the_list_of_links_is_read_or_one_error(printed: bytes) -> None:
    with pytest.raises(VMInterfaceError, match=r"^ip -j "):
        iproute2.links(MemoryMachine(programs={"ip": printed}))


@pytest.mark.parametrize(
    "printed",
    [
        b"x", b"[" * 9999, b'{"nftables": [7]}', b'{"nftables": [{"table": 7}]}', b'{"nftables": 7}',
        b'{"nftables": [{"table": {"family": "ip", "name": "qubes"}}, {"set": 7}]}',
        b'{"nftables": [{"table": {"family": "ip", "name": "qubes"}}, {"rule": 7}]}',
    ],
)  # fmt: skip
def test_what_nft_prints_is_a_table_or_one_error(printed: bytes) -> None:
    with pytest.raises(VMInterfaceError, match=r"^nft -j list "):
        nft.read(MemoryMachine(programs={"nft": printed}), "ip")


def test_a_table_without_a_family_is_not_ours() -> None:
    machine = MemoryMachine(programs={"nft": b'{"nftables": [{"table": {"name": "qubes"}}]}'})
    assert nft.read(machine, "ip") == nft.Found()
