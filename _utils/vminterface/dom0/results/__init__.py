"""Outcomes as plain data for Salt and the command; what both have in common."""
