"""A soak: a lab with many VMs under random pushes, restarts and hangs, with what grows, lies or stays behind found."""
