"""The command ``vminterface``: one group of commands a file."""
