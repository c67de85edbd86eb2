"""Finds out what a source holds, and whether it is allowed."""
