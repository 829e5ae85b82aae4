"""Salt runners: thin faces of the library, loaded by file name."""
