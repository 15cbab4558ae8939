"""What a user calls from Python: the command line's verbs, and bounds of what was made elsewhere."""
