"""What answers Qubes RPC calls to this VM: one service a file, and what starts them."""
