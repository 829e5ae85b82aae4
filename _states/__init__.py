"""Salt state modules: read, compare, push, report; found by file name."""
