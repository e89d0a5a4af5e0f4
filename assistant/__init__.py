"""What a musician meets: the commands, and the one path from a request to its candidates."""
