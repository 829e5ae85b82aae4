"""The protocols, sans-IO: bytes in, events out, bytes to send. No socket, clock, thread or file."""
