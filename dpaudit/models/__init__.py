"""Models: network modules only; no training, no privacy, no data."""
