"""A feature is refused before it is sent where qubesd would keep it and a VM could not start with it."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values import feature


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gui", ""),
        ("X_1.Y-", "x" * 60_000),
        ("vm-config.Mode.Z", ""),
        ("custom-persist.Docs", "/srv"),
        ("service.cups", "1"),
        ("service." + "a" * 48, "1"),
        ("vm-config.mode", "a text, ~!"),
        ("vm-config." + "a" * 52, "x" * 3071),
        ("custom-persist.docs", "/home/user/My documents"),
        ("custom-persist.log", "file:root:adm:0640:/var/log/a:b"),
        ("custom-persist." + "a" * 54, "dir:user:user:755:/srv"),
        ("net.fake-ip", "10.0.0.1"),
    ],
)
def test_what_a_vm_can_start_with_is_accepted(name: str, text: str) -> None:
    feature.check(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "1"),
        ("a/b", "1"),
        ("a b", "1"),
        ("caf\u00e9", "1"),
        ("gui", "a\nb"),
        ("gui", "a\0"),
        ("gui", "caf\u00e9"),
        ("gui", "x" * 60_001),
        ("service." + "a" * 49, "1"),
        ("service.", "1"),
        ("service.-x", "1"),
        ("vm-config.", "x"),
        ("vm-config.1", "x"),
        ("vm-config." + "a" * 53, "x"),
        ("vm-config.mode", "x" * 3072),
        ("custom-persist.", "/srv"),
        ("custom-persist." + "a" * 55, "/srv"),
        ("custom-persist.x", ""),
        ("custom-persist.x", "srv"),
        ("custom-persist.x", "/srv/../etc"),
        ("custom-persist.x", "link:root:root:755:/srv"),
        ("custom-persist.x", "dir:root:root:888:/srv"),
        ("custom-persist.x", "dir:root:root:755:srv"),
        ("custom-persist.x", "dir:root:755:/srv"),
        ("custom-persist.x", "/" + "x" * 3071),
    ],
)
def test_what_would_stay_and_do_harm_is_refused_by_its_name(name: str, text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        feature.check(name, text)
    assert str(caught.value).isascii()
    assert "expected" in str(caught.value)
    assert name.removeprefix("service.") in str(caught.value) or not name.isascii()
    assert "\n" not in str(caught.value)


def test_the_schema_of_names_takes_what_the_parser_takes() -> None:
    valid = Draft202012Validator(feature.NAME_SCHEMA).is_valid
    assert all(map(valid, ["gui", "X_1.Y-", "vm-config.Mode", "a" * 255]))
    assert not any(map(valid, ["", "a/b", "a b", "caf\u00e9", "a" * 256, 5]))
