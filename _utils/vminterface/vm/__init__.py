"""The VM wing: reads the settings from dom0, applies them to this machine, and acknowledges them."""
