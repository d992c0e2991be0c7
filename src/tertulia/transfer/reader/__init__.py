"""Reading exports that anybody may have made: a process of its own, with limits, that says line by line what it finds."""
