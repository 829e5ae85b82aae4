"""The pillar's file is read again when it is another one, and a wrong one leaves the settings as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.watcherworld import MAIL, WORK
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.watch.watcher import PillarFile
from vminterface.errors import InvalidValue


class TestPillarFile:
    @pytest.fixture
    def parsed(self) -> list[list[VMSettings] | InvalidValue]:
        """What the file holds each time that it is read, the last one again and again."""
        return [[WORK, MAIL]]

    @pytest.fixture
    def file(self, tmp_path: Path, parsed: list[Any]) -> PillarFile:
        path = tmp_path / "pillar"
        path.write_text("1")
        os.utime(path, ns=(1, 1))

        def parse() -> Any:
            self.reads += 1
            one = parsed.pop(0) if len(parsed) > 1 else parsed[0]
            if isinstance(one, InvalidValue):
                raise one
            return one

        self.reads = 0
        return PillarFile(str(path), parse)

    def test_it_has_the_settings_by_vm(self, file: PillarFile) -> None:
        assert file.settings == {"work": WORK, "mail": MAIL}
        assert self.reads == 1

    def test_while_it_is_the_same_file_it_is_not_read_again(self, file: PillarFile) -> None:
        assert not file.renewed()
        assert self.reads == 1

    @pytest.mark.parametrize("how", ["time", "size", "other", "gone"])
    def test_whatever_is_another_about_it_it_is_read_again_once(self, file: PillarFile, parsed: Any, how: str) -> None:
        parsed[:] = [[WORK]]
        path = Path(file.path)
        if how == "time":
            os.utime(path, ns=(2, 2))
        elif how == "gone":
            path.unlink()
        else:
            other = path.with_name("other")
            other.write_text("1" if how == "other" else "22")
            os.utime(other, ns=(1, 1))
            if how == "size":
                path.write_text("22")
                os.utime(path, ns=(1, 1))
            else:
                other.rename(path)
        assert file.renewed()
        assert file.settings == {"work": WORK}
        assert not file.renewed()
        assert self.reads == 2

    def test_one_that_asks_for_the_same_is_no_other(self, file: PillarFile) -> None:
        os.utime(file.path, ns=(2, 2))
        assert not file.renewed()
        assert self.reads == 2

    def test_one_that_is_wrong_is_an_error_once_and_the_old_stays(self, file: PillarFile, parsed: Any) -> None:
        parsed[:] = [InvalidValue("no")]
        os.utime(file.path, ns=(2, 2))
        with pytest.raises(InvalidValue, match=r"^no$"):
            file.renewed()
        assert not file.renewed()
        assert file.settings == {"work": WORK, "mail": MAIL}
