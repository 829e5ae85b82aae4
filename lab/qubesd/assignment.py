"""A device of one VM that another VM gets."""

from __future__ import annotations

from dataclasses import dataclass, field

ANY = "*"


@dataclass(frozen=True, slots=True)
class Assignment:
    """``device_id`` is what the device is, whichever port it is at; ``*`` in its place, or the port's: any."""

    device_class: str
    backend: str
    port: str
    device_id: str = ANY
    mode: str = "auto-attach"
    frontend: str = ""
    options: dict[str, str] = field(default_factory=dict)

    def key(self) -> tuple[str, str, str]:
        """Return what tells it from others of its class."""
        return self.backend, self.port, self.device_id

    def __str__(self) -> str:
        return ":".join(self.key())

    def render(self) -> str:
        """Return the line of ``admin.vm.device.CLASS.Assigned``."""
        properties = {
            "device_id": self.device_id, "port_id": self.port, "devclass": self.device_class,
            "backend_domain": self.backend, "mode": self.mode,
        }  # fmt: skip
        if self.frontend:
            properties["frontend_domain"] = self.frontend
        properties |= {f"_{key}": value for key, value in self.options.items()}
        pairs = " ".join(key + "='" + value.replace("'", "\\'") + "'" for key, value in properties.items())
        return f"{self.backend}+{self.port}:{self.device_id} {pairs}"
