"""Tests of the counts of errors of one or several runs, each with a certificate that plain arithmetic checks."""
