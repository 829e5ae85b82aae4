"""Transports with deadlines: key stores and service calls. Nothing here knows the name of a key."""
