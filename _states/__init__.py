"""Salt state modules: read, compare, push, report; loaded by file name."""
