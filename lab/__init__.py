"""Dom0 and VMs on one ordinary machine, for the demo and the tests; never shipped."""
