"""The words of the interface: one frozen dataclass a file, ``parse`` strict, ``render`` exact, no I/O."""
