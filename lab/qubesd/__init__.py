"""A qubesd of the lab: VMs with features, properties and firewalls, behind the Admin API's own protocol.

It stands for qubesd of Qubes R4.3, which runs only where Xen, libvirt and the rest of a dom0 are, and it is as strict:
it takes, refuses and leaves without a reply what that one does, and writes the same keys of VMs at the same moments.
It has no storage, devices, backups or policy. Facts: QubesOS/qubes-core-admin, branch release4.3, and the page
``developer/services/admin-api`` of the Qubes documentation.
"""

from pathlib import Path

from lab.qubesd.daemon import Qubesd
from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.qube import Live, Machines, Qube

#: A folder for Python's path, with a client for hosts where Qubes' own is not installed.
CLIENT = Path(__file__).parent / "client"

__all__ = ["CLIENT", "Live", "Machines", "Qube", "Qubesd", "Refused", "Unanswered"]
