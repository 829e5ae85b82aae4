"""Salt grains: thin faces of the library, found by file name."""
