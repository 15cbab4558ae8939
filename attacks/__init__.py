"""Attacks: one file is one attack; each turns what its attacker sees into one score per candidate."""
