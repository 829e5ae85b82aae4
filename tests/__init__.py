"""The tests: ``unit`` starts no process, ``functional`` real daemons and Salt's loader, ``system`` whole hosts."""
