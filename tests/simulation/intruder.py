"""Somebody in a VM who writes whatever its store lets a VM write: false acknowledgements, and dom0's keys."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.scenario import FIELDS, ZONES, texts
from tests.simulation.scheduler import Process
from vminterface import keys
from vminterface.channel.store import KeyStore
from vminterface.errors import VMInterfaceError
from vminterface.values.acknowledgement import Acknowledgement, digest

#: Seconds between two of its deeds at most.
PAUSE = 0.1


def run(open_store: Callable[[], KeyStore], process: Process) -> None:
    """Write until the connection is lost."""
    random, world = process.random, process.world
    try:
        store = open_store()
    except VMInterfaceError:
        return
    while True:
        world.sleep(random.random() * PAUSE)
        wanted = texts("work", random.randrange(3), FIELDS)
        names = [keys.for_field(field).name for field in wanted]
        setting = random.choice(("timezone", "services", "network"))
        inputs = keys.inputs_of(setting, {name: text for name, text in wanted.items() if text is not None})
        lies = (
            Acknowledgement(True, digest(inputs)).render().encode(),
            Acknowledgement(False, digest(inputs), "no").render().encode(),
            b"pending",
            b"\xff\n" * 40,
            b"1 0.1.0 timezone services",
            random.choice(ZONES).encode(),
        )
        acknowledgement = random.choice((keys.acknowledgement(setting), keys.AGENT))
        name = random.choice(names) if random.random() < 0.3 else acknowledgement
        try:
            if random.random() < 0.2:
                store.remove(store.home + name)
            else:
                store.write(store.home + name, random.choice(lies))
        except VMInterfaceError:
            if getattr(store, "closed", False):
                return
