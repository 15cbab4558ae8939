"""Captions as numbers: fixed, public vocabularies. None is learned from the data, for a learned one would leak them."""
