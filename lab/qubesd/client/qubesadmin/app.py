"""The application object, VMs, their features and properties."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qubesadmin import exc


class QubesLocal:
    def __init__(self) -> None:
        self.domains = Domains(self)

    def qubesd_call(
        self, dest: str, method: str, arg: str | None = None, payload: bytes | None = None, payload_stream: Any = None
    ) -> bytes:
        raise AssertionError("the library has a transport of its own")

    @staticmethod
    def _parse_qubesd_response(data: bytes) -> bytes:
        if not data:
            raise exc.QubesDaemonAccessError("Got empty response")
        kind, nul, rest = data.partition(b"\0")
        if not nul or kind not in (b"0", b"2"):
            raise exc.QubesDaemonCommunicationError("Invalid response format")
        if kind == b"0":
            return rest
        name, _traceback, message, *arguments = [word.decode() for word in rest.split(b"\0")[:-1]]
        raise getattr(exc, name, exc.QubesException)(message, *arguments)


class Domains:
    def __init__(self, app: QubesLocal) -> None:
        self.app = app

    def get_blind(self, name: str) -> VM:
        return VM(self.app, name)


class VM:
    def __init__(self, app: QubesLocal, name: str) -> None:
        self.__dict__.update(name=name, call=lambda *words: app.qubesd_call(name, *words), features=Features(app, name))

    def __str__(self) -> str:
        return str(self.name)

    def _get(self, name: str) -> tuple[bool, Any]:
        try:
            default, kind, value = self.call("admin.vm.property.Get", name).split(b" ", 2)
        except (exc.QubesDaemonAccessError, exc.QubesVMNotFoundError):
            raise exc.QubesPropertyAccessError(name)  # noqa: B904 as the real one does it
        value = value.decode()
        if kind == b"type=bool":
            value = value == "True"
        elif kind == b"type=vm":
            value = value or None
        return default == b"default=True", value

    def __getattr__(self, name: str) -> Any:
        return self._get(name)[1]

    def property_is_default(self, name: str) -> bool:
        return self._get(name)[0]

    def __setattr__(self, name: str, value: object) -> None:
        self._change(name, "admin.vm.property.Set", name, str(value).encode())

    def __delattr__(self, name: str) -> None:
        self._change(name, "admin.vm.property.Reset", name)

    def _change(self, name: str, *words: Any) -> None:
        try:
            self.call(*words)
        except (exc.QubesDaemonAccessError, exc.QubesVMNotFoundError):
            raise exc.QubesPropertyAccessError(name)  # noqa: B904


class Features:
    def __init__(self, app: QubesLocal, name: str) -> None:
        self._app, self._name = app, name

    def call(self, verb: str, *words: Any) -> bytes:
        return self._app.qubesd_call(self._name, f"admin.vm.feature.{verb}", *words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.call("List").decode().splitlines())

    def __getitem__(self, name: str) -> str:
        return self.call("Get", name).decode()

    def __setitem__(self, name: str, value: str) -> None:
        self.call("Set", name, value.encode())

    def __delitem__(self, name: str) -> None:
        self.call("Remove", name)
