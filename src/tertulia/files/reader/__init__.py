"""Looking into a file that anybody may have made: runs as a process of its own, with limits, and without the rest of us."""
