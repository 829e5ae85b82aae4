"""One setting a file: from the keys that dom0 wrote to the state of this machine."""
