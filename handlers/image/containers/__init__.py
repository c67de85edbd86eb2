"""Read the structure of a file, one module a format. They know no pictures, limits or errors of the service."""
