"""What the VM's agent answers, and the digest that ties the answer to what it read."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values.acknowledgement import Acknowledgement, digest

DIGEST = "0123456789abcdef"
#: Text that some bytes decode to.
TEXTS = st.binary(max_size=20).map(lambda octets: octets.decode("utf-8", "surrogateescape"))
INPUTS = st.dictionaries(st.text(alphabet="ab=\\\0", max_size=4), TEXTS | st.text(alphabet="ab=\\\0", max_size=4))


def test_the_digest_is_of_sorted_fields_with_nul_between():
    expected = hashlib.sha256(b"network:gateway=10.137.0.5\0network:ip=10.137.0.12").hexdigest()[:16]
    assert digest({"network:ip": "10.137.0.12", "network:gateway": "10.137.0.5"}) == expected


def test_the_digest_of_nothing_is_that_of_no_bytes():
    assert digest({}) == hashlib.sha256(b"").hexdigest()[:16]


def test_bytes_that_are_no_utf8_are_digested_as_they_are():
    assert digest({"a": b"\xff".decode("utf-8", "surrogateescape")}) == hashlib.sha256(b"a=\xff").hexdigest()[:16]


def test_a_text_that_no_bytes_decode_to_is_a_fault():
    with pytest.raises(InvalidValue, match="lone surrogates"):
        digest({"a": "\ud800"})


@given(INPUTS, INPUTS)
def test_different_inputs_have_different_digests(one, other):
    assert (digest(one) == digest(other)) == (one == other)


def test_a_field_cannot_pose_as_two():
    assert digest({"a": "1\0b=2"}) != digest({"a": "1", "b": "2"})
    assert digest({"a=b": "c"}) != digest({"a": "b=c"})
    assert digest({"a": "\0"}) != digest({"a": "\\0"})


@pytest.mark.parametrize("text", [f"ok {DIGEST}", f"ok {DIGEST} at next start", f"refused {DIGEST} no such zone"])
def test_each_form_comes_back_as_written(text):
    assert Acknowledgement.parse(text).render() == text


@given(st.booleans(), st.from_regex(r"[!-~]([ -~]{0,150}[!-~])?", fullmatch=True))
def test_every_acknowledgement_is_read_as_it_was_meant(accepted, note):
    answer = Acknowledgement(accepted, DIGEST, note)
    assert Acknowledgement.parse(answer.render()) == answer


@given(st.booleans(), st.text())
def test_whatever_the_note_the_rendered_text_can_be_read(accepted, note):
    text = Acknowledgement(accepted, DIGEST, note).render()
    answer = Acknowledgement.parse(text)
    assert (answer.accepted, answer.digest) == (accepted, DIGEST)
    assert len(answer.note) <= 200
    assert text.isascii()
    assert text.isprintable()


def test_a_reason_of_several_lines_becomes_one():
    assert Acknowledgement(False, DIGEST, "ip: missing\nmac: bad").render() == f"refused {DIGEST} ip: missing; mac: bad"


def test_a_refusal_without_a_reason_says_so():
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
        f"refused {DIGEST} ",
        f"maybe {DIGEST}",
        f"ok {DIGEST} \ud800",
    ],
)
def test_other_texts_from_the_vm_are_refused(text):
    with pytest.raises(InvalidValue, match="no acknowledgement"):
        Acknowledgement.parse(text)


def test_512_bytes_are_read_and_one_more_is_not():
    longest = f"ok {DIGEST} ".ljust(512, "x")
    assert Acknowledgement.parse(longest).note == "x" * 492
    with pytest.raises(InvalidValue, match="512 bytes at most"):
        Acknowledgement.parse(longest + "x")
