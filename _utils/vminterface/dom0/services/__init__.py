"""A typed call for each Qubes RPC service that dom0 has in its VMs: one topic a file."""
