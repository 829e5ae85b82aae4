"""XenStore over the daemon's socket or the kernel's device."""
