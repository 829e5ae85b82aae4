"""``vminterface formula --export``: ours is renewed, others' stays, and nothing is exported onto itself."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from vminterface.cli import formula
from vminterface.cli.formula import NotShipped, export
from vminterface.cli.main import main
from vminterface.errors import VMInterfaceError

ROOT = Path(__file__).resolve().parents[3]


def test_a_second_export_renews_what_is_ours_and_leaves_what_is_others(tmp_path: Path) -> None:
    first = export(tmp_path)
    assert {"vminterface/init.sls", "vminterface/pillar/qubes/init.sls", "vminterface/docs/pillar.md"} <= {*first}
    assert {"_modules/qubes_vm.py", "_utils/vminterface/keys.py"} <= {*first}
    (tmp_path / "_modules/theirs.py").write_text("theirs")
    (tmp_path / "top.sls").write_text("theirs")
    theirs = ("_modules/theirs.py", "top.sls", "vminterface/secrets.sls", "_utils/vminterface/theirs/own.py")
    for name in theirs[2:]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("theirs")
    (tmp_path / "_modules/qubes_vm.py").unlink()
    (tmp_path / "_modules/qubes_vm.py").symlink_to("theirs.py")
    assert export(tmp_path) == first
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        *first,
        *theirs,
    }
    assert {(tmp_path / name).read_text() for name in theirs} == {"theirs"}
    assert (tmp_path / "_modules/qubes_vm.py").read_bytes() == (ROOT / "_modules/qubes_vm.py").read_bytes()


def test_what_is_no_longer_shipped_goes_unless_somebody_has_edited_it(tmp_path: Path) -> None:
    former, folder = tmp_path / "former", tmp_path / "srv"
    export(former)
    gone = ("vminterface/gone.sls", "_utils/vminterface/former/gone.py", "_modules/gone.py", "vminterface/edited.sls")
    for name in gone:
        (former / name).parent.mkdir(exist_ok=True)
        (former / name).write_text("shipped")
    assert {*gone} <= {*export(folder, library=former / "_utils/vminterface")}
    (folder / "vminterface/edited.sls").write_text("edited")
    (folder / "_modules/gone.py").unlink()
    (folder / "_modules/gone.py").mkdir()
    with (folder / "vminterface/.exported").open("a") as manifest:
        manifest.write(f"x\n\n{'0' * 64}  ../theirs.sls\n{'0' * 64}  /etc/theirs\n")
    written = export(folder)
    assert [name for name in gone if (folder / name).exists()] == ["_modules/gone.py", "vminterface/edited.sls"]
    assert not (folder / "_utils/vminterface/former").exists()
    assert not {*gone} & {*written}


@pytest.mark.parametrize(
    ("place", "is_directory", "said"),
    [
        ("vminterface/defaults.yaml", True, "is a directory (expected a file, or nothing)"),
        ("_utils/vminterface/keys.py", True, "is a directory (expected a file, or nothing)"),
        ("vminterface/.exported", True, "is a directory (expected a file, or nothing)"),
        ("vminterface/docs", False, "is not a directory (expected a directory, or nothing)"),
    ],
)
def test_what_stands_in_a_files_way_is_named_before_anything_is_written(
    tmp_path: Path, place: str, is_directory: bool, said: str
) -> None:
    inside = tmp_path / place / "theirs" if is_directory else tmp_path / place
    inside.parent.mkdir(parents=True)
    inside.write_text("theirs")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VMInterfaceError) as caught:
        export(tmp_path)
    assert str(caught.value) == f"{tmp_path / place}: {said}"
    assert sorted(tmp_path.rglob("*")) == before


def test_everybody_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        export(tmp_path / "srv/salt")
    finally:
        os.umask(former)
    paths = [tmp_path / "srv", *(tmp_path / "srv").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o644}


def test_a_folder_without_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["formula", "--export", ""]) == 2
    assert capsys.readouterr().err.startswith("vminterface: formula: --export '' is not a folder (expected ")
    assert not list(tmp_path.iterdir())


def test_what_is_exported_can_be_exported_again(tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert export(once) == export(twice, library=once / "_utils/vminterface")


@pytest.mark.parametrize("folder", [".", "formulas", "_utils"])
def test_nothing_is_exported_onto_itself(tmp_path: Path, folder: str) -> None:
    checkout = tmp_path / "checkout"
    for name in ("formulas", "_utils"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(checkout.rglob("*"))
    with pytest.raises(NotShipped, match=r"contains the files to export \(expected another folder\)"):
        export(checkout / folder, library=checkout / "_utils/vminterface")
    assert sorted(checkout.rglob("*")) == before


def test_an_installation_without_a_formula_says_so(tmp_path: Path) -> None:
    library = tmp_path / "lib/vminterface"
    library.mkdir(parents=True)
    with pytest.raises(NotShipped, match=r"lib/vminterface: there is no formula next to it \(expected dom0's package"):
        export(tmp_path / "srv", library=library)
    assert not (tmp_path / "srv").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VMInterfaceError, match=r"file: is not a directory \(expected a directory, or nothing\)$"):
        export(tmp_path / "file")


def test_the_command_counts_what_it_has_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formula", "--export", str(tmp_path / "srv"), "--json"]) == formula.DONE
    printed = json.loads(capsys.readouterr().out)
    assert printed["folder"] == str(tmp_path / "srv")
    assert all((tmp_path / "srv" / path).is_file() for path in printed["files"])
