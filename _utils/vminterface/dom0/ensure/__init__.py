"""Probe, act, probe again: states about what only a call can find out."""
