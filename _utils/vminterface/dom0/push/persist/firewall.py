"""One client's firewall in the store from which qubesd writes the keys anew: compare, set, read back, put back.

qubesd does that when the client starts or its network changes, at a reload, and when rules are set; keys that others
have written are gone then. Setting comes last in a push, with the keys themselves, so that what fails before it leaves
nothing to put back. A call that fails may have stored the rules first: to rules that it refuses, and to those that it
saves but cannot pass on to the provider, qubesd gives no reply.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from vminterface.channel.adminapi import REQUEST_LIMIT
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.dom0.desired.words import FIREWALL, FIREWALL_STORE
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.errors import InvalidValue, PermissionDenied, VerificationFailed, VMInterfaceError, printable
from vminterface.values import firewallstore
from vminterface.values.change import Change
from vminterface.values.firewall import Action, Firewall

#: Without it qubesd also makes one text for iptables of all rules, which may become too long for a key.
FEATURE = "qubes-firewall"
#: Characters of all rules: a call's, less what it has before them.
LIMIT = REQUEST_LIMIT - 256
#: Characters of the rules in an error.
_SHOWN = 1000


@dataclass(slots=True)
class StoredFirewall:
    """What qubesd holds as the firewall of *vm*, and what it shall hold."""

    vm: str
    asked_for: ClientFirewall
    qubesd: Qubesd
    #: The text of ``admin.vm.firewall.Get``.
    held: str = ""

    @classmethod
    def read(cls, qubesd: Qubesd, vm: str, asked_for: ClientFirewall) -> Self:
        """Ask qubesd what it holds. Raises InvalidValue for more rules than a call carries, else as AdminAPI."""
        if (size := len(firewallstore.render(asked_for.firewall))) > LIMIT:
            raise InvalidValue(
                f"{vm}: firewall: the rules have {size} characters (expected at most {LIMIT}: a limit of qubesd)"
            )
        stored = cls(vm, asked_for, qubesd)
        stored.held = stored._get()
        return stored

    @property
    def desired(self) -> Firewall:
        """What it shall hold."""
        return self.asked_for.firewall

    @property
    def right(self) -> bool:
        """Whether qubesd holds the desired rules: parts without effect, such as a comment, do not count."""
        return self._means_it(self.held)

    @property
    def change(self) -> Change[ShownFirewall]:
        """The change; rules that a pillar cannot express are the text that qubesd holds."""
        held, text = firewallstore.parse(self.held, time.time()), _line(self.held)
        old = text if held is None else self.asked_for.in_words(held)
        new = self.asked_for.in_words()
        return Change(
            ShownFirewall(old, {FIREWALL_STORE: text if held is None else str(held)}),
            ShownFirewall(new, {FIREWALL_STORE: str(self.desired)}),
        )

    def set(self) -> None:
        """Let qubesd keep the rules, and read them back. What fails may have been saved: see :meth:`put_back`."""
        # It may have been changed since it was compared.
        self.held = self._get()
        if self.right:
            return
        text = firewallstore.render(self.desired.at(time.time()))
        try:
            self._set(text)
            if not self._means_it(self._get()):
                raise VerificationFailed(f"{self.vm}: firewall: qubesd does not hold the rules that were set")
        except VMInterfaceError as error:
            raise type(error)(f"{self._reason(error)}; sent: {_line(text)}") from error

    def put_back(self) -> None:
        """Put the former rules back. Raises VerificationFailed where qubesd has others afterwards, else as AdminAPI."""
        self.qubesd.wait_longer()
        if self._is_as_before():
            return
        failed: VMInterfaceError | None = None
        try:
            self._set(self.held)
        except PermissionDenied as error:
            # It may have them all the same.
            failed = error
        if not self._is_as_before():
            raise failed or VerificationFailed(f"{self.vm}: firewall: qubesd does not hold the former rules")

    def _get(self) -> str:
        rules = self.qubesd.call(self.vm, FIREWALL, "admin.vm.firewall.Get", lambda api: api.firewall_get(self.vm))
        return rules.decode("utf-8", "surrogateescape")

    def _set(self, text: str) -> None:
        rules = text.encode("utf-8", "surrogateescape")
        self.qubesd.call(self.vm, FIREWALL, "admin.vm.firewall.Set", lambda api: api.firewall_set(self.vm, rules))

    def _means_it(self, text: str) -> bool:
        now = time.time()
        held = firewallstore.parse(text, now)
        return held is not None and held.meaning == self.desired.at(now).meaning

    def _is_as_before(self) -> bool:
        now = time.time()
        return firewallstore.in_effect(self._get(), now) == firewallstore.in_effect(self.held, now)

    def _reason(self, error: VMInterfaceError) -> str:
        """Return why qubesd gave no reply, where that is known, else the text of *error*."""
        if isinstance(error, PermissionDenied):
            try:
                if not self._is_as_before() and self._provider_lacks():
                    return (
                        f"{self.vm}: firewall: qubesd saved the rules but could not send them to "
                        f"{self.asked_for.netvm}, which does not have the feature {FEATURE} "
                        "(expected a provider that has it, or fewer rules)"
                    )
            except VMInterfaceError:
                pass
        return str(error)

    def _provider_lacks(self) -> bool:
        feature = self.qubesd.call(
            self.vm,
            FIREWALL,
            f"feature {FEATURE} of {self.asked_for.netvm}",
            lambda api: api.feature_with_template(self.asked_for.netvm, FEATURE),
        )
        return not feature


def held(qubesd: Qubesd, vm: str) -> ShownFirewall | None:
    """Return the firewall that qubesd keeps of *vm*, None on a host without one. Raises as AdminAPI does."""
    if not qubesd.available:
        return None
    return StoredFirewall.read(qubesd, vm, ClientFirewall(Firewall(Action.DROP))).change.old


def _line(text: str) -> str:
    return printable("; ".join([*firewallstore.lines(text), "policy=drop"]), _SHOWN)
