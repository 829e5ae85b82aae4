"""What the VM's agent answers, and the digest that ties the answer to what it read."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values.acceptance import ACCEPT, IGNORE, REFUSE
from vminterface.values.acknowledgement import PENDING, Acknowledgement, digest

DIGEST = "0123456789abcdef"
#: Text that some bytes decode to.
TEXTS = st.binary(max_size=20).map(lambda octets: octets.decode("utf-8", "surrogateescape"))
INPUTS = st.dictionaries(st.text(alphabet="ab=\\\0", max_size=4), TEXTS | st.text(alphabet="ab=\\\0", max_size=4))


def test_the_digest_is_of_sorted_fields_with_nul_between() -> None:
    expected = hashlib.sha256(b"network:gateway=10.137.0.5\0network:ip=10.137.0.12").hexdigest()[:16]
    assert digest({"network:ip": "10.137.0.12", "network:gateway": "10.137.0.5"}) == expected


def test_the_digest_of_nothing_is_that_of_no_bytes() -> None:
    assert digest({}) == hashlib.sha256(b"").hexdigest()[:16]


def test_bytes_that_are_no_utf8_are_digested_as_they_are() -> None:
    assert digest({"a": b"\xff".decode("utf-8", "surrogateescape")}) == hashlib.sha256(b"a=\xff").hexdigest()[:16]


def test_a_text_that_no_bytes_decode_to_is_a_fault() -> None:
    with pytest.raises(InvalidValue, match="lone surrogates"):
        digest({"a": "\ud800"})


@given(INPUTS, INPUTS)
def test_different_inputs_have_different_digests(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_a_field_cannot_pose_as_two() -> None:
    assert digest({"a": "1\0b=2"}) != digest({"a": "1", "b": "2"})
    assert digest({"a=b": "c"}) != digest({"a": "b=c"})
    assert digest({"a": "\0"}) != digest({"a": "\\0"})


def test_backslash_nul_and_equals_sign_are_digested_in_the_form_that_other_versions_know() -> None:
    expected = hashlib.sha256(rb"a\=b=c=\\d\0").hexdigest()[:16]
    assert digest({"a=b": "c=\\d\0"}) == expected


def test_an_acknowledgement_without_more_has_no_note() -> None:
    assert Acknowledgement(accepted=True, digest=DIGEST).render() == f"ok {DIGEST}"
    assert Acknowledgement(accepted=True, digest=DIGEST).note == ""


def test_what_dom0_writes_before_a_push_is_what_agents_look_for() -> None:
    assert PENDING == "pending"


def test_a_note_is_cut_to_200_characters() -> None:
    assert len(Acknowledgement(True, DIGEST, "x" * 300).render()) == len(f"ok {DIGEST} ") + 200


@pytest.mark.parametrize(
    "text",
    [
        f"ok {DIGEST}",
        f"ok {DIGEST} at next start",
        f"refused {DIGEST} no such zone",
        f"ignored {DIGEST} decided by its owner",
        f"unaccepted {DIGEST} decided by its owner",
    ],
)
def test_each_form_comes_back_as_written(text: str) -> None:
    assert Acknowledgement.parse(text).render() == text


@given(st.booleans(), st.from_regex(r"[!-~]([ -~]{0,150}[!-~])?", fullmatch=True))
def test_every_acknowledgement_is_read_as_it_was_meant(accepted: Any, note: Any) -> None:
    reply = Acknowledgement(accepted, DIGEST, note)
    assert Acknowledgement.parse(reply.render()) == reply


@given(st.booleans(), st.text())
def test_whatever_the_note_the_rendered_text_can_be_read(accepted: Any, note: Any) -> None:
    text = Acknowledgement(accepted, DIGEST, note).render()
    reply = Acknowledgement.parse(text)
    assert (reply.accepted, reply.digest) == (accepted, DIGEST)
    assert len(reply.note) <= 200
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize(("word", "owner"), [("ok", ACCEPT), ("refused", ACCEPT), ("ignored", IGNORE)])
def test_the_owners_word_is_not_the_agents(word: str, owner: str) -> None:
    reply = Acknowledgement.parse(f"{word} {DIGEST} why")
    assert (reply.accepted, reply.owner) == (word == "ok", owner)


def test_a_former_dom0_takes_the_owners_word_for_no_acknowledgement() -> None:
    former = re.compile(r"(ok|refused) ([0-9a-f]{16})(?: ([!-~](?:[ -~]*[!-~])?))?")
    for owner in (IGNORE, REFUSE):
        assert former.fullmatch(Acknowledgement(False, DIGEST, "why", owner).render()) is None


def test_a_reason_of_several_lines_becomes_one() -> None:
    assert Acknowledgement(False, DIGEST, "ip: missing\nmac: bad").render() == f"refused {DIGEST} ip: missing; mac: bad"


def test_a_refusal_without_a_reason_says_so() -> None:
    assert Acknowledgement(False, DIGEST, " \n").render() == f"refused {DIGEST} no reason given"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ok",
        "ok ",
        f"OK {DIGEST}",
        f"ok  {DIGEST}",
        f"ok {DIGEST} ",
        f"ok {DIGEST}  x",
        f"ok {DIGEST} x ",
        f" ok {DIGEST}",
        f"ok {DIGEST}\n",
        f"ok {DIGEST} a\nb",
        f"ok {DIGEST} \x1b[2J",
        f"ok {DIGEST} \u00fc",
        f"ok {DIGEST.upper()}",
        f"ok {DIGEST}0",
        f"ok {DIGEST[1:]}",
        f"refused {DIGEST}",
        f"ignored {DIGEST}",
        f"unaccepted {DIGEST} ",
        f"refused {DIGEST} ",
        f"maybe {DIGEST}",
        f"ok {DIGEST} \ud800",
    ],
)
def test_other_texts_from_the_vm_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid acknowledgement"):
        Acknowledgement.parse(text)


def test_512_bytes_are_read_and_one_more_is_not() -> None:
    longest = f"ok {DIGEST} ".ljust(512, "x")
    assert Acknowledgement.parse(longest).note == "x" * 492
    with pytest.raises(InvalidValue, match="512 bytes at most"):
        Acknowledgement.parse(longest + "x")
