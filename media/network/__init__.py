"""Sockets that the service listens on, and proxies that its calls go through."""
