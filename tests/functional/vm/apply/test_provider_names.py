"""Requests for names over IPv6, sent on by a provider whose own resolvers only have IPv6."""

from __future__ import annotations

import pytest

from tests.functional.vm.apply.test_provider import INPUTS, IPV6, OUTSIDE6, RESOLVERS, TOLD6, Scene, scene

__all__ = ["scene"]

RESOLVER6 = "2001:db8::53"


@pytest.fixture
def scene6(scene: Scene) -> Scene:
    """The scene with a resolver of IPv6, which is the provider's only one."""
    scene.outside.run(["ip", "address", "add", f"{RESOLVER6}/64", "dev", "eth0", "nodad"])
    scene.outside.run(["ip", "-6", "route", "replace", "default", "via", "2001:db8::2"])
    scene.provider.run(["ip", "-6", "route", "replace", "default", "via", OUTSIDE6])
    scene.serve(RESOLVER6, "203.0.113.6")
    scene.resolvers(RESOLVER6)
    return scene


def test_a_client_that_asks_over_ipv6_is_sent_on_to_a_resolver_of_ipv6(scene6: Scene) -> None:
    gateway6 = IPV6["provides_network:gateway6"]
    note = scene6.provide(INPUTS | IPV6, TOLD6)
    assert note == (
        "gateway 10.137.0.5; DNS requests over IPv4 are dropped, because this VM's own resolvers only have IPv6"
        f" ({RESOLVER6}); those to {gateway6} are forwarded to them; 3 clients"
    )
    for options in ((), ("+tcp",)):
        assert scene6.dig(gateway6, *options) == "203.0.113.6"
    assert scene6.dig("10.139.1.1") == ""
    scene6.resolvers(*RESOLVERS)
    scene6.provide(INPUTS | IPV6, TOLD6)
    assert (scene6.dig(gateway6), scene6.dig("10.139.1.1")) == ("", "203.0.113.1")


def test_a_provider_without_an_address_of_ipv6_says_that_its_resolvers_are_of_no_use_to_ipv4(scene6: Scene) -> None:
    note = scene6.provide()
    assert f"resolvers only have IPv6 ({RESOLVER6}); clients with IPv6 may ask them directly" in note
    assert scene6.dig("10.139.1.1") == ""
