"""Menu entries: what dom0 takes of a VM's answer, and a handler that says nothing else."""

# ruff: noqa: RUF001  signs that look like others are what this is about

from __future__ import annotations

import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values import appmenu
from vminterface.values.appmenu import MenuEntries, MenuEntry

FIREFOX = (
    b"firefox.desktop:Name=Firefox\nfirefox.desktop:Exec=qubes-desktop-run firefox.desktop\n"
    b"firefox.desktop:Icon=firefox\nfirefox.desktop:Categories=Network;WebBrowser;Bogus;\n\n"
)


def read(reply: bytes) -> dict[str, dict[str, str]]:
    return {entry.id: dict(entry.values) for entry in MenuEntries.parse(reply)}


class TestId:
    @pytest.mark.parametrize(
        ("text", "read"),
        [
            ("firefox.desktop", "firefox"),
            ("org.x_Y-1", "org.x_Y-1"),
            (".desktop", ".desktop"),
            ("a" * 1024, "a" * 1024),
        ],
    )
    def test_an_id_is_known_with_and_without_its_suffix(self, text: str, read: str) -> None:
        assert appmenu.parse_id(text) == read

    @pytest.mark.parametrize("text", ["", "a b", "a/b", "a\n", "\u0105", "a" * 1025, 7, None])
    def test_anything_else_is_refused(self, text: Any) -> None:
        with pytest.raises(InvalidValue, match=r"'.*' is not a valid id of an application"):
            appmenu.parse_id(text)

    def test_an_error_quotes_it(self) -> None:
        with pytest.raises(InvalidValue, match="'a b' is not"):
            appmenu.parse_id("a b")


class TestParser:
    def test_an_entry_has_its_known_keys_and_known_categories(self) -> None:
        assert read(FIREFOX) == {
            "firefox": {
                "Name": "Firefox",
                "Exec": "qubes-desktop-run firefox.desktop",
                "Icon": "firefox",
                "Categories": "Network;WebBrowser;",
            }
        }

    @pytest.mark.parametrize(
        ("line", "found"),
        [
            (b"/usr/share/applications/firefox.desktop:Name=x", {"firefox": {"Name": "x"}}),
            (b"a b.desktop:Name=x", {"b": {"Name": "x"}}),
            (b"a:Name=x", {"a": {"Name": "x"}}),
            (b"a.desktop.desktop:Name=x", {"a.desktop": {"Name": "x"}}),
            (b".desktop:Name=x", {".desktop": {"Name": "x"}}),
            (b"a.desktop:Name =  x y  ", {"a": {"Name": "x y"}}),
            (b"a.desktop:Name=", {"a": {"Name": ""}}),
            (b"a.desktop:Name=b:c", {"a": {"Name": "b:c"}}),
            (b"x:y.desktop:Name=z", {"y": {"Name": "z"}}),
            (b"a.desktop:Name[pl]=x", {}),
            (b"a.desktop:X-Other=x", {}),
            (b"a.desktop:Name", {}),
            (b":Name=x", {}),
            (b"a.desktop:#Name=x", {}),
            (b"a.desktop:# b:Name=x", {}),
            (b"a.desktop:", {}),
            (b"", {}),
            (b"a.desktop:Name=\xc5\xbc", {}),
            (b"a.desktop: Name=x", {}),
            (b"a.desktop:StartupWMClass=Navigator", {"a": {"StartupWMClass": "Navigator"}}),
            (b"a.desktop:Categories=Screensaver;TrayIcon", {"a": {"Categories": ";"}}),
            (b"a.desktop:Categories= GTK ;2DGraphics", {"a": {"Categories": "GTK;2DGraphics;"}}),
        ],
    )
    def test_lines_are_read_as_dom0_reads_them(self, line: bytes, found: dict[str, dict[str, str]]) -> None:
        assert read(line + b"\n") == found

    @pytest.mark.parametrize(
        ("key", "bad"),
        [
            ("Name", "Bad;Name"),
            ("Name", "a$b"),
            ("Comment", "`reboot`"),
            ("GenericName", "a\x1b[0m"),
            ("StartupWMClass", "a b"),
            ("Categories", "GTK,Qt"),
            ("Exec", "sh -c 'x'"),
            ("Exec", "a %u"),
            ("Exec", "a;b"),
            ("Icon", "a b"),
            ("Icon", "../a:b"),
        ],
    )
    def test_a_value_with_another_character_is_dropped_with_a_warning(self, key: str, bad: str) -> None:
        found = MenuEntries.parse(f"a.desktop:Name=Good\na.desktop:{key}={bad}\n".encode())
        assert [dict(entry.values) for entry in found] == [{"Name": "Good"}]
        assert found.dropped == len(found.warnings) == 1
        assert found.warnings[0].startswith(f"a: {key} has characters that are not allowed")
        assert found.warnings[0].isprintable()

    def test_a_path_of_an_icon_may_lead_anywhere_for_it_is_only_a_name(self) -> None:
        assert read(b"a.desktop:Icon=/usr/share/../x.png\n") == {"a": {"Icon": "/usr/share/../x.png"}}

    def test_the_last_of_two_values_counts_and_entries_keep_their_order(self) -> None:
        reply = b"b.desktop:Name=1\na.desktop:Name=2\nb.desktop:Name=3\n"
        assert list(read(reply).items()) == [("b", {"Name": "3"}), ("a", {"Name": "2"})]

    def test_an_entry_without_a_name_is_not_complete(self) -> None:
        found = MenuEntries.parse(b"a.desktop:Icon=x\nb.desktop:Name=x\n")
        assert [(entry.id, entry.complete) for entry in found] == [("a", False), ("b", True)]

    def test_a_longer_line_is_cut_and_the_rest_is_a_line_of_its_own(self) -> None:
        head = b"a.desktop:Name="
        reply = head + b"x" * (1024 - len(head)) + b"b.desktop:Name=y\n"
        assert read(reply) == {"a": {"Name": "x" * (1024 - len(head))}, "b": {"Name": "y"}}

    def test_a_last_line_without_an_end_is_read(self) -> None:
        assert read(b"a.desktop:Name=x") == {"a": {"Name": "x"}}

    def test_less_than_100000_lines_are_read(self) -> None:
        assert read(b"\n" * 99_998 + b"a.desktop:Name=x\n") == {"a": {"Name": "x"}}
        for reply in (b"\n" * 100_000, b"\n" * 200_000, b"x" * 1024 * 100_000):
            with pytest.raises(InvalidValue, match="too many lines"):
                MenuEntries.parse(reply)

    def test_warnings_are_kept_up_to_a_bound_and_counted_beyond_it(self) -> None:
        found = MenuEntries.parse(b"a.desktop:Name=;\n" * 1000)
        assert (len(found.warnings), found.dropped) == (appmenu.WARNING_LIMIT, 1000)

    @pytest.mark.parametrize(
        "line",
        [
            b"a" * 1023,
            b":" * 1023,
            b"a:" * 511,
            b"a" * 500 + b":" + b"b" * 522,
            b"a:b" + b" " * 1020,
            b"desktop:" * 127,
            b"adesktop:x" * 102,
            b"a:b[" + b"c" * 1019,
        ],
    )
    def test_no_line_takes_long(self, line: bytes) -> None:
        started = time.process_time()
        MenuEntries.parse((line + b"\n") * 2000)
        assert time.process_time() - started < 1


class TestRenderer:
    def test_the_answer_has_an_empty_line_after_each_entry(self) -> None:
        entries = [MenuEntry("a", {"Name": "A", "Icon": "a"}), MenuEntry("b", {"Name": "B"})]
        assert appmenu.render(entries).reply == b"a.desktop:Name=A\na.desktop:Icon=a\n\nb.desktop:Name=B\n\n"

    def test_only_what_people_read_is_put_into_other_characters(self) -> None:
        entry = MenuEntry("a", {"Name": "A", "Categories": "GTK;Qt;", "Exec": "a={b}  c"})
        assert appmenu.render([entry]).reply == (
            b"a.desktop:Name=A\na.desktop:Categories=GTK;Qt;\na.desktop:Exec=a={b}  c\n\n"
        )

    def test_what_dom0_would_refuse_is_left_out(self) -> None:
        entries = [
            MenuEntry("a b\x1b", {"Name": "A"}),
            MenuEntry("", {"Name": "A"}),
            MenuEntry("a\n", {"Name": "A"}),
            MenuEntry("c", {"Name": "C", "Comment": "\ttab", "Icon": "c\n", "Type": "Application", "Exec": "x" * 1024}),
            MenuEntry("d", {"Name": "D"}),
        ]
        assert appmenu.render(entries).reply == b"c.desktop:Name=C\n\nd.desktop:Name=D\n\n"

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("Getting Things GNOME!", "Getting Things GNOME"),
            ("Bob's", "Bobs"),
            ("Café", "Cafe"),
            ("Zażółć gęślą jaźń", "Zazolc gesla jazn"),
            ("Straße – ½ & more", "Strasse - 1/2 & more"),
            ("KDE 漢字 Viewer", "KDE Viewer"),
        ],
    )
    def test_a_name_is_put_into_the_characters_that_dom0_takes(self, name: str, shown: str) -> None:
        rendered = appmenu.render([MenuEntry("a", {"Name": name, "Comment": name})])
        assert read(rendered.reply) == {"a": {"Name": shown, "Comment": shown}}
        assert rendered.left_out == ()

    def test_entries_that_dom0_cannot_have_are_left_out_whole_and_named(self) -> None:
        entries = [MenuEntry("a b", {"Name": "A"}), MenuEntry("b", {"Name": "漢字", "Icon": "b"}), MenuEntry("c", {})]
        rendered = appmenu.render([*entries, MenuEntry("d", {"Name": "D"})])
        assert read(rendered.reply) == {"d": {"Name": "D"}}
        assert rendered.left_out == (
            "a b.desktop: the file name has characters that dom0 does not accept",
            "b.desktop: dom0 accepts no character of its name",
        )

    def test_a_line_of_1024_bytes_with_its_end_is_the_longest(self) -> None:
        longest = "x" * (1023 - len("a.desktop:Name="))
        assert read(appmenu.render([MenuEntry("a", {"Name": longest})]).reply) == {"a": {"Name": longest}}
        assert read(appmenu.render([MenuEntry("a", {"Name": longest + "x"})]).reply) == {}

    def test_the_answer_stays_below_the_number_of_lines(self) -> None:
        reply = appmenu.render(MenuEntry(f"e{n}", {"Name": "x"}) for n in range(70_000)).reply
        assert reply.count(b"\n") < 100_000
        assert len(MenuEntries.parse(reply)) > 49_000

    ids = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=40)
    words = st.text(string.ascii_letters + "/.,:&()_+-", max_size=60)
    stored = st.dictionaries(
        ids,
        st.dictionaries(st.sampled_from(["Name", "GenericName", "Comment"]), words, min_size=1),
        max_size=20,
    )

    @given(stored)
    def test_what_was_written_is_read_again(self, stored: Any) -> None:
        assert read(appmenu.render(MenuEntry(id_, values) for id_, values in stored.items()).reply) == stored

    @given(st.text(max_size=50), st.dictionaries(st.text(max_size=20) | st.just("Name"), st.text(max_size=1200)))
    def test_nothing_that_is_written_is_dropped(self, id_: Any, values: Any) -> None:
        found = MenuEntries.parse(appmenu.render([MenuEntry(id_, values)]).reply)
        assert found.dropped == 0
        assert {entry.id for entry in found} <= {id_}
