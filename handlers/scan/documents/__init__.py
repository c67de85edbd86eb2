"""Reads PDFs in child processes, and takes out what acts by itself."""
