"""Domain types and adapters that the consumer and the API share. It imports neither of them."""

VERSION = "0.1.0"
"""The version in pyproject.toml, which is not in the image."""
