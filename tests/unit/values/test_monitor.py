"""A monitor layout: its lines, its pillar form, what xrandr shows, and its picture."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue, InvalidValues
from vminterface.values.monitor import LIMIT, Monitor, MonitorLayout

TEXT = "1920 1080 0 0 508 285\n1280 800 1920 0\n"
LAYOUT = MonitorLayout((Monitor(1920, 1080, 0, 0, 508, 285), Monitor(1280, 800, 1920, 0)))

sizes = st.tuples(st.integers(0, 65535), st.integers(0, 65535)) | st.just((None, None))
monitors = st.builds(
    lambda width, height, x, y, mm: Monitor(width, height, min(x, 32767 - width), min(y, 32767 - height), *mm),
    st.integers(1, 32767),
    st.integers(1, 32767),
    st.integers(0, 32767),
    st.integers(0, 32767),
    sizes,
)
layouts = st.lists(monitors, min_size=1, max_size=LIMIT).map(lambda found: MonitorLayout(tuple(found)))


class TestLines:
    def test_two_monitors_are_read_and_written_as_the_service_has_them(self) -> None:
        assert MonitorLayout.parse(TEXT) == LAYOUT
        assert LAYOUT.render() == TEXT

    @given(layouts)
    def test_what_was_written_is_read_again(self, layout: Any) -> None:
        assert MonitorLayout.parse(layout.render()) == layout

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n",
            "1280 800 0 0",
            "1280 800 0 0\n1280 800 0 0",
            "1280 800 0 0\n\n",
            "\n1280 800 0 0\n",
            "1280 800 0\n",
            "1280 800 0 0 1\n",
            "1280 800 0 0 1 2 3\n",
            "1280  800 0 0\n",
            " 1280 800 0 0\n",
            "1280 800 0 0 \n",
            "1280\t800 0 0\n",
            "a b c d\n",
            "-1 800 0 0\n",
            "+1 800 0 0\n",
            "1280 800 0 0\r\n",
            "1e3 800 0 0\n",
            "0x10 800 0 0\n",
            "0 800 0 0\n",
            "1280 0 0 0\n",
            "32768 800 0 0\n",
            "1280 32768 0 0\n",
            "1280 800 32768 0\n",
            "1280 800 0 99999\n",
            "1280 800 31488 0\n",
            "1 1 0 32767\n",
            "1280 800 0 0 65536 1\n",
            "1280 800 0 0 1 65536\n",
            "01280 800 0 0\n",
            "١٢٨٠ 800 0 0\n",
            "999999999999999999999 800 0 0\n",
            "1280 800 0 0;reboot\n",
            "1280 800 0 0\n" * 17,
        ],
    )
    def test_every_other_form_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidValue):
            MonitorLayout.parse(text)

    def test_the_largest_layout_is_read(self) -> None:
        assert len(MonitorLayout.parse("16384 6144 16383 26623 65535 65535\n" * 16)) == 16

    def test_every_fault_is_told_with_its_place(self) -> None:
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.parse("0 800 0 40000\nnonsense\n1280 800 0 0\n")
        assert [fault.where for fault in info.value.errors] == ["0:width", "0:y", "1"]
        assert "0:width: 0 is not a whole number from 1 to 32767" in str(info.value)

    def test_faults_behind_a_line_that_is_none_are_told_too(self) -> None:
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.parse("nonsense\n0 800 0 0\n")
        assert [fault.where for fault in info.value.errors] == ["0", "1:width"]

    def test_there_are_1_to_16_monitors(self) -> None:
        for number in (0, 17):
            with pytest.raises(InvalidValue, match=rf"^{number} monitors \(expected 1 to 16\)"):
                MonitorLayout((Monitor(1, 1, 0, 0),) * number)


class TestPillarForm:
    def test_what_was_read_is_written_with_what_each_monitor_has(self) -> None:
        form = [
            {"width": 1920, "height": 1080, "x": 0, "y": 0, "width_mm": 508, "height_mm": 285},
            {"width": 1280, "height": 800, "x": 1920, "y": 0},
        ]
        assert LAYOUT.mappings() == form

    def test_sixteen_monitors_are_taken(self) -> None:
        assert len(MonitorLayout.from_mappings([{"width": 1, "height": 1, "x": 0, "y": 0}] * 16)) == 16

    def test_one_resolution_may_hold_for_all_and_no_side_has_less_than_a_millimetre(self) -> None:
        assert MonitorLayout((Monitor(1920, 1080, 0, 0, 508, 285), Monitor(1, 10, 1920, 0))).at(1000) == MonitorLayout(
            (Monitor(1920, 1080, 0, 0, 49, 27), Monitor(1, 10, 1920, 0, 1, 1))
        )

    @pytest.mark.parametrize("side", ["width_mm", "height_mm"])
    def test_millimetres_of_one_side_are_half_a_size(self, side: str) -> None:
        form = {"width": 1, "height": 1, "x": 0, "y": 0, side: 3}
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.from_mappings([form])
        other = {"width_mm": "height_mm", "height_mm": "width_mm"}[side]
        assert [fault.where for fault in info.value.errors] == [f"0:{other}"]
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.from_mappings([{**form, "dpi": 96}])
        assert "0:dpi" in [fault.where for fault in info.value.errors]

    def test_millimetres_may_be_left_out(self) -> None:
        form = [
            {"width": 1920, "height": 1080, "x": 0, "y": 0, "width_mm": 508, "height_mm": 285},
            {"width": 1280, "height": 800, "x": 1920, "y": 0},
        ]
        assert MonitorLayout.from_mappings(form) == LAYOUT

    def test_all_faults_of_all_monitors_are_told_at_once(self) -> None:
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.from_mappings(
                [
                    {"width": "1920", "height": True, "x": 0, "y": 0},
                    {"width": 1920, "hieght": 1080, "x": -1, "y": 0},
                    "1920x1080",
                    {"width": 1, "height": 1, "x": 0, "y": 0, "width_mm": 3},
                ]
            )
        assert {fault.where: str(fault) for fault in info.value.errors} == {
            "0:width": "'1920' is not a whole number from 1 to 32767 (unquote it)",
            "0:height": "True is not a whole number from 1 to 32767",
            "1:hieght": "unknown field (expected width, height, x, y, width_mm, height_mm, dpi)",
            "1:height": "is missing",
            "1:x": "-1 is not a whole number from 0 to 32767",
            "2": "'1920x1080' is not a mapping with width, height, x and y",
            "3:height_mm": "is missing (expected millimetres for both sides or for neither)",
        }

    def test_a_monitor_that_ends_beyond_the_last_coordinate_is_refused_with_its_place(self) -> None:
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.from_mappings([{"width": 800, "height": 600, "x": 32767, "y": 32167}])
        assert [(fault.where, str(fault)) for fault in info.value.errors] == [
            ("0:x", "32767 and 800 more pixels end beyond 32767, the last coordinate of X")
        ]

    def test_8k_upright_is_a_monitor(self) -> None:
        (monitor,) = MonitorLayout.from_mappings([{"width": 4320, "height": 7680, "x": 0, "y": 0}])
        assert monitor.render() == "4320 7680 0 0"

    def test_a_resolution_takes_the_place_of_millimetres(self) -> None:
        (monitor,) = MonitorLayout.from_mappings([{"width": 1920, "height": 1080, "x": 0, "y": 0, "dpi": 144}])
        assert (monitor.width_mm, monitor.height_mm) == (339, 190)

    @pytest.mark.parametrize("dpi", [0, 19, 1001, 96.5, "144", True, -1])
    def test_no_other_resolution_is_taken(self, dpi: bool | float | str) -> None:
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.from_mappings([{"width": 1920, "height": 1080, "x": 0, "y": 0, "dpi": dpi}])
        assert [fault.where for fault in info.value.errors] == ["0:dpi"]

    def test_a_resolution_beside_millimetres_is_refused(self) -> None:
        with pytest.raises(InvalidValues, match="is given together with millimetres"):
            MonitorLayout.from_mappings(
                [{"width": 19, "height": 10, "x": 0, "y": 0, "dpi": 96, "width_mm": 5, "height_mm": 5}]
            )

    @pytest.mark.parametrize("form", [None, {}, "1920 1080 0 0", b"", 3, []])
    def test_what_is_no_list_of_monitors_is_refused(self, form: Any) -> None:
        with pytest.raises(InvalidValue):
            MonitorLayout.from_mappings(form)

    def test_17_monitors_are_refused_with_the_faults_of_the_first_16(self) -> None:
        good = {"width": 1, "height": 1, "x": 0, "y": 0}
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.from_mappings([good] * 15 + [{}] * 2)
        assert [fault.where for fault in info.value.errors] == ["", "15:width", "15:height", "15:x", "15:y"]


class TestNotes:
    def test_a_plain_layout_has_none(self) -> None:
        assert LAYOUT.notes() == []

    def test_one_that_does_not_begin_at_the_corner_is_moved_there_by_x(self) -> None:
        assert MonitorLayout((Monitor(800, 600, 900, 100), Monitor(640, 480, 100, 200))).notes() == [
            "the layout begins at 100, 100, and X moves it to 0, 0"
        ]

    @pytest.mark.parametrize(("x", "y"), [(100, 0), (0, 100)])
    def test_it_may_begin_beside_the_corner_on_one_side(self, x: int, y: int) -> None:
        assert MonitorLayout((Monitor(800, 600, x, y),)).notes() == [
            f"the layout begins at {x}, {y}, and X moves it to 0, 0"
        ]

    def test_two_equal_rectangles_show_the_same(self) -> None:
        layout = MonitorLayout((Monitor(800, 600, 0, 0), Monitor(640, 480, 800, 0), Monitor(800, 600, 0, 0)))
        assert layout.notes() == ["monitors 1 and 3 show the same area"]


class TestPicture:
    def test_monitors_are_drawn_where_they_are(self) -> None:
        assert LAYOUT.sketch(40) == (
            "+----------------------+---------------+\n"
            "|                      |               |\n"
            "|                      |  2: 1280x800  |\n"
            "|    1*: 1920x1080     |               |\n"
            "|                      |               |\n"
            "|                      +---------------+\n"
            "|                      |\n"
            "+----------------------+\n"
        )

    def test_monitors_above_each_other_share_a_border(self) -> None:
        column = MonitorLayout((Monitor(1000, 500, 0, 0), Monitor(1000, 500, 0, 500)))
        assert column.sketch(16) == (
            "+--------------+\n"
            "|              |\n"
            "| 1*: 1000x500 |\n"
            "|              |\n"
            "+--------------+\n"
            "|              |\n"
            "| 2: 1000x500  |\n"
            "|              |\n"
            "+--------------+\n"
        )

    def test_a_flat_monitor_has_room_for_its_number(self) -> None:
        assert MonitorLayout((Monitor(32767, 1, 0, 0),)).sketch(8) == "+------+\n|  1   |\n+------+\n"

    def test_the_later_of_two_monitors_is_on_top(self) -> None:
        layout = MonitorLayout((Monitor(1000, 1000, 0, 0), Monitor(1000, 1000, 500, 500)))
        assert layout.sketch(31) == (
            "+-------------------+\n"
            "|                   |\n"
            "|                   |\n"
            "|                   |\n"
            "|                   |\n"
            "|   1*: 10+-------------------+\n"
            "|         |                   |\n"
            "|         |                   |\n"
            "|         |                   |\n"
            "|         |                   |\n"
            "+---------|   2: 1000x1000    |\n"
            "          |                   |\n"
            "          |                   |\n"
            "          |                   |\n"
            "          |                   |\n"
            "          +-------------------+\n"
        )

    def test_a_corner_stays_one_under_the_side_of_a_neighbour(self) -> None:
        layout = MonitorLayout((Monitor(1000, 500, 1000, 250), Monitor(1000, 1000, 0, 0)))
        assert layout.sketch(31) == (
            "+--------------+\n"
            "|              |\n"
            "|              +--------------+\n"
            "|              |              |\n"
            "| 2: 1000x1000 | 1*: 1000x500 |\n"
            "|              |              |\n"
            "|              +--------------+\n"
            "|              |\n"
            "+--------------+\n"
        )

    def test_the_box_holds_all_monitors(self) -> None:
        assert LAYOUT.bounding_box == (0, 0, 3200, 1080)
        assert MonitorLayout((Monitor(10, 20, 5, 7), Monitor(1, 1, 30, 3))).bounding_box == (5, 3, 26, 24)

    @given(layouts, st.integers(8, 200))
    def test_no_layout_breaks_the_picture(self, layout: Any, columns: Any) -> None:
        picture = layout.sketch(columns)
        assert picture.endswith("\n")
        assert max(map(len, picture.splitlines())) == columns
        assert len(picture.splitlines()) <= max(3, columns)
        assert "+" in picture

    def test_too_few_columns_are_refused(self) -> None:
        with pytest.raises(InvalidValue):
            LAYOUT.sketch(7)
