"""Features that a VM asks for: names that fit into a key, values that dom0 takes."""

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.featurerequest import TOOLS_FOLDER, check, check_tool, from_xenstore, to_xenstore


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("os-version", "13"),
        ("supported-rpc.qubes.VMExec", "1"),
        ("supported-feature.memory-hotplug", ""),
        ("supported-service.getty@tty", "1"),
        ("boot-mode.kernelopts.sysmaint", "boot-role=sysmaint systemd.unit=sysmaint-boot.target"),
        ("x" * 45, "a" * 3071),
    ],
)
def test_what_dom0_takes_is_accepted(name: str, value: str) -> None:
    check(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "1"),
        ("x" * 46, "1"),
        ("a/b", "1"),
        ("a b", "1"),
        ("a\n", "1"),
        ("os", "a/b"),
        ("os", "a\n"),
        ("os", "\u0105"),
        ("os", "a" * 3072),
        ("os", "$(id)"),
    ],
)
def test_what_it_refuses_is_refused_in_one_printable_sentence(name: str, value: str) -> None:
    with pytest.raises(InvalidValue, match="is not a valid") as caught:
        check(name, value)
    assert str(caught.value).isprintable()


def test_the_tools_have_names_and_values_of_their_own() -> None:
    for name in ("qrexec", "gui", "gui-emulated", "default-user", "os"):
        check_tool(name, "aZ09")
    assert TOOLS_FOLDER == "qubes-tools"
    for name, value in (("vmexec", "1"), ("os", "a b"), ("os", ""), ("os", "a-b"), ("os", "x" * 256)):
        with pytest.raises(InvalidValue, match=name):
            check_tool(name, value)


def test_a_name_has_a_key_in_the_xenstore_unless_it_could_be_another_ones() -> None:
    for name in ("os-version", "supported-rpc.qubes.VMExec"):
        key = to_xenstore(name)
        assert key is not None
        assert "." not in key
        assert from_xenstore(key) == name
    assert to_xenstore("supported-service.getty@tty") is None
    assert to_xenstore("a:b") is None
