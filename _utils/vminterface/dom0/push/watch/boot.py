"""VMs that boot: those without a QubesDB yet, and those that the watcher has pushed to and whose agents it waits for.

An agent announces itself some time after the VM's start. The second push changes nothing; it waits for the
acknowledgements, and reports what the agent refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from vminterface import keys, runtime
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Target, Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values.announcement import Announcement

#: Seconds in which a VM may boot.
BOOT = 180.0
#: Seconds that a VM's store has for one read.
TIMEOUT = 0.5
#: Seconds to the next push to a VM that announces an agent which no push then finds: doubled each time, up to a limit.
#: So a VM cannot keep dom0 busy.
PAUSE, PAUSE_MAX = 1.0, 60.0

AWAITED = "waiting for its agent, which is not running yet"


@dataclass(slots=True)
class _Awaited:
    """A VM whose agent is awaited *until* then; times are monotonic."""

    settings: VMSettings
    until: float
    #: Before that an announcement starts no other push.
    rests_until: float = 0.0
    pause: float = PAUSE


class Boots:
    """The VMs whose agents are waited for; *open_targets* is called for each check."""

    def __init__(self, open_targets: Callable[[], Targets], log: Callable[[str], None]) -> None:
        self._open, self._log = open_targets, log
        self._awaited: dict[str, _Awaited] = {}
        self._there: set[str] = set()
        self._inspecting = False
        #: Domids of VMs without a QubesDB, and by when each is to have one (monotonic; None: the log has it).
        self._unmet: dict[str, tuple[int, float | None]] = {}

    def unmet(self, settings: Mapping[str, VMSettings], starting: Mapping[str, int]) -> None:
        """Log once which VMs of *settings* are among those that are *starting* for longer than a push waits for it."""
        now = runtime.monotonic()
        former, self._unmet = self._unmet, {}
        for vm in starting.keys() & settings.keys():
            domid, until = former.get(vm, (None, None))
            if domid != starting[vm]:
                until = now + settings[vm].timeout
            if until is not None and until <= now:
                until = None
                self._log(
                    f"{vm} is starting: it does not have a QubesDB after {settings[vm].timeout:g} s; "
                    "its settings are pushed once it has one"
                )
            self._unmet[vm] = starting[vm], until

    def note(self, settings: VMSettings, outcome: Outcome, *, booting: bool) -> None:
        """Take in the outcome of a push, and name in its note what is waited for."""
        vm = outcome.vm
        # What was detected while the push was under way does not require another one.
        self._there.discard(vm)
        if outcome.agent is not None or not outcome.running or (outcome.ok and not outcome.unheard):
            if self._awaited.pop(vm, None) is not None and outcome.ok and outcome.running:
                self._log(f"{vm}: its agent has acknowledged its settings")
        elif not outcome.ok:
            # As while its store hangs: whether there is an agent is as open as before.
            return
        elif vm in self._awaited or booting:
            self._awaited.setdefault(vm, _Awaited(settings, runtime.monotonic() + BOOT))
            if outcome.awaited:
                outcome.awaited = False
                outcome.add_note(AWAITED)

    def forget(self, vm: str) -> None:
        """Wait no more for the agent of *vm*, which has stopped or started again."""
        self._awaited.pop(vm, None)

    def take(self, busy: Collection[str] = ()) -> set[str]:
        """Return the VMs whose agent is there by now, each once; one that stays unheard again after a pause.

        Those that are *busy* are left out: the push under way hears their agents, or the next check after it does.
        """
        now = runtime.monotonic()
        taken = set()
        for vm in self._there.difference(busy):
            self._there.discard(vm)
            # Not one that a push has heard while the check that found it was under way.
            if (one := self._awaited.get(vm)) is not None:
                one.rests_until, one.pause = now + one.pause, min(2 * one.pause, PAUSE_MAX)
                taken.add(vm)
        return taken

    @property
    def due(self) -> bool:
        """Whether a check is due, and none is running."""
        return bool(self._awaited) and not self._inspecting

    def inspect(self) -> None:
        """Find the agents that have announced themselves. Raises no error of a store or a VM."""
        self._inspecting = True
        try:
            now = runtime.monotonic()
            awaited = dict(self._awaited)
            announced = self._announced({vm: one.settings for vm, one in awaited.items() if one.rests_until <= now})
            # Whom a push has heard meanwhile, or who has stopped, is not awaited any more.
            self._there.update(announced & self._awaited.keys())
            for vm, one in awaited.items():
                if one.until <= now and self._awaited.pop(vm, None) is not None and vm not in announced:
                    self._log(
                        f"{vm}: no agent announced itself within {BOOT:g} s, so its settings are not acknowledged"
                    )
        finally:
            self._inspecting = False

    def _announced(self, awaited: dict[str, VMSettings]) -> set[str]:
        errors: dict[str, VMInterfaceError] = {}
        found: set[str] = set()
        try:
            with self._open() as targets:
                access = {vm: replace(one, timeout=TIMEOUT) for vm, one in awaited.items()}
                for vm, target in targets.find(access, errors, access=access).items():
                    if _is_announced(target):
                        found.add(vm)
        except VMInterfaceError:
            pass  # the next attempt may succeed; that the stores are gone is reported elsewhere
        return found


def _is_announced(target: Target) -> bool:
    try:
        Announcement.parse(observed.decode(target.store.read(target.path(keys.AGENT))))
    except (VMInterfaceError, InvalidValue):
        # Whatever else a VM writes there, no push would find an agent.
        return False
    return True
