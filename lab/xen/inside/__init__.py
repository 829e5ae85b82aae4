"""What runs inside of the emulated machine: in dom0 and in the VMs."""
