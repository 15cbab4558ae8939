"""One audit: its stages and their order, what it promises, and which design tests the promise."""
