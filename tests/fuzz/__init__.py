"""Guided fuzzing of every parser and protocol core that meets foreign bytes; see README.md in this folder."""
