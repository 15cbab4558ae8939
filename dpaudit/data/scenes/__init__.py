"""Procedural scenes: coloured shapes in relations, with captions, questions and boxes. No file, no download."""
