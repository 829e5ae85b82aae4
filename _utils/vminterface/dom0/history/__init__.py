"""What pushes have done on this host: a file of lines chained by hash, who did it, and whether lines are missing."""
