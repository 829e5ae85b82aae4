"""Tags and notes in the lab's qubesd, and VMs that are named by their UUID."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.qubesdcalls import NOTHING, Error, Vm, ask, text_of


def test_a_tag_is_there_until_it_is_removed(qubesd: Any, work: Any) -> None:
    qubesd.events.log.clear()
    assert work.call("tag.Get", "mine") == "0"
    for _ in range(2):
        assert work.call("tag.Set", "mine") == ""
    assert work.call("tag.Get", "mine") == "1"
    assert work.call("tag.List") == "audiovm-dom0\nguivm-dom0\nmine\n"
    assert work.call("tag.Remove", "mine") == ""
    assert work.call("tag.Remove", "mine") == Error("QubesTagNotFoundError", "Tag not set for domain work: mine")
    assert qubesd.events.log == [("work", "domain-tag-add:mine"), ("work", "domain-tag-delete:mine")]


@pytest.mark.parametrize("verb", ["Get", "Set", "Remove"])
def test_a_tag_has_letters_digits_and_two_signs(work: Any, verb: Any) -> None:
    assert work.call(f"tag.{verb}", "a.b") is NOTHING


def test_the_tags_of_guivm_and_audiovm_follow_the_properties(qubesd: Any, work: Any) -> None:
    work.set("guivm", "sys-net")
    work.set("audiovm", "")
    assert work.call("tag.List") == "guivm-sys-net\n"
    work.call("property.Reset", "audiovm")
    assert work.call("tag.List") == "audiovm-dom0\nguivm-sys-net\n"
    assert ask(qubesd, "admin.property.Set", argument="default_audiovm", payload="personal") == ""
    assert work.call("tag.Get", "audiovm-personal") == "1"


@pytest.mark.parametrize(
    ("note", "reads"),
    [("", ""), ("a\n\tb é", "a\n\tb é"), ("\u202eevil\x1b", "_evil_"), ("a\u0301", "a_")],
)
def test_a_note_is_kept_as_far_as_it_is_safe_to_show(work: Any, note: Any, reads: Any) -> None:
    assert work.call("notes.Get") == ""
    assert work.call("notes.Set", payload=note) == ""
    assert work.call("notes.Get") == reads


def test_dom0_has_no_notes_and_bytes_are_none(qubesd: Any, work: Any) -> None:
    assert Vm(qubesd, "dom0").call("notes.Get") is NOTHING
    assert work.call("notes.Set", payload=b"\xff") is NOTHING


def test_a_vm_may_be_named_by_its_uuid(qubesd: Any, work: Any) -> None:
    name = f"uuid:{work.get('uuid')}"
    assert text_of(ask(qubesd, "admin.vm.List", name)).startswith("work class=AppVM ")
    assert Vm(qubesd, name).feature("x", "1") == "1"
    assert work.call("feature.Get", "x") == "1"
    assert ask(qubesd, "admin.vm.List", "dom0", source="uuid:00000000-0000-0000-0000-000000000000") != NOTHING
    unknown = "uuid:00000000-0000-0000-0000-000000000009"
    assert ask(qubesd, "admin.vm.List", unknown) == Error("QubesVMNotFoundError", f"No such domain: '{unknown}'")
    assert ask(qubesd, "admin.vm.List", "uuid:9") == Error("QubesVMInvalidUUIDError", "VM UUID is not valid: '9'")
