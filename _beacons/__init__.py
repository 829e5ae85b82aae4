"""Salt beacons: thin faces of the library, loaded by file name."""
