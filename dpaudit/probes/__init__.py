"""Probes: how much utility a trained encoder carries."""
