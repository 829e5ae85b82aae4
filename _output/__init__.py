"""Salt outputters: thin faces of the library, loaded by file name."""
