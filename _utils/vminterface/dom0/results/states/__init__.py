"""The bodies of Salt's state functions."""
