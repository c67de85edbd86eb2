"""Packaging an engine's files as renditions: playlists, posters, checks."""
