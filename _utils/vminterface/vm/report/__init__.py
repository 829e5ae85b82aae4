"""Reports of a VM to dom0: one report a file, each in a thread and on a connection of its own."""
