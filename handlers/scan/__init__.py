"""Scans files. Without a clean verdict no byte of a file is served."""
