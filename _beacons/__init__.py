"""Salt beacons: thin faces of the library, found by file name."""
