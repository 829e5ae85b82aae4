"""The push of the VMs of one store: the one XenStore of a host, or the QubesDB of a VM.

Within one VM it is all or nothing: what cannot be verified, or what the VM's agent refuses, takes everything back that
this push has written there, and the first error is reported.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from vminterface import keys
from vminterface.channel.store import KeyStore
from vminterface.dom0 import answers, keychanges, state
from vminterface.dom0.diff import Change, compare
from vminterface.dom0.introduce import introduce
from vminterface.dom0.outcome import Outcome, Work
from vminterface.dom0.routed import Routed
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.targets import Target, Targets
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Interrupted,
    InvalidValue,
    RemoteProtocolError,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.service import ServiceName
from vminterface.values.vmconfig import ConfigName

#: What a store that is lost raises.
_LOST = (ConnectionLost, DeadlineExceeded, RemoteProtocolError)


class Push:
    """The push of *group*, VMs of one store, to what is *wanted*; what comes of each is in its outcome.

    Its methods are its steps, to be called in their order; each passes over the VMs that have failed, but for
    ``restore``, which is about them. Once *stop* is set nothing more is written but what was there before.
    """

    def __init__(
        self,
        group: Sequence[Target],
        wanted: Mapping[str, VMSettings],
        outcomes: Mapping[str, Outcome],
        targets: Targets,
        routed: Mapping[str, Routed],
        stop: threading.Event,
    ) -> None:
        self._group, self._wanted, self._outcomes = group, wanted, outcomes
        self._targets, self._routed, self._stop = targets, routed, stop
        self.works: list[Work] = []

    def observe(self) -> None:
        """Read what the store holds of the VMs. Raises what befalls a XenStore as a whole."""
        if not self._group:
            return
        fields = {t.vm: {*self._wanted[t.vm].desired, *self._routed[t.vm].pins} for t in self._group}
        states = state.read(self._group, fields)
        for target in self._group:
            work = Work(self._wanted[target.vm], target, states[target.vm], self._outcomes[target.vm])
            if work.state.error is not None:
                work.fail(work.state.error)
            else:
                self.works.append(work)

    def compare(self) -> None:
        """Find the fields that differ."""
        for work in self.works:
            routed = self._routed[work.target.vm]
            changes = compare(work.settings.desired, work.state.texts, channel=work.target.store.channel)
            work.settings, work.outcome.waiting = routed.put_off(work.settings, work.state.texts, changes)
            try:
                routed.check(work.settings, changes)
                _check_names(work.target, changes)
            except InvalidValue as error:
                work.fail(error)
            else:
                work.unread = not work.settings.confirm and answers.is_unread(work)
                work.outcome.changes = changes

    def write(self) -> None:
        """Write what differs, in one transaction for each VM where the store has them, and read it back in it."""
        for work in self.works:
            if not work.outcome.ok:
                continue
            asked = answers.to_be_given_anew(work)
            if not work.outcome.changes and not asked:
                continue
            try:
                if self._stop.is_set():
                    raise Interrupted(f"{work.target.vm}: interrupted before anything was written")
                _write(work, asked)
            except VMInterfaceError as error:
                work.fail(_of_vm(work, error))
                # What a store that is lost has not got is not to be taken back.
                work.restored = isinstance(error, _LOST) and not work.begun

    @property
    def settled(self) -> bool:
        """Whether that is the end of it: nothing to wait for, and nothing to restore."""
        return all(work.outcome.ok and not answers.unsettled(work) for work in self.works)

    def confirm(self) -> None:
        """Wait until the VMs' agents have acknowledged what they have to."""
        answers.wait([work for work in self.works if work.outcome.ok], self._stop)
        for work in self.works:
            # One that has stopped looks like one without an agent.
            if work.outcome.changes and work.outcome.ok and work.state.agent is None:
                try:
                    keychanges.check_there(work.target.store, work.target)
                except VMInterfaceError as error:
                    work.fail(error)

    def note(self) -> None:
        """Say in the outcomes what nobody in the VMs has acknowledged."""
        answers.note(self.works)

    def restore(self) -> None:
        """Put the former values back where something failed after this push had begun to write."""
        for work in self.works:
            if work.outcome.changes and not work.outcome.ok and not work.restored:
                work.restored = True
                _restore(work, self._targets)
        for work in self.works:
            _name(work)


def _check_names(target: Target, fields: Mapping[str, object]) -> None:
    if target.store.channel == "xenstore":
        for name in fields:
            group, _, member = name.partition(":")
            if group == "services" and not ServiceName.parse(member).fits_xenstore:
                raise InvalidValue(f"{target.vm}: XenStore cannot hold a service called '{member}' (no dots)")
            if group == "vm_config" and not ConfigName.parse(member).fits_xenstore:
                raise InvalidValue(f"{target.vm}: XenStore cannot hold a key called '{member}' (no dots)")


def _write(work: Work, asked: set[str]) -> None:
    changes = {field: change.new for field, change in work.outcome.changes.items()}

    def write(store: KeyStore) -> None:
        if not work.state.can_answer and work.target.domid is not None:
            introduce(store, work.target.domid, work.target.base)
        work.begun = not store.has_transactions
        keychanges.put(store, work.target, changes, work.state.texts, asked)
        work.begun = True

    work.target.store.transaction(write)
    work.written = True
    work.introduced = not work.state.can_answer or work.state.afresh
    work.state.can_answer = True
    for setting in asked:
        work.state.acknowledgements.pop(setting, None)
    for field, text in changes.items():
        if text is None:
            work.state.texts.pop(field, None)
        else:
            work.state.texts[field] = text


def _of_vm(work: Work, error: VMInterfaceError) -> VMInterfaceError:
    """Return *error* with the VM's name, or that the VM has stopped: a store may refuse it anything then."""
    if isinstance(error, _LOST):
        return error
    try:
        keychanges.check_there(work.target.store, work.target)
    except VMInterfaceError as other:
        return other
    return error if work.target.vm in str(error) else type(error)(f"{work.target.vm}: {error}")


def _name(work: Work) -> None:
    """See to it that the error of a lost store names the VM, and how the VM is left."""
    error, vm = work.outcome.error, work.target.vm
    if not isinstance(error, _LOST) or str(error).startswith(f"{vm}: "):
        return
    left = "" if work.begun or not work.outcome.changes else "nothing was written: "
    if work.begun and work.outcome.restored is False:
        left = "may be left with a part of its new values: "
        if work.written:
            left = "has its new values, which could not be taken back: "
        elif work.target.store.has_transactions:
            left = "is left with all of its new values or with none: "
    work.outcome.error = type(error)(f"{vm}: {left}{error}")


def _restore(work: Work, targets: Targets) -> None:
    """Put the former values back; a fault in doing so is added to the first error's sentence."""
    outcome, first = work.outcome, work.outcome.error
    assert first is not None
    try:
        # One that hung up may serve a new connection; one that did not answer has had its time.
        hung_up = isinstance(first, ConnectionLost | RemoteProtocolError)
        target = targets.again(work.target) if hung_up else work.target
        put, others = target.store.transaction(lambda store: _put_back(store, target, work))
    except VMNotRunning as error:
        outcome.error, outcome.restored = error, None
    except VMInterfaceError as error:
        outcome.restored = False
        if str(error) not in str(first):
            kind = type(first) if isinstance(error, ConnectionLost | DeadlineExceeded) else VerificationFailed
            outcome.error = kind(f"{first}; and the former values could not be restored: {error}")
    else:
        if put and outcome.restored is None:
            outcome.restored = True
        if others:
            outcome.error = type(first)(f"{first}; {', '.join(others)} was set by another program meanwhile, and stays")


def _put_back(store: KeyStore, target: Target, work: Work) -> tuple[list[str], list[str]]:
    """Put the former values of the changes back. Return of which fields, and which somebody else has set meanwhile."""
    changes = dict(work.outcome.changes)
    flags = keychanges.gone_meanwhile(store, changes)
    # One that does not change may have been left out when the writing broke off.
    changes.update(
        {flag: Change(text, text) for flag in flags - changes.keys() if (text := work.state.texts.get(flag))}
    )
    values = store.read_many([target.path(keys.for_field(name).name) for name in changes])
    now = {name: state.decode(value) for name, value in zip(changes, values, strict=True) if value is not None}
    ours: dict[str, str | None] = {}
    others: list[str] = []
    for name, change in changes.items():
        if now.get(name) == change.new or (name in flags and name not in now and change.old is not None):
            ours[name] = change.old
        elif now.get(name) != change.old:
            others.append(name)
    keychanges.put(store, target, ours, {**work.state.texts, **now}, answers.given(work, keys.settings_of(changes)))
    return list(ours), others
