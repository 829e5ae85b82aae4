"""What several tests share, one area a file."""
