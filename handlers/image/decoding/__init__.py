"""Opens a picture within limits of structure, pixels and memory."""
