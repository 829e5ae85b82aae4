"""Bring running VMs to their settings: observe, compare, persist, write, verify, confirm, restore."""
