"""Applications and addresses: what is refused before the call, what is left running, and what of a failure is told.

Where no handler of ours would answer so, a script stands for a stock one.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.rpcstandin import until
from vminterface.dom0.services import apps
from vminterface.errors import InvalidValue, ServiceFailed, ServiceNotFound, VMNotRunning


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("app", ["", "a b", "../a", "a+b", "żółw", "a\n", "a" * 2000])
def test_what_is_no_id_of_an_application_is_refused_before_the_call(vms: Any, qrexec: Any, app: Any, wait: Any) -> None:
    with pytest.raises(InvalidValue, match="is not a valid id of an application"):
        apps.start(qrexec, "nobody", app, wait=wait)


@pytest.mark.parametrize("address", ["", "www.example.org", "file:///etc/passwd", "http://www.example.org/a b"])
def test_what_is_no_address_is_refused_before_the_call(vms: Any, qrexec: Any, address: Any) -> None:
    with pytest.raises(InvalidValue, match="is not a valid address"):
        apps.open_url(qrexec, "nobody", address)


def test_an_application_that_goes_on_is_left_to_its_user(vms: Any, work: Any, qrexec: Any, monkeypatch: Any) -> None:
    """Whatever handler started it: a stock one lends it its own streams, which have to be read on."""
    monkeypatch.setattr(apps, "SETTLED", 0.5)
    script = (
        f"echo $1; i=0; while [ -e {work}/run/open ]; do head -c 99999 /dev/zero; sleep 0.1; done; : >{work}/closed"
    )
    (work / "run/open").touch()
    vms.handler("stock", apps.START, script)
    assert apps.start(qrexec, "stock", "app.desktop") is True
    time.sleep(0.3)
    (work / "run/open").unlink()
    assert until((work / "closed").exists)


@pytest.mark.parametrize("wait", [True, False])
def test_how_an_application_cannot_be_started_is_told(vms: Any, qrexec: Any, wait: Any) -> None:
    vms.handler("stock", apps.START, "echo $1 not found in /usr/share >&2; exit 1")
    with pytest.raises(ServiceFailed, match="StartApp in stock: exit status 1: app not found in /usr/share"):
        apps.start(qrexec, "stock", "app", wait=wait)
    vms.handler("old", "qubes.GetDate", "")
    with pytest.raises(ServiceNotFound, match="StartApp in old: there is no such service"):
        apps.start(qrexec, "old", "app", wait=wait)
    with pytest.raises(VMNotRunning, match="StartApp in nobody: the VM is not running"):
        apps.start(qrexec, "nobody", "app", wait=wait)


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_of_what_an_application_says_little_is_kept(vms: Any, qrexec: Any, stream: Any) -> None:
    vms.handler("bad", apps.START, f"head -c 300000 /dev/urandom {stream}; exit 9")
    with pytest.raises(ServiceFailed) as caught:
        apps.start(qrexec, "bad", "app")
    assert caught.value.status == 9
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
