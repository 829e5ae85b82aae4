"""A fleet: one record of VMs for each host, and the summary of many hosts on a master."""
