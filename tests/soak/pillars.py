"""Random pillars of random VMs. JSON, which is YAML too."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

ZONES = ("Europe/Warsaw", "Asia/Tokyo", "America/Indiana/Indianapolis", "Etc/UTC", "Africa/Cairo", "Pacific/Auckland")
#: None of them is on by default in a VM of any type of these.
SERVICES = ("cups", "crond", "modem-manager", "network-manager")
LAYOUTS = ("pl", "de", "us+dvorak", "pl+dvorak", "fr", "default")


def random_settings(chance: random.Random) -> dict[str, Any]:
    """Return what a pillar says of one VM."""
    found: dict[str, Any] = {"timezone": chance.choice(ZONES)}
    if chance.random() < 0.6:
        names = chance.sample(SERVICES, chance.randint(1, len(SERVICES)))
        found["services"] = {name: chance.choice(["on", "off", "default"]) for name in names}
    if chance.random() < 0.4:
        found["keyboard"] = chance.choice(LAYOUTS)
    return found


def random_pillar(chance: random.Random, vms: Sequence[str], timeout: float) -> dict[str, Any]:
    """Return a pillar of *vms*; *timeout* is what each has to acknowledge, in seconds."""
    return {"qubes": {"defaults": {"timeout": timeout}, "vms": {vm: random_settings(chance) for vm in vms}}}


def rendered(pillar: dict[str, Any]) -> str:
    """Return the text of a pillar's file."""
    return json.dumps(pillar, indent=1) + "\n"


def fields(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what a pillar says of one VM as the fields and values that a push reports."""
    found = {name: value for name, value in settings.items() if name in ("timezone", "keyboard")}
    found |= {f"services:{name}": value for name, value in settings.get("services", {}).items()}
    return found
