"""Files to and from a VM, as Qubes file copies."""
