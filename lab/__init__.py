"""dom0 and VMs on one ordinary machine: what the demo and the system tests run on. Never shipped."""
