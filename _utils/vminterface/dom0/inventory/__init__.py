"""Which VMs there are, where their stores are, and what these hold."""
