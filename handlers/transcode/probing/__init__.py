"""Reading a source: its tracks, its duration, and whether it is allowed."""
