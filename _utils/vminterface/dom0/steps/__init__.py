"""What a state about a service does: look at the VM, say what would change, change it, look again. One topic a file."""
