"""Templates that a VM finds and fetches for dom0: what is asked, what is taken, and what is never put in its place."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.templates import rpmkeys, web
from vminterface.dom0.services import templates
from vminterface.errors import (
    InvalidValue,
    OutputTooLarge,
    ProgramMissing,
    RemoteProtocolError,
    ServiceFailed,
    VerificationFailed,
)
from vminterface.values.templaterequest import TemplateRequest

PACKAGE = b"\xed\xab\xee\xdb" + os.urandom(200_000)
WANTED = TemplateRequest("qubes-template-debian-13", "[main]\nname=x\n", "4.3")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    (tmp_path / "key").write_text("key")
    return tmp_path / "here"


def fetch(qrexec: Any, here: Path, **more: Any) -> int:
    return templates.download(qrexec, "work", WANTED, str(here / "debian.rpm"), str(here.parent / "key"), **more)


def mirrors(vms: Any, work: Path, *urls: str, fifth: bool = True) -> None:
    said = f"echo '{' '.join(urls)}'"
    helped = "case $* in *--help*) echo ' --allmirrors'; exit ;; esac"
    vms.program("work", "dnf5" if fifth else "dnf", f'echo "$@" >>{work}/asked\n{helped}\n{said}\n')


def test_the_repositories_and_their_keys_are_there_for_dnf_alone(
    vms: Any, work: Any, qrexec: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/KEY-4.3").write_bytes(b"\x00key")
    monkeypatch.setattr(templates, "KEYS", f"{tmp_path}/keys/")
    repository = tmp_path / "a.repo"
    repository.write_text(f"[main]\nbaseurl=https://example.org/\ngpgkey = file://{tmp_path}/keys/KEY-$releasever\n")
    desired = templates.request(
        "qubes-template-*", files=[str(repository)], release="4.3", enable=["main"], refresh=True
    )
    assert desired.keys == {"KEY-4.3": b"\x00key"}
    show = "for w; do case $w in --setopt=reposdir=*) d=${w#*=*=};; esac; done; cat $d/template.repo $d/keys/* >&2"
    vms.program("work", "dnf5", f'echo "$@" >>{work}/asked; {show}; exit 3')
    with pytest.raises(ServiceFailed, match=r"baseurl=https://example\.org/.*\\x00key"):
        templates.search(qrexec, "work", desired)
    asked = (work / "asked").read_text().split()
    assert asked[:3] == ["repoquery", "-y", "--quiet"]
    assert asked[4:7] == ["--enablerepo=main", "--releasever=4.3", "--refresh"]
    assert asked[-1] == "qubes-template-*"
    assert not list(Path("/tmp").glob("vminterface-template-*"))


@pytest.mark.parametrize("fifth", [True, False])
def test_rows_of_either_dnf_are_read(vms: Any, work: Any, qrexec: Any, fifth: Any) -> None:
    row = "qubes-template-x|0|4.3|1|main|7|{}|GPL|u|a summary|two\\nlines|\\n"
    rows = row.format("1750000000") + row.format("2025-06-15 15:06").replace("-x|", "-y|") + "other|" * 11 + "\\n"
    vms.program("work", "dnf5" if fifth else "dnf", f'printf "%s " "$@" >>{work}/asked; printf "{rows}"')
    first, second = templates.search(qrexec, "work", WANTED)
    assert (first.name, first.size, first.built) == ("x", 7, datetime(2025, 6, 15, 15, 6, 40, tzinfo=UTC))
    assert (second.name, second.summary, second.description) == ("y", "a summary", r"two\nlines")
    assert ("|\\n" in (work / "asked").read_text()) is fifth


@pytest.mark.parametrize(
    "row",
    [
        "qubes-template-x|0|1",
        "qubes-template-../x|0|1|1|main|7|1|l|u|s|d",
        "qubes-template-x|0|1|1|main|-7|1|l|u|s|d",
        "qubes-template-x|0|1|1|main|7|tomorrow|l|u|s|d",
        "qubes-template-x|0|1|1|a b|7|1|l|u|s|d",
        "qubes-template-x|0|$(id)|1|main|7|1|l|u|s|d",
        "qubes-template-x|0|1|1|main|7|9999-99-99 99:99|l|u|s|d",
    ],
)
def test_a_row_of_another_form_is_the_vms_fault(vms: Any, qrexec: Any, row: Any) -> None:
    vms.handler("bad", templates.SEARCH, f"cat >/dev/null; echo '{row}|'")
    with pytest.raises(RemoteProtocolError, match=r"qubes\.TemplateSearch in bad: ") as caught:
        templates.search(qrexec, "bad", WANTED)
    assert str(caught.value).isprintable()


def test_a_mirror_that_breaks_off_is_asked_for_the_rest(
    vms: Any, work: Any, qrexec: Any, here: Any, monkeypatch: Any
) -> None:
    rpmkeys(here.parent / "bin", monkeypatch)
    (here.parent / "web").mkdir()
    (here.parent / "web/a.rpm").write_bytes(PACKAGE)
    with web(here.parent / "web", most=90_000) as port:
        mirrors(vms, work, f"http://127.0.0.1:{port}/gone.rpm", f"http://127.0.0.1:{port}/a.rpm", "file:///etc/passwd")
        assert fetch(qrexec, here, size=len(PACKAGE)) == len(PACKAGE)
    assert (here / "debian.rpm").read_bytes() == PACKAGE
    assert "--allmirrors" in (work / "asked").read_text()


def test_without_a_mirror_the_reason_comes(vms: Any, work: Any, qrexec: Any, here: Any, monkeypatch: Any) -> None:
    rpmkeys(here.parent / "bin", monkeypatch)
    mirrors(vms, work, "--option", "file:///etc/passwd", fifth=False)
    with pytest.raises(ServiceFailed, match="the repositories do not list the package"):
        fetch(qrexec, here)
    with web(here) as port:
        mirrors(vms, work, f"http://127.0.0.1:{port}/gone.rpm", fifth=False)
        with pytest.raises(ServiceFailed, match="could not be fetched: 1 mirrors tried, 0 bytes sent"):
            fetch(qrexec, here)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "status"), [("digests OK", 0), ("DIGESTS SIGNATURES NOT OK", 1), ("digests signatures OK", 1)]
)
def test_what_is_not_signed_is_not_kept(
    vms: Any, qrexec: Any, here: Any, monkeypatch: Any, said: Any, status: Any
) -> None:
    rpmkeys(here.parent / "bin", monkeypatch, said=said, status=status)
    (here.parent / "package").write_bytes(PACKAGE)
    vms.handler("work", templates.DOWNLOAD, f"cat >/dev/null; cat {here.parent}/package")
    (vms.folder / "vms/work" / templates.DOWNLOAD).chmod(0o644)
    with pytest.raises(VerificationFailed, match=r"the package is not signed with /.*/key"):
        fetch(qrexec, here)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "size", "error"),
    [
        ("echo hello", None, RemoteProtocolError),
        ("true", None, RemoteProtocolError),
        (r"printf '\355\253'", None, RemoteProtocolError),
        (r"printf '\355\253\356\333more'", 9, RemoteProtocolError),
        (r"printf '\355\253\356\333more'", 7, OutputTooLarge),
    ],
)
def test_what_is_no_package_is_not_kept(
    vms: Any, qrexec: Any, here: Any, monkeypatch: Any, script: Any, size: Any, error: Any
) -> None:
    rpmkeys(here.parent / "bin", monkeypatch)
    vms.handler("work", templates.DOWNLOAD, f"cat >/dev/null; {script}")
    with pytest.raises(error, match=r"qubes\.TemplateDownload in work: "):
        fetch(qrexec, here, size=size)
    assert list(here.iterdir()) == []


def test_nothing_is_asked_where_nothing_could_be_kept(
    vms: Any, work: Any, qrexec: Any, here: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ProgramMissing, match="rpmkeys is not installed"):
        fetch(qrexec, here)
    monkeypatch.undo()
    rpmkeys(here.parent / "bin", monkeypatch)
    (here / "debian.rpm").touch()
    with pytest.raises(InvalidValue, match="already exists"):
        fetch(qrexec, here)
    assert vms.ran() == []


def test_without_dnf_the_vm_says_so(vms: Any, work: Any, qrexec: Any) -> None:
    with pytest.raises(ServiceFailed, match="dnf is not installed"):
        templates.search(qrexec, "work", WANTED)
