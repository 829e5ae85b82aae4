"""What the lab uses of Linux: mounts, namespaces, networks, processes."""
