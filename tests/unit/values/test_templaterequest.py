"""The request for templates: what dom0 sends is what the VM reads, and no part of it becomes another one."""

from typing import Any

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.templaterequest import LIMIT, TemplateRequest

CONFIG = "[main]\nname=Qubes templates\ngpgkey = file:///etc/qubes/repo-templates/keys/KEY\n"
WRAPPED = b"x\n---\nc\n###!Q!BEGIN-QUBES-WRAPPER!Q!###\n"


def test_it_goes_there_and_comes_back() -> None:
    request = TemplateRequest(
        "qubes-template-debian-13-0:4.3.0-1", CONFIG, "4.3", (("enablerepo", "x-testing"), ("repoid", "*")), True,
        {"KEY": bytes(range(256)), "other.pem": b""},
    )  # fmt: skip
    assert TemplateRequest.parse(request.render()) == request


@pytest.mark.parametrize("config", ["", "a\n---\nb", "name=\udcff", "x" * 100])
def test_what_is_not_asked_for_is_not_there_on_the_other_side(config: str) -> None:
    request = TemplateRequest("qubes-template-x", config)
    assert request.render() == f"qubes-template-x\n---\n{config}".encode("utf-8", "surrogateescape")
    assert TemplateRequest.parse(request.render()) == request
    assert (request.release, request.refresh) == ("", False)


@pytest.mark.parametrize("option", ["enablerepo", "disablerepo", "repoid"])
def test_repositories_are_chosen_in_three_ways(option: str) -> None:
    request = TemplateRequest("x", CONFIG, repositories=((option, "a:b"),))
    assert TemplateRequest.parse(request.render()).repositories == ((option, "a:b"),)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"spec": "a b"}, "'a b' is not a valid package of a template .*letters, digits"),
        ({"release": "/"}, "'/' is not a valid release .*letters, digits"),
        ({"repositories": (("repoid", "/"),)}, "'/' is not a valid repository .*letters, digits"),
        ({"keys": {"/": b""}}, "'/' is not a valid name of a key .*letters, digits"),
    ],
)
def test_an_error_says_what_is_not_valid_and_what_would_be(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        TemplateRequest(**{"spec": "qubes-template-x", "config": CONFIG, **more})


def test_names_have_letters_of_both_cases() -> None:
    request = TemplateRequest("Qubes-aZ9", CONFIG, "aZ9._-", (("repoid", "aZ9._:*?-"),), keys={"aZ9._+-": b""})
    assert TemplateRequest.parse(request.render()) == request


def test_it_has_the_form_of_qubes_own_client() -> None:
    request = TemplateRequest("qubes-template-*", CONFIG, "4.3", (("enablerepo", "x"),), True, {"KEY": b"key"})
    assert request.render().decode() == (
        "--enablerepo=x\n--refresh\n--releasever=4.3\nqubes-template-*\n---\n" + CONFIG + "\n"
        "###!Q!BEGIN-QUBES-WRAPPER!Q!###\n#/etc/qubes/repo-templates/keys/KEY\n#a2V5\n###!Q!END-QUBES-WRAPPER!Q!###"
    )


@pytest.mark.parametrize(
    "more",
    [
        {"spec": "--help"},
        {"spec": ""},
        {"spec": "---"},
        {"spec": "a b"},
        {"spec": "a\nb"},
        {"spec": "x" * 256},
        {"release": "4.3\n--refresh"},
        {"release": "/etc"},
        {"repositories": (("config", "x"),)},
        {"repositories": (("repoid", "a\nb"),)},
        {"repositories": (("repoid", ""),)},
        {"keys": {"../x": b""}},
        {"keys": {"": b""}},
        {"keys": {"a/b": b""}},
        {"config": "###!Q!BEGIN-QUBES-WRAPPER!Q!###"},
        {"config": "\0"},
    ],
)
def test_what_would_be_something_else_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as caught:
        TemplateRequest(**{"spec": "qubes-template-x", "config": CONFIG, **more})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x\n",
        b"--help\n---\n",
        b"x\n---\nc\n###!Q!BEGIN-QUBES-WRAPPER!Q!###\n#/etc/passwd\n#a2V5\n###!Q!END-QUBES-WRAPPER!Q!###",
        b"x\n---\nc\n###!Q!BEGIN-QUBES-WRAPPER!Q!###\n#/etc/qubes/repo-templates/keys/../x\n#a2V5\n",
        b"x\n---\nc\n###!Q!BEGIN-QUBES-WRAPPER!Q!###\n#/etc/qubes/repo-templates/keys/x\n#a\xc5\x82\n",
        b"--releasever=$(id)\nx\n---\n",
        b"--refresh\n---\n",
        b"a b\n---\n",
        WRAPPED + b"#/etc/qubes/repo-templates/keys/x\n\n#a2V5\n",
        WRAPPED + b"#/etc/qubes/repo-templates/keys/x\na2V5a\n",
        WRAPPED + b"#/etc/qubes/repo-templates/keys/x\n#a2 V5\n",
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue) as caught:
        TemplateRequest.parse(data)
    assert str(caught.value).isprintable()


def test_too_much_is_refused() -> None:
    with pytest.raises(InvalidValue, match=f"at most {LIMIT} bytes"):
        TemplateRequest("x", "a" * (LIMIT - 5)).render()
    assert len(TemplateRequest("x", "a" * (LIMIT - 6)).render()) == LIMIT == 1 << 20
