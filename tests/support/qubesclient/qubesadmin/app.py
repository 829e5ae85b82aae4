"""The application object, VMs, their features and properties."""

from qubesadmin import exc


class QubesLocal:
    def __init__(self):
        self.domains = Domains(self)

    def qubesd_call(self, dest, method, arg=None, payload=None, payload_stream=None):
        raise AssertionError("the library has a transport of its own")

    @staticmethod
    def _parse_qubesd_response(data):
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
    def __init__(self, app):
        self.app = app

    def get_blind(self, name):
        return VM(self.app, name)


class VM:
    def __init__(self, app, name):
        self.__dict__.update(name=name, call=lambda *words: app.qubesd_call(name, *words), features=Features(app, name))

    def __str__(self):
        return self.name

    def _get(self, name):
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

    def __getattr__(self, name):
        return self._get(name)[1]

    def property_is_default(self, name):
        return self._get(name)[0]

    def __setattr__(self, name, value):
        self._change(name, "admin.vm.property.Set", name, str(value).encode())

    def __delattr__(self, name):
        self._change(name, "admin.vm.property.Reset", name)

    def _change(self, name, *words):
        try:
            self.call(*words)
        except (exc.QubesDaemonAccessError, exc.QubesVMNotFoundError):
            raise exc.QubesPropertyAccessError(name)  # noqa: B904


class Features:
    def __init__(self, app, name):
        self.call = lambda verb, *words: app.qubesd_call(name, f"admin.vm.feature.{verb}", *words)

    def __iter__(self):
        return iter(self.call("List").decode().splitlines())

    def __getitem__(self, name):
        return self.call("Get", name).decode()

    def __setitem__(self, name, value):
        self.call("Set", name, value.encode())

    def __delitem__(self, name):
        self.call("Remove", name)
