"""Keep the VM's side out of dom0, where it would serve and configure the machine that rules all VMs."""

from __future__ import annotations

from vminterface.errors import ControlDomain, VMInterfaceError
from vminterface.vm.machine.files import Files

#: What Xen's xenfs says of this domain: ``control_d`` in dom0, nothing in a VM (Linux ``drivers/xen/xenfs/super.c``).
CAPABILITIES = "/proc/xen/capabilities"
#: The release file of Qubes' dom0, and what Qubes core-agent-linux puts into every VM.
QUBES_RELEASE, QUBES_VM = "/etc/qubes-release", "/usr/share/qubes/marker-vm"


def require_vm(machine: Files, where: str, instead: str) -> None:
    """Raise ControlDomain if *machine* is dom0: what *where* names is for VMs, and *instead* is the advice.

    A machine without any of these signs counts as a VM: no sign exists that every VM has.
    """
    if known_by := sign(machine):
        raise ControlDomain(
            f"{where}: this is dom0 ({known_by}), where the VM side must not run (expected a VM; {instead})"
        )


def in_a_vm(state: str) -> str:
    """Return the words for how *state* is applied in VMs alone."""
    return f"on Qubes: qubesctl --skip-dom0 --targets TEMPLATE state.apply {state}"


def sign(machine: Files) -> str:
    """Return by what *machine* is known as dom0, empty text if it is not."""
    try:
        if "control_d" in (machine.read_text(CAPABILITIES) or ""):
            return f"control_d in {CAPABILITIES}"
        if machine.is_file(QUBES_RELEASE) and not machine.exists(QUBES_VM):
            return f"{QUBES_RELEASE} exists"
    except VMInterfaceError:
        pass  # what cannot be read is no sign
    return ""
