"""The steering wing: what dom0 wants of its VMs, how it tells them, and what it hears back."""
