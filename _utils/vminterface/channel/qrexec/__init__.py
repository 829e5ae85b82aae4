"""Qubes RPC calls over qrexec."""
