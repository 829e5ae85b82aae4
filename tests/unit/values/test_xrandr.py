"""The outputs that xrandr prints, and the layout that VMs are given of dom0's."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.xrandr import layout_of_dom0, outputs

XRANDR = """\
Screen 0: minimum 8 x 8, current 5760 x 2160, maximum 32767 x 32767
eDP-1 connected primary 1920x1080+0+0 (normal left inverted right x axis y axis) 344mm x 194mm
   1920x1080     60.00*+  59.93
HDMI-1 disconnected (normal left inverted right x axis y axis)
DP-1 connected 3840x2160+1920+0 left (normal left inverted right x axis y axis) 294mm x 165mm
DP-2 connected (normal left inverted right x axis y axis)
VGA-1 unknown connection 800x600+0+1080 (normal left) 0mm x 0mm
"""


class TestLayoutOfDom0:
    def test_outputs_with_a_geometry_come_in_their_order(self) -> None:
        layout = layout_of_dom0(XRANDR)
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
            # A class begins above its number, and parts of a dot do not count.
            (324, (508, 285)),  # 150.5 dpi
            (243, (325, 182)),  # 200.7 dpi
            (162, (162, 91)),  # 301.0 dpi
            (0, (None, None)),
        ],
    )
    def test_the_true_size_is_hidden_in_a_class(self, true_mm: int, told: tuple[Any, ...]) -> None:
        line = f"X-1 connected 1920x1080+0+0 (normal) {true_mm}mm x {true_mm and 9}mm\n"
        (monitor,) = layout_of_dom0(line)
        assert (monitor.width_mm, monitor.height_mm) == told

    def test_an_output_that_tells_no_size_has_none(self) -> None:
        (monitor,) = layout_of_dom0("default connected 1280x800+0+0\n")
        assert (monitor.width, monitor.width_mm) == (1280, None)

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "xrandr in dom0 shows no output with a geometry"),
            ("nonsense", "xrandr in dom0 shows no output with a geometry"),
            ("DP-1 connected (normal)\n", "xrandr in dom0 shows no output with a geometry"),
            (
                "DP-1 connected 800x600+0+0\nX\x1b connected 0x0+0+0\n",
                "xrandr in dom0 shows a monitor on X\\x1b: width: 0 is not a whole number from 1 to 32767; "
                "height: 0 is not a whole number from 1 to 32767",
            ),
            ("X connected 800x600+0+0\n" * 17, "xrandr in dom0 shows 17 monitors (expected 1 to 16)"),
        ],
    )
    def test_what_no_vm_can_be_told_is_refused_in_one_sentence_that_says_whose_it_is(
        self, text: str, fault: str
    ) -> None:
        with pytest.raises(InvalidValue) as caught:
            layout_of_dom0(text)
        assert str(caught.value) == fault
        assert caught.value.where == ""

    def test_the_primary_output_is_the_first_monitor(self) -> None:
        text = "DP-1 connected 1280x800+1920+0\nDP-2 connected primary 1920x1080+0+0\nDP-3 connected 800x600+3200+0\n"
        assert [m.width for m in layout_of_dom0(text)] == [1920, 1280, 800]

    @pytest.mark.parametrize("reflected", ["", "X axis ", "Y axis ", "X and Y axis "])
    @pytest.mark.parametrize(
        ("rotation", "size"),
        [("", "3840x2160"), ("inverted ", "3840x2160"), ("left ", "2160x3840"), ("right ", "2160x3840")],
    )
    def test_a_screen_has_the_same_resolution_whichever_way_it_is_turned(
        self, rotation: str, size: str, reflected: str
    ) -> None:
        line = (
            f"DP-2 connected {size}+0+0 {rotation}{reflected}(normal left inverted right x axis y axis) 597mm x 336mm\n"
        )
        (monitor,) = layout_of_dom0(line)
        across, down = map(int, size.split("x"))
        # 163 dpi: the class of 150.
        assert (monitor.width_mm, monitor.height_mm) == (across * 254 // 1500, down * 254 // 1500)

    def test_one_side_in_millimetres_is_enough_for_the_class(self) -> None:
        (monitor,) = layout_of_dom0("X-1 connected 1920x1080+0+0 (normal) 0mm x 170mm\n")
        assert (monitor.width_mm, monitor.height_mm) == (325, 182)
        (monitor,) = layout_of_dom0("X-1 connected 1920x1080+0+0 (normal) 0mm x 182mm\n")  # 150.7 dpi
        assert (monitor.width_mm, monitor.height_mm) == (508, 285)

    def test_dom0_may_have_sixteen_monitors(self) -> None:
        assert len(layout_of_dom0("X connected 800x600+0+0\n" * 16)) == 16


PROPERTIES = """\
Screen 0: minimum 64 x 64, current 3200 x 1080, maximum 32767 x 32767
DUMMY0 connected 1920x1080+0+0 (normal left inverted right x axis y axis) 0mm x 0mm
\tHEIGHT_MM: 285\x20
\t\trange: (0, 65535)
\tWIDTH_MM: 508\x20
\t\trange: (0, 65535)
   QB1920x1080   60.00*
DUMMY1 connected primary 1280x800+1920+0 (normal) 0mm x 0mm
\tHEIGHT_MM: 0
\tWIDTH_MM: 0
DUMMY2 connected (normal left inverted right x axis y axis)
\tHEIGHT_MM: 7
\tWIDTH_MM: 7
screen connected 800x600+0+1080 (normal) 0mm x 0mm
"""


class TestOutputs:
    def test_those_that_show_something_come_in_their_order(self) -> None:
        assert [output.name for output in outputs(PROPERTIES)] == ["DUMMY0", "DUMMY1", "screen"]

    def test_the_size_in_millimetres_is_the_driver_s_property_or_not_known(self) -> None:
        assert [output.millimetres for output in outputs(PROPERTIES)] == [(508, 285), (0, 0), None]

    def test_one_is_the_primary_output(self) -> None:
        assert [output.primary for output in outputs(PROPERTIES)] == [False, True, False]

    @pytest.mark.parametrize("text", ["", "\tWIDTH_MM: 5\n", "X connected 800x600+0+999999\n", "\0" * 100])
    def test_what_is_none_is_left_out(self, text: str) -> None:
        assert outputs(text) == ()

    def test_no_more_than_a_bound_is_read(self) -> None:
        assert len(outputs("X connected 800x600+0+0\n" * 100_000)) < 50_000
