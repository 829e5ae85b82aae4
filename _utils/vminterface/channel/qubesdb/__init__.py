"""QubesDB over the socket of its daemon."""
