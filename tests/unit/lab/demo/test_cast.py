"""The recording of a terminal: what programs show, line by line, as an SVG file."""

import os
from pathlib import Path
from xml.etree import ElementTree

from lab.demo.cast import COLUMNS, Line, output_of, record, spans, svg, wrapped

RED, END = "\x1b[31m", "\x1b[0m"


def test_a_program_has_a_terminal_of_that_width(tmp_path: Path) -> None:
    shown = output_of("stty size <&1; exit 3", {"PATH": os.environ["PATH"]}, tmp_path)
    assert shown.split()[-1] == str(COLUMNS)


def test_each_command_stands_there_before_its_output_comes(tmp_path: Path) -> None:
    lines = record(["echo one; echo two", "true"], {"PATH": os.environ["PATH"]}, tmp_path)
    assert [(line.text, line.prompt) for line in lines] == [
        ("echo one; echo two", True), ("one", False), ("two", False), ("true", True), ("", False)
    ]  # fmt: skip
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_a_long_line_goes_on_in_the_next_one_in_its_colour() -> None:
    assert list(wrapped(f"{RED}{'x' * (COLUMNS + 2)}{END}")) == [f"{RED}{'x' * COLUMNS}", f"{RED}xx{END}"]


def test_a_progress_line_that_was_overwritten_is_not_shown() -> None:
    assert list(wrapped("working\r\x1b[Kdone\r\n")) == ["done"]


def test_parts_of_a_line_have_their_colours() -> None:
    (a, plain), (b, red), (c, again) = spans(f"a {RED}b{END} c")
    assert (a, b, c) == ("a ", "b", " c")
    assert plain == again != red


def test_the_picture_has_every_line_at_its_time() -> None:
    picture = ElementTree.fromstring(svg([Line(0, "ls <x>", prompt=True), Line(1.5, "a & b")], "listing"))
    texts = [element for element in picture.iter() if element.tag.endswith("}text")]
    assert ["".join(one.itertext()) for one in texts] == ["# ls <x>", "a & b"]
    assert "1.5s" in texts[1].attrib["style"]
