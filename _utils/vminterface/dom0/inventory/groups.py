"""Work on many stores at once: the one XenStore of a host, and the QubesDB of each VM.

A store that answers late keeps one of a few places until its deadline; waiting for a VM's agent keeps none. So no VM's
time is ever added to another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from vminterface import runtime

if TYPE_CHECKING:
    from concurrent.futures import Future

Group = TypeVar("Group")
Left = TypeVar("Left")

#: Stores that are spoken to at the same time.
AT_ONCE = 16


def run(groups: Sequence[Group], speak: Callable[[Group], Left | None], wait: Callable[[Left], None]) -> None:
    """Call *speak* with each of *groups*, and *wait* with what it returns, unless that is None.

    What they raise comes out once all groups have had their turn. When this program gets a signal to end, the groups
    that have begun come to their end, so that none is left in the middle, and no other begins.
    """
    if len(groups) <= 1:
        for group in groups:
            if (left := speak(group)) is not None:
                wait(left)
        return
    waiting: list[Future[None]] = []
    with runtime.pool(len(groups)) as waiters, runtime.pool(min(AT_ONCE, len(groups))) as speakers:

        def go(group: Group) -> None:
            if (left := speak(group)) is not None:
                waiting.append(waiters.submit(wait, left))

        try:
            for spoken in [speakers.submit(go, group) for group in groups]:
                spoken.result()
        except (KeyboardInterrupt, SystemExit):
            speakers.shutdown(wait=False, cancel_futures=True)
            raise
    for waited in waiting:
        waited.result()
