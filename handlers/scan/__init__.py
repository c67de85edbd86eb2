"""Proves that a file is safe, or says why it is not: no clean verdict, no byte."""
