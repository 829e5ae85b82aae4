"""dom0's menu: what it has of the VMs' applications, and how it is brought up to date."""
