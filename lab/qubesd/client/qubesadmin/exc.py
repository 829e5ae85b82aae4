"""The errors that qubesd names in its answers, and those of the client itself."""


class QubesException(Exception):
    def __init__(self, message: str, *arguments: object) -> None:
        super().__init__(message % arguments)

    def __str__(self) -> str:
        return str(self.args[0])


class QubesVMNotFoundError(QubesException, KeyError):
    pass


class QubesFeatureNotFoundError(QubesException, KeyError):
    pass


class QubesValueError(QubesException, ValueError):
    pass


class QubesPropertyValueError(QubesValueError):
    pass


class QubesNoSuchPropertyError(QubesException, AttributeError):
    pass


class QubesPropertyAccessError(QubesException, AttributeError):
    def __init__(self, name: str) -> None:
        super().__init__("Failed to access %s", name)


class QubesDaemonCommunicationError(QubesException):
    pass


class QubesDaemonAccessError(QubesDaemonCommunicationError):
    pass
