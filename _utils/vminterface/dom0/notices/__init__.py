"""Notices that VMs send to dom0 by service calls, on hosts without a qubesd to receive them."""
