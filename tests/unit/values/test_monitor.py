"""A monitor layout: its lines, its pillar form, what xrandr shows, and its picture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue, InvalidValues
from vminterface.values.monitor import LIMIT, Monitor, MonitorLayout

TEXT = "1920 1080 0 0 508 285\n1280 800 1920 0\n"
LAYOUT = MonitorLayout((Monitor(1920, 1080, 0, 0, 508, 285), Monitor(1280, 800, 1920, 0)))

sizes = st.tuples(st.integers(0, 65535), st.integers(0, 65535)) | st.just((None, None))
monitors = st.builds(
    lambda width, height, x, y, mm: Monitor(width, height, x, y, *mm),
    st.integers(1, 16384),
    st.integers(1, 6144),
    st.integers(0, 32767),
    st.integers(0, 32767),
    sizes,
)
layouts = st.lists(monitors, min_size=1, max_size=LIMIT).map(lambda found: MonitorLayout(tuple(found)))


class TestLines:
    def test_two_monitors_are_read_and_written_as_the_service_has_them(self):
        assert MonitorLayout.parse(TEXT) == LAYOUT
        assert LAYOUT.render() == TEXT

    @given(layouts)
    def test_what_was_written_is_read_again(self, layout):
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
            "16385 800 0 0\n",
            "1280 6145 0 0\n",
            "1280 800 32768 0\n",
            "1280 800 0 99999\n",
            "1280 800 0 0 65536 1\n",
            "1280 800 0 0 1 65536\n",
            "01280 800 0 0\n",
            "١٢٨٠ 800 0 0\n",
            "999999999999999999999 800 0 0\n",
            "1280 800 0 0;reboot\n",
            "1280 800 0 0\n" * 17,
        ],
    )
    def test_every_other_form_is_refused(self, text):
        with pytest.raises(InvalidValue):
            MonitorLayout.parse(text)

    def test_the_largest_layout_is_read(self):
        assert len(MonitorLayout.parse("16384 6144 32767 32767 65535 65535\n" * 16)) == 16

    def test_every_fault_is_told_with_its_place(self):
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.parse("0 800 0 40000\nnonsense\n1280 800 0 0\n")
        assert [fault.where for fault in info.value.faults] == ["0:width", "0:y", "1"]
        assert "0:width: 0 is not a whole number from 1 to 16384" in str(info.value)


class TestPillarForm:
    def test_millimetres_may_be_left_out(self):
        form = [
            {"width": 1920, "height": 1080, "x": 0, "y": 0, "width_mm": 508, "height_mm": 285},
            {"width": 1280, "height": 800, "x": 1920, "y": 0},
        ]
        assert MonitorLayout.from_mappings(form) == LAYOUT

    def test_all_faults_of_all_monitors_are_told_at_once(self):
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.from_mappings(
                [
                    {"width": "1920", "height": True, "x": 0, "y": 0},
                    {"width": 1920, "hieght": 1080, "x": -1, "y": 0},
                    "1920x1080",
                    {"width": 1, "height": 1, "x": 0, "y": 0, "width_mm": 3},
                ]
            )
        assert {fault.where: str(fault) for fault in info.value.faults} == {
            "0:width": "'1920' is not a whole number from 1 to 16384",
            "0:height": "True is not a whole number from 1 to 6144",
            "1:hieght": "unknown field (expected width, height, x, y, width_mm, height_mm)",
            "1:height": "missing",
            "1:x": "-1 is not a whole number from 0 to 32767",
            "2": "'1920x1080' is not a mapping with width, height, x and y",
            "3:height_mm": "missing (millimetres are given for both sides or for none)",
        }

    @pytest.mark.parametrize("form", [None, {}, "1920 1080 0 0", b"", 3, []])
    def test_what_is_no_list_of_monitors_is_refused(self, form):
        with pytest.raises(InvalidValue):
            MonitorLayout.from_mappings(form)

    def test_17_monitors_are_refused_with_the_faults_of_the_first_16(self):
        good = {"width": 1, "height": 1, "x": 0, "y": 0}
        with pytest.raises(InvalidValues) as info:
            MonitorLayout.from_mappings([good] * 15 + [{}] * 2)
        assert [fault.where for fault in info.value.faults] == ["", "15:width", "15:height", "15:x", "15:y"]


XRANDR = """\
Screen 0: minimum 8 x 8, current 5760 x 2160, maximum 32767 x 32767
eDP-1 connected primary 1920x1080+0+0 (normal left inverted right x axis y axis) 344mm x 194mm
   1920x1080     60.00*+  59.93
HDMI-1 disconnected (normal left inverted right x axis y axis)
DP-1 connected 3840x2160+1920+0 left (normal left inverted right x axis y axis) 294mm x 165mm
DP-2 connected (normal left inverted right x axis y axis)
VGA-1 unknown connection 800x600+0+1080 (normal left) 0mm x 0mm
"""


class TestXrandr:
    def test_outputs_with_a_geometry_come_in_their_order(self):
        layout = MonitorLayout.from_xrandr(XRANDR)
        assert [(m.width, m.height, m.x, m.y) for m in layout] == [
            (1920, 1080, 0, 0),
            (3840, 2160, 1920, 0),
            (800, 600, 0, 1080),
        ]

    @pytest.mark.parametrize(
        ("true_mm", "told"),
        [
            (508, (508, 285)),  # 96 dpi
            (344, (508, 285)),  # 141 dpi, still the lowest class
            (310, (325, 182)),  # 157 dpi: 150
            (200, (243, 137)),  # 243 dpi: 200
            (160, (162, 91)),  # 304 dpi: 300
            (0, (None, None)),
        ],
    )
    def test_the_true_size_is_hidden_in_a_class(self, true_mm, told):
        line = f"X-1 connected 1920x1080+0+0 (normal) {true_mm}mm x 9mm\n"
        (monitor,) = MonitorLayout.from_xrandr(line)
        assert (monitor.width_mm, monitor.height_mm) == told

    def test_an_output_that_tells_no_size_has_none(self):
        (monitor,) = MonitorLayout.from_xrandr("default connected 1280x800+0+0\n")
        assert (monitor.width, monitor.width_mm) == (1280, None)

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "xrandr in dom0 shows no output with a geometry"),
            ("nonsense", "xrandr in dom0 shows no output with a geometry"),
            ("DP-1 connected (normal)\n", "xrandr in dom0 shows no output with a geometry"),
            (
                "DP-1 connected 800x600+0+0\nX\x1b connected 0x0+0+0\n",
                "xrandr in dom0 shows a monitor on X\\x1b: width: 0 is not a whole number from 1 to 16384; "
                "height: 0 is not a whole number from 1 to 6144",
            ),
            ("X connected 800x600+0+0\n" * 17, "xrandr in dom0 shows 17 monitors (expected 1 to 16)"),
        ],
    )
    def test_what_no_vm_can_be_told_is_refused_in_one_sentence_that_says_whose_it_is(self, text, fault):
        with pytest.raises(InvalidValue) as caught:
            MonitorLayout.from_xrandr(text)
        assert str(caught.value) == fault
        assert caught.value.where == ""


class TestPicture:
    def test_monitors_are_drawn_where_they_are(self):
        assert LAYOUT.sketch(40) == (
            "+----------------------+---------------+\n"
            "|                      |               |\n"
            "|                      |  2: 1280x800  |\n"
            "|     1: 1920x1080     |               |\n"
            "|                      |               |\n"
            "|                      +---------------+\n"
            "|                      |\n"
            "+----------------------+\n"
        )

    def test_monitors_above_each_other_share_a_border(self):
        column = MonitorLayout((Monitor(1000, 500, 0, 0), Monitor(1000, 500, 0, 500)))
        assert column.sketch(16) == (
            "+--------------+\n"
            "|              |\n"
            "| 1: 1000x500  |\n"
            "|              |\n"
            "+--------------+\n"
            "|              |\n"
            "| 2: 1000x500  |\n"
            "|              |\n"
            "+--------------+\n"
        )

    def test_the_box_holds_all_monitors(self):
        assert LAYOUT.bounding_box == (0, 0, 3200, 1080)
        assert MonitorLayout((Monitor(10, 20, 5, 7), Monitor(1, 1, 30, 3))).bounding_box == (5, 3, 26, 24)

    @given(layouts, st.integers(8, 200))
    def test_no_layout_breaks_the_picture(self, layout, columns):
        picture = layout.sketch(columns)
        assert picture.endswith("\n")
        assert max(map(len, picture.splitlines())) == columns
        assert len(picture.splitlines()) <= max(3, columns)
        assert "+" in picture

    def test_too_few_columns_are_refused(self):
        with pytest.raises(InvalidValue):
            LAYOUT.sketch(7)
