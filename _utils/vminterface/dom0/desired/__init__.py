"""Desired settings of VMs from the pillar: parsed, checked and compared, without access to a VM."""
