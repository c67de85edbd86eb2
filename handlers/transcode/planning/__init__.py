"""Decides what is made of a source. Pure."""
