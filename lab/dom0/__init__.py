"""The lab's dom0: host, toolstack, Salt, the list of VMs."""
