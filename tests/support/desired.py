"""What a pillar wants of one VM, as the exact texts of its keys."""

from __future__ import annotations

from vminterface import keys
from vminterface.dom0.desired.settings import VMSettings, parse_pillar


def desired(raw: object, **defaults: object) -> dict[str, str | None]:
    """Return the text of each field that the pillar gives the VM ``work``, None for no key."""
    (settings,) = parse_pillar({"qubes": {"defaults": defaults, "vms": {"work": raw}}})
    return texts(settings)


def texts(settings: VMSettings) -> dict[str, str | None]:
    """Return the text of each field, None for no key."""
    return {field: keys.text_of(field, value) for field, value in settings.desired.items()}
