"""Data: images, captions and labels behind one random-access contract."""
