"""`python -m dpaudit` is `dpaudit`."""

from dpaudit.cli import main

main()
