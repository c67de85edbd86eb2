"""Postgres, the truth: all SQL about assets and their stages stands in this package."""
