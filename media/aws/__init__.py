"""Adapters to AWS. Nothing else calls it."""
