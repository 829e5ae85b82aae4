"""What xrandr prints, read: outputs, their geometry, modes and properties, and modes of no output."""

from __future__ import annotations

from vminterface.vm.handlers.display.xrandr import Screen

TEXT = """\
Screen 0: minimum 64 x 64, current 3200 x 1080, maximum 32767 x 16384
DUMMY10 disconnected
DUMMY0 connected primary 1920x1080+0+0 (normal left inverted) 508mm x 285mm
\tEDID:
\t\t00ffffffffffff00
\tHEIGHT_MM: 285
\t\trange: (0, 65535)
\tWIDTH_MM: 508
\t\trange: (0, 65535)
   1024x768      60.00 +
   QB1920x1080   59.96*
DUMMY1 disconnected 1280x800+1920+0 0mm x 0mm
   QB1280x800    59.81*
DUMMY2 unknown connection
  QB1x1 (0x53d) 83.500MHz -HSync +VSync
        h: width     1 start 1352 end 1480 total 1680 skew    0 clock  49.70KHz
"""


def test_outputs_are_read_with_all_that_belongs_to_them() -> None:
    screen = Screen.parse(TEXT)
    assert screen.limits == (32767, 16384)
    first = screen.monitors[0]
    assert (first.name, first.geometry, first.mode) == ("DUMMY0", (1920, 1080, 0, 0), "QB1920x1080")
    assert first.modes == {"1024x768", "QB1920x1080"}
    assert (first.properties["WIDTH_MM"], first.properties["HEIGHT_MM"]) == ("508", "285")


def test_outputs_of_vms_are_in_the_order_of_their_numbers() -> None:
    names = [output.name for output in Screen.parse(TEXT).monitors]
    assert names == ["DUMMY0", "DUMMY1", "DUMMY2", "DUMMY10"]


def test_only_those_are_used_where_there_are_such() -> None:
    screen = Screen.parse("HDMI-1 connected 10x10+0+0\nDUMMY0 disconnected\n")
    assert [output.name for output in screen.monitors] == ["DUMMY0"]
    screen = Screen.parse("HDMI-1 connected 10x10+0+0\neDP-1 disconnected\n")
    assert [output.name for output in screen.monitors] == ["HDMI-1", "eDP-1"]


def test_modes_are_known_whether_or_not_an_output_has_them() -> None:
    assert Screen.parse(TEXT).modes == {"1024x768", "QB1920x1080", "QB1280x800", "QB1x1"}


def test_a_disconnected_output_may_show_something() -> None:
    assert Screen.parse(TEXT).monitors[1].geometry == (1280, 800, 1920, 0)


def test_nonsense_has_no_outputs() -> None:
    assert Screen.parse("\x00\n\t\n   \nxrandr: cannot\n").outputs == []
