"""The agent: watch the keys, apply them, acknowledge."""
