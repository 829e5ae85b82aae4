"""What a VM may have written itself reaches the pillar by its parser alone, names of services and the like included."""

from __future__ import annotations

from vminterface import keys
from vminterface.dom0.results.known import _checked


def test_names_that_are_not_valid_are_listed_by_their_family_alone() -> None:
    texts = {
        "services:cups": "1",
        "services:{{ evil }}": "1",
        "services:-x": "0",
        "vm_config:a'b": "c",
        "network:mac": "FE:FF:FF:FF:FF:FF",
        "network:gateway": "",
    }
    valid, invalid = _checked({field: keys.read_value(field, text) for field, text in texts.items()})
    assert set(valid) == {"services:cups", "network:mac"}
    assert invalid == ["network:gateway", "services:*", "vm_config:*"]
