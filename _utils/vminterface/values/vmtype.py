"""What kind of VM it is: the values of ``qubes-vm-type`` (every release) and ``type`` (R4: the class).

R2 and R3 write a type's name to ``qubes-vm-type``. R4 writes its class to ``type`` and one of AppVM, TemplateVM,
ProxyVM and NetVM to ``qubes-vm-type``, for readers of the old key.
"""

from __future__ import annotations

import enum

from vminterface.errors import InvalidValue, printable


class VMType(enum.Enum):
    """Every name that one of the two keys may hold."""

    APP_VM = "AppVM"
    PROXY_VM = "ProxyVM"
    NET_VM = "NetVM"
    TEMPLATE_VM = "TemplateVM"
    #: R2 and R3 only.
    HVM = "HVM"
    TEMPLATE_HVM = "TemplateHVM"
    DISPOSABLE_VM = "DisposableVM"
    #: R4 classes.
    STANDALONE_VM = "StandaloneVM"
    DISP_VM = "DispVM"
    ADMIN_VM = "AdminVM"

    @classmethod
    def parse(cls, text: str) -> VMType:
        """Read the key's text, upper and lower case as written by dom0. Raises InvalidValue."""
        try:
            return cls(text)
        except ValueError:
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid VM type (expected one of {', '.join(t.value for t in cls)})"
            ) from None

    def render(self) -> str:
        """Return the key's text."""
        return self.value

    @property
    def provides_network(self) -> bool:
        """Whether a VM of this type serves network to others by its very type.

        A class of R4 does not include it: there it is a property of the VM, and shows as ProxyVM or NetVM.
        """
        return self in (VMType.PROXY_VM, VMType.NET_VM)
