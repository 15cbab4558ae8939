"""Trainers: one file is one published system, by its own algorithm."""
