"""The lab's VMs: their root, session, screens."""
