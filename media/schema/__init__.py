"""Applies the database's schema and checks it: `python -m media.schema apply|check|ensure|list`."""
