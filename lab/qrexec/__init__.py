"""Qubes RPC in the lab: the two calling programs, what dom0 does with a call, and the agent that answers it in a VM."""
