"""Read the structure of a file, one module a format. They know nothing of pictures, limits or errors of the service."""
