"""Salt pillar modules of this extension."""
