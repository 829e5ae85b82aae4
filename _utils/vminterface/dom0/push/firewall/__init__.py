"""Firewalls of clients, in the stores of the VMs that provide their network."""
