"""What VMs report to dom0: memory, devices, and what changed between two readings."""
