"""The steering wing: desired settings of VMs, pushes, acknowledgements and reports."""
