"""Lower bounds: scores or counts in, a refuted hypothesis out; one theorem per file."""
