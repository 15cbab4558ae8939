"""The command line: thin verbs over Python calls of the same names. Importing it imports no torch."""

from dpaudit.cli.app import main

__all__ = ["main"]
