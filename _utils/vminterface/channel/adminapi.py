"""qubesd's Admin API, through Qubes' own Python client: what lasts of a VM, its features and properties.

``qubesadmin`` is installed in dom0 of Qubes R4; elsewhere :func:`available` is False, and :meth:`AdminAPI.open`
explains what is missing. The client waits for an answer without end. So its transport is replaced here by one whose
every call has a deadline and a bound: no thread is left behind a daemon that hangs, and no socket of the rest of the
process gets a timeout. Forms: ``developer/services/admin-api`` of the Qubes documentation.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from vminterface.channel.adminevents import EventStream
from vminterface.channel.connection import Piece
from vminterface.deadline import Deadline
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    KeyNotFound,
    LocalProtocolError,
    OutputTooLarge,
    PermissionDenied,
    ProgramMissing,
    RemoteProtocolError,
    StoreError,
    VMInterfaceError,
    VMNotFound,
    printable,
)

#: Where qubesd keeps all that it knows; a dom0 of R4 has it, whether qubesd runs or not.
QUBES_XML = "/var/lib/qubes/qubes.xml"
#: Seconds for one call, by default.
TIMEOUT = 10.0
#: Bytes of an answer at most: the list of a thousand VMs has about 60 kB.
REPLY_LIMIT = 1 << 20
#: Bytes of a request at most, header and value together; qubesd cuts off what is longer.
REQUEST_LIMIT = 65536
_SIZE_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Domain:
    """A VM that qubesd knows, running or not."""

    name: str
    #: ``AppVM``, ``TemplateVM``, ``StandaloneVM``, ``DispVM``, …
    klass: str
    #: ``Running``, ``Halted``, ``Transient``, ``Paused``, …
    state: str

    @property
    def running(self) -> bool:
        """Whether the VM has been started and not yet ended."""
        return self.state not in ("Halted", "NA", "")


@dataclass(frozen=True, slots=True)
class Property:
    """A VM's property as text: ``True`` and ``False`` for flags, another VM's name or empty text for VMs."""

    value: str
    #: Whether nobody has set it.
    default: bool


def installed() -> bool:
    """Whether Qubes' client is installed here, whatever becomes of qubesd."""
    if "qubesadmin" in sys.modules:
        return sys.modules["qubesadmin"] is not None
    return _is_on(tuple(sys.path))


@lru_cache(maxsize=4)
def _is_on(path: tuple[str, ...]) -> bool:
    """Whether it is on *path*, which is Python's own: each push asks, and a search takes as long as an exchange."""
    return importlib.util.find_spec("qubesadmin") is not None


def available() -> bool:
    """Whether Qubes' client is installed here and qubesd has its socket, as in dom0 of R4."""
    if not installed():
        return False
    try:
        import qubesadmin.config
    except ImportError:
        return False
    return os.path.exists(qubesadmin.config.QUBESD_SOCKET)


def expected() -> bool:
    """Whether this host is one with a qubesd, be it stopped."""
    return available() or has_list()


def has_list() -> bool:
    """Whether this host has the list of VMs that a qubesd keeps."""
    return os.path.exists(QUBES_XML)


@dataclass(slots=True)
class Line:
    """Where qubesd is, and how many seconds it has for a call."""

    path: str
    timeout: float

    def call(self, dest: str, method: str, argument: str, payload: bytes) -> bytes:
        """Make one call and return the reply as it came."""
        request = _request(method, argument, dest, payload)
        return _exchange(self.path, request, Deadline.after(self.timeout), f"{method} of {dest}")


@lru_cache(maxsize=1)
def _client_class(base: Any) -> Any:
    """Return the class of a client that does not wait without end: *base* with another transport.

    There is one for all clients: a class takes kilobytes, and stays until Python looks for what refers to itself.
    """

    class App(base):  # type: ignore[misc]
        """The client of a local qubesd."""

        def __init__(self, line: Line) -> None:
            super().__init__()
            # Qubes' client takes a name without an underscore for a property of dom0, and sets that by a call.
            self._line = line

        def qubesd_call(
            self, dest: str, method: str, arg: str | None = None, payload: bytes | None = None, *_: Any
        ) -> bytes:
            return bytes(self._parse_qubesd_response(self._line.call(dest, method, arg or "", payload or b"")))

    return App


class AdminAPI:
    """Calls to qubesd, each within ``timeout`` seconds; make it with :meth:`open`.

    Every method may raise DeadlineExceeded, ConnectionLost, RemoteProtocolError, OutputTooLarge, LocalProtocolError (a
    name that cannot be sent), PermissionDenied, VMNotFound, and StoreError for what qubesd refuses otherwise.
    """

    def __init__(self, app: Any, line: Line) -> None:
        self._app = app
        self._line = line

    @property
    def timeout(self) -> float:
        """Seconds for one call."""
        return self._line.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._line.timeout = seconds

    @classmethod
    def open(cls, timeout: float = TIMEOUT) -> AdminAPI:
        """Make a client; nothing is sent yet. Raises ProgramMissing where ``qubesadmin`` is not installed."""
        try:
            import qubesadmin.app
            import qubesadmin.config
        except ImportError as error:
            raise ProgramMissing(
                f"qubesadmin, Qubes' Python client, cannot be imported here ({error}); dom0 of Qubes R4 has it"
            ) from None
        line = Line(str(qubesadmin.config.QUBESD_SOCKET), timeout)
        app = _client_class(qubesadmin.app.QubesLocal)(line)
        api = cls(app, line)
        # Otherwise it stays until Python looks for what refers to itself, as Qubes' client does.
        weakref.finalize(api, vars(app).clear).atexit = False
        return api

    def domains(self) -> dict[str, Domain]:
        """Return every VM that qubesd knows, dom0 left out."""
        with self._errors("the list of VMs"):
            reply = self._app.qubesd_call("dom0", "admin.vm.List").decode("ascii")
            found = [_domain(line) for line in reply.splitlines()]
        return {one.name: one for one in found if one.klass != "AdminVM"}

    def features(self, vm: str) -> list[str]:
        """Return the names of the features that are set for *vm*."""
        with self._errors(f"features of {vm}"):
            return list(self._vm(vm).features)

    def feature(self, vm: str, name: str) -> str | None:
        """Return a feature of *vm*: empty text stands for off; None: not set, nor inherited."""
        with self._errors(f"feature {name} of {vm}"):
            try:
                value: str = self._vm(vm).features[name]
            except KeyError as error:
                if type(error).__name__ == "QubesVMNotFoundError":
                    raise
                return None
            return value

    def feature_with_template(self, vm: str, name: str) -> str | None:
        """Return a feature of *vm*, or of its template where the VM has none of that name; None: neither has."""
        with self._errors(f"feature {name} of {vm}"):
            try:
                return bytes(self._app.qubesd_call(vm, "admin.vm.feature.CheckWithTemplate", name)).decode("ascii")
            except KeyError as error:
                if type(error).__name__ == "QubesVMNotFoundError":
                    raise
                return None

    def set_feature(self, vm: str, name: str, value: str | None) -> None:
        """Set a feature of *vm*; None removes it. Raises InvalidValue where qubesd does not accept it."""
        with self._errors(f"feature {name} of {vm}"):
            features = self._vm(vm).features
            if value is not None:
                features[name] = value
                return
            try:
                del features[name]
            except KeyError as error:
                if type(error).__name__ == "QubesVMNotFoundError":
                    raise

    def property(self, vm: str, name: str) -> Property:
        """Return a property of *vm*. Raises KeyNotFound where VMs of its class have none of this name."""
        with self._errors(f"property {name} of {vm}"):
            one = self._vm(vm)
            value = getattr(one, name)
            return Property("" if value is None else str(value), bool(one.property_is_default(name)))

    def set_property(self, vm: str, name: str, value: str | None) -> None:
        """Set a property of *vm*; None goes back to its default. Raises KeyNotFound, InvalidValue."""
        with self._errors(f"property {name} of {vm}"):
            if value is None:
                delattr(self._vm(vm), name)
            else:
                setattr(self._vm(vm), name, value)

    def property_default(self, vm: str, name: str) -> str:
        """Return the text that a property of *vm* has after a reset; empty where it has no default.

        Raises KeyNotFound where VMs of its class have none of this name.
        """
        with self._errors(f"property {name} of {vm}"):
            reply = self._call(vm, "admin.vm.property.GetDefault", name).decode("ascii")
            kind, _, text = reply.partition(" ")
            if reply and not kind.startswith("type="):
                raise ValueError(kind)
            return text

    def firewall_get(self, vm: str) -> bytes:
        """Return the rules that qubesd keeps for *vm*, one a line, in its own normal form."""
        with self._errors(f"admin.vm.firewall.Get of {vm}"):
            return self._call(vm, "admin.vm.firewall.Get")

    def firewall_set(self, vm: str, rules: bytes) -> None:
        """Let qubesd keep *rules*, one a line as ``qvm-firewall --raw`` has them, in place of all former ones.

        Raises PermissionDenied for rules that it does not accept, as it gives no reason for these.
        """
        with self._errors(f"admin.vm.firewall.Set of {vm}"):
            self._call(vm, "admin.vm.firewall.Set", payload=rules)

    def volume_size(self, vm: str, volume: str) -> int:
        """Return the bytes that the volume (``private``, ``root``, …) of *vm* has."""
        with self._errors(f"volume {volume} of {vm}"):
            reply = self._call(vm, "admin.vm.volume.Info", volume).decode("ascii")
            size = dict(line.partition("=")[::2] for line in reply.splitlines())["size"]
            if not (size.isdigit() and len(size) <= _SIZE_DIGITS):
                raise ValueError(size)
            return int(size)

    def resize_volume(self, vm: str, volume: str, size: int) -> None:
        """Let a volume of *vm* have *size* bytes, never fewer than it has; a running VM's file system grows with it.

        Raises PermissionDenied for a volume that *vm* does not have, as qubesd gives no reason for that.
        """
        with self._errors(f"volume {volume} of {vm}"):
            self._call(vm, "admin.vm.volume.Resize", volume, str(size).encode("ascii"))

    def events(self, timeout: float | None = None) -> EventStream:
        """Return a stream of all events from now on; *timeout* seconds are for the connection, default: as a call."""
        deadline = Deadline.after(self.timeout if timeout is None else timeout)
        return EventStream(self._line.path, _request("admin.Events", "", "dom0", b""), deadline)

    def _call(self, vm: str, method: str, argument: str = "", payload: bytes = b"") -> bytes:
        return bytes(self._app.qubesd_call(vm, method, argument, payload))

    def _vm(self, name: str) -> Any:
        # Without reading the list: the call itself fails for a VM that does not exist.
        return self._app.domains.get_blind(name)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn what the client raises into this library's errors."""
        try:
            yield
        except VMInterfaceError:
            raise
        except Exception as error:
            raise _error_of(error, what) from error


def _request(method: str, argument: str, dest: str, payload: bytes) -> bytes:
    """Return what is sent for one call: the header that qrexec would make, a NUL, and the value."""
    for word in (method, argument, dest):
        if not word.isascii() or any(not "!" <= c <= "~" for c in word):
            raise LocalProtocolError(
                f"'{printable(word, 60)}' cannot be sent to qubesd (expected ASCII without blanks)"
            )
    request = f"{method}+{argument} dom0 name {dest}\0".encode("ascii") + payload
    if len(request) > REQUEST_LIMIT:
        shown = f"{printable(method, 60)} of {printable(dest, 60)}"
        raise LocalProtocolError(f"{shown}: too long for qubesd (expected at most {REQUEST_LIMIT} bytes)")
    return request


def _exchange(path: str, request: bytes, deadline: Deadline, what: str) -> bytes:
    """Send one request and return the answer, all of it within *deadline*."""
    reply, piece = bytearray(), Piece()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(deadline.check(what))
            connection.connect(path)
            connection.settimeout(deadline.check(what))
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while True:
                connection.settimeout(deadline.check(what))
                data = piece.of(connection.recv(piece.size))
                if not data:
                    return bytes(reply)
                reply += data
                if len(reply) > REPLY_LIMIT:
                    raise OutputTooLarge(f"{what}: qubesd replies with more than {REPLY_LIMIT} bytes")
    except VMInterfaceError:
        raise
    except TimeoutError:
        raise DeadlineExceeded(f"{what}: no reply from qubesd within {deadline.seconds:g} s") from None
    except OSError as error:
        raise ConnectionLost(f"{path}: {error.strerror or error}") from error


def _domain(line: str) -> Domain:
    """Read a line such as ``work class=AppVM state=Running uuid=…``."""
    name, *pairs = line.split(" ")
    given = dict(pair.split("=", 1) for pair in pairs)
    return Domain(name, given["class"], given.get("state", ""))


def _error_of(error: BaseException, what: str) -> VMInterfaceError:
    """Return this library's error for one that the client raised; its classes differ by release."""
    if type(error).__name__ == "QubesPropertyAccessError" and error.__context__ is not None:
        # The client raises it in place of the error that has the reason.
        error = error.__context__
    said = printable(str(error)) or type(error).__name__
    names = {cls.__name__ for cls in type(error).__mro__}
    ours: type[VMInterfaceError]
    if "QubesVMNotFoundError" in names:
        return VMNotFound(f"{what}: qubesd does not know the VM ({said})")
    if "QubesDaemonAccessError" in names or "PermissionDenied" in names:
        return PermissionDenied(f"{what}: qubesd refuses it without a reason (its journal may have one)")
    if "QubesDaemonCommunicationError" in names or isinstance(error, OSError):
        ours = ConnectionLost
    elif isinstance(error, AttributeError):
        ours = KeyNotFound
    elif "QubesException" not in names:
        return RemoteProtocolError(f"{what}: qubesd's reply cannot be read ({said})")
    elif isinstance(error, ValueError):
        return InvalidValue(f"{what}: qubesd does not accept it: {said}")
    else:
        ours = StoreError
    return ours(f"{what}: {said}")
