"""The VM wing: reads what dom0 says, applies it to this machine, and says what came of it."""
