"""Push again when a VM starts, or when what its settings depend on changes."""
