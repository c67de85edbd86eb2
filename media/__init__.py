"""Domain types and adapters that the consumer and the API share. It imports neither of them."""

VERSION = "0.1.0"
"""The service's version. pyproject.toml reads it here, and media_build_info tells it."""
