"""A file in a VM gives way to another one only when that has arrived whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure import filelist
from vminterface.dom0.ensure.files import file_sent, local_tree
from vminterface.dom0.services import files
from vminterface.errors import InvalidValue, ServiceFailed, VerificationFailed, VMInterfaceError


@pytest.fixture
def incoming(work: Path) -> Path:
    """The VM's folder of files from dom0, with a folder ``things`` in it."""
    folder = work / "home/user/QubesIncoming/dom0"
    (folder / "things/old").mkdir(parents=True)
    (folder / "things/old/note").write_text("theirs")
    return folder


@pytest.fixture
def things(tmp_path: Path) -> str:
    """The folder to be sent."""
    folder = tmp_path / "from/things"
    folder.mkdir(parents=True)
    (folder / "note").write_text("ours")
    return str(folder)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def replaced(vms: StandIn, script: str) -> None:
    """Have another handler answer the file copy."""
    (vms.folder / "vms/work" / files.COPY).unlink()
    vms.handler("work", files.COPY, script)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[str]:
    """A path of 1200 folders, each in the one before; its first folder is ``top``."""
    path = str(tmp_path / "top")
    os.mkdir(path)
    for _ in range(1199):
        path += "/a"
        os.mkdir(path)
    yield path
    # What removes the folders of tests does so by recursion.
    while path != str(tmp_path):
        os.rmdir(path)
        path = os.path.dirname(path)


def test_a_folder_may_be_as_deep_as_a_path_can_say(deep: str, tmp_path: Path) -> None:
    tree = local_tree(f"{tmp_path}/top")
    assert len(tree) == 1200
    assert tree[b"/".join([b"a"] * 1199)] == ("d", b"")


def test_the_old_one_gives_way(qrexec: Qrexec, incoming: Path, things: str) -> None:
    file_sent(qrexec, "work", things, replace=True).run(test=True)
    assert content(incoming) == {"things/old/note": "theirs"}
    file_sent(qrexec, "work", things, replace=True).run(test=False)
    assert content(incoming) == {"things/note": "ours"}
    assert file_sent(qrexec, "work", things, replace=True).changes == {}


def test_a_copy_that_fails_leaves_the_old_one(vms: StandIn, qrexec: Qrexec, incoming: Path, things: str) -> None:
    replaced(vms, "mkdir ~/QubesIncoming/dom0/things; echo half > ~/QubesIncoming/dom0/things/note; exit 9")
    with pytest.raises(ServiceFailed, match=r"qubes\.Filecopy in work: exit status 9"):
        file_sent(qrexec, "work", things, replace=True).run(test=False)
    assert content(incoming) == {"things/old/note": "theirs"}


def test_another_one_than_was_sent_leaves_the_old_one(
    vms: StandIn, work: Path, qrexec: Qrexec, incoming: Path, things: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.send

    def send(*args: Any, **more: Any) -> None:
        real(*args, **more)
        (incoming / "things/note").write_text("changed")

    monkeypatch.setattr(files, "send", send)
    with pytest.raises(VerificationFailed):
        file_sent(qrexec, "work", things, replace=True).run(test=False)
    assert content(incoming) == {"things/old/note": "theirs"}


def test_where_the_old_one_is_if_it_cannot_be_put_back_is_said(
    vms: StandIn, qrexec: Qrexec, incoming: Path, things: str
) -> None:
    replaced(vms, f"rm -r {vms.folder}/vms/work; exit 9")
    with pytest.raises(
        VMInterfaceError, match=r"exit status 9; the former content is now .*the VM is not running"
    ) as caught:
        file_sent(qrexec, "work", things, replace=True).run(test=False)
    (aside,) = incoming.iterdir()
    assert f"QubesIncoming/dom0/{aside.name} in work" in str(caught.value)
    assert content(aside) == {"old/note": "theirs"}


def test_a_folder_with_more_entries_than_are_compared_is_refused_before_any_call(
    things: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filelist, "ENTRIES", 1)
    with pytest.raises(InvalidValue, match=r"/from/things: has more than 1 entries"):
        local_tree(things)


def test_what_a_link_leads_to_is_sent_and_compared_in_its_place(
    qrexec: Qrexec, incoming: Path, things: str, tmp_path: Path
) -> None:
    (tmp_path / "far").write_text("far")
    os.symlink(tmp_path / "far", f"{things}/link")
    with pytest.raises(InvalidValue, match=r"/things/link: .*absolute path"):
        file_sent(qrexec, "work", things, replace=True)
    file_sent(qrexec, "work", things, replace=True, follow_links=True).run(test=False)
    assert content(incoming) == {"things/note": "ours", "things/link": "far"}
    assert file_sent(qrexec, "work", things, follow_links=True).changes == {}
    (tmp_path / "far").write_text("changed")
    assert file_sent(qrexec, "work", things, replace=True, follow_links=True).changes != {}


def test_a_link_that_cannot_be_followed_is_an_error_before_any_call(vms: StandIn, qrexec: Qrexec, things: str) -> None:
    os.symlink("/nonexistent/far", f"{things}/link")
    for handler in vms.folder.glob("vms/work/qubes.*"):
        handler.unlink()  # nothing is to be called
    with pytest.raises(InvalidValue, match=r"/things/link: the symbolic link to /nonexistent/far cannot be followed"):
        file_sent(qrexec, "work", things, follow_links=True)
