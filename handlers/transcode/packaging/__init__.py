"""Turns what an engine made into what is delivered: playlists, posters, renditions."""
