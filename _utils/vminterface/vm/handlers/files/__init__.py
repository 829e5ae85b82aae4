"""What services that take or give files have in common."""
