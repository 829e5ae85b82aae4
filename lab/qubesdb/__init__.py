"""A QubesDB daemon for labs and tests: what the pair of qubes-core-qubesdb, in dom0 and in the VM, does on the wire."""
