"""Procedural pictures without content, to pre-train on before any private image is seen."""
