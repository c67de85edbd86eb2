"""Reads what media segments hold."""
