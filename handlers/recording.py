"""Registers the webinar service's recordings."""
