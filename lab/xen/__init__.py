"""A real Xen host in an emulated machine: hypervisor, dom0 and paravirtual VMs, put together from Debian's packages."""
