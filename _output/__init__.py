"""Salt execution modules: thin faces of the library, found by file name."""
