"""What services about screens, pictures and windows have in common."""
