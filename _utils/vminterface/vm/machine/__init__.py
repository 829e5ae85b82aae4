"""The one door to the VM's files and programs, with a root prefix."""
