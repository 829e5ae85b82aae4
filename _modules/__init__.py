"""Salt execution modules: thin faces of the library, loaded by file name."""
